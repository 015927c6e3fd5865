import { bytesToWords, ipv4Text, parseIpv6 as ipv6Bytes, kernelIpv6Text, wordsToBytes } from "../../net/address.ts";
import { AF_INET } from "../../uapi/socket.ts";

/** Addresses in payloads: text to four big-endian words and back, IPv4 in the first. */

/** Characters of an IPv6 address at most. */
export const MAX_IPV6 = 45;

/** Reads a whole IPv6 address into `words`. @returns false if it is none: `words` are as before */
export function readIpv6Words(text: string, words: Int32Array): boolean {
  const bytes = text.length > MAX_IPV6 ? null : ipv6Bytes(text);
  if (bytes === null) return false;
  bytesToWords(bytes, words);
  return true;
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
  if (found === null || !readIpv6Words(found[0], words)) return -1;
  return at + found[0].length;
}

/** Not followed by what would be a digit of another kind of address, or a fifth byte. */
const IPV4 = /(\d+)\.(\d+)\.(\d+)\.(\d+)(?![0-9a-fA-F.])/y;
const IPV6 = /[0-9a-fA-F:.]+/y;

/** The four bytes of the first word as decimal numbers. */
export function dotted(words: Int32Array, at: number, separator = "."): string {
  return wordsToBytes(words, at, 1).join(separator);
}

/** An address as the kernel's helpers write it into payloads (`%pI4`, `%pI6c`). */
export function formatAddress(words: Int32Array, at: number, family: number): string {
  if (family === AF_INET) return ipv4Text(wordsToBytes(words, at, 1));
  return kernelIpv6Text(wordsToBytes(words, at, 4));
}

export function sameAddress(a: Int32Array, at: number, b: Int32Array, bt: number): boolean {
  return a[at] === b[bt] && a[at + 1] === b[bt + 1] && a[at + 2] === b[bt + 2] && a[at + 3] === b[bt + 3];
}
