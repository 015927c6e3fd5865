/**
 * UDP (RFC 768) and UDPLite (RFC 3828).
 *
 * ```
 *  0                   1                   2                   3
 *  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 * |          source port          |       destination port        |  0
 * |   length (UDPLite: coverage)  |           checksum            |  4
 * ```
 */
export const SRC_PORT = 0;
export const DST_PORT = 2;
export const LENGTH = 4;
export const CHECKSUM = 6;
export const HEADER_LEN = 8;

export function srcPort(view: DataView, off: number): number {
  return view.getUint16(off + SRC_PORT);
}
export function dstPort(view: DataView, off: number): number {
  return view.getUint16(off + DST_PORT);
}
export function length(view: DataView, off: number): number {
  return view.getUint16(off + LENGTH);
}
export function setLength(view: DataView, off: number, value: number): void {
  view.setUint16(off + LENGTH, value);
}

/**
 * Bytes that the UDPLite checksum at `off` covers of a datagram of `available` bytes: coverage 0 means all.
 * @returns -1 if the coverage is neither 0 nor 8…available
 */
export function udpliteCoverage(view: DataView, off: number, available: number): number {
  const coverage = view.getUint16(off + LENGTH);
  if (coverage === 0) return available;
  return coverage < HEADER_LEN || coverage > available ? -1 : coverage;
}
