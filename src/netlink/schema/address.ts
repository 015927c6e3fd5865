/** Dotted quad. */
export function formatIpv4(view: DataView, at: number): string {
  return `${view.getUint8(at)}.${view.getUint8(at + 1)}.${view.getUint8(at + 2)}.${view.getUint8(at + 3)}`;
}

/** RFC 5952: lower case, the longest run of zero groups shortened. */
export function formatIpv6(view: DataView, at: number): string {
  const groups = Array.from({ length: 8 }, (_, i) => view.getUint16(at + i * 2));
  let best = -1;
  let bestLength = 1;
  for (let i = 0; i < 8; i++) {
    let n = 0;
    while (i + n < 8 && groups[i + n] === 0) n++;
    if (n > bestLength) {
      best = i;
      bestLength = n;
    }
    if (n > 0) i += n - 1;
  }
  const hex = (from: number, to: number): string =>
    groups
      .slice(from, to)
      .map((group) => group.toString(16))
      .join(":");
  return best < 0 ? hex(0, 8) : `${hex(0, best)}::${hex(best + bestLength, 8)}`;
}

/** As formatIpv6(), but an IPv4-mapped address ends in dotted form: what inet_ntop(3) writes. */
export function inetNtop6(view: DataView, at: number): string {
  const mapped = view.getUint32(at) === 0 && view.getUint32(at + 4) === 0 && view.getUint32(at + 8) === 0xffff;
  return mapped ? `::ffff:${formatIpv4(view, at + 12)}` : formatIpv6(view, at);
}

export function writeIpv4(view: DataView, at: number, text: string): void {
  for (const [i, part] of text.split(".").entries()) view.setUint8(at + i, Number(part));
}

/** Writes 16 bytes of RFC 5952 text, an IPv4-mapped address in either form. */
export function writeIpv6(view: DataView, at: number, text: string): void {
  const mapped = /^::ffff:([\d.]+\.[\d.]+)$/.exec(text);
  if (mapped !== null) {
    view.setUint32(at, 0);
    view.setUint32(at + 4, 0);
    view.setUint32(at + 8, 0xffff);
    writeIpv4(view, at + 12, mapped[1]);
    return;
  }
  const [left, right] = text.split("::");
  const head = left === "" ? [] : left.split(":");
  const tail = right === undefined || right === "" ? [] : right.split(":");
  const fill = text.includes("::") ? 8 - head.length - tail.length : 0;
  const groups = [...head, ...Array.from({ length: Math.max(fill, 0) }, () => "0"), ...tail];
  for (let i = 0; i < 8; i++) view.setUint16(at + i * 2, Number.parseInt(groups[i] ?? "0", 16));
}
