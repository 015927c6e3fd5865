import {
  OVS_KEY_ATTR_ARP,
  OVS_KEY_ATTR_CT_LABELS,
  OVS_KEY_ATTR_CT_MARK,
  OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4,
  OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6,
  OVS_KEY_ATTR_CT_STATE,
  OVS_KEY_ATTR_CT_ZONE,
  OVS_KEY_ATTR_DP_HASH,
  OVS_KEY_ATTR_ENCAP,
  OVS_KEY_ATTR_ETHERNET,
  OVS_KEY_ATTR_ETHERTYPE,
  OVS_KEY_ATTR_ICMP,
  OVS_KEY_ATTR_ICMPV6,
  OVS_KEY_ATTR_IN_PORT,
  OVS_KEY_ATTR_IPV4,
  OVS_KEY_ATTR_IPV6,
  OVS_KEY_ATTR_IPV6_EXTHDRS,
  OVS_KEY_ATTR_MPLS,
  OVS_KEY_ATTR_ND,
  OVS_KEY_ATTR_NSH,
  OVS_KEY_ATTR_PRIORITY,
  OVS_KEY_ATTR_RECIRC_ID,
  OVS_KEY_ATTR_SCTP,
  OVS_KEY_ATTR_SKB_MARK,
  OVS_KEY_ATTR_TCP,
  OVS_KEY_ATTR_TCP_FLAGS,
  OVS_KEY_ATTR_TUNNEL,
  OVS_KEY_ATTR_UDP,
  OVS_KEY_ATTR_VLAN,
  OVS_NSH_KEY_ATTR_BASE,
  OVS_NSH_KEY_ATTR_MD1,
  OVS_NSH_KEY_ATTR_MD2,
  OVS_TUNNEL_KEY_ATTR_CSUM,
  OVS_TUNNEL_KEY_ATTR_DONT_FRAGMENT,
  OVS_TUNNEL_KEY_ATTR_ERSPAN_OPTS,
  OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS,
  OVS_TUNNEL_KEY_ATTR_ID,
  OVS_TUNNEL_KEY_ATTR_IPV4_DST,
  OVS_TUNNEL_KEY_ATTR_IPV4_INFO_BRIDGE,
  OVS_TUNNEL_KEY_ATTR_IPV4_SRC,
  OVS_TUNNEL_KEY_ATTR_IPV6_DST,
  OVS_TUNNEL_KEY_ATTR_IPV6_SRC,
  OVS_TUNNEL_KEY_ATTR_OAM,
  OVS_TUNNEL_KEY_ATTR_PAD,
  OVS_TUNNEL_KEY_ATTR_TOS,
  OVS_TUNNEL_KEY_ATTR_TP_DST,
  OVS_TUNNEL_KEY_ATTR_TP_SRC,
  OVS_TUNNEL_KEY_ATTR_TTL,
  OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS,
  OVS_VXLAN_EXT_GBP,
} from "../uapi/openvswitch.ts";

/** Payload lengths in the tables below that are no number of bytes. */
export const enum AttrLength {
  /** Attributes inside, of any length. */
  NESTED = -1,
  /** Bytes, of a length checked where they are read. */
  VARIABLE = -2,
  /** User space's own: refused whatever its length (spec/keys K-030 to K-032). */
  REFUSED = -3,
}

/** One attribute table: payload length by attribute number. Numbers beyond its end are unknown. */
export type AttrLengths = readonly number[];

const table = (highest: number, unset: number, entries: readonly (readonly [type: number, length: number])[]) => {
  const lengths: number[] = new Array(highest + 1).fill(unset);
  for (const [type, length] of entries) lengths[type] = length;
  return lengths as AttrLengths;
};

