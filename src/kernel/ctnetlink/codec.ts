import type { Conntrack } from "../../conntrack/conntrack.ts";
import type { Expectation } from "../../conntrack/expect.ts";
import { AF_INET, AF_INET6, Dccp, E, Ext, Sctp, T, Tcp } from "../../conntrack/layout.ts";
import { IPPROTO_DCCP } from "../../conntrack/options.ts";
import { icmpReplyType, icmpv6ReplyType } from "../../conntrack/tuple.ts";
import { Errno } from "../../core/errors.ts";
import { AttributeReader } from "../../netlink/reader.ts";
import type { MessageWriter } from "../../netlink/writer.ts";
import { IpProto } from "../../packet/ip.ts";
import { EINVAL, EOPNOTSUPP, ERANGE } from "../../uapi/errno.ts";
import { NLA_F_NESTED } from "../../uapi/netlink.ts";
import * as nf from "../../uapi/nfnetlink.ts";

/** Attributes of NETLINK_NETFILTER messages of conntrack, both ways (spec/ctnetlink). All integers are big-endian. */

/** struct nfgenmsg: u8 family, u8 version, be16 res_id. */
export const NFGENMSG_LEN = 4;

/** What a payload must be beyond a length: the checks of the kernel's attribute policies. */
export interface Rule {
  /** A string that ends with NUL, of at most so many characters: EINVAL without the NUL, ERANGE if it is longer. */
  readonly text?: number;
  /** be32, or u8, of at most this: else ERANGE. */
  readonly max?: number;
  readonly max8?: number;
  /** be32 of these bits: else EINVAL. */
  readonly mask?: number;
}

/** Shortest payload of an attribute, by type; absent = any. Negative: longest. */
export type Policy = Readonly<Record<number, number | Rule>>;

/** Attributes of one level by type, as offsets into the message. */
export class Attributes {
  private readonly found = new Map<number, { offset: number; length: number }>();

  /**
   * Parses leniently, as ctnetlink does: unknown types are skipped, the last of a kind counts, bytes left over are
   * ignored.
   * @throws Errno ERANGE for one that is too short (spec/ctnetlink N-008)
   */
  constructor(
    private readonly view: DataView,
    start: number,
    end: number,
    max: number,
    policy: Policy,
    messageStart = 0,
  ) {
    const reader = new AttributeReader(view, start, end);
    while (reader.next()) {
      if (reader.type === 0 || reader.type > max) continue;
      const bound = policy[reader.type] ?? 0;
      const error = typeof bound === "number" ? checkLength(reader.length, bound) : checkRule(reader, bound);
      if (error !== 0) throw new Errno(error, "Attribute failed policy validation", reader.offset - 4 - messageStart);
      this.found.set(reader.type, { offset: reader.offset, length: reader.length });
    }
  }

  has(type: number): boolean {
    return this.found.has(type);
  }
  private at(type: number): number {
    return this.found.get(type)?.offset ?? 0;
  }
  length(type: number): number {
    return this.found.get(type)?.length ?? 0;
  }
  u8(type: number): number {
    return this.view.getUint8(this.at(type));
  }
  be16(type: number): number {
    return this.view.getUint16(this.at(type));
  }
  be32(type: number): number {
    return this.view.getUint32(this.at(type));
  }
  u32(type: number): number {
    return this.view.getUint32(this.at(type), true);
  }
  bytes(type: number): Uint8Array {
    return new Uint8Array(this.view.buffer, this.view.byteOffset + this.at(type), this.length(type));
  }
  /** Up to the first NUL. */
  string(type: number): string {
    const bytes = this.bytes(type);
    const nul = bytes.indexOf(0);
    return String.fromCharCode(...(nul < 0 ? bytes : bytes.subarray(0, nul)));
  }
  /**
   * A nest that the kernel parses strictly: it must be marked as one, hold known attributes of the exact length and nothing
   * else.
   * @throws Errno EINVAL
   */
  strictlyNested(type: number, max: number, size: number): Attributes {
    const at = this.at(type);
    const end = at + this.length(type);
    const reader = new AttributeReader(this.view, at, end);
    if ((this.view.getUint16(at - 2, true) & NLA_F_NESTED) === 0) throw new Errno(EINVAL);
    while (reader.next()) {
      if (reader.type === 0 || reader.type > max || reader.length !== size) throw new Errno(EINVAL);
    }
    if (reader.rest > 0) throw new Errno(EINVAL);
    return this.nested(type, max, {});
  }
  nested(type: number, max: number, policy: Policy): Attributes {
    const at = this.at(type);
    return new Attributes(this.view, at, at + this.length(type), max, policy);
  }
}

