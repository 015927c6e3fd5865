/**
 * The attributes of the ovs_* families as data (include/uapi/linux/openvswitch.h; spec/families, spec/keys section 1,
 * spec/actions section 1, spec/conntrack sections 1 and 2). Names are those of the header without their prefix.
 *
 * What not every kernel has carries `since`; AttributeSet.asOf() gives a set as a given kernel has it.
 *
 * What the generic-netlink layer checks are the top-level sets only; keys and actions are checked by their own parsers
 * (src/flow, src/datapath), with errnos of their own, by lengths taken from here (lengths.ts).
 */
import {
  type AnyAttributeSet,
  type Attribute,
  attributeSet,
  be16,
  be64,
  binary,
  bytes,
  checkedAs,
  flag,
  list,
  markedNested,
  nested,
  nulString,
  Rule,
  recursive,
  replyOnly,
  s32,
  sequence,
  since,
  struct,
  structs,
  u8,
  u16,
  u32,
  u32s,
  u64,
  unspec,
} from "../netlink/schema/index.ts";
import * as ovs from "../uapi/openvswitch.ts";
import { kernelVersion } from "../uapi/version.ts";

const IFNAMSIZ = 16;

/** ovs_datapath (spec/families section 4). */
export const datapathAttributes = attributeSet("ovs_datapath", {
  NAME: nulString(ovs.OVS_DP_ATTR_NAME, IFNAMSIZ - 1),
  UPCALL_PID: u32(ovs.OVS_DP_ATTR_UPCALL_PID),
  STATS: replyOnly(struct(ovs.OVS_DP_ATTR_STATS, { hit: "u64", missed: "u64", lost: "u64", flows: "u64" })),
  MEGAFLOW_STATS: replyOnly(
    struct(ovs.OVS_DP_ATTR_MEGAFLOW_STATS, {
      mask_hit: "u64",
      masks: "u32",
      pad0: "pad4",
      cache_hit: "u64",
      pad1: "pad4",
      pad2: "pad4",
    }),
  ),
  USER_FEATURES: u32(ovs.OVS_DP_ATTR_USER_FEATURES),
  PAD: unspec(ovs.OVS_DP_ATTR_PAD),
  MASKS_CACHE_SIZE: u32(ovs.OVS_DP_ATTR_MASKS_CACHE_SIZE, { min: 0, max: 4096 }),
  PER_CPU_PIDS: u32s(ovs.OVS_DP_ATTR_PER_CPU_PIDS),
  IFINDEX: s32(ovs.OVS_DP_ATTR_IFINDEX, { min: 0 }),
});

/** OVS_TUNNEL_ATTR_* of a vport's options. */
export const tunnelOptions = attributeSet("ovs_tunnel", {
  DST_PORT: u16(ovs.OVS_TUNNEL_ATTR_DST_PORT),
  EXTENSION: nested(ovs.OVS_TUNNEL_ATTR_EXTENSION, () => vxlanExtension),
});

/** OVS_VXLAN_EXT_* */
export const vxlanExtension = attributeSet("ovs_vxlan_ext", { GBP: flag(ovs.OVS_VXLAN_EXT_GBP) });

/** OVS_VPORT_UPCALL_ATTR_* */
export const upcallStats = attributeSet("ovs_vport_upcall", {
  SUCCESS: u64(ovs.OVS_VPORT_UPCALL_ATTR_SUCCESS),
  FAIL: u64(ovs.OVS_VPORT_UPCALL_ATTR_FAIL),
});

