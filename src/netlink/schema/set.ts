import type { ExtAck } from "../extack.ts";
import type { MessageWriter } from "../writer.ts";
import {
  type AnyAttributeSet,
  type Definitions,
  type NamedAttribute,
  named,
  type Validation,
  type Values,
} from "./attribute.ts";
import { AttributeTable } from "./table.ts";
import { validateLevel } from "./validate.ts";
import { readBytes, TYPE_MASK } from "./values.ts";

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
      const present = Object.entries(this.definitions).filter(([, { since = 0 }]) => since <= version);
      const all = present.length === Object.keys(this.definitions).length;
      set = all ? this : new AttributeSet(this.name, Object.fromEntries(present) as D, this.ordered);
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
   * Checks one level as __nla_parse() does and notes the position of each attribute (spec/families F-037 to F-049).
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
    validateLevel(this, table, start, end, { view, base, extack, strict }, 0);
    return table;
  }

  /** As parse(), noting nothing. @param depth nests around this level */
  validate(start: number, end: number, validation: Validation, depth = 0): void {
    validateLevel(this, undefined, start, end, validation, depth);
  }

  /**
   * Reads all attributes of a level; of a repeated one the last. Never throws. An ordered set gives a list of objects
   * with one attribute each.
   * @param knownOnly leave out unknown attributes and those that are too short, so that every value has its type. Else, for
   * printing, an attribute that is too short appears as bytes under its name, and an unknown attribute as bytes under `#number`
   */
  decode(view: DataView, start: number, end: number, knownOnly = false, depth = 0): Values<D> {
    const list: Record<string, unknown>[] = [];
    const values: Record<string, unknown> = {};
    let at = start;
    while (end - at >= 4) {
      const size = view.getUint16(at, true);
      if (size < 4 || size > end - at) break;
      const type = view.getUint16(at + 2, true) & TYPE_MASK;
      const attribute = this.byType[type];
      const readable = attribute !== undefined && size - 4 >= attribute.size;
      if (readable || !knownOnly) {
        const name = attribute?.name ?? `#${type}`;
        const value = readable
          ? attribute.read(view, at + 4, size - 4, knownOnly, depth)
          : readBytes(view, at + 4, size - 4);
        if (this.ordered) list.push({ [name]: value });
        else values[name] = value;
      }
      at += (size + 3) & ~3;
    }
    return (this.ordered ? list : values) as Values<D>;
  }

  /** Writes attributes, in the order of the object's properties; for an ordered set give a list of objects. */
  encode(writer: MessageWriter, values: Values<D> | readonly Values<D>[]): void {
    if (!Array.isArray(values)) {
      this.encodeGroup(writer, values as Values<D>);
      return;
    }
    for (const group of values as readonly Values<D>[]) this.encodeGroup(writer, group);
  }

  private encodeGroup(writer: MessageWriter, group: Values<D>): void {
    // Not Object.entries(), which makes an array an attribute.
    for (const name in group) {
      const value = group[name];
      if (value === undefined) continue;
      const attribute = this.definitions[name];
      attribute.write(writer, attribute.type, value);
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

/** The values of a set: what its decode() returns. */
export type SetValues<S> = S extends AttributeSet<infer D> ? Values<D> : unknown;
