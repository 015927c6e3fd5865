import { AttributeReader } from "../../netlink/reader.ts";
import { PayloadLength } from "../../schema/lengths.ts";
import { OVS_KEY_ATTR_CT_STATE, OVS_KEY_ATTR_NSH, OVS_KEY_ATTR_TUNNEL } from "../../uapi/openvswitch.ts";
import { KEY_LENGTHS, NSH_KEY_LENGTHS, TUNNEL_KEY_LENGTHS } from "../attrs.ts";

/** Conntrack state bits that a key may hold (spec/keys K-099). */
export const CT_SUPPORTED = 0xff;

/**
 * A copy of KEY in which every payload bit is set, but those of ct_state that cannot be matched (spec/keys K-049,
 * K-051).
 */
export function exactMask(view: DataView, start: number, end: number): DataView {
  const bytes = new Uint8Array(view.buffer, view.byteOffset + start, end - start).slice();
  const copy = new DataView(bytes.buffer);
  setBits(copy, 0, bytes.length, 0);
  return copy;
}

/** Which table the attributes of a level are looked up in. */
const LEVEL_KEY = 0;
const LEVEL_TUNNEL = 1;

const LEVEL_NSH = 2;
const LEVEL_OTHER = 3;

function setBits(view: DataView, start: number, end: number, level: number): void {
  const lengths = level === LEVEL_KEY ? KEY_LENGTHS : level === LEVEL_TUNNEL ? TUNNEL_KEY_LENGTHS : NSH_KEY_LENGTHS;
  const reader = new AttributeReader(view, start, end);
  while (reader.next()) {
    const { type, offset, length } = reader;
    if (level !== LEVEL_OTHER && lengths[type] === PayloadLength.NESTED) {
      const inner =
        level === LEVEL_TUNNEL
          ? LEVEL_OTHER
          : type === OVS_KEY_ATTR_TUNNEL
            ? LEVEL_TUNNEL
            : type === OVS_KEY_ATTR_NSH
              ? LEVEL_NSH
              : LEVEL_KEY;
      setBits(view, offset, offset + length, inner);
    } else {
      for (let i = 0; i < length; i++) view.setUint8(offset + i, 0xff);
      if (level === LEVEL_KEY && type === OVS_KEY_ATTR_CT_STATE) view.setUint32(offset, CT_SUPPORTED, true);
    }
  }
}
