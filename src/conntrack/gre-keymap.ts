import { T } from "./layout.ts";

/** One direction of a PPTP call: packets to `destination` with this call id come from that call id. */
interface Entry {
  readonly tuple: Int32Array;
  readonly master: number;
  readonly direction: number;
}

/**
 * Call ids of PPTP calls: the PPTP helper adds them, the GRE tracker looks them up (spec/conntrack C-332). An enhanced GRE
 * header (RFC 2637 section 4.1)
 * has the call id of its receiver only; the sender's is found here by addresses and the receiver's, so that both
 * directions of a call become one connection. Zones are not distinguished, as in the kernel.
 */
export class GreKeymap {
  private readonly entries: Entry[] = [];

  get size(): number {
    return this.entries.length;
  }

  /** The source's call id of a tuple whose destination's is known; 0 if no call is. The first that was added wins. */
  lookUp(tuple: Int32Array): number {
    for (const entry of this.entries) if (same(entry.tuple, tuple)) return entry.tuple[T.PORTS] >>> 16;
    return 0;
  }

  /**
   * Adds a direction of a master's call.
   * @returns false if the master has another call in this direction; the same once more is fine
   */
  add(master: number, direction: number, tuple: Int32Array): boolean {
    const known = this.entries.find((entry) => entry.master === master && entry.direction === direction);
    if (known !== undefined) return same(known.tuple, tuple);
    this.entries.push({ tuple: tuple.slice(), master, direction });
    return true;
  }

  /** Removes both directions of a master's call. */
  remove(master: number): void {
    for (let i = this.entries.length - 1; i >= 0; i--) {
      if (this.entries[i].master === master) this.entries.splice(i, 1);
    }
  }
}

/** Addresses, protocol and destination's call id agree; not the zone. */
function same(a: Int32Array, b: Int32Array): boolean {
  for (let i = T.SRC; i < T.PORTS; i++) if (a[i] !== b[i]) return false;
  return ((a[T.PORTS] ^ b[T.PORTS]) & 0xffff) === 0 && ((a[T.META] ^ b[T.META]) & 0xffff) === 0;
}
