import { Errno } from "../core/errors.ts";
import { EINVAL, ERANGE } from "../uapi/errno.ts";
import {
  NL_POLICY_TYPE_ATTR_MAX_LENGTH,
  NL_POLICY_TYPE_ATTR_MAX_VALUE_S,
  NL_POLICY_TYPE_ATTR_MAX_VALUE_U,
  NL_POLICY_TYPE_ATTR_MIN_LENGTH,
  NL_POLICY_TYPE_ATTR_MIN_VALUE_S,
  NL_POLICY_TYPE_ATTR_MIN_VALUE_U,
  NL_POLICY_TYPE_ATTR_POLICY_IDX,
  NL_POLICY_TYPE_ATTR_POLICY_MAXTYPE,
  NL_POLICY_TYPE_ATTR_TYPE,
  NLA_F_NESTED,
  NLMSGERR_ATTR_POLICY,
} from "../uapi/netlink.ts";
import type { ExtAck } from "./extack.ts";
import type { MessageWriter } from "./writer.ts";

/**
 * Attribute sets as data. One table (name, number, codec, rule) drives parsing, building, validation with the kernel's
 * errnos and extended-ack texts, the policies that the controller reports, and printing.
 *
 * @example
 * ```ts
 * const port = attributeSet("port", { NAME: nulString(1, 15), NUMBER: u32(2), LIMITS: nested(3, () => limits) });
 * const limits = attributeSet("limits", { RATE: u64(1) });
 * const writer = new MessageWriter();
 * port.encode(writer, { NAME: "eth0", LIMITS: { RATE: 5 } });
 * port.decode(writer.view, 0, writer.length); // { NAME: "eth0", LIMITS: { RATE: 5 } }, typed
 * ```
 */

/** How the kernel checks a payload (enum netlink_attribute_type; UNSPEC has at most a minimum length). */
export const enum Rule {
  UNSPEC = 0,
  FLAG = 1,
  U8 = 2,
  U16 = 3,
  U32 = 4,
  U64 = 5,
  S8 = 6,
  S16 = 7,
  S32 = 8,
  S64 = 9,
  BINARY = 10,
  STRING = 11,
  NUL_STRING = 12,
  NESTED = 13,
  NESTED_ARRAY = 14,
}

/** Payload size of the integer rules, by Rule; 0 = not an integer. */
const INTEGER_SIZE = [0, 0, 1, 2, 4, 8, 1, 2, 4, 8, 0, 0, 0, 0, 0];
/** MAX_POLICY_RECURSION_DEPTH of the kernel. */
const MAX_DEPTH = 10;

/** One attribute: its number, how the kernel checks it and how its payload is read and written. */
export interface Attribute<T> {
  readonly type: number;
  readonly rule: Rule;
  /** The rule's length: a minimum for UNSPEC, a maximum for strings and BINARY; 0 = none. */
  readonly length: number;
  /** Smallest payload that read() understands. */
  readonly size: number;
  /** Bounds of an integer, or of a BINARY payload's length. */
  readonly min?: number;
  readonly max?: number;
  /** The attributes inside, for decoding and printing. */
  readonly inner?: () => AnyAttributeSet;
  /** Whether the kernel also checks what is inside. */
  readonly deep?: boolean;
  /** kernelVersion() of the first kernel that knows it; undefined = all do. */
  readonly since?: number;
  read(view: DataView, offset: number, length: number): T;
  write(writer: MessageWriter, type: number, value: T): void;
}

// biome-ignore lint/suspicious/noExplicitAny: a table holds attributes of all value types; Values<> gives each its own
export type Definitions = Readonly<Record<string, Attribute<any>>>;

/** What decode() gives and encode() takes for a table of attributes. */
export type Values<D extends Definitions> = {
  -readonly [N in keyof D]?: D[N] extends Attribute<infer T> ? T : never;
};

/** The part of an AttributeSet that does not depend on its table. */
export interface AnyAttributeSet {
  readonly name: string;
  readonly maxType: number;
  readonly byType: readonly (NamedAttribute | undefined)[];
  readonly ordered: boolean;
  validate(
    view: DataView,
    start: number,
    end: number,
    base: number,
    extack: ExtAck | undefined,
    strict: boolean,
    depth: number,
  ): void;
  decode(view: DataView, start: number, end: number): unknown;
  encode(writer: MessageWriter, values: never): void;
}

