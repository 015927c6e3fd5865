/** Reports of requests that the datapath refused. */
import { formatActions, formatKey } from "../client/format/index.ts";
import type { Clock } from "../core/clock.ts";
import type { Errno } from "../core/errors.ts";

/** Milliseconds between two reports. */
const INTERVAL_MS = 1000;

/** A refused request: what was asked for (`flow put`, `execute`), with OVS_KEY_ATTR_* and OVS_ACTION_ATTR_*. */
export interface Refusal {
  readonly what: string;
  readonly key: Uint8Array;
  readonly mask?: Uint8Array;
  readonly actions: Uint8Array;
}

/** Reports refusals, at most one a second: a rule that the datapath does not take refuses each packet's flow. */
export class RefusalReporter {
  private reported = Number.NEGATIVE_INFINITY;
  private unreported = 0;

  constructor(
    private readonly clock: Clock,
    private readonly report: (what: string, error: Errno) => void,
  ) {}

  /** Reports a refusal, or counts it where the last report is less than a second old. */
  add({ what, key, mask, actions }: Refusal, error: Errno): void {
    const now = this.clock.monotonic();
    if (now - this.reported < INTERVAL_MS) {
      this.unreported++;
      return;
    }
    const others = this.unreported === 0 ? "" : ` (and ${this.unreported} more since the last report)`;
    this.reported = now;
    this.unreported = 0;
    this.report(
      `${what} refused with errno ${error.errno}${others}: ${formatKey(key, mask)}, actions:${formatActions(actions)}`,
      error,
    );
  }
}
