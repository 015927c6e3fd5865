/** Flows of OpenFlow tables, and what selects them. */
import type { Match } from "../flow.ts";
import type { Action } from "./actions.ts";

/** Priority of a flow that names none. */
export const DEFAULT_PRIORITY = 0x8000;
/** Highest number of a table. */
export const MAX_TABLE = 254;

/** A flow of an OpenFlow table (OFPT_FLOW_MOD). */
export interface OfpFlow {
  readonly table: number;
  readonly priority: number;
  readonly cookie: bigint;
  /** Seconds; 0 is never. */
  readonly idleTimeout: number;
  readonly hardTimeout: number;
  readonly match: Match;
  readonly actions: readonly Action[];
}

/** Selects flows for deletions and dumps; null selects any. */
export interface FlowFilter {
  readonly table: number | null;
  readonly priority: number | null;
  readonly cookie: bigint;
  readonly cookieMask: bigint;
  readonly outPort: number | null;
  readonly match: Match;
}

/** Counters of a flow (OFPMP_FLOW). */
export interface OfpFlowStats {
  /** Seconds. */
  readonly duration: number;
  readonly packets: number;
  readonly bytes: number;
  /** Seconds since the last packet, or since the flow was added. */
  readonly idleAge: number;
}
