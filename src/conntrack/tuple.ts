import * as icmp from "../packet/icmp.ts";
import * as icmpv6 from "../packet/icmpv6.ts";
import { IpProto } from "../packet/ip.ts";
import * as ipv4 from "../packet/ipv4.ts";
import * as ipv6 from "../packet/ipv6.ts";
import { AF_INET, AF_INET6 } from "../uapi/socket.ts";
import { T } from "./layout.ts";
import { IPPROTO_DCCP } from "./options.ts";

/** A tuple outside the slab. */
export const newTuple = (): Int32Array => new Int32Array(T.WORDS);

/** Where the transport header of a packet stands, and which it is. Filled by findTransport(). */
export class Transport {
  proto = 0;
  /** Absolute offset. */
  offset = 0;
}

const walk = new ipv6.Ipv6Walk();

/**
 * Finds the transport header from the IP header at `l3` (spec/conntrack C-241): false for a later fragment or headers
 * that do not fit.
 * @param end one past the last readable byte
 */
export function findTransport(view: DataView, l3: number, end: number, family: number, found: Transport): boolean {
  if (family === AF_INET) {
    if (l3 + ipv4.HEADER_LEN > end || ipv4.isLaterFragment(view, l3)) return false;
    found.proto = ipv4.protocol(view, l3);
    found.offset = l3 + ipv4.headerLength(view, l3);
    return found.offset <= end;
  }
  if (l3 + ipv6.HEADER_LEN > end) return false;
  const next = ipv6.nextHeader(view, l3);
  if (!ipv6.isExtension(next)) {
    found.proto = next;
    found.offset = l3 + ipv6.HEADER_LEN;
    return true;
  }
  if (!ipv6.walk(view, l3, end, walk) || walk.later || walk.proto === IpProto.NONE) return false;
  found.proto = walk.proto;
  found.offset = walk.offset;
  return true;
}

/**
 * Builds the tuple of a packet (spec/conntrack C-242, C-243). HOT PATH.
 * @param zone in the tuple's META, so that zones are apart in the table
 * @returns false if the transport header is cut off
 */
export function tupleOf(
  view: DataView,
  l3: number,
  end: number,
  family: number,
  proto: number,
  l4: number,
  zone: number,
  tuple: Int32Array,
): boolean {
  if (family === AF_INET) {
    tuple[T.SRC] = view.getInt32(l3 + ipv4.SRC);
    tuple[T.SRC + 1] = 0;
    tuple[T.SRC + 2] = 0;
    tuple[T.SRC + 3] = 0;
    tuple[T.DST] = view.getInt32(l3 + ipv4.DST);
    tuple[T.DST + 1] = 0;
    tuple[T.DST + 2] = 0;
    tuple[T.DST + 3] = 0;
  } else {
    tuple[T.SRC] = view.getInt32(l3 + ipv6.SRC);
    tuple[T.SRC + 1] = view.getInt32(l3 + ipv6.SRC + 4);
    tuple[T.SRC + 2] = view.getInt32(l3 + ipv6.SRC + 8);
    tuple[T.SRC + 3] = view.getInt32(l3 + ipv6.SRC + 12);
    tuple[T.DST] = view.getInt32(l3 + ipv6.DST);
    tuple[T.DST + 1] = view.getInt32(l3 + ipv6.DST + 4);
    tuple[T.DST + 2] = view.getInt32(l3 + ipv6.DST + 8);
    tuple[T.DST + 3] = view.getInt32(l3 + ipv6.DST + 12);
  }
  tuple[T.META] = (zone << 16) | (proto << 8) | family;
  switch (proto) {
    case IpProto.TCP:
    case IpProto.UDP:
    case IpProto.UDPLITE:
    case IpProto.SCTP:
    case IPPROTO_DCCP:
      if (l4 + 4 > end) return false;
      tuple[T.PORTS] = view.getInt32(l4);
      return true;
    case IpProto.ICMP:
    case IpProto.ICMPV6:
      if (l4 + 8 > end) return false;
      tuple[T.PORTS] = (view.getUint16(l4 + 4) << 16) | view.getUint16(l4);
      return true;
    case IpProto.GRE:
      return greKeys(view, l4, end, tuple);
    default:
      tuple[T.PORTS] = 0;
      return true;
  }
}

const GRE_VERSION_MASK = 0x0007;
const GRE_VERSION_PPTP = 1;
const GRE_PROTO_PPP = 0x880b;

