import * as tcp from "../../../packet/tcp.ts";
import {
  IP_CT_EXP_CHALLENGE_ACK,
  IP_CT_TCP_FLAG_BE_LIBERAL,
  IP_CT_TCP_FLAG_CLOSE_INIT,
  IP_CT_TCP_FLAG_DATA_UNACKNOWLEDGED,
  IP_CT_TCP_FLAG_MAXACK_SET,
  IP_CT_TCP_FLAG_SACK_PERM,
  IP_CT_TCP_SIMULTANEOUS_OPEN,
  IPCT_ASSURED,
  IPCT_PROTOINFO,
  IPS_ASSURED,
  IPS_CONFIRMED,
  IPS_FIXED_TIMEOUT,
  IPS_SEEN_REPLY,
  TCP_CONNTRACK_CLOSE,
  TCP_CONNTRACK_ESTABLISHED,
  TCP_CONNTRACK_FIN_WAIT,
  TCP_CONNTRACK_LAST_ACK,
  TCP_CONNTRACK_NONE,
  TCP_CONNTRACK_SYN_RECV,
  TCP_CONNTRACK_SYN_SENT,
  TCP_CONNTRACK_SYN_SENT2,
  TCP_CONNTRACK_TIME_WAIT,
} from "../../../uapi/nfnetlink.ts";
import { E, Tcp } from "../../layout.ts";
import { type ConntrackOptions, TCP_RETRANS, TCP_UNACK } from "../../options.ts";
import { type Tracked, Verdict } from "../verdict.ts";
import { parseOptions, synOptions } from "./options.ts";
import { segmentFields, seqBefore } from "./segment.ts";
import { classify, Dimension, isClosing, isEstablished, SegmentClass, TRANSITIONS, Transition } from "./states.ts";
import { inWindow, WindowCheck } from "./window.ts";

/**
 * The TCP tracker: the state machine of spec/conntrack section 16 and the window tracking of G. van Rooij, "Real
 * Stateful TCP Packet Filtering in IP Filter" (2001). Per direction it keeps
 *
 * - END: one past the last byte sent,
 * - MAXEND: one past the last byte that the other side's windows have allowed,
 * - MAXWIN: the largest window announced (scaled),
 * - MAXACK: the highest byte acknowledged.
 *
 * A segment is in the window when it begins before MAXEND, ends within a window behind the sender's END, and
 * acknowledges nothing that the receiver has not sent, nor anything much older (C-295).
 */

/**
 * Tracks one segment of a connection. Preconditions: tcpHeaderValid, checksum verified. HOT PATH: eleven
 * parameters, because an object for them would be allocated for every packet, and one long function, because steps that share
 * this many variables cost more as calls.
 * @param entry first word of the entry in `words`
 * @param direction 0 original, 1 reply
 * @param seqOffset what sequence adjustment added to the numbers that this segment acknowledges (seqadj.ts)
 * @param timeouts table of the entry, milliseconds, indexed by state, TCP_RETRANS, TCP_UNACK
 * @param left milliseconds until the entry expires
 */
