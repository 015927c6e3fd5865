import { K } from "../flow/key.ts";

/**
 * One distinct mask, and the hash table of the flows that use it: only the words in which the mask has bits are stored
 * and compared.
 */
export class Mask {
  /** Positions of the non-zero mask words, and their bits. */
  readonly index: Int32Array;
  readonly bits: Int32Array;
  /** Flows that use this mask. */
  flows = 0;
  /** Lookups answered since the last rebalance. */
  hits = 0;
  /** Its index in the array of masks. */
  position = 0;
  /** Masked key words, `index.length` per slot. */
  private keys: Int32Array;
  private readonly stride: number;
  /** Per slot: flow id and next slot of the chain; -1 ends it. */
  private flowOf = new Int32Array(8);
  private next = new Int32Array(8);
  private buckets = new Int32Array(8).fill(-1);
  private free = -1;
  private used = 0;

  /**
   * @param words the whole mask, K.WORDS long; kept
   * @param range the bytes that its attributes cover in the module's own key (spec/keys K-074)
   */
  constructor(
    readonly words: Int32Array,
    readonly range: number,
  ) {
    const index: number[] = [];
    for (let i = 0; i < K.WORDS; i++) if (words[i] !== 0) index.push(i);
    this.index = Int32Array.from(index);
    this.bits = Int32Array.from(index, (i) => words[i]);
    this.stride = index.length;
    this.keys = new Int32Array(8 * this.stride);
  }

  /** Flow id whose masked key equals the packet's, or -1. */
  lookup(key: Int32Array): number {
    let slot = this.buckets[this.hash(key) & (this.buckets.length - 1)];
    while (slot >= 0) {
      if (this.equals(slot, key)) return this.flowOf[slot];
      slot = this.next[slot];
    }
    return -1;
  }

  /** Whether the flow in `slot` matches the packet's key. */
  equals(slot: number, key: Int32Array): boolean {
    const { index, bits, keys, stride } = this;
    const base = slot * stride;
    for (let i = 0; i < stride; i++) {
      if ((key[index[i]] & bits[i]) !== keys[base + i]) return false;
    }
    return true;
  }

  /** Adds a flow; returns its slot. */
  insert(key: Int32Array, flow: number): number {
    let slot = this.free;
    if (slot >= 0) {
      this.free = this.next[slot];
    } else {
      if (this.used === this.flowOf.length) this.grow();
      slot = this.used++;
    }
    const { index, bits, stride } = this;
    const base = slot * stride;
    for (let i = 0; i < stride; i++) this.keys[base + i] = key[index[i]] & bits[i];
    const bucket = this.hash(key) & (this.buckets.length - 1);
    this.flowOf[slot] = flow;
    this.next[slot] = this.buckets[bucket];
    this.buckets[bucket] = slot;
    this.flows++;
    return slot;
  }

  /** Takes the flow in `slot` out. */
  remove(slot: number): void {
    const bucket = this.slotHash(slot) & (this.buckets.length - 1);
    let at = this.buckets[bucket];
    if (at === slot) {
      this.buckets[bucket] = this.next[slot];
    } else {
      while (this.next[at] !== slot) at = this.next[at];
      this.next[at] = this.next[slot];
    }
    this.next[slot] = this.free;
    this.flowOf[slot] = -1;
    this.free = slot;
    this.flows--;
  }

  /** Writes the masked key in `slot` to `key`, all other words zero. */
  readKey(slot: number, key: Int32Array): void {
    key.fill(0);
    const base = slot * this.stride;
    for (let i = 0; i < this.stride; i++) key[this.index[i]] = this.keys[base + i];
  }

  private hash(key: Int32Array): number {
    const { index, bits, stride } = this;
    let h = 0;
    for (let i = 0; i < stride; i++) h = mix(h, key[index[i]] & bits[i]);
    return finish(h);
  }

  private slotHash(slot: number): number {
    const base = slot * this.stride;
    let h = 0;
    for (let i = 0; i < this.stride; i++) h = mix(h, this.keys[base + i]);
    return finish(h);
  }

  private grow(): void {
    const size = this.flowOf.length * 2;
    this.keys = grownInt32(this.keys, size * this.stride);
    this.flowOf = grownInt32(this.flowOf, size);
    this.next = grownInt32(this.next, size);
    this.buckets = new Int32Array(size).fill(-1);
    for (let slot = 0; slot < this.used; slot++) {
      if (this.flowOf[slot] < 0) continue;
      const bucket = this.slotHash(slot) & (size - 1);
      this.next[slot] = this.buckets[bucket];
      this.buckets[bucket] = slot;
    }
    // grow() runs only when no slot is free, so the free list is empty and needs no repair.
  }
}

/** One round of a multiplicative hash. */
export function mix(h: number, word: number): number {
  h = Math.imul(h ^ word, 0x9e3779b1);
  return h ^ (h >>> 15);
}

/** Spreads the bits of the last mix() over the whole word. */
export function finish(h: number): number {
  h = Math.imul(h ^ (h >>> 13), 0x85ebca6b);
  return h ^ (h >>> 16);
}

/** A copy in an array of `size` words. */
export function grownInt32(from: Int32Array, size: number): Int32Array<ArrayBuffer> {
  const to = new Int32Array(size);
  to.set(from);
  return to;
}
