import { IpProto } from "../../packet/ip.ts";
import { K } from "../key.ts";
import { EtherType, Len, Nd } from "./numbers.ts";

/** True for a neighbour solicitation or advertisement whose ND fields were parsed (code 0). */
export function isNd(key: Int32Array): boolean {
  if (key[K.ETH_TYPE] >>> 16 !== EtherType.IPV6 || key[K.IP] >>> 24 !== IpProto.ICMPV6) return false;
  const typeAndCode = key[K.TP];
  return typeAndCode === Nd.SOLICIT << 16 || typeAndCode === Nd.ADVERT << 16;
}

/** RFC 4443, and the options of neighbour solicitation and advertisement of RFC 4861 (spec/keys K-183 to K-191). */
export function extractIcmpv6(view: DataView, key: Int32Array, at: number, end: number): void {
  const type = view.getUint8(at);
  const code = view.getUint8(at + 1);
  key[K.TP] = (type << 16) | code;
  if (code !== 0 || (type !== Nd.SOLICIT && type !== Nd.ADVERT) || end - at < Len.ND) return;
  key[K.ND_TARGET] = view.getInt32(at + 8);
  key[K.ND_TARGET + 1] = view.getInt32(at + 12);
  key[K.ND_TARGET + 2] = view.getInt32(at + 16);
  key[K.ND_TARGET + 3] = view.getInt32(at + 20);
  let option = at + Len.ND;
  while (end - option >= 8) {
    const length = view.getUint8(option + 1) << 3;
    // One that reaches beyond the message ends the walk as well.
    if (length === 0) return;
    const kind = view.getUint8(option);
    if (length === 8 && kind === 1) {
      if ((key[K.ND_SLL] | (key[K.ND_MID] & ~0xffff)) !== 0) {
        clearNd(key);
        return;
      }
      key[K.ND_SLL] = view.getInt32(option + 2);
      key[K.ND_MID] = (view.getUint16(option + 6) << 16) | (key[K.ND_MID] & 0xffff);
    } else if (length === 8 && kind === 2) {
      if ((key[K.ND_TLL] | (key[K.ND_MID] & 0xffff)) !== 0) {
        clearNd(key);
        return;
      }
      key[K.ND_MID] = (key[K.ND_MID] & ~0xffff) | view.getUint16(option + 2);
      key[K.ND_TLL] = view.getInt32(option + 4);
    }
    option += length;
  }
}

/** A link-layer option seen twice: nothing of the message is believed (spec/keys K-189). */
function clearNd(key: Int32Array): void {
  for (let i = K.ND_TARGET; i <= K.ND_TLL; i++) key[i] = 0;
}