export function trackTcp(
  words: Int32Array,
  entry: number,
  direction: number,
  view: DataView,
  l4: number,
  length: number,
  seqOffset: number,
  timeouts: Int32Array,
  options: ConntrackOptions,
  left: number,
  result: Tracked,
): Verdict {
  const s = segmentFields;
  s.view = view;
  s.l4 = l4;
  s.flags = tcp.flags(view, l4);
  s.headerLength = tcp.headerLength(view, l4);
  s.seq = view.getInt32(l4 + tcp.SEQ);
  s.ack = view.getInt32(l4 + tcp.ACK);
  s.win = view.getUint16(l4 + tcp.WINDOW);
  s.end = (s.seq + length - s.headerLength + ((s.flags >> 1) & 1) + (s.flags & 1)) | 0;
  s.class = classify(s.flags);
  const status = words[entry + E.STATUS];
  if ((status & IPS_CONFIRMED) === 0 && !initConnection(words, entry, options)) return Verdict.INVALID;

  const own = entry + direction * Tcp.DIRECTION;
  const other = entry + (1 - direction) * Tcp.DIRECTION;
  let tracking = words[entry + Tcp.STATE];
  let oldState = tracking & 0xff;
  const lastClass = (tracking >>> 8) & 0xff;
  const lastDirection = (tracking >>> 16) & 0xff;
  let newState = TRANSITIONS[(direction * Dimension.CLASSES + s.class) * Dimension.STATES + oldState];
  let checkWindow = true;

  if (newState === Transition.INVALID) return Verdict.INVALID;
  if (newState === TCP_CONNTRACK_SYN_SENT && oldState >= TCP_CONNTRACK_TIME_WAIT) {
    const closed = ((words[own + Tcp.SCALE_FLAGS] | words[other + Tcp.SCALE_FLAGS]) >>> 8) & IP_CT_TCP_FLAG_CLOSE_INIT;
    if (closed !== 0 || (lastDirection === direction && lastClass === SegmentClass.RST)) return Verdict.REPEAT;
    newState = Transition.IGNORE;
  }
  if (newState === Transition.IGNORE) {
    if (
      s.class !== SegmentClass.SYNACK ||
      lastClass !== SegmentClass.SYN ||
      lastDirection === direction ||
      s.ack !== words[entry + Tcp.LAST_END]
    ) {
      recordIgnored(words, entry, direction, oldState);
      return Verdict.IGNORE;
    }
    resynchronise(words, entry, own, other);
    oldState = TCP_CONNTRACK_SYN_SENT;
    newState = TCP_CONNTRACK_SYN_RECV;
  } else if (newState === TCP_CONNTRACK_TIME_WAIT) {
    if (
      oldState === TCP_CONNTRACK_LAST_ACK &&
      s.class === SegmentClass.ACK &&
      lastDirection !== direction &&
      lastClass === SegmentClass.SYN &&
      (lastFlags(words, entry) & IP_CT_EXP_CHALLENGE_ACK) !== 0
    ) {
      setLastFlags(words, entry, lastFlags(words, entry) & ~IP_CT_EXP_CHALLENGE_ACK);
      return Verdict.IGNORE;
    }
  } else if (newState === TCP_CONNTRACK_SYN_SENT2) {
    setLastFlags(words, entry, lastFlags(words, entry) | IP_CT_TCP_SIMULTANEOUS_OPEN);
  } else if (newState === TCP_CONNTRACK_SYN_RECV) {
    if (
      direction === 1 &&
      s.class === SegmentClass.ACK &&
      (lastFlags(words, entry) & IP_CT_TCP_SIMULTANEOUS_OPEN) !== 0
    ) {
      newState = TCP_CONNTRACK_ESTABLISHED;
    }
  } else if (newState === TCP_CONNTRACK_CLOSE && s.class === SegmentClass.RST) {
    if (isClosing(oldState)) checkWindow = false;
    else {
      const otherFlags = words[other + Tcp.SCALE_FLAGS] >>> 8;
      let decided = false;
      if ((otherFlags & IP_CT_TCP_FLAG_MAXACK_SET) !== 0 && lastClass !== SegmentClass.SYN) {
        const established = isEstablished(words, entry);
        const maxAck = words[other + Tcp.MAXACK];
        if (s.seq === 0 && !established) decided = true;
        else if (seqBefore(s.seq, maxAck) && !options.tcpIgnoreInvalidRst) return Verdict.INVALID;
        else if (
          !established ||
          s.seq === maxAck ||
          (lastClass === SegmentClass.ACK && lastDirection === direction && s.seq === words[entry + Tcp.LAST_END])
        ) {
          decided = true;
        } else newState = oldState;
      }
      if (!decided) {
        const answersIgnored =
          ((status & IPS_SEEN_REPLY) !== 0 && lastClass === SegmentClass.SYN && lastDirection !== direction) ||
          ((status & IPS_ASSURED) === 0 && lastClass === SegmentClass.ACK);
        if (answersIgnored && s.ack === words[entry + Tcp.LAST_END]) checkWindow = false;
        else if (
          oldState === TCP_CONNTRACK_SYN_SENT &&
          lastClass === SegmentClass.ACK &&
          lastDirection === 1 &&
          s.seq === words[entry + Tcp.LAST_ACK]
        ) {
          checkWindow = false;
        }
      }
    }
  }

  if (checkWindow) {
    const verdict = inWindow(words, entry, own, other, direction, seqOffset, options);
    if (verdict === WindowCheck.IGNORE) return Verdict.IGNORE;
    if (verdict === WindowCheck.INVALID) {
      trackInvalidClose(words, entry, direction, timeouts, left, result);
      return Verdict.INVALID;
    }
  }

  // The segment is valid: the new state holds.
  tracking = words[entry + Tcp.STATE];
  const retransmissions = tracking >>> 24;
  words[entry + Tcp.STATE] = newState | (s.class << 8) | (direction << 16) | (retransmissions << 24);
  if (newState === TCP_CONNTRACK_FIN_WAIT && oldState !== newState) {
    words[own + Tcp.SCALE_FLAGS] |= IP_CT_TCP_FLAG_CLOSE_INIT << 8;
  }
  let timeout = timeouts[newState];
  const unacked =
    (((words[own + Tcp.SCALE_FLAGS] | words[other + Tcp.SCALE_FLAGS]) >>> 8) & IP_CT_TCP_FLAG_DATA_UNACKNOWLEDGED) !==
    0;
  if (retransmissions >= options.tcpMaxRetrans && timeout > timeouts[TCP_RETRANS]) timeout = timeouts[TCP_RETRANS];
  else if (
    ((s.class === SegmentClass.RST && newState === TCP_CONNTRACK_ESTABLISHED) || unacked) &&
    timeout > timeouts[TCP_UNACK]
  ) {
    timeout = timeouts[TCP_UNACK];
  } else if ((words[entry + Tcp.LAST_WIN] & 0xffff) === 0 && timeout > timeouts[TCP_RETRANS]) {
    timeout = timeouts[TCP_RETRANS];
  }
  if (newState !== oldState) result.events |= 1 << IPCT_PROTOINFO;

  if ((status & IPS_SEEN_REPLY) === 0) {
    if ((s.flags & tcp.RST) !== 0) return Verdict.KILL;
    // A client that tries port after port must not keep the entry, with its translation, alive for ever.
    if (s.class === SegmentClass.SYN && oldState === TCP_CONNTRACK_SYN_SENT) return Verdict.IGNORE;
    if (newState === TCP_CONNTRACK_ESTABLISHED && timeout > timeouts[TCP_UNACK]) timeout = timeouts[TCP_UNACK];
  } else if (
    (status & IPS_ASSURED) === 0 &&
    (oldState === TCP_CONNTRACK_SYN_RECV || oldState === TCP_CONNTRACK_ESTABLISHED) &&
    newState === TCP_CONNTRACK_ESTABLISHED
  ) {
    words[entry + E.STATUS] |= IPS_ASSURED;
    result.events |= 1 << IPCT_ASSURED;
  }
  result.timeout = timeout;
  return Verdict.ACCEPT;
}

