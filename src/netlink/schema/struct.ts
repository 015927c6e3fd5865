import { NokmodError } from "../../core/errors.ts";
import { ipv4Text, ipv6HexText, macText, parseIpv4, parseIpv6, parseMac } from "../../net/address.ts";
import type { MessageWriter } from "../writer.ts";
import { type Attribute, type FieldPosition, Rule } from "./attribute.ts";
import { readBytes, readU64 } from "./values.ts";

/** Fields of a fixed layout; the name says size and byte order. Bytes of any other length as `bytesN`. */
export type StructField =
  | "u8"
  | "u16"
  | "u32"
  | "u64"
  | "s32"
  | "be16"
  | "be32"
  | "ipv4"
  | "mac"
  | "ipv6"
  | "pad1"
  | "pad2"
  | "pad3"
  | "pad4"
  | "bytes16";

const FIELD_SIZE: Record<StructField, number> = {
  u8: 1,
  u16: 2,
  u32: 4,
  u64: 8,
  s32: 4,
  be16: 2,
  be32: 4,
  ipv4: 4,
  mac: 6,
  ipv6: 16,
  pad1: 1,
  pad2: 2,
  pad3: 3,
  pad4: 4,
  bytes16: 16,
};

/** Value type of a field: addresses are strings in their usual notation. */
export type FieldValue<F extends StructField> = F extends "mac" | "ipv4" | "ipv6"
  ? string
  : F extends "bytes16"
    ? Uint8Array
    : number;

/** What a fixed layout reads as: its fields without paddings, which are written as zeros. */
export type StructValue<L extends Readonly<Record<string, StructField>>> = {
  -readonly [N in keyof L as L[N] extends `pad${number}` ? never : N]: FieldValue<L[N]>;
};

/** A struct() attribute. */
export interface StructAttribute<L extends Readonly<Record<string, StructField>>> extends Attribute<StructValue<L>> {
  readonly fields: Readonly<Record<keyof StructValue<L> & string, FieldPosition>>;
}

/** A C struct without holes (name paddings `pad…`), as the whole payload. */
export const struct = <const L extends Readonly<Record<string, StructField>>>(
  type: number,
  layout: L,
  rule: Rule = Rule.UNSPEC,
): StructAttribute<L> => {
  const fields = Object.entries(layout);
  const size = sizeOf(fields);
  return {
    type,
    rule,
    length: rule === Rule.UNSPEC ? size : 0,
    size,
    fields: positionsOf(fields) as StructAttribute<L>["fields"],
    read: (view, offset) => readStruct(fields, view, offset) as StructValue<L>,
    write: (writer, t, value) => writeStruct(fields, writer, writer.attr(t, size), value),
  };
};

/** Packed structs, as many as fit. */
export const structs = <const L extends Readonly<Record<string, StructField>>>(
  type: number,
  layout: L,
): Attribute<StructValue<L>[]> => {
  const fields = Object.entries(layout);
  return {
    type,
    rule: Rule.UNSPEC,
    length: 0,
    size: 0,
    read: (view, offset, length) => readStructs(fields, view, offset, length) as StructValue<L>[],
    write: (writer, t, values) => {
      writeStructs(fields, writer, writer.attr(t, sizeOf(fields) * values.length), values);
    },
  };
};

/** A u32 count, then that many packed structs. */
export const countedStructs = <const L extends Readonly<Record<string, StructField>>>(
  type: number,
  layout: L,
): Attribute<StructValue<L>[]> => {
  const fields = Object.entries(layout);
  const size = sizeOf(fields);
  return {
    type,
    rule: Rule.UNSPEC,
    length: COUNT_SIZE,
    size: COUNT_SIZE,
    read: (view, offset, length) => {
      const given = Math.min(length - COUNT_SIZE, view.getUint32(offset, true) * size);
      return readStructs(fields, view, offset + COUNT_SIZE, given) as StructValue<L>[];
    },
    write: (writer, t, values) => {
      const at = writer.attr(t, COUNT_SIZE + size * values.length);
      writer.view.setUint32(at, values.length, true);
      writeStructs(fields, writer, at + COUNT_SIZE, values);
    },
  };
};

