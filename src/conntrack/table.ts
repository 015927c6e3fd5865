import { totalmem } from "node:os";
import { NokmodError, systemErrorCode } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import { IPS_CONFIRMED, IPS_DYING } from "../uapi/nfnetlink.ts";
import { AF_INET } from "../uapi/socket.ts";
import { E, Ext, Slot, T } from "./layout.ts";

/**
 * Connections that an unlimited table has address space for: half of the machine's memory, 8 million at most. Beyond that
 * the table is copied to grow, and packets wait meanwhile.
 */
export const UNLIMITED_ROOM = Math.min(8 << 20, Math.floor(totalmem() / 2 / (E.WORDS * 4)));

/** Slots beyond the limit: entries that left the table wait for the batch to end before they are used again. */
const SPARE = 8192;

/** Bytes of the header of kept memory (kept-connections.ts); records begin behind it, at a page. */
export const KEPT_HEADER_BYTES = 4096;
/** Bytes by which kept memory is extended: pages, and enough for 13,000 records. */
const KEPT_STEP = 4 << 20;
/** Bytes of kept memory for UNLIMITED_ROOM connections. */
export const KEPT_ROOM =
  KEPT_HEADER_BYTES + Math.ceil(((UNLIMITED_ROOM + SPARE) * E.WORDS * 4) / KEPT_STEP) * KEPT_STEP;

/** Memory that outlives the process (native/src/kept_memory.cc). */
export interface KeptMemory {
  /** All addresses; only the first `length` bytes may be touched. */
  readonly buffer: ArrayBuffer;
  readonly length: number;
  /** Makes more bytes usable. @returns 0, or the errno for which these and all later ones do not outlive the process @throws Error ENOMEM */
  extend(bytes: number): number;
  /** Closes the file; the memory stays usable. @param remove the file */
  close(remove: boolean): void;
}

/**
 * The connections: a slab of records in one Int32Array and chained hash tables whose links are numbers. Room for the
 * limit is reserved at once, but the system gives memory only to pages that were written, so that the table grows without
 * ever being copied.
 *
 * A *slot* is the number of a record; an *entry* its first word, slot * E.WORDS. A *link* names one direction of a slot:
 * slot << 1 | direction.
 */
export class ConnectionTable {
  words: Int32Array;
  /** The same memory as doubles (E.START). */
  doubles: Float64Array;
  /** Confirmed and unconfirmed entries (spec/conntrack C-257). */
  count = 0;
  /** Slots ever used: scans end here. */
  top = 0;
  private capacity: number;
  /** Slots that have memory: the capacity, or as many as kept memory was extended to. */
  private usable: number;
  private kept: KeptMemory | undefined;
  /** Called with the errno for which connections beyond those that there are will not outlive the process. */
  onNotKept: ((errno: number) => void) | undefined = undefined;
  /** By hash of a tuple: link + 1 of the first, 0 = none. */
  private heads: Int32Array;
  /** By hash of the original source: slot + 1 of the first (nat.ts). */
  private sources: Int32Array;
  private mask: number;
  private sourceMask: number;
  private readonly seed: number;
  /** Free slots, chained through T.NEXT: slot + 1. */
  private freeSlots = 0;
  /** Slots to be looked at when the batch ends: unconfirmed, or dead. */
  private pending = new Int32Array(256);
  private pendingCount = 0;

  constructor(max: number, random: Random) {
    this.seed = random.u32() | 0;
    this.capacity = max + SPARE;
    this.words = new Int32Array(this.capacity * E.WORDS);
    this.doubles = new Float64Array(this.words.buffer);
    this.usable = this.capacity;
    const buckets = powerOfTwo(max * 2);
    this.heads = new Int32Array(buckets);
    this.sources = new Int32Array(buckets >> 1);
    this.mask = buckets - 1;
    this.sourceMask = (buckets >> 1) - 1;
  }

  /**
   * Puts the slab into memory that outlives the process. The table must be empty. Records that lie there are for the caller to
   * link or to free: all slots count as used.
   * @throws NokmodError ERR_TABLE_IN_USE
   */
  useMemory(memory: KeptMemory): void {
    if (this.top !== 0) throw new NokmodError("ERR_TABLE_IN_USE", "the table of connections has been used");
    const { buffer } = memory;
    this.kept = memory;
    this.words = new Int32Array(buffer, KEPT_HEADER_BYTES);
    this.doubles = new Float64Array(buffer, KEPT_HEADER_BYTES);
    this.usable = Math.min(this.capacity, recordsIn(memory.length));
    this.top = this.usable;
  }

