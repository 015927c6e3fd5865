import { EINVAL } from "../../uapi/errno.ts";
import { K } from "../key.ts";
import { ArpStart, Bits, Len, MPLS_DEPTH } from "./numbers.ts";

/** RFC 826. Anything but Ethernet and IPv4 addresses leaves everything zero (spec/keys K-193). */
export function extractArp(view: DataView, key: Int32Array, at: number, end: number): void {
  if (end - at < Len.ARP || view.getInt32(at) !== ArpStart.TYPES || view.getUint16(at + 4) !== ArpStart.LENGTHS) return;
  const op = view.getUint16(at + 6);
  key[K.IP] = op <= 0xff ? op << 24 : 0;
  key[K.ARP_SIP] = view.getInt32(at + 14);
  key[K.ARP_TIP] = view.getInt32(at + 24);
  key[K.ARP_SHA] = view.getInt32(at + 8);
  key[K.ARP_MID] = (view.getUint16(at + 12) << 16) | view.getUint16(at + 18);
  key[K.ARP_THA] = view.getInt32(at + 20);
}

/** RFC 3032. A stack that does not end in the packet shows labels but counts none (spec/keys K-199). */
export function extractMpls(view: DataView, key: Int32Array, at: number, end: number): void {
  let count = 0;
  for (let offset = at; end - offset >= 4; offset += 4) {
    const entry = view.getInt32(offset);
    if (count < MPLS_DEPTH) key[K.MPLS_LSE + count++] = entry;
    if ((entry & Bits.MPLS_BOTTOM) !== 0) {
      key[K.MPLS_LABELS] = (1 << count) - 1;
      return;
    }
  }
}

/** RFC 8300. A header that is not understood makes the packet unusable (spec/keys K-205 to K-209). */
export function extractNsh(view: DataView, key: Int32Array, at: number, end: number): number {
  if (end - at < Len.NSH) return -EINVAL;
  const first = view.getInt32(at);
  const length = (first >>> 14) & 0xfc;
  if (first >>> 30 !== 0 || end - at < length) return -EINVAL;
  const mdtype = (first >>> 8) & 0xff;
  // flags and ttl stand in bits 29-28 and 27-22 of the first word; mdtype and next protocol are its low half.
  key[K.NSH_BASE] = ((first >>> 4) & 0x03000000) | ((first >>> 6) & 0x003f0000) | (first & 0xffff);
  key[K.NSH_PATH] = view.getInt32(at + 4);
  if (mdtype === 2) return 0;
  if (mdtype !== 1 || length !== Len.NSH_MD1) return -EINVAL;
  key[K.NSH_CONTEXT] = view.getInt32(at + 8);
  key[K.NSH_CONTEXT + 1] = view.getInt32(at + 12);
  key[K.NSH_CONTEXT + 2] = view.getInt32(at + 16);
  key[K.NSH_CONTEXT + 3] = view.getInt32(at + 20);
  return 0;
}
