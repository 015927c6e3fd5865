import { K } from "../flow/key.ts";
import { CtRef, type Packet } from "../packet/packet.ts";
import { IP_CT_IS_REPLY, IPS_CONFIRMED } from "../uapi/nfnetlink.ts";
import { OVS_CS_F_INVALID, OVS_CS_F_TRACKED } from "../uapi/openvswitch.ts";
import type { CtAction } from "./action.ts";
import { findExisting } from "./existing.ts";
import { E, Ext } from "./layout.ts";
import type { ConntrackState } from "./state.ts";
import { tupleZone } from "./tuple.ts";

/**
 * Tells whether the packet's entry can be used without tracking it again (spec/conntrack section 5). A packet that comes
 * back from user space has lost its entry: it is found again by the tuple, so that it is not counted twice
 * (spec/conntrack C-080, C-384). HOT PATH.
 */
export function isCached(ct: ConntrackState, packet: Packet, key: Int32Array, action: CtAction): boolean {
  let executed = true;
  if (packet.ct < 0) {
    const state = key[K.CT];
    executed = (state & (OVS_CS_F_TRACKED | OVS_CS_F_INVALID)) === OVS_CS_F_TRACKED && state >>> 16 === action.zone;
    if (!executed && !((state & 0xff) === 0 && action.force)) return false;
    if (!findExisting(ct, packet, key, action)) return false;
  }
  const { words } = ct.table;
  const entry = packet.ct * E.WORDS;
  if (tupleZone(words, entry) !== action.zone && tupleZone(words, entry + E.REPLY) !== action.zone) return false;
  const ext = words[entry + E.EXT];
  if (action.helper !== undefined && (ext & Ext.HELPER_MASK) !== 0) {
    if ((ext & Ext.HELPER_MASK) >>> Ext.HELPER_SHIFT !== ct.helpers.of(action)) return false;
  }
  if (action.timeout !== undefined) {
    const policy = ct.timeoutPolicies.of(action);
    if (policy !== 0 && policy !== ext >>> Ext.POLICY_SHIFT) return false;
  }
  if (action.force && packet.ctInfo >= IP_CT_IS_REPLY) {
    // The connection is to start in the packet's direction (spec/conntrack C-090).
    if ((words[entry + E.STATUS] & IPS_CONFIRMED) !== 0) ct.destroy(packet.ct, 0, false);
    packet.ct = CtRef.NONE;
    packet.ctInfo = 0;
    return false;
  }
  return executed;
}
