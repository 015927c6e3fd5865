import { ensureWritable } from "../packet/edit/writable.ts";
import type { Packet } from "../packet/packet.ts";
import { IP_CT_IS_REPLY, IP_CT_RELATED_REPLY, IPS_HELPER, IPS_SEQ_ADJUST } from "../uapi/nfnetlink.ts";
import type { CtAction } from "./action.ts";
import type { HelperRegistry } from "./helper-registry.ts";
import { E, Ext } from "./layout.ts";
import { adjustSegment } from "./seqadj.ts";
import type { ConntrackState } from "./state.ts";
import { findTransport, Transport } from "./tuple.ts";

const transport = new Transport();

/** Gives an entry the helper that an action names, if there is one for its protocol and family. */
export function attachHelper(helpers: HelperRegistry, words: Int32Array, entry: number, action: CtAction): void {
  const number = helpers.of(action);
  if (number === 0) return;
  words[entry + E.EXT] |= number << Ext.HELPER_SHIFT;
  words[entry + E.STATUS] |= IPS_HELPER;
}

/**
 * Calls the helper of the packet's connection and adjusts sequence numbers (spec/conntrack C-213 to C-217).
 * @returns false to drop the packet
 */
export function callHelper(ct: ConntrackState, packet: Packet, slot: number, family: number): boolean {
  const { words } = ct.table;
  const entry = slot * E.WORDS;
  const helper = ct.helperOfSlot(slot);
  if (helper === undefined || packet.ctInfo === IP_CT_RELATED_REPLY) return true;
  if (!findTransport(packet.memory.view, packet.l3, packet.off + packet.len, family, transport)) return true;
  if (transport.proto !== helper.proto || helper.families?.includes(family) === false) return true;
  if (!ensureWritable(packet)) return false;
  // The packet may have moved in memory, here and in the helper.
  findTransport(packet.memory.view, packet.l3, packet.off + packet.len, family, transport);
  if (!helper.help(ct, packet, transport.offset, family, slot, packet.ctInfo)) return false;
  if ((words[entry + E.STATUS] & IPS_SEQ_ADJUST) === 0) return true;
  findTransport(packet.memory.view, packet.l3, packet.off + packet.len, family, transport);
  return adjustSegment(packet, transport.offset, words, entry, packet.ctInfo >= IP_CT_IS_REPLY ? 1 : 0);
}
