import { jhash1word } from "../core/jhash.ts";
import { K, sameKey } from "../flow/key.ts";
import type { Program } from "./actions/program.ts";
import { kernelSort } from "./kernel-sort.ts";
import { finish, grownInt32, Mask } from "./mask.ts";
import { type Ufid, UfidIndex } from "./ufid-index.ts";

/** Entries of the exact-match cache; a power of two. Two words each: hash, flow. */
const EMC_ENTRIES = 1 << 16;
/** Mask cache entries by default (spec/tables T-008). */
const DEFAULT_MASK_CACHE = 256;
/** Masks are sorted by use this often, in ms (spec/tables T-005). */
const REBALANCE_INTERVAL = 4000;
/** Statistics are kept in jiffies by the kernel: HZ=250, 4 ms (spec/families F-267). */
const JIFFY = 4;
const CACHE_SEGMENTS = 4;
const INITIAL_FLOWS = 1024;

/**
 * What the mask cache knows a packet by: packets of one connection differ in it before and after recirculation
 * (spec/tables T-010).
 */
function cacheKey(key: Int32Array, skbHash: number): number {
  return (key[K.RECIRC_ID] === 0 ? skbHash : jhash1word(skbHash, key[K.RECIRC_ID])) | 0;
}

function grownFloat64(from: Float64Array, size: number): Float64Array<ArrayBuffer> {
  const to = new Float64Array(size);
  to.set(from);
  return to;
}

/**
 * The flow table: an exact-match cache, the mask cache and one hash table per mask. Flows are indices into typed
 * arrays; the lowest free index is taken. Statistics count as the module's do (spec/tables sections 1 and 2).
 */
export class FlowTable {
  /** Flows in the table. */
  count = 0;
  /** Masks in the module's array order (spec/tables T-004). */
  readonly masks: Mask[] = [];
  /** spec/tables T-013, T-012. */
  maskHits = 0;
  cacheHits = 0;

  // Per flow.
  packets = new Float64Array(INITIAL_FLOWS);
  bytes = new Float64Array(INITIAL_FLOWS);
  /** CLOCK_MONOTONIC ms of the last hit, 0 = never used. */
  used = new Float64Array(INITIAL_FLOWS);
  tcpFlags = new Uint16Array(INITIAL_FLOWS);
  private slots = new Int32Array(INITIAL_FLOWS);
  private readonly maskOf: (Mask | undefined)[] = [];
  private readonly programs: (Program | undefined)[] = [];
  private readonly unmasked: (Int32Array | undefined)[] = [];
  private freeFlow = -1;
  /** One past the highest index ever used. */
  limit = 0;

  private readonly ufids = new UfidIndex();
  private readonly emc = new Int32Array(EMC_ENTRIES * 2);
  private cacheSize = 0;
  private cacheHash = new Int32Array(0);
  private cacheMask = new Int32Array(0);
  private lastRebalance = 0;

  constructor() {
    this.resizeMaskCache(DEFAULT_MASK_CACHE);
    for (let i = 0; i < EMC_ENTRIES; i++) this.emc[i * 2 + 1] = -1;
  }

  /** Entries of the mask cache; 0 = off (spec/tables T-008, T-011). */
  get maskCacheSize(): number {
    return this.cacheSize;
  }

  /** @param size 0 or a power of two up to 4096 */
  resizeMaskCache(size: number): void {
    if (size === this.cacheSize) return;
    this.cacheSize = size;
    this.cacheHash = new Int32Array(size);
    this.cacheMask = new Int32Array(size);
  }

  /**
   * The flow that a packet hits, or -1. HOT PATH.
   * @param hash the packet's skb hash, 0 = none
   */
  lookup(key: Int32Array, hash: number): number {
    if (hash === 0 || this.cacheSize === 0) return this.lookupMasks(key, 0, false);
    const { emc } = this;
    // The two directions of a connection share a symmetric hash; the port tells them apart.
    const h = finish(hash ^ Math.imul(key[K.RECIRC_ID], 0x9e3779b1) ^ Math.imul(key[K.IN_PORT], 0x7feb352d));
    let at = (h & (EMC_ENTRIES - 1)) << 1;
    let flow = emc[at + 1];
    if (flow >= 0 && emc[at] === h) {
      const mask = this.maskOf[flow];
      if (mask?.equals(this.slots[flow], key)) {
        this.countCached(mask, key, hash);
        return flow;
      }
    }
    const second = ((h >>> 16) ^ 0x5bd1) << 1;
    flow = emc[second + 1];
    if (flow >= 0 && emc[second] === h) {
      const mask = this.maskOf[flow];
      if (mask?.equals(this.slots[flow], key)) {
        this.countCached(mask, key, hash);
        return flow;
      }
    }
    flow = this.lookupCached(key, hash);
    if (flow >= 0) {
      if (emc[at + 1] >= 0 && emc[at] !== h && emc[second] !== emc[at]) at = second;
      emc[at] = h;
      emc[at + 1] = flow;
    }
    return flow;
  }