function checkLength(length: number, bound: number): number {
  const bad = bound < 0 ? length > -bound : length < bound && !(bound === NEST && length === 0);
  return bad ? ERANGE : 0;
}

function checkRule(reader: AttributeReader, rule: Rule): number {
  const { text, max, max8, mask } = rule;
  if (text !== undefined) {
    const bytes = reader.bytes();
    const nul = bytes.indexOf(0);
    if (nul < 0 || nul > text) return EINVAL;
    const length = bytes[bytes.length - 1] === 0 ? bytes.length - 1 : bytes.length;
    return length > text ? ERANGE : 0;
  }
  if (max8 !== undefined) return reader.length < 1 || reader.u8() > max8 ? ERANGE : 0;
  if (reader.length < 4) return ERANGE;
  if (max !== undefined && reader.be32() > max) return ERANGE;
  return mask !== undefined && (reader.be32() & ~mask) !== 0 ? EINVAL : 0;
}

/** Bound of a nest in a Policy: empty, or at least one attribute header. */
const NEST = 4;

export const CT_POLICY: Policy = {
  [nf.CTA_TUPLE_ORIG]: NEST,
  [nf.CTA_TUPLE_REPLY]: NEST,
  [nf.CTA_STATUS]: 4,
  [nf.CTA_PROTOINFO]: NEST,
  [nf.CTA_HELP]: NEST,
  [nf.CTA_NAT_SRC]: NEST,
  [nf.CTA_TIMEOUT]: 4,
  [nf.CTA_MARK]: 4,
  [nf.CTA_ID]: 4,
  [nf.CTA_NAT_DST]: NEST,
  [nf.CTA_TUPLE_MASTER]: NEST,
  [nf.CTA_SEQ_ADJ_ORIG]: NEST,
  [nf.CTA_SEQ_ADJ_REPLY]: NEST,
  [nf.CTA_ZONE]: 2,
  [nf.CTA_MARK_MASK]: 4,
  [nf.CTA_LABELS]: -16,
  [nf.CTA_LABELS_MASK]: -16,
  [nf.CTA_FILTER]: NEST,
  [nf.CTA_STATUS_MASK]: 4,
};
const TUPLE_POLICY: Policy = { [nf.CTA_TUPLE_IP]: NEST, [nf.CTA_TUPLE_PROTO]: NEST, [nf.CTA_TUPLE_ZONE]: 2 };
const IP_POLICY: Policy = {
  [nf.CTA_IP_V4_SRC]: 4,
  [nf.CTA_IP_V4_DST]: 4,
  [nf.CTA_IP_V6_SRC]: 16,
  [nf.CTA_IP_V6_DST]: 16,
};
const PROTO_POLICY: Policy = {
  [nf.CTA_PROTO_NUM]: 1,
  [nf.CTA_PROTO_SRC_PORT]: 2,
  [nf.CTA_PROTO_DST_PORT]: 2,
  [nf.CTA_PROTO_ICMP_ID]: 2,
  [nf.CTA_PROTO_ICMP_TYPE]: 1,
  [nf.CTA_PROTO_ICMP_CODE]: 1,
  [nf.CTA_PROTO_ICMPV6_ID]: 2,
  [nf.CTA_PROTO_ICMPV6_TYPE]: 1,
  [nf.CTA_PROTO_ICMPV6_CODE]: 1,
};

