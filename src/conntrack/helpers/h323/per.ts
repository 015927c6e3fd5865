/**
 * Aligned packed encoding rules (X.691), read side: a notation for ASN.1 types that computes the encoding from their
 * constraints, and a decoder that keeps only the wanted values of a message, mostly the offsets of addresses.
 *
 * It reads as Linux does: decoding of a type ends at `REST`, behind its last wanted field. Inside another type the next
 * field is then read from that position, even if parts of the rest were there.
 */

/** How lengths and whole numbers of a constraint are written (X.691 clause 10.5). */
const enum Width {
  /** One value only: nothing is written. 1 to 8 bits are their own number. */
  NONE = 0,
  /** 256 values: an aligned byte. */
  BYTE = 9,
  /** Up to 64K: two aligned bytes. */
  WORD = 10,
  /** More: the number of bytes in two bits, then the aligned bytes. */
  LONG = 11,
  /** No bound: a length determinant, aligned. */
  OPEN = 12,
}

const enum Kind {
  REST = 0,
  UNREAD = 1,
  NULL = 2,
  BOOLEAN = 3,
  OBJECT_ID = 4,
  INTEGER = 5,
  BITS = 6,
  STRING = 7,
  SEQUENCE = 8,
  SEQUENCE_OF = 9,
  CHOICE = 10,
}

interface Named {
  readonly name: string;
  readonly type: Type;
}

/** A type. Made by the functions below only. @internal */
export class Type {
  width: Width = Width.NONE;
  /** Lower bound of the number or length. */
  low = 0;
  /** Bits of one character. */
  unit = 8;
  /** Components or alternatives, the item of a list. */
  root: readonly Named[] = [];
  /** Those behind the extension marker; undefined: there is none. */
  extension: readonly Named[] | undefined = undefined;
  optional = false;
  /** Optional components of the root, or bits of the alternative's number. */
  bits = 0;
  /** Items of a list that are kept. */
  limit = 0;
  /** Items of a list are open types: a length goes before each. */
  open = false;
  /** Some value in it is kept. */
  wanted = false;

  constructor(readonly kind: Kind) {}

  with(change: Partial<Type>): Type {
    return Object.assign(Object.create(Type.prototype) as Type, this, change);
  }
}

/** The end of what is decoded of a type. */
export const REST = new Type(Kind.REST);
/** An extension of which only the length is read. */
export const UNREAD = new Type(Kind.UNREAD);
export const NULL = new Type(Kind.NULL);
export const BOOLEAN = new Type(Kind.BOOLEAN);
export const OBJECT_ID = new Type(Kind.OBJECT_ID);

export const asnOptional = (type: Type): Type => type.with({ optional: true });
/** Keeps the value: its offset, its number, the chosen alternative. */
export const wanted = (type: Type): Type => type.with({ wanted: true });

function widthOf(low: number, high: number): Width {
  const range = high - low + 1;
  if (range < 256) return bitsFor(range);
  if (range === 256) return Width.BYTE;
  return range <= 0x1_0000 ? Width.WORD : Width.LONG;
}

/** Number of bits that hold this many different values. */
const bitsFor = (count: number): number => 32 - Math.clz32(count - 1);

/** INTEGER (low..high); without bounds if there are none. */
export function integer(low = 0, high = Number.POSITIVE_INFINITY): Type {
  const width = high === Number.POSITIVE_INFINITY ? Width.OPEN : widthOf(low, high);
  return new Type(Kind.INTEGER).with({ width, low });
}

function characters(kind: Kind, unit: number, low: number, high: number): Type {
  const width = high === Number.POSITIVE_INFINITY ? Width.OPEN : widthOf(low, high);
  return new Type(kind).with({ width, low, unit });
}

/** OCTET STRING (SIZE (low..high)), of one size if there is no `high`. */
export const octets = (low: number, high = low): Type => characters(Kind.STRING, 8, low, high);
/** OCTET STRING of any size. */
export const anyOctets = (): Type => octets(0, Number.POSITIVE_INFINITY);
/** BMPString (SIZE (low..high)). */
export const bmpString = (low: number, high: number): Type => characters(Kind.STRING, 16, low, high);
/** A string of up to 16 different characters. */
export const digits = (low: number, high: number): Type => characters(Kind.STRING, 4, low, high);
/** BIT STRING (SIZE (low..high)). */
export const bitString = (low = 0, high = Number.POSITIVE_INFINITY): Type => characters(Kind.BITS, 1, low, high);

/** The same type under each name. */
export const each = (type: Type, ...names: readonly string[]): Record<string, Type> =>
  Object.fromEntries(names.map((name) => [name, type]));

const named = (types: Record<string, Type>): Named[] => Object.entries(types).map(([name, type]) => ({ name, type }));
const someWanted = (list: readonly Named[]): boolean => list.some(({ type }) => type.wanted);

