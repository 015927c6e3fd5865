import { E } from "./layout.ts";

/** Adds a packet of `bytes` to a direction's 64-bit counters (E.COUNTERS; spec/conntrack C-253). */
export function account(words: Int32Array, entry: number, direction: number, bytes: number): void {
  const at = entry + E.COUNTERS + direction * 4;
  words[at]++;
  if (words[at] === 0) words[at + 1]++;
  const sum = (words[at + 2] >>> 0) + bytes;
  words[at + 2] = sum;
  if (sum > 0xffff_ffff) words[at + 3]++;
}
