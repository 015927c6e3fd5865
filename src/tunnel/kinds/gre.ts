import { K, TunnelFlag } from "../../flow/key.ts";
import { checksum } from "../../packet/checksum.ts";
import { ETH_P_TEB } from "../../packet/ethernet.ts";
import { IpProto } from "../../packet/ip.ts";
import type { Packet } from "../../packet/packet.ts";
import { greLink, ip6greLink } from "../../schema/rtnetlink.ts";
import { EEXIST } from "../../uapi/errno.ts";
import { OVS_VPORT_TYPE_GRE } from "../../uapi/openvswitch.ts";
import * as rt from "../../uapi/rtnetlink.ts";
import { AF_INET, AF_INET6 } from "../../uapi/socket.ts";
import { type Encapsulation, Pull } from "../encapsulation.ts";
import { Count, type TunnelBehaviour, type TunnelKind, type TunnelSettings } from "../kind.ts";
import { fixed, ifGiven, type ReportedAttribute, reportedBool } from "../link-data.ts";

/**
 * GRE (RFC 2784) with key and sequence number (RFC 2890).
 *
 * ```
 *  0                   1                   2                   3
 *  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 * |C|R|K|S|    reserved     | ver |         protocol type         |  0
 * |      checksum (if C)          |           reserved            |
 * |                            key (if K)                         |
 * |                      sequence number (if S)                   |
 * ```
 */
export const GRE_BASE_LEN = 4;
export const ETH_P_ERSPAN = 0x88be;
export const ETH_P_ERSPAN2 = 0x22eb;

export const GRE_CSUM = 0x8000;
const GRE_ROUTING = 0x4000;
const GRE_KEY = 0x2000;
export const GRE_SEQ = 0x1000;
const GRE_VERSION = 0x0007;

/** Length in bytes of a header with these flags. */
function headerLength(flags: number): number {
  return (
    GRE_BASE_LEN +
    ((flags & GRE_CSUM) !== 0 ? 4 : 0) +
    ((flags & GRE_KEY) !== 0 ? 4 : 0) +
    ((flags & GRE_SEQ) !== 0 ? 4 : 0)
  );
}

/**
 * Checks a header at packet.off: version 0, no source routes, complete, checksum right.
 * @returns its length, or -1
 */
export function checkGre(packet: Packet): number {
  const { off, len } = packet;
  if (len < GRE_BASE_LEN) return -1;
  const { view } = packet.memory;
  const flags = view.getUint16(off);
  if ((flags & (GRE_VERSION | GRE_ROUTING)) !== 0) return -1;
  const length = headerLength(flags);
  if (len < length) return -1;
  // The sender on this machine may have left the checksum to the device: then the field is 0.
  if ((flags & GRE_CSUM) !== 0 && view.getUint16(off + GRE_BASE_LEN) !== 0 && checksum(view, off, len) !== 0) return -1;
  return length;
}

/** Which packets a GRE device takes, by the protocol type in their header. */
const enum Payload {
  /** Ethernet frames. */
  ETHERNET = 0,
  /** Ethernet frames, whatever the protocol type says. */
  ETHERNET_ANY = 1,
  /** Packets without Ethernet header; Ethernet frames too where no other device takes them. */
  L3 = 2,
}

/** GRE with Ethernet frames as payload or, as an L3 device, with packets of any protocol. */
class Gre implements Encapsulation {
  readonly protocol = IpProto.GRE;
  readonly l3: boolean;

  /** @param takesFrames whether an L3 device is to take Ethernet frames now */
  constructor(
    private readonly payload: Payload,
    private readonly takesFrames: () => boolean = () => false,
  ) {
    this.l3 = payload === Payload.L3;
  }

  length(tunnel: Int32Array): number {
    const flags = tunnel[K.TUN_FLAGS] >>> 16;
    return GRE_BASE_LEN + ((flags & TunnelFlag.CSUM) !== 0 ? 4 : 0) + ((flags & TunnelFlag.KEY) !== 0 ? 4 : 0);
  }

  push(packet: Packet, length: number, tunnel: Int32Array, etherType: number): void {
    const { view } = packet.memory;
    const { off } = packet;
    const keyFlags = tunnel[K.TUN_FLAGS] >>> 16;
    let flags = 0;
    if ((keyFlags & TunnelFlag.CSUM) !== 0) flags |= GRE_CSUM;
    if ((keyFlags & TunnelFlag.KEY) !== 0) {
      flags |= GRE_KEY;
      view.setInt32(off + length - 4, tunnel[K.TUN_ID + 1]);
    }
    view.setUint16(off, flags);
    view.setUint16(off + 2, this.l3 ? etherType : ETH_P_TEB);
    if ((flags & GRE_CSUM) !== 0) {
      view.setInt32(off + GRE_BASE_LEN, 0);
      view.setUint16(off + GRE_BASE_LEN, checksum(view, off, packet.len));
    }
  }

  pull(packet: Packet, tunnel: Int32Array): number {
    const length = checkGre(packet);
    if (length < 0) return Pull.IGNORED;
    const { view } = packet.memory;
    const { off } = packet;
    const flags = view.getUint16(off);
    const type = view.getUint16(off + 2);
    if (type === ETH_P_ERSPAN || type === ETH_P_ERSPAN2) return Pull.IGNORED;
    if (this.payload === Payload.L3) {
      if (type === ETH_P_TEB && !this.takesFrames()) return Pull.IGNORED;
      packet.protocol = type;
    } else if (type !== ETH_P_TEB && this.payload === Payload.ETHERNET) {
      return Pull.IGNORED;
    }
    // The kernel wants what the device was made with, and these devices are made without checksums.
    if ((flags & GRE_CSUM) !== 0) return Pull.ERROR;
    let keyFlags = 0;
    if ((flags & GRE_KEY) !== 0) {
      keyFlags |= TunnelFlag.KEY;
      tunnel[K.TUN_ID + 1] = view.getInt32(off + length - ((flags & GRE_SEQ) !== 0 ? 8 : 4));
    } else {
      tunnel[K.TUN_ID + 1] = 0;
    }
    tunnel[K.TUN_ID] = 0;
    tunnel[K.TUN_FLAGS] |= keyFlags << 16;
    return length;
  }
}