  /** Through the mask cache (spec/tables T-008 to T-014). */
  private lookupCached(key: Int32Array, skbHash: number): number {
    const { cacheHash, cacheMask } = this;
    const hash = cacheKey(key, skbHash);
    const entry = this.cacheEntry(hash);
    const at = entry < 0 ? ~entry : entry;
    const flow = this.lookupMasks(key, cacheMask[at], entry >= 0);
    if (flow >= 0) {
      cacheHash[at] = hash;
      cacheMask[at] = this.foundMask;
    } else if (entry >= 0) cacheHash[at] = 0;
    return flow;
  }

  /**
   * Counts a lookup that the exact-match cache has answered with a flow of `mask`, and leaves the mask cache, as if
   * masks had been tried. The module has no exact-match cache; flows that overlap, which it leaves to the user
   * (spec/tables T-003), are the only way to tell.
   */
  private countCached(mask: Mask, key: Int32Array, skbHash: number): void {
    const { cacheHash, cacheMask } = this;
    const hash = cacheKey(key, skbHash);
    const entry = this.cacheEntry(hash);
    const at = entry < 0 ? ~entry : entry;
    const first = cacheMask[at];
    const { position } = mask;
    if (first === position) {
      this.maskHits++;
      if (entry >= 0) this.cacheHits++;
    } else {
      this.maskHits += position + (first > position && first < this.masks.length ? 2 : 1);
      cacheMask[at] = position;
    }
    cacheHash[at] = hash;
    mask.hits++;
  }

  /** The place of a hash in the mask cache, or ~(the place that it would take). */
  private cacheEntry(hash: number): number {
    const { cacheHash } = this;
    const last = this.cacheSize - 1;
    let victim = hash & last;
    let segment = hash;
    for (let i = 0; i < CACHE_SEGMENTS; i++) {
      const at = segment & last;
      if (cacheHash[at] === hash) return at;
      if (cacheHash[at] >>> 0 < cacheHash[victim] >>> 0) victim = at;
      segment >>>= 8;
    }
    return ~victim;
  }

  private foundMask = 0;

  /** Tries mask number `first`, then all others in order. */
  private lookupMasks(key: Int32Array, first: number, countHit: boolean): number {
    const { masks } = this;
    const n = masks.length;
    if (first < n) {
      const mask = masks[first];
      this.maskHits++;
      const flow = mask.lookup(key);
      if (flow >= 0) {
        mask.hits++;
        if (countHit) this.cacheHits++;
        this.foundMask = first;
        return flow;
      }
    }
    for (let i = 0; i < n; i++) {
      if (i === first) continue;
      const mask = masks[i];
      this.maskHits++;
      const flow = mask.lookup(key);
      if (flow >= 0) {
        mask.hits++;
        this.foundMask = i;
        return flow;
      }
    }
    return -1;
  }

  /** Control-plane lookup of the flow that a key would hit; counts nothing. */
  find(key: Int32Array): number {
    for (const mask of this.masks) {
      const flow = mask.lookup(key);
      if (flow >= 0) return flow;
    }
    return -1;
  }

  /** The key-identified flow whose unmasked key is exactly this one, or -1 (spec/tables T-020). */
  findExact(key: Int32Array): number {
    for (const mask of this.masks) {
      const flow = mask.lookup(key);
      if (flow < 0) continue;
      const own = this.unmasked[flow];
      if (own !== undefined && sameKey(own, key)) return flow;
    }
    return -1;
  }

  /** The flow with this UFID, or -1. */
  findUfid(ufid: Ufid): number {
    return this.ufids.find(ufid);
  }

  /**
   * Adds a flow; the caller has made sure that it is new. Keys and masks are copied.
   * @param maskRange what parseMatch() said of the mask: two masks are one only if it is the same (spec/keys K-074)
   * @returns its index
   */
  insert(key: Int32Array, maskWords: Int32Array, ufid: Ufid | undefined, program: Program, maskRange = 0): number {
    let flow = this.freeFlow;
    if (flow >= 0) {
      this.freeFlow = this.slots[flow];
    } else {
      if (this.limit === this.slots.length) this.grow();
      flow = this.limit++;
    }
    const mask = this.internMask(maskWords, maskRange);
    this.slots[flow] = mask.insert(key, flow);
    this.maskOf[flow] = mask;
    this.programs[flow] = program;
    this.clearStats(flow);
    if (ufid === undefined) {
      this.unmasked[flow] = key.slice();
    } else {
      this.unmasked[flow] = undefined;
      this.ufids.add(flow, ufid);
    }
    this.count++;
    return flow;
  }

