import { IpProto } from "../../../packet/ip.ts";
import type { Packet } from "../../../packet/packet.ts";
import * as tcp from "../../../packet/tcp.ts";
import { IP_CT_ESTABLISHED, IP_CT_ESTABLISHED_REPLY, IP_CT_IS_REPLY } from "../../../uapi/nfnetlink.ts";
import { E } from "../../layout.ts";
import type { Helper, HelperContext } from "../helper.ts";
import { tcpPayload, udpPayload } from "../payload.ts";
import { CALL_HELPER, CONTROL_HELPER, call, callFunctions } from "./call.ts";
import { h323UserInformation, rasMessage } from "./h225-syntax.ts";
import { Message, RTP_CHANNELS, SPARE, setHalf } from "./message.ts";
import { decodePer, type Value } from "./per.ts";
import { REGISTRATION_HELPER, registration } from "./registration.ts";

/**
 * H.323: an end registers with its gatekeeper (RAS, UDP port 1719), calls are set up by Q.931 messages (TCP port 1720),
 * channels are agreed upon in H.245 messages, on a connection of their own or inside those. Messages are in packed
 * encoding; whatever cannot be decoded passes untouched. Addresses are translated in place, IPv4 only: the length of a
 * message never changes.
 */

/** Lifetime of an expectation. */
const TIMEOUT = 240_000;

// TPKT (RFC 1006): a version of 3, a reserved 0, be16 length with this header
const TPKT_LEN = 4;
const TPKT_VERSION = 0x0300;

/** Takes the messages of a segment one by one. A header may stand alone in the segment before. */
function eachTpkt(
  context: HelperContext,
  packet: Packet,
  l4: number,
  family: number,
  slot: number,
  direction: number,
): boolean {
  const { words } = context.table;
  const entry = slot * E.WORDS;
  const announced = (words[entry + SPARE] >>> (direction << 4)) & 0xffff;
  const begin = tcpPayload(packet, l4);
  packet.l4 = l4;
  const total = begin < 0 ? 0 : packet.off + packet.len - begin;
  for (let offset = 0; ; ) {
    // Handlers write into the packet, which may move.
    const { view, bytes } = packet.memory;
    const payload = packet.l4 + (total > 0 ? tcp.headerLength(view, packet.l4) : 0);
    const left = total - offset;
    const at = payload + offset;
    let header = TPKT_LEN;
    let length = 0;
    if (left >= TPKT_LEN && view.getUint16(at) === TPKT_VERSION) {
      if (offset > 0 && left === TPKT_LEN) break;
      length = view.getUint16(at + 2) - TPKT_LEN;
      if (length + TPKT_LEN > left && left === TPKT_LEN && length >= 0) {
        setHalf(words, entry + SPARE, direction, length);
        return true;
      }
    } else if (offset > 0) break;
    else {
      if (announced === 0) return true;
      header = 0;
      length = announced;
    }
    if (length < 0 || header + length > left) break;
    setHalf(words, entry + SPARE, direction, 0);
    const base = offset + header;
    const information = userInformation(bytes, payload + base, payload + base + length);
    if (information === undefined) return true;
    const message = new Message(context, packet, slot, direction, family, IpProto.TCP, base);
    if (!call(message, information)) return false;
    offset = base + length;
  }
  setHalf(words, entry + SPARE, direction, 0);
  return true;
}

// Q.931: a byte 8, length and bytes of the call reference, the message type, information elements of type, length, bytes
const PROTOCOL_DISCRIMINATOR = 0x08;
const USER_USER = 0x7e;

/** Finds the User-user information element, which has be16 length and a byte of its own, and decodes what it holds. */
function userInformation(bytes: Uint8Array, begin: number, end: number): Value | undefined {
  if (end - begin < 2 || bytes[begin] !== PROTOCOL_DISCRIMINATOR) return undefined;
  let at = begin + 2 + bytes[begin + 1];
  if (end - at < 2) return undefined;
  at++;
  if (bytes[at] >= 0x80) at++;
  while (at < end) {
    if (bytes[at] === USER_USER) {
      if (end - at < 3) return undefined;
      const length = (bytes[at + 1] << 8) | bytes[at + 2];
      at += 3;
      if (length < 1 || end - at < length) return undefined;
      return decodePer(h323UserInformation, bytes, at + 1, at + length, begin);
    }
    if (end - at < 2) return undefined;
    at += 2 + bytes[at + 1];
  }
  return undefined;
}

export const q931Helper: Helper = {
  name: CALL_HELPER,
  proto: IpProto.TCP,
  // A few for T.120 and H.245 besides.
  policies: [{ maxExpected: RTP_CHANNELS * 4 + 4, timeout: TIMEOUT }],
  expectFunctions: callFunctions,

  help(context: HelperContext, packet: Packet, l4: number, family: number, slot: number, ctInfo: number): boolean {
    if (ctInfo !== IP_CT_ESTABLISHED && ctInfo !== IP_CT_ESTABLISHED_REPLY) return true;
    return eachTpkt(context, packet, l4, family, slot, ctInfo === IP_CT_ESTABLISHED ? 0 : 1);
  },
};

/**
 * Expected H.245 connections have this one by name. It does nothing: Linux registers it for UDP, and a datapath calls
 * helpers for packets of their own protocol only. Logical channels are seen in fastStart and h245Control of Q.931.
 */
export const h245Helper: Helper = {
  name: CONTROL_HELPER,
  proto: IpProto.UDP,
  policies: [{ maxExpected: RTP_CHANNELS * 4 + 2, timeout: TIMEOUT }],

  help(): boolean {
    return true;
  },
};

export const rasHelper: Helper = {
  name: REGISTRATION_HELPER,
  proto: IpProto.UDP,
  policies: [{ maxExpected: 32, timeout: TIMEOUT }],

  help(context: HelperContext, packet: Packet, l4: number, family: number, slot: number, ctInfo: number): boolean {
    const begin = udpPayload(packet, l4);
    if (begin < 0) return true;
    const ras = decodePer(rasMessage, packet.memory.bytes, begin, packet.off + packet.len, begin);
    if (ras === undefined) return true;
    packet.l4 = l4;
    const direction = ctInfo >= IP_CT_IS_REPLY ? 1 : 0;
    return registration(new Message(context, packet, slot, direction, family, IpProto.UDP, 0), ras);
  },
};
