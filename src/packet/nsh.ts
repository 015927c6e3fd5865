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
export const MDTYPE = 2;
export const NEXT_PROTOCOL = 3;
export const PATH = 4;
export const CONTEXT = 8;
/** Base header and service path. */
export const BASE_LEN = 8;

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

/** Header length in bytes; not checked. */
export function headerLength(view: DataView, off: number): number {
  return (view.getUint16(off) & 0x3f) << 2;
}
export function nextProtocol(view: DataView, off: number): number {
  return view.getUint8(off + NEXT_PROTOCOL);
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
