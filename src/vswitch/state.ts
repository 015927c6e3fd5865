import type { OvsClient } from "../client/ovs/index.ts";
import type { Clock } from "../core/clock.ts";
import type { BridgeHooks, BridgeStatistics } from "./events.ts";
import type { MacTable } from "./mac-table.ts";
import type { BridgePorts } from "./ports.ts";
import type { RecircTable } from "./recirc.ts";
import type { Scheduler } from "./scheduler.ts";
import type { FlowTables } from "./tables.ts";
import type { UkeyTable } from "./ukey.ts";
import type { XlateContext } from "./xlate/context.ts";

/** What the parts of one bridge share: its ports, its upcall handler and its revalidator. */
export interface BridgeState {
  readonly client: OvsClient;
  /** Interface index of the datapath's local port. */
  readonly datapath: number;
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly tables: FlowTables;
  readonly ports: BridgePorts;
  readonly macs: MacTable;
  readonly recirc: RecircTable;
  readonly ukeys: UkeyTable;
  readonly context: XlateContext;
  readonly statistics: BridgeStatistics;
  readonly hooks: BridgeHooks;
  /** Milliseconds without a packet after which a datapath flow is removed. */
  readonly maxIdleMs: number;
  /** Most datapath flows. */
  readonly flowLimit: number;
  /** Asks for a revalidation, because translations may have changed. */
  revalidateSoon(): void;
}

/**
 * Changes whenever a translation made before may not hold any more: with the OpenFlow tables, the learned addresses and
 * the ports.
 */
export function revisionOf({ tables, macs, ports }: Pick<BridgeState, "tables" | "macs" | "ports">): number {
  return tables.generation + macs.generation + ports.generation;
}