  /** Frees all slots of useMemory(). Their words stay as they are until they are used. */
  forgetAll(): void {
    const { words } = this;
    for (let slot = 0; slot < this.top; slot++) words[slot * E.WORDS + E.SLOT] = Slot.FREE;
    this.top = 0;
  }

  /** Puts a slot of useMemory() on the list of free ones. */
  free(slot: number): void {
    const entry = slot * E.WORDS;
    this.words[entry + E.SLOT] = Slot.FREE;
    this.words[entry + T.NEXT] = this.freeSlots;
    this.freeSlots = slot + 1;
  }

  /** Bytes of the slab and of the hash tables for each connection of a full table. */
  get bytesPerConnection(): number {
    return (
      E.WORDS * 4 +
      (this.heads.byteLength + this.sources.byteLength + this.pending.byteLength) / (this.capacity - SPARE)
    );
  }

  /** Makes room for a higher limit: copies the table once, but in kept memory. A lower limit keeps the room. */
  resize(max: number): void {
    if (max + SPARE <= this.capacity) return;
    if (this.kept !== undefined) this.capacity = Math.min(max + SPARE, recordsIn(this.kept.buffer.byteLength));
    else {
      this.capacity = max + SPARE;
      const grown = new Int32Array(this.capacity * E.WORDS);
      grown.set(this.words.subarray(0, this.top * E.WORDS));
      this.words = grown;
      this.doubles = new Float64Array(grown.buffer);
      this.usable = this.capacity;
    }
    const { words } = this;
    const buckets = powerOfTwo(max * 2);
    this.heads = new Int32Array(buckets);
    this.sources = new Int32Array(buckets >> 1);
    this.mask = buckets - 1;
    this.sourceMask = (buckets >> 1) - 1;
    for (let slot = 0; slot < this.top; slot++) {
      const entry = slot * E.WORDS;
      if (words[entry + E.SLOT] !== Slot.USED) continue;
      if ((words[entry + E.STATUS] & IPS_CONFIRMED) !== 0) this.link(slot);
      if ((words[entry + E.EXT] & Ext.BY_SOURCE) !== 0) this.linkSource(slot);
    }
  }

  /** Extends kept memory. @returns whether there is room for one more slot */
  private extend(): boolean {
    const { kept } = this;
    if (kept === undefined || this.top >= this.capacity) return false;
    try {
      const errno = kept.extend(KEPT_STEP);
      if (errno !== 0) this.onNotKept?.(errno);
    } catch (error) {
      // No memory, not even for connections that end with the process: the table is full.
      if (systemErrorCode(error) !== "ENOMEM") throw error;
    }
    this.usable = Math.min(this.capacity, recordsIn(kept.length));
    return this.top < this.usable;
  }

  /** Hash of a tuple at `at` of `words`. HOT PATH. */
  hash(words: Int32Array, at: number): number {
    let h = mix(this.seed ^ words[at + T.META], words[at + T.PORTS]);
    h = mix(h, words[at + T.SRC]);
    h = mix(h, words[at + T.DST]);
    if ((words[at + T.META] & 0xff) !== AF_INET) {
      h = mix(h, words[at + T.SRC + 1]);
      h = mix(h, words[at + T.SRC + 2]);
      h = mix(h, words[at + T.SRC + 3]);
      h = mix(h, words[at + T.DST + 1]);
      h = mix(h, words[at + T.DST + 2]);
      h = mix(h, words[at + T.DST + 3]);
    }
    return finish(h);
  }

  /**
   * The confirmed entry with this tuple in either direction, expired or not. HOT PATH.
   * @returns its link, or -1
   */
  find(tuple: Int32Array, hash: number): number {
    const { words } = this;
    let next = this.heads[hash & this.mask];
    while (next !== 0) {
      const link = next - 1;
      const at = (link >> 1) * E.WORDS + ((link & 1) << E.DIR_SHIFT);
      if (words[at + T.HASH] === hash && sameTuple(words, at, tuple, 0)) return link;
      next = words[at + T.NEXT];
    }
    return -1;
  }

