/**
 * The attributes of conntrack's NETLINK_NETFILTER messages as data (linux/netfilter/nfnetlink_conntrack.h and
 * nfnetlink_cttimeout.h; spec/ctnetlink). Names are those of the headers without their prefix. All integers are
 * big-endian. The rules are those of the kernel's policies; what only the kernel writes is not checked (replyOnly).
 */
import {
  type Attribute,
  type AttributeSet,
  attributeSet,
  be16,
  be32,
  be64,
  binary,
  checkedAs,
  type Definitions,
  ipv4,
  ipv6,
  nested,
  nulString,
  Rule,
  replyOnly,
  struct,
  u8,
  u32,
  type Values,
} from "../netlink/schema/index.ts";
import * as nf from "../uapi/nfnetlink.ts";

/** Bytes of struct nfgenmsg: u8 family, u8 version, be16 res_id. */
export const NFGENMSG_LEN = 4;

/** NF_CT_HELPER_NAME_LEN less the NUL. */
const HELPER_NAME_MAX = 15;
/** NF_CT_LABELS_MAX_SIZE */
const LABELS_MAX = 16;
/** RFC 7323 section 2.3. */
const TCP_MAX_WSCALE = 14;
const NF_CT_EXPECT_MASK = nf.NF_CT_EXPECT_PERMANENT | nf.NF_CT_EXPECT_INACTIVE | nf.NF_CT_EXPECT_USERSPACE;

/** A nest that only the kernel writes. */
const fromKernel = <D extends Definitions>(type: number, inner: () => AttributeSet<D>): Attribute<Values<D>> =>
  replyOnly(nested(type, inner));

/** CTA_IP_* (spec/ctnetlink N-027). */
export const tupleIpAttributes = attributeSet("cta_ip", {
  V4_SRC: ipv4(nf.CTA_IP_V4_SRC),
  V4_DST: ipv4(nf.CTA_IP_V4_DST),
  V6_SRC: ipv6(nf.CTA_IP_V6_SRC),
  V6_DST: ipv6(nf.CTA_IP_V6_DST),
});

/** CTA_PROTO_* (spec/ctnetlink N-028, N-029). */
export const tupleProtoAttributes = attributeSet("cta_proto", {
  NUM: u8(nf.CTA_PROTO_NUM),
  SRC_PORT: be16(nf.CTA_PROTO_SRC_PORT),
  DST_PORT: be16(nf.CTA_PROTO_DST_PORT),
  ICMP_ID: be16(nf.CTA_PROTO_ICMP_ID),
  ICMP_TYPE: u8(nf.CTA_PROTO_ICMP_TYPE),
  ICMP_CODE: u8(nf.CTA_PROTO_ICMP_CODE),
  ICMPV6_ID: be16(nf.CTA_PROTO_ICMPV6_ID),
  ICMPV6_TYPE: u8(nf.CTA_PROTO_ICMPV6_TYPE),
  ICMPV6_CODE: u8(nf.CTA_PROTO_ICMPV6_CODE),
});

/** CTA_TUPLE_*: one direction of a connection (spec/ctnetlink N-026). */
export const tupleAttributes = attributeSet("cta_tuple", {
  IP: nested(nf.CTA_TUPLE_IP, () => tupleIpAttributes),
  PROTO: nested(nf.CTA_TUPLE_PROTO, () => tupleProtoAttributes),
  ZONE: be16(nf.CTA_TUPLE_ZONE),
});

/** struct nf_ct_tcp_flags (spec/ctnetlink N-032). */
const tcpFlags = (type: number) => struct(type, { flags: "u8", mask: "u8" });

/** CTA_PROTOINFO_TCP_*. A state beyond the last one has no entry in the tracker's table. */
export const protoinfoTcpAttributes = attributeSet("cta_protoinfo_tcp", {
  STATE: u8(nf.CTA_PROTOINFO_TCP_STATE, { max: nf.TCP_CONNTRACK_SYN_SENT2 }),
  WSCALE_ORIGINAL: u8(nf.CTA_PROTOINFO_TCP_WSCALE_ORIGINAL, { max: TCP_MAX_WSCALE }),
  WSCALE_REPLY: u8(nf.CTA_PROTOINFO_TCP_WSCALE_REPLY, { max: TCP_MAX_WSCALE }),
  FLAGS_ORIGINAL: tcpFlags(nf.CTA_PROTOINFO_TCP_FLAGS_ORIGINAL),
  FLAGS_REPLY: tcpFlags(nf.CTA_PROTOINFO_TCP_FLAGS_REPLY),
});

