import { ipv4Text, ipv6Text, parseIpv4, parseIpv6 } from "../../net/address.ts";
import { NLA_F_NESTED } from "../../uapi/netlink.ts";
import { AttributeReader } from "../reader.ts";
import type { MessageWriter } from "../writer.ts";
import {
  type AnyAttributeSet,
  type Attribute,
  type Definitions,
  INTEGER_SIZE,
  Rule,
  type Values,
} from "./attribute.ts";
import type { AttributeSet } from "./set.ts";
import { addressBytes } from "./struct.ts";
import { readBytes, readString, readU32s, readU64 } from "./values.ts";

/** Attribute constructors, named after their payloads. */

/** Bounds that the kernel checks of an integer, in addition to its length. */
export interface Bounds {
  readonly min?: number;
  readonly max?: number;
  /** Bits that it may have. */
  readonly mask?: number;
}

function integer(
  rule: Rule,
  type: number,
  bounds: Bounds | undefined,
  read: (view: DataView, offset: number) => number,
  write: (writer: MessageWriter, type: number, value: number) => void,
): Attribute<number> {
  return { type, rule, length: 0, size: INTEGER_SIZE[rule], ...bounds, read, write };
}

export const u8 = (type: number, bounds: Bounds = {}): Attribute<number> =>
  integer(
    Rule.U8,
    type,
    bounds,
    (view, offset) => view.getUint8(offset),
    (writer, t, value) => writer.u8(t, value),
  );

export const u16 = (type: number, bounds: Bounds = {}): Attribute<number> =>
  integer(
    Rule.U16,
    type,
    bounds,
    (view, offset) => view.getUint16(offset, true),
    (writer, t, value) => writer.u16(t, value),
  );

export const u32 = (type: number, bounds: Bounds = {}): Attribute<number> =>
  integer(
    Rule.U32,
    type,
    bounds,
    (view, offset) => view.getUint32(offset, true),
    (writer, t, value) => writer.u32(t, value),
  );

/** Exact up to 2^53. */
export const u64 = (type: number, bounds: Bounds = {}): Attribute<number> =>
  integer(Rule.U64, type, bounds, readU64, (writer, t, value) => writer.u64(t, value));

export const s32 = (type: number, bounds: Bounds = {}): Attribute<number> =>
  integer(
    Rule.S32,
    type,
    bounds,
    (view, offset) => view.getInt32(offset, true),
    (writer, t, value) => writer.u32(t, value),
  );

/** Network byte order; checked as u16, with bounds as NLA_BE16. */
export const be16 = (type: number, bounds?: Bounds): Attribute<number> =>
  integer(
    bounds === undefined ? Rule.U16 : Rule.BE16,
    type,
    bounds,
    (view, offset) => view.getUint16(offset),
    (writer, t, value) => writer.be16(t, value),
  );

/** Network byte order; checked as u32, with bounds as NLA_BE32. */
export const be32 = (type: number, bounds?: Bounds): Attribute<number> =>
  integer(
    bounds === undefined ? Rule.U32 : Rule.BE32,
    type,
    bounds,
    (view, offset) => view.getUint32(offset),
    (writer, t, value) => writer.be32(t, value),
  );

/** Network byte order, exact up to 2^53; checked as u64. */
export const be64 = (type: number, bounds: Bounds = {}): Attribute<number> =>
  integer(
    Rule.U64,
    type,
    bounds,
    (view, offset) => view.getUint32(offset) * 0x1_0000_0000 + view.getUint32(offset + 4),
    (writer, t, value) => writer.be64(t, value),
  );

/** Present or not; `false` writes nothing. */
export const flag = (type: number): Attribute<boolean> => ({
  type,
  rule: Rule.FLAG,
  length: 0,
  size: 0,
  read: () => true,
  write: (writer, t, value) => {
    if (value) writer.flag(t);
  },
});

/** A NUL-terminated string of at most `max` characters. */
export const nulString = (type: number, max = 0): Attribute<string> => ({
  type,
  rule: Rule.NUL_STRING,
  length: max,
  size: 0,
  read: readString,
  write: (writer, t, value) => writer.string(t, value),
});

/** A string that need not be terminated. */
export const string = (type: number, max = 0): Attribute<string> => ({ ...nulString(type, max), rule: Rule.STRING });

/** Bytes. */
export const binary = (type: number, max = 0, bounds: Bounds = {}): Attribute<Uint8Array> => ({
  type,
  rule: Rule.BINARY,
  length: max,
  size: 0,
  ...bounds,
  read: readBytes,
  write: (writer, t, value) => writer.raw(t, value),
});

/** Exactly `length` bytes. */
export const bytes = (type: number, length: number): Attribute<Uint8Array> => ({ ...binary(type), size: length });

/** Bytes of at least `min`, otherwise unchecked. */
export const unspec = (type: number, min = 0): Attribute<Uint8Array> => ({
  ...binary(type),
  rule: Rule.UNSPEC,
  length: min,
});

/** An IPv4 address in dotted form, in network byte order; checked as u32. */
export const ipv4 = (type: number): Attribute<string> => ({
  type,
  rule: Rule.U32,
  length: 0,
  size: 4,
  read: (view, offset) => ipv4Text(readBytes(view, offset, 4)),
  write: (writer, t, value) => writer.raw(t, addressBytes(value, parseIpv4)),
});

