/**
 * The UFID of a key: a 128-bit hash, so that upcalls of one flow give one UFID without a lookup. Four lanes of the mixing
 * step of MurmurHash3 (public domain), each with a seed of its own.
 */
export function ufidOfKey(key: Uint8Array): Uint8Array {
  let a = 0x9e3779b9;
  let b = 0x7f4a7c15;
  let c = 0x85ebca6b;
  let d = 0xc2b2ae35;
  const words = key.length >> 2;
  const view = new DataView(key.buffer, key.byteOffset, key.byteLength);
  for (let i = 0; i < words; i++) {
    const word = view.getUint32(i * 4, true);
    a = mix(a, word);
    b = mix(b, word ^ a);
    c = mix(c, word ^ b);
    d = mix(d, word ^ c);
  }
  for (let i = words * 4; i < key.length; i++) {
    a = mix(a, key[i]);
    d = mix(d, key[i] ^ c);
  }
  const out = new Uint8Array(16);
  const target = new DataView(out.buffer);
  const lanes = [finish(a ^ key.length), finish(b ^ a), finish(c ^ b), finish(d ^ c)];
  for (let i = 0; i < 4; i++) target.setUint32(i * 4, lanes[i], true);
  return out;
}

function mix(hash: number, word: number): number {
  let k = Math.imul(word, 0xcc9e2d51);
  k = (k << 15) | (k >>> 17);
  k = Math.imul(k, 0x1b873593);
  let h = hash ^ k;
  h = (h << 13) | (h >>> 19);
  return (Math.imul(h, 5) + 0xe6546b64) | 0;
}

function finish(hash: number): number {
  let h = hash;
  h ^= h >>> 16;
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** A UFID as a key of a Map. */
export function ufidKey(u: Uint8Array): string {
  // Written out: spreading the bytes takes nine times as long.
  // biome-ignore format: sixteen bytes
  return String.fromCharCode(
    u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7],
    u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15],
  );
}
