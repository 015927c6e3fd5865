import type { SocketOpener } from "../client/requester.ts";
import type { Clock } from "../core/clock.ts";
import type { BridgeHooks } from "./events.ts";
import type { PortConfig } from "./ports.ts";
import type { Scheduler } from "./scheduler.ts";

/** Settings of a bridge. */
export interface VSwitchOptions {
  /** Where netlink sockets come from. */
  readonly opener: SocketOpener;
  /** Name of the bridge: of the datapath and its local port. */
  readonly name: string;
  /** The clock that the datapath's `used` times count by. Default: the machine's. */
  readonly clock?: Clock;
  /** Default: the event loop's timers. */
  readonly scheduler?: Scheduler;
  /** Ports to attach, by name or with their settings. */
  readonly ports?: readonly (string | PortConfig)[];
  /** Flows in ovs-ofctl syntax. */
  readonly flows?: readonly string[];
  /** `vport`: an upcall socket for each port; a number: that many handlers, chosen by CPU. Default `vport`. */
  readonly dispatch?: "vport" | number;
  /** Milliseconds between revalidations. Default 500. */
  readonly revalidateMs?: number;
  /** Milliseconds without a packet after which a datapath flow is removed. Default 10 000. */
  readonly maxIdleMs?: number;
  /** Most datapath flows. Default 200 000. */
  readonly flowLimit?: number;
  /** Milliseconds after which a learned address is forgotten. Default 300 000. */
  readonly macAgingMs?: number;
  /** VSwitch.onFault from the start. */
  readonly onFault?: BridgeHooks["onFault"];
}