/** CTA_PROTOINFO_DCCP_*. */
export const protoinfoDccpAttributes = attributeSet("cta_protoinfo_dccp", {
  STATE: u8(nf.CTA_PROTOINFO_DCCP_STATE),
  ROLE: u8(nf.CTA_PROTOINFO_DCCP_ROLE),
  HANDSHAKE_SEQ: be64(nf.CTA_PROTOINFO_DCCP_HANDSHAKE_SEQ),
});

/** CTA_PROTOINFO_SCTP_*. */
export const protoinfoSctpAttributes = attributeSet("cta_protoinfo_sctp", {
  STATE: u8(nf.CTA_PROTOINFO_SCTP_STATE, { max: nf.SCTP_CONNTRACK_HEARTBEAT_SENT }),
  VTAG_ORIGINAL: be32(nf.CTA_PROTOINFO_SCTP_VTAG_ORIGINAL),
  VTAG_REPLY: be32(nf.CTA_PROTOINFO_SCTP_VTAG_REPLY),
});

/** CTA_PROTOINFO_*: state of the protocol's tracker (spec/ctnetlink N-031). */
export const protoinfoAttributes = attributeSet("cta_protoinfo", {
  TCP: nested(nf.CTA_PROTOINFO_TCP, () => protoinfoTcpAttributes),
  DCCP: nested(nf.CTA_PROTOINFO_DCCP, () => protoinfoDccpAttributes),
  SCTP: nested(nf.CTA_PROTOINFO_SCTP, () => protoinfoSctpAttributes),
});

/** CTA_HELP_* (spec/ctnetlink N-033). */
export const helpAttributes = attributeSet("cta_help", {
  NAME: nulString(nf.CTA_HELP_NAME, HELPER_NAME_MAX),
  INFO: replyOnly(binary(nf.CTA_HELP_INFO)),
});

/** CTA_PROTONAT_*: a range of ports. */
export const protonatAttributes = attributeSet("cta_protonat", {
  PORT_MIN: be16(nf.CTA_PROTONAT_PORT_MIN),
  PORT_MAX: be16(nf.CTA_PROTONAT_PORT_MAX),
});

/** CTA_NAT_*: struct nf_nat_range2 of a connection to be made (spec/ctnetlink N-034). */
export const natRangeAttributes = attributeSet("cta_nat", {
  V4_MINIP: ipv4(nf.CTA_NAT_V4_MINIP),
  V4_MAXIP: ipv4(nf.CTA_NAT_V4_MAXIP),
  PROTO: nested(nf.CTA_NAT_PROTO, () => protonatAttributes),
  V6_MINIP: ipv6(nf.CTA_NAT_V6_MINIP),
  V6_MAXIP: ipv6(nf.CTA_NAT_V6_MAXIP),
});

/** CTA_SEQADJ_* (spec/ctnetlink N-041). */
export const seqadjAttributes = attributeSet("cta_seqadj", {
  CORRECTION_POS: be32(nf.CTA_SEQADJ_CORRECTION_POS),
  OFFSET_BEFORE: be32(nf.CTA_SEQADJ_OFFSET_BEFORE),
  OFFSET_AFTER: be32(nf.CTA_SEQADJ_OFFSET_AFTER),
});

/** CTA_COUNTERS_* (spec/ctnetlink N-037). */
export const countersAttributes = attributeSet("cta_counters", {
  PACKETS: be64(nf.CTA_COUNTERS_PACKETS),
  BYTES: be64(nf.CTA_COUNTERS_BYTES),
});

/** CTA_TIMESTAMP_*, ns since 1970: as a number not exact (spec/ctnetlink N-044). */
export const timestampAttributes = attributeSet("cta_timestamp", {
  START: be64(nf.CTA_TIMESTAMP_START),
  STOP: be64(nf.CTA_TIMESTAMP_STOP),
});

/** CTA_SYNPROXY_*. */
export const synproxyAttributes = attributeSet("cta_synproxy", {
  ISN: be32(nf.CTA_SYNPROXY_ISN),
  ITS: be32(nf.CTA_SYNPROXY_ITS),
  TSOFF: be32(nf.CTA_SYNPROXY_TSOFF),
});

/** CTA_SECCTX_*. */
export const secctxAttributes = attributeSet("cta_secctx", { NAME: nulString(nf.CTA_SECCTX_NAME) });

/** CTA_FILTER_*, parsed strictly; host byte order (spec/ctnetlink N-047). */
export const filterAttributes = attributeSet("cta_filter", {
  ORIG_FLAGS: u32(nf.CTA_FILTER_ORIG_FLAGS),
  REPLY_FLAGS: u32(nf.CTA_FILTER_REPLY_FLAGS),
});

