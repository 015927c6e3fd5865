import { IPS_ASSURED, IPS_CONFIRMED, IPS_DYING, IPS_EXPECTED } from "../uapi/nfnetlink.ts";
import type { CtAction } from "./action.ts";
import type { Expectation } from "./expect.ts";
import { attachHelper } from "./help.ts";
import { E, Ext, T } from "./layout.ts";
import type { ConntrackState } from "./state.ts";
import { copyTuple, invert, newTuple, tupleZone } from "./tuple.ts";

/** Creation of entries: init_conntrack, with its extensions, its expectation and early drop. */

/** newEntry() without a slot: no room, or no tuple for the replies. */
export const TABLE_FULL = -1;
const NO_INVERSE = -2;

/** Buckets that early drop looks into (spec/conntrack C-258). */
const EVICTION_RANGE = 8;

const replyTuple = newTuple();

/**
 * Makes an unconfirmed entry for the original tuple of a packet (spec/conntrack C-246).
 * @param hash of `tuple` in ct.table
 * @returns slot, TABLE_FULL or NO_INVERSE
 */
export function newEntry(ct: ConntrackState, tuple: Int32Array, hash: number, action: CtAction): number {
  if (!invert(tuple, 0, replyTuple, 0)) return NO_INVERSE;
  const slot = allocateEntry(ct, tuple, replyTuple, hash);
  if (slot < 0) return TABLE_FULL;
  const { words } = ct.table;
  const entry = slot * E.WORDS;
  if (action.nat !== undefined && action.nat.replyZone >= 0) ct.replyZones.set(words, entry, action.nat.replyZone);
  if (action.timeout !== undefined) words[entry + E.EXT] |= ct.timeoutPolicies.of(action) << Ext.POLICY_SHIFT;
  if (ct.expectations.count !== 0) {
    const expectation = ct.expectations.match(tuple, ct.now, action.commit);
    if (expectation !== undefined) {
      applyExpectation(ct, slot, expectation);
      return slot;
    }
  }
  if (action.helper !== undefined) attachHelper(ct.helpers, words, entry, action);
  return slot;
}

/**
 * Allocates an unconfirmed entry with its tuples and extensions, by eviction if need be (spec/conntrack C-257, C-258).
 * @returns slot, or -1 when the table is full
 */
export function allocateEntry(ct: ConntrackState, original: Int32Array, replyTuple: Int32Array, hash: number): number {
  const { table, options } = ct;
  if (options.max !== 0 && table.count >= options.max && !earlyDrop(ct, hash)) {
    ct.tableFull = true;
    return -1;
  }
  let slot = table.allocate();
  if (slot < 0) {
    if (options.max !== 0) return -1;
    table.resize(table.count * 2);
    slot = table.allocate();
    if (slot < 0) return -1;
  }
  const { words } = table;
  const entry = slot * E.WORDS;
  copyTuple(original, 0, words, entry);
  copyTuple(replyTuple, 0, words, entry + E.REPLY);
  words[entry + T.HASH] = hash;
  addExtensions(ct, entry);
  return slot;
}

/** Sets the extensions that a new entry gets by the options as they are now. */
function addExtensions(ct: ConntrackState, entry: number): void {
  const { options, table } = ct;
  const { words } = table;
  let ext = 0;
  if (options.acct) ext |= Ext.COUNTERS;
  if (options.events === 1 || (options.events === 2 && ct.listener?.listening === true)) {
    ext |= Ext.EVENTS;
    words[entry + E.EVENT_MASK] = -1;
  }
  if (options.timestamp) {
    ext |= Ext.TIMESTAMP;
    table.doubles[(entry + E.START) >> 1] = ct.realtime();
  }
  words[entry + E.EXT] = ext;
}

/** Makes a new entry the child of the connection that expected it (spec/conntrack C-230, C-232). */
function applyExpectation(ct: ConntrackState, slot: number, expectation: Expectation): void {
  const { words } = ct.table;
  const entry = slot * E.WORDS;
  words[entry + E.STATUS] |= IPS_EXPECTED;
  words[entry + E.MASTER] = expectation.master + 1;
  ct.table.hold(expectation.master);
  const master = expectation.master * E.WORDS;
  words[entry + E.MARK] = words[master + E.MARK];
  // A child of a connection between two zones is between them too, whichever end began it.
  const zone = tupleZone(words, master);
  const replyZone = tupleZone(words, master + E.REPLY);
  if (zone !== replyZone) ct.replyZones.set(words, entry, tupleZone(words, entry) === zone ? replyZone : zone);
  words[entry + E.EXT] |= expectation.assignHelper << Ext.HELPER_SHIFT;
  expectation.expectFunction?.(slot, expectation);
}

/** Evicts unassured connections near the new one's bucket (spec/conntrack C-258). @returns whether one was evicted */
function earlyDrop(ct: ConntrackState, hash: number): boolean {
  const { table } = ct;
  const { words } = table;
  for (let i = 0; i < EVICTION_RANGE; i++) {
    let dropped = false;
    for (let next = table.bucket(hash, i); next !== 0; ) {
      const slot = (next - 1) >> 1;
      const entry = slot * E.WORDS;
      next = words[entry + (((next - 1) & 1) << E.DIR_SHIFT) + T.NEXT];
      const status = words[entry + E.STATUS];
      if ((status & IPS_DYING) !== 0) continue;
      if (ct.expired(slot)) {
        ct.destroy(slot, 0, false);
        // The chain may have lost its next link too: both directions can share a bucket.
        next = table.bucket(hash, i);
      } else if ((status & (IPS_ASSURED | IPS_CONFIRMED)) === IPS_CONFIRMED) {
        ct.destroy(slot, 0, false);
        ct.stats.earlyDrop++;
        dropped = true;
        next = table.bucket(hash, i);
      }
    }
    if (dropped) return true;
  }
  return false;
}