/** Bits of CTA_FILTER_ORIG_FLAGS and REPLY_FLAGS (the kernel's own, spec/ctnetlink N-073). */
export const FILTER_IP_SRC = 1 << 0;
export const FILTER_IP_DST = 1 << 1;
export const FILTER_ZONE = 1 << 2;
export const FILTER_PROTO_NUM = 1 << 3;
export const FILTER_SRC_PORT = 1 << 4;
export const FILTER_DST_PORT = 1 << 5;
export const FILTER_ICMP_TYPE = 1 << 6;
export const FILTER_ICMP_CODE = 1 << 7;
export const FILTER_ICMP_ID = 1 << 8;
export const FILTER_ICMPV6_TYPE = 1 << 9;
export const FILTER_ICMPV6_CODE = 1 << 10;
export const FILTER_ICMPV6_ID = 1 << 11;
export const FILTER_ALL = (1 << 12) - 1;
const FILTER_PROTO_PARTS = FILTER_ALL & ~(FILTER_IP_SRC | FILTER_IP_DST | FILTER_ZONE | FILTER_PROTO_NUM);

const hasPorts = (proto: number): boolean =>
  proto === IpProto.TCP ||
  proto === IpProto.UDP ||
  proto === IpProto.UDPLITE ||
  proto === IpProto.SCTP ||
  proto === IpProto.GRE ||
  proto === IPPROTO_DCCP;

/**
 * Reads a tuple (spec/ctnetlink N-026 to N-029, N-064, N-065).
 * @param flags FILTER_* parts that must be there
 * @throws Errno EINVAL for a missing part, EOPNOTSUPP for another family
 */
export function parseTuple(
  attributes: Attributes,
  type: number,
  family: number,
  zone: number,
  flags = FILTER_ALL,
): Int32Array {
  const tuple = new Int32Array(T.WORDS);
  const parts = attributes.nested(type, nf.CTA_TUPLE_MAX, TUPLE_POLICY);
  if (family !== AF_INET && family !== AF_INET6) throw new Errno(EOPNOTSUPP);
  if ((flags & (FILTER_IP_SRC | FILTER_IP_DST)) !== 0) {
    const ip = need(parts, nf.CTA_TUPLE_IP).nested(nf.CTA_TUPLE_IP, nf.CTA_IP_MAX, IP_POLICY);
    const [src, dst] = family === AF_INET ? [nf.CTA_IP_V4_SRC, nf.CTA_IP_V4_DST] : [nf.CTA_IP_V6_SRC, nf.CTA_IP_V6_DST];
    if ((flags & FILTER_IP_SRC) !== 0) parseAddress(need(ip, src), src, tuple, T.SRC, family);
    if ((flags & FILTER_IP_DST) !== 0) parseAddress(need(ip, dst), dst, tuple, T.DST, family);
  }
  let proto = 0;
  if ((flags & FILTER_PROTO_NUM) !== 0) {
    const l4 = need(parts, nf.CTA_TUPLE_PROTO).nested(nf.CTA_TUPLE_PROTO, nf.CTA_PROTO_MAX, PROTO_POLICY);
    proto = need(l4, nf.CTA_PROTO_NUM).u8(nf.CTA_PROTO_NUM);
    tuple[T.PORTS] = parsePorts(l4, proto, flags);
  } else if ((flags & FILTER_PROTO_PARTS) !== 0) throw new Errno(EINVAL);
  if ((flags & FILTER_ZONE) !== 0 && parts.has(nf.CTA_TUPLE_ZONE)) {
    // Zones here have no direction (spec/ctnetlink N-066).
    if (zone !== 0) throw new Errno(EINVAL);
    zone = parts.be16(nf.CTA_TUPLE_ZONE);
  }
  tuple[T.META] = (zone << 16) | (proto << 8) | family;
  return tuple;
}

function need(attributes: Attributes, type: number): Attributes {
  if (!attributes.has(type)) throw new Errno(EINVAL);
  return attributes;
}