/** ovs_vport (section 6). */
export const vportAttributes = attributeSet("ovs_vport", {
  PORT_NO: u32(ovs.OVS_VPORT_ATTR_PORT_NO),
  TYPE: u32(ovs.OVS_VPORT_ATTR_TYPE),
  NAME: nulString(ovs.OVS_VPORT_ATTR_NAME, IFNAMSIZ - 1),
  OPTIONS: nested(ovs.OVS_VPORT_ATTR_OPTIONS, () => tunnelOptions),
  UPCALL_PID: u32s(ovs.OVS_VPORT_ATTR_UPCALL_PID),
  STATS: struct(ovs.OVS_VPORT_ATTR_STATS, {
    rx_packets: "u64",
    tx_packets: "u64",
    rx_bytes: "u64",
    tx_bytes: "u64",
    rx_errors: "u64",
    tx_errors: "u64",
    rx_dropped: "u64",
    tx_dropped: "u64",
  }),
  PAD: unspec(ovs.OVS_VPORT_ATTR_PAD),
  IFINDEX: s32(ovs.OVS_VPORT_ATTR_IFINDEX, { min: 0 }),
  NETNSID: s32(ovs.OVS_VPORT_ATTR_NETNSID),
  UPCALL_STATS: since(
    kernelVersion(6, 2),
    nested(ovs.OVS_VPORT_ATTR_UPCALL_STATS, () => upcallStats),
  ),
});

/** The key inside ENCAP: as keyAttributes, without ENCAP's own type, which TypeScript cannot infer. */
export type KeyValues = Readonly<Record<string, unknown>>;

/** OVS_KEY_ATTR_* (spec/keys section 1). */
export const keyAttributes = attributeSet("ovs_key", {
  ENCAP: recursive<KeyValues>(ovs.OVS_KEY_ATTR_ENCAP, (): AnyAttributeSet => keyAttributes),
  PRIORITY: u32(ovs.OVS_KEY_ATTR_PRIORITY),
  IN_PORT: u32(ovs.OVS_KEY_ATTR_IN_PORT),
  ETHERNET: struct(ovs.OVS_KEY_ATTR_ETHERNET, { src: "mac", dst: "mac" }),
  VLAN: be16(ovs.OVS_KEY_ATTR_VLAN),
  ETHERTYPE: be16(ovs.OVS_KEY_ATTR_ETHERTYPE),
  IPV4: struct(ovs.OVS_KEY_ATTR_IPV4, { src: "ipv4", dst: "ipv4", proto: "u8", tos: "u8", ttl: "u8", frag: "u8" }),
  IPV6: struct(ovs.OVS_KEY_ATTR_IPV6, {
    src: "ipv6",
    dst: "ipv6",
    label: "be32",
    proto: "u8",
    tclass: "u8",
    hlimit: "u8",
    frag: "u8",
  }),
  TCP: struct(ovs.OVS_KEY_ATTR_TCP, { src: "be16", dst: "be16" }),
  UDP: struct(ovs.OVS_KEY_ATTR_UDP, { src: "be16", dst: "be16" }),
  ICMP: struct(ovs.OVS_KEY_ATTR_ICMP, { type: "u8", code: "u8" }),
  ICMPV6: struct(ovs.OVS_KEY_ATTR_ICMPV6, { type: "u8", code: "u8" }),
  ARP: struct(ovs.OVS_KEY_ATTR_ARP, { sip: "ipv4", tip: "ipv4", op: "be16", sha: "mac", tha: "mac", pad: "pad2" }),
  ND: struct(ovs.OVS_KEY_ATTR_ND, { target: "ipv6", sll: "mac", tll: "mac" }),
  SKB_MARK: u32(ovs.OVS_KEY_ATTR_SKB_MARK),
  TUNNEL: nested(ovs.OVS_KEY_ATTR_TUNNEL, () => tunnelKeyAttributes),
  SCTP: struct(ovs.OVS_KEY_ATTR_SCTP, { src: "be16", dst: "be16" }),
  TCP_FLAGS: be16(ovs.OVS_KEY_ATTR_TCP_FLAGS),
  DP_HASH: u32(ovs.OVS_KEY_ATTR_DP_HASH),
  RECIRC_ID: u32(ovs.OVS_KEY_ATTR_RECIRC_ID),
  MPLS: checkedAs(structs(ovs.OVS_KEY_ATTR_MPLS, { lse: "be32" }), Rule.BINARY),
  CT_STATE: u32(ovs.OVS_KEY_ATTR_CT_STATE),
  CT_ZONE: u16(ovs.OVS_KEY_ATTR_CT_ZONE),
  CT_MARK: u32(ovs.OVS_KEY_ATTR_CT_MARK),
  CT_LABELS: bytes(ovs.OVS_KEY_ATTR_CT_LABELS, 16),
  CT_ORIG_TUPLE_IPV4: struct(ovs.OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4, {
    src: "ipv4",
    dst: "ipv4",
    sport: "be16",
    dport: "be16",
    proto: "u8",
    pad: "pad3",
  }),
  CT_ORIG_TUPLE_IPV6: struct(ovs.OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6, {
    src: "ipv6",
    dst: "ipv6",
    sport: "be16",
    dport: "be16",
    proto: "u8",
    pad: "pad3",
  }),
  NSH: nested(ovs.OVS_KEY_ATTR_NSH, () => nshAttributes),
  IPV6_EXTHDRS: u16(ovs.OVS_KEY_ATTR_IPV6_EXTHDRS),
});

