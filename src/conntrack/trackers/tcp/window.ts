import * as tcp from "../../../packet/tcp.ts";
import {
  IP_CT_TCP_FLAG_BE_LIBERAL,
  IP_CT_TCP_FLAG_DATA_UNACKNOWLEDGED,
  IP_CT_TCP_FLAG_MAXACK_SET,
  IP_CT_TCP_FLAG_SACK_PERM,
  IP_CT_TCP_FLAG_WINDOW_SCALE,
  TCP_CONNTRACK_SYN_RECV,
  TCP_CONNTRACK_SYN_SENT,
} from "../../../uapi/nfnetlink.ts";
import { Tcp } from "../../layout.ts";
import type { ConntrackOptions } from "../../options.ts";
import { highestSack, parseOptions, synOptions } from "./options.ts";
import { segmentFields, seqAfter, seqBefore } from "./segment.ts";
import { SegmentClass } from "./states.ts";

/** Acknowledgments may lag behind by this much, or by the sender's window if it is larger. */
const ACK_WINDOW = 66000;

/** Result of the window check. */
export const enum WindowCheck {
  ACCEPT = 0,
  IGNORE = 1,
  INVALID = 2,
}

/** Sets a direction's window, scale and flags from its SYN or SYN/ACK. */
function initDirection(words: Int32Array, own: number, other: number, direction: number): void {
  const s = segmentFields;
  words[own + Tcp.END] = s.end;
  words[own + Tcp.MAXEND] = s.end;
  words[own + Tcp.MAXWIN] = s.win === 0 ? 1 : s.win;
  if (parseOptions()) {
    const liberal = (words[own + Tcp.SCALE_FLAGS] >>> 8) & IP_CT_TCP_FLAG_BE_LIBERAL;
    words[own + Tcp.SCALE_FLAGS] = synOptions.scale | ((synOptions.flags | liberal) << 8);
  }
  // Scaling is on only if both SYNs offered it (RFC 7323 section 2.2, spec/conntrack C-303).
  const both = (words[own + Tcp.SCALE_FLAGS] & words[other + Tcp.SCALE_FLAGS]) >>> 8;
  if (direction === 1 && (both & IP_CT_TCP_FLAG_WINDOW_SCALE) === 0) {
    words[own + Tcp.SCALE_FLAGS] &= ~0xff;
    words[other + Tcp.SCALE_FLAGS] &= ~0xff;
  }
}

/**
 * Checks whether the segment is in the window and moves the windows on (spec/conntrack C-295 to C-299). HOT PATH: one function,
 * because its values are shared throughout.
 * @param own first word of the sender's direction
 * @param other first word of the receiver's
 */