const lastFlags = (words: Int32Array, entry: number): number => words[entry + Tcp.LAST_WIN] >>> 24;

function setLastFlags(words: Int32Array, entry: number, flags: number): void {
  words[entry + Tcp.LAST_WIN] = (words[entry + Tcp.LAST_WIN] & 0x00ff_ffff) | (flags << 24);
}

/** Sets up a connection from its first segment: a SYN, or any with tcp_loose (spec/conntrack C-292 to C-294). */
function initConnection(words: Int32Array, entry: number, options: ConntrackOptions): boolean {
  const s = segmentFields;
  const state = TRANSITIONS[s.class * Dimension.STATES + TCP_CONNTRACK_NONE];
  if (state >= Transition.IGNORE || (state !== TCP_CONNTRACK_SYN_SENT && !options.tcpLoose)) return false;
  words.fill(0, entry + E.PROTO, entry + Tcp.LAST_WIN + 1);
  const win = s.win === 0 ? 1 : s.win;
  words[entry + Tcp.END] = s.end;
  words[entry + Tcp.MAXWIN] = win;
  words[entry + Tcp.STATE] = SegmentClass.NONE << 8;
  if (state === TCP_CONNTRACK_SYN_SENT) {
    words[entry + Tcp.MAXEND] = s.end;
    if (parseOptions()) words[entry + Tcp.SCALE_FLAGS] = synOptions.scale | (synOptions.flags << 8);
  } else {
    // What was agreed on in the handshake is not known: assume the most permissive.
    words[entry + Tcp.MAXEND] = s.end + win;
    const flags = (IP_CT_TCP_FLAG_SACK_PERM | IP_CT_TCP_FLAG_BE_LIBERAL) << 8;
    words[entry + Tcp.SCALE_FLAGS] = flags;
    words[entry + Tcp.SCALE_FLAGS + Tcp.DIRECTION] = flags;
  }
  return true;
}

