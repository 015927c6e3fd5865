import { MessageWriter } from "../writer.ts";
import type { Definitions, Values } from "./attribute.ts";
import type { AttributeSet } from "./set.ts";

/**
 * Reads the attributes in `bytes` by their table. Never throws: attributes that the table does not have, or that are too
 * short, are left out, and the level ends at a malformed header.
 *
 * @example
 * ```ts
 * const { NAME, STATS } = decode(vportAttributes, bytes); // string | undefined, { rx_packets: number, … } | undefined
 * ```
 */
export function decode<D extends Definitions>(set: AttributeSet<D>, bytes: Uint8Array): Values<D> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return set.decode(view, 0, bytes.length, true);
}

/** The attributes of `values` as bytes, in the order of the object's properties; the inverse of decode(). */
export function encode<D extends Definitions>(
  set: AttributeSet<D>,
  values: Values<D> | readonly Values<D>[],
): Uint8Array {
  const writer = new MessageWriter(256);
  set.encode(writer, values);
  return writer.finish();
}
