import type { BridgeState } from "./state.ts";
import type { XlateCache } from "./ukey.ts";

/**
 * Counts packets for the rules that a translation matched, and learns their source address.
 * @param used CLOCK_MONOTONIC milliseconds of the last packet
 */
export function pushStats(state: BridgeState, xcache: XlateCache, packets: number, bytes: number, used: number): void {
  for (const rule of xcache.rules) {
    rule.packets += packets;
    rule.bytes += bytes;
    if (used > rule.used) rule.used = used;
  }
  learn(state, xcache, used);
}

/** Learns the source addresses that NORMAL saw. @param when CLOCK_MONOTONIC milliseconds of the packet */
export function learn(state: BridgeState, xcache: XlateCache, when: number): void {
  if (xcache.learned.length === 0) return;
  const { macs } = state;
  const before = macs.generation;
  for (const { mac, macLow, vlan, port } of xcache.learned) macs.learn(mac, macLow, vlan, port, when);
  if (macs.generation !== before) state.revalidateSoon();
}
