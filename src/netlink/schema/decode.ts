import { AttributeReader } from "../reader.ts";
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

/** Name of an attribute in its set, or `#` and its number. */
type PayloadName<D extends Definitions> = (keyof D & string) | `#${number}`;

/**
 * The payloads of a level as they are, each with its attribute's name in the set, in the order of the bytes: for text that
 * shows bytes, such as a key beside its mask. Never throws; the level ends at a malformed header.
 * @returns views of `bytes`; an attribute that the set does not have is named `#` and its number
 */
export function payloads<D extends Definitions>(
  set: AttributeSet<D>,
  bytes: Uint8Array,
): [name: PayloadName<D>, payload: Uint8Array][] {
  const found: [PayloadName<D>, Uint8Array][] = [];
  const reader = new AttributeReader(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), 0, bytes.length);
  while (reader.next())
    found.push([(set.byType[reader.type]?.name ?? `#${reader.type}`) as PayloadName<D>, reader.bytes()]);
  return found;
}

/** payloads() by name, in the order of the bytes; of a repeated attribute the last. */
export function payloadsByName<D extends Definitions>(
  set: AttributeSet<D>,
  bytes: Uint8Array,
): Map<PayloadName<D>, Uint8Array> {
  return new Map(payloads(set, bytes));
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
