import { IpProto } from "../packet/ip.ts";
import { CtRef, type Packet } from "../packet/packet.ts";
import * as tcp from "../packet/tcp.ts";
import {
  IP_CT_ESTABLISHED,
  IP_CT_ESTABLISHED_REPLY,
  IP_CT_IS_REPLY,
  IP_CT_NEW,
  IP_CT_RELATED,
  IPCT_REPLY,
  IPS_CONFIRMED,
  IPS_EXPECTED,
  IPS_FIXED_TIMEOUT,
  IPS_SEEN_REPLY,
} from "../uapi/nfnetlink.ts";
import { account } from "./accounting.ts";
import type { CtAction } from "./action.ts";
import { cacheEvents } from "./events.ts";
import { checksumValid, headerValid, udpValid } from "./header-check.ts";
import { trackIcmpError } from "./icmp-error.ts";
import { E, Ext, Tcp } from "./layout.ts";
import { newEntry, TABLE_FULL } from "./new-entry.ts";
import { addGreSource } from "./packet-tuple.ts";
import { seqOffset } from "./seqadj.ts";
import type { ConntrackState } from "./state.ts";
import { trackOther, trackUdp } from "./trackers/protocols.ts";
import { tcpHeaderValid } from "./trackers/tcp/segment.ts";
import { isFinished } from "./trackers/tcp/states.ts";
import { trackTcp } from "./trackers/tcp/track.ts";
import { Tracked, Verdict } from "./trackers/verdict.ts";
import { findTransport, newTuple, Transport, tupleOf } from "./tuple.ts";

const transport = new Transport();
const tuple = newTuple();
const tracked = new Tracked();

/**
 * Finds or makes the packet's entry and runs its tracker: nf_conntrack_in (spec/conntrack section 13). Sets packet.ct,
 * packet.ctInfo and packet.l4; packet.ct is negative when the packet is invalid or untracked. HOT PATH.
 * @returns false if the packet is to be dropped
 */
export function track(ct: ConntrackState, packet: Packet, action: CtAction): boolean {
  packet.ct = CtRef.NONE;
  packet.ctInfo = 0;
  packet.ctShared = false;
  const { view } = packet.memory;
  const { table } = ct;
  const { family, zone } = action;
  const end = packet.off + packet.len;
  if (!findTransport(view, packet.l3, end, family, transport)) {
    ct.stats.invalid++;
    return true;
  }
  const { proto, offset: l4 } = transport;
  packet.l4 = l4;
  if (proto === IpProto.ICMP || proto === IpProto.ICMPV6) {
    if (trackIcmpError(ct, packet, proto, l4, family, zone)) return true;
  }
  if (!tupleOf(view, packet.l3, end, family, proto, l4, zone, tuple)) {
    ct.stats.invalid++;
    return true;
  }
  if (proto === IpProto.GRE) addGreSource(ct.greKeys, view, l4, end, tuple);
  const hash = table.hash(tuple, 0);
  for (;;) {
    let link = ct.findLiveByHash(tuple, hash);
    if (link < 0) {
      const slot = newEntry(ct, tuple, hash, action);
      if (slot === TABLE_FULL) {
        ct.stats.drop++;
        return false;
      }
      if (slot < 0) {
        ct.stats.invalid++;
        return true;
      }
      link = slot << 1;
    }
    const slot = link >> 1;
    const info = infoOf(table.words, link);
    const verdict = trackEntry(ct, packet, slot, info, family, proto, l4, end);
    if (verdict === Verdict.REPEAT) {
      ct.destroy(slot, 0, false);
      continue;
    }
    if (verdict === Verdict.INVALID) {
      ct.stats.invalid++;
      if ((table.words[slot * E.WORDS + E.STATUS] & IPS_CONFIRMED) === 0) ct.discard(slot);
      return true;
    }
    packet.ct = slot;
    packet.ctInfo = info;
    if (info === IP_CT_ESTABLISHED_REPLY) {
      const entry = slot * E.WORDS;
      if ((table.words[entry + E.STATUS] & IPS_SEEN_REPLY) === 0) {
        table.words[entry + E.STATUS] |= IPS_SEEN_REPLY;
        cacheEvents(table.words, entry, 1 << IPCT_REPLY);
      }
    }
    return true;
  }
}

