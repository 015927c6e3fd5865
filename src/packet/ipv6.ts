import { IpProto } from "./ip.ts";

/**
 * IPv6 (RFC 8200).
 *
 * ```
 *  0                   1                   2                   3
 *  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 * |version| traffic class |              flow label               |  0
 * |        payload length         |  next header  |   hop limit   |  4
 * |                       source (16 bytes)                       |  8
 * |                    destination (16 bytes)                     | 24
 * ```
 * Accessors take the offset of the header; its 40 bytes must lie within the packet.
 */
const PAYLOAD_LENGTH = 4;
export const NEXT_HEADER = 6;
export const HOP_LIMIT = 7;
export const SRC = 8;
export const DST = 24;
export const HEADER_LEN = 40;

/**
 * Fragment header (RFC 8200 section 4.5).
 *
 * ```
 * |  next header  |   reserved    |     fragment offset     |res|M|  0
 * |                        identification                         |  4
 * ```
 */
export const FRAG_OFFSET = 2;
export const FRAG_ID = 4;
export const FRAG_LEN = 8;
/** More fragments. */
export const FRAG_MF = 0x0001;
/** The offset field holds a multiple of 8 in place: masked, it is the offset in bytes. */
export const FRAG_OFFSET_MASK = 0xfff8;

/** Routing header: next header, length, type, segments left. */
export const ROUTING_SEGMENTS_LEFT = 3;

function version(view: DataView, off: number): number {
  return view.getUint8(off) >>> 4;
}
export function trafficClass(view: DataView, off: number): number {
  return (view.getUint16(off) >>> 4) & 0xff;
}
export function setTrafficClass(view: DataView, off: number, value: number): void {
  view.setUint16(off, (view.getUint16(off) & 0xf00f) | ((value & 0xff) << 4));
}
/** The low 20 bits of the first word. */
export function flowLabel(view: DataView, off: number): number {
  return view.getUint32(off) & 0xfffff;
}
export function setFlowLabel(view: DataView, off: number, value: number): void {
  view.setUint32(off, (view.getUint32(off) & 0xfff00000) | (value & 0xfffff));
}
export function payloadLength(view: DataView, off: number): number {
  return view.getUint16(off + PAYLOAD_LENGTH);
}
export function setPayloadLength(view: DataView, off: number, value: number): void {
  view.setUint16(off + PAYLOAD_LENGTH, value);
}
export function nextHeader(view: DataView, off: number): number {
  return view.getUint8(off + NEXT_HEADER);
}
export function hopLimit(view: DataView, off: number): number {
  return view.getUint8(off + HOP_LIMIT);
}

/** Whether an IPv6 header stands at `off` within `available` bytes. */
export function isValid(view: DataView, off: number, available: number): boolean {
  return available >= HEADER_LEN && version(view, off) === 6;
}

/** True for the headers that ipv6_skip_exthdr of the kernel walks over. */
export function isExtension(proto: number): boolean {
  return (
    proto === IpProto.HOPOPTS ||
    proto === IpProto.ROUTING ||
    proto === IpProto.FRAGMENT ||
    proto === IpProto.AH ||
    proto === IpProto.NONE ||
    proto === IpProto.DSTOPTS
  );
}

/** Length in bytes of the extension header of kind `proto` at `off`; 8 bytes must be readable there. */
export function extensionLength(view: DataView, off: number, proto: number): number {
  if (proto === IpProto.FRAGMENT) return FRAG_LEN;
  if (proto === IpProto.AH) return (view.getUint8(off + 1) + 2) << 2;
  return (view.getUint8(off + 1) + 1) << 3;
}

/**
 * What a walk over the extension headers found; made once and filled by each walk, so that a walk allocates nothing.
 */
export class Ipv6Walk {
  /** Kind of the header at `offset`: the upper layer, or where the walk ended. */
  proto = 0;
  /** Absolute offset behind the last extension header walked. */
  offset = 0;
  /** Absolute offset of the fragment header, 0 = none. */
  fragment = 0;
  /** Absolute offset of the byte that names the header at `offset` (a next header field). */
  nextHeaderAt = 0;
  /** Absolute offset of the next-header byte that named the fragment header, if there is one. */
  fragmentNextHeaderAt = 0;
  /** Absolute offset of the first routing header, 0 = none. */
  routing = 0;
  /** True if the walk stopped at a fragment that is not the first: what follows is no header. */
  later = false;
}

/**
 * Walks from the IPv6 header at `l3` to the upper layer (ipv6_skip_exthdr). `walk` is filled; it ends at the first header
 * that is no extension, at a later fragment (walk.later, walk.proto = what the fragment header names), or at
 * IPPROTO_NONE.
 * Precondition: HEADER_LEN bytes at l3.
 * @param end one past the last readable byte
 * @returns false if a header is cut off by `end` (walk.proto and walk.offset then name that header)
 */
export function walk(view: DataView, l3: number, end: number, result: Ipv6Walk): boolean {
  let proto = nextHeader(view, l3);
  let at = l3 + NEXT_HEADER;
  let off = l3 + HEADER_LEN;
  result.fragment = 0;
  result.fragmentNextHeaderAt = 0;
  result.routing = 0;
  result.later = false;
  let ok = true;
  while (isExtension(proto) && proto !== IpProto.NONE) {
    if (off + 8 > end) {
      ok = false;
      break;
    }
    if (proto === IpProto.FRAGMENT) {
      if (result.fragment === 0) {
        result.fragment = off;
        result.fragmentNextHeaderAt = at;
      }
      if ((view.getUint16(off + FRAG_OFFSET) & FRAG_OFFSET_MASK) !== 0) result.later = true;
    } else if (proto === IpProto.ROUTING && result.routing === 0) {
      result.routing = off;
    }
    const length = extensionLength(view, off, proto);
    if (off + length > end) {
      ok = false;
      break;
    }
    at = off;
    proto = view.getUint8(off);
    off += length;
    if (result.later) break;
  }
  result.proto = proto;
  result.offset = off;
  result.nextHeaderAt = at;
  return ok;
}

/**
 * Finds where the fragmentable part begins (ip6_find_1stfragopt): behind hop-by-hop and routing headers, and destination
 * options that stand before a routing header. result.offset is that place, result.proto the header there,
 * result.nextHeaderAt the byte that names it.
 * Precondition: HEADER_LEN bytes at l3.
 * @returns false if a header is cut off
 */
export function findFragmentable(view: DataView, l3: number, end: number, result: Ipv6Walk): boolean {
  let at = l3 + NEXT_HEADER;
  let off = l3 + HEADER_LEN;
  let routed = false;
  for (;;) {
    const proto = view.getUint8(at);
    const skipped = proto === IpProto.HOPOPTS || proto === IpProto.ROUTING || (proto === IpProto.DSTOPTS && !routed);
    if (!skipped) {
      result.proto = proto;
      result.offset = off;
      result.nextHeaderAt = at;
      return true;
    }
    if (proto === IpProto.ROUTING) routed = true;
    if (off + 2 > end) return false;
    const length = extensionLength(view, off, proto);
    if (off + length > end) return false;
    at = off;
    off += length;
  }
}