  /** Allocates a slot for an unconfirmed entry: everything zero but the generation. @returns -1 when no room is left */
  allocate(): number {
    const { words } = this;
    let slot: number;
    if (this.freeSlots !== 0) {
      slot = this.freeSlots - 1;
      this.freeSlots = words[slot * E.WORDS + T.NEXT];
    } else if (this.top < this.usable || this.extend()) slot = this.top++;
    else return -1;
    const entry = slot * E.WORDS;
    const generation = words[entry + E.GENERATION] + 1;
    words.fill(0, entry, entry + E.WORDS);
    words[entry + E.GENERATION] = generation;
    words[entry + E.SLOT] = Slot.USED;
    this.count++;
    this.defer(slot);
    return slot;
  }

  /** Puts both directions of an entry into the hash table. Its T.HASH words must be right. */
  link(slot: number): void {
    this.linkDirection(slot, 0);
    this.linkDirection(slot, 1);
  }

  /** Puts one direction into the hash table. */
  linkDirection(slot: number, direction: number): void {
    const { words, heads } = this;
    const at = slot * E.WORDS + (direction << E.DIR_SHIFT);
    const bucket = words[at + T.HASH] & this.mask;
    words[at + T.NEXT] = heads[bucket];
    heads[bucket] = ((slot << 1) | direction) + 1;
  }

  /** Takes one direction out of the hash table, if it is in. */
  unlinkDirection(slot: number, direction: number): void {
    const { words, heads } = this;
    const own = ((slot << 1) | direction) + 1;
    const at = slot * E.WORDS + (direction << E.DIR_SHIFT);
    const bucket = words[at + T.HASH] & this.mask;
    let next = heads[bucket];
    if (next === own) {
      heads[bucket] = words[at + T.NEXT];
      return;
    }
    while (next !== 0) {
      const other = ((next - 1) >> 1) * E.WORDS + (((next - 1) & 1) << E.DIR_SHIFT);
      next = words[other + T.NEXT];
      if (next === own) {
        words[other + T.NEXT] = words[at + T.NEXT];
        return;
      }
    }
  }

  /** Entries in the bucket that this hash falls into (spec/conntrack C-261). */
  chainLength(hash: number): number {
    const { words } = this;
    let length = 0;
    for (let next = this.heads[hash & this.mask]; next !== 0; length++) {
      next = words[((next - 1) >> 1) * E.WORDS + (((next - 1) & 1) << E.DIR_SHIFT) + T.NEXT];
    }
    return length;
  }

  /**
   * First link + 1 of the bucket `offset` behind the one of this hash; 0 = empty (early drop, spec/conntrack C-258).
   */
  bucket(hash: number, offset: number): number {
    return this.heads[((hash & this.mask) + offset) & this.mask];
  }

  /** Takes an entry out of the table. Its slot stays readable until endBatch(). */
  remove(slot: number): void {
    const { words } = this;
    const entry = slot * E.WORDS;
    this.unlinkDirection(slot, 0);
    this.unlinkDirection(slot, 1);
    this.unlinkSource(slot);
    words[entry + E.SLOT] = Slot.DEAD;
    this.count--;
    this.defer(slot);
  }

  /**
   * The batch is over, no packet refers to an entry any more: unconfirmed entries go, dead slots become free.
   * @param drop called for each unconfirmed entry before its slot is freed
   */
  endBatch(drop: (slot: number) => void): void {
    // drop() may let go of a master, which is then appended.
    for (let i = 0; i < this.pendingCount; i++) {
      const slot = this.pending[i];
      const entry = slot * E.WORDS;
      const { words } = this;
      if (words[entry + E.SLOT] === Slot.USED) {
        if ((words[entry + E.STATUS] & IPS_CONFIRMED) !== 0) continue;
        drop(slot);
        this.unlinkSource(slot);
        words[entry + E.STATUS] |= IPS_DYING;
        words[entry + E.SLOT] = Slot.DEAD;
        this.count--;
      }
      if (words[entry + E.SLOT] !== Slot.DEAD || words[entry + E.REFERENCES] !== 0) continue;
      this.free(slot);
    }
    this.pendingCount = 0;
  }

  /** Frees an unconfirmed entry that no packet refers to. */
  discard(slot: number): void {
    const { words } = this;
    const entry = slot * E.WORDS;
    this.unlinkSource(slot);
    words[entry + E.SLOT] = Slot.DEAD;
    this.count--;
    this.defer(slot);
  }

  /** True if endBatch() has something to do. */
  get hasPending(): boolean {
    return this.pendingCount !== 0;
  }

