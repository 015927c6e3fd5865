import { performance } from "node:perf_hooks";

/** Counters of libuv's event loop; @types/node 20 does not declare them. */
interface LoopMetrics {
  /** Iterations of the event loop so far. */
  readonly loopCount: number;
}

/**
 * Counts iterations of this thread's event loop within `ms` milliseconds. A descriptor that stays readable causes thousands; the
 * load of the machine causes none.
 */
export async function wakeUps(ms: number): Promise<number> {
  const count = (): number =>
    (performance.nodeTiming as unknown as { uvMetricsInfo: LoopMetrics }).uvMetricsInfo.loopCount;
  const before = count();
  await new Promise((resolve) => setTimeout(resolve, ms));
  return count() - before;
}
