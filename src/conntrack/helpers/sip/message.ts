import type { Packet } from "../../../packet/packet.ts";
import { IPS_NAT_MASK } from "../../../uapi/nfnetlink.ts";
import { E, T } from "../../layout.ts";
import { NatRange } from "../../nat-range.ts";
import { newTuple } from "../../tuple.ts";
import type { HelperContext } from "../helper.ts";
import { replace } from "../payload.ts";

/**
 * SIP (RFC 3261) over UDP and TCP: a registration expects calls from the registrar, an offer or answer in a session
 * description (RFC 4566) expects media and its control (RTP and RTCP, RFC 3550) from the other side of the signalling.
 * Under NAT the addresses of the message's own ends are translated wherever they occur.
 */

/** Words of the entry that belong to the helper: numbers of the last requests, and the port where a client with another listens. */
export const REGISTER_CSEQ = E.HELP;
export const INVITE_CSEQ = E.HELP + 1;
export const LISTEN_PORT = E.HELP + 2;

/** Shortest message that is looked into, in bytes. */
export const MIN_MESSAGE = "SIP/2.0 200".length;

/** Classes of expectations. */
export const enum ExpectClass {
  SIGNALLING = 0,
  AUDIO = 1,
  VIDEO = 2,
  IMAGE = 3,
}

/** The NAT range being set up. */
export const range = new NatRange();

/** A tuple being looked up. */
export const scratch = newTuple();

/** The message in hand: one packet's, or one of several in a TCP segment. */
export class SipMessage {
  constructor(
    readonly context: HelperContext,
    readonly packet: Packet,
    readonly slot: number,
    readonly direction: number,
    readonly family: number,
    readonly proto: number,
    /** Where it begins in the payload. */
    readonly base: number,
    public text: string,
  ) {}

  get words(): Int32Array {
    return this.context.table.words;
  }
  get entry(): number {
    return this.slot * E.WORDS;
  }
  /** Tuple of the sender's direction, and of the other. */
  get own(): number {
    return this.entry + (this.direction << E.DIR_SHIFT);
  }
  get other(): number {
    return this.entry + ((1 - this.direction) << E.DIR_SHIFT);
  }
  get isTranslated(): boolean {
    return (this.words[this.entry + E.STATUS] & IPS_NAT_MASK) !== 0;
  }
  get expectations(): HelperContext["expectations"] {
    return this.context.expectations;
  }

  sourcePort(at: number): number {
    return this.words[at + T.PORTS] >>> 16;
  }
  destinationPort(at: number): number {
    return this.words[at + T.PORTS] & 0xffff;
  }

  /** Replaces a piece of the message; over TCP the sequence numbers follow when all of the segment is done. */
  mangle(offset: number, length: number, by: string): boolean {
    if (!replace(this.packet, this.packet.l4, this.proto, this.base + offset, length, by)) return false;
    this.text = this.text.slice(0, offset) + by + this.text.slice(offset + length);
    return true;
  }
}

/** Removes the media expectations, or the newest of signalling. */
export function flush(message: SipMessage, media: boolean): void {
  const { expectations, slot } = message;
  for (const expectation of [...expectations.of(slot)].reverse()) {
    if ((expectation.class !== ExpectClass.SIGNALLING) !== media) continue;
    expectations.remove(expectation, 0, false);
    if (!media) return;
  }
}