  /** Takes or gives back a reference of a child to its master. */
  hold(slot: number): void {
    this.words[slot * E.WORDS + E.REFERENCES]++;
  }
  release(slot: number): void {
    const entry = slot * E.WORDS;
    if (--this.words[entry + E.REFERENCES] === 0 && this.words[entry + E.SLOT] === Slot.DEAD) this.defer(slot);
  }

  private defer(slot: number): void {
    if (this.pendingCount === this.pending.length) {
      const grown = new Int32Array(this.pending.length * 2);
      grown.set(this.pending);
      this.pending = grown;
    }
    this.pending[this.pendingCount++] = slot;
  }

  // The by-source chains: entries by original source address, source port, protocol and zone.

  /** First slot + 1 with the source of the tuple at `at`; others share the chain, so callers compare. */
  sourceHead(words: Int32Array, at: number): number {
    return this.sources[this.sourceHash(words, at)];
  }

  private sourceHash(words: Int32Array, at: number): number {
    let h = mix(this.seed ^ words[at + T.META], words[at + T.PORTS] >>> 16);
    h = mix(h, words[at + T.SRC]);
    if ((words[at + T.META] & 0xff) !== AF_INET) {
      h = mix(h, words[at + T.SRC + 1]);
      h = mix(h, words[at + T.SRC + 2]);
      h = mix(h, words[at + T.SRC + 3]);
    }
    return finish(h) & this.sourceMask;
  }

  linkSource(slot: number): void {
    const { words, sources } = this;
    const entry = slot * E.WORDS;
    const bucket = this.sourceHash(words, entry);
    const first = sources[bucket];
    words[entry + E.SRC_NEXT] = first;
    words[entry + E.SRC_PREVIOUS] = 0;
    if (first !== 0) words[(first - 1) * E.WORDS + E.SRC_PREVIOUS] = slot + 1;
    sources[bucket] = slot + 1;
    words[entry + E.EXT] |= Ext.BY_SOURCE;
  }

  private unlinkSource(slot: number): void {
    const { words } = this;
    const entry = slot * E.WORDS;
    if ((words[entry + E.EXT] & Ext.BY_SOURCE) === 0) return;
    words[entry + E.EXT] &= ~Ext.BY_SOURCE;
    const next = words[entry + E.SRC_NEXT];
    const previous = words[entry + E.SRC_PREVIOUS];
    if (previous !== 0) words[(previous - 1) * E.WORDS + E.SRC_NEXT] = next;
    else this.sources[this.sourceHash(words, entry)] = next;
    if (next !== 0) words[(next - 1) * E.WORDS + E.SRC_PREVIOUS] = previous;
  }
}

/** Whole records in kept memory of `bytes` bytes. */
function recordsIn(bytes: number): number {
  return Math.max(Math.floor((bytes - KEPT_HEADER_BYTES) / (E.WORDS * 4)), 0);
}

/** One word of MurmurHash3 (A. Appleby, public domain): every bit of it reaches the low bits that choose the bucket. */
function mix(h: number, word: number): number {
  word = Math.imul(word, 0xcc9e2d51);
  h ^= Math.imul((word << 15) | (word >>> 17), 0x1b873593);
  return (Math.imul((h << 13) | (h >>> 19), 5) + 0xe6546b64) | 0;
}

function finish(h: number): number {
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

function powerOfTwo(atLeast: number): number {
  let value = 1024;
  while (value < atLeast) value *= 2;
  return value;
}

/** Whether two tuples (zone included) are the same. HOT PATH. */
export function sameTuple(a: Int32Array, at: number, b: Int32Array, bt: number): boolean {
  return (
    a[at + T.PORTS] === b[bt + T.PORTS] &&
    a[at + T.SRC] === b[bt + T.SRC] &&
    a[at + T.DST] === b[bt + T.DST] &&
    a[at + T.META] === b[bt + T.META] &&
    ((b[bt + T.META] & 0xff) === AF_INET ||
      (a[at + T.SRC + 1] === b[bt + T.SRC + 1] &&
        a[at + T.SRC + 2] === b[bt + T.SRC + 2] &&
        a[at + T.SRC + 3] === b[bt + T.SRC + 3] &&
        a[at + T.DST + 1] === b[bt + T.DST + 1] &&
        a[at + T.DST + 2] === b[bt + T.DST + 2] &&
        a[at + T.DST + 3] === b[bt + T.DST + 3]))
  );
}
