import type { Packet } from "../packet/packet.ts";
import type { CtAction } from "./action.ts";

/** What the datapath asks of connection tracking. Implemented by src/conntrack/conntrack.ts. */
export interface ConntrackPort {
  /**
   * Runs a ct action on the packet (its key must be valid, l3/l4 known): defragments, looks up, translates, commits,
   * and updates the key's ct_* fields and addresses.
   * @returns 0; -EINPROGRESS when the packet was queued as a fragment (consumed); another negative errno when it must
   * be dropped (spec/conntrack C-094, C-147)
   */
  execute(packet: Packet, key: Int32Array, action: CtAction): number;
  /** ct_clear (spec/conntrack C-237). */
  clear(packet: Packet, key: Int32Array): void;
  /** Checks a helper name at validation time. @returns 0 or a negative errno (spec/conntrack C-018 to C-020) */
  checkHelper(name: string, family: number, ipProto: number, nat: boolean): number;
  /** Whether ct actions may name NOKMOD_NAT_ATTR_*. */
  readonly crossZoneNat: boolean;
  /**
   * Looks up the helper and the timeout policy that the action names, once, when its flow is put
   * (spec/conntrack C-022).
   */
  bind(action: CtAction): void;
  /** All packets of a batch are gone: frees entries that were never confirmed. `now` of the clock may be re-read. */
  endBatch(): void;
}
