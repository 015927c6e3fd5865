/**
 * The Internet checksum (RFC 1071) and its incremental update (RFC 1624). Transport checksums are in
 * l4-checksum.ts.
 *
 * A *sum* is a one's complement sum of big-endian 16-bit words, not complemented; partly summed values may be larger
 * than 16 bits until fold(). A *checksum* is its complement, as it stands in a header. A *diff* is what a change of
 * covered bytes adds to the sum: ~old + new.
 */

/** Below this many bytes the loop that stays in 32-bit integers is faster (Node 20). */
const SHORT = 64;

/** Brings a sum below 2^32 into 16 bits with end-around carry. Returns 0 only for 0. */
export function fold(sum: number): number {
  sum = (sum >>> 16) + (sum & 0xffff);
  sum = (sum >>> 16) + (sum & 0xffff);
  return (sum >>> 16) + (sum & 0xffff);
}

/**
 * Sum of `len` bytes at `off`, folded to 16 bits; an odd last byte counts as the high half of a word.
 * Precondition: the range lies within the view.
 * @param initial a sum to go on from, below 2^31
 */
export function sum(view: DataView, off: number, len: number, initial = 0): number {
  const end = off + len;
  let i = off;
  // One's complement addition does not depend on the byte order (RFC 1071 section 2B): sum as the processor reads, swap
  // once at the end.
  let small = 0;
  if (len >= SHORT) {
    // Doubles hold 2^21 additions of 32 bits exactly; the compiler adds them without overflow checks.
    let wide = 0;
    for (const stop = end - 31; i < stop; i += 32) {
      wide +=
        view.getUint32(i, true) +
        view.getUint32(i + 4, true) +
        view.getUint32(i + 8, true) +
        view.getUint32(i + 12, true) +
        (view.getUint32(i + 16, true) +
          view.getUint32(i + 20, true) +
          view.getUint32(i + 24, true) +
          view.getUint32(i + 28, true));
    }
    const high = Math.floor(wide / 0x100000000);
    small = fold(wide - high * 0x100000000) + fold(high);
  }
  for (const stop = end - 3; i < stop; i += 4) {
    const word = view.getInt32(i, true);
    small += (word >>> 16) + (word & 0xffff);
  }
  if (end - i >= 2) {
    small += view.getUint16(i, true);
    i += 2;
  }
  if (i < end) small += view.getUint8(i);
  small = fold(small);
  return fold((((small & 0xff) << 8) | (small >>> 8)) + fold(initial));
}

/** Checksum (complemented, 16 bits) of `len` bytes at `off`. Over bytes that contain a right checksum it is 0. */
export function checksum(view: DataView, off: number, len: number, initial = 0): number {
  return ~sum(view, off, len, initial) & 0xffff;
}

/** Diff of a 16-bit word that changes at an even offset. */
export function diff16(from: number, to: number): number {
  // 0xffff more is nothing to the sum, but keeps it from being 0: see update().
  return 0xffff + (~from & 0xffff) + to;
}

/** Diff of a 32-bit word that changes at an even offset. Both may be given signed or unsigned. */
export function diff32(from: number, to: number): number {
  return (~from >>> 16) + (~from & 0xffff) + (to >>> 16) + (to & 0xffff);
}

/**
 * A checksum after a change of the covered bytes (RFC 1624 equation 3). As in the kernel the result is never 0xffff
 * except out of a sum that was all zeros.
 */
export function update(check: number, diff: number): number {
  return ~fold(0xffff + (~check & 0xffff) + diff) & 0xffff;
}

/** Updates the checksum at `at` for a 16-bit word changed from `from` to `to`. */
export function replace16(view: DataView, at: number, from: number, to: number): void {
  view.setUint16(at, update(view.getUint16(at), diff16(from, to)));
}

/** Updates the checksum at `at` for a 32-bit word changed from `from` to `to`. */
export function replace32(view: DataView, at: number, from: number, to: number): void {
  view.setUint16(at, update(view.getUint16(at), diff32(from, to)));
}

/** Diff of four 32-bit words at `from` becoming to[0..3] (big-endian words, as in the flow key). */
export function diff128(view: DataView, from: number, to: Int32Array, toIndex = 0): number {
  return (
    diff32(view.getInt32(from), to[toIndex]) +
    diff32(view.getInt32(from + 4), to[toIndex + 1]) +
    diff32(view.getInt32(from + 8), to[toIndex + 2]) +
    diff32(view.getInt32(from + 12), to[toIndex + 3])
  );
}
