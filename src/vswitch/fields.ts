/**
 * The table of match fields: names as ovs-ofctl writes them, place in the flow, prerequisites. One table drives the
 * parser, the printer, `set_field`, `load` and `move`.
 */
import {
  ETH_TYPE_ARP,
  ETH_TYPE_IP,
  ETH_TYPE_IPV6,
  ETH_TYPE_MPLS,
  ETH_TYPE_MPLS_MCAST,
  ETH_TYPE_RARP,
  F,
  type Flow,
  VLAN_CFI,
} from "./flow.ts";

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

/** One match field. */
export interface OfpField {
  readonly name: string;
  /** Other names: NXM and OXM ones included. */
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

for (let i = 0; i < 16; i++) field(`reg${i}`, F.REGS + 4 * i, 4, "hex", { aliases: [`NXM_NX_REG${i}`] });
for (let i = 0; i < 8; i++)
  field(`xreg${i}`, F.REGS + 8 * i, 8, "hex", { aliases: [`OXM_OF_PKT_REG${i}`, `NXM_NX_XREG${i}`] });
for (let i = 0; i < 4; i++) field(`xxreg${i}`, F.REGS + 16 * i, 16, "hex", { aliases: [`NXM_NX_XXREG${i}`] });
field("metadata", F.METADATA, 8, "hex", { aliases: ["OXM_OF_METADATA"] });
field("skb_priority", F.SKB_PRIORITY, 4, "hex", { maskable: false, writable: false });
field("pkt_mark", F.PKT_MARK, 4, "hex", { aliases: ["NXM_NX_PKT_MARK"] });
field("dp_hash", F.DP_HASH, 4, "hex", { aliases: ["NXM_NX_DP_HASH"], ...READ_ONLY });
field("recirc_id", F.RECIRC_ID, 4, "hex", { aliases: ["NXM_NX_RECIRC_ID"], ...READ_ONLY, ...PLAIN });
field("in_port", F.IN_PORT + 2, 2, "port", { aliases: ["NXM_OF_IN_PORT"], ...PLAIN });
field("in_port_oxm", F.IN_PORT, 4, "port", { aliases: ["OXM_OF_IN_PORT"], ...PLAIN });
field("ct_state", F.CT_STATE, 4, "ct_state", { aliases: ["NXM_NX_CT_STATE"], ...READ_ONLY });
field("ct_zone", F.CT_ZONE, 2, "decimal", { aliases: ["NXM_NX_CT_ZONE"], ...READ_ONLY, ...PLAIN });
field("ct_mark", F.CT_MARK, 4, "hex", { aliases: ["NXM_NX_CT_MARK"] });
field("ct_label", F.CT_LABEL, 16, "hex", { aliases: ["NXM_NX_CT_LABEL", "ct_labels"] });
field("ct_nw_proto", F.CT_NW_PROTO, 1, "decimal", {
  aliases: ["NXM_NX_CT_NW_PROTO"],
  pre: "ct",
  ...READ_ONLY,
  ...PLAIN,
});
field("ct_nw_src", F.CT_NW_SRC, 4, "ip4", { aliases: ["NXM_NX_CT_NW_SRC"], pre: "ct", ...READ_ONLY });
field("ct_nw_dst", F.CT_NW_DST, 4, "ip4", { aliases: ["NXM_NX_CT_NW_DST"], pre: "ct", ...READ_ONLY });
field("ct_ipv6_src", F.CT_IPV6_SRC, 16, "ip6", { aliases: ["NXM_NX_CT_IPV6_SRC"], pre: "ct", ...READ_ONLY });
field("ct_ipv6_dst", F.CT_IPV6_DST, 16, "ip6", { aliases: ["NXM_NX_CT_IPV6_DST"], pre: "ct", ...READ_ONLY });
field("ct_tp_src", F.CT_TP_SRC, 2, "decimal", { aliases: ["NXM_NX_CT_TP_SRC"], pre: "ct", ...READ_ONLY });
field("ct_tp_dst", F.CT_TP_DST, 2, "decimal", { aliases: ["NXM_NX_CT_TP_DST"], pre: "ct", ...READ_ONLY });
field("dl_src", F.DL_SRC, 6, "mac", { aliases: ["eth_src", "NXM_OF_ETH_SRC", "OXM_OF_ETH_SRC"] });
field("dl_dst", F.DL_DST, 6, "mac", { aliases: ["eth_dst", "NXM_OF_ETH_DST", "OXM_OF_ETH_DST"] });
field("dl_type", F.DL_TYPE, 2, "eth_type", {
  aliases: ["eth_type", "NXM_OF_ETH_TYPE", "OXM_OF_ETH_TYPE"],
  ...READ_ONLY,
  ...PLAIN,
});
field("vlan_tci", F.VLAN0_TCI, 2, "tci", { aliases: ["NXM_OF_VLAN_TCI"] });
field("dl_vlan", F.VLAN0_TCI, 2, "decimal", { bits: 12, ...PLAIN });
field("vlan_vid", F.VLAN0_TCI, 2, "tci", { aliases: ["OXM_OF_VLAN_VID"], bits: 13 });
field("dl_vlan_pcp", F.VLAN0_TCI, 2, "decimal", { shift: 13, bits: 3, ...PLAIN });
field("vlan_pcp", F.VLAN0_TCI, 2, "decimal", {
  aliases: ["OXM_OF_VLAN_PCP"],
  shift: 13,
  bits: 3,
  pre: "vlan",
  ...PLAIN,
});
field("mpls_label", F.MPLS, 4, "decimal", {
  aliases: ["OXM_OF_MPLS_LABEL"],
  shift: 12,
  bits: 20,
  pre: "mpls",
  ...PLAIN,
});
field("mpls_tc", F.MPLS, 4, "decimal", { aliases: ["OXM_OF_MPLS_TC"], shift: 9, bits: 3, pre: "mpls", ...PLAIN });
field("mpls_bos", F.MPLS, 4, "decimal", {
  aliases: ["OXM_OF_MPLS_BOS"],
  shift: 8,
  bits: 1,
  pre: "mpls",
  ...READ_ONLY,
  ...PLAIN,
});
field("mpls_ttl", F.MPLS, 4, "decimal", {
  aliases: ["NXM_NX_MPLS_TTL", "OXM_ET_MPLS_TTL"],
  bits: 8,
  pre: "mpls",
  ...PLAIN,
});
field("nw_src", F.NW_SRC, 4, "ip4", { aliases: ["ip_src", "NXM_OF_IP_SRC", "OXM_OF_IPV4_SRC"], pre: "ipv4" });
field("nw_dst", F.NW_DST, 4, "ip4", { aliases: ["ip_dst", "NXM_OF_IP_DST", "OXM_OF_IPV4_DST"], pre: "ipv4" });
field("ipv6_src", F.IPV6_SRC, 16, "ip6", { aliases: ["NXM_NX_IPV6_SRC", "OXM_OF_IPV6_SRC"], pre: "ipv6" });
field("ipv6_dst", F.IPV6_DST, 16, "ip6", { aliases: ["NXM_NX_IPV6_DST", "OXM_OF_IPV6_DST"], pre: "ipv6" });
field("ipv6_label", F.IPV6_LABEL, 4, "hex", {
  aliases: ["NXM_NX_IPV6_LABEL", "OXM_OF_IPV6_FLABEL"],
  bits: 20,
  width: 32,
  pre: "ipv6",
});
field("nw_proto", F.NW_PROTO, 1, "decimal", {
  aliases: ["ip_proto", "NXM_OF_IP_PROTO", "OXM_OF_IP_PROTO"],
  pre: "ip",
  ...READ_ONLY,
  ...PLAIN,
});
field("nw_tos", F.NW_TOS, 1, "decimal", { aliases: ["NXM_OF_IP_TOS"], pre: "ip", ...PLAIN });
field("ip_dscp", F.NW_TOS, 1, "decimal", { aliases: ["OXM_OF_IP_DSCP"], shift: 2, bits: 6, pre: "ip", ...PLAIN });
field("nw_ecn", F.NW_TOS, 1, "decimal", {
  aliases: ["ip_ecn", "NXM_NX_IP_ECN", "OXM_OF_IP_ECN"],
  bits: 2,
  pre: "ip",
  ...PLAIN,
});
field("nw_ttl", F.NW_TTL, 1, "decimal", { aliases: ["NXM_NX_IP_TTL", "OXM_OF_IP_TTL"], pre: "ip", ...PLAIN });
field("ip_frag", F.NW_FRAG, 1, "frag", { aliases: ["nw_frag", "NXM_NX_IP_FRAG"], pre: "ip", ...READ_ONLY });
field("arp_op", F.NW_PROTO, 1, "decimal", {
  aliases: ["NXM_OF_ARP_OP", "OXM_OF_ARP_OP"],
  width: 16,
  pre: "arp",
  ...PLAIN,
});
field("arp_spa", F.NW_SRC, 4, "ip4", { aliases: ["NXM_OF_ARP_SPA", "OXM_OF_ARP_SPA"], pre: "arp" });
field("arp_tpa", F.NW_DST, 4, "ip4", { aliases: ["NXM_OF_ARP_TPA", "OXM_OF_ARP_TPA"], pre: "arp" });
field("arp_sha", F.ARP_SHA, 6, "mac", { aliases: ["NXM_NX_ARP_SHA", "OXM_OF_ARP_SHA"], pre: "arp" });
field("arp_tha", F.ARP_THA, 6, "mac", { aliases: ["NXM_NX_ARP_THA", "OXM_OF_ARP_THA"], pre: "arp" });
field("tcp_src", F.TP_SRC, 2, "decimal", { aliases: ["NXM_OF_TCP_SRC", "OXM_OF_TCP_SRC"], pre: "tcp" });
field("tcp_dst", F.TP_DST, 2, "decimal", { aliases: ["NXM_OF_TCP_DST", "OXM_OF_TCP_DST"], pre: "tcp" });
field("tcp_flags", F.TCP_FLAGS, 2, "tcp_flags", {
  aliases: ["NXM_NX_TCP_FLAGS", "OXM_OF_TCP_FLAGS"],
  bits: 12,
  width: 16,
  pre: "tcp",
  ...READ_ONLY,
});
field("udp_src", F.TP_SRC, 2, "decimal", { aliases: ["NXM_OF_UDP_SRC", "OXM_OF_UDP_SRC"], pre: "udp" });
field("udp_dst", F.TP_DST, 2, "decimal", { aliases: ["NXM_OF_UDP_DST", "OXM_OF_UDP_DST"], pre: "udp" });
field("sctp_src", F.TP_SRC, 2, "decimal", { aliases: ["OXM_OF_SCTP_SRC"], pre: "sctp" });
field("sctp_dst", F.TP_DST, 2, "decimal", { aliases: ["OXM_OF_SCTP_DST"], pre: "sctp" });
field("icmp_type", F.TP_SRC, 2, "decimal", {
  aliases: ["icmpv4_type", "NXM_OF_ICMP_TYPE", "OXM_OF_ICMPV4_TYPE"],
  bits: 8,
  pre: "icmp4",
  ...PLAIN,
});
field("icmp_code", F.TP_DST, 2, "decimal", {
  aliases: ["icmpv4_code", "NXM_OF_ICMP_CODE", "OXM_OF_ICMPV4_CODE"],
  bits: 8,
  pre: "icmp4",
  ...PLAIN,
});
field("icmpv6_type", F.TP_SRC, 2, "decimal", {
  aliases: ["NXM_NX_ICMPV6_TYPE", "OXM_OF_ICMPV6_TYPE"],
  bits: 8,
  pre: "icmp6",
  ...PLAIN,
});
field("icmpv6_code", F.TP_DST, 2, "decimal", {
  aliases: ["NXM_NX_ICMPV6_CODE", "OXM_OF_ICMPV6_CODE"],
  bits: 8,
  pre: "icmp6",
  ...PLAIN,
});
field("nd_target", F.ND_TARGET, 16, "ip6", { aliases: ["NXM_NX_ND_TARGET", "OXM_OF_IPV6_ND_TARGET"], pre: "nd" });
field("nd_sll", F.ARP_SHA, 6, "mac", { aliases: ["NXM_NX_ND_SLL", "OXM_OF_IPV6_ND_SLL"], pre: "nd_solicit" });
field("nd_tll", F.ARP_THA, 6, "mac", { aliases: ["NXM_NX_ND_TLL", "OXM_OF_IPV6_ND_TLL"], pre: "nd_advert" });

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

/** The field of a name that is known to exist. */
export function fieldNamed(name: string): OfpField {
  const found = findField(name);
  if (!found) throw new Error(`no field ${name}`);
  return found;
}

/**
 * What `load` and `move` address: `bits` bits of a field from bit `start` on, counted from the low end.
 */
export interface Subfield {
  readonly field: OfpField;
  readonly start: number;
  readonly bits: number;
}

/** Bit `bit` (0 is the lowest) of the `size` bytes at `offset`. */
function getBit(bytes: Uint8Array, offset: number, size: number, bit: number): number {
  return (bytes[offset + size - 1 - (bit >> 3)] >> (bit & 7)) & 1;
}
function putBit(bytes: Uint8Array, offset: number, size: number, bit: number, value: number): void {
  const at = offset + size - 1 - (bit >> 3);
  const flag = 1 << (bit & 7);
  if (value) bytes[at] |= flag;
  else bytes[at] &= ~flag;
}

/**
 * Copies `bits` bits between two right-aligned big-endian containers. Nine parameters, because each translated load and
 * move comes here: objects for the two places would be made for each.
 */
export function copyBits(
  source: Uint8Array,
  sourceOffset: number,
  sourceSize: number,
  sourceBit: number,
  target: Uint8Array,
  targetOffset: number,
  targetSize: number,
  targetBit: number,
  bits: number,
): void {
  // Whole bytes on byte boundaries are the common case: addresses, registers, ports.
  if (((sourceBit | targetBit | bits) & 7) === 0) {
    const count = bits >> 3;
    const from = sourceOffset + sourceSize - (sourceBit >> 3) - count;
    target.set(source.subarray(from, from + count), targetOffset + targetSize - (targetBit >> 3) - count);
    return;
  }
  for (let i = 0; i < bits; i++) {
    putBit(target, targetOffset, targetSize, targetBit + i, getBit(source, sourceOffset, sourceSize, sourceBit + i));
  }
}

/** The value of a subfield as a right-aligned big-endian number of ⌈bits / 8⌉ bytes. */
export function getSubfield(flow: Flow, subfield: Subfield): Uint8Array {
  const { field: f, start, bits } = subfield;
  const value = new Uint8Array((bits + 7) >> 3);
  copyBits(flow.bytes, f.offset, f.size, f.shift + start, value, 0, value.length, 0, bits);
  return value;
}

/** Puts the low `bits` bits of `value` into a subfield. */
export function putSubfield(flow: Flow, subfield: Subfield, value: Uint8Array): void {
  const { field: f, start, bits } = subfield;
  copyBits(value, 0, value.length, 0, flow.bytes, f.offset, f.size, f.shift + start, bits);
}

/** Sets all bits of a subfield. */
export function fillSubfield(flow: Flow, subfield: Subfield): void {
  const { field: f, start, bits } = subfield;
  for (let i = 0; i < bits; i++) putBit(flow.bytes, f.offset, f.size, f.shift + start + i, 1);
}

/** The field as one subfield. */
export function wholeField(f: OfpField): Subfield {
  return { field: f, start: 0, bits: f.bits };
}

/** A field's value as a bigint. */
export function fieldValue(flow: Flow, f: OfpField): bigint {
  return bytesToBigint(getSubfield(flow, wholeField(f)));
}

export function bytesToBigint(bytes: Uint8Array): bigint {
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  return value;
}

/** A right-aligned big-endian number of `size` bytes. */
export function bigintToBytes(value: bigint, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  let rest = value;
  for (let i = size - 1; i >= 0; i--) {
    bytes[i] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  return bytes;
}

/**
 * Whether a packet meets a prerequisite. The bits consulted are set in `wildcards`, where given.
 */
export function hasPrerequisite(flow: Flow, pre: Prerequisite, wildcards?: Flow): boolean {
  const type = flow.u16(F.DL_TYPE);
  switch (pre) {
    case "none":
    case "ct":
      return true;
    case "vlan":
      wildcards?.put16(F.VLAN0_TCI, wildcards.u16(F.VLAN0_TCI) | VLAN_CFI);
      return (flow.u16(F.VLAN0_TCI) & VLAN_CFI) !== 0;
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
      wildcards?.fill(F.TP_SRC, 4, 0xff);
      if (!flow.isNd) return false;
      const wanted = pre === "nd_solicit" ? 135 : pre === "nd_advert" ? 136 : 0;
      return wanted === 0 || flow.u16(F.TP_SRC) === wanted;
    }
  }
}

function hasProtocol(flow: Flow, protocol: number, wildcards?: Flow): boolean {
  if (!flow.isIp) return false;
  wildcards?.put8(F.NW_PROTO, 0xff);
  return flow.u8(F.NW_PROTO) === protocol && !flow.isLaterFragment;
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
