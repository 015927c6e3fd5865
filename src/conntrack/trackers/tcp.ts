import * as tcp from "../../packet/tcp.ts";
import {
  IP_CT_EXP_CHALLENGE_ACK,
  IP_CT_TCP_FLAG_BE_LIBERAL,
  IP_CT_TCP_FLAG_CLOSE_INIT,
  IP_CT_TCP_FLAG_DATA_UNACKNOWLEDGED,
  IP_CT_TCP_FLAG_MAXACK_SET,
  IP_CT_TCP_FLAG_SACK_PERM,
  IP_CT_TCP_FLAG_WINDOW_SCALE,
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
} from "../../uapi/nfnetlink.ts";
import { E, Tcp } from "../layout.ts";
import { type ConntrackOptions, TCP_RETRANS, TCP_UNACK } from "../options.ts";
import { type Tracked, Verdict } from "./verdict.ts";

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

/** Class of a segment by its flags, in order of precedence (spec/conntrack C-272). */
const enum Class {
  SYN = 0,
  SYNACK = 1,
  FIN = 2,
  ACK = 3,
  RST = 4,
  NONE = 5,
}

const IGNORE = 10;
const INVALID = 11;

/**
 * New state by direction, class and old state; columns NONE, SS, SR, ES, FW, CW, LA, TW, CL, S2 (spec/conntrack C-273
 * to C-283).
 */
const TRANSITIONS = Uint8Array.from(
  [
    "11iiiii119", // original SYN
    "--2------2",
    "--4466678-",
    "3-3355778-",
    "-888888888",
    "----------",
    "-9-----1-9", // reply SYN
    "-2iiiiiii2",
    "--4466678-",
    "-i2355778i",
    "-888888888",
    "----------",
  ]
    .join("")
    .split("")
    .map((cell) => (cell === "i" ? IGNORE : cell === "-" ? INVALID : Number(cell))),
);
const STATES = 10;
const CLASSES = 6;

/** Valid combinations of flags, PSH, ECE and CWR aside (spec/conntrack C-290). */
const VALID_FLAGS = new Uint8Array(64);
for (const flags of [
  tcp.SYN,
  tcp.SYN | tcp.URG,
  tcp.SYN | tcp.ACK_FLAG,
  tcp.RST,
  tcp.RST | tcp.ACK_FLAG,
  tcp.FIN | tcp.ACK_FLAG,
  tcp.FIN | tcp.ACK_FLAG | tcp.URG,
  tcp.ACK_FLAG,
  tcp.ACK_FLAG | tcp.URG,
]) {
  VALID_FLAGS[flags] = 1;
}

/** Acknowledgments may lag behind by this much, or by the sender's window if it is larger. */
const ACK_WINDOW = 66000;
const MAX_SCALE = 14;

const before = (a: number, b: number): boolean => ((a - b) | 0) < 0;
const after = (a: number, b: number): boolean => ((b - a) | 0) < 0;

/** Result of the window check. */
const enum Window {
  ACCEPT = 0,
  IGNORE = 1,
  INVALID = 2,
}

/** Fields of the segment in hand: one object for the module, so that no packet allocates one. */
const segment = {
  view: new DataView(new ArrayBuffer(0)) as DataView,
  l4: 0,
  headerLength: 0,
  flags: 0,
  class: 0,
  seq: 0,
  ack: 0,
  win: 0,
  end: 0,
};

/** Options of a SYN, as parseOptions() leaves them. */
let optionScale = 0;
let optionFlags = 0;

/**
 * Whether the header is valid: long enough, within the segment, a valid combination of flags (spec/conntrack C-290, C-291).
 * @param length bytes from l4 to the end of the packet
 */
export function tcpHeaderValid(view: DataView, l4: number, length: number): boolean {
  if (length < tcp.HEADER_LEN) return false;
  const header = tcp.headerLength(view, l4);
  if (header < tcp.HEADER_LEN || header > length) return false;
  return VALID_FLAGS[tcp.flags(view, l4) & 0x37] !== 0;
}

