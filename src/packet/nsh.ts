/**
 * Network Service Header (RFC 8300).
 *
 * ```
 *  0                   1                   2                   3
 *  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 * |ver|O|U|    TTL    |   length  |U|U|U|U|mdtype | next protocol |  0
 * |           service path identifier             | service index |  4
 * |            context: 16 bytes (MD type 1) or TLVs (2)          |  8
 * ```
 */
export const VERSION_FLAGS_LENGTH = 0;
export const MDTYPE = 2;
export const NEXT_PROTOCOL = 3;
export const PATH = 4;
export const CONTEXT = 8;
/** Base header and service path. */
export const BASE_LEN = 8;
/** Header with the fixed context of MD type 1. */
export const M_TYPE1_LEN = 24;
/** The longest header that the 6-bit length can say: 63 words. The kernel's limit is the same (NSH_HDR_MAX_LEN 256). */
export const MAX_LEN = 256;

export const MD_TYPE1 = 1;
export const MD_TYPE2 = 2;

/** Next protocol values. */
export const enum NshNext {
  IPV4 = 1,
  IPV6 = 2,
  ETHERNET = 3,
  NSH = 4,
  MPLS = 5,
}

export function version(view: DataView, off: number): number {
  return view.getUint8(off) >>> 6;
}
/** The two flag bits behind the version: OAM and an unassigned one (as in the flow key: 6.12 takes two bits). */
export function flags(view: DataView, off: number): number {
  return (view.getUint16(off) >>> 12) & 0x3;
}
export function ttl(view: DataView, off: number): number {
  return (view.getUint16(off) >>> 6) & 0x3f;
}
/** Header length in bytes; not checked. */
export function headerLength(view: DataView, off: number): number {
  return (view.getUint16(off) & 0x3f) << 2;
}
export function mdtype(view: DataView, off: number): number {
  return view.getUint8(off + MDTYPE) & 0x0f;
}
export function nextProtocol(view: DataView, off: number): number {
  return view.getUint8(off + NEXT_PROTOCOL);
}
export function path(view: DataView, off: number): number {
  return view.getUint32(off + PATH);
}
/** Writes flags and TTL; version and length stay. */
export function setFlagsTtl(view: DataView, off: number, flagBits: number, ttlValue: number): void {
  view.setUint16(off, (view.getUint16(off) & 0xc03f) | ((flagBits & 0x3) << 12) | ((ttlValue & 0x3f) << 6));
}
/** Writes flags, TTL and the length in bytes; version 0 (nsh_set_flags_ttl_len). */
export function setFlagsTtlLength(
  view: DataView,
  off: number,
  flagBits: number,
  ttlValue: number,
  length: number,
): void {
  view.setUint16(off, ((flagBits & 0x3) << 12) | ((ttlValue & 0x3f) << 6) | ((length >>> 2) & 0x3f));
}
