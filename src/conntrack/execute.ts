import { extractHeaders } from "../flow/extract/extract.ts";
import { K } from "../flow/key.ts";
import { trimToIpLength } from "../packet/edit/trim.ts";
import { ETH_P_IP, ETH_P_IPV6 } from "../packet/ethernet.ts";
import type { Packet } from "../packet/packet.ts";
import { EINVAL, ENOMEM } from "../uapi/errno.ts";
import { IPCT_LABEL, IPCT_MARK, IPS_CONFIRMED } from "../uapi/nfnetlink.ts";
import { AF_INET } from "../uapi/socket.ts";
import type { CtAction } from "./action.ts";
import { confirm } from "./confirm.ts";
import { expectedToKey, labelsToKey } from "./ct-key.ts";
import { cacheEvents, deliverCachedEvents } from "./events.ts";
import { callHelper } from "./help.ts";
import { initLabels, mergeLabels } from "./labels.ts";
import { E, Ext } from "./layout.ts";
import { lookup } from "./lookup.ts";
import { readTuple } from "./packet-tuple.ts";
import type { ConntrackState } from "./state.ts";
import { newTuple } from "./tuple.ts";

/** The ct action on a packet (ovs_ct_execute): defragmentation, lookup or commit, and the key. */

const tuple = newTuple();

/** ConntrackPort.execute() once the clock has been read. HOT PATH. */
export function executeCt(ct: ConntrackState, packet: Packet, key: Int32Array, action: CtAction): number {
  let error = trimToIpLength(packet, action.family === AF_INET ? ETH_P_IP : ETH_P_IPV6);
  if (error !== 0) return error;
  if ((key[K.IP] & 0xff) !== 0) {
    error = defragment(ct, packet, key, action);
    if (error !== 0) return error;
  }
  return action.commit ? commit(ct, packet, key, action) : lookupOnly(ct, packet, key, action);
}

/** Collects fragments (spec/conntrack section 4). @returns 0 when the packet is whole, -EINPROGRESS when it was queued */
function defragment(ct: ConntrackState, packet: Packet, key: Int32Array, action: CtAction): number {
  const error =
    action.family === AF_INET ? ct.reassembly.ipv4(packet, action.zone) : ct.reassembly.ipv6(packet, action.zone);
  if (error !== 0) return error;
  packet.hash = 0;
  packet.hashFlags = 0;
  const failed = extractHeaders(packet, key);
  if (failed !== 0) return failed;
  key[K.IP] &= ~0xff;
  return 0;
}

/** Runs ct without commit (spec/conntrack section 7). */
function lookupOnly(ct: ConntrackState, packet: Packet, key: Int32Array, action: CtAction): number {
  if (!ct.options.expectationsTracked && ct.expectations.count !== 0 && keyFromExpectation(ct, packet, key, action)) {
    return 0;
  }
  const error = lookup(ct, packet, key, action);
  if (error !== 0) return error;
  if (packet.ct >= 0) deliverCachedEvents(ct, packet.ct);
  return 0;
}

/** Before Linux 6.6: a packet that is expected is not tracked, the key shows its master (spec/conntrack C-119). */
function keyFromExpectation(ct: ConntrackState, packet: Packet, key: Int32Array, action: CtAction): boolean {
  if (!readTuple(ct.greKeys, packet, action.family, action.zone, tuple)) return false;
  const expectation = ct.expectations.find(tuple, ct.now);
  if (expectation === undefined) return false;
  const clashing = ct.findLive(tuple);
  if (clashing >= 0) ct.destroy(clashing >> 1, 0, false);
  expectedToKey(ct.table.words, expectation.master * E.WORDS, key, action.zone);
  return true;
}

/** Runs ct(commit) (spec/conntrack section 8). */
function commit(ct: ConntrackState, packet: Packet, key: Int32Array, action: CtAction): number {
  const error = lookup(ct, packet, key, action);
  if (error !== 0) return error;
  const slot = packet.ct;
  if (slot < 0) return 0;
  const { words } = ct.table;
  const entry = slot * E.WORDS;
  const confirmed = (words[entry + E.STATUS] & IPS_CONFIRMED) !== 0;
  if (ct.limits.enabled && !confirmed && ct.limits.exceeds(words, entry, action.zone)) return -ENOMEM;
  if (action.hasEventmask && (words[entry + E.EXT] & Ext.EVENTS) !== 0) words[entry + E.EVENT_MASK] = action.eventmask;
  if (action.hasMark) {
    // Bits of the value outside the mask are taken as well (spec/conntrack C-025).
    const mark = action.mark | (words[entry + E.MARK] & ~action.markMask);
    if (mark !== words[entry + E.MARK]) {
      words[entry + E.MARK] = mark;
      if (confirmed) cacheEvents(words, entry, 1 << IPCT_MARK);
      key[K.CT_MARK] = mark;
    }
  }
  if (!confirmed) {
    if (initLabels(words, entry, action)) labelsToKey(words, entry, key);
    if (!callHelper(ct, packet, slot, action.family)) return -EINVAL;
    return confirm(ct, packet) ? 0 : -EINVAL;
  }
  if (action.hasLabels) {
    if (mergeLabels(words, entry, action.labels, action.labelsMask)) cacheEvents(words, entry, 1 << IPCT_LABEL);
    labelsToKey(words, entry, key);
  }
  deliverCachedEvents(ct, slot);
  return 0;
}
