import type { Clock } from "../core/clock.ts";

/**
 * The data path's clock: reads the source once a batch. `invalidate()` at the end of each batch makes the next reader
 * look again.
 */
export class BatchClock implements Clock {
  private stale = true;
  private now = 0;

  constructor(private readonly source: Clock) {}

  monotonic(): number {
    if (this.stale) {
      this.now = this.source.monotonic();
      this.stale = false;
    }
    return this.now;
  }

  realtime(): number {
    return this.source.realtime();
  }

  invalidate(): void {
    this.stale = true;
  }
}