/** An address attribute as big-endian words. */
export function parseAddress(ip: Attributes, type: number, tuple: Int32Array, to: number, family: number): void {
  const bytes = ip.bytes(type);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let i = 0; i < (family === AF_INET ? 1 : 4); i++) tuple[to + i] = view.getInt32(i * 4);
}

function parsePorts(l4: Attributes, proto: number, flags: number): number {
  const part = (flag: number, type: number): boolean => (flags & flag) !== 0 && need(l4, type) !== undefined;
  let ports = 0;
  if (hasPorts(proto)) {
    if (part(FILTER_SRC_PORT, nf.CTA_PROTO_SRC_PORT)) ports |= l4.be16(nf.CTA_PROTO_SRC_PORT) << 16;
    if (part(FILTER_DST_PORT, nf.CTA_PROTO_DST_PORT)) ports |= l4.be16(nf.CTA_PROTO_DST_PORT);
  } else if (proto === IpProto.ICMP) {
    if (part(FILTER_ICMP_TYPE, nf.CTA_PROTO_ICMP_TYPE)) {
      const type = l4.u8(nf.CTA_PROTO_ICMP_TYPE);
      if (icmpReplyType(type) < 0) throw new Errno(EINVAL);
      ports |= type << 8;
    }
    if (part(FILTER_ICMP_CODE, nf.CTA_PROTO_ICMP_CODE)) ports |= l4.u8(nf.CTA_PROTO_ICMP_CODE);
    if (part(FILTER_ICMP_ID, nf.CTA_PROTO_ICMP_ID)) ports |= l4.be16(nf.CTA_PROTO_ICMP_ID) << 16;
  } else if (proto === IpProto.ICMPV6) {
    if (part(FILTER_ICMPV6_TYPE, nf.CTA_PROTO_ICMPV6_TYPE)) {
      const type = l4.u8(nf.CTA_PROTO_ICMPV6_TYPE);
      if (icmpv6ReplyType(type) < 0) throw new Errno(EINVAL);
      ports |= type << 8;
    }
    if (part(FILTER_ICMPV6_CODE, nf.CTA_PROTO_ICMPV6_CODE)) ports |= l4.u8(nf.CTA_PROTO_ICMPV6_CODE);
    if (part(FILTER_ICMPV6_ID, nf.CTA_PROTO_ICMPV6_ID)) ports |= l4.be16(nf.CTA_PROTO_ICMPV6_ID) << 16;
  }
  return ports;
}

/** Whether the parts of `tuple` that `flags` names are those at `at` (spec/ctnetlink N-073). */
export function matchesTuple(tuple: Int32Array, words: Int32Array, at: number, flags: number): boolean {
  const family = tuple[T.META] & 0xff;
  for (let i = 0; i < (family === AF_INET ? 1 : 4); i++) {
    if ((flags & FILTER_IP_SRC) !== 0 && tuple[T.SRC + i] !== words[at + T.SRC + i]) return false;
    if ((flags & FILTER_IP_DST) !== 0 && tuple[T.DST + i] !== words[at + T.DST + i]) return false;
  }
  const proto = (words[at + T.META] >>> 8) & 0xff;
  if ((flags & FILTER_PROTO_NUM) !== 0 && ((tuple[T.META] >>> 8) & 0xff) !== proto) return false;
  const differ = tuple[T.PORTS] ^ words[at + T.PORTS];
  let mask = 0;
  if (proto === IpProto.TCP || proto === IpProto.UDP) {
    if ((flags & FILTER_SRC_PORT) !== 0) mask |= 0xffff_0000;
    if ((flags & FILTER_DST_PORT) !== 0) mask |= 0xffff;
  } else if (proto === IpProto.ICMP || proto === IpProto.ICMPV6) {
    const parts = proto === IpProto.ICMP ? flags : flags >> 3;
    if ((parts & FILTER_ICMP_TYPE) !== 0) mask |= 0xff00;
    if ((parts & FILTER_ICMP_CODE) !== 0) mask |= 0xff;
    if ((parts & FILTER_ICMP_ID) !== 0) mask |= 0xffff_0000;
  }
  return (differ & mask) === 0;
}