/** SEQUENCE; with `extension`, perhaps empty, it has an extension marker. */
export function asnSequence(root: Record<string, Type>, extension?: Record<string, Type>): Type {
  const components = named(root);
  const additions = extension === undefined ? undefined : named(extension);
  return new Type(Kind.SEQUENCE).with({
    root: components,
    extension: additions,
    bits: components.filter(({ type }) => type.optional).length,
    wanted: someWanted(components) || someWanted(additions ?? []),
  });
}

/** CHOICE; with `extension`, perhaps empty, it has an extension marker. */
export function choice(root: Record<string, Type>, extension?: Record<string, Type>): Type {
  const alternatives = named(root);
  const additions = extension === undefined ? undefined : named(extension);
  return new Type(Kind.CHOICE).with({
    root: alternatives,
    extension: additions,
    bits: bitsFor(alternatives.length),
    wanted: someWanted(alternatives) || someWanted(additions ?? []),
  });
}

/**
 * SEQUENCE OF.
 * @param limit how many items are kept
 * @param open items are OCTET STRINGs that hold the encoding of the type
 */
export function sequenceOf(item: Type, limit = 0, open = false): Type {
  return new Type(Kind.SEQUENCE_OF).with({
    root: [{ name: "item", type: item }],
    limit,
    open,
    wanted: item.wanted && limit > 0,
  });
}

/** What was kept of a value: components by name, the chosen alternative by its name. */
export class Value {
  /** Where an octet string begins, in bytes from the beginning of the buffer. */
  offset = -1;
  number = 0;
  readonly items: Value[] = [];
  private readonly parts = new Map<string, Value>();

  set(name: string, value: Value): void {
    this.parts.set(name, value);
  }

  /** The component at the end of a path of names; undefined if one of them is not there. */
  at(...path: readonly string[]): Value | undefined {
    let value: Value | undefined = this;
    for (const name of path) {
      value = value.parts.get(name);
      if (value === undefined) return undefined;
    }
    return value;
  }
}

/** The value of everything that is decoded but not kept. */
const SKIPPED = new Value();
/** Linux gives up a sequence with more extensions. */
const MAX_EXTENSIONS = 32;

/** One message. Types do not contain themselves, so that their depth bounds the recursion. */
class Decoder {
  constructor(
    private readonly bytes: Uint8Array,
    /** Byte that offsets count from. */
    private readonly origin: number,
    /** Position in bits. */
    private at: number,
    /** One past the last byte. */
    private readonly end: number,
  ) {}

  /** Whether so much is left, from here in whole bytes. */
  private has(bytes: number, bits = 0): boolean {
    return ((this.at + bits + 7) >>> 3) + bytes <= this.end;
  }

  private align(): void {
    this.at = (this.at + 7) & ~7;
  }

  /** Up to 32 bits; they must be there. */
  private take(count: number): number {
    let value = 0;
    for (let i = 0; i < count; i++, this.at++) {
      value = (value << 1) | ((this.bytes[this.at >>> 3] >>> (7 - (this.at & 7))) & 1);
    }
    return value >>> 0;
  }

  /** A length determinant below 16K (X.691 clause 10.9), -1 if it is cut off. */
  private length(): number {
    this.align();
    if (!this.has(2)) return -1;
    const first = this.take(8);
    return first < 0x80 ? first : ((first & 0x3f) << 8) | this.take(8);
  }

  /** Length of the open type that follows; -1 if it is not all there. */
  private openType(): number {
    const length = this.length();
    return length >= 0 && this.has(length) ? length : -1;
  }

  /** Skips `bits` bits. @returns SKIPPED; undefined beyond the end */
  private skip(bits: number): Value | undefined {
    this.at += bits;
    return this.has(0) ? SKIPPED : undefined;
  }

  /** Decodes a value. @returns undefined if it is malformed or cut off */
  decodePer(type: Type, keep: boolean): Value | undefined {
    const kept = keep && type.wanted;
    switch (type.kind) {
      case Kind.BOOLEAN:
        return this.skip(1);
      case Kind.OBJECT_ID:
        this.align();
        return this.has(1) ? this.skip(this.take(8) * 8) : undefined;
      case Kind.INTEGER:
        return this.integer(type, kept);
      case Kind.BITS:
      case Kind.STRING:
        return this.string(type, kept);
      case Kind.SEQUENCE:
        return this.asnSequence(type, kept);
      case Kind.SEQUENCE_OF:
        return this.sequenceOf(type, kept);
      case Kind.CHOICE:
        return this.choice(type, kept);
      default:
        return SKIPPED;
    }
  }

  private integer(type: Type, kept: boolean): Value | undefined {
    const { width } = type;
    if (width < Width.BYTE) return this.skip(width);
    if (width === Width.OPEN) {
      const length = this.length();
      return length < 0 ? undefined : this.skip(length * 8);
    }
    if (width !== Width.LONG) {
      this.align();
      return this.skip(width === Width.BYTE ? 8 : 16);
    }
    if (!this.has(0, 2)) return undefined;
    const length = this.take(2) + 1;
    this.align();
    // Linux passes over a number that it keeps twice: one at the very end is cut off to it.
    if (!this.has(kept ? length * 2 : length)) return undefined;
    if (!kept) return this.skip(length * 8);
    const value = new Value();
    value.number = (this.take(length * 8) + type.low) >>> 0;
    return value;
  }

