import { SeededRandom } from "../../src/core/random.ts";

const EDGES = [
  0, 1, 2, 3, 4, 7, 8, 15, 16, 127, 128, 255, 256, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff,
];

/** Seeded choices: the same seed gives the same case. */
export class Chance {
  private readonly random: SeededRandom;

  constructor(readonly seed: number) {
    this.random = new SeededRandom(seed);
  }

  u32(): number {
    return this.random.u32();
  }

  /** A whole number from 0 to `n` - 1; 0 for n = 0. */
  below(n: number): number {
    return n < 2 ? 0 : this.random.u32() % n;
  }

  /** True once in `n` times. */
  oneIn(n: number): boolean {
    return this.below(n) === 0;
  }

  /** One of a list that is not empty. */
  of<T>(list: readonly T[]): T {
    return list[this.below(list.length)];
  }

  /** A number below 2^32, often one at the edge of a type, or a small one. */
  number(): number {
    const kind = this.below(4);
    if (kind === 0) return this.u32();
    return kind === 1 ? this.of(EDGES) : this.below(8);
  }

  bytes(length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    const kind = this.below(4);
    if (kind === 0) return bytes.fill(this.of([0, 0xff]));
    for (let i = 0; i < length; i++) bytes[i] = kind === 1 && this.below(2) === 0 ? 0 : this.u32();
    return bytes;
  }

  /** A number of `size` bytes (1, 2, 4 or 8), in either byte order. */
  integer(size: number, low = 0, high = 0xffffffff): Uint8Array {
    let value = this.number();
    if (high < 0xffffffff && !this.oneIn(8)) value = low + this.below(high - low + 1);
    const bytes = new Uint8Array(size);
    const little = this.below(2) === 0;
    for (let i = 0; i < Math.min(size, 4); i++) bytes[little ? i : size - 1 - i] = value >>> (8 * i);
    return bytes;
  }
}
