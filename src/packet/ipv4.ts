import { checksum } from "./checksum.ts";

/**
 * IPv4 (RFC 791).
 *
 * ```
 *  0                   1                   2                   3
 *  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 * |version|  ihl  |      tos      |         total length          |  0
 * |              id               |0|D|M|    fragment offset      |  4
 * |      ttl      |   protocol    |           checksum            |  8
 * |                            source                             | 12
 * |                          destination                          | 16
 * |                          options ...                          | 20
 * ```
 * Accessors take the offset of the header; the fixed header must lie within the packet.
 */
export const TOS = 1;
const TOTAL_LENGTH = 2;
const ID = 4;
const FRAG = 6;
export const TTL = 8;
export const PROTOCOL = 9;
export const CHECKSUM = 10;
export const SRC = 12;
export const DST = 16;
/** Header without options. */
export const HEADER_LEN = 20;

/** Bits of the FRAG field. */
export const DF = 0x4000;
export const MF = 0x2000;
/** In units of 8 bytes. */
export const OFFSET_MASK = 0x1fff;

export function version(view: DataView, off: number): number {
  return view.getUint8(off) >>> 4;
}
/** Header length in bytes, options included; not checked. */
export function headerLength(view: DataView, off: number): number {
  return (view.getUint8(off) & 0x0f) << 2;
}
export function tos(view: DataView, off: number): number {
  return view.getUint8(off + TOS);
}
export function totalLength(view: DataView, off: number): number {
  return view.getUint16(off + TOTAL_LENGTH);
}
export function setTotalLength(view: DataView, off: number, value: number): void {
  view.setUint16(off + TOTAL_LENGTH, value);
}
export function id(view: DataView, off: number): number {
  return view.getUint16(off + ID);
}
export function setId(view: DataView, off: number, value: number): void {
  view.setUint16(off + ID, value);
}
/** Flags and fragment offset as they stand. */
export function frag(view: DataView, off: number): number {
  return view.getUint16(off + FRAG);
}
export function setFrag(view: DataView, off: number, value: number): void {
  view.setUint16(off + FRAG, value);
}
/** True for any part of a fragmented datagram, the first included. */
export function isFragment(view: DataView, off: number): boolean {
  return (view.getUint16(off + FRAG) & (MF | OFFSET_MASK)) !== 0;
}
/** True for a part that does not begin with the transport header. */
export function isLaterFragment(view: DataView, off: number): boolean {
  return (view.getUint16(off + FRAG) & OFFSET_MASK) !== 0;
}
export function ttl(view: DataView, off: number): number {
  return view.getUint8(off + TTL);
}
export function protocol(view: DataView, off: number): number {
  return view.getUint8(off + PROTOCOL);
}
export function src(view: DataView, off: number): number {
  return view.getUint32(off + SRC);
}
export function dst(view: DataView, off: number): number {
  return view.getUint32(off + DST);
}

/**
 * Whether a sound header stands at `off`: version, header length and the header within `available` bytes. The checksum
 * is not verified. What follows the header may be cut short.
 */
export function isValid(view: DataView, off: number, available: number): boolean {
  if (available < HEADER_LEN) return false;
  const length = headerLength(view, off);
  return version(view, off) === 4 && length >= HEADER_LEN && length <= available;
}

/** Writes the header checksum anew (ip_send_check). Precondition: isValid. */
export function fillChecksum(view: DataView, off: number): void {
  view.setUint16(off + CHECKSUM, 0);
  view.setUint16(off + CHECKSUM, checksum(view, off, headerLength(view, off)));
}