/** An attribute with its name in the set. */
export interface NamedAttribute extends Attribute<unknown> {
  readonly name: string;
}

/** One shape for all: every attribute of every message is looked up through it. */
function named(name: string, attribute: Attribute<unknown>): NamedAttribute {
  const { type, rule, length, size, min, max, inner, deep, since, read, write } = attribute;
  return { name, type, rule, length, size, min, max, inner, deep, since, read, write };
}

/** Where each attribute of one level stands: the kernel's `struct nlattr **`. Reused between messages. */
export class AttributeTable {
  view: DataView = new DataView(new ArrayBuffer(0));
  /** Position of the payload by type, -1 = absent; of a repeated attribute the last one (spec/families F-048). */
  readonly offset: Int32Array;
  readonly length: Int32Array;

  constructor(maxType: number) {
    this.offset = new Int32Array(maxType + 1).fill(-1);
    this.length = new Int32Array(maxType + 1);
  }

  has(type: number): boolean {
    return this.offset[type] >= 0;
  }
  u8(type: number): number {
    return this.view.getUint8(this.offset[type]);
  }
  u16(type: number): number {
    return this.view.getUint16(this.offset[type], true);
  }
  u32(type: number): number {
    return this.view.getUint32(this.offset[type], true);
  }
  s32(type: number): number {
    return this.view.getInt32(this.offset[type], true);
  }
  /** Up to the first NUL. */
  string(type: number): string {
    return readString(this.view, this.offset[type], this.length[type]);
  }
  /** One past the last payload byte. */
  end(type: number): number {
    return this.offset[type] + this.length[type];
  }
  /** A copy of the payload. */
  bytes(type: number): Uint8Array {
    return readBytes(this.view, this.offset[type], this.length[type]);
  }
  /** The payload as an array of u32; a trailing part of one is left out. */
  u32s(type: number): Uint32Array {
    return readU32s(this.view, this.offset[type], this.length[type]);
  }
}

/** A level of attributes. Made by attributeSet(). */
export class AttributeSet<D extends Definitions> implements AnyAttributeSet {
  readonly maxType: number;
  readonly byType: readonly (NamedAttribute | undefined)[];
  private readonly versions = new Map<number, AttributeSet<D>>();

  constructor(
    readonly name: string,
    readonly definitions: D,
    /** True where order and repetition carry meaning (a list of actions). */
    readonly ordered: boolean,
    maxType?: number,
  ) {
    const byType: (NamedAttribute | undefined)[] = [];
    for (const [attributeName, attribute] of Object.entries(definitions))
      byType[attribute.type] = named(attributeName, attribute);
    this.maxType = maxType ?? byType.length - 1;
    for (let type = 0; type < byType.length; type++) byType[type] ??= undefined;
    this.byType = byType;
  }

  /** The set as a kernel of that version has it: without attributes that came later. */
  asOf(version: number): AttributeSet<D> {
    let set = this.versions.get(version);
    if (set === undefined) {
      const there = Object.entries(this.definitions).filter(([, { since = 0 }]) => since <= version);
      const all = there.length === Object.keys(this.definitions).length;
      set = all ? this : new AttributeSet(this.name, Object.fromEntries(there) as D, this.ordered);
      this.versions.set(version, set);
    }
    return set;
  }

  /** Whether the set has an attribute of that number. */
  knows(type: number): boolean {
    return this.byType[type] !== undefined;
  }

  /** A table that fits this set. */
  table(): AttributeTable {
    return new AttributeTable(this.maxType);
  }

  /**
   * Checks one level as __nla_parse() does and notes where each attribute stands (spec/families F-037 to F-049).
   * @param base position of the nlmsghdr, for extended acks
   * @param strict NL_VALIDATE_STRICT instead of NL_VALIDATE_LIBERAL
   * @throws Errno EINVAL or ERANGE; what broke the rule is noted in `extack`
   */
  parse(
    table: AttributeTable,
    view: DataView,
    start: number,
    end: number,
    base: number,
    extack: ExtAck | undefined,
    strict = false,
  ): AttributeTable {
    table.view = view;
    for (let type = 0; type <= this.maxType; type++) table.offset[type] = -1;
    this.walk(table, view, start, end, base, extack, strict, 0);
    return table;
  }