/**
 * Only PPTP's GRE (RFC 2637) has a key, the call id; all other GRE between two hosts is one connection
 * (spec/conntrack C-332).
 */
function greKeys(view: DataView, l4: number, end: number, tuple: Int32Array): boolean {
  tuple[T.PORTS] = 0;
  if (l4 + 4 > end || (view.getUint16(l4) & GRE_VERSION_MASK) !== GRE_VERSION_PPTP) return true;
  if (l4 + 8 > end || view.getUint16(l4 + 2) !== GRE_PROTO_PPP) return false;
  tuple[T.PORTS] = view.getUint16(l4 + 6);
  return true;
}

/** Type that answers an ICMP query type, or -1 (spec/conntrack C-325). */
export function icmpReplyType(type: number): number {
  switch (type) {
    case icmp.IcmpType.ECHO:
      return icmp.IcmpType.ECHOREPLY;
    case icmp.IcmpType.ECHOREPLY:
      return icmp.IcmpType.ECHO;
    case icmp.IcmpType.TIMESTAMP:
      return icmp.IcmpType.TIMESTAMPREPLY;
    case icmp.IcmpType.TIMESTAMPREPLY:
      return icmp.IcmpType.TIMESTAMP;
    case icmp.IcmpType.INFO_REQUEST:
      return icmp.IcmpType.INFO_REPLY;
    case icmp.IcmpType.INFO_REPLY:
      return icmp.IcmpType.INFO_REQUEST;
    case icmp.IcmpType.ADDRESS:
      return icmp.IcmpType.ADDRESSREPLY;
    case icmp.IcmpType.ADDRESSREPLY:
      return icmp.IcmpType.ADDRESS;
    default:
      return -1;
  }
}

/** The same for ICMPv6: echo and node information. */
export function icmpv6ReplyType(type: number): number {
  switch (type) {
    case icmpv6.Icmpv6Type.ECHO_REQUEST:
      return icmpv6.Icmpv6Type.ECHO_REPLY;
    case icmpv6.Icmpv6Type.ECHO_REPLY:
      return icmpv6.Icmpv6Type.ECHO_REQUEST;
    case icmpv6.Icmpv6Type.NI_QUERY:
      return icmpv6.Icmpv6Type.NI_REPLY;
    case icmpv6.Icmpv6Type.NI_REPLY:
      return icmpv6.Icmpv6Type.NI_QUERY;
    default:
      return -1;
  }
}

/** Ports word of the answers to packets with this one. @returns false if nothing answers this ICMP type */
function invertPorts(words: Int32Array, at: number, out: Int32Array, to: number): boolean {
  const ports = words[at + T.PORTS];
  const proto = (words[at + T.META] >>> 8) & 0xff;
  if (proto !== IpProto.ICMP && proto !== IpProto.ICMPV6) {
    out[to + T.PORTS] = (ports << 16) | (ports >>> 16);
    return true;
  }
  const type = (ports >>> 8) & 0xff;
  const reply = proto === IpProto.ICMP ? icmpReplyType(type) : icmpv6ReplyType(type);
  if (reply < 0) return false;
  out[to + T.PORTS] = (ports & 0xffff_00ff) | (reply << 8);
  return true;
}

/** Writes the tuple of the answers: addresses and ports exchanged. @returns false if there are none */
export function invert(words: Int32Array, at: number, out: Int32Array, to: number): boolean {
  for (let i = 0; i < 4; i++) {
    out[to + T.SRC + i] = words[at + T.DST + i];
    out[to + T.DST + i] = words[at + T.SRC + i];
  }
  out[to + T.META] = words[at + T.META];
  return invertPorts(words, at, out, to);
}

export function copyTuple(words: Int32Array, at: number, out: Int32Array, to: number): void {
  for (let i = 0; i <= T.META; i++) out[to + i] = words[at + i];
}

export const protoOf = (words: Int32Array, at: number): number => (words[at + T.META] >>> 8) & 0xff;
export const tupleZone = (words: Int32Array, at: number): number => words[at + T.META] >>> 16;

/** Moves a tuple to another zone. */
export function setZone(words: Int32Array, at: number, zone: number): void {
  words[at + T.META] = (words[at + T.META] & 0xffff) | (zone << 16);
}

export { AF_INET, AF_INET6 };