/**
 * Tracks one segment of a connection. Preconditions: tcpHeaderValid, checksum verified. HOT PATH: eleven scalar parameters
 * and one long function, because an object for them would be allocated or shared state for every packet.
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
  const s = segment;
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
  let newState = TRANSITIONS[(direction * CLASSES + s.class) * STATES + oldState];
  let checkWindow = true;

  if (newState === INVALID) return Verdict.INVALID;
  if (newState === TCP_CONNTRACK_SYN_SENT && oldState >= TCP_CONNTRACK_TIME_WAIT) {
    const closed = ((words[own + Tcp.SCALE_FLAGS] | words[other + Tcp.SCALE_FLAGS]) >>> 8) & IP_CT_TCP_FLAG_CLOSE_INIT;
    if (closed !== 0 || (lastDirection === direction && lastClass === Class.RST)) return Verdict.REPEAT;
    newState = IGNORE;
  }
  if (newState === IGNORE) {
    if (
      s.class !== Class.SYNACK ||
      lastClass !== Class.SYN ||
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
      s.class === Class.ACK &&
      lastDirection !== direction &&
      lastClass === Class.SYN &&
      (lastFlags(words, entry) & IP_CT_EXP_CHALLENGE_ACK) !== 0
    ) {
      setLastFlags(words, entry, lastFlags(words, entry) & ~IP_CT_EXP_CHALLENGE_ACK);
      return Verdict.IGNORE;
    }
  } else if (newState === TCP_CONNTRACK_SYN_SENT2) {
    setLastFlags(words, entry, lastFlags(words, entry) | IP_CT_TCP_SIMULTANEOUS_OPEN);
  } else if (newState === TCP_CONNTRACK_SYN_RECV) {
    if (direction === 1 && s.class === Class.ACK && (lastFlags(words, entry) & IP_CT_TCP_SIMULTANEOUS_OPEN) !== 0) {
      newState = TCP_CONNTRACK_ESTABLISHED;
    }
  } else if (newState === TCP_CONNTRACK_CLOSE && s.class === Class.RST) {
    if (isClosing(oldState)) checkWindow = false;
    else {
      const otherFlags = words[other + Tcp.SCALE_FLAGS] >>> 8;
      let decided = false;
      if ((otherFlags & IP_CT_TCP_FLAG_MAXACK_SET) !== 0 && lastClass !== Class.SYN) {
        const established = isEstablished(words, entry);
        const maxAck = words[other + Tcp.MAXACK];
        if (s.seq === 0 && !established) decided = true;
        else if (before(s.seq, maxAck) && !options.tcpIgnoreInvalidRst) return Verdict.INVALID;
        else if (
          !established ||
          s.seq === maxAck ||
          (lastClass === Class.ACK && lastDirection === direction && s.seq === words[entry + Tcp.LAST_END])
        ) {
          decided = true;
        } else newState = oldState;
      }
      if (!decided) {
        const answersIgnored =
          ((status & IPS_SEEN_REPLY) !== 0 && lastClass === Class.SYN && lastDirection !== direction) ||
          ((status & IPS_ASSURED) === 0 && lastClass === Class.ACK);
        if (answersIgnored && s.ack === words[entry + Tcp.LAST_END]) checkWindow = false;
        else if (
          oldState === TCP_CONNTRACK_SYN_SENT &&
          lastClass === Class.ACK &&
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
    if (verdict === Window.IGNORE) return Verdict.IGNORE;
    if (verdict === Window.INVALID) {
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
    ((s.class === Class.RST && newState === TCP_CONNTRACK_ESTABLISHED) || unacked) &&
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
    if (s.class === Class.SYN && oldState === TCP_CONNTRACK_SYN_SENT) return Verdict.IGNORE;
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

/** Whether a connection is ESTABLISHED and ASSURED: OVS makes such ones liberal (spec/conntrack C-127, C-311). */
export function isEstablished(words: Int32Array, entry: number): boolean {
  return (
    (words[entry + Tcp.STATE] & 0xff) === TCP_CONNTRACK_ESTABLISHED && (words[entry + E.STATUS] & IPS_ASSURED) !== 0
  );
}

/** Makes the tracker accept out-of-window segments of this connection from now on. */
export function setLiberal(words: Int32Array, entry: number): void {
  words[entry + Tcp.SCALE_FLAGS] |= IP_CT_TCP_FLAG_BE_LIBERAL << 8;
  words[entry + Tcp.SCALE_FLAGS + Tcp.DIRECTION] |= IP_CT_TCP_FLAG_BE_LIBERAL << 8;
}

/**
 * Whether a state is one of closing: evictable although assured (spec/conntrack C-259), and any RST is accepted.
 */
export function isClosing(state: number): boolean {
  return state >= TCP_CONNTRACK_FIN_WAIT && state <= TCP_CONNTRACK_CLOSE;
}

function classify(flags: number): Class {
  if ((flags & tcp.RST) !== 0) return Class.RST;
  if ((flags & tcp.SYN) !== 0) return (flags & tcp.ACK_FLAG) !== 0 ? Class.SYNACK : Class.SYN;
  if ((flags & tcp.FIN) !== 0) return Class.FIN;
  return (flags & tcp.ACK_FLAG) !== 0 ? Class.ACK : Class.NONE;
}

