/**
 * Time and randomness are passed in; nothing below the program's entry reads the time of day, so that the same packets,
 * messages, clock and seed give the same bytes out.
 */

/** Source of time. All values are milliseconds, with a fraction where the source has one. */
export interface Clock {
  /** CLOCK_MONOTONIC in milliseconds. */
  monotonic(): number;
  /** CLOCK_REALTIME in milliseconds since 1970. */
  realtime(): number;
}

/** The machine's clock. */
export const systemClock: Clock = {
  monotonic: () => performance.now() + MONOTONIC_BASE,
  realtime: () => Date.now(),
};

/** process.hrtime() counts from the same origin as CLOCK_MONOTONIC; performance.now() counts from process start. */
const MONOTONIC_BASE = (() => {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e3 + nanoseconds / 1e6 - performance.now();
})();

/** A clock of virtual time, which moves only by advance(). */
export class ManualClock implements Clock {
  constructor(
    private now = 1_000_000,
    private readonly epoch = 1_700_000_000_000,
  ) {}
  monotonic(): number {
    return this.now;
  }
  realtime(): number {
    return this.epoch + this.now;
  }
  /** Moves time forward by `ms` milliseconds. */
  advance(ms: number): void {
    this.now += ms;
  }
}
