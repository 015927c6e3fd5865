import { finish, grownInt32, mix } from "./mask.ts";

/** A unique flow id (UFID): 1 to 16 bytes (spec/families F-201, F-216). */
export interface Ufid {
  /** Four words, unused bytes zero. */
  readonly words: Int32Array;
  readonly length: number;
}

/** Reads a UFID of 1 to 16 bytes. */
export function ufidOf(bytes: Uint8Array): Ufid {
  const words = new Int32Array(4);
  new Uint8Array(words.buffer).set(bytes);
  return { words, length: bytes.length };
}

const WORDS = 4;
const INITIAL_FLOWS = 1024;

/** The UFIDs of the flows of a table, by the flow's number, and a hash table that finds a flow by its UFID. */
export class UfidIndex {
  private words = new Int32Array(INITIAL_FLOWS * WORDS);
  /** Bytes of the flow's UFID, 0 = the flow has none. */
  private lengths = new Uint8Array(INITIAL_FLOWS);
  /** Next flow of the bucket, -1 = the last. */
  private next = new Int32Array(INITIAL_FLOWS);
  /** First flow of each bucket, -1 = none; as many as a power of two. */
  private buckets = new Int32Array(INITIAL_FLOWS).fill(-1);
  private count = 0;

  /** The flow with this UFID, or -1. */
  find(ufid: Ufid): number {
    const { words, length } = ufid;
    const own = this.words;
    let flow = this.buckets[hashOf(words, 0) & (this.buckets.length - 1)];
    while (flow >= 0) {
      const at = flow * WORDS;
      if (
        this.lengths[flow] === length &&
        own[at] === words[0] &&
        own[at + 1] === words[1] &&
        own[at + 2] === words[2] &&
        own[at + 3] === words[3]
      )
        return flow;
      flow = this.next[flow];
    }
    return -1;
  }

  /** Gives a flow that has no UFID its own. */
  add(flow: number, ufid: Ufid): void {
    while (flow >= this.lengths.length) this.growFlows();
    this.words.set(ufid.words, flow * WORDS);
    this.lengths[flow] = ufid.length;
    this.link(flow);
    if (++this.count >= this.buckets.length) this.growBuckets();
  }

  /** Takes the UFID of a flow away, if it has one. */
  delete(flow: number): void {
    if (!this.has(flow)) return;
    this.unlink(flow);
    this.lengths[flow] = 0;
    this.count--;
  }

  clear(): void {
    this.lengths.fill(0);
    this.buckets = new Int32Array(INITIAL_FLOWS).fill(-1);
    this.count = 0;
  }

  /** A view of the flow's UFID, valid until the next add(); undefined if the flow has none. */
  get(flow: number): Uint8Array | undefined {
    if (!this.has(flow)) return undefined;
    return new Uint8Array(this.words.buffer, flow * WORDS * 4, this.lengths[flow]);
  }

  private has(flow: number): boolean {
    return flow < this.lengths.length && this.lengths[flow] !== 0;
  }

  private bucketOf(flow: number): number {
    return hashOf(this.words, flow * WORDS) & (this.buckets.length - 1);
  }

  private link(flow: number): void {
    const bucket = this.bucketOf(flow);
    this.next[flow] = this.buckets[bucket];
    this.buckets[bucket] = flow;
  }

  private unlink(flow: number): void {
    const bucket = this.bucketOf(flow);
    let at = this.buckets[bucket];
    if (at === flow) {
      this.buckets[bucket] = this.next[flow];
      return;
    }
    while (this.next[at] !== flow) at = this.next[at];
    this.next[at] = this.next[flow];
  }

  private growBuckets(): void {
    this.buckets = new Int32Array(this.buckets.length * 2).fill(-1);
    for (let flow = 0; flow < this.lengths.length; flow++) if (this.lengths[flow] !== 0) this.link(flow);
  }

  private growFlows(): void {
    const size = this.lengths.length * 2;
    const lengths = new Uint8Array(size);
    lengths.set(this.lengths);
    this.lengths = lengths;
    this.words = grownInt32(this.words, size * WORDS);
    this.next = grownInt32(this.next, size);
  }
}

function hashOf(words: Int32Array, at: number): number {
  return finish(mix(mix(mix(words[at], words[at + 1]), words[at + 2]), words[at + 3]));
}