const { definitions: LINK } = greLink;
const { definitions: LINK6 } = ip6greLink;

const FIRST_REPORTED: readonly ReportedAttribute[] = [
  fixed(LINK.LINK),
  fixed(LINK.IFLAGS),
  fixed(LINK.OFLAGS),
  fixed(LINK.IKEY),
  fixed(LINK.OKEY),
];
const FOU_REPORTED: readonly ReportedAttribute[] = [
  fixed(LINK.FWMARK),
  fixed(LINK.ENCAP_TYPE),
  fixed(LINK.ENCAP_SPORT),
  fixed(LINK.ENCAP_DPORT),
  fixed(LINK.ENCAP_FLAGS),
];

/** What devices over IPv4 report (ip_gre.c). */
export const GRE_REPORTED: readonly ReportedAttribute[] = [
  ...FIRST_REPORTED,
  fixed(LINK.LOCAL),
  fixed(LINK.REMOTE),
  fixed(LINK.TTL),
  fixed(LINK.TOS),
  reportedBool(LINK.PMTUDISC, 1),
  ...FOU_REPORTED,
  fixed(LINK.IGNORE_DF),
  ifGiven(LINK.COLLECT_METADATA),
];

/** What devices over IPv6 report (ip6_gre.c). */
export const IP6GRE_REPORTED: readonly ReportedAttribute[] = [
  ...FIRST_REPORTED,
  fixed(LINK6.LOCAL),
  fixed(LINK6.REMOTE),
  fixed(LINK6.TTL),
  fixed(LINK6.ENCAP_LIMIT),
  fixed(LINK6.FLOWINFO),
  // IP6_TNL_F_CAP_PER_PACKET: source and destination depend on the packet.
  fixed(LINK6.FLAGS, 0, 0, 4),
  ...FOU_REPORTED,
  ifGiven(LINK6.COLLECT_METADATA),
];

/** Fields of the records that all kinds over GRE share. */
export const GRE_COMMON = {
  collectMetadata: rt.IFLA_GRE_COLLECT_METADATA,
  derived: () => new Map(),
  validate: () => {},
  isL3: () => false,
  identity: () => "",
  duplicateErrno: EEXIST,
  vport: undefined,
} satisfies Partial<TunnelKind>;

/** Settings of a kind over GRE. */
export function greSettings(kind: TunnelKind, encapsulation: Encapsulation, family: number): TunnelSettings {
  return {
    kind,
    encapsulation,
    families: [family],
    dstPort: 0,
    zeroChecksum6: false,
    sourcePorts: undefined,
    gbp: false,
  };
}

/** Behaviour of GRE over IPv4. */
export const GRE_BEHAVIOUR: TunnelBehaviour = {
  egressKey: true,
  withoutKey: Count.TX_DROPPED,
  unfitKey: Count.TX_DROPPED,
  truncated: Count.TX_DROPPED,
  answersTooBig: false,
  countsAnswers: false,
  routeHopLimit: false,
  keyDstPort: false,
  countsShortFrames: false,
};

/** Behaviour of GRE over IPv6. */
export const IP6GRE_BEHAVIOUR: TunnelBehaviour = {
  egressKey: false,
  withoutKey: Count.TX_DROPPED,
  unfitKey: Count.BOTH,
  truncated: Count.BOTH,
  answersTooBig: false,
  countsAnswers: false,
  routeHopLimit: false,
  keyDstPort: false,
  countsShortFrames: false,
};

/** GRE over IPv4 with Ethernet frames; OVS_VPORT_TYPE_GRE makes one. */
export const gretap: TunnelKind = {
  ...GRE_COMMON,
  name: "gretap",
  attributes: greLink,
  reported: GRE_REPORTED,
  settings: () => greSettings(gretap, new Gre(Payload.ETHERNET), AF_INET),
  behaviour: GRE_BEHAVIOUR,
  vport: {
    type: OVS_VPORT_TYPE_GRE,
    name: "gre",
    mtu: 65497,
    hasOptions: false,
    hasGbp: false,
    zeroChecksum6: true,
    putLinkData(data) {
      data.flag(rt.IFLA_GRE_COLLECT_METADATA);
      data.u8(rt.IFLA_GRE_PMTUDISC, 0);
    },
  },
};

/** GRE over IPv4 without Ethernet header. It takes Ethernet frames as long as there is no gretap port. */
export const gre: TunnelKind = {
  ...GRE_COMMON,
  name: "gre",
  attributes: greLink,
  reported: GRE_REPORTED,
  isL3: () => true,
  settings: (_data, context) => greSettings(gre, new Gre(Payload.L3, () => !context.hasPort(gretap)), AF_INET),
  behaviour: { ...GRE_BEHAVIOUR, egressKey: false },
};

/** GRE over IPv6 with Ethernet frames. */
export const ip6gretap: TunnelKind = {
  ...GRE_COMMON,
  name: "ip6gretap",
  attributes: ip6greLink,
  reported: IP6GRE_REPORTED,
  settings: () => greSettings(ip6gretap, new Gre(Payload.ETHERNET_ANY), AF_INET6),
  behaviour: IP6GRE_BEHAVIOUR,
};
