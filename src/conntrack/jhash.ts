/**
 * Bob Jenkins' lookup3 (public domain, 2006) over 32-bit words, as the kernel's jhash2(): NAT picks an address of a
 * range by it (spec/conntrack C-188), so the choice can be seen from outside.
 */
const ARBITRARY = 0xdeadbeef;

const rotate = (x: number, k: number): number => (x << k) | (x >>> (32 - k));

/** Hash of the four words of an address in network byte order, read as the little-endian machine does. */
export function jhashAddress(words: Int32Array, at: number, initial: number): number {
  const start = (ARBITRARY + (4 << 2) + initial) | 0;
  let a = (start + swap(words[at])) | 0;
  let b = (start + swap(words[at + 1])) | 0;
  let c = (start + swap(words[at + 2])) | 0;
  // mix()
  a = ((a - c) | 0) ^ rotate(c, 4);
  c = (c + b) | 0;
  b = ((b - a) | 0) ^ rotate(a, 6);
  a = (a + c) | 0;
  c = ((c - b) | 0) ^ rotate(b, 8);
  b = (b + a) | 0;
  a = ((a - c) | 0) ^ rotate(c, 16);
  c = (c + b) | 0;
  b = ((b - a) | 0) ^ rotate(a, 19);
  a = (a + c) | 0;
  c = ((c - b) | 0) ^ rotate(b, 4);
  b = (b + a) | 0;
  a = (a + swap(words[at + 3])) | 0;
  // final()
  c = ((c ^ b) - rotate(b, 14)) | 0;
  a = ((a ^ c) - rotate(c, 11)) | 0;
  b = ((b ^ a) - rotate(a, 25)) | 0;
  c = ((c ^ b) - rotate(b, 16)) | 0;
  a = ((a ^ c) - rotate(c, 4)) | 0;
  b = ((b ^ a) - rotate(a, 14)) | 0;
  c = ((c ^ b) - rotate(b, 24)) | 0;
  return c;
}

/** Exchanges the bytes of a word: network order as a little-endian machine reads it, and back. */
export function swap(word: number): number {
  return ((word & 0xff) << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);
}

/** The upper 32 bits of the product of two unsigned numbers: maps a hash onto 0…size-1 (reciprocal_scale). */
export function scale(hash: number, size: number): number {
  const high = hash >>> 16;
  const low = hash & 0xffff;
  const unsigned = size >>> 0;
  // high * size is below 2^48: exact.
  return Math.floor((high * unsigned + Math.floor((low * unsigned) / 0x10000)) / 0x10000);
}
