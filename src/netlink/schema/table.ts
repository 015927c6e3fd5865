import { Errno } from "../../core/errors.ts";
import { EINVAL } from "../../uapi/errno.ts";
import { NLA_F_NESTED } from "../../uapi/netlink.ts";
import { AttributeReader } from "../reader.ts";
import type { AnyAttributeSet, Attribute, AttributePositions } from "./attribute.ts";
import { validateLevel } from "./validate.ts";
import { readBytes, readString, readU32s } from "./values.ts";

/**
 * Positions of the attributes of one level by type: the kernel's `struct nlattr **`. Reused between messages. The typed
 * getters expect that the attribute is present and as long as its rule demands.
 */
export class AttributeTable implements AttributePositions {
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
  be16(type: number): number {
    return this.view.getUint16(this.offset[type]);
  }
  be32(type: number): number {
    return this.view.getUint32(this.offset[type]);
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
  /** The payload as an array of u32; up to three trailing bytes are left out. */
  u32s(type: number): Uint32Array {
    return readU32s(this.view, this.offset[type], this.length[type]);
  }

  /** The value of an attribute that is present and at least `attribute.size` bytes long. */
  read<T>(attribute: Attribute<T>): T {
    return attribute.read(this.view, this.offset[attribute.type], this.length[attribute.type]);
  }

  /** The attributes inside an attribute, not checked at all; of a repeated one the first, as nla_find() takes it. */
  firstOfEach(type: number, set: AnyAttributeSet): AttributeTable {
    const table = new AttributeTable(set.maxType);
    table.view = this.view;
    const reader = new AttributeReader(this.view, this.offset[type], this.end(type));
    while (reader.next()) {
      if (reader.type > set.maxType || table.has(reader.type)) continue;
      table.offset[reader.type] = reader.offset;
      table.length[reader.type] = reader.length;
    }
    return table;
  }

  /**
   * The entries of a list of nests, whatever their numbers, each checked as nla_parse_nested_deprecated() does.
   * @param max most entries
   * @throws Errno EINVAL, ERANGE, without an extended ack
   */
  entries(type: number, set: AnyAttributeSet, max: number): AttributeTable[] {
    const found: [start: number, end: number][] = [];
    const reader = new AttributeReader(this.view, this.offset[type], this.end(type));
    while (reader.next()) {
      if (found.length === max) throw new Errno(EINVAL);
      found.push([reader.offset, reader.offset + reader.length]);
    }
    return found.map(([start, end]) => this.checked(start, end, set, false));
  }

  /**
   * The attributes inside an attribute, checked as nla_parse_nested_deprecated() does.
   * @throws Errno EINVAL, ERANGE, without an extended ack
   */
  nested(type: number, set: AnyAttributeSet): AttributeTable {
    return this.checked(this.offset[type], this.end(type), set, false);
  }

  /**
   * As nested(), checked as nla_parse_nested() does: NLA_F_NESTED, exact lengths, nothing unknown or left over.
   * @throws Errno EINVAL, ERANGE, without an extended ack
   */
  strictlyNested(type: number, set: AnyAttributeSet): AttributeTable {
    if ((this.view.getUint16(this.offset[type] - 2, true) & NLA_F_NESTED) === 0) throw new Errno(EINVAL);
    return this.checked(this.offset[type], this.end(type), set, true);
  }

  private checked(start: number, end: number, set: AnyAttributeSet, strict: boolean): AttributeTable {
    const table = new AttributeTable(set.maxType);
    table.view = this.view;
    validateLevel(set, table, start, end, { view: this.view, base: 0, extack: undefined, strict }, 0);
    return table;
  }
}
