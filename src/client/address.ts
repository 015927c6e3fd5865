/** Addresses as text, as inet_ntop(3) writes them. */

const hexByte = (byte: number): string => byte.toString(16).padStart(2, "0");

/** `10.0.0.1` */
export function ipv4Text(bytes: Uint8Array): string {
  return bytes.join(".");
}

/** `aa:bb:cc:dd:ee:ff` */
export function macText(bytes: Uint8Array): string {
  return Array.from(bytes, hexByte).join(":");
}

/** RFC 5952: the longest run of two or more zero groups becomes `::`; IPv4-mapped addresses end in dotted form. */
export function ipv6Text(bytes: Uint8Array): string {
  const groups: number[] = [];
  for (let at = 0; at < 16; at += 2) groups.push((bytes[at] << 8) | bytes[at + 1]);
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff) {
    return `::ffff:${ipv4Text(bytes.subarray(12))}`;
  }
  let start = -1;
  let length = 1;
  for (let at = 0; at < 8; ) {
    let end = at;
    while (end < 8 && groups[end] === 0) end++;
    if (end - at > length) {
      start = at;
      length = end - at;
    }
    at = end + 1;
  }
  const text = (from: number, to: number): string =>
    groups
      .slice(from, to)
      .map((group) => group.toString(16))
      .join(":");
  return start < 0 ? text(0, 8) : `${text(0, start)}::${text(start + length, 8)}`;
}