  private string(type: Type, kept: boolean): Value | undefined {
    const { width, unit } = type;
    const size = this.size(type);
    if (size < 0) return undefined;
    // Up to two bytes of a fixed size are not aligned.
    if (width !== Width.NONE || size * unit > 16) this.align();
    const offset = (this.at >>> 3) - this.origin;
    const passed = this.skip(size * unit);
    if (passed === undefined || !kept) return passed;
    const value = new Value();
    value.offset = offset;
    return value;
  }

  /** How many characters follow, -1 if that is cut off. */
  private size({ width, low }: Type): number {
    if (width === Width.NONE) return low;
    if (width === Width.OPEN) {
      const length = this.length();
      return length < 0 ? -1 : length + low;
    }
    if (width >= Width.BYTE) this.align();
    const bits = width === Width.BYTE ? 8 : width === Width.WORD ? 16 : width;
    return this.has(0, bits) ? this.take(bits) + low : -1;
  }

  private asnSequence(type: Type, kept: boolean): Value | undefined {
    const { root, extension, bits } = type;
    if (!this.has(0, 1)) return undefined;
    const extended = extension !== undefined && this.take(1) === 1;
    if (!this.has(0, bits)) return undefined;
    const present = this.take(bits);
    const value = kept ? new Value() : SKIPPED;
    let left = bits;
    for (const { name, type: component } of root) {
      if (component.kind === Kind.REST) return value;
      if (component.optional && ((present >>> --left) & 1) === 0) continue;
      const part = this.decodePer(component, kept);
      if (part === undefined) return undefined;
      if (kept) value.set(name, part);
    }
    return extended ? this.extensions(extension, kept, value) : value;
  }

  private extensions(list: readonly Named[], kept: boolean, value: Value): Value | undefined {
    if (!this.has(0, 7)) return undefined;
    const count = this.take(7) + 1;
    if (count > MAX_EXTENSIONS || !this.has(0, count)) return undefined;
    const present = this.take(count);
    this.align();
    for (let i = 0; i < count; i++) {
      // Linux takes extensions that are newer than those it knows for present.
      const known = i < list.length;
      if (known && list[i].type.kind === Kind.REST) return value;
      if (known && ((present >>> (count - 1 - i)) & 1) === 0) continue;
      const part = this.inside(known ? list[i].type : UNREAD, kept);
      if (part === undefined) return undefined;
      if (kept && known) value.set(list[i].name, part);
    }
    return value;
  }

  /** Decodes the content of an open type if it is kept, and goes on behind it. */
  private inside(type: Type, kept: boolean): Value | undefined {
    const length = this.openType();
    if (length < 0) return undefined;
    const end = this.at + length * 8;
    const value = kept && type.wanted ? this.decodePer(type, true) : SKIPPED;
    this.at = end;
    return value;
  }

  private sequenceOf(type: Type, kept: boolean): Value | undefined {
    const count = this.length();
    if (count < 0) return undefined;
    const item = type.root[0].type;
    const value = kept ? new Value() : SKIPPED;
    for (let i = 0; i < count; i++) {
      const keep = kept && i < type.limit;
      const part = type.open ? this.inside(item, keep) : this.decodePer(item, keep);
      if (part === undefined) return undefined;
      if (keep) value.items.push(part);
    }
    return value;
  }

  private choice(type: Type, kept: boolean): Value | undefined {
    const { root, extension, bits } = type;
    if (!this.has(0, 1)) return undefined;
    const extended = extension !== undefined && this.take(1) === 1;
    const width = extended ? 7 : bits;
    if (!this.has(0, width)) return undefined;
    const number = this.take(width);
    const list = extended ? extension : root;
    if (number >= list.length && !extended) return undefined;
    const known = number < list.length;
    const alternative = known ? list[number].type : UNREAD;
    let part: Value | undefined = SKIPPED;
    if (extended && alternative.kind !== Kind.REST) part = this.inside(alternative, kept);
    else if (alternative.kind !== Kind.REST) part = this.decodePer(alternative, kept);
    if (part === undefined || !kept) return part;
    const value = new Value();
    if (known) value.set(list[number].name, part);
    return value;
  }
}

/**
 * Decodes a message of a type from bytes `begin` to `end`.
 * @param origin what the offsets of values count from
 * @returns undefined if it is malformed or cut off
 */
export function decodePer(
  type: Type,
  bytes: Uint8Array,
  begin: number,
  end: number,
  origin: number,
): Value | undefined {
  return new Decoder(bytes, origin, begin * 8, end).decodePer(type, true);
}
