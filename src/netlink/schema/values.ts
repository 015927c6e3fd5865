/** Reads payloads of attributes out of a message. No bounds are checked: the caller has checked the length. */

/** nla_type without NLA_F_NESTED and NLA_F_NET_BYTEORDER. */
export const TYPE_MASK = 0x3fff;

const decoder = new TextDecoder("latin1");

/** A copy of the payload. */
export function readBytes(view: DataView, offset: number, length: number): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset + offset, length).slice();
}

/** Up to the first NUL. */
export function readString(view: DataView, offset: number, length: number): string {
  let end = 0;
  while (end < length && view.getUint8(offset + end) !== 0) end++;
  return decoder.decode(new Uint8Array(view.buffer, view.byteOffset + offset, end));
}

/** The payload as u32 values; up to three trailing bytes are left out. */
export function readU32s(view: DataView, offset: number, length: number): Uint32Array {
  const values = new Uint32Array(length >>> 2);
  for (let i = 0; i < values.length; i++) values[i] = view.getUint32(offset + i * 4, true);
  return values;
}

/** Exact up to 2^53. */
export function readU64(view: DataView, offset: number): number {
  return view.getUint32(offset, true) + view.getUint32(offset + 4, true) * 0x1_0000_0000;
}