/** CTA_*: a connection (spec/ctnetlink section 3). */
export const connectionAttributes = attributeSet("ctnetlink", {
  TUPLE_ORIG: nested(nf.CTA_TUPLE_ORIG, () => tupleAttributes),
  TUPLE_REPLY: nested(nf.CTA_TUPLE_REPLY, () => tupleAttributes),
  STATUS: be32(nf.CTA_STATUS),
  PROTOINFO: nested(nf.CTA_PROTOINFO, () => protoinfoAttributes),
  HELP: nested(nf.CTA_HELP, () => helpAttributes),
  NAT_SRC: nested(nf.CTA_NAT_SRC, () => natRangeAttributes),
  TIMEOUT: be32(nf.CTA_TIMEOUT),
  MARK: be32(nf.CTA_MARK),
  COUNTERS_ORIG: fromKernel(nf.CTA_COUNTERS_ORIG, () => countersAttributes),
  COUNTERS_REPLY: fromKernel(nf.CTA_COUNTERS_REPLY, () => countersAttributes),
  USE: replyOnly(be32(nf.CTA_USE)),
  ID: be32(nf.CTA_ID),
  NAT_DST: nested(nf.CTA_NAT_DST, () => natRangeAttributes),
  TUPLE_MASTER: nested(nf.CTA_TUPLE_MASTER, () => tupleAttributes),
  SEQ_ADJ_ORIG: nested(nf.CTA_SEQ_ADJ_ORIG, () => seqadjAttributes),
  SEQ_ADJ_REPLY: nested(nf.CTA_SEQ_ADJ_REPLY, () => seqadjAttributes),
  SECMARK: replyOnly(be32(nf.CTA_SECMARK)),
  ZONE: be16(nf.CTA_ZONE),
  SECCTX: fromKernel(nf.CTA_SECCTX, () => secctxAttributes),
  TIMESTAMP: fromKernel(nf.CTA_TIMESTAMP, () => timestampAttributes),
  MARK_MASK: be32(nf.CTA_MARK_MASK),
  LABELS: binary(nf.CTA_LABELS, LABELS_MAX),
  LABELS_MASK: binary(nf.CTA_LABELS_MASK, LABELS_MAX),
  SYNPROXY: fromKernel(nf.CTA_SYNPROXY, () => synproxyAttributes),
  FILTER: nested(nf.CTA_FILTER, () => filterAttributes),
  STATUS_MASK: be32(nf.CTA_STATUS_MASK),
});

/** CTA_EXPECT_NAT_*. */
export const expectNatAttributes = attributeSet("cta_expect_nat", {
  DIR: be32(nf.CTA_EXPECT_NAT_DIR, { max: 1 }),
  TUPLE: nested(nf.CTA_EXPECT_NAT_TUPLE, () => tupleAttributes),
});

/** CTA_EXPECT_*: an expectation (spec/ctnetlink section 8). */
export const expectationAttributes = attributeSet("ctnetlink_exp", {
  MASTER: nested(nf.CTA_EXPECT_MASTER, () => tupleAttributes),
  TUPLE: nested(nf.CTA_EXPECT_TUPLE, () => tupleAttributes),
  MASK: nested(nf.CTA_EXPECT_MASK, () => tupleAttributes),
  TIMEOUT: be32(nf.CTA_EXPECT_TIMEOUT),
  ID: be32(nf.CTA_EXPECT_ID),
  HELP_NAME: nulString(nf.CTA_EXPECT_HELP_NAME, HELPER_NAME_MAX),
  ZONE: be16(nf.CTA_EXPECT_ZONE),
  FLAGS: be32(nf.CTA_EXPECT_FLAGS, { mask: NF_CT_EXPECT_MASK }),
  CLASS: be32(nf.CTA_EXPECT_CLASS),
  NAT: nested(nf.CTA_EXPECT_NAT, () => expectNatAttributes),
  FN: nulString(nf.CTA_EXPECT_FN),
});

/** Seconds of each state of a protocol, CTA_TIMEOUT_<PROTOCOL>_* (spec/ctnetlink N-126 to N-130). */
function timeouts(name: string, ...states: string[]): AttributeSet<Record<string, Attribute<number>>> {
  return attributeSet(
    `cttimeout_${name}`,
    Object.fromEntries(states.map((state, i) => [state, be32(i + 1)] as [string, Attribute<number>])),
  );
}

const TCP = 6;
const STREAM_STATES = ["UNREPLIED", "REPLIED"];

