import { IpProto } from "../packet/ip.ts";
import { IPS_ASSURED, IPS_CONFIRMED, IPS_DYING } from "../uapi/nfnetlink.ts";
import { E, Ext, Tcp } from "./layout.ts";
import { IPPROTO_DCCP } from "./options.ts";
import type { ConntrackState } from "./state.ts";
import { isDccpClosing } from "./trackers/dccp.ts";
import { isShuttingDown } from "./trackers/sctp.ts";
import { isClosing } from "./trackers/tcp/states.ts";
import { protoOf } from "./tuple.ts";

/**
 * With packets, a slice of the table every GC_INTERVAL milliseconds, GC_SLICES for the whole; without, a tenth of the
 * table every second (GC_TICKS) in slices of GC_SLICE slots. No slice destroys more than GC_DESTROYED entries, so that
 * none keeps packets waiting.
 */
const GC_INTERVAL = 10;
const GC_SLICES = 1000;
const GC_TICKS = 10;
const GC_SLICE = 16384;
const GC_DESTROYED = 500;
/** One jiffy of HZ=250, in milliseconds. */
const JIFFY = 4;

/** Garbage collection of connections: the whole table is walked once in ten seconds. */
export class GarbageCollector {
  /** Next slot to look at. */
  private cursor = 0;
  /** Table time of the last slice between packets. */
  private last = 0;
  /** Slots that the tick under way has still to look at. */
  private left = 0;
  /** This round evicts (spec/conntrack C-259). */
  private evicting = false;
  /** Table time of the last collectCounted(). */
  private countedLast = 0;

  constructor(private readonly ct: ConntrackState) {}

  /** Collects a slice when it is time, then frees the slots that the batch left. No packet may be under way. */
  endBatch(): void {
    const { ct } = this;
    const now = ct.readClock();
    if (((now - this.last) | 0) >= GC_INTERVAL) {
      this.last = now;
      this.collect(Math.ceil(ct.table.top / GC_SLICES), GC_DESTROYED);
    }
    if (ct.table.hasPending) ct.table.endBatch(ct.releaseReferences);
  }

  /**
   * Collects a slice of the tenth of the table that is this tick's share, and the expectations: for a timer of about a
   * second.
   * @returns true if the share is not done: call again as soon as others have had their turn
   */
  tick(): boolean {
    const { ct } = this;
    ct.readClock();
    if (this.left === 0) {
      this.left = Math.ceil(ct.table.top / GC_TICKS);
      ct.expectations.gc(ct.now);
    }
    this.left = Math.max(this.left - this.collect(Math.min(this.left, GC_SLICE), GC_DESTROYED), 0);
    ct.table.endBatch(ct.releaseReferences);
    return this.left !== 0;
  }

  /** Destroys all expired entries and expectations now. */
  collectAll(): void {
    const { ct } = this;
    ct.readClock();
    this.beginRound();
    this.collect(ct.table.top, ct.table.top);
    ct.expectations.gc(ct.now);
    ct.table.endBatch(ct.releaseReferences);
  }

  /**
   * Destroys connections that count against a limit and have expired, so that limits count live ones only (spec/tables
   * T-071). Once per jiffy as in the kernel; in a large table less often, so that refusing packets costs no more than
   * tracking them.
   */
  collectCounted(): void {
    const { ct } = this;
    const { table } = ct;
    const { words } = table;
    if (((ct.readClock() - this.countedLast) | 0) < Math.max(JIFFY, table.top >> 10)) return;
    this.countedLast = ct.now;
    let destroyed = 0;
    for (let slot = 0; slot < table.top && destroyed < GC_DESTROYED; slot++) {
      const entry = slot * E.WORDS;
      if ((words[entry + E.STATUS] & (IPS_CONFIRMED | IPS_DYING)) !== IPS_CONFIRMED) continue;
      if ((words[entry + E.EXT] & Ext.LIMITED) === 0 || !ct.expired(slot)) continue;
      ct.destroy(slot, 0, false);
      destroyed++;
    }
  }

  private beginRound(): void {
    this.cursor = 0;
    this.evicting = this.ct.tableFull;
    this.ct.tableFull = false;
  }

  /**
   * Looks at the next slots of the table. The round after a packet had to be refused also takes connections that are
   * evictable, as long as the table is nearly full (spec/conntrack C-259).
   * @returns slots looked at, fewer than asked for when `maxDestroyed` entries were destroyed
   */
  private collect(slots: number, maxDestroyed: number): number {
    const { ct } = this;
    const { table } = ct;
    const { words } = table;
    const nearlyFull = Math.floor(ct.options.max / 100) * 95;
    let destroyed = 0;
    for (let i = 0; i < slots; i++) {
      if (this.cursor >= table.top) this.beginRound();
      const slot = this.cursor++;
      const entry = slot * E.WORDS;
      const status = words[entry + E.STATUS];
      if ((status & (IPS_CONFIRMED | IPS_DYING)) !== IPS_CONFIRMED) continue;
      const evict = this.evicting && nearlyFull !== 0 && table.count >= nearlyFull;
      if (ct.expired(slot) || (evict && isEvictable(words, entry))) {
        ct.destroy(slot, 0, false);
        if (++destroyed >= maxDestroyed) return i + 1;
      }
    }
    return slots;
  }
}

/** Whether a full table may evict a connection: it is not assured, or is closing (spec/conntrack C-259). */
function isEvictable(words: Int32Array, entry: number): boolean {
  if ((words[entry + E.STATUS] & IPS_ASSURED) === 0) return true;
  const state = words[entry + Tcp.STATE] & 0xff;
  switch (protoOf(words, entry)) {
    case IpProto.TCP:
      return isClosing(state);
    case IpProto.SCTP:
      return isShuttingDown(state);
    case IPPROTO_DCCP:
      return isDccpClosing(state);
    default:
      return false;
  }
}