/** Records an ignored segment: a reply to it may show that the ends have agreed on a state that the tracker missed. */
function recordIgnored(words: Int32Array, entry: number, direction: number, state: number): void {
  const s = segmentFields;
  const tracking = words[entry + Tcp.STATE];
  words[entry + Tcp.STATE] = (tracking & 0xff00_00ff) | (s.class << 8) | (direction << 16);
  words[entry + Tcp.LAST_SEQ] = s.seq;
  words[entry + Tcp.LAST_END] = s.end;
  let win = (words[entry + Tcp.LAST_WIN] & 0xffff_0000) | s.win;
  if (s.class === SegmentClass.SYN && direction === 0) {
    let flags = 0;
    let scale = 0;
    if (parseOptions()) {
      scale = synOptions.scale;
      flags = synOptions.flags;
    }
    if (state === TCP_CONNTRACK_LAST_ACK) flags |= IP_CT_EXP_CHALLENGE_ACK;
    win = s.win | (scale << 16) | (flags << 24);
  }
  words[entry + Tcp.LAST_WIN] = win;
  if (state === TCP_CONNTRACK_SYN_SENT && s.class === SegmentClass.ACK && direction === 1)
    words[entry + Tcp.LAST_ACK] = s.ack;
}

/** Takes over the fields of an ignored SYN that this SYN/ACK replies to (spec/conntrack C-287). */
function resynchronise(words: Int32Array, entry: number, own: number, other: number): void {
  const end = words[entry + Tcp.LAST_END];
  const last = words[entry + Tcp.LAST_WIN];
  const flags = (last >>> 24) & ~IP_CT_EXP_CHALLENGE_ACK;
  setLastFlags(words, entry, flags);
  words[other + Tcp.END] = end;
  words[other + Tcp.MAXEND] = end;
  words[other + Tcp.MAXWIN] = (last & 0xffff) === 0 ? 1 : last & 0xffff;
  words[other + Tcp.SCALE_FLAGS] = ((last >>> 16) & 0xff) | (flags << 8);
  words[own + Tcp.END] = 0;
  words[own + Tcp.MAXEND] = 0;
  words[own + Tcp.MAXWIN] = 0;
  words[own + Tcp.MAXACK] = 0;
  words[own + Tcp.SCALE_FLAGS] &= IP_CT_TCP_FLAG_BE_LIBERAL << 8;
}

/**
 * Shortens the timeout when FIN or RST come out of the window from both sides in turn: the connection is closed, though
 * the tracker has not seen it (spec/conntrack C-309).
 */
function trackInvalidClose(
  words: Int32Array,
  entry: number,
  direction: number,
  timeouts: Int32Array,
  left: number,
  result: Tracked,
): void {
  const status = words[entry + E.STATUS];
  if ((status & IPS_ASSURED) === 0 || (status & IPS_FIXED_TIMEOUT) !== 0) return;
  if (segmentFields.class !== SegmentClass.RST && segmentFields.class !== SegmentClass.FIN) return;
  const tracking = words[entry + Tcp.STATE];
  const lastClass = (tracking >>> 8) & 0xff;
  if (((tracking >>> 16) & 0xff) !== direction && (lastClass === SegmentClass.FIN || lastClass === SegmentClass.RST)) {
    if (left >= 120_000 && left > timeouts[TCP_UNACK]) result.timeout = timeouts[TCP_UNACK];
    return;
  }
  words[entry + Tcp.STATE] = (tracking & 0xff00_00ff) | (segmentFields.class << 8) | (direction << 16);
}
