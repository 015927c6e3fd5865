import { T } from "../../conntrack/layout.ts";
import { IPPROTO_DCCP } from "../../conntrack/options.ts";
import { icmpReplyType, icmpv6ReplyType } from "../../conntrack/tuple.ts";
import { Errno } from "../../core/errors.ts";
import type { AttributeTable } from "../../netlink/schema/index.ts";
import type { MessageWriter } from "../../netlink/writer.ts";
import { IpProto } from "../../packet/ip.ts";
import { tupleAttributes, tupleIpAttributes, tupleProtoAttributes } from "../../schema/ctnetlink.ts";
import { EINVAL, EOPNOTSUPP } from "../../uapi/errno.ts";
import { NLA_F_NESTED } from "../../uapi/netlink.ts";
import * as nf from "../../uapi/nfnetlink.ts";
import { AF_INET, AF_INET6 } from "../../uapi/socket.ts";

/** Bits of CTA_FILTER_ORIG_FLAGS and REPLY_FLAGS (the kernel's own, spec/ctnetlink N-073). */
export const FILTER_IP_SRC = 1 << 0;
export const FILTER_IP_DST = 1 << 1;
const FILTER_ZONE = 1 << 2;
const FILTER_PROTO_NUM = 1 << 3;
export const FILTER_SRC_PORT = 1 << 4;
export const FILTER_DST_PORT = 1 << 5;
const FILTER_ICMP_TYPE = 1 << 6;
const FILTER_ICMP_CODE = 1 << 7;
const FILTER_ICMP_ID = 1 << 8;
const FILTER_ICMPV6_TYPE = 1 << 9;
const FILTER_ICMPV6_CODE = 1 << 10;
const FILTER_ICMPV6_ID = 1 << 11;
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
  attributes: AttributeTable,
  type: number,
  family: number,
  zone: number,
  flags = FILTER_ALL,
): Int32Array {
  const tuple = new Int32Array(T.WORDS);
  const parts = attributes.nested(type, tupleAttributes);
  if (family !== AF_INET && family !== AF_INET6) throw new Errno(EOPNOTSUPP);
  if ((flags & (FILTER_IP_SRC | FILTER_IP_DST)) !== 0) {
    const ip = need(parts, nf.CTA_TUPLE_IP).nested(nf.CTA_TUPLE_IP, tupleIpAttributes);
    const [src, dst] = family === AF_INET ? [nf.CTA_IP_V4_SRC, nf.CTA_IP_V4_DST] : [nf.CTA_IP_V6_SRC, nf.CTA_IP_V6_DST];
    if ((flags & FILTER_IP_SRC) !== 0) parseAddress(need(ip, src), src, tuple, T.SRC, family);
    if ((flags & FILTER_IP_DST) !== 0) parseAddress(need(ip, dst), dst, tuple, T.DST, family);
  }
  let proto = 0;
  if ((flags & FILTER_PROTO_NUM) !== 0) {
    const l4 = need(parts, nf.CTA_TUPLE_PROTO).nested(nf.CTA_TUPLE_PROTO, tupleProtoAttributes);
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

function need(attributes: AttributeTable, type: number): AttributeTable {
  if (!attributes.has(type)) throw new Errno(EINVAL);
  return attributes;
}

/** An address attribute as big-endian words. */
export function parseAddress(ip: AttributeTable, type: number, tuple: Int32Array, to: number, family: number): void {
  const bytes = ip.bytes(type);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let i = 0; i < (family === AF_INET ? 1 : 4); i++) tuple[to + i] = view.getInt32(i * 4);
}

function parsePorts(l4: AttributeTable, proto: number, flags: number): number {
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

/** A nest marked with NLA_F_NESTED, as ctnetlink writes all of its own (spec/ctnetlink N-010). */
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

export function putWords(writer: MessageWriter, type: number, words: Int32Array, at: number): void {
  const to = writer.attr(type, 16);
  for (let i = 0; i < 4; i++) writer.view.setInt32(to + i * 4, words[at + i]);
}

/** CTA_ZONE of a request, 0 where there is none. */
export const requestZone = (attributes: AttributeTable): number =>
  attributes.has(nf.CTA_ZONE) ? attributes.be16(nf.CTA_ZONE) : 0;

/** A tuple of an expectation's message, which may not name a zone. @throws Errno EINVAL, EOPNOTSUPP */
export function parseExpectTuple(attributes: AttributeTable, type: number, family: number, zone: number): Int32Array {
  const tuple = parseTuple(attributes, type, family, zone);
  if (namesZone(attributes, type)) throw new Errno(EINVAL);
  return tuple;
}

/** Whether a tuple has a zone of its own. */
const namesZone = (attributes: AttributeTable, type: number): boolean =>
  attributes.has(type) && attributes.nested(type, tupleAttributes).has(nf.CTA_TUPLE_ZONE);
