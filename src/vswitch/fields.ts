/**
 * The table of match fields: names as ovs-ofctl writes them, place in the flow, prerequisites. One table drives the
 * parser, the printer, `set_field`, `load` and `move`.
 */
import { NokmodError } from "../core/errors.ts";
import { FlowAt } from "./flow.ts";
import type { Prerequisite } from "./prerequisite.ts";

/** How a value is written in text. */
export type FieldKind =
  | "decimal"
  | "hex"
  | "mac"
  | "ip4"
  | "ip6"
  | "port"
  | "frag"
  | "ct_state"
  | "tcp_flags"
  | "tci"
  | "eth_type";

/** One match field. */
export interface OfpField {
  readonly name: string;
  /** Other names, those of NXM and OXM included. */
  readonly aliases: readonly string[];
  /** Byte offset and size of the container in the flow; the field is `bits` bits at `shift` from its low end. */
  readonly offset: number;
  readonly size: number;
  readonly shift: number;
  readonly bits: number;
  /** Number of bits of a value as written (nw_tos is 8 wide though it holds 6). */
  readonly width: number;
  readonly kind: FieldKind;
  readonly prerequisite: Prerequisite;
  readonly maskable: boolean;
  readonly writable: boolean;
}

interface Options {
  aliases?: string[];
  shift?: number;
  bits?: number;
  width?: number;
  pre?: Prerequisite;
  maskable?: boolean;
  writable?: boolean;
}

const all: OfpField[] = [];

function field(name: string, offset: number, size: number, kind: FieldKind, options: Options = {}): OfpField {
  const bits = options.bits ?? size * 8;
  const entry: OfpField = {
    name,
    aliases: options.aliases ?? [],
    offset,
    size,
    shift: options.shift ?? 0,
    bits,
    width: options.width ?? bits,
    kind,
    prerequisite: options.pre ?? "none",
    maskable: options.maskable ?? true,
    writable: options.writable ?? true,
  };
  all.push(entry);
  return entry;
}

const READ_ONLY = { writable: false };
const PLAIN = { maskable: false };

for (let i = 0; i < 16; i++) field(`reg${i}`, FlowAt.REGS + 4 * i, 4, "hex", { aliases: [`NXM_NX_REG${i}`] });
for (let i = 0; i < 8; i++)
  field(`xreg${i}`, FlowAt.REGS + 8 * i, 8, "hex", { aliases: [`OXM_OF_PKT_REG${i}`, `NXM_NX_XREG${i}`] });
