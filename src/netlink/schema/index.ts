/**
 * Attribute sets as data. One table (name, number, codec, rule) drives parsing, building, validation with the kernel's
 * errnos and extended-ack texts, the policies that the controller reports, and printing.
 *
 * @example
 * ```ts
 * const port = attributeSet("port", { NAME: nulString(1, 15), NUMBER: u32(2), LIMITS: nested(3, () => limits) });
 * const limits = attributeSet("limits", { RATE: u64(1) });
 * const bytes = encode(port, { NAME: "eth0", LIMITS: { RATE: 5 } });
 * decode(port, bytes); // { NAME: "eth0", LIMITS: { RATE: 5 } }, typed
 * ```
 */
export {
  type AnyAttributeSet,
  type Attribute,
  type Definitions,
  type FieldPosition,
  INTEGER_SIZE,
  type NamedAttribute,
  Rule,
  type Validation,
  type Values,
} from "./attribute.ts";
export { decode, encode, payloads, payloadsByName } from "./decode.ts";
export { putPolicy } from "./policy.ts";
export { type Json, toJson, toText } from "./print.ts";
export { AttributeSet, type AttributeSetOptions, attributeSet, type SetValues } from "./set.ts";
export {
  countedStructs,
  type FieldValue,
  type StructAttribute,
  type StructField,
  type StructValue,
  struct,
  structs,
} from "./struct.ts";
export { AttributeTable } from "./table.ts";
export {
  type Bounds,
  be16,
  be32,
  be64,
  binary,
  bytes,
  checkedAs,
  flag,
  ipv4,
  ipv6,
  list,
  markedNested,
  nested,
  nulString,
  numberedList,
  recursive,
  replyOnly,
  s32,
  sequence,
  since,
  string,
  u8,
  u16,
  u32,
  u32s,
  u64,
  unspec,
} from "./types.ts";
