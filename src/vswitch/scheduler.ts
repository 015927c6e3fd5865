/** When periodic and postponed work is done. */
export interface Scheduler {
  /** Calls back every `ms` milliseconds until the returned function is called. */
  every(ms: number, callback: () => void): () => void;
  /** Calls back once, after work that is due already, unless the returned function is called before. */
  soon(callback: () => void): () => void;
}

/** The event loop's timers; they do not keep the process alive. */
export const systemScheduler: Scheduler = {
  every(ms, callback) {
    const timer = setInterval(callback, ms).unref();
    return () => clearInterval(timer);
  },
  soon(callback) {
    const immediate = setImmediate(callback);
    return () => clearImmediate(immediate);
  },
};

/** Never calls back: for tests that call revalidate(). */
export const manualScheduler: Scheduler = { every: () => () => {}, soon: () => () => {} };