// Writing

export const nest = (writer: MessageWriter, type: number): number => writer.nest(type | NLA_F_NESTED);

/**
 * A tuple under an attribute of type `type` (spec/ctnetlink N-026 to N-029).
 * @param zoned with the zone of this direction
 */
export function putTuple(writer: MessageWriter, type: number, words: Int32Array, at: number, zoned = false): void {
  const family = words[at + T.META] & 0xff;
  const outer = nest(writer, type);
  const ip = nest(writer, nf.CTA_TUPLE_IP);
  if (family === AF_INET) {
    writer.be32(nf.CTA_IP_V4_SRC, words[at + T.SRC]);
    writer.be32(nf.CTA_IP_V4_DST, words[at + T.DST]);
  } else {
    putWords(writer, nf.CTA_IP_V6_SRC, words, at + T.SRC);
    putWords(writer, nf.CTA_IP_V6_DST, words, at + T.DST);
  }
  writer.endNest(ip);
  putProto(writer, (words[at + T.META] >>> 8) & 0xff, words[at + T.PORTS]);
  if (zoned) writer.be16(nf.CTA_TUPLE_ZONE, words[at + T.META] >>> 16);
  writer.endNest(outer);
}

function putProto(writer: MessageWriter, proto: number, ports: number): void {
  const l4 = nest(writer, nf.CTA_TUPLE_PROTO);
  writer.u8(nf.CTA_PROTO_NUM, proto);
  if (hasPorts(proto)) {
    writer.be16(nf.CTA_PROTO_SRC_PORT, ports >>> 16);
    writer.be16(nf.CTA_PROTO_DST_PORT, ports & 0xffff);
  } else if (proto === IpProto.ICMP || proto === IpProto.ICMPV6) {
    const base = proto === IpProto.ICMP ? nf.CTA_PROTO_ICMP_ID : nf.CTA_PROTO_ICMPV6_ID;
    writer.be16(base, ports >>> 16);
    writer.u8(base + 1, (ports >>> 8) & 0xff);
    writer.u8(base + 2, ports & 0xff);
  }
  writer.endNest(l4);
}

function putWords(writer: MessageWriter, type: number, words: Int32Array, at: number): void {
  const to = writer.attr(type, 16);
  for (let i = 0; i < 4; i++) writer.view.setInt32(to + i * 4, words[at + i]);
}

/** Both tuples and the zone: how every record begins. */
export function putTuples(writer: MessageWriter, words: Int32Array, entry: number): void {
  const zone = words[entry + T.META] >>> 16;
  // As the kernel shows zones that count for one direction only.
  const apart = zone !== words[entry + E.REPLY + T.META] >>> 16;
  putTuple(writer, nf.CTA_TUPLE_ORIG, words, entry, apart && zone !== 0);
  putTuple(writer, nf.CTA_TUPLE_REPLY, words, entry + E.REPLY, apart && words[entry + E.REPLY + T.META] >>> 16 !== 0);
  if (zone !== 0 && !apart) writer.be16(nf.CTA_ZONE, zone);
}

/** CTA_TIMEOUT in whole seconds. @param skipZero leave it out when nothing is left */
export function putTimeout(writer: MessageWriter, conntrack: Conntrack, slot: number, skipZero: boolean): void {
  const seconds = Math.max(0, Math.floor(conntrack.left(slot) / 1000));
  if (!skipZero || seconds !== 0) writer.be32(nf.CTA_TIMEOUT, seconds);
}