/** OVS_NSH_KEY_ATTR_* */
export const nshAttributes = attributeSet("ovs_nsh", {
  BASE: struct(ovs.OVS_NSH_KEY_ATTR_BASE, {
    flags: "u8",
    ttl: "u8",
    mdtype: "u8",
    np: "u8",
    path: "be32",
  }),
  MD1: bytes(ovs.OVS_NSH_KEY_ATTR_MD1, 16),
  MD2: binary(ovs.OVS_NSH_KEY_ATTR_MD2),
});

/** OVS_TUNNEL_KEY_ATTR_* (spec/keys section 14). */
export const tunnelKeyAttributes = attributeSet("ovs_tunnel_key", {
  ID: be64(ovs.OVS_TUNNEL_KEY_ATTR_ID),
  IPV4_SRC: struct(ovs.OVS_TUNNEL_KEY_ATTR_IPV4_SRC, { addr: "ipv4" }),
  IPV4_DST: struct(ovs.OVS_TUNNEL_KEY_ATTR_IPV4_DST, { addr: "ipv4" }),
  TOS: u8(ovs.OVS_TUNNEL_KEY_ATTR_TOS),
  TTL: u8(ovs.OVS_TUNNEL_KEY_ATTR_TTL),
  DONT_FRAGMENT: flag(ovs.OVS_TUNNEL_KEY_ATTR_DONT_FRAGMENT),
  CSUM: flag(ovs.OVS_TUNNEL_KEY_ATTR_CSUM),
  OAM: flag(ovs.OVS_TUNNEL_KEY_ATTR_OAM),
  GENEVE_OPTS: binary(ovs.OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS),
  TP_SRC: be16(ovs.OVS_TUNNEL_KEY_ATTR_TP_SRC),
  TP_DST: be16(ovs.OVS_TUNNEL_KEY_ATTR_TP_DST),
  /** vxlanKeyExtension, as bytes. */
  VXLAN_OPTS: checkedAs(binary(ovs.OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS), Rule.NESTED),
  IPV6_SRC: struct(ovs.OVS_TUNNEL_KEY_ATTR_IPV6_SRC, { addr: "ipv6" }),
  IPV6_DST: struct(ovs.OVS_TUNNEL_KEY_ATTR_IPV6_DST, { addr: "ipv6" }),
  PAD: unspec(ovs.OVS_TUNNEL_KEY_ATTR_PAD),
  ERSPAN_OPTS: binary(ovs.OVS_TUNNEL_KEY_ATTR_ERSPAN_OPTS),
  IPV4_INFO_BRIDGE: flag(ovs.OVS_TUNNEL_KEY_ATTR_IPV4_INFO_BRIDGE),
});