export function inWindow(
  words: Int32Array,
  entry: number,
  own: number,
  other: number,
  direction: number,
  seqOffset: number,
  options: ConntrackOptions,
): WindowCheck {
  const s = segmentFields;
  const isSyn = (s.flags & tcp.SYN) !== 0;
  const isAck = (s.flags & tcp.ACK_FLAG) !== 0;
  const state = words[entry + Tcp.STATE] & 0xff;
  let { seq, end, ack, win } = s;
  let sack = ack;
  if ((words[other + Tcp.SCALE_FLAGS] & (IP_CT_TCP_FLAG_SACK_PERM << 8)) !== 0) sack = highestSack(sack);
  ack = (ack - seqOffset) | 0;
  sack = (sack - seqOffset) | 0;

  if (words[own + Tcp.MAXWIN] === 0) {
    if (isSyn) {
      initDirection(words, own, other, direction);
      if (!isAck) return WindowCheck.ACCEPT;
    } else {
      // Picked up in the middle: the segment's own numbers are taken.
      const scaled = win << (words[own + Tcp.SCALE_FLAGS] & 0xff);
      words[own + Tcp.END] = end;
      words[own + Tcp.MAXWIN] = scaled === 0 ? 1 : scaled;
      words[own + Tcp.MAXEND] = end + words[own + Tcp.MAXWIN];
      if (words[other + Tcp.MAXWIN] === 0) {
        words[other + Tcp.END] = sack;
        words[other + Tcp.MAXEND] = sack;
      } else if (sack === ((words[other + Tcp.END] + 1) | 0)) {
        // Answer to a keepalive that was not seen.
        words[other + Tcp.END] = sack;
      }
    }
  } else if (
    isSyn &&
    seqAfter(end, words[own + Tcp.END]) &&
    (state === TCP_CONNTRACK_SYN_SENT || state === TCP_CONNTRACK_SYN_RECV)
  ) {
    initDirection(words, own, other, direction);
    if (direction === 1 && !isAck) return WindowCheck.ACCEPT;
  }

  // Without ACK, and for stacks that leave the number 0 in RST/ACK: as if all had been acknowledged.
  if (!isAck || ((s.flags & tcp.RST) !== 0 && ack === 0)) {
    ack = words[other + Tcp.END];
    sack = ack;
  }
  if ((s.flags & tcp.RST) !== 0 && seq === 0 && state === TCP_CONNTRACK_SYN_SENT) {
    seq = words[own + Tcp.END];
    end = seq;
  }

  const ownEnd = words[own + Tcp.END];
  const maxEnd = words[own + Tcp.MAXEND];
  const otherEnd = words[other + Tcp.END];
  const otherWin = words[other + Tcp.MAXWIN];
  const ackBound = (otherEnd - Math.max(words[own + Tcp.MAXWIN] >>> 0, ACK_WINDOW) - 1) | 0;
  const liberal = (words[own + Tcp.SCALE_FLAGS] & (IP_CT_TCP_FLAG_BE_LIBERAL << 8)) !== 0 || options.tcpBeLiberal;
  const seqInWindow = seqAfter(end, (ownEnd - otherWin - 1) | 0);

  if (seqAfter(seq, maxEnd)) {
    const overshoot = (end - maxEnd + 1) >>> 0;
    if (
      otherWin !== 0 &&
      seqInWindow &&
      seqAfter(sack, ackBound) &&
      overshoot <= otherWin >>> 0 &&
      !seqAfter(sack, otherEnd)
    ) {
      // More than the receiver allowed: if it takes the data all the same, its acknowledgment must not look invalid.
      words[own + Tcp.END] = end;
      words[own + Tcp.SCALE_FLAGS] |= IP_CT_TCP_FLAG_DATA_UNACKNOWLEDGED << 8;
      return liberal ? WindowCheck.ACCEPT : WindowCheck.IGNORE;
    }
    return liberal ? WindowCheck.ACCEPT : WindowCheck.INVALID;
  }
  if (seqAfter(sack, otherEnd)) return liberal ? WindowCheck.ACCEPT : WindowCheck.INVALID;
  if (otherWin !== 0 && !seqInWindow) return liberal ? WindowCheck.ACCEPT : WindowCheck.IGNORE;
  if (!seqAfter(sack, ackBound)) return liberal ? WindowCheck.ACCEPT : WindowCheck.IGNORE;

  if (!isSyn) win <<= words[own + Tcp.SCALE_FLAGS] & 0xff;
  const window = (win + (sack - ack)) >>> 0;
  if (words[own + Tcp.MAXWIN] >>> 0 < window) words[own + Tcp.MAXWIN] = window;
  if (seqAfter(end, ownEnd)) {
    words[own + Tcp.END] = end;
    words[own + Tcp.SCALE_FLAGS] |= IP_CT_TCP_FLAG_DATA_UNACKNOWLEDGED << 8;
  }
  if (isAck) {
    const known = (words[own + Tcp.SCALE_FLAGS] & (IP_CT_TCP_FLAG_MAXACK_SET << 8)) !== 0;
    if (!known) words[own + Tcp.SCALE_FLAGS] |= IP_CT_TCP_FLAG_MAXACK_SET << 8;
    if (!known || seqAfter(ack, words[own + Tcp.MAXACK])) words[own + Tcp.MAXACK] = ack;
  }
  if (otherWin !== 0 && seqAfter(end, maxEnd)) words[other + Tcp.MAXWIN] = otherWin + (end - maxEnd);
  if (!seqBefore((sack + win) | 0, words[other + Tcp.MAXEND])) {
    words[other + Tcp.MAXEND] = sack + win + (win === 0 ? 1 : 0);
  }
  if (ack === words[other + Tcp.END]) words[other + Tcp.SCALE_FLAGS] &= ~(IP_CT_TCP_FLAG_DATA_UNACKNOWLEDGED << 8);

  if (s.class === SegmentClass.ACK) countRetransmission(words, entry, direction, seq, ack, end);
  return WindowCheck.ACCEPT;
}

/** Counts retransmissions of one segment: from tcp_max_retrans on the timeout is shorter (spec/conntrack C-307). */
function countRetransmission(
  words: Int32Array,
  entry: number,
  direction: number,
  seq: number,
  ack: number,
  end: number,
): void {
  const tracking = words[entry + Tcp.STATE];
  const rawWin = segmentFields.win;
  if (
    ((tracking >>> 16) & 0xff) === direction &&
    words[entry + Tcp.LAST_SEQ] === seq &&
    words[entry + Tcp.LAST_ACK] === ack &&
    words[entry + Tcp.LAST_END] === end &&
    (words[entry + Tcp.LAST_WIN] & 0xffff) === rawWin
  ) {
    words[entry + Tcp.STATE] = (tracking & 0x00ff_ffff) | ((((tracking >>> 24) + 1) & 0xff) << 24);
    return;
  }
  words[entry + Tcp.STATE] = (tracking & 0x0000_ffff) | (direction << 16);
  words[entry + Tcp.LAST_SEQ] = seq;
  words[entry + Tcp.LAST_ACK] = ack;
  words[entry + Tcp.LAST_END] = end;
  words[entry + Tcp.LAST_WIN] = (words[entry + Tcp.LAST_WIN] & 0xffff_0000) | rawWin;
}
