import type { OfpField } from "./fields.ts";
import type { Flow } from "./flow.ts";

/**
 * What `load` and `move` address: `bits` bits of a field from bit `start` on, counted from the low end.
 */
export interface Subfield {
  readonly field: OfpField;
  readonly start: number;
  readonly bits: number;
}

/** Bit `bit` (0 is the lowest) of the `size` bytes at `offset`. */
function getBit(bytes: Uint8Array, offset: number, size: number, bit: number): number {
  return (bytes[offset + size - 1 - (bit >> 3)] >> (bit & 7)) & 1;
}
function putBit(bytes: Uint8Array, offset: number, size: number, bit: number, value: number): void {
  const at = offset + size - 1 - (bit >> 3);
  const flag = 1 << (bit & 7);
  if (value) bytes[at] |= flag;
  else bytes[at] &= ~flag;
}

/**
 * Copies `bits` bits between two right-aligned big-endian containers. Nine parameters, because each translated load and
 * move comes here: objects for the two places would be made for each.
 */
export function copyBits(
  source: Uint8Array,
  sourceOffset: number,
  sourceSize: number,
  sourceBit: number,
  target: Uint8Array,
  targetOffset: number,
  targetSize: number,
  targetBit: number,
  bits: number,
): void {
  // Whole bytes on byte boundaries are the common case: addresses, registers, ports.
  if (((sourceBit | targetBit | bits) & 7) === 0) {
    const count = bits >> 3;
    const from = sourceOffset + sourceSize - (sourceBit >> 3) - count;
    target.set(source.subarray(from, from + count), targetOffset + targetSize - (targetBit >> 3) - count);
    return;
  }
  for (let i = 0; i < bits; i++) {
    putBit(target, targetOffset, targetSize, targetBit + i, getBit(source, sourceOffset, sourceSize, sourceBit + i));
  }
}

/** The value of a subfield as a right-aligned big-endian number of ⌈bits / 8⌉ bytes. */
export function getSubfield(flow: Flow, subfield: Subfield): Uint8Array {
  const { field: f, start, bits } = subfield;
  const value = new Uint8Array((bits + 7) >> 3);
  copyBits(flow.bytes, f.offset, f.size, f.shift + start, value, 0, value.length, 0, bits);
  return value;
}

/** Puts the low `bits` bits of `value` into a subfield. */
export function putSubfield(flow: Flow, subfield: Subfield, value: Uint8Array): void {
  const { field: f, start, bits } = subfield;
  copyBits(value, 0, value.length, 0, flow.bytes, f.offset, f.size, f.shift + start, bits);
}

/** Sets all bits of a subfield. */
export function fillSubfield(flow: Flow, subfield: Subfield): void {
  const { field: f, start, bits } = subfield;
  for (let i = 0; i < bits; i++) putBit(flow.bytes, f.offset, f.size, f.shift + start + i, 1);
}

/** The field as one subfield. */
export function wholeField(f: OfpField): Subfield {
  return { field: f, start: 0, bits: f.bits };
}