/** OVS_VXLAN_EXT_* in a tunnel key. */
export const vxlanKeyExtension = attributeSet("ovs_vxlan_key", { GBP: u32(ovs.OVS_VXLAN_EXT_GBP) });

/** OVS_NAT_ATTR_* (spec/conntrack section 2). */
export const natAttributes = attributeSet("ovs_nat", {
  SRC: flag(ovs.OVS_NAT_ATTR_SRC),
  DST: flag(ovs.OVS_NAT_ATTR_DST),
  IP_MIN: binary(ovs.OVS_NAT_ATTR_IP_MIN),
  IP_MAX: binary(ovs.OVS_NAT_ATTR_IP_MAX),
  PROTO_MIN: u16(ovs.OVS_NAT_ATTR_PROTO_MIN),
  PROTO_MAX: u16(ovs.OVS_NAT_ATTR_PROTO_MAX),
  PERSISTENT: flag(ovs.OVS_NAT_ATTR_PERSISTENT),
  PROTO_HASH: flag(ovs.OVS_NAT_ATTR_PROTO_HASH),
  PROTO_RANDOM: flag(ovs.OVS_NAT_ATTR_PROTO_RANDOM),
});

/** OVS_CT_ATTR_* (spec/conntrack section 1). */
export const ctAttributes = attributeSet("ovs_ct", {
  COMMIT: flag(ovs.OVS_CT_ATTR_COMMIT),
  ZONE: u16(ovs.OVS_CT_ATTR_ZONE),
  MARK: struct(ovs.OVS_CT_ATTR_MARK, { value: "u32", mask: "u32" }),
  LABELS: struct(ovs.OVS_CT_ATTR_LABELS, { value: "bytes16", mask: "bytes16" }),
  HELPER: nulString(ovs.OVS_CT_ATTR_HELPER, 15),
  NAT: nested(ovs.OVS_CT_ATTR_NAT, () => natAttributes),
  FORCE_COMMIT: flag(ovs.OVS_CT_ATTR_FORCE_COMMIT),
  EVENTMASK: u32(ovs.OVS_CT_ATTR_EVENTMASK),
  TIMEOUT: nulString(ovs.OVS_CT_ATTR_TIMEOUT, 31),
});

/** OVS_USERSPACE_ATTR_* */
export const userspaceAttributes = attributeSet("ovs_userspace", {
  PID: u32(ovs.OVS_USERSPACE_ATTR_PID),
  USERDATA: binary(ovs.OVS_USERSPACE_ATTR_USERDATA),
  EGRESS_TUN_PORT: u32(ovs.OVS_USERSPACE_ATTR_EGRESS_TUN_PORT),
  ACTIONS: flag(ovs.OVS_USERSPACE_ATTR_ACTIONS),
});

/** Actions inside actions: a list of objects with one action each. */
export type ActionList = readonly Readonly<Record<string, unknown>>[];

/** An attribute that holds actions. */
const actions = (type: number): Attribute<ActionList> =>
  recursive<ActionList>(type, (): AnyAttributeSet => actionAttributes);

/** OVS_SAMPLE_ATTR_* */
export const sampleAttributes = attributeSet("ovs_sample", {
  PROBABILITY: u32(ovs.OVS_SAMPLE_ATTR_PROBABILITY),
  ACTIONS: actions(ovs.OVS_SAMPLE_ATTR_ACTIONS),
});

/** OVS_CHECK_PKT_LEN_ATTR_* */
export const checkPktLenAttributes = attributeSet("ovs_check_pkt_len", {
  PKT_LEN: u16(ovs.OVS_CHECK_PKT_LEN_ATTR_PKT_LEN),
  ACTIONS_IF_GREATER: actions(ovs.OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_GREATER),
  ACTIONS_IF_LESS_EQUAL: actions(ovs.OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_LESS_EQUAL),
});

