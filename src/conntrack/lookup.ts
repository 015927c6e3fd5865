import { K } from "../flow/key.ts";
import { IpProto } from "../packet/ip.ts";
import type { Packet } from "../packet/packet.ts";
import { EINVAL } from "../uapi/errno.ts";
import { IPS_CONFIRMED } from "../uapi/nfnetlink.ts";
import { OVS_CS_F_NAT_MASK } from "../uapi/openvswitch.ts";
import type { CtAction } from "./action.ts";
import { isCached } from "./cached.ts";
import { updateKey } from "./ct-key.ts";
import { attachHelper, callHelper } from "./help.ts";
import { E, Ext } from "./layout.ts";
import type { ConntrackState } from "./state.ts";
import { track } from "./track.ts";
import { isEstablished, setLiberal } from "./trackers/tcp/states.ts";
import { translate } from "./translate.ts";
import { protoOf } from "./tuple.ts";

/**
 * Finds or makes the packet's entry, translates, and calls its helper (spec/conntrack sections 5 and 7).
 * HOT PATH.
 * @returns 0 or a negative errno
 */
export function lookup(ct: ConntrackState, packet: Packet, key: Int32Array, action: CtAction): number {
  const cached = isCached(ct, packet, key, action) && !(action.commit && isSharedUnconfirmed(ct.table.words, packet));
  if (!cached) {
    if (!track(ct, packet, action)) return -EINVAL;
    // The key follows the entry only after tracking really ran: a cached result keeps the key's state with its NAT bits
    // (spec/conntrack C-092, C-096, C-381).
    updateKey(ct.table.words, packet, key, action.zone);
  }
  const slot = packet.ct;
  if (slot < 0) return 0;
  const { words } = ct.table;
  const entry = slot * E.WORDS;
  const confirmed = (words[entry + E.STATUS] & IPS_CONFIRMED) !== 0;

  // New connections are translated by the action that commits them, so that the helper sees the translated tuple
  // (spec/conntrack C-153).
  if (action.nat !== undefined && (key[K.CT] & OVS_CS_F_NAT_MASK) === 0 && (confirmed || action.commit)) {
    const error = translate(ct, packet, key, action.nat, action.commit);
    if (error !== 0) return error;
  }
  if (!confirmed && action.commit && action.helper !== undefined && (words[entry + E.EXT] & Ext.HELPER_MASK) === 0) {
    attachHelper(ct.helpers, words, entry, action);
    if (action.nat !== undefined) words[entry + E.EXT] |= Ext.SEQADJ;
  }
  // A new connection's helper waits for the commit (spec/conntrack C-210, C-392).
  if (confirmed && !cached && (words[entry + E.EXT] & Ext.HELPER_MASK) !== 0) {
    if (!callHelper(ct, packet, slot, action.family)) return -EINVAL;
  }
  if (confirmed && protoOf(words, entry) === IpProto.TCP && isEstablished(words, entry)) setLiberal(words, entry);
  return 0;
}

/** The packet's entry is not confirmed, and the packet it was cloned from has it too (spec/conntrack C-091). */
function isSharedUnconfirmed(words: Int32Array, packet: Packet): boolean {
  return packet.ctShared && (words[packet.ct * E.WORDS + E.STATUS] & IPS_CONFIRMED) === 0;
}
