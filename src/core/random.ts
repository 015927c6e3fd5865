import { randomFillSync } from "node:crypto";

/** Source of random numbers. */
export interface Random {
  /** A uniformly distributed unsigned 32-bit integer. */
  u32(): number;
}

/** The machine's generator, read in chunks so that a number costs no call into native code. */
export class SystemRandom implements Random {
  private readonly pool = new Uint32Array(1024);
  private next = this.pool.length;
  u32(): number {
    if (this.next === this.pool.length) {
      randomFillSync(this.pool);
      this.next = 0;
    }
    return this.pool[this.next++];
  }
}

/** xorshift128: a seeded generator for tests; the same seed gives the same numbers. */
export class SeededRandom implements Random {
  private a = 0x9e3779b9;
  private b = 0x243f6a88;
  private c = 0xb7e15162;
  private d: number;
  constructor(seed: number) {
    this.d = seed | 1;
    for (let i = 0; i < 16; i++) this.u32();
  }
  u32(): number {
    let t = this.d;
    const s = this.a;
    this.d = this.c;
    this.c = this.b;
    this.b = s;
    t ^= t << 11;
    t ^= t >>> 8;
    this.a = t ^ s ^ (s >>> 19);
    return this.a >>> 0;
  }
}