/** An IPv6 address as inet_ntop(3) writes it; checked for a minimum of 16 bytes. */
export const ipv6 = (type: number): Attribute<string> => ({
  type,
  rule: Rule.UNSPEC,
  length: 16,
  size: 16,
  read: (view, offset) => ipv6Text(readBytes(view, offset, 16)),
  write: (writer, t, value) => writer.raw(t, addressBytes(value, parseIpv6)),
});

/** Packed u32 values, unchecked. */
export const u32s = (type: number): Attribute<Uint32Array> => ({
  type,
  rule: Rule.UNSPEC,
  length: 0,
  size: 0,
  read: readU32s,
  write: (writer, t, value) => {
    const at = writer.attr(t, value.length * 4);
    for (let i = 0; i < value.length; i++) writer.view.setUint32(at + i * 4, value[i], true);
  },
});

/**
 * Attributes inside an attribute.
 * @param deep whether the kernel's own check goes inside
 */
export const nested = <D extends Definitions>(
  type: number,
  inner: () => AttributeSet<D>,
  deep = false,
): Attribute<Values<D>> => ({
  type,
  rule: Rule.NESTED,
  length: 0,
  size: 0,
  inner,
  deep,
  read: (view, offset, length, knownOnly, depth) => inner().decode(view, offset, offset + length, knownOnly, depth),
  write: (writer, t, value) => {
    const at = writer.nest(t);
    inner().encode(writer, value);
    writer.endNest(at);
  },
});

/** An ordered list of attributes inside an attribute: each element an object with one attribute. */
export const sequence = <D extends Definitions>(
  type: number,
  inner: () => AttributeSet<D>,
): Attribute<readonly Values<D>[]> => ({
  ...(nested(type, inner) as Attribute<never>),
  write: (writer, t, value: readonly Values<D>[]) => {
    const at = writer.nest(t);
    inner().encode(writer, value);
    writer.endNest(at);
  },
});

/** As nested() or sequence(), for a set that contains itself: the value type is named, not inferred. */
export const recursive = <T>(type: number, inner: () => AnyAttributeSet): Attribute<T> => ({
  type,
  rule: Rule.NESTED,
  length: 0,
  size: 0,
  inner,
  read: (view, offset, length, knownOnly = false, depth = 0) => {
    // A message of nothing but nests would overflow the stack.
    if (depth < MAX_DECODE_DEPTH) return inner().decode(view, offset, offset + length, knownOnly, depth + 1) as T;
    return (knownOnly ? inner().decode(view, offset, offset) : readBytes(view, offset, length)) as T;
  },
  write: (writer, t, value) => {
    const at = writer.nest(t);
    inner().encode(writer, value as never);
    writer.endNest(at);
  },
});

/** Deepest recursive nest that decode() follows; the module accepts 16 (spec/actions A-031). */
const MAX_DECODE_DEPTH = 32;

/** A list: attributes numbered from `first` on, each holding one element. */
export const list = <T>(type: number, element: Attribute<T>, first = 0): Attribute<T[]> => ({
  type,
  rule: Rule.NESTED,
  length: 0,
  size: 0,
  element,
  read: (view, offset, length, knownOnly, depth) => {
    const values: T[] = [];
    const end = offset + length;
    let at = offset;
    while (end - at >= 4) {
      const size = view.getUint16(at, true);
      if (size < 4 || size > end - at) break;
      if (size - 4 >= element.size) values.push(element.read(view, at + 4, size - 4, knownOnly, depth));
      at += (size + 3) & ~3;
    }
    return values;
  },
  write: (writer, t, values) => {
    const at = writer.nest(t);
    for (let i = 0; i < values.length; i++) element.write(writer, first + i, values[i]);
    writer.endNest(at);
  },
});

/**
 * As list(), where the numbers of the entries carry meaning; every entry is marked NLA_F_NESTED.
 * @param element what each entry holds: attributes of its own
 */
export const numberedList = <T>(type: number, element: Attribute<T>): Attribute<(readonly [number, T])[]> => ({
  type,
  rule: Rule.NESTED,
  length: 0,
  size: 0,
  element,
  read: (view, offset, length, knownOnly, depth) => {
    const values: [number, T][] = [];
    const reader = new AttributeReader(view, offset, offset + length);
    while (reader.next() && reader.length >= element.size)
      values.push([reader.type, element.read(view, reader.offset, reader.length, knownOnly, depth)]);
    return values;
  },
  write: (writer, t, values) => {
    const at = writer.nest(t);
    for (const [number, value] of values) element.write(writer, number | NLA_F_NESTED, value);
    writer.endNest(at);
  },
});

/** The same attribute with another rule: the kernel may check less than the payload's type says. */
export const checkedAs = <T>(attribute: Attribute<T>, rule: Rule, length = 0): Attribute<T> => ({
  ...attribute,
  rule,
  length,
});

/** An attribute that kernels have from a version on (kernelVersion()). */
export const since = <T>(version: number, attribute: Attribute<T>): Attribute<T> => ({ ...attribute, since: version });

/** An attribute that the kernel takes with NLA_F_NESTED set only. */
export const markedNested = <T>(attribute: Attribute<T>): Attribute<T> => ({
  ...attribute,
  write: (writer, type, value) => attribute.write(writer, type | NLA_F_NESTED, value),
});

/** An attribute that only the kernel writes: in a request it is not checked. */
export const replyOnly = <T>(attribute: Attribute<T>): Attribute<T> => checkedAs(attribute, Rule.UNSPEC);
