import {
  ETH_TYPE_ARP,
  ETH_TYPE_IP,
  ETH_TYPE_IPV6,
  ETH_TYPE_MPLS,
  ETH_TYPE_MPLS_MCAST,
  ETH_TYPE_RARP,
  type Flow,
  FlowAt,
  VLAN_CFI,
} from "./flow.ts";

/** What a flow must be for a field to exist in it. */
export type Prerequisite =
  | "none"
  | "vlan"
  | "ip"
  | "ipv4"
  | "ipv6"
  | "arp"
  | "mpls"
  | "tcp"
  | "udp"
  | "sctp"
  | "icmp4"
  | "icmp6"
  | "nd"
  | "nd_solicit"
  | "nd_advert"
  | "ct";

/**
 * Whether a packet meets a prerequisite. The bits consulted are set in `wildcards`, where given.
 */
export function hasPrerequisite(flow: Flow, pre: Prerequisite, wildcards?: Flow): boolean {
  const type = flow.u16(FlowAt.DL_TYPE);
  switch (pre) {
    case "none":
    case "ct":
      return true;
    case "vlan":
      wildcards?.put16(FlowAt.VLAN0_TCI, wildcards.u16(FlowAt.VLAN0_TCI) | VLAN_CFI);
      return (flow.u16(FlowAt.VLAN0_TCI) & VLAN_CFI) !== 0;
    case "ip":
      return flow.isIp;
    case "ipv4":
      return type === ETH_TYPE_IP;
    case "ipv6":
      return type === ETH_TYPE_IPV6;
    case "arp":
      return type === ETH_TYPE_ARP || type === ETH_TYPE_RARP;
    case "mpls":
      return type === ETH_TYPE_MPLS || type === ETH_TYPE_MPLS_MCAST;
    case "tcp":
      return hasProtocol(flow, 6, wildcards);
    case "udp":
      return hasProtocol(flow, 17, wildcards);
    case "sctp":
      return hasProtocol(flow, 132, wildcards);
    case "icmp4":
      return type === ETH_TYPE_IP && hasProtocol(flow, 1, wildcards);
    case "icmp6":
      return type === ETH_TYPE_IPV6 && hasProtocol(flow, 58, wildcards);
    case "nd":
    case "nd_solicit":
    case "nd_advert": {
      if (type !== ETH_TYPE_IPV6 || !hasProtocol(flow, 58, wildcards)) return false;
      wildcards?.fill(FlowAt.TP_SRC, 4, 0xff);
      if (!flow.isNd) return false;
      const wanted = pre === "nd_solicit" ? 135 : pre === "nd_advert" ? 136 : 0;
      return wanted === 0 || flow.u16(FlowAt.TP_SRC) === wanted;
    }
  }
}

function hasProtocol(flow: Flow, protocol: number, wildcards?: Flow): boolean {
  if (!flow.isIp) return false;
  wildcards?.put8(FlowAt.NW_PROTO, 0xff);
  return flow.u8(FlowAt.NW_PROTO) === protocol && !flow.isLaterFragment;
}

/** Prerequisites in words, for errors. */
export const prerequisiteText: Readonly<Record<Prerequisite, string>> = {
  none: "nothing",
  vlan: "a VLAN tag (vlan_tci=0x1000/0x1000)",
  ip: "ip or ipv6",
  ipv4: "ip",
  ipv6: "ipv6",
  arp: "arp or rarp",
  mpls: "mpls or mplsm",
  tcp: "tcp or tcp6",
  udp: "udp or udp6",
  sctp: "sctp or sctp6",
  icmp4: "icmp",
  icmp6: "icmp6",
  nd: "icmp6,icmp_type=135 (or 136),icmp_code=0",
  nd_solicit: "icmp6,icmp_type=135,icmp_code=0",
  nd_advert: "icmp6,icmp_type=136,icmp_code=0",
  ct: "ip or ipv6 and ct_state=+trk",
};
