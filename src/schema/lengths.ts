import { type AnyAttributeSet, Rule } from "../netlink/schema/index.ts";

/** Payload lengths in the tables of payloadLengths() that are no number of bytes. */
export const enum PayloadLength {
  /** Attributes inside, of any length. */
  NESTED = -1,
  /** Bytes or a string, of a length checked where they are read. */
  VARIABLE = -2,
  /** Not in the set: refused whatever its length. */
  REFUSED = -3,
}

/** Payload length in bytes, or PayloadLength, by attribute number. Numbers beyond the end are unknown. */
export type PayloadLengths = readonly number[];

/** The payload lengths of a set, for parsers that read attributes by themselves. Computed once, at load. */
export function payloadLengths(set: AnyAttributeSet): PayloadLengths {
  return Array.from({ length: set.maxType + 1 }, (_, type) => {
    const attribute = set.byType[type];
    if (attribute === undefined) return PayloadLength.REFUSED;
    if (attribute.size > 0) return attribute.size;
    switch (attribute.rule) {
      case Rule.NESTED:
        return PayloadLength.NESTED;
      case Rule.BINARY:
      case Rule.STRING:
      case Rule.NUL_STRING:
        return PayloadLength.VARIABLE;
      default:
        return 0;
    }
  });
}

/** Whether an attribute of this number may have a payload of `length` bytes. */
export function payloadLengthOk(lengths: PayloadLengths, type: number, length: number): boolean {
  if (type >= lengths.length) return false;
  const expected = lengths[type];
  return expected === length || expected === PayloadLength.NESTED || expected === PayloadLength.VARIABLE;
}
