/**
 * Builds netlink messages into one growing buffer. Host byte order is little-endian (x86-64, arm64): the kernel's
 * interface is the machine's. Attributes are `u16 nla_len, u16 nla_type, payload`, padded to 4 bytes
 * (include/uapi/linux/netlink.h).
 */
export class MessageWriter {
  bytes: Uint8Array;
  view: DataView;
  /** Bytes written so far. */
  length = 0;

  constructor(capacity = 4096) {
    this.bytes = new Uint8Array(capacity);
    this.view = new DataView(this.bytes.buffer);
  }

  /** Forgets everything written. */
  reset(): this {
    this.length = 0;
    return this;
  }

  /** A copy of the bytes written so far. */
  finish(): Uint8Array {
    return this.bytes.slice(0, this.length);
  }

  /** Makes room for `size` more bytes and returns the position they start at. */
  reserve(size: number): number {
    const at = this.length;
    const need = at + size;
    if (need > this.bytes.length) {
      const grown = new Uint8Array(Math.max(need, this.bytes.length * 2));
      grown.set(this.bytes.subarray(0, at));
      this.bytes = grown;
      this.view = new DataView(grown.buffer);
    }
    this.length = need;
    return at;
  }

  /** Starts a message: the 16-byte nlmsghdr. Returns its position, for endMessage(). */
  beginMessage(type: number, flags: number, seq: number, pid: number): number {
    const at = this.reserve(16);
    this.view.setUint32(at, 0, true);
    this.view.setUint16(at + 4, type, true);
    this.view.setUint16(at + 6, flags, true);
    this.view.setUint32(at + 8, seq >>> 0, true);
    this.view.setUint32(at + 12, pid >>> 0, true);
    return at;
  }

  /** Writes nlmsg_len of the message that starts at `at`. */
  endMessage(at: number): void {
    this.view.setUint32(at, this.length - at, true);
  }

  /** genlmsghdr: u8 cmd, u8 version, u16 reserved. */
  genl(cmd: number, version: number): void {
    const at = this.reserve(4);
    this.view.setUint8(at, cmd);
    this.view.setUint8(at + 1, version);
    this.view.setUint16(at + 2, 0, true);
  }

  /** A bare host-order u32 (family headers). */
  rawU32(value: number): void {
    // reserve() may replace the view.
    const at = this.reserve(4);
    this.view.setUint32(at, value >>> 0, true);
  }

  /** Attribute header for `size` payload bytes, padding zeroed; returns the position of the payload. */
  attr(type: number, size: number): number {
    const padded = (size + 3) & ~3;
    const at = this.reserve(4 + padded);
    this.view.setUint16(at, 4 + size, true);
    this.view.setUint16(at + 2, type, true);
    for (let i = at + 4 + size; i < at + 4 + padded; i++) this.bytes[i] = 0;
    return at + 4;
  }

  flag(type: number): void {
    this.attr(type, 0);
  }
  u8(type: number, value: number): void {
    const at = this.attr(type, 1);
    this.view.setUint8(at, value);
  }
  u16(type: number, value: number): void {
    const at = this.attr(type, 2);
    this.view.setUint16(at, value, true);
  }
  u32(type: number, value: number): void {
    const at = this.attr(type, 4);
    this.view.setUint32(at, value >>> 0, true);
  }
  /** @param value a whole number below 2^53 */
  u64(type: number, value: number): void {
    const at = this.attr(type, 8);
    this.view.setUint32(at, value % 0x1_0000_0000, true);
    this.view.setUint32(at + 4, Math.floor(value / 0x1_0000_0000), true);
  }
  be16(type: number, value: number): void {
    const at = this.attr(type, 2);
    this.view.setUint16(at, value);
  }
  be32(type: number, value: number): void {
    const at = this.attr(type, 4);
    this.view.setUint32(at, value >>> 0);
  }
  be64(type: number, value: number): void {
    const at = this.attr(type, 8);
    this.view.setUint32(at, Math.floor(value / 0x1_0000_0000));
    this.view.setUint32(at + 4, value % 0x1_0000_0000);
  }
  /** NUL-terminated string. */
  string(type: number, value: string): void {
    const start = this.length;
    const at = this.attr(type, value.length + 1);
    for (let i = 0; i < value.length; i++) {
      const code = value.charCodeAt(i);
      if (code > 0x7f) {
        this.cancel(start);
        this.raw(type, encoder.encode(`${value}\0`));
        return;
      }
      this.bytes[at + i] = code;
    }
    this.bytes[at + value.length] = 0;
  }
  raw(type: number, source: Uint8Array, start = 0, end = source.length): void {
    const at = this.attr(type, end - start);
    this.bytes.set(start === 0 && end === source.length ? source : source.subarray(start, end), at);
  }

  /** Starts a nested attribute; returns its position for endNest() or cancel(). */
  nest(type: number): number {
    const at = this.reserve(4);
    this.view.setUint16(at + 2, type, true);
    return at;
  }
  endNest(at: number): void {
    this.view.setUint16(at, this.length - at, true);
  }
  /** Drops everything written from `at` on. */
  cancel(at: number): void {
    this.length = at;
  }
}

const encoder = new TextEncoder();
