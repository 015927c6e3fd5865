/** Hashes of 32-bit words with the results of linux/jhash.h. They are visible outside: dp_hash, the address that NAT chooses. */

const JHASH_INITVAL = 0xdeadbeef | 0;

const rol = (word: number, bits: number): number => (word << bits) | (word >>> (32 - bits));

/**
 * Bob Jenkins' lookup3 hash of `count` 32-bit words from `start` (http://burtleburtle.net/bob/c/lookup3.c, hashword()),
 * as linux/jhash.h names it jhash2().
 * @returns an unsigned 32-bit number
 */
export function jhash2(words: Int32Array | Uint32Array, start: number, count: number, initval: number): number {
  let a = (JHASH_INITVAL + (count << 2) + initval) | 0;
  let b = a;
  let c = a;
  let at = start;
  let left = count;
  while (left > 3) {
    a = (a + words[at]) | 0;
    b = (b + words[at + 1]) | 0;
    c = (c + words[at + 2]) | 0;
    a = (a - c) ^ rol(c, 4);
    c = (c + b) | 0;
    b = (b - a) ^ rol(a, 6);
    a = (a + c) | 0;
    c = (c - b) ^ rol(b, 8);
    b = (b + a) | 0;
    a = (a - c) ^ rol(c, 16);
    c = (c + b) | 0;
    b = (b - a) ^ rol(a, 19);
    a = (a + c) | 0;
    c = (c - b) ^ rol(b, 4);
    b = (b + a) | 0;
    at += 3;
    left -= 3;
  }
  if (left === 0) return c >>> 0;
  if (left === 3) c = (c + words[at + 2]) | 0;
  if (left >= 2) b = (b + words[at + 1]) | 0;
  return final((a + words[at]) | 0, b, c);
}

/**
 * jhash_1word(a, initval) of linux/jhash.h: dp_hash (spec/keys K-280) and the mask cache.
 * @returns an unsigned 32-bit number
 */
export function jhash1word(a: number, initval: number): number {
  const start = (JHASH_INITVAL + 4 + initval) | 0;
  return final((a + start) | 0, start, start);
}

/** The final mixing of lookup3. */
function final(a: number, b: number, c: number): number {
  c = ((c ^ b) - rol(b, 14)) | 0;
  a = ((a ^ c) - rol(c, 11)) | 0;
  b = ((b ^ a) - rol(a, 25)) | 0;
  c = ((c ^ b) - rol(b, 16)) | 0;
  a = ((a ^ c) - rol(c, 4)) | 0;
  b = ((b ^ a) - rol(a, 14)) | 0;
  c = ((c ^ b) - rol(b, 24)) | 0;
  return c >>> 0;
}