/** OVS_DEC_TTL_ATTR_* */
export const decTtlAttributes = attributeSet("ovs_dec_ttl", { ACTION: actions(ovs.OVS_DEC_TTL_ATTR_ACTION) });

/** OVS_PSAMPLE_ATTR_* */
export const psampleAttributes = attributeSet("ovs_psample", {
  GROUP: u32(ovs.OVS_PSAMPLE_ATTR_GROUP),
  COOKIE: binary(ovs.OVS_PSAMPLE_ATTR_COOKIE),
});

/** OVS_ACTION_ATTR_* (spec/actions section 1): ordered, one object per action. */
export const actionAttributes = attributeSet(
  "ovs_action",
  {
    OUTPUT: u32(ovs.OVS_ACTION_ATTR_OUTPUT),
    USERSPACE: nested(ovs.OVS_ACTION_ATTR_USERSPACE, () => userspaceAttributes),
    SET: nested(ovs.OVS_ACTION_ATTR_SET, () => keyAttributes),
    PUSH_VLAN: struct(ovs.OVS_ACTION_ATTR_PUSH_VLAN, { tpid: "be16", tci: "be16" }),
    POP_VLAN: flag(ovs.OVS_ACTION_ATTR_POP_VLAN),
    SAMPLE: nested(ovs.OVS_ACTION_ATTR_SAMPLE, () => sampleAttributes),
    RECIRC: u32(ovs.OVS_ACTION_ATTR_RECIRC),
    HASH: struct(ovs.OVS_ACTION_ATTR_HASH, { alg: "u32", basis: "u32" }),
    PUSH_MPLS: struct(ovs.OVS_ACTION_ATTR_PUSH_MPLS, { lse: "be32", ethertype: "be16", pad: "pad2" }),
    POP_MPLS: be16(ovs.OVS_ACTION_ATTR_POP_MPLS),
    /** Values, each followed by its mask of the same layout. */
    SET_MASKED: binary(ovs.OVS_ACTION_ATTR_SET_MASKED),
    CT: nested(ovs.OVS_ACTION_ATTR_CT, () => ctAttributes),
    TRUNC: u32(ovs.OVS_ACTION_ATTR_TRUNC),
    PUSH_ETH: struct(ovs.OVS_ACTION_ATTR_PUSH_ETH, { src: "mac", dst: "mac" }),
    POP_ETH: flag(ovs.OVS_ACTION_ATTR_POP_ETH),
    CT_CLEAR: flag(ovs.OVS_ACTION_ATTR_CT_CLEAR),
    PUSH_NSH: nested(ovs.OVS_ACTION_ATTR_PUSH_NSH, () => nshAttributes),
    POP_NSH: flag(ovs.OVS_ACTION_ATTR_POP_NSH),
    METER: u32(ovs.OVS_ACTION_ATTR_METER),
    CLONE: actions(ovs.OVS_ACTION_ATTR_CLONE),
    CHECK_PKT_LEN: nested(ovs.OVS_ACTION_ATTR_CHECK_PKT_LEN, () => checkPktLenAttributes),
    ADD_MPLS: struct(ovs.OVS_ACTION_ATTR_ADD_MPLS, { lse: "be32", ethertype: "be16", flags: "u16" }),
    DEC_TTL: nested(ovs.OVS_ACTION_ATTR_DEC_TTL, () => decTtlAttributes),
    DROP: since(kernelVersion(6, 6), u32(ovs.OVS_ACTION_ATTR_DROP)),
    PSAMPLE: since(kernelVersion(6, 11), markedNested(nested(ovs.OVS_ACTION_ATTR_PSAMPLE, () => psampleAttributes))),
  },
  { ordered: true },
);

