import * as tcp from "../../../packet/tcp.ts";
import {
  IP_CT_TCP_FLAG_BE_LIBERAL,
  IPS_ASSURED,
  TCP_CONNTRACK_CLOSE,
  TCP_CONNTRACK_ESTABLISHED,
  TCP_CONNTRACK_FIN_WAIT,
  TCP_CONNTRACK_TIME_WAIT,
} from "../../../uapi/nfnetlink.ts";
import { E, Tcp } from "../../layout.ts";

/**
 * The TCP state machine (spec/conntrack section 16), and what the rest of connection tracking asks about states.
 */

/** Class of a segment by its flags, in order of precedence (spec/conntrack C-272). */
export const enum SegmentClass {
  SYN = 0,
  SYNACK = 1,
  FIN = 2,
  ACK = 3,
  RST = 4,
  NONE = 5,
}

/** Entries of TRANSITIONS that are no state: the segment is ignored, or invalid. */
export const enum Transition {
  IGNORE = 10,
  INVALID = 11,
}

/**
 * New state by direction, class and old state; columns NONE, SS, SR, ES, FW, CW, LA, TW, CL, S2 (spec/conntrack C-273
 * to C-283).
 */
export const TRANSITIONS = Uint8Array.from(
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
    .map((cell) => (cell === "i" ? Transition.IGNORE : cell === "-" ? Transition.INVALID : Number(cell))),
);

/** Dimensions of TRANSITIONS. */
export const enum Dimension {
  STATES = 10,
  CLASSES = 6,
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

/** Class of a segment by its flags. */
export function classify(flags: number): SegmentClass {
  if ((flags & tcp.RST) !== 0) return SegmentClass.RST;
  if ((flags & tcp.SYN) !== 0) return (flags & tcp.ACK_FLAG) !== 0 ? SegmentClass.SYNACK : SegmentClass.SYN;
  if ((flags & tcp.FIN) !== 0) return SegmentClass.FIN;
  return (flags & tcp.ACK_FLAG) !== 0 ? SegmentClass.ACK : SegmentClass.NONE;
}

/** Whether a connection in this state no longer counts against connection limits (spec/conntrack C-364). */
export function isFinished(state: number): boolean {
  return state === TCP_CONNTRACK_TIME_WAIT || state === TCP_CONNTRACK_CLOSE;
}
