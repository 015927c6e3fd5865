import { ENOMEM } from "../uapi/errno.ts";
import { IPS_CONFIRMED, IPS_DYING, IPS_UNTRACKED as IPS_NAT_CLASH } from "../uapi/nfnetlink.ts";
import { E, Slot } from "./layout.ts";
import { allocateEntry } from "./new-entry.ts";
import type { ConntrackState } from "./state.ts";

/** What the control plane (ctnetlink) does with entries; Conntrack's methods of the same names say how to use them. */

export function walkEntries(ct: ConntrackState, cursor: number, visit: (slot: number) => boolean): number {
  ct.readClock();
  for (let slot = cursor; slot < ct.table.top; slot++) {
    if (!isListed(ct, slot)) continue;
    if (!visit(slot)) return slot;
  }
  return -1;
}

/** Whether an entry is live, confirmed, and not the loser of a clash (spec/ctnetlink N-076 to N-078). */
function isListed(ct: ConntrackState, slot: number): boolean {
  const { words } = ct.table;
  const entry = slot * E.WORDS;
  if (words[entry + E.SLOT] !== Slot.USED) return false;
  const status = words[entry + E.STATUS];
  return (status & (IPS_CONFIRMED | IPS_DYING | IPS_NAT_CLASH)) === IPS_CONFIRMED && !ct.expired(slot);
}

export function createEntry(ct: ConntrackState, original: Int32Array, reply: Int32Array): number {
  ct.readClock();
  const slot = allocateEntry(ct, original, reply, ct.table.hash(original, 0));
  return slot < 0 ? -ENOMEM : slot;
}

export function idOf(words: Int32Array, slot: number): number {
  const generation = words[slot * E.WORDS + E.GENERATION];
  let h = Math.imul(slot ^ 0x5bd1e995, 0x297a2d39) ^ Math.imul(generation, 0x2c1b3c6d);
  h = Math.imul(h ^ (h >>> 15), 0x297a2d39);
  return (h ^ (h >>> 13)) >>> 0;
}
