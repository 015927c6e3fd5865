/**
 * ARP and RARP for IPv4 over Ethernet (RFC 826).
 *
 * ```
 *  0         2         4    5    6         8         14        18        24        28
 * +---------+---------+----+----+---------+---------+---------+---------+---------+
 * | hw type | proto   | hl | pl | op      | sha     | sip     | tha     | tip     |
 * +---------+---------+----+----+---------+---------+---------+---------+---------+
 * ```
 */
export const HARDWARE = 0;
export const PROTOCOL = 2;
export const HLEN = 4;
export const PLEN = 5;
export const OP = 6;
export const SHA = 8;
export const SIP = 14;
export const THA = 18;
export const TIP = 24;
export const HEADER_LEN = 28;

export function op(view: DataView, off: number): number {
  return view.getUint16(off + OP);
}
export function sip(view: DataView, off: number): number {
  return view.getUint32(off + SIP);
}
export function tip(view: DataView, off: number): number {
  return view.getUint32(off + TIP);
}
/** True if hardware type, protocol and lengths say IPv4 over Ethernet. Precondition: HEADER_LEN bytes at `off`. */
export function isEthernetIpv4(view: DataView, off: number): boolean {
  return view.getInt32(off) === 0x00010800 && view.getUint16(off + HLEN) === 0x0604;
}
