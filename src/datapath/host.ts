import type { ConntrackPort } from "../conntrack/conntrack-port.ts";
import type { Clock } from "../core/clock.ts";
import type { Random } from "../core/random.ts";
import type { PacketHasher } from "../flow/hash.ts";
import type { Packet } from "../packet/packet.ts";
import type { UserspaceUpcall } from "./actions/program.ts";
import type { DropReason } from "./drop-reason.ts";

/**
 * What the action interpreter (src/datapath/actions/execute.ts) asks of the datapath that runs it.
 * Implemented by src/datapath/datapath.ts.
 */
export interface ActionHost {
  readonly clock: Clock;
  readonly random: Random;
  readonly hasher: PacketHasher;
  readonly conntrack: ConntrackPort;
  /**
   * Sends the packet out of a vport: MTU and type checks, refragmentation by mru, at most maxLen bytes
   * (spec/actions ). The bytes must stay unchanged until the batch is flushed; the packet object may be
   * reused at once.
   */
  output(packet: Packet, key: Int32Array, portNo: number): void;
  /**
   * The same for an output that is not the last: the module sends a clone, which forgets where fragments ended
   * (spec/actions A-158).
   */
  outputCopy(packet: Packet, key: Int32Array, portNo: number): void;
  /** The userspace action; its result is ignored by the caller (spec/actions A-164). Sends at most maxLen bytes. */
  upcallAction(packet: Packet, key: Int32Array, upcall: UserspaceUpcall): void;
  /**
   * Looks the packet up again with key[RECIRC_ID] set, counts hit or miss, and runs the flow's actions or sends a MISS
   * (spec/actions A-119). Errors are not propagated.
   */
  recirculate(packet: Packet, key: Int32Array): void;
  /** Re-extracts header fields after push/pop made the key stale. @returns 0 or -EINVAL (spec/actions A-123) */
  updateKey(packet: Packet, key: Int32Array): number;
  /** Meter action. @returns true when the packet must be dropped (spec/actions A-221) */
  meter(packet: Packet, meterId: number): boolean;
  /** The packet is dropped (spec/actions ). */
  dropped(packet: Packet, reason: DropReason): void;
  /** psample message (spec/actions ); dropped when nobody listens. */
  psample(packet: Packet, key: Int32Array, group: number, cookie: Uint8Array): void;
}
