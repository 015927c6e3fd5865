import * as sctp from "../../packet/sctp.ts";
import {
  IPCT_ASSURED,
  IPCT_PROTOINFO,
  IPS_ASSURED,
  IPS_CONFIRMED,
  SCTP_CONNTRACK_CLOSED,
  SCTP_CONNTRACK_ESTABLISHED,
  SCTP_CONNTRACK_NONE,
  SCTP_CONNTRACK_SHUTDOWN_ACK_SENT,
  SCTP_CONNTRACK_SHUTDOWN_SENT,
} from "../../uapi/nfnetlink.ts";
import { E, Sctp } from "../layout.ts";
import { type Tracked, Verdict } from "./verdict.ts";

/** Chunk types (RFC 9260 section 3.2). */
const enum Chunk {
  DATA = 0,
  INIT = 1,
  INIT_ACK = 2,
  HEARTBEAT = 4,
  HEARTBEAT_ACK = 5,
  ABORT = 6,
  SHUTDOWN = 7,
  SHUTDOWN_ACK = 8,
  ERROR = 9,
  COOKIE_ECHO = 10,
  COOKIE_ACK = 11,
  SHUTDOWN_COMPLETE = 14,
}

const INVALID = 9;
const STATES = 9;
const ROWS = 11;

/** Row of the table by chunk type; -1 = the state stays (spec/conntrack C-358). */
const ROW = Int8Array.of(-1, 0, 1, -1, 9, 10, 2, 3, 4, 5, 6, 7, -1, -1, 8);

/**
 * New state by direction, chunk and old state; columns NONE, CL, CW, CE, ES, SS, SR, SA, HS (spec/conntrack C-336 to
 * C-357).
 */
const TRANSITIONS = Uint8Array.from(
  [
    "112341172", // original INIT
    "112345671", // INIT ACK
    "111111111", // ABORT
    "112355671", // SHUTDOWN
    "712347777", // SHUTDOWN ACK
    "112345671", // ERROR
    "113345671", // COOKIE ECHO
    "112445671", // COOKIE ACK
    "112345611", // SHUTDOWN COMPLETE
    "812345678", // HEARTBEAT
    "112345678", // HEARTBEAT ACK
    "-1234567-", // reply INIT
    "-2234567-",
    "-1111111-",
    "-1236567-",
    "-1234777-",
    "-1214567-",
    "-1334567-",
    "-1244567-",
    "-1234561-",
    "-12345678",
    "-12345674",
  ]
    .join("")
    .split("")
    .map((cell) => (cell === "-" ? INVALID : Number(cell))),
);

/** Flag of an ABORT or SHUTDOWN COMPLETE that carries the other side's tag. */
const FLAG_T = 1;
/** Bit in Sctp.LAST: a heartbeat came with a tag that was not expected. */
const HEARTBEAT_FAILED = 0x100;

const has = (map: number, chunk: Chunk): boolean => (map & (1 << chunk)) !== 0;

/** Whether a full table may evict an association in this state although it is assured (spec/conntrack C-259). */
export function isShuttingDown(state: number): boolean {
  return state >= SCTP_CONNTRACK_SHUTDOWN_SENT && state <= SCTP_CONNTRACK_SHUTDOWN_ACK_SENT;
}

function newState(direction: number, state: number, chunk: number): number {
  const row = chunk < ROW.length ? ROW[chunk] : -1;
  return row < 0 ? state : TRANSITIONS[(direction * ROWS + row) * STATES + state];
}

/**
 * The SCTP tracker (RFC 9260; spec/conntrack C-326 to C-331, C-336 to C-359): walks the chunks of a packet, checks
 * verification tags, and moves the state on with each.
 */
