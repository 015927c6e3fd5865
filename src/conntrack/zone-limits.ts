import { E, Ext, T } from "./layout.ts";

/**
 * Limits of connections by zone (ovs_ct_limit; spec/conntrack C-132 to C-135, C-363 to C-366). A connection counts from
 * the first commit under a limit until it is destroyed, or until its TCP state is TIME_WAIT or CLOSE.
 */
export class ZoneLimits {
  /** Limit of zones without their own; 0 = unlimited. */
  defaultLimit = 0;
  /** True once any limit was set: committing looks at limits from then on (spec/families F-334). */
  enabled = false;
  /** Destroys counted connections that have expired and were not collected yet; call before reading counts. */
  collectExpired: () => void = () => {};
  private readonly limits = new Map<number, number>();
  private readonly counts = new Map<number, number>();

  /** The limit that applies to a zone. */
  limitOf(zone: number): number {
    return this.limits.get(zone) ?? this.defaultLimit;
  }

  /** Sets a zone's own limit; 0 means unlimited (spec/families F-330). */
  set(zone: number, limit: number): void {
    this.enabled = true;
    this.limits.set(zone, limit);
  }

  /** Sets what applies to zones without a limit of their own (spec/families F-328). */
  setDefault(limit: number): void {
    this.enabled = true;
    this.defaultLimit = limit;
  }

  /** Deletes a zone's own limit (spec/families F-336). */
  delete(zone: number): void {
    this.limits.delete(zone);
  }

  /** Connections of the zone that count (spec/families F-340, F-341). */
  countOf(zone: number): number {
    return this.counts.get(zone) ?? 0;
  }

  /** Zones with a limit of their own, in the order they were set. */
  zones(): IterableIterator<number> {
    return this.limits.keys();
  }

  /** Counts an unconfirmed entry against its zone (spec/conntrack C-133). @returns true if the zone is full */
  exceeds(words: Int32Array, entry: number, zone: number): boolean {
    const limit = this.limitOf(zone);
    if (limit === 0) return false;
    if ((words[entry + E.EXT] & Ext.LIMITED) === 0) {
      words[entry + E.EXT] |= Ext.LIMITED;
      this.counts.set(zone, this.countOf(zone) + 1);
    }
    if (this.countOf(zone) <= limit) return false;
    this.collectExpired();
    return this.countOf(zone) > limit;
  }

  /** Counts an entry that was counted in another process. */
  recount(words: Int32Array, entry: number): void {
    const zone = words[entry + T.META] >>> 16;
    this.counts.set(zone, this.countOf(zone) + 1);
  }

  /** Stops counting an entry, if it is counted. */
  uncount(words: Int32Array, entry: number): void {
    if ((words[entry + E.EXT] & Ext.LIMITED) === 0) return;
    words[entry + E.EXT] &= ~Ext.LIMITED;
    const zone = words[entry + T.META] >>> 16;
    this.counts.set(zone, this.countOf(zone) - 1);
  }
}
