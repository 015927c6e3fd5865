/** Input and result of a translation. */
import type { MessageWriter } from "../../netlink/writer.ts";
import type { Flow } from "../flow.ts";
import type { MacTable } from "../mac-table.ts";
import type { Action } from "../ofctl/actions.ts";
import type { RecircTable } from "../recirc.ts";
import type { FlowTables, OfpRule } from "../tables.ts";
import type { UserspaceReason } from "../userdata.ts";

/** A port as translation knows it. */
export interface XPort {
  /** OpenFlow number. */
  readonly port: number;
  /** Number in the datapath. */
  readonly datapathPort: number;
  readonly name: string;
  /** VLAN of an access port; of a port with trunks, its native VLAN. */
  readonly tag?: number;
  /** VLANs that a trunk port carries; all where left out. */
  readonly trunks?: readonly number[];
  /** Default: `access` with a tag and no trunks, `native-tagged` with both, else `trunk`. */
  readonly vlanMode?: "access" | "trunk" | "native-tagged" | "native-untagged";
  /** Leaves the port out of FLOOD. */
  readonly noFlood?: boolean;
}

/** Tables and state of the bridge that a translation reads. */
export interface XlateContext {
  readonly tables: FlowTables;
  readonly ports: ReadonlyMap<number, XPort>;
  readonly macs: MacTable;
  readonly recirc: RecircTable;
  /** Netlink port id that userspace actions of a flow from this OpenFlow port are sent to. */
  upcallPid(port: number): number;
  /** Writes the cookie of a userspace action. */
  userdata(reason: UserspaceReason): Uint8Array;
  /** Whether the datapath takes OVS_CT_ATTR_EVENTMASK. Default true. */
  readonly ctEventmask?: boolean;
}

/** A source address seen by NORMAL. */
export interface Learned {
  /** The first two bytes of the address, and the last four. */
  readonly mac: number;
  readonly macLow: number;
  readonly vlan: number;
  readonly port: number;
}

/** A finished translation. */
export interface XlateResult {
  /** OVS_ACTION_ATTR_* */
  readonly actions: Uint8Array;
  readonly wildcards: Flow;
  /** The rules that matched, once for each time. */
  readonly rules: readonly OfpRule[];
  readonly learned: readonly Learned[];
  /** recirc_id values that the actions name. */
  readonly recircIds: readonly number[];
  /** The datapath cannot do these actions alone: its flow sends every packet to user space. */
  readonly slow: boolean;
  /** Why translation failed and everything is dropped, else null. */
  readonly error: string | null;
}

/** State of a running translation, for the actions that have files of their own. */
export interface XlateState {
  readonly context: XlateContext;
  /** The packet as the actions translated so far want it. */
  readonly flow: Flow;
  /** Bits of the flow that were consulted. */
  readonly wc: Flow;
  readonly writer: MessageWriter;
  readonly learned: Learned[];
  /** Values of push() for pop(). */
  readonly stack: Uint8Array[];
  /** The flow that is translated. */
  readonly original: Flow;
  /** The packet as the actions written so far leave it. */
  readonly base: Flow;
  /** Table and rule whose actions run. */
  readonly table: number;
  readonly rule: OfpRule | null;
  /** The packet has been through ct() in this translation. */
  conntracked: boolean;
  /** The rest of the actions is collected, to be run after recirculation. */
  readonly freezing: boolean;
  /** Set by exit and by a failed dec_ttl: no further action runs. */
  exiting: boolean;
  /** The last MPLS label was popped: the header below it has not been read yet. */
  wasMpls: boolean;
  /** Runs the actions of the rule that matches in a table. @param port input port to look up with; null: the packet's */
  lookup(table: number, port: number | null): void;
  /** Runs a list of actions until it ends, exits or freezes. */
  runActions(actions: readonly Action[]): void;
  runAction(action: Action): void;
  /** Writes the set, push and pop actions that turn `base` into `flow`. */
  commit(): void;
  /** Commits what was set, and outputs to an OpenFlow port. */
  outputTo(port: number): void;
  /** Writes RECIRC with an id whose frozen state continues in `table`, or with `actions`. */
  recirculate(actions: Action[] | null, table: number): void;
  /** Recirculates with the actions collected while `freezing`. */
  freeze(table: number): void;
}