export function trackSctp(
  words: Int32Array,
  entry: number,
  direction: number,
  view: DataView,
  l4: number,
  length: number,
  timeouts: Int32Array,
  result: Tracked,
): Verdict {
  const end = l4 + length;
  const map = chunkMap(view, l4, end);
  if (map === 0) return Verdict.INVALID;
  const vtag = view.getInt32(l4 + sctp.VTAG);
  const confirmed = (words[entry + E.STATUS] & IPS_CONFIRMED) !== 0;
  if (!confirmed) {
    if (has(map, Chunk.ABORT) || has(map, Chunk.SHUTDOWN_COMPLETE) || has(map, Chunk.COOKIE_ACK))
      return Verdict.INVALID;
    if (!initAssociation(words, entry, view, l4, end, vtag)) return Verdict.INVALID;
  }
  const own = entry + Sctp.VTAG_ORIG + direction;
  const other = entry + Sctp.VTAG_ORIG + 1 - direction;
  if ((map & OWN_TAG_RULES) === 0 && vtag !== words[own]) return Verdict.INVALID;

  let ignore = false;
  let state = SCTP_CONNTRACK_NONE;
  for (let at = l4 + sctp.HEADER_LEN; at + sctp.CHUNK_HEADER_LEN <= end; at += chunkSize(view, at)) {
    const chunk = view.getUint8(at);
    switch (chunk) {
      case Chunk.INIT:
        if (vtag !== 0) return Verdict.INVALID;
        break;
      case Chunk.ABORT:
      case Chunk.SHUTDOWN_COMPLETE: {
        const mirrored = (view.getUint8(at + sctp.CHUNK_FLAGS) & FLAG_T) !== 0;
        if (vtag !== words[mirrored ? other : own]) return Verdict.INVALID;
        break;
      }
      case Chunk.COOKIE_ECHO:
        if (vtag !== words[own]) return Verdict.INVALID;
        break;
      case Chunk.COOKIE_ACK:
        words[entry + Sctp.INIT] = 0;
        break;
      case Chunk.HEARTBEAT:
        if (words[own] === 0) words[own] = vtag;
        else if (vtag !== words[own]) {
          if (has(map, Chunk.DATA) || ignore) return Verdict.INVALID;
          words[entry + Sctp.LAST] = HEARTBEAT_FAILED | direction;
          ignore = true;
          continue;
        } else words[entry + Sctp.LAST] &= ~HEARTBEAT_FAILED;
        break;
      case Chunk.HEARTBEAT_ACK:
        if (words[own] === 0) words[own] = vtag;
        else if (vtag !== words[own]) {
          const last = words[entry + Sctp.LAST];
          if (has(map, Chunk.DATA) || ignore) return Verdict.INVALID;
          if ((last & HEARTBEAT_FAILED) === 0 || (last & 1) === direction) return Verdict.INVALID;
          words[entry + Sctp.LAST] = last & ~HEARTBEAT_FAILED;
          words[own] = vtag;
          words[other] = 0;
        } else words[entry + Sctp.LAST] &= ~HEARTBEAT_FAILED;
        break;
    }
    const oldState = words[entry + Sctp.STATE];
    state = newState(direction, oldState, chunk);
    if (state === INVALID) return Verdict.INVALID;
    if (chunk === Chunk.INIT || chunk === Chunk.INIT_ACK) {
      // The initiate tag: the verification tag of the other direction.
      if (at + sctp.CHUNK_HEADER_LEN + INIT_LEN > end) return Verdict.INVALID;
      const tag = view.getInt32(at + sctp.CHUNK_HEADER_LEN);
      const mine = 1 << direction;
      const theirs = 2 >> direction;
      const seen = words[entry + Sctp.INIT];
      if (chunk === Chunk.INIT) {
        if (oldState === SCTP_CONNTRACK_NONE || words[other] !== tag) {
          words[entry + Sctp.INIT] = seen === 3 ? mine : seen | mine;
        }
        if (state === SCTP_CONNTRACK_CLOSED && oldState === SCTP_CONNTRACK_CLOSED && confirmed) ignore = true;
      } else {
        const known = words[other];
        if ((seen & theirs) === 0 && known !== 0 && known !== tag) return Verdict.INVALID;
        if (seen === 3 && known !== tag) return Verdict.INVALID;
      }
      words[other] = tag;
    }
    words[entry + Sctp.STATE] = state;
    if (oldState !== state) {
      result.events |= 1 << IPCT_PROTOINFO;
      if (state === SCTP_CONNTRACK_ESTABLISHED && (words[entry + E.STATUS] & IPS_ASSURED) === 0) {
        words[entry + E.STATUS] |= IPS_ASSURED;
        result.events |= 1 << IPCT_ASSURED;
      }
    }
  }
  result.timeout = state === SCTP_CONNTRACK_NONE ? timeouts[SCTP_CONNTRACK_CLOSED] : timeouts[state];
  return ignore ? Verdict.IGNORE : Verdict.ACCEPT;
}