  /** Takes a flow out; its mask goes with the last flow that uses it. */
  remove(flow: number): void {
    const mask = this.maskOf[flow] as Mask;
    mask.remove(this.slots[flow]);
    if (mask.flows === 0) this.removeMask(mask);
    this.ufids.delete(flow);
    this.maskOf[flow] = undefined;
    this.programs[flow] = undefined;
    this.unmasked[flow] = undefined;
    this.slots[flow] = this.freeFlow;
    this.freeFlow = flow;
    this.count--;
  }

  /** Removes all flows and masks (spec/tables T-021). */
  flush(): void {
    for (let flow = 0; flow < this.limit; flow++) {
      this.maskOf[flow] = undefined;
      this.programs[flow] = undefined;
      this.unmasked[flow] = undefined;
    }
    this.masks.length = 0;
    this.ufids.clear();
    this.limit = 0;
    this.freeFlow = -1;
    this.count = 0;
  }

  /** True if the index holds a flow. For dumps: walk 0 … limit. */
  has(flow: number): boolean {
    return this.maskOf[flow] !== undefined;
  }

  program(flow: number): Program {
    return this.programs[flow] as Program;
  }

  setProgram(flow: number, program: Program): void {
    this.programs[flow] = program;
  }

  mask(flow: number): Mask {
    return this.maskOf[flow] as Mask;
  }

  /** Bytes of the flow's UFID, or undefined for a key-identified flow. */
  ufid(flow: number): Uint8Array | undefined {
    return this.ufids.get(flow);
  }

  /** Writes the flow's masked key to `key`. */
  readMaskedKey(flow: number, key: Int32Array): void {
    (this.maskOf[flow] as Mask).readKey(this.slots[flow], key);
  }

  /** The unmasked key of a key-identified flow. */
  unmaskedKey(flow: number): Int32Array | undefined {
    return this.unmasked[flow];
  }

  /** Counts a hit (spec/tables T-025 to T-029). HOT PATH. */
  countHit(flow: number, bytes: number, now: number, tcpFlags: number): void {
    this.packets[flow]++;
    this.bytes[flow] += bytes;
    this.used[flow] = now;
    if (tcpFlags !== 0) this.tcpFlags[flow] |= tcpFlags;
  }

  /** Last use in ms at the kernel's granularity. */
  usedAt(flow: number): number {
    return Math.floor(this.used[flow] / JIFFY) * JIFFY;
  }

  clearStats(flow: number): void {
    this.packets[flow] = 0;
    this.bytes[flow] = 0;
    this.used[flow] = 0;
    this.tcpFlags[flow] = 0;
  }

  /** Sorts masks by use when it is time (spec/tables T-005). */
  rebalance(now: number): void {
    if (now - this.lastRebalance < REBALANCE_INTERVAL) return;
    this.lastRebalance = now;
    kernelSort(this.masks, (a, b) => b.hits - a.hits);
    for (let i = 0; i < this.masks.length; i++) this.masks[i].position = i;
    this.resetMaskHits();
  }

  private resetMaskHits(): void {
    for (const mask of this.masks) mask.hits = 0;
  }

  private internMask(words: Int32Array, range: number): Mask {
    for (const mask of this.masks) if (mask.range === range && sameKey(mask.words, words)) return mask;
    const mask = new Mask(words.slice(), range);
    mask.position = this.masks.length;
    this.masks.push(mask);
    this.resetMaskHits();
    return mask;
  }

  private removeMask(mask: Mask): void {
    const last = this.masks.pop() as Mask;
    if (last !== mask) {
      last.position = mask.position;
      this.masks[last.position] = last;
    }
    this.resetMaskHits();
  }

  private grow(): void {
    const size = this.slots.length * 2;
    this.packets = grownFloat64(this.packets, size);
    this.bytes = grownFloat64(this.bytes, size);
    this.used = grownFloat64(this.used, size);
    const flags = new Uint16Array(size);
    flags.set(this.tcpFlags);
    this.tcpFlags = flags;
    this.slots = grownInt32(this.slots, size);
  }
}