/** CTA_PROTOINFO of protocols that have a state (spec/ctnetlink N-031, N-059). @param destroy only the state */
export function putProtoinfo(writer: MessageWriter, words: Int32Array, entry: number, destroy: boolean): void {
  const proto = (words[entry + T.META] >>> 8) & 0xff;
  if (proto !== IpProto.TCP && proto !== IpProto.SCTP && proto !== IPPROTO_DCCP) return;
  const outer = nest(writer, nf.CTA_PROTOINFO);
  if (proto === IpProto.TCP) {
    const inner = nest(writer, nf.CTA_PROTOINFO_TCP);
    writer.u8(nf.CTA_PROTOINFO_TCP_STATE, words[entry + Tcp.STATE] & 0xff);
    if (!destroy) {
      const orig = words[entry + Tcp.SCALE_FLAGS];
      const reply = words[entry + Tcp.SCALE_FLAGS + Tcp.DIRECTION];
      writer.u8(nf.CTA_PROTOINFO_TCP_WSCALE_ORIGINAL, orig & 0xff);
      writer.u8(nf.CTA_PROTOINFO_TCP_WSCALE_REPLY, reply & 0xff);
      // struct nf_ct_tcp_flags: u8 flags, u8 mask.
      writer.u16(nf.CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, (orig >>> 8) & 0xff);
      writer.u16(nf.CTA_PROTOINFO_TCP_FLAGS_REPLY, (reply >>> 8) & 0xff);
    }
    writer.endNest(inner);
  } else if (proto === IPPROTO_DCCP) {
    const inner = nest(writer, nf.CTA_PROTOINFO_DCCP);
    writer.u8(nf.CTA_PROTOINFO_DCCP_STATE, words[entry + Dccp.STATE]);
    if (!destroy) {
      writer.u8(nf.CTA_PROTOINFO_DCCP_ROLE, words[entry + Dccp.ROLE]);
      const low = words[entry + Dccp.HANDSHAKE_LOW] >>> 0;
      writer.be64(nf.CTA_PROTOINFO_DCCP_HANDSHAKE_SEQ, words[entry + Dccp.HANDSHAKE_HIGH] * 0x1_0000_0000 + low);
    }
    writer.endNest(inner);
  } else {
    const inner = nest(writer, nf.CTA_PROTOINFO_SCTP);
    writer.u8(nf.CTA_PROTOINFO_SCTP_STATE, words[entry + Sctp.STATE] & 0xff);
    if (!destroy) {
      writer.be32(nf.CTA_PROTOINFO_SCTP_VTAG_ORIGINAL, words[entry + Sctp.VTAG_ORIG]);
      writer.be32(nf.CTA_PROTOINFO_SCTP_VTAG_REPLY, words[entry + Sctp.VTAG_REPLY]);
    }
    writer.endNest(inner);
  }
  writer.endNest(outer);
}

/** CTA_COUNTERS_* if the entry counts (spec/ctnetlink N-058). @param zero reset them (CT_GET_CTRZERO) */
export function putCounters(writer: MessageWriter, words: Int32Array, entry: number, zero: boolean): void {
  if ((words[entry + E.EXT] & Ext.COUNTERS) === 0) return;
  for (let direction = 0; direction < 2; direction++) {
    const at = entry + E.COUNTERS + direction * 4;
    const outer = nest(writer, direction === 0 ? nf.CTA_COUNTERS_ORIG : nf.CTA_COUNTERS_REPLY);
    for (let i = 0; i < 2; i++) {
      const to = writer.attr(i === 0 ? nf.CTA_COUNTERS_PACKETS : nf.CTA_COUNTERS_BYTES, 8);
      writer.view.setInt32(to, words[at + i * 2 + 1]);
      writer.view.setInt32(to + 4, words[at + i * 2]);
    }
    writer.endNest(outer);
    if (zero) words.fill(0, at, at + 4);
  }
}

/** CTA_TIMESTAMP in nanoseconds since 1970. @param stop milliseconds, 0 = still there */
export function putTimestamp(writer: MessageWriter, conntrack: Conntrack, entry: number, stop: number): void {
  const { words, doubles } = conntrack.table;
  if ((words[entry + E.EXT] & Ext.TIMESTAMP) === 0) return;
  const outer = nest(writer, nf.CTA_TIMESTAMP);
  putNanoseconds(writer, nf.CTA_TIMESTAMP_START, doubles[(entry + E.START) >> 1]);
  if (stop !== 0) putNanoseconds(writer, nf.CTA_TIMESTAMP_STOP, stop);
  writer.endNest(outer);
}