  /** As parse(), noting nothing. */
  validate(
    view: DataView,
    start: number,
    end: number,
    base: number,
    extack: ExtAck | undefined,
    strict: boolean,
    depth: number,
  ): void {
    this.walk(undefined, view, start, end, base, extack, strict, depth);
  }

  private walk(
    table: AttributeTable | undefined,
    view: DataView,
    start: number,
    end: number,
    base: number,
    extack: ExtAck | undefined,
    strict: boolean,
    depth: number,
  ): void {
    if (depth >= MAX_DEPTH) {
      if (extack !== undefined) extack.message = "allowed policy recursion depth exceeded";
      throw new Errno(EINVAL);
    }
    let at = start;
    while (end - at >= 4) {
      const size = view.getUint16(at, true);
      if (size < 4 || size > end - at) break;
      const rawType = view.getUint16(at + 2, true);
      const type = rawType & TYPE_MASK;
      if (type === 0 || type > this.maxType) {
        if (strict) throw refuse(EINVAL, "Unknown attribute type", at, base, extack, undefined);
      } else {
        const attribute = this.byType[type];
        if (attribute === undefined) {
          if (strict) throw refuse(EINVAL, "Unsupported attribute", at, base, extack, undefined);
        } else if (attribute.rule !== Rule.UNSPEC || attribute.length !== 0 || strict) {
          check(attribute, view, at, size - 4, rawType, base, extack, strict, depth);
        }
        if (table !== undefined) {
          table.offset[type] = at + 4;
          table.length[type] = size - 4;
        }
      }
      at += (size + 3) & ~3;
    }
    if (at < end) {
      if (extack !== undefined) extack.message = "bytes leftover after parsing attributes";
      if (strict) throw new Errno(EINVAL);
    }
  }

  /**
   * Reads all attributes of a level. Never fails: unknown and too short ones appear as bytes under their number.
   * An ordered set gives a list of objects with one attribute each.
   */
  decode(view: DataView, start: number, end: number): Values<D> {
    const list: Record<string, unknown>[] = [];
    const values: Record<string, unknown> = {};
    let at = start;
    while (end - at >= 4) {
      const size = view.getUint16(at, true);
      if (size < 4 || size > end - at) break;
      const type = view.getUint16(at + 2, true) & TYPE_MASK;
      const attribute = this.byType[type];
      const readable = attribute !== undefined && size - 4 >= attribute.size;
      const name = attribute?.name ?? `#${type}`;
      const value = readable ? attribute.read(view, at + 4, size - 4) : readBytes(view, at + 4, size - 4);
      if (this.ordered) list.push({ [name]: value });
      else values[name] = value;
      at += (size + 3) & ~3;
    }
    return (this.ordered ? list : values) as Values<D>;
  }

  /** Writes attributes, in the order of the object's properties; for an ordered set give a list of objects. */
  encode(writer: MessageWriter, values: Values<D> | readonly Values<D>[]): void {
    for (const one of Array.isArray(values) ? (values as readonly Values<D>[]) : [values as Values<D>]) {
      for (const [name, value] of Object.entries(one)) {
        if (value === undefined) continue;
        const attribute = this.definitions[name];
        attribute.write(writer, attribute.type, value);
      }
    }
  }
}

/** Options of attributeSet(). */
export interface AttributeSetOptions {
  readonly ordered?: boolean;
  /** Highest type that the kernel looks at, when it knows more than the table. */
  readonly maxType?: number;
}

/** Declares a level of attributes. */
export function attributeSet<const D extends Definitions>(
  name: string,
  definitions: D,
  options: AttributeSetOptions = {},
): AttributeSet<D> {
  return new AttributeSet(name, definitions, options.ordered ?? false, options.maxType);
}

const TYPE_MASK = 0x3fff;
const INVALID_LENGTH = "invalid attribute length";
const FAILED = "Attribute failed policy validation";

