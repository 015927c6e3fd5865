import { AF_INET } from "../layout.ts";

/** Addresses in payloads: text to four big-endian words and back, IPv4 in the first. */

/** Characters of an IPv6 address at most. */
export const MAX_IPV6 = 45;

/** Reads a whole IPv6 address into `words`. @returns false if it is none: `words` may have changed */
export function parseIpv6(text: string, words: Int32Array): boolean {
  if (text === "" || text.length > MAX_IPV6) return false;
  const [head, tail, more] = text.split("::");
  if (more !== undefined) return false;
  const left = groups(head);
  const right = tail === undefined ? [] : groups(tail);
  if (left === undefined || right === undefined) return false;
  const zeros = 8 - left.length - right.length;
  if (tail === undefined ? zeros !== 0 : zeros < 1) return false;
  const all = [...left, ...new Array<number>(zeros).fill(0), ...right];
  for (let i = 0; i < 4; i++) words[i] = (all[i * 2] << 16) | all[i * 2 + 1];
  return true;
}

/** Groups of hexadecimal digits, the last two perhaps in dotted form; undefined if they are none. */
function groups(text: string): number[] | undefined {
  if (text === "") return [];
  const result: number[] = [];
  const parts = text.split(":");
  for (const [i, part] of parts.entries()) {
    if (/^[0-9a-f]{1,4}$/i.test(part)) result.push(Number.parseInt(part, 16));
    else if (i === parts.length - 1 && /^\d{1,3}(\.\d{1,3}){3}$/.test(part)) {
      const [a, b, c, d] = part.split(".").map(Number);
      if (Math.max(a, b, c, d) > 255) return undefined;
      result.push((a << 8) | b, (c << 8) | d);
    } else return undefined;
  }
  return result;
}

/**
 * Reads the address that begins at `at`, up to a character that can be no part of it.
 * @returns where it ends, -1 if there is none
 */
export function scanAddress(text: string, at: number, family: number, words: Int32Array): number {
  words.fill(0);
  if (family === AF_INET) {
    IPV4.lastIndex = at;
    const found = IPV4.exec(text);
    if (found === null) return -1;
    const bytes = found.slice(1).map(Number);
    if (Math.max(...bytes) > 255) return -1;
    words[0] = (bytes[0] << 24) | (bytes[1] << 16) | (bytes[2] << 8) | bytes[3];
    return at + found[0].length;
  }
  IPV6.lastIndex = at;
  const found = IPV6.exec(text);
  if (found === null || !parseIpv6(found[0], words)) return -1;
  return at + found[0].length;
}

/** Not followed by what would be a digit of another kind of address, or a fifth byte. */
const IPV4 = /(\d+)\.(\d+)\.(\d+)\.(\d+)(?![0-9a-fA-F.])/y;
const IPV6 = /[0-9a-fA-F:.]+/y;

/** The four bytes of the first word as decimal numbers. */
export function dotted(words: Int32Array, at: number, separator = "."): string {
  const word = words[at];
  return [word >>> 24, (word >>> 16) & 0xff, (word >>> 8) & 0xff, word & 0xff].join(separator);
}

/** An address as people write it; IPv6 as RFC 5952. */
export function formatAddress(words: Int32Array, at: number, family: number): string {
  if (family === AF_INET) return dotted(words, at);
  const mapped = words[at] === 0 && words[at + 1] === 0 && words[at + 2] === 0xffff;
  const isatap = (words[at + 2] | 0x0200_0000) === 0x0200_5efe;
  const count = mapped || isatap ? 6 : 8;
  const all = Array.from({ length: count }, (_, i) => (words[at + (i >> 1)] >>> ((i & 1) === 0 ? 16 : 0)) & 0xffff);
  let start = -1;
  let longest = 1;
  for (let i = 0; i < count; i++) {
    let end = i;
    while (end < count && all[end] === 0) end++;
    if (end - i > longest) {
      start = i;
      longest = end - i;
    }
  }
  const hex = (from: number, to: number): string =>
    all
      .slice(from, to)
      .map((group) => group.toString(16))
      .join(":");
  const short = start < 0 ? hex(0, count) : `${hex(0, start)}::${hex(start + longest, count)}`;
  if (count === 8) return short;
  return `${short}${short.endsWith(":") ? "" : ":"}${dotted(words, at + 3)}`;
}

export function sameAddress(a: Int32Array, at: number, b: Int32Array, bt: number): boolean {
  return a[at] === b[bt] && a[at + 1] === b[bt + 1] && a[at + 2] === b[bt + 2] && a[at + 3] === b[bt + 3];
}