const COUNT_SIZE = 4;

function sizeOf(fields: readonly [string, StructField][]): number {
  return fields.reduce((sum, [, field]) => sum + FIELD_SIZE[field], 0);
}

function positionsOf(fields: readonly [string, StructField][]): Record<string, FieldPosition> {
  const positions: Record<string, FieldPosition> = {};
  let offset = 0;
  for (const [name, field] of fields) {
    const size = FIELD_SIZE[field];
    if (!field.startsWith("pad")) positions[name] = { offset, size };
    offset += size;
  }
  return positions;
}

/** As many structs as fit in `length` bytes. */
function readStructs(fields: [string, StructField][], view: DataView, offset: number, length: number): unknown[] {
  const size = sizeOf(fields);
  const values: unknown[] = [];
  for (let at = 0; at + size <= length; at += size) values.push(readStruct(fields, view, offset + at));
  return values;
}

function writeStructs(
  fields: [string, StructField][],
  writer: MessageWriter,
  offset: number,
  values: readonly Readonly<Record<string, unknown>>[],
): void {
  const size = sizeOf(fields);
  let at = offset;
  for (const value of values) {
    writeStruct(fields, writer, at, value);
    at += size;
  }
}

function readStruct(fields: [string, StructField][], view: DataView, offset: number): Record<string, unknown> {
  const value: Record<string, unknown> = {};
  let at = offset;
  for (const [name, field] of fields) {
    if (!field.startsWith("pad")) value[name] = readField(field, view, at);
    at += FIELD_SIZE[field];
  }
  return value;
}

function writeStruct(
  fields: [string, StructField][],
  writer: MessageWriter,
  offset: number,
  value: Readonly<Record<string, unknown>>,
): void {
  let at = offset;
  for (const [name, field] of fields) {
    writeField(field, writer, at, value[name]);
    at += FIELD_SIZE[field];
  }
}

function readField(field: StructField, view: DataView, at: number): unknown {
  switch (field) {
    case "u8":
      return view.getUint8(at);
    case "u16":
      return view.getUint16(at, true);
    case "u32":
      return view.getUint32(at, true);
    case "u64":
      return readU64(view, at);
    case "s32":
      return view.getInt32(at, true);
    case "be16":
      return view.getUint16(at);
    case "be32":
      return view.getUint32(at);
    case "mac":
      return macText(readBytes(view, at, 6));
    case "ipv4":
      return ipv4Text(readBytes(view, at, 4));
    case "ipv6":
      return ipv6HexText(readBytes(view, at, 16));
    default:
      return readBytes(view, at, FIELD_SIZE[field]);
  }
}

function writeField(field: StructField, writer: MessageWriter, at: number, value: unknown): void {
  const { view, bytes } = writer;
  switch (field) {
    case "u8":
      view.setUint8(at, Number(value));
      break;
    case "u16":
      view.setUint16(at, Number(value), true);
      break;
    case "u32":
    case "s32":
      view.setUint32(at, Number(value) >>> 0, true);
      break;
    case "u64":
      view.setUint32(at, Number(value) % 0x1_0000_0000, true);
      view.setUint32(at + 4, Math.floor(Number(value) / 0x1_0000_0000), true);
      break;
    case "be16":
      view.setUint16(at, Number(value));
      break;
    case "be32":
      view.setUint32(at, Number(value) >>> 0);
      break;
    case "mac":
      bytes.set(addressBytes(value, parseMac), at);
      break;
    case "ipv4":
      bytes.set(addressBytes(value, parseIpv4), at);
      break;
    case "ipv6":
      bytes.set(addressBytes(value, parseIpv6), at);
      break;
    default:
      bytes.fill(0, at, at + FIELD_SIZE[field]);
      if (value instanceof Uint8Array) bytes.set(value.subarray(0, FIELD_SIZE[field]), at);
  }
}

/** The bytes of an address field's value. @throws NokmodError ERR_ADDRESS where the text is none */
export function addressBytes(value: unknown, parse: (text: string) => Uint8Array | null): Uint8Array {
  const bytes = parse(String(value));
  if (bytes === null) throw new NokmodError("ERR_ADDRESS", `${value} is no address`);
  return bytes;
}