/** Notes what is wrong with the attribute at `at`; to be thrown. */
function refuse(
  errno: number,
  text: string,
  at: number,
  base: number,
  extack: ExtAck | undefined,
  attribute: Attribute<unknown> | undefined,
): Errno {
  if (extack !== undefined) {
    extack.message = text;
    extack.offset = at - base;
    extack.policy =
      attribute === undefined ? undefined : (writer) => putPolicy(writer, attribute, NLMSGERR_ATTR_POLICY, undefined);
  }
  return new Errno(errno);
}

/** The rules of validate_nla() for one attribute. */
function check(
  attribute: NamedAttribute,
  view: DataView,
  at: number,
  length: number,
  rawType: number,
  base: number,
  extack: ExtAck | undefined,
  strict: boolean,
  depth: number,
): void {
  const { rule } = attribute;
  const integer = INTEGER_SIZE[rule];
  if (strict) {
    if (integer !== 0 && length !== integer) throw refuse(EINVAL, INVALID_LENGTH, at, base, extack, attribute);
    const nest = rule === Rule.NESTED || rule === Rule.NESTED_ARRAY;
    if (nest && (rawType & NLA_F_NESTED) === 0)
      throw refuse(EINVAL, "NLA_F_NESTED is missing", at, base, extack, attribute);
    if (!nest && rule !== Rule.UNSPEC && (rawType & NLA_F_NESTED) !== 0)
      throw refuse(EINVAL, "NLA_F_NESTED not expected", at, base, extack, attribute);
  }
  switch (rule) {
    case Rule.FLAG:
      if (length > 0) throw refuse(ERANGE, FAILED, at, base, extack, attribute);
      break;
    case Rule.NUL_STRING:
    case Rule.STRING: {
      if (rule === Rule.NUL_STRING) {
        const look = attribute.length !== 0 ? Math.min(length, attribute.length + 1) : length;
        let nul = false;
        for (let i = 0; i < look && !nul; i++) nul = view.getUint8(at + 4 + i) === 0;
        if (!nul) throw refuse(EINVAL, FAILED, at, base, extack, attribute);
      }
      if (length < 1) throw refuse(ERANGE, FAILED, at, base, extack, attribute);
      if (attribute.length !== 0) {
        const text = view.getUint8(at + 4 + length - 1) === 0 ? length - 1 : length;
        if (text > attribute.length) throw refuse(ERANGE, FAILED, at, base, extack, attribute);
      }
      break;
    }
    case Rule.BINARY:
      if (attribute.length !== 0 && length > attribute.length)
        throw refuse(ERANGE, FAILED, at, base, extack, attribute);
      break;
    case Rule.NESTED:
    case Rule.NESTED_ARRAY:
      if (length === 0) break;
      if (length < 4) throw refuse(ERANGE, FAILED, at, base, extack, attribute);
      if (attribute.deep === true && attribute.inner !== undefined)
        attribute.inner().validate(view, at + 4, at + 4 + length, base, extack, strict, depth + 1);
      break;
    case Rule.UNSPEC:
      if (strict) throw refuse(EINVAL, "Unsupported attribute", at, base, extack, undefined);
      if (length < attribute.length) throw refuse(ERANGE, FAILED, at, base, extack, attribute);
      break;
    default:
      if (length < integer) throw refuse(ERANGE, FAILED, at, base, extack, attribute);
  }
  if (attribute.min === undefined && attribute.max === undefined) return;
  const value = rule === Rule.BINARY ? length : readInteger(rule, view, at + 4);
  if (value < (attribute.min ?? -Infinity) || value > (attribute.max ?? Infinity)) {
    const text = rule === Rule.BINARY ? "binary attribute size out of range" : "integer out of range";
    throw refuse(ERANGE, text, at, base, extack, attribute);
  }
}

function readInteger(rule: Rule, view: DataView, at: number): number {
  switch (rule) {
    case Rule.U8:
      return view.getUint8(at);
    case Rule.U16:
      return view.getUint16(at, true);
    case Rule.U32:
      return view.getUint32(at, true);
    case Rule.S8:
      return view.getInt8(at);
    case Rule.S16:
      return view.getInt16(at, true);
    case Rule.S32:
      return view.getInt32(at, true);
    case Rule.S64:
      return view.getUint32(at, true) + view.getInt32(at + 4, true) * 0x1_0000_0000;
    default:
      return readU64(view, at);
  }
}

