import { crc32c, crc32cZero } from "./crc32c.ts";

/**
 * SCTP (RFC 9260).
 *
 * ```
 *  0                   1                   2                   3
 *  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 * |          source port          |       destination port        |  0
 * |                       verification tag                        |  4
 * |                     checksum (CRC32c, little-endian)          |  8
 * | chunk type    | chunk flags   |         chunk length          | 12
 * ```
 */
export const SRC_PORT = 0;
export const DST_PORT = 2;
export const VTAG = 4;
export const CHECKSUM = 8;
export const HEADER_LEN = 12;
/** A chunk: type, flags, length including these four bytes; padded to a multiple of 4. */
export const CHUNK_FLAGS = 1;
export const CHUNK_LENGTH = 2;
export const CHUNK_HEADER_LEN = 4;

/** The checksum field as a number: the CRC32c value when right. */
export function checksum(view: DataView, off: number): number {
  return view.getUint32(off + CHECKSUM, true);
}
export function setChecksum(view: DataView, off: number, value: number): void {
  view.setUint32(off + CHECKSUM, value, true);
}
/** The right checksum of an SCTP packet of `length` bytes: the field counts as zero (RFC 9260 section 6.8). */
export function computeChecksum(view: DataView, off: number, length: number): number {
  let crc = crc32c(view, off, CHECKSUM, -1);
  for (let i = 0; i < 4; i++) crc = crc32cZero(crc);
  crc = crc32c(view, off + HEADER_LEN, length - HEADER_LEN, crc);
  return ~crc >>> 0;
}
