/** Learned addresses: the port at which an Ethernet address of a VLAN was last seen. */
import type { Clock } from "../core/clock.ts";
import { macText } from "../net/address.ts";

/** A learned address. */
export interface MacEntry {
  readonly mac: string;
  readonly vlan: number;
  port: number;
  /** Monotonic milliseconds of the last packet. */
  used: number;
}

/** Addresses by VLAN. */
export class MacTable {
  private readonly entries = new Map<string, MacEntry>();
  /** Grows when an address is learned, moves or is forgotten: earlier translations may be wrong. */
  generation = 0;

  constructor(
    private readonly clock: Clock,
    /** Milliseconds after which an address that was not seen is forgotten. */
    readonly agingMs = 300_000,
    /** Most entries; when it is full, the entry that was seen least recently is removed. */
    readonly maxEntries = 8192,
  ) {}

  /** The port of an address given as its first two and last four bytes, or null. */
  lookup(high: number, low: number, vlan: number): number | null {
    const entry = this.entries.get(keyOf(high, low, vlan));
    return entry && this.clock.monotonic() - entry.used < this.agingMs ? entry.port : null;
  }

  /** Notes that an address was seen at a port at a time. */
  learn(high: number, low: number, vlan: number, port: number, when: number): void {
    const key = keyOf(high, low, vlan);
    const entry = this.entries.get(key);
    if (!entry) {
      if (this.entries.size >= this.maxEntries) this.evict();
      this.entries.set(key, { mac: textOf(high, low), vlan, port, used: when });
      this.generation++;
      return;
    }
    // A packet older than the last move does not move the address back.
    if (when < entry.used) return;
    entry.used = when;
    // Entries are in order of use, the oldest first: evict() takes the first.
    this.entries.delete(key);
    this.entries.set(key, entry);
    if (entry.port !== port) {
      entry.port = port;
      this.generation++;
    }
  }

  private evict(): void {
    for (const key of this.entries.keys()) {
      this.entries.delete(key);
      this.generation++;
      return;
    }
  }

  /** Forgets addresses that were not seen for long. */
  expire(): void {
    const now = this.clock.monotonic();
    for (const [key, entry] of this.entries) {
      if (now - entry.used < this.agingMs) continue;
      this.entries.delete(key);
      this.generation++;
    }
  }

  /** Forgets what was learned at a port, or everything. */
  flush(port?: number): void {
    for (const [key, entry] of this.entries) {
      if (port !== undefined && entry.port !== port) continue;
      this.entries.delete(key);
      this.generation++;
    }
  }

  [Symbol.iterator](): IterableIterator<MacEntry> {
    return this.entries.values();
  }
}

function keyOf(high: number, low: number, vlan: number): string {
  return String.fromCharCode(vlan, high, low & 0xffff, low >>> 16);
}

function textOf(high: number, low: number): string {
  const bytes = new Uint8Array(6);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, high);
  view.setUint32(2, low);
  return macText(bytes);
}