/**
 * Writes the rule of an attribute as a nest of NL_POLICY_TYPE_ATTR_*, as the controller and extended acks carry it.
 * @param index number of a nested set in the dump, for POLICY_IDX; undefined in an extended ack
 * @returns false, having written nothing, when the rule cannot be told (UNSPEC)
 */
export function putPolicy(
  writer: MessageWriter,
  attribute: Attribute<unknown>,
  nestType: number,
  index: ((set: AnyAttributeSet) => number) | undefined,
): boolean {
  const { rule } = attribute;
  if (rule === Rule.UNSPEC) return false;
  const nest = writer.nest(nestType | NLA_F_NESTED);
  switch (rule) {
    case Rule.NESTED:
    case Rule.NESTED_ARRAY:
      if (index !== undefined && attribute.deep === true && attribute.inner !== undefined) {
        const inner = attribute.inner();
        writer.u32(NL_POLICY_TYPE_ATTR_POLICY_IDX, index(inner));
        writer.u32(NL_POLICY_TYPE_ATTR_POLICY_MAXTYPE, inner.maxType);
      }
      break;
    case Rule.U8:
    case Rule.U16:
    case Rule.U32:
    case Rule.U64:
      writer.u64(NL_POLICY_TYPE_ATTR_MIN_VALUE_U, attribute.min ?? 0);
      if (attribute.max !== undefined) writer.u64(NL_POLICY_TYPE_ATTR_MAX_VALUE_U, attribute.max);
      else putAllOnes(writer, NL_POLICY_TYPE_ATTR_MAX_VALUE_U, INTEGER_SIZE[rule]);
      break;
    case Rule.S8:
    case Rule.S16:
    case Rule.S32:
    case Rule.S64: {
      const top = 2 ** (INTEGER_SIZE[rule] * 8 - 1);
      putSigned(writer, NL_POLICY_TYPE_ATTR_MIN_VALUE_S, attribute.min ?? -top);
      if (attribute.max !== undefined) putSigned(writer, NL_POLICY_TYPE_ATTR_MAX_VALUE_S, attribute.max);
      else if (rule !== Rule.S64) putSigned(writer, NL_POLICY_TYPE_ATTR_MAX_VALUE_S, top - 1);
      else writer.view.setUint8(putAllOnes(writer, NL_POLICY_TYPE_ATTR_MAX_VALUE_S, 8) + 7, 0x7f);
      break;
    }
    case Rule.STRING:
    case Rule.NUL_STRING:
    case Rule.BINARY:
      if (attribute.min !== undefined || attribute.max !== undefined) {
        if (attribute.min) writer.u32(NL_POLICY_TYPE_ATTR_MIN_LENGTH, attribute.min);
        if (attribute.max !== undefined) writer.u32(NL_POLICY_TYPE_ATTR_MAX_LENGTH, attribute.max);
      } else if (attribute.length !== 0) writer.u32(NL_POLICY_TYPE_ATTR_MAX_LENGTH, attribute.length);
      break;
  }
  writer.u32(NL_POLICY_TYPE_ATTR_TYPE, rule);
  writer.endNest(nest);
  return true;
}

function putAllOnes(writer: MessageWriter, type: number, size: number): number {
  const at = writer.attr(type, 8);
  writer.bytes.fill(0, at, at + 8);
  writer.bytes.fill(0xff, at, at + size);
  return at;
}

function putSigned(writer: MessageWriter, type: number, value: number): void {
  const at = writer.attr(type, 8);
  writer.view.setUint32(at, value >>> 0, true);
  writer.view.setInt32(at + 4, Math.floor(value / 0x1_0000_0000), true);
}

// Readers.

const decoder = new TextDecoder("latin1");

function readBytes(view: DataView, offset: number, length: number): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset + offset, length).slice();
}