const lastFlags = (words: Int32Array, entry: number): number => words[entry + Tcp.LAST_WIN] >>> 24;
function setLastFlags(words: Int32Array, entry: number, flags: number): void {
  words[entry + Tcp.LAST_WIN] = (words[entry + Tcp.LAST_WIN] & 0x00ff_ffff) | (flags << 24);
}

/** Sets up a connection from its first segment: a SYN, or any with tcp_loose (spec/conntrack C-292 to C-294). */
function initConnection(words: Int32Array, entry: number, options: ConntrackOptions): boolean {
  const s = segment;
  const state = TRANSITIONS[s.class * STATES + TCP_CONNTRACK_NONE];
  if (state >= IGNORE || (state !== TCP_CONNTRACK_SYN_SENT && !options.tcpLoose)) return false;
  words.fill(0, entry + E.PROTO, entry + Tcp.LAST_WIN + 1);
  const win = s.win === 0 ? 1 : s.win;
  words[entry + Tcp.END] = s.end;
  words[entry + Tcp.MAXWIN] = win;
  words[entry + Tcp.STATE] = Class.NONE << 8;
  if (state === TCP_CONNTRACK_SYN_SENT) {
    words[entry + Tcp.MAXEND] = s.end;
    if (parseOptions()) words[entry + Tcp.SCALE_FLAGS] = optionScale | (optionFlags << 8);
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
  const s = segment;
  const tracking = words[entry + Tcp.STATE];
  words[entry + Tcp.STATE] = (tracking & 0xff00_00ff) | (s.class << 8) | (direction << 16);
  words[entry + Tcp.LAST_SEQ] = s.seq;
  words[entry + Tcp.LAST_END] = s.end;
  let win = (words[entry + Tcp.LAST_WIN] & 0xffff_0000) | s.win;
  if (s.class === Class.SYN && direction === 0) {
    let flags = 0;
    let scale = 0;
    if (parseOptions()) {
      scale = optionScale;
      flags = optionFlags;
    }
    if (state === TCP_CONNTRACK_LAST_ACK) flags |= IP_CT_EXP_CHALLENGE_ACK;
    win = s.win | (scale << 16) | (flags << 24);
  }
  words[entry + Tcp.LAST_WIN] = win;
  if (state === TCP_CONNTRACK_SYN_SENT && s.class === Class.ACK && direction === 1) words[entry + Tcp.LAST_ACK] = s.ack;
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

/** Sets a direction's window, scale and flags from its SYN or SYN/ACK. */
function initDirection(words: Int32Array, own: number, other: number, direction: number): void {
  const s = segment;
  words[own + Tcp.END] = s.end;
  words[own + Tcp.MAXEND] = s.end;
  words[own + Tcp.MAXWIN] = s.win === 0 ? 1 : s.win;
  if (parseOptions()) {
    const liberal = (words[own + Tcp.SCALE_FLAGS] >>> 8) & IP_CT_TCP_FLAG_BE_LIBERAL;
    words[own + Tcp.SCALE_FLAGS] = optionScale | ((optionFlags | liberal) << 8);
  }
  // Scaling is on only if both SYNs offered it (RFC 7323 section 2.2, spec/conntrack C-303).
  const both = (words[own + Tcp.SCALE_FLAGS] & words[other + Tcp.SCALE_FLAGS]) >>> 8;
  if (direction === 1 && (both & IP_CT_TCP_FLAG_WINDOW_SCALE) === 0) {
    words[own + Tcp.SCALE_FLAGS] &= ~0xff;
    words[other + Tcp.SCALE_FLAGS] &= ~0xff;
  }
}

/** The window check, which also moves the windows on (spec/conntrack C-295 to C-299). */
function inWindow(
  words: Int32Array,
  entry: number,
  own: number,
  other: number,
  direction: number,
  seqOffset: number,
  options: ConntrackOptions,
): Window {
  const s = segment;
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
      if (!isAck) return Window.ACCEPT;
    } else {
      // Picked up in the middle: take the segment's word for it.
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
    after(end, words[own + Tcp.END]) &&
    (state === TCP_CONNTRACK_SYN_SENT || state === TCP_CONNTRACK_SYN_RECV)
  ) {
    initDirection(words, own, other, direction);
    if (direction === 1 && !isAck) return Window.ACCEPT;
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
  const seqInWindow = after(end, (ownEnd - otherWin - 1) | 0);

  if (after(seq, maxEnd)) {
    const overshoot = (end - maxEnd + 1) >>> 0;
    if (
      otherWin !== 0 &&
      seqInWindow &&
      after(sack, ackBound) &&
      overshoot <= otherWin >>> 0 &&
      !after(sack, otherEnd)
    ) {
      // More than the receiver allowed: if it takes the data all the same, its acknowledgment must not look invalid.
      words[own + Tcp.END] = end;
      words[own + Tcp.SCALE_FLAGS] |= IP_CT_TCP_FLAG_DATA_UNACKNOWLEDGED << 8;
      return liberal ? Window.ACCEPT : Window.IGNORE;
    }
    return liberal ? Window.ACCEPT : Window.INVALID;
  }
  if (after(sack, otherEnd)) return liberal ? Window.ACCEPT : Window.INVALID;
  if (otherWin !== 0 && !seqInWindow) return liberal ? Window.ACCEPT : Window.IGNORE;
  if (!after(sack, ackBound)) return liberal ? Window.ACCEPT : Window.IGNORE;

  if (!isSyn) win <<= words[own + Tcp.SCALE_FLAGS] & 0xff;
  const window = (win + (sack - ack)) >>> 0;
  if (words[own + Tcp.MAXWIN] >>> 0 < window) words[own + Tcp.MAXWIN] = window;
  if (after(end, ownEnd)) {
    words[own + Tcp.END] = end;
    words[own + Tcp.SCALE_FLAGS] |= IP_CT_TCP_FLAG_DATA_UNACKNOWLEDGED << 8;
  }
  if (isAck) {
    const known = (words[own + Tcp.SCALE_FLAGS] & (IP_CT_TCP_FLAG_MAXACK_SET << 8)) !== 0;
    if (!known) words[own + Tcp.SCALE_FLAGS] |= IP_CT_TCP_FLAG_MAXACK_SET << 8;
    if (!known || after(ack, words[own + Tcp.MAXACK])) words[own + Tcp.MAXACK] = ack;
  }
  if (otherWin !== 0 && after(end, maxEnd)) words[other + Tcp.MAXWIN] = otherWin + (end - maxEnd);
  if (!before((sack + win) | 0, words[other + Tcp.MAXEND])) {
    words[other + Tcp.MAXEND] = sack + win + (win === 0 ? 1 : 0);
  }
  if (ack === words[other + Tcp.END]) words[other + Tcp.SCALE_FLAGS] &= ~(IP_CT_TCP_FLAG_DATA_UNACKNOWLEDGED << 8);

  if (s.class === Class.ACK) countRetransmission(words, entry, direction, seq, ack, end);
  return Window.ACCEPT;
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
  const rawWin = segment.win;
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
  if (segment.class !== Class.RST && segment.class !== Class.FIN) return;
  const tracking = words[entry + Tcp.STATE];
  const lastClass = (tracking >>> 8) & 0xff;
  if (((tracking >>> 16) & 0xff) !== direction && (lastClass === Class.FIN || lastClass === Class.RST)) {
    if (left >= 120_000 && left > timeouts[TCP_UNACK]) result.timeout = timeouts[TCP_UNACK];
    return;
  }
  words[entry + Tcp.STATE] = (tracking & 0xff00_00ff) | (segment.class << 8) | (direction << 16);
}

/** Reads window scale and SACK-permitted of a SYN. @returns false if the segment has no options: nothing was set */
function parseOptions(): boolean {
  const { view } = segment;
  const start = segment.l4 + tcp.HEADER_LEN;
  const end = segment.l4 + segment.headerLength;
  optionScale = 0;
  optionFlags = 0;
  if (start === end) return false;
  for (let at = tcp.nextOption(view, start, end); at >= 0; ) {
    const kind = view.getUint8(at);
    const size = view.getUint8(at + 1);
    if (kind === tcp.OPT_SACK_PERMITTED && size === 2) optionFlags |= IP_CT_TCP_FLAG_SACK_PERM;
    else if (kind === tcp.OPT_WINDOW_SCALE && size === 3) {
      optionScale = Math.min(view.getUint8(at + 2), MAX_SCALE);
      optionFlags |= IP_CT_TCP_FLAG_WINDOW_SCALE;
    }
    at = tcp.nextOption(view, at + size, end);
  }
  return true;
}

/** The highest right edge of the SACK blocks, or `sack` (RFC 2018). */
function highestSack(sack: number): number {
  const { view } = segment;
  const end = segment.l4 + segment.headerLength;
  for (let at = tcp.nextOption(view, segment.l4 + tcp.HEADER_LEN, end); at >= 0; ) {
    const size = view.getUint8(at + 1);
    if (tcp.isSack(view, at)) {
      for (let block = at + 2; block < at + size; block += 8) {
        const edge = view.getInt32(block + 4);
        if (after(edge, sack)) sack = edge;
      }
      break;
    }
    at = tcp.nextOption(view, at + size, end);
  }
  return sack;
}

/** Whether a connection in this state no longer counts against connection limits (spec/conntrack C-364). */
export function isFinished(state: number): boolean {
  return state === TCP_CONNTRACK_TIME_WAIT || state === TCP_CONNTRACK_CLOSE;
}
