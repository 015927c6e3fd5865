import { IPCT_PROTOINFO, IPS_ASSURED, IPS_CONFIRMED, IPS_SEEN_REPLY } from "../../uapi/nfnetlink.ts";
import { Dccp, E } from "../layout.ts";
import { type Tracked, Verdict } from "./verdict.ts";

/** Packet types (RFC 4340 section 5.1). */
const enum Type {
  REQUEST = 0,
  RESPONSE = 1,
  DATA = 2,
  ACK = 3,
  CLOSEREQ = 5,
  RESET = 7,
  /** The first reserved one. */
  INVALID = 10,
}

/** States, as enum ct_dccp_states. */
const REQUEST = 1;
const RESPOND = 2;
const PARTOPEN = 3;
const CLOSEREQ = 5;
const TIMEWAIT = 7;
const IGNORE = 8;
const INVALID = 9;

/** The header up to the low sequence bits, which follow where the X bit is set. */
const HEADER_LEN = 12;
const LONG_SEQ_LEN = 4;
/** What each type adds: service code, acknowledgment, or both; a reset has its code and data. */
const MORE = Uint8Array.of(4, 12, 0, 8, 8, 8, 8, 12, 8, 8);
/** Types that must carry all 48 bits of the sequence number. */
const LONG = 0b11_1110_0011;

const STATES = 8;
const TYPES = 10;
/**
 * New state by sender's role (client, server), type and old state; columns NONE, RQ, RS, PO, OP, CR, CG, TW
 * (spec/conntrack C-333).
 */
const TRANSITIONS = Uint8Array.from(
  [
    "112iiii1", // client: request
    "-iiiiii-",
    "----456-",
    "--33456-",
    "--33456-",
    "--------",
    "---666--",
    "-777777i",
    "-iiiiiii",
    "-iiiiiii",
    "-iiiiii1", // server: request
    "-22iiii-",
    "---44-6-",
    "---44-6-",
    "---44-6-",
    "---5555-",
    "---66-6-",
    "-7777777",
    "-iiiiiii",
    "-iiiiiii",
  ]
    .join("")
    .split("")
    .map((cell) => (cell === "i" ? IGNORE : cell === "-" ? INVALID : Number(cell))),
);

const typeOf = (view: DataView, l4: number): number => (view.getUint8(l4 + 8) >> 1) & 15;
const isLong = (view: DataView, l4: number): boolean => (view.getUint8(l4 + 8) & 1) !== 0;

/** Bytes from `l4` on that the checksum covers; -1 if the packet has fewer (RFC 4340 section 9.2). */
export function dccpCoverage(view: DataView, l4: number, length: number): number {
  const coverage = view.getUint8(l4 + 5) & 15;
  if (coverage === 0) return length;
  const covered = (coverage - 1) * 4;
  return covered > length ? -1 : covered;
}

/** Whether the header is valid, its checksum aside. @param length bytes from l4 to the end of the packet */
export function dccpHeaderValid(view: DataView, l4: number, length: number): boolean {
  if (length < HEADER_LEN) return false;
  const header = view.getUint8(l4 + 4) * 4;
  if (header < HEADER_LEN || header > length || dccpCoverage(view, l4, length) < 0) return false;
  const type = typeOf(view, l4);
  if (type >= Type.INVALID || (((LONG >> type) & 1) !== 0 && !isLong(view, l4))) return false;
  return HEADER_LEN + (isLong(view, l4) ? LONG_SEQ_LEN : 0) + MORE[type] <= length;
}

/** Whether a full table may evict a connection in this state although it is assured (spec/conntrack C-259). */
export const isDccpClosing = (state: number): boolean => state >= CLOSEREQ && state <= TIMEWAIT;

/** The DCCP tracker (RFC 4340 section 4.3; spec/conntrack C-333). Precondition: dccpHeaderValid, checksum verified. */
export function trackDccp(
  words: Int32Array,
  entry: number,
  direction: number,
  view: DataView,
  l4: number,
  timeouts: Int32Array,
  result: Tracked,
): Verdict {
  const type = typeOf(view, l4);
  const status = words[entry + E.STATUS];
  if ((status & IPS_CONFIRMED) === 0) {
    if (type !== Type.REQUEST) return Verdict.INVALID;
    words.fill(0, entry + E.PROTO, entry + Dccp.STATE + 1);
  }
  if (type === Type.RESET && (status & IPS_SEEN_REPLY) === 0) return Verdict.KILL;

  const serverIsOriginal = words[entry + Dccp.ROLE];
  const role = direction ^ serverIsOriginal;
  const old = words[entry + Dccp.STATE];
  const last = words[entry + Dccp.LAST];
  let state = TRANSITIONS[(role * TYPES + type) * STATES + old];
  if (state === INVALID) return Verdict.INVALID;
  if (state === IGNORE) {
    const answersRequest = type === Type.RESPONSE && last === ((Type.REQUEST << 1) | (1 - direction));
    if (!answersRequest) {
      words[entry + Dccp.LAST] = (type << 1) | direction;
      return Verdict.IGNORE;
    }
    // The ends have opened a new connection, which the tracker missed until this response.
    words[entry + Dccp.ROLE] = 1 - direction;
    recordHandshake(words, entry, view, l4);
    state = RESPOND;
  } else if (state === REQUEST) {
    if (old === TIMEWAIT && role === 1) words[entry + Dccp.ROLE] = direction;
  } else if (state === RESPOND) {
    if (old === REQUEST) recordHandshake(words, entry, view, l4);
  } else if (state === PARTOPEN && old === RESPOND && type === Type.ACK) {
    const ack = l4 + HEADER_LEN + (isLong(view, l4) ? LONG_SEQ_LEN : 0);
    if (
      view.getUint16(ack + 2) === words[entry + Dccp.HANDSHAKE_HIGH] &&
      view.getInt32(ack + 4) === words[entry + Dccp.HANDSHAKE_LOW]
    ) {
      words[entry + E.STATUS] |= IPS_ASSURED;
    }
  }
  words[entry + Dccp.LAST] = (type << 1) | direction;
  words[entry + Dccp.STATE] = state;
  if (state !== old) result.events |= 1 << IPCT_PROTOINFO;
  result.timeout = timeouts[state];
  return Verdict.ACCEPT;
}

/** Records the sequence number of a response, which the client must acknowledge: 48 bits. */
function recordHandshake(words: Int32Array, entry: number, view: DataView, l4: number): void {
  words[entry + Dccp.HANDSHAKE_HIGH] = view.getUint16(l4 + 10);
  words[entry + Dccp.HANDSHAKE_LOW] = view.getInt32(l4 + HEADER_LEN);
}
