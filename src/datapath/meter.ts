import type { Clock } from "../core/clock.ts";
import { Errno } from "../core/errors.ts";
import { EBUSY, EFBIG } from "../uapi/errno.ts";
import { OVS_METER_BAND_TYPE_DROP } from "../uapi/openvswitch.ts";

/** DP_MAX_BANDS (spec/families F-305). */
export const MAX_BANDS = 1;
/** DP_METER_NUM_MAX (spec/families F-302): on a machine with less than some hundred MiB the module allows fewer. */
const MAX_METERS = 200_000;
const MIN_SLOTS = 1024;

/** One band of a meter: a token bucket. Its unit is a bit, or a thousandth of a packet (spec/tables T-046). */
export class MeterBand {
  /** Starts full (spec/tables T-047). */
  bucket: number;
  readonly capacity: number;
  packets = 0;
  bytes = 0;

  constructor(
    /** OVS_METER_BAND_TYPE_*; others than DROP only count (spec/families F-308). */
    readonly type: number,
    /** kbit/s or packets/s; not 0 */
    readonly rate: number,
    /** kbit or packets */
    readonly burst: number,
  ) {
    this.capacity = burst * 1000;
    this.bucket = this.capacity;
  }
}

/** A meter: rates and the packets that reached it. */
export class Meter {
  packets = 0;
  bytes = 0;
  /** CLOCK_MONOTONIC ms of the last packet, at first of creation (spec/tables T-062). */
  used: number;
  /** Longer pauses fill no bucket further (spec/tables T-050). */
  private readonly maxDelta: number;

  constructor(
    readonly id: number,
    readonly kbps: boolean,
    /** Whether a SET that replaces this meter reports its statistics (spec/families F-297, F-311). */
    readonly keepStats: boolean,
    readonly bands: readonly MeterBand[],
    now: number,
  ) {
    this.used = now;
    let maxDelta = 0;
    for (const band of bands) maxDelta = Math.max(maxDelta, Math.floor(band.bucket / band.rate) >>> 0);
    this.maxDelta = maxDelta;
  }

  /** Counts a packet. @returns true if a DROP band is exceeded. HOT PATH. */
  drops(length: number, now: number): boolean {
    const { bands } = this;
    const elapsed = Math.min(Math.max(now - this.used, 0), this.maxDelta);
    this.used = now;
    this.packets++;
    this.bytes += length;
    const cost = this.kbps ? length * 8 : 1000;
    let exceeded = -1;
    let rate = 0;
    for (let i = 0; i < bands.length; i++) {
      const band = bands[i];
      // The module multiplies 32-bit numbers (spec/tables T-064).
      band.bucket = Math.min(band.bucket + (Math.imul(elapsed, band.rate) >>> 0), band.capacity);
      if (band.bucket >= cost) band.bucket -= cost;
      else if (band.rate > rate) {
        rate = band.rate;
        exceeded = i;
      }
    }
    if (exceeded < 0) return false;
    const band = bands[exceeded];
    band.packets++;
    band.bytes += length;
    return band.type === OVS_METER_BAND_TYPE_DROP;
  }
}

/**
 * The meters of one datapath: an array in which meter `id` stands at slot `id mod size` (spec/tables T-042 to T-044).
 */
export class MeterTable {
  private slots: (Meter | undefined)[] = new Array<Meter | undefined>(MIN_SLOTS).fill(undefined);
  private count = 0;

  constructor(
    private readonly clock: Clock,
    /** OVS_METER_ATTR_MAX_METERS */
    readonly maxMeters = MAX_METERS,
  ) {}

  /** Milliseconds as meters count them. */
  now(): number {
    return Math.floor(this.clock.monotonic());
  }

  get(id: number): Meter | undefined {
    const meter = this.slots[(id >>> 0) % this.slots.length];
    return meter !== undefined && meter.id === id >>> 0 ? meter : undefined;
  }

  /**
   * Puts a meter in, in place of the one of the same id, which is gone even if this fails.
   * @returns the meter it replaces
   * @throws Errno EFBIG (table full), EBUSY (another id holds the slot)
   */
  set(meter: Meter): Meter | undefined {
    const old = this.remove(meter.id);
    if (this.count + 1 >= this.maxMeters) throw new Errno(EFBIG);
    this.count++;
    if (this.count >= this.slots.length) this.resize(this.slots.length * 2);
    const slot = meter.id % this.slots.length;
    if (this.slots[slot] !== undefined) {
      this.count--;
      throw new Errno(EBUSY);
    }
    this.slots[slot] = meter;
    return old;
  }

  *[Symbol.iterator](): IterableIterator<Meter> {
    for (const meter of this.slots) if (meter !== undefined) yield meter;
  }

  /** Takes a meter out. @returns it, or undefined if there was none */
  remove(id: number): Meter | undefined {
    const meter = this.get(id);
    if (meter === undefined) return undefined;
    this.slots[meter.id % this.slots.length] = undefined;
    this.count--;
    this.shrink();
    return meter;
  }

  /**
   * The meter action. @returns true if the packet must be dropped; an unknown meter passes all (spec/tables T-065). HOT
   * PATH.
   */
  drops(id: number, length: number): boolean {
    const meter = this.get(id);
    return meter?.drops(length, this.now()) ?? false;
  }

  /** Slots keep their place, so half the array can go only when its upper half is empty. */
  private shrink(): void {
    const size = this.slots.length;
    if (size <= MIN_SLOTS || this.count > size / 4) return;
    for (let slot = size / 2; slot < size; slot++) if (this.slots[slot] !== undefined) return;
    this.resize(size / 2);
  }

  private resize(size: number): void {
    const slots = new Array<Meter | undefined>(size).fill(undefined);
    for (let slot = 0; slot < Math.min(size, this.slots.length); slot++) slots[slot] = this.slots[slot];
    this.slots = slots;
  }
}
