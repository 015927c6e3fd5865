/**
 * Addresses as text, bytes and 32-bit words: IPv4 (dotted decimal), IPv6 (RFC 4291 section 2.2, written as RFC 5952
 * says) and Ethernet. Bytes are in network order; a word holds four of them, the first in its highest bits.
 */

/** `10.0.0.1`, of the 4 bytes at `at`. */
export function ipv4Text(bytes: Uint8Array, at = 0): string {
  return `${bytes[at]}.${bytes[at + 1]}.${bytes[at + 2]}.${bytes[at + 3]}`;
}

/** `aa:bb:cc:dd:ee:ff`, of the 6 bytes at `at`. */
export function macText(bytes: Uint8Array, at = 0): string {
  return Array.from(bytes.subarray(at, at + 6), hexByte).join(":");
}

/**
 * RFC 5952, of the 16 bytes at `at`: lower case, no leading zeros, the first of the longest runs of two or more zero
 * groups becomes `::`; an IPv4-mapped address (::ffff:0:0/96) ends in dotted form.
 */
export function ipv6Text(bytes: Uint8Array, at = 0): string {
  return compressed(bytes, at, isMapped(bytes, at));
}

/**
 * IPv6 as the kernel's `%pI6c` prints it: ipv6Text(), but ISATAP interface identifiers (RFC 5214 section 6.1) end in
 * dotted form too.
 */
export function kernelIpv6Text(bytes: Uint8Array, at = 0): string {
  const isatap = (bytes[at + 8] | 2) === 2 && bytes[at + 9] === 0 && bytes[at + 10] === 0x5e && bytes[at + 11] === 0xfe;
  return compressed(bytes, at, isatap || isMapped(bytes, at));
}

/** ipv6Text() with the last two groups in hexadecimal always: `::ffff:0:1`. */
export function ipv6HexText(bytes: Uint8Array, at = 0): string {
  return compressed(bytes, at, false);
}

/** All eight groups with four digits each, as the kernel's `%pI6` prints them: `2001:0db8:0000:…`. */
export function ipv6LongText(bytes: Uint8Array, at = 0): string {
  return Array.from({ length: 8 }, (_, i) => hexByte(bytes[at + 2 * i]) + hexByte(bytes[at + 2 * i + 1])).join(":");
}

/** Four bytes of dotted decimal text; null where it is none. */
export function parseIpv4(text: string): Uint8Array | null {
  const bytes = dottedBytes(text);
  return bytes === null ? null : Uint8Array.from(bytes);
}

/** Six bytes of `a:b:c:d:e:f`, one or two hexadecimal digits each; null where it is none. */
export function parseMac(text: string): Uint8Array | null {
  const parts = text.split(":");
  if (parts.length !== 6 || !parts.every((part) => /^[0-9a-f]{1,2}$/i.test(part))) return null;
  return Uint8Array.from(parts, (part) => Number.parseInt(part, 16));
}

/** Sixteen bytes of the text forms of RFC 4291 section 2.2; null where it is none. */
export function parseIpv6(text: string): Uint8Array | null {
  const [before, after, more] = text.split("::");
  if (more !== undefined) return null;
  const head = groupBytes(before, after === undefined);
  const tail = after === undefined ? [] : groupBytes(after, true);
  if (head === null || tail === null) return null;
  const given = head.length + tail.length;
  // "::" stands for one group at least.
  if (after === undefined ? given !== 16 : given > 14) return null;
  const bytes = new Uint8Array(16);
  bytes.set(head);
  bytes.set(tail, 16 - tail.length);
  return bytes;
}

/** Puts an address of 4 or 16 bytes into `words`, from word `at` on. */
export function bytesToWords(bytes: Uint8Array, words: Int32Array, at = 0): void {
  for (let i = 0; i < bytes.length; i += 4) {
    words[at + (i >> 2)] = (bytes[i] << 24) | (bytes[i + 1] << 16) | (bytes[i + 2] << 8) | bytes[i + 3];
  }
}

/** The bytes of `count` words from word `at` on. */
export function wordsToBytes(words: ArrayLike<number>, at: number, count: number): Uint8Array {
  const bytes = new Uint8Array(count * 4);
  for (let i = 0; i < bytes.length; i++) bytes[i] = words[at + (i >> 2)] >>> (24 - (i & 3) * 8);
  return bytes;
}

function hexByte(byte: number): string {
  return byte.toString(16).padStart(2, "0");
}

function isMapped(bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < 10; i++) if (bytes[at + i] !== 0) return false;
  return bytes[at + 10] === 0xff && bytes[at + 11] === 0xff;
}

/** @param dotted writes the last four bytes in decimal; the groups before them are compressed alone */
function compressed(bytes: Uint8Array, at: number, dotted: boolean): string {
  const count = dotted ? 6 : 8;
  const groups = Array.from({ length: count }, (_, i) => (bytes[at + 2 * i] << 8) | bytes[at + 2 * i + 1]);
  let start = -1;
  let longest = 1;
  for (let i = 0; i < count; ) {
    let end = i;
    while (end < count && groups[end] === 0) end++;
    if (end - i > longest) {
      start = i;
      longest = end - i;
    }
    i = end + 1;
  }
  const hex = (from: number, to: number): string =>
    groups
      .slice(from, to)
      .map((group) => group.toString(16))
      .join(":");
  const text = start < 0 ? hex(0, count) : `${hex(0, start)}::${hex(start + longest, count)}`;
  if (!dotted) return text;
  return `${text}${text.endsWith(":") ? "" : ":"}${ipv4Text(bytes, at + 12)}`;
}

function dottedBytes(text: string): number[] | null {
  if (!/^\d{1,3}(\.\d{1,3}){3}$/.test(text)) return null;
  const bytes = text.split(".").map(Number);
  return Math.max(...bytes) > 255 ? null : bytes;
}

/** @param last whether the text ends the address, so that its last group may be in dotted form */
function groupBytes(text: string, last: boolean): number[] | null {
  if (text === "") return [];
  const bytes: number[] = [];
  const parts = text.split(":");
  for (const [i, part] of parts.entries()) {
    if (/^[0-9a-f]{1,4}$/i.test(part)) {
      const value = Number.parseInt(part, 16);
      bytes.push(value >> 8, value & 0xff);
      continue;
    }
    const dotted = last && i === parts.length - 1 ? dottedBytes(part) : null;
    if (dotted === null) return null;
    bytes.push(...dotted);
  }
  return bytes;
}
