/** What a bridge reports to its owner. */
import type { Flow } from "./flow.ts";
import type { XPort } from "./xlate/context.ts";

/** An upcall and its answer. */
export interface UpcallEvent {
  /** `miss`: no datapath flow matched; `slow`: a flow sends its packets to user space; `controller`: a packet-in. */
  readonly kind: "miss" | "slow" | "controller";
  /** Null where the port is not one of the bridge's. */
  readonly inPort: XPort | null;
  /** Views the datagram: valid during the call. */
  readonly packet: Uint8Array;
  /** OVS_KEY_ATTR_* */
  readonly key: Uint8Array;
  /** The flow in OpenFlow's terms. */
  readonly flow: Flow;
  readonly ufid: Uint8Array;
  /** Datapath actions that were executed on the packet. */
  readonly actions: Uint8Array;
  /** Why translation failed and the packet was dropped, else null. */
  readonly error: string | null;
}

/** A datapath flow that was put, changed or removed. */
export interface FlowEvent {
  readonly ufid: Uint8Array;
  /** OVS_KEY_ATTR_* of the packet that missed; bits that the mask leaves out are arbitrary. */
  readonly key: Uint8Array;
  readonly mask: Uint8Array;
  readonly actions: Uint8Array;
  readonly packets: number;
  readonly bytes: number;
  readonly tcpFlags: number;
  /**
   * `put`, `changed` (new actions), or why it was removed: `idle`, `stale` (translates to another mask), `gone` (somebody
   * else deleted it), `flushed`.
   */
  readonly reason: "put" | "changed" | "idle" | "stale" | "gone" | "flushed";
}

/** A packet sent to the controller (OFPT_PACKET_IN). */
export interface PacketIn {
  readonly packet: Uint8Array;
  /** Length before it was cut to max_len. */
  readonly totalLength: number;
  readonly inPort: number;
  /** OFPR_* */
  readonly reason: number;
  readonly id: number;
  readonly table: number;
  readonly cookie: bigint;
  readonly userdata: Uint8Array | null;
}

/** Counters of a bridge's user-space side. */
export interface BridgeStatistics {
  /** Upcalls received. */
  upcalls: number;
  /** ENOBUFS errors of upcall sockets; each means one or more lost upcalls. */
  lost: number;
  flowsPut: number;
  /** Flow puts that failed, EEXIST included: another packet of the batch had put a flow that covers this one. */
  flowsFailed: number;
  /** Flow puts that the datapath refused: flowsFailed without EEXIST. */
  flowsRefused: number;
  /** Executes that the datapath refused: the packet was lost. */
  executesRefused: number;
  flowsDeleted: number;
  flowsChanged: number;
  revalidations: number;
}

/** Callbacks of a bridge. */
export interface BridgeHooks {
  /** Called for each upcall after it was answered. */
  onUpcall: ((event: UpcallEvent) => void) | null;
  /** Called for each datapath flow that was put, or given other actions. */
  onFlowPut: ((event: FlowEvent) => void) | null;
  /** Called for each datapath flow that was removed. */
  onFlowDel: ((event: FlowEvent) => void) | null;
  /** The controller. */
  onPacketIn: ((packet: PacketIn) => void) | null;
  /**
   * Called when a request failed that should not have. Refused flow puts and executes come at most once a second, with
   * the flow and its actions in `what`.
   */
  onFault: ((what: string, error: unknown) => void) | null;
}
