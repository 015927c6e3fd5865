import { readBytes, readString, readU32s } from "./values.ts";

/**
 * Positions of the attributes of one level by type: the kernel's `struct nlattr **`. Reused between messages. The typed
 * getters expect that the attribute is present and as long as its rule demands.
 */
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
