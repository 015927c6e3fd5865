import { performance } from "node:perf_hooks";

/** Counters of libuv's event loop; @types/node 20 does not declare them. */
interface LoopMetrics {
  /** Iterations of the event loop so far. */
  readonly loopCount: number;
}

/** Periods of which the quietest counts. */
const PERIODS = 5;

/**
 * Counts iterations of this thread's event loop within `ms` milliseconds, in the quietest of five periods: the test runner's own
 * messages disturb some. A descriptor that stays readable causes thousands in each; the load of the machine causes none.
 */
export async function wakeUps(ms: number): Promise<number> {
  const count = (): number =>
    (performance.nodeTiming as unknown as { uvMetricsInfo: LoopMetrics }).uvMetricsInfo.loopCount;
  let fewest = Number.POSITIVE_INFINITY;
  for (let i = 0; i < PERIODS; i++) {
    const before = count();
    await new Promise((resolve) => setTimeout(resolve, ms));
    fewest = Math.min(fewest, count() - before);
  }
  return fewest;
}