/** The content of CTA_TIMEOUT_DATA by IPPROTO_*. */
const TIMEOUTS: ReadonlyMap<number, AttributeSet<Record<string, Attribute<number>>>> = new Map([
  [1, timeouts("icmp", "TIMEOUT")],
  [
    TCP,
    timeouts(
      "tcp",
      "SYN_SENT",
      "SYN_RECV",
      "ESTABLISHED",
      "FIN_WAIT",
      "CLOSE_WAIT",
      "LAST_ACK",
      "TIME_WAIT",
      "CLOSE",
      "SYN_SENT2",
      "RETRANS",
      "UNACK",
    ),
  ],
  [17, timeouts("udp", ...STREAM_STATES)],
  [33, timeouts("dccp", "REQUEST", "RESPOND", "PARTOPEN", "OPEN", "CLOSEREQ", "CLOSING", "TIMEWAIT")],
  [47, timeouts("gre", ...STREAM_STATES)],
  [58, timeouts("icmpv6", "TIMEOUT")],
  [
    132,
    timeouts(
      "sctp",
      "CLOSED",
      "COOKIE_WAIT",
      "COOKIE_ECHOED",
      "ESTABLISHED",
      "SHUTDOWN_SENT",
      "SHUTDOWN_RECD",
      "SHUTDOWN_ACK_SENT",
      "HEARTBEAT_SENT",
      "HEARTBEAT_ACKED",
    ),
  ],
  [136, timeouts("udplite", ...STREAM_STATES)],
]);
const GENERIC_TIMEOUT = timeouts("generic", "TIMEOUT");

/** What CTA_TIMEOUT_DATA holds for a protocol; the generic tracker's where it has none of its own. */
export function timeoutDataAttributes(protocol: number): AttributeSet<Record<string, Attribute<number>>> {
  return TIMEOUTS.get(protocol) ?? GENERIC_TIMEOUT;
}

/** CTA_TIMEOUT_*: a timeout policy (spec/ctnetlink section 9). What DATA holds depends on L4PROTO. */
export const timeoutAttributes = attributeSet("cttimeout", {
  NAME: nulString(nf.CTA_TIMEOUT_NAME, nf.CTNL_TIMEOUT_NAME_MAX - 1),
  L3PROTO: be16(nf.CTA_TIMEOUT_L3PROTO),
  L4PROTO: u8(nf.CTA_TIMEOUT_L4PROTO),
  DATA: checkedAs(binary(nf.CTA_TIMEOUT_DATA), Rule.NESTED),
  USE: replyOnly(be32(nf.CTA_TIMEOUT_USE)),
});

/** CTA_STATS_*: counters of one processor (IPCTNL_MSG_CT_GET_STATS_CPU). */
export const cpuStatsAttributes = attributeSet("ctnetlink_stats_cpu", {
  SEARCHED: be32(nf.CTA_STATS_SEARCHED),
  FOUND: be32(nf.CTA_STATS_FOUND),
  NEW: be32(nf.CTA_STATS_NEW),
  INVALID: be32(nf.CTA_STATS_INVALID),
  IGNORE: be32(nf.CTA_STATS_IGNORE),
  DELETE: be32(nf.CTA_STATS_DELETE),
  DELETE_LIST: be32(nf.CTA_STATS_DELETE_LIST),
  INSERT: be32(nf.CTA_STATS_INSERT),
  INSERT_FAILED: be32(nf.CTA_STATS_INSERT_FAILED),
  DROP: be32(nf.CTA_STATS_DROP),
  EARLY_DROP: be32(nf.CTA_STATS_EARLY_DROP),
  ERROR: be32(nf.CTA_STATS_ERROR),
  SEARCH_RESTART: be32(nf.CTA_STATS_SEARCH_RESTART),
  CLASH_RESOLVE: be32(nf.CTA_STATS_CLASH_RESOLVE),
  CHAIN_TOOLONG: be32(nf.CTA_STATS_CHAIN_TOOLONG),
});

/** CTA_STATS_GLOBAL_*: number of connections, and how many there may be (IPCTNL_MSG_CT_GET_STATS). */
export const globalStatsAttributes = attributeSet("ctnetlink_stats", {
  ENTRIES: be32(nf.CTA_STATS_GLOBAL_ENTRIES),
  MAX_ENTRIES: be32(nf.CTA_STATS_GLOBAL_MAX_ENTRIES),
});

/** CTA_STATS_EXP_*: counters of expectations of one processor (IPCTNL_MSG_EXP_GET_STATS_CPU). */
export const expectStatsAttributes = attributeSet("ctnetlink_exp_stats_cpu", {
  NEW: be32(nf.CTA_STATS_EXP_NEW),
  CREATE: be32(nf.CTA_STATS_EXP_CREATE),
  DELETE: be32(nf.CTA_STATS_EXP_DELETE),
});