/** Chunks that have their own rules for the verification tag. */
const OWN_TAG_RULES =
  (1 << Chunk.INIT) |
  (1 << Chunk.SHUTDOWN_COMPLETE) |
  (1 << Chunk.COOKIE_ECHO) |
  (1 << Chunk.ABORT) |
  (1 << Chunk.SHUTDOWN_ACK) |
  (1 << Chunk.HEARTBEAT) |
  (1 << Chunk.HEARTBEAT_ACK);

/** Initiate tag, window, streams, first TSN. */
const INIT_LEN = 16;

const chunkSize = (view: DataView, at: number): number => (view.getUint16(at + sctp.CHUNK_LENGTH) + 3) & ~3;

/**
 * Bits of the chunk types in a packet; those above 30 share one bit, which no rule asks for.
 * @returns 0 if the chunks are not valid: none at all, a length of 0, or a chunk that must be alone and is not
 *   (spec/conntrack C-359)
 */
function chunkMap(view: DataView, l4: number, end: number): number {
  let map = 0;
  let mustBeAlone = false;
  let count = 0;
  for (let at = l4 + sctp.HEADER_LEN; at + sctp.CHUNK_HEADER_LEN <= end; at += chunkSize(view, at), count++) {
    const chunk = view.getUint8(at);
    if (chunk === Chunk.INIT || chunk === Chunk.INIT_ACK || chunk === Chunk.SHUTDOWN_COMPLETE) mustBeAlone = true;
    const first = mustBeAlone || chunk === Chunk.COOKIE_ACK || chunk === Chunk.COOKIE_ECHO;
    if ((first && count !== 0) || view.getUint16(at + sctp.CHUNK_LENGTH) === 0) return 0;
    map |= 1 << Math.min(chunk, 30);
  }
  return map;
}

/** Sets up an association from its first packet (spec/conntrack C-327). */
function initAssociation(
  words: Int32Array,
  entry: number,
  view: DataView,
  l4: number,
  end: number,
  vtag: number,
): boolean {
  words.fill(0, entry + E.PROTO, entry + Sctp.STATE + 1);
  for (let at = l4 + sctp.HEADER_LEN; at + sctp.CHUNK_HEADER_LEN <= end; at += chunkSize(view, at)) {
    const chunk = view.getUint8(at);
    const state = newState(0, SCTP_CONNTRACK_NONE, chunk);
    if (state === SCTP_CONNTRACK_NONE || state === INVALID) return false;
    if (chunk === Chunk.INIT) {
      if (vtag !== 0 || at + sctp.CHUNK_HEADER_LEN + INIT_LEN > end) return false;
      words[entry + Sctp.VTAG_REPLY] = view.getInt32(at + sctp.CHUNK_HEADER_LEN);
    } else if (chunk === Chunk.HEARTBEAT) words[entry + Sctp.VTAG_ORIG] = vtag;
    else if (chunk === Chunk.SHUTDOWN_ACK) words[entry + Sctp.VTAG_REPLY] = vtag;
  }
  return true;
}