for (let i = 0; i < 4; i++) field(`xxreg${i}`, FlowAt.REGS + 16 * i, 16, "hex", { aliases: [`NXM_NX_XXREG${i}`] });
field("metadata", FlowAt.METADATA, 8, "hex", { aliases: ["OXM_OF_METADATA"] });
field("skb_priority", FlowAt.SKB_PRIORITY, 4, "hex", { maskable: false, writable: false });
field("pkt_mark", FlowAt.PKT_MARK, 4, "hex", { aliases: ["NXM_NX_PKT_MARK"] });
field("dp_hash", FlowAt.DP_HASH, 4, "hex", { aliases: ["NXM_NX_DP_HASH"], ...READ_ONLY });
field("recirc_id", FlowAt.RECIRC_ID, 4, "hex", { aliases: ["NXM_NX_RECIRC_ID"], ...READ_ONLY, ...PLAIN });
field("in_port", FlowAt.IN_PORT + 2, 2, "port", { aliases: ["NXM_OF_IN_PORT"], ...PLAIN });
field("in_port_oxm", FlowAt.IN_PORT, 4, "port", { aliases: ["OXM_OF_IN_PORT"], ...PLAIN });
field("ct_state", FlowAt.CT_STATE, 4, "ct_state", { aliases: ["NXM_NX_CT_STATE"], ...READ_ONLY });
field("ct_zone", FlowAt.CT_ZONE, 2, "decimal", { aliases: ["NXM_NX_CT_ZONE"], ...READ_ONLY, ...PLAIN });
field("ct_mark", FlowAt.CT_MARK, 4, "hex", { aliases: ["NXM_NX_CT_MARK"] });
field("ct_label", FlowAt.CT_LABEL, 16, "hex", { aliases: ["NXM_NX_CT_LABEL", "ct_labels"] });
field("ct_nw_proto", FlowAt.CT_NW_PROTO, 1, "decimal", {
  aliases: ["NXM_NX_CT_NW_PROTO"],
  pre: "ct",
  ...READ_ONLY,
  ...PLAIN,
});
field("ct_nw_src", FlowAt.CT_NW_SRC, 4, "ip4", { aliases: ["NXM_NX_CT_NW_SRC"], pre: "ct", ...READ_ONLY });
field("ct_nw_dst", FlowAt.CT_NW_DST, 4, "ip4", { aliases: ["NXM_NX_CT_NW_DST"], pre: "ct", ...READ_ONLY });
field("ct_ipv6_src", FlowAt.CT_IPV6_SRC, 16, "ip6", { aliases: ["NXM_NX_CT_IPV6_SRC"], pre: "ct", ...READ_ONLY });
field("ct_ipv6_dst", FlowAt.CT_IPV6_DST, 16, "ip6", { aliases: ["NXM_NX_CT_IPV6_DST"], pre: "ct", ...READ_ONLY });
field("ct_tp_src", FlowAt.CT_TP_SRC, 2, "decimal", { aliases: ["NXM_NX_CT_TP_SRC"], pre: "ct", ...READ_ONLY });
field("ct_tp_dst", FlowAt.CT_TP_DST, 2, "decimal", { aliases: ["NXM_NX_CT_TP_DST"], pre: "ct", ...READ_ONLY });
field("dl_src", FlowAt.DL_SRC, 6, "mac", { aliases: ["eth_src", "NXM_OF_ETH_SRC", "OXM_OF_ETH_SRC"] });
field("dl_dst", FlowAt.DL_DST, 6, "mac", { aliases: ["eth_dst", "NXM_OF_ETH_DST", "OXM_OF_ETH_DST"] });
field("dl_type", FlowAt.DL_TYPE, 2, "eth_type", {
  aliases: ["eth_type", "NXM_OF_ETH_TYPE", "OXM_OF_ETH_TYPE"],
  ...READ_ONLY,
  ...PLAIN,
});
field("vlan_tci", FlowAt.VLAN0_TCI, 2, "tci", { aliases: ["NXM_OF_VLAN_TCI"] });
field("dl_vlan", FlowAt.VLAN0_TCI, 2, "decimal", { bits: 12, ...PLAIN });
field("vlan_vid", FlowAt.VLAN0_TCI, 2, "tci", { aliases: ["OXM_OF_VLAN_VID"], bits: 13 });
field("dl_vlan_pcp", FlowAt.VLAN0_TCI, 2, "decimal", { shift: 13, bits: 3, ...PLAIN });
field("vlan_pcp", FlowAt.VLAN0_TCI, 2, "decimal", {
  aliases: ["OXM_OF_VLAN_PCP"],
  shift: 13,
  bits: 3,
  pre: "vlan",
  ...PLAIN,
});
field("mpls_label", FlowAt.MPLS, 4, "decimal", {
  aliases: ["OXM_OF_MPLS_LABEL"],
  shift: 12,
  bits: 20,
  pre: "mpls",
  ...PLAIN,
});
field("mpls_tc", FlowAt.MPLS, 4, "decimal", { aliases: ["OXM_OF_MPLS_TC"], shift: 9, bits: 3, pre: "mpls", ...PLAIN });
field("mpls_bos", FlowAt.MPLS, 4, "decimal", {
  aliases: ["OXM_OF_MPLS_BOS"],
  shift: 8,
  bits: 1,
  pre: "mpls",
  ...READ_ONLY,
  ...PLAIN,
});
field("mpls_ttl", FlowAt.MPLS, 4, "decimal", {
  aliases: ["NXM_NX_MPLS_TTL", "OXM_ET_MPLS_TTL"],
  bits: 8,
  pre: "mpls",
  ...PLAIN,
});
field("nw_src", FlowAt.NW_SRC, 4, "ip4", { aliases: ["ip_src", "NXM_OF_IP_SRC", "OXM_OF_IPV4_SRC"], pre: "ipv4" });
field("nw_dst", FlowAt.NW_DST, 4, "ip4", { aliases: ["ip_dst", "NXM_OF_IP_DST", "OXM_OF_IPV4_DST"], pre: "ipv4" });
field("ipv6_src", FlowAt.IPV6_SRC, 16, "ip6", { aliases: ["NXM_NX_IPV6_SRC", "OXM_OF_IPV6_SRC"], pre: "ipv6" });
field("ipv6_dst", FlowAt.IPV6_DST, 16, "ip6", { aliases: ["NXM_NX_IPV6_DST", "OXM_OF_IPV6_DST"], pre: "ipv6" });
field("ipv6_label", FlowAt.IPV6_LABEL, 4, "hex", {
  aliases: ["NXM_NX_IPV6_LABEL", "OXM_OF_IPV6_FLABEL"],
  bits: 20,
  width: 32,
  pre: "ipv6",
});
field("nw_proto", FlowAt.NW_PROTO, 1, "decimal", {
  aliases: ["ip_proto", "NXM_OF_IP_PROTO", "OXM_OF_IP_PROTO"],
  pre: "ip",
  ...READ_ONLY,
  ...PLAIN,
});
field("nw_tos", FlowAt.NW_TOS, 1, "decimal", { aliases: ["NXM_OF_IP_TOS"], pre: "ip", ...PLAIN });
field("ip_dscp", FlowAt.NW_TOS, 1, "decimal", { aliases: ["OXM_OF_IP_DSCP"], shift: 2, bits: 6, pre: "ip", ...PLAIN });
field("nw_ecn", FlowAt.NW_TOS, 1, "decimal", {
  aliases: ["ip_ecn", "NXM_NX_IP_ECN", "OXM_OF_IP_ECN"],
  bits: 2,
  pre: "ip",
  ...PLAIN,
});
field("nw_ttl", FlowAt.NW_TTL, 1, "decimal", { aliases: ["NXM_NX_IP_TTL", "OXM_OF_IP_TTL"], pre: "ip", ...PLAIN });
field("ip_frag", FlowAt.NW_FRAG, 1, "frag", { aliases: ["nw_frag", "NXM_NX_IP_FRAG"], pre: "ip", ...READ_ONLY });
field("arp_op", FlowAt.NW_PROTO, 1, "decimal", {
  aliases: ["NXM_OF_ARP_OP", "OXM_OF_ARP_OP"],
  width: 16,
  pre: "arp",
  ...PLAIN,
});
field("arp_spa", FlowAt.NW_SRC, 4, "ip4", { aliases: ["NXM_OF_ARP_SPA", "OXM_OF_ARP_SPA"], pre: "arp" });
field("arp_tpa", FlowAt.NW_DST, 4, "ip4", { aliases: ["NXM_OF_ARP_TPA", "OXM_OF_ARP_TPA"], pre: "arp" });
field("arp_sha", FlowAt.ARP_SHA, 6, "mac", { aliases: ["NXM_NX_ARP_SHA", "OXM_OF_ARP_SHA"], pre: "arp" });
field("arp_tha", FlowAt.ARP_THA, 6, "mac", { aliases: ["NXM_NX_ARP_THA", "OXM_OF_ARP_THA"], pre: "arp" });
field("tcp_src", FlowAt.TP_SRC, 2, "decimal", { aliases: ["NXM_OF_TCP_SRC", "OXM_OF_TCP_SRC"], pre: "tcp" });
field("tcp_dst", FlowAt.TP_DST, 2, "decimal", { aliases: ["NXM_OF_TCP_DST", "OXM_OF_TCP_DST"], pre: "tcp" });
field("tcp_flags", FlowAt.TCP_FLAGS, 2, "tcp_flags", {
  aliases: ["NXM_NX_TCP_FLAGS", "OXM_OF_TCP_FLAGS"],
  bits: 12,
  width: 16,
  pre: "tcp",
  ...READ_ONLY,
});
field("udp_src", FlowAt.TP_SRC, 2, "decimal", { aliases: ["NXM_OF_UDP_SRC", "OXM_OF_UDP_SRC"], pre: "udp" });
field("udp_dst", FlowAt.TP_DST, 2, "decimal", { aliases: ["NXM_OF_UDP_DST", "OXM_OF_UDP_DST"], pre: "udp" });
field("sctp_src", FlowAt.TP_SRC, 2, "decimal", { aliases: ["OXM_OF_SCTP_SRC"], pre: "sctp" });
field("sctp_dst", FlowAt.TP_DST, 2, "decimal", { aliases: ["OXM_OF_SCTP_DST"], pre: "sctp" });
field("icmp_type", FlowAt.TP_SRC, 2, "decimal", {
  aliases: ["icmpv4_type", "NXM_OF_ICMP_TYPE", "OXM_OF_ICMPV4_TYPE"],
  bits: 8,
  pre: "icmp4",
  ...PLAIN,
});
field("icmp_code", FlowAt.TP_DST, 2, "decimal", {
  aliases: ["icmpv4_code", "NXM_OF_ICMP_CODE", "OXM_OF_ICMPV4_CODE"],
  bits: 8,
  pre: "icmp4",
  ...PLAIN,
});
field("icmpv6_type", FlowAt.TP_SRC, 2, "decimal", {
  aliases: ["NXM_NX_ICMPV6_TYPE", "OXM_OF_ICMPV6_TYPE"],
  bits: 8,
  pre: "icmp6",
  ...PLAIN,
});
field("icmpv6_code", FlowAt.TP_DST, 2, "decimal", {
  aliases: ["NXM_NX_ICMPV6_CODE", "OXM_OF_ICMPV6_CODE"],
  bits: 8,
  pre: "icmp6",
  ...PLAIN,
});
field("nd_target", FlowAt.ND_TARGET, 16, "ip6", { aliases: ["NXM_NX_ND_TARGET", "OXM_OF_IPV6_ND_TARGET"], pre: "nd" });
field("nd_sll", FlowAt.ARP_SHA, 6, "mac", { aliases: ["NXM_NX_ND_SLL", "OXM_OF_IPV6_ND_SLL"], pre: "nd_solicit" });
field("nd_tll", FlowAt.ARP_THA, 6, "mac", { aliases: ["NXM_NX_ND_TLL", "OXM_OF_IPV6_ND_TLL"], pre: "nd_advert" });

/** Every field, in the order of the table. */
export const fields: readonly OfpField[] = all;

const byName = new Map<string, OfpField>();
for (const entry of all) {
  byName.set(entry.name.toLowerCase(), entry);
  for (const alias of entry.aliases) byName.set(alias.toLowerCase(), entry);
}

/** The field of a name or an alias; upper and lower case are the same. */
export function findField(name: string): OfpField | undefined {
  return byName.get(name.toLowerCase());
}

/** The field of a name that is known to exist. @throws NokmodError ERR_FIELD_UNKNOWN */
export function fieldNamed(name: string): OfpField {
  const found = findField(name);
  if (!found) throw new NokmodError("ERR_FIELD_UNKNOWN", `no field ${name}`);
  return found;
}