/** OVS_KEY_ATTR_*: struct layouts are in spec/keys section 1. UNSPEC has length 0 (K-001). */
export const KEY_LENGTHS: AttrLengths = table(OVS_KEY_ATTR_IPV6_EXTHDRS, AttrLength.REFUSED, [
  [0, 0],
  [OVS_KEY_ATTR_ENCAP, AttrLength.NESTED],
  [OVS_KEY_ATTR_PRIORITY, 4],
  [OVS_KEY_ATTR_IN_PORT, 4],
  [OVS_KEY_ATTR_ETHERNET, 12],
  [OVS_KEY_ATTR_VLAN, 2],
  [OVS_KEY_ATTR_ETHERTYPE, 2],
  [OVS_KEY_ATTR_IPV4, 12],
  [OVS_KEY_ATTR_IPV6, 40],
  [OVS_KEY_ATTR_TCP, 4],
  [OVS_KEY_ATTR_UDP, 4],
  [OVS_KEY_ATTR_ICMP, 2],
  [OVS_KEY_ATTR_ICMPV6, 2],
  [OVS_KEY_ATTR_ARP, 24],
  [OVS_KEY_ATTR_ND, 28],
  [OVS_KEY_ATTR_SKB_MARK, 4],
  [OVS_KEY_ATTR_TUNNEL, AttrLength.NESTED],
  [OVS_KEY_ATTR_SCTP, 4],
  [OVS_KEY_ATTR_TCP_FLAGS, 2],
  [OVS_KEY_ATTR_DP_HASH, 4],
  [OVS_KEY_ATTR_RECIRC_ID, 4],
  [OVS_KEY_ATTR_MPLS, AttrLength.VARIABLE],
  [OVS_KEY_ATTR_CT_STATE, 4],
  [OVS_KEY_ATTR_CT_ZONE, 2],
  [OVS_KEY_ATTR_CT_MARK, 4],
  [OVS_KEY_ATTR_CT_LABELS, 16],
  [OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4, 16],
  [OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6, 40],
  [OVS_KEY_ATTR_NSH, AttrLength.NESTED],
  [OVS_KEY_ATTR_IPV6_EXTHDRS, 2],
]);

/** OVS_TUNNEL_KEY_ATTR_* (spec/keys section 14). */
export const TUNNEL_KEY_LENGTHS: AttrLengths = table(OVS_TUNNEL_KEY_ATTR_IPV4_INFO_BRIDGE, AttrLength.REFUSED, [
  [OVS_TUNNEL_KEY_ATTR_ID, 8],
  [OVS_TUNNEL_KEY_ATTR_IPV4_SRC, 4],
  [OVS_TUNNEL_KEY_ATTR_IPV4_DST, 4],
  [OVS_TUNNEL_KEY_ATTR_TOS, 1],
  [OVS_TUNNEL_KEY_ATTR_TTL, 1],
  [OVS_TUNNEL_KEY_ATTR_DONT_FRAGMENT, 0],
  [OVS_TUNNEL_KEY_ATTR_CSUM, 0],
  [OVS_TUNNEL_KEY_ATTR_OAM, 0],
  [OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS, AttrLength.VARIABLE],
  [OVS_TUNNEL_KEY_ATTR_TP_SRC, 2],
  [OVS_TUNNEL_KEY_ATTR_TP_DST, 2],
  [OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS, AttrLength.NESTED],
  [OVS_TUNNEL_KEY_ATTR_IPV6_SRC, 16],
  [OVS_TUNNEL_KEY_ATTR_IPV6_DST, 16],
  [OVS_TUNNEL_KEY_ATTR_PAD, 0],
  [OVS_TUNNEL_KEY_ATTR_ERSPAN_OPTS, AttrLength.VARIABLE],
  [OVS_TUNNEL_KEY_ATTR_IPV4_INFO_BRIDGE, 0],
]);

/** OVS_VXLAN_EXT_* inside OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS. */
export const VXLAN_EXT_LENGTHS: AttrLengths = table(OVS_VXLAN_EXT_GBP, AttrLength.REFUSED, [[OVS_VXLAN_EXT_GBP, 4]]);

/** OVS_NSH_KEY_ATTR_* (spec/keys K-029). */
export const NSH_KEY_LENGTHS: AttrLengths = table(OVS_NSH_KEY_ATTR_MD2, AttrLength.REFUSED, [
  [OVS_NSH_KEY_ATTR_BASE, 8],
  [OVS_NSH_KEY_ATTR_MD1, 16],
  [OVS_NSH_KEY_ATTR_MD2, AttrLength.VARIABLE],
]);

/** True when an attribute of this number may have a payload of `length` bytes. */
export function attrLengthOk(lengths: AttrLengths, type: number, length: number): boolean {
  if (type >= lengths.length) return false;
  const expected = lengths[type];
  return expected === length || expected === AttrLength.NESTED || expected === AttrLength.VARIABLE;
}