/** ovs_flow (section 8). */
export const flowAttributes = attributeSet("ovs_flow", {
  KEY: nested(ovs.OVS_FLOW_ATTR_KEY, () => keyAttributes),
  ACTIONS: sequence(ovs.OVS_FLOW_ATTR_ACTIONS, () => actionAttributes),
  STATS: replyOnly(struct(ovs.OVS_FLOW_ATTR_STATS, { packets: "u64", bytes: "u64" })),
  TCP_FLAGS: replyOnly(u8(ovs.OVS_FLOW_ATTR_TCP_FLAGS)),
  USED: replyOnly(u64(ovs.OVS_FLOW_ATTR_USED)),
  CLEAR: flag(ovs.OVS_FLOW_ATTR_CLEAR),
  MASK: nested(ovs.OVS_FLOW_ATTR_MASK, () => keyAttributes),
  PROBE: flag(ovs.OVS_FLOW_ATTR_PROBE),
  UFID: unspec(ovs.OVS_FLOW_ATTR_UFID, 1),
  UFID_FLAGS: u32(ovs.OVS_FLOW_ATTR_UFID_FLAGS),
  PAD: unspec(ovs.OVS_FLOW_ATTR_PAD),
});

/** ovs_packet (section 10). */
export const packetAttributes = attributeSet("ovs_packet", {
  PACKET: unspec(ovs.OVS_PACKET_ATTR_PACKET, 14),
  KEY: nested(ovs.OVS_PACKET_ATTR_KEY, () => keyAttributes),
  ACTIONS: sequence(ovs.OVS_PACKET_ATTR_ACTIONS, () => actionAttributes),
  USERDATA: unspec(ovs.OVS_PACKET_ATTR_USERDATA),
  EGRESS_TUN_KEY: checkedAs(
    nested(ovs.OVS_PACKET_ATTR_EGRESS_TUN_KEY, () => tunnelKeyAttributes),
    Rule.UNSPEC,
  ),
  PROBE: flag(ovs.OVS_PACKET_ATTR_PROBE),
  MRU: u16(ovs.OVS_PACKET_ATTR_MRU),
  LEN: replyOnly(u32(ovs.OVS_PACKET_ATTR_LEN)),
  HASH: u64(ovs.OVS_PACKET_ATTR_HASH),
  UPCALL_PID: since(kernelVersion(6, 17), u32(ovs.OVS_PACKET_ATTR_UPCALL_PID)),
});

/** OVS_BAND_ATTR_* */
export const bandAttributes = attributeSet("ovs_band", {
  TYPE: u32(ovs.OVS_BAND_ATTR_TYPE),
  RATE: u32(ovs.OVS_BAND_ATTR_RATE),
  BURST: u32(ovs.OVS_BAND_ATTR_BURST),
  STATS: struct(ovs.OVS_BAND_ATTR_STATS, { packets: "u64", bytes: "u64" }),
});

/** ovs_meter (section 11). */
export const meterAttributes = attributeSet("ovs_meter", {
  ID: u32(ovs.OVS_METER_ATTR_ID),
  KBPS: flag(ovs.OVS_METER_ATTR_KBPS),
  STATS: struct(ovs.OVS_METER_ATTR_STATS, { packets: "u64", bytes: "u64" }),
  BANDS: list(
    ovs.OVS_METER_ATTR_BANDS,
    nested(0, () => bandAttributes),
  ),
  USED: u64(ovs.OVS_METER_ATTR_USED),
  CLEAR: flag(ovs.OVS_METER_ATTR_CLEAR),
  MAX_METERS: u32(ovs.OVS_METER_ATTR_MAX_METERS),
  MAX_BANDS: u32(ovs.OVS_METER_ATTR_MAX_BANDS),
  PAD: unspec(ovs.OVS_METER_ATTR_PAD),
});

/** ovs_ct_limit (section 12): the nest holds packed structs, not attributes. */
export const ctLimitAttributes = attributeSet("ovs_ct_limit", {
  ZONE_LIMIT: checkedAs(
    structs(ovs.OVS_CT_LIMIT_ATTR_ZONE_LIMIT, { zone_id: "s32", limit: "u32", count: "u32" }),
    Rule.NESTED,
  ),
});
