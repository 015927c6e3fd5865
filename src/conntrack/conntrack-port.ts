import type { Packet } from "../packet/packet.ts";
import type { CtAction } from "./action.ts";

/**
 * Connection tracking as the datapath calls it, implemented by Conntrack (conntrack.ts). The datapath imports this file and
 * action.ts of this folder and nothing else; this folder imports nothing of the datapath.
 */
export interface ConntrackPort {
  /**
   * Runs a ct action on the packet: defragments, looks up, translates, commits, and updates the key's ct_* fields and
   * addresses. Precondition: the key is valid for the packet, l3 and l4 are known. The entry stays owned by the table;
   * packet.ct is valid until endBatch().
   * @returns 0; -EINPROGRESS when the packet was queued as a fragment (consumed); another negative errno when it must
   * be dropped (spec/conntrack C-094, C-147)
   */
  execute(packet: Packet, key: Int32Array, action: CtAction): number;
  /** Runs ct_clear: takes the entry from the packet and zeroes the key's ct_* fields (spec/conntrack C-237). */
  clear(packet: Packet, key: Int32Array): void;
  /** Checks a helper name at validation time. @returns 0 or a negative errno (spec/conntrack C-018 to C-020) */
  checkHelper(name: string, family: number, ipProto: number, nat: boolean): number;
  /** Whether ct actions may name NOKMOD_NAT_ATTR_*. */
  readonly crossZoneNat: boolean;
  /**
   * Resolves the helper and the timeout policy that the action names to numbers, once, when its flow is put
   * (spec/conntrack C-022).
   */
  bind(action: CtAction): void;
  /**
   * Ends a batch: frees entries that were never confirmed, collects garbage, and lets the clock be read anew. Precondition:
   * no packet of the batch is used any more.
   */
  endBatch(): void;
}
