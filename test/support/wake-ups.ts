import { performance } from "node:perf_hooks";

/** The counters of libuv's event loop, which @types/node 20 does not know. */
interface LoopMetrics {
  /** Turns of the event loop so far. */
  readonly loopCount: number;
}

/**
 * Counts how often the event loop of this thread wakes up within `ms`: a descriptor that stays readable makes it turn thousands
 * of times, a machine that is busy with other processes does not.
 */
export async function wakeUps(ms: number): Promise<number> {
  const count = (): number =>
    (performance.nodeTiming as unknown as { uvMetricsInfo: LoopMetrics }).uvMetricsInfo.loopCount;
  const before = count();
  await new Promise((resolve) => setTimeout(resolve, ms));
  return count() - before;
}