function readString(view: DataView, offset: number, length: number): string {
  let end = 0;
  while (end < length && view.getUint8(offset + end) !== 0) end++;
  return decoder.decode(new Uint8Array(view.buffer, view.byteOffset + offset, end));
}

function readU32s(view: DataView, offset: number, length: number): Uint32Array {
  const values = new Uint32Array(length >>> 2);
  for (let i = 0; i < values.length; i++) values[i] = view.getUint32(offset + i * 4, true);
  return values;
}

function readU64(view: DataView, offset: number): number {
  return view.getUint32(offset, true) + view.getUint32(offset + 4, true) * 0x1_0000_0000;
}

// Attribute constructors, named after their payloads.

/** Bounds of an integer. */
export interface Bounds {
  readonly min?: number;
  readonly max?: number;
}

function integer(
  rule: Rule,
  type: number,
  bounds: Bounds,
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

/** Network byte order; checked as u16. */
export const be16 = (type: number, bounds: Bounds = {}): Attribute<number> =>
  integer(
    Rule.U16,
    type,
    bounds,
    (view, offset) => view.getUint16(offset),
    (writer, t, value) => writer.be16(t, value),
  );

/** Network byte order; checked as u32. */
export const be32 = (type: number, bounds: Bounds = {}): Attribute<number> =>
  integer(
    Rule.U32,
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

/** Bytes of at least `min`, otherwise unchecked. */
export const unspec = (type: number, min = 0): Attribute<Uint8Array> => ({
  ...binary(type),
  rule: Rule.UNSPEC,
  length: min,
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

/** The values of a set: what its decode() returns. */
export type SetValues<S> = S extends AttributeSet<infer D> ? Values<D> : unknown;

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
  read: (view, offset, length) => inner().decode(view, offset, offset + length),
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
  read: (view, offset, length) => {
    // A message of nothing but nests would take the stack down.
    if (depth >= MAX_DECODE_DEPTH) return readBytes(view, offset, length) as T;
    depth++;
    try {
      return inner().decode(view, offset, offset + length) as T;
    } finally {
      depth--;
    }
  },
  write: (writer, t, value) => {
    const at = writer.nest(t);
    inner().encode(writer, value as never);
    writer.endNest(at);
  },
});

/** Deepest recursive nest that decode() follows; the module accepts 16 (spec/actions A-031). */
const MAX_DECODE_DEPTH = 32;
let depth = 0;

/** A list: attributes numbered from `first` on, each holding one element. */
export const list = <T>(type: number, element: Attribute<T>, first = 0): Attribute<T[]> => ({
  type,
  rule: Rule.NESTED,
  length: 0,
  size: 0,
  read: (view, offset, length) => {
    const values: T[] = [];
    const end = offset + length;
    let at = offset;
    while (end - at >= 4) {
      const size = view.getUint16(at, true);
      if (size < 4 || size > end - at) break;
      if (size - 4 >= element.size) values.push(element.read(view, at + 4, size - 4));
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

/** Fields of a fixed layout; the name says size and byte order. Bytes of any other length as `bytesN`. */
export type Field =
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
  | "pad4"
  | "bytes16";

const FIELD_SIZE: Record<Field, number> = {
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
  pad4: 4,
  bytes16: 16,
};

/** Value type of a field: addresses are strings in their usual notation. */
export type FieldValue<F extends Field> = F extends "mac" | "ipv4" | "ipv6"
  ? string
  : F extends "bytes16"
    ? Uint8Array
    : number;

/** What a fixed layout reads as. */
export type StructValue<L extends Readonly<Record<string, Field>>> = { -readonly [N in keyof L]: FieldValue<L[N]> };

/** A C struct without holes (name paddings `pad…`), as the whole payload. */
export const struct = <const L extends Readonly<Record<string, Field>>>(
  type: number,
  layout: L,
  rule: Rule = Rule.UNSPEC,
): Attribute<StructValue<L>> => {
  const fields = Object.entries(layout);
  const size = fields.reduce((sum, [, field]) => sum + FIELD_SIZE[field], 0);
  return {
    type,
    rule,
    length: rule === Rule.UNSPEC ? size : 0,
    size,
    read: (view, offset) => readStruct(fields, view, offset) as StructValue<L>,
    write: (writer, t, value) => writeStruct(fields, writer, writer.attr(t, size), value),
  };
};

/** Packed structs, as many as fit. */
export const structs = <const L extends Readonly<Record<string, Field>>>(
  type: number,
  layout: L,
): Attribute<StructValue<L>[]> => {
  const fields = Object.entries(layout);
  const size = fields.reduce((sum, [, field]) => sum + FIELD_SIZE[field], 0);
  return {
    type,
    rule: Rule.UNSPEC,
    length: 0,
    size: 0,
    read: (view, offset, length) => {
      const values: StructValue<L>[] = [];
      for (let at = 0; at + size <= length; at += size)
        values.push(readStruct(fields, view, offset + at) as StructValue<L>);
      return values;
    },
    write: (writer, t, values) => {
      let at = writer.attr(t, size * values.length);
      for (const value of values) {
        writeStruct(fields, writer, at, value);
        at += size;
      }
    },
  };
};

/** The same attribute with another rule: what the kernel checks may be less than what the payload means. */
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

/** An attribute that only the kernel writes: requests are not checked for it. */
export const replyOnly = <T>(attribute: Attribute<T>): Attribute<T> => checkedAs(attribute, Rule.UNSPEC);

function readStruct(fields: [string, Field][], view: DataView, offset: number): Record<string, unknown> {
  const value: Record<string, unknown> = {};
  let at = offset;
  for (const [name, field] of fields) {
    if (!field.startsWith("pad")) value[name] = readField(field, view, at);
    at += FIELD_SIZE[field];
  }
  return value;
}

function writeStruct(
  fields: [string, Field][],
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

function readField(field: Field, view: DataView, at: number): unknown {
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
      return Array.from(readBytes(view, at, 6), (byte) => byte.toString(16).padStart(2, "0")).join(":");
    case "ipv4":
      return formatIpv4(view, at);
    case "ipv6":
      return formatIpv6(view, at);
    default:
      return readBytes(view, at, FIELD_SIZE[field]);
  }
}

function writeField(field: Field, writer: MessageWriter, at: number, value: unknown): void {
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
      bytes.set(
        String(value)
          .split(":")
          .map((byte) => Number.parseInt(byte, 16)),
        at,
      );
      break;
    case "ipv4":
      bytes.set(String(value).split(".").map(Number), at);
      break;
    case "ipv6":
      writeIpv6(view, at, String(value));
      break;
    default:
      bytes.fill(0, at, at + FIELD_SIZE[field]);
      if (value instanceof Uint8Array) bytes.set(value.subarray(0, FIELD_SIZE[field]), at);
  }
}

/** Dotted quad. */
export function formatIpv4(view: DataView, at: number): string {
  return `${view.getUint8(at)}.${view.getUint8(at + 1)}.${view.getUint8(at + 2)}.${view.getUint8(at + 3)}`;
}

/** RFC 5952: lower case, the longest run of zero groups shortened. */
export function formatIpv6(view: DataView, at: number): string {
  const groups = Array.from({ length: 8 }, (_, i) => view.getUint16(at + i * 2));
  let best = -1;
  let bestLength = 1;
  for (let i = 0; i < 8; i++) {
    let n = 0;
    while (i + n < 8 && groups[i + n] === 0) n++;
    if (n > bestLength) {
      best = i;
      bestLength = n;
    }
    if (n > 0) i += n - 1;
  }
  const hex = (from: number, to: number): string =>
    groups
      .slice(from, to)
      .map((group) => group.toString(16))
      .join(":");
  return best < 0 ? hex(0, 8) : `${hex(0, best)}::${hex(best + bestLength, 8)}`;
}

function writeIpv6(view: DataView, at: number, text: string): void {
  const [left, right] = text.split("::");
  const head = left === "" ? [] : left.split(":");
  const tail = right === undefined || right === "" ? [] : right.split(":");
  const fill = text.includes("::") ? 8 - head.length - tail.length : 0;
  const groups = [...head, ...Array.from({ length: Math.max(fill, 0) }, () => "0"), ...tail];
  for (let i = 0; i < 8; i++) view.setUint16(at + i * 2, Number.parseInt(groups[i] ?? "0", 16));
}
