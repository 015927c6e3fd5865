import type { Chance } from "./chance.ts";

/** An attribute: nla_type with its flags, and its payload. */
export interface Tlv {
  type: number;
  payload: Uint8Array;
}

/** The attributes of a level if the bytes are nothing else. */
export function parseTlvs(bytes: Uint8Array): Tlv[] | undefined {
  const list: Tlv[] = [];
  let at = 0;
  while (bytes.length - at >= 4) {
    const size = bytes[at] | (bytes[at + 1] << 8);
    if (size < 4 || size > bytes.length - at) return undefined;
    list.push({ type: bytes[at + 2] | (bytes[at + 3] << 8), payload: bytes.subarray(at + 4, at + size) });
    at += (size + 3) & ~3;
  }
  return at >= bytes.length && list.length > 0 ? list : undefined;
}

/** Attributes as bytes, each padded to 4. A payload that no nla_len can tell is cut off. */
export function joinTlvs(list: readonly Tlv[]): Uint8Array {
  const parts = list.map(({ type, payload }) => {
    const size = Math.min(payload.length, 0xffff - 4);
    const bytes = new Uint8Array(4 + ((size + 3) & ~3));
    bytes.set([(4 + size) & 0xff, (4 + size) >> 8, type & 0xff, type >> 8]);
    bytes.set(payload.subarray(0, size), 4);
    return bytes;
  });
  return new Uint8Array(Buffer.concat(parts));
}

/** Changes one attribute anywhere in a level: its length, type, flags, place, number or bytes; or cuts the level off. */
export function mutateTlvs(bytes: Uint8Array, chance: Chance, depth = 0): Uint8Array {
  const list = parseTlvs(bytes);
  if (list === undefined) return flipBytes(bytes, chance);
  const at = chance.below(list.length);
  const chosen = list[at];
  if (depth < 8 && parseTlvs(chosen.payload) !== undefined && !chance.oneIn(4)) {
    list[at] = { type: chosen.type, payload: mutateTlvs(chosen.payload, chance, depth + 1) };
    return joinTlvs(list);
  }
  switch (chance.below(10)) {
    case 0:
      chosen.payload = chosen.payload.subarray(0, chance.below(chosen.payload.length + 1));
      break;
    case 1:
      chosen.payload = new Uint8Array(Buffer.concat([chosen.payload, chance.bytes(1 + chance.below(8))]));
      break;
    case 2:
      chosen.type = (chosen.type & 0xc000) | chance.below(40);
      break;
    case 3:
      chosen.type ^= chance.of([0x8000, 0x4000]);
      break;
    case 4:
      list.splice(at, 1);
      break;
    case 5:
      list.splice(chance.below(list.length + 1), 0, {
        type: chance.below(40) | (chance.below(2) << 15),
        payload: chance.bytes(chance.below(20)),
      });
      break;
    case 6:
      chosen.payload = chance.bytes(chosen.payload.length);
      break;
    case 7:
      chosen.payload = flipBytes(chosen.payload, chance);
      break;
    case 8:
      // The level inside itself.
      if (depth < 8 && bytes.length < 2000) chosen.payload = bytes;
      break;
    default:
      list.splice(chance.below(list.length + 1), 0, chosen);
  }
  const changed = joinTlvs(list);
  return chance.oneIn(20) ? changed.subarray(0, chance.below(changed.length + 1)) : changed;
}

/** Some bytes changed. */
export function flipBytes(bytes: Uint8Array, chance: Chance): Uint8Array {
  const copy = bytes.slice();
  for (let i = 1 + chance.below(3); i > 0 && copy.length > 0; i--) {
    const at = chance.below(copy.length);
    copy[at] = chance.oneIn(2) ? copy[at] ^ (1 << chance.below(8)) : chance.of([0, 1, 4, 0x7f, 0x80, 0xff]);
  }
  return copy;
}