/** 64 bits of milliseconds times 10^6, which a double cannot hold. */
function putNanoseconds(writer: MessageWriter, type: number, ms: number): void {
  const to = writer.attr(type, 8);
  writer.view.setBigUint64(to, BigInt(Math.floor(ms)) * 1_000_000n);
}

export function putHelper(writer: MessageWriter, conntrack: Conntrack, entry: number): void {
  const number = (conntrack.table.words[entry + E.EXT] & Ext.HELPER_MASK) >>> Ext.HELPER_SHIFT;
  const name = conntrack.helpers.get(number)?.name;
  if (name === undefined) return;
  const outer = nest(writer, nf.CTA_HELP);
  writer.string(nf.CTA_HELP_NAME, name);
  writer.endNest(outer);
}

/** CTA_LABELS unless all are zero (spec/ctnetlink N-057). */
export function putLabels(writer: MessageWriter, words: Int32Array, entry: number): void {
  const at = entry + E.LABELS;
  if ((words[at] | words[at + 1] | words[at + 2] | words[at + 3]) !== 0) putWords(writer, nf.CTA_LABELS, words, at);
}

export function putMaster(writer: MessageWriter, words: Int32Array, entry: number): void {
  const master = words[entry + E.MASTER];
  if (master !== 0) putTuple(writer, nf.CTA_TUPLE_MASTER, words, (master - 1) * E.WORDS);
}

/** CTA_SEQ_ADJ_* of a connection whose numbers are shifted. */
export function putSeqAdjust(writer: MessageWriter, words: Int32Array, entry: number): void {
  if ((words[entry + E.STATUS] & nf.IPS_SEQ_ADJUST) === 0) return;
  for (let direction = 0; direction < 2; direction++) {
    const at = entry + E.SEQADJ + direction * 3;
    const outer = nest(writer, direction === 0 ? nf.CTA_SEQ_ADJ_ORIG : nf.CTA_SEQ_ADJ_REPLY);
    writer.be32(nf.CTA_SEQADJ_CORRECTION_POS, words[at]);
    writer.be32(nf.CTA_SEQADJ_OFFSET_BEFORE, words[at + 1]);
    writer.be32(nf.CTA_SEQADJ_OFFSET_AFTER, words[at + 2]);
    writer.endNest(outer);
  }
}

/**
 * The attributes of a record in an answer to GET, in the kernel's order (spec/ctnetlink N-053).
 * @param held references that the kernel itself holds while it answers
 */
export function putRecord(
  writer: MessageWriter,
  conntrack: Conntrack,
  slot: number,
  zeroCounters: boolean,
  held: number,
): void {
  const { words } = conntrack.table;
  const entry = slot * E.WORDS;
  putTuples(writer, words, entry);
  writer.be32(nf.CTA_STATUS, words[entry + E.STATUS]);
  writer.be32(nf.CTA_MARK, words[entry + E.MARK]);
  writer.be32(nf.CTA_ID, conntrack.idOf(slot));
  writer.be32(nf.CTA_USE, 1 + held + words[entry + E.REFERENCES]);
  putMaster(writer, words, entry);
  putTimeout(writer, conntrack, slot, false);
  putProtoinfo(writer, words, entry, false);
  putCounters(writer, words, entry, zeroCounters);
  putTimestamp(writer, conntrack, entry, 0);
  putHelper(writer, conntrack, entry);
  putLabels(writer, words, entry);
  putSeqAdjust(writer, words, entry);
}

/**
 * The attributes of an event, in the kernel's order (spec/ctnetlink N-104, N-105). @param stop wall-clock milliseconds
 * of a DESTROY
 */
