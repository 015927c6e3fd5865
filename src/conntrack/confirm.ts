import type { Packet } from "../packet/packet.ts";
import { EEXIST, ENOSPC } from "../uapi/errno.ts";
import {
  IP_CT_IS_REPLY,
  IPCT_HELPER,
  IPCT_NEW,
  IPCT_RELATED,
  IPS_CONFIRMED,
  IPS_DYING,
  IPS_FIXED_TIMEOUT,
  IPS_UNTRACKED as IPS_NAT_CLASH,
} from "../uapi/nfnetlink.ts";
import { account } from "./accounting.ts";
import { cacheEvents, deliverCachedEvents } from "./events.ts";
import { E, Ext, T } from "./layout.ts";
import type { ConntrackState } from "./state.ts";
import { sameTuple } from "./table.ts";
import { allowsClash } from "./trackers/protocols.ts";
import { copyTuple, newTuple, protoOf } from "./tuple.ts";

/** Insertion of entries into the table: nf_conntrack_confirm, and the resolution of clashes. */

/** Bounds of the random chain length limit (spec/conntrack C-261). */
const MIN_CHAIN = 50;
const CHAIN_SPREAD = 30;

/** Lifetime in milliseconds of an entry that lost a clash. */
const CLASH_TIMEOUT = 1000;

const scratch = newTuple();

/** Inserts the packet's unconfirmed entry (spec/conntrack C-145 to C-149). @returns false to drop the packet */
export function confirm(ct: ConntrackState, packet: Packet): boolean {
  const slot = packet.ct;
  const { words } = ct.table;
  const entry = slot * E.WORDS;
  if (packet.ctInfo >= IP_CT_IS_REPLY) return true;
  if ((words[entry + E.STATUS] & IPS_DYING) !== 0) {
    ct.stats.insertFailed++;
    return false;
  }
  const link = findClash(ct, entry);
  if (link >= 0) return resolveClash(ct, packet, slot, link);
  if (chainTooLong(ct, entry)) return false;
  words[entry + E.EXPIRES] += ct.now;
  ct.table.link(slot);
  words[entry + E.STATUS] |= IPS_CONFIRMED;
  let events = words[entry + E.MASTER] !== 0 ? 1 << IPCT_RELATED : 1 << IPCT_NEW;
  if ((words[entry + E.EXT] & Ext.HELPER_MASK) !== 0) events |= 1 << IPCT_HELPER;
  cacheEvents(words, entry, events);
  deliverCachedEvents(ct, slot);
  return true;
}

/** Inserts an entry of the control plane. @returns 0, -EEXIST or -ENOSPC; if it fails the entry is freed */
export function insert(ct: ConntrackState, slot: number): number {
  const { words } = ct.table;
  const entry = slot * E.WORDS;
  if (findClash(ct, entry) >= 0) {
    ct.stats.insertFailed++;
    ct.discard(slot);
    return -EEXIST;
  }
  if (chainTooLong(ct, entry)) {
    ct.discard(slot);
    return -ENOSPC;
  }
  ct.table.link(slot);
  words[entry + E.STATUS] |= IPS_CONFIRMED;
  ct.stats.insert++;
  return 0;
}

/** Computes the reply tuple's hash and finds an entry that has one of both tuples. @returns its link, or -1 */
function findClash(ct: ConntrackState, entry: number): number {
  const { words } = ct.table;
  words[entry + E.REPLY + T.HASH] = ct.table.hash(words, entry + E.REPLY);
  const link = findAt(ct, entry);
  return link >= 0 ? link : findAt(ct, entry + E.REPLY);
}

/** ConnectionTable.find() for a hashed tuple that lies in the table itself. */
function findAt(ct: ConntrackState, at: number): number {
  const { words } = ct.table;
  copyTuple(words, at, scratch, 0);
  return ct.table.find(scratch, words[at + T.HASH]);
}

/** Tests the chains of both tuples of an entry against the random limit, and counts a failure (spec/conntrack C-261). */
function chainTooLong(ct: ConntrackState, entry: number): boolean {
  const { words } = ct.table;
  if (!overLimit(ct, words[entry + T.HASH]) && !overLimit(ct, words[entry + E.REPLY + T.HASH])) return false;
  ct.stats.chainTooLong++;
  ct.stats.insertFailed++;
  return true;
}

function overLimit(ct: ConntrackState, hash: number): boolean {
  const length = ct.table.chainLength(hash);
  return length > MIN_CHAIN && length > MIN_CHAIN + (ct.random.u32() % CHAIN_SPREAD);
}

/**
 * Resolves a clash: another entry, at `link`, has one of our tuples (spec/conntrack section 15).
 * @returns false to drop the packet
 */
function resolveClash(ct: ConntrackState, packet: Packet, slot: number, link: number): boolean {
  const { table, stats } = ct;
  const { words } = table;
  const entry = slot * E.WORDS;
  if (allowsClash(protoOf(words, entry))) {
    if (adoptWinner(ct, packet, slot, link)) return true;
    const replyLink = findAt(ct, entry + E.REPLY);
    if (replyLink >= 0) {
      if (adoptWinner(ct, packet, slot, replyLink)) return true;
    } else {
      // Replies find the loser for a second; packets of the original direction find the winner.
      words[entry + E.EXPIRES] = ct.now + CLASH_TIMEOUT;
      words[entry + E.STATUS] |= IPS_FIXED_TIMEOUT | IPS_NAT_CLASH | IPS_CONFIRMED;
      table.linkDirection(slot, 1);
      stats.clashResolve++;
      deliverCachedEvents(ct, slot);
      return true;
    }
  }
  stats.drop++;
  stats.insertFailed++;
  return false;
}

/** Gives the loser's packet the winner's entry if both are the same connection (spec/conntrack C-267). */
function adoptWinner(ct: ConntrackState, packet: Packet, slot: number, link: number): boolean {
  const { words } = ct.table;
  const loser = slot * E.WORDS;
  const winner = (link >> 1) * E.WORDS;
  const same = sameTuple(words, loser, words, winner) && sameTuple(words, loser + E.REPLY, words, winner + E.REPLY);
  const reverse = sameTuple(words, loser, words, winner + E.REPLY) && sameTuple(words, loser + E.REPLY, words, winner);
  if (!same && !reverse) return false;
  if ((words[loser + E.EXT] & words[winner + E.EXT] & Ext.COUNTERS) !== 0) {
    account(words, winner, packet.ctInfo >= IP_CT_IS_REPLY ? 1 : 0, words[loser + E.COUNTERS + 2]);
  }
  packet.ct = link >> 1;
  ct.stats.clashResolve++;
  return true;
}
