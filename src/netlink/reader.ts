const NLA_TYPE_MASK = 0x3fff;

/**
 * Walks the attributes of one level: `while (reader.next()) switch (reader.type) …`. Never reads outside
 * `[start, end)`. A malformed attribute ends the walk; `rest` is the number of bytes left over.
 */
export class AttributeReader {
  /** Type without the NLA_F_NESTED and NLA_F_NET_BYTEORDER bits, and with them. */
  type = 0;
  rawType = 0;
  /** Position and length of the payload. */
  offset = 0;
  length = 0;
  private position: number;

  constructor(
    readonly view: DataView,
    start: number,
    readonly end: number,
  ) {
    this.position = start;
  }

  /** Moves to the next attribute; false at the end of the level or at a malformed header (nla_ok() of the kernel). */
  next(): boolean {
    const at = this.position;
    if (this.end - at < 4) return false;
    const size = this.view.getUint16(at, true);
    if (size < 4 || size > this.end - at) return false;
    this.rawType = this.view.getUint16(at + 2, true);
    this.type = this.rawType & NLA_TYPE_MASK;
    this.offset = at + 4;
    this.length = size - 4;
    this.position = Math.min(at + ((size + 3) & ~3), this.end);
    return true;
  }

  /** Bytes that no attribute covers; greater than 0 after a walk means trailing bytes. */
  get rest(): number {
    return this.end - this.position;
  }

  u8(): number {
    return this.view.getUint8(this.offset);
  }
  u16(): number {
    return this.view.getUint16(this.offset, true);
  }
  u32(): number {
    return this.view.getUint32(this.offset, true);
  }
  s32(): number {
    return this.view.getInt32(this.offset, true);
  }
  /** Exact up to 2^53. */
  u64(): number {
    return this.view.getUint32(this.offset, true) + this.view.getUint32(this.offset + 4, true) * 0x1_0000_0000;
  }
  be16(): number {
    return this.view.getUint16(this.offset);
  }
  be32(): number {
    return this.view.getUint32(this.offset);
  }
  /** Up to the first NUL. */
  string(): string {
    const bytes = this.bytes();
    const nul = bytes.indexOf(0);
    return decoder.decode(nul < 0 ? bytes : bytes.subarray(0, nul));
  }
  /** A view of the payload. */
  bytes(): Uint8Array {
    return new Uint8Array(this.view.buffer, this.view.byteOffset + this.offset, this.length);
  }
  /** A reader of the payload as nested attributes. */
  nested(): AttributeReader {
    return new AttributeReader(this.view, this.offset, this.offset + this.length);
  }
}

const decoder = new TextDecoder("latin1");