export function putEvent(
  writer: MessageWriter,
  conntrack: Conntrack,
  slot: number,
  events: number,
  stop: number,
): void {
  const { words } = conntrack.table;
  const entry = slot * E.WORDS;
  putTuples(writer, words, entry);
  writer.be32(nf.CTA_ID, conntrack.idOf(slot));
  writer.be32(nf.CTA_STATUS, words[entry + E.STATUS]);
  if ((events & (1 << nf.IPCT_DESTROY)) !== 0) {
    putTimeout(writer, conntrack, slot, true);
    putCounters(writer, words, entry, false);
    putTimestamp(writer, conntrack, entry, stop);
    putProtoinfo(writer, words, entry, true);
  } else {
    putTimeout(writer, conntrack, slot, false);
    if ((events & (1 << nf.IPCT_PROTOINFO)) !== 0) putProtoinfo(writer, words, entry, false);
    putHelper(writer, conntrack, entry);
    if ((events & (1 << nf.IPCT_LABEL)) !== 0) putLabels(writer, words, entry);
    if ((events & (1 << nf.IPCT_RELATED)) !== 0) putMaster(writer, words, entry);
    if ((events & (1 << nf.IPCT_SEQADJ)) !== 0) putSeqAdjust(writer, words, entry);
  }
  const mark = words[entry + E.MARK];
  if (mark !== 0 || (events & (1 << nf.IPCT_MARK)) !== 0) writer.be32(nf.CTA_MARK, mark);
}

const scratch = new Int32Array(T.WORDS);

/** The attributes of an expectation, in the kernel's order (spec/ctnetlink N-117). */
export function putExpectation(writer: MessageWriter, conntrack: Conntrack, expectation: Expectation): void {
  const { words } = conntrack.table;
  const { tuple, mask } = expectation;
  putTuple(writer, nf.CTA_EXPECT_TUPLE, tuple, 0);
  // Of the destination all is compared.
  scratch.set(mask);
  for (let i = 0; i < 4; i++) scratch[T.DST + i] = -1;
  scratch[T.PORTS] = (mask[T.PORTS] & 0xffff_0000) | 0xffff;
  scratch[T.META] = tuple[T.META];
  putTuple(writer, nf.CTA_EXPECT_MASK, scratch, 0);
  const master = expectation.master * E.WORDS;
  putTuple(writer, nf.CTA_EXPECT_MASTER, words, master);
  if (expectation.savedPort !== 0 || expectation.savedAddress.some((word) => word !== 0)) {
    const outer = nest(writer, nf.CTA_EXPECT_NAT);
    writer.be32(nf.CTA_EXPECT_NAT_DIR, expectation.direction);
    scratch.fill(0);
    scratch.set(expectation.savedAddress, T.SRC);
    scratch[T.PORTS] = expectation.savedPort << 16;
    scratch[T.META] = words[master + T.META];
    putTuple(writer, nf.CTA_EXPECT_NAT_TUPLE, scratch, 0);
    writer.endNest(outer);
  }
  const left = Math.max(0, Math.floor(((expectation.expires - conntrack.now) | 0) / 1000));
  writer.be32(nf.CTA_EXPECT_TIMEOUT, left);
  writer.be32(nf.CTA_EXPECT_ID, expectationId(expectation));
  writer.be32(nf.CTA_EXPECT_FLAGS, expectation.flags);
  writer.be32(nf.CTA_EXPECT_CLASS, expectation.class);
  const name = conntrack.helpers.get(expectation.helper)?.name;
  if (name !== undefined) writer.string(nf.CTA_EXPECT_HELP_NAME, name);
  if (expectation.functionName !== undefined) writer.string(nf.CTA_EXPECT_FN, expectation.functionName);
}

/** CTA_EXPECT_ID: opaque, the same for the life of the expectation. */
export function expectationId(expectation: Expectation): number {
  let h = Math.imul(expectation.serial ^ 0x5bd1e995, 0x297a2d39);
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
  return (h ^ (h >>> 13)) >>> 0;
}
