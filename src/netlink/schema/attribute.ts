import type { ExtAck } from "../extack.ts";
import type { MessageWriter } from "../writer.ts";

/**
 * How the kernel checks a payload: enum netlink_attribute_type, and NLA_BE16 and NLA_BE32 of include/net/netlink.h, which
 * check a range or a mask in network byte order. UNSPEC has at most a minimum length.
 */
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
  BE16 = 18,
  BE32 = 19,
}

/** Payload bytes of the integer rules, by Rule; 0 = not an integer. */
export const INTEGER_SIZE = [0, 0, 1, 2, 4, 8, 1, 2, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 2, 4];

/** Where a field lies in the payload of a struct, in bytes. */
export interface FieldPosition {
  readonly offset: number;
  readonly size: number;
}

/** One attribute: its number, how the kernel checks it and how its payload is read and written. */
export interface Attribute<T> {
  readonly type: number;
  readonly rule: Rule;
  /** The rule's length in bytes: a minimum for UNSPEC, a maximum for strings and BINARY; 0 = none. */
  readonly length: number;
  /** Shortest payload in bytes that read() takes. */
  readonly size: number;
  /** Bounds of an integer, or of a BINARY payload's length in bytes. */
  readonly min?: number;
  readonly max?: number;
  /** Bits that an integer may have. */
  readonly mask?: number;
  /** The attributes inside, for decoding and printing. */
  readonly inner?: () => AnyAttributeSet;
  /** Of a C struct: its fields by name, in the order of the layout, without paddings. */
  readonly fields?: Readonly<Record<string, FieldPosition>>;
  /** What each entry of a list() holds. */
  readonly element?: Attribute<unknown>;
  /** Whether the kernel also checks the attributes inside. */
  readonly deep?: boolean;
  /** kernelVersion() of the first kernel that knows it; undefined = all do. */
  readonly since?: number;
  /**
   * Reads a payload of at least `size` bytes.
   * @param knownOnly leave out what is unknown or too short inside, as AttributeSet.decode() does
   * @param depth recursive nests around this one
   */
  read(view: DataView, offset: number, length: number, knownOnly?: boolean, depth?: number): T;
  write(writer: MessageWriter, type: number, value: T): void;
}

// biome-ignore lint/suspicious/noExplicitAny: a table holds attributes of all value types; Values<> gives each its own
export type Definitions = Readonly<Record<string, Attribute<any>>>;

/** What decode() gives and encode() takes for a table of attributes. */
export type Values<D extends Definitions> = {
  -readonly [N in keyof D]?: D[N] extends Attribute<infer T> ? T : never;
};

/** Where a check notes the attributes of one level: of each type, or -1, the payload's position, and its length. */
export interface AttributePositions {
  readonly offset: Int32Array;
  readonly length: Int32Array;
}

/** The message that a check reads, and how strictly. */
export interface Validation {
  readonly view: DataView;
  /** Position of the nlmsghdr, for extended acks. */
  readonly base: number;
  /** Gets what broke a rule. */
  readonly extack: ExtAck | undefined;
  /** NL_VALIDATE_STRICT instead of NL_VALIDATE_LIBERAL. */
  readonly strict: boolean;
}

/** The part of an AttributeSet that does not depend on its table. */
export interface AnyAttributeSet {
  readonly name: string;
  readonly maxType: number;
  readonly byType: readonly (NamedAttribute | undefined)[];
  readonly ordered: boolean;
  validate(start: number, end: number, validation: Validation, depth?: number): void;
  decode(view: DataView, start: number, end: number, knownOnly?: boolean, depth?: number): unknown;
  encode(writer: MessageWriter, values: never): void;
}

/** An attribute with its name in the set. */
export interface NamedAttribute extends Attribute<unknown> {
  readonly name: string;
}

/** An attribute with its name, of one shape for V8: every attribute of every message is read through it. */
export function named(name: string, attribute: Attribute<unknown>): NamedAttribute {
  const { type, rule, length, size, min, max, mask, inner, fields, element, deep, since, read, write } = attribute;
  return { name, type, rule, length, size, min, max, mask, inner, fields, element, deep, since, read, write };
}