/** enum ip_conntrack_info of a packet that matched this direction (spec/conntrack C-375). */
export function infoOf(words: Int32Array, link: number): number {
  if ((link & 1) !== 0) return IP_CT_ESTABLISHED_REPLY;
  const status = words[(link >> 1) * E.WORDS + E.STATUS];
  if ((status & IPS_SEEN_REPLY) !== 0) return IP_CT_ESTABLISHED;
  return (status & IPS_EXPECTED) !== 0 ? IP_CT_RELATED : IP_CT_NEW;
}

/**
 * Verifies the header, runs the protocol's tracker and refreshes the entry's timeout and counters. HOT PATH: short steps
 * are written out for TCP and UDP, because a call that is not inlined costs a packet several nanoseconds.
 */
function trackEntry(
  ct: ConntrackState,
  packet: Packet,
  slot: number,
  info: number,
  family: number,
  proto: number,
  l4: number,
  end: number,
): Verdict {
  const { view } = packet.memory;
  const { words } = ct.table;
  const { options } = ct;
  const entry = slot * E.WORDS;
  const direction = info >= IP_CT_IS_REPLY ? 1 : 0;
  const policy = words[entry + E.EXT] >>> Ext.POLICY_SHIFT;
  const length = end - l4;
  tracked.events = 0;
  tracked.timeout = 0;
  let verdict: Verdict;
  if (proto === IpProto.TCP) {
    if (!tcpHeaderValid(view, l4, length) || !checksumValid(options, packet, family, proto)) return Verdict.INVALID;
    const standard = ct.timeouts.tcp;
    const timeouts = policy === 0 ? standard : ct.timeoutPolicies.timeoutsOf(policy, standard);
    const offset = seqOffset(words, entry, 1 - direction, (view.getInt32(l4 + tcp.ACK) - 1) | 0);
    const left = (words[entry + E.EXPIRES] - ct.now) | 0;
    verdict = trackTcp(words, entry, direction, view, l4, length, offset, timeouts, options, left, tracked);
    if (verdict === Verdict.INVALID && tracked.timeout !== 0) words[entry + E.EXPIRES] = ct.now + tracked.timeout;
    if ((words[entry + E.EXT] & Ext.LIMITED) !== 0 && isFinished(words[entry + Tcp.STATE] & 0xff)) {
      ct.limits.uncount(words, entry);
    }
  } else if (proto === IpProto.UDP) {
    if (!udpValid(options, packet, family, l4, length)) return Verdict.INVALID;
    const standard = ct.timeouts.udp;
    const timeouts = policy === 0 ? standard : ct.timeoutPolicies.timeoutsOf(policy, standard);
    verdict = trackUdp(words, entry, timeouts, ct.now, tracked);
  } else {
    if (!headerValid(options, packet, family, proto, l4, length)) return Verdict.INVALID;
    const timeouts = ct.timeoutPolicies.timeoutsOf(policy, ct.timeouts.of(proto));
    verdict = trackOther(words, entry, direction, proto, view, l4, length, timeouts, tracked);
  }
  // An SCTP packet may move the state on with one chunk and be found invalid at the next.
  if (tracked.events !== 0) cacheEvents(words, entry, tracked.events);
  if (verdict === Verdict.INVALID || verdict === Verdict.REPEAT || verdict === Verdict.IGNORE) return verdict;
  if ((words[entry + E.EXT] & Ext.COUNTERS) !== 0) account(words, entry, direction, end - packet.l3);
  if (verdict === Verdict.KILL) {
    ct.destroy(slot, 0, false);
    return verdict;
  }
  const status = words[entry + E.STATUS];
  if ((status & IPS_FIXED_TIMEOUT) === 0) {
    // Until it is confirmed the entry holds the timeout itself (spec/conntrack C-148).
    words[entry + E.EXPIRES] = (status & IPS_CONFIRMED) !== 0 ? ct.now + tracked.timeout : tracked.timeout;
  }
  return verdict;
}
