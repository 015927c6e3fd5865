import { IpProto } from "../../packet/ip.ts";
import type { Packet } from "../../packet/packet.ts";
import * as tcp from "../../packet/tcp.ts";
import * as udp from "../../packet/udp.ts";
import {
  IP_CT_ESTABLISHED,
  IP_CT_ESTABLISHED_REPLY,
  IP_CT_IS_REPLY,
  IPS_EXPECTED,
  IPS_NAT_MASK,
  NF_CT_EXPECT_INACTIVE,
  NF_CT_EXPECT_PERMANENT,
} from "../../uapi/nfnetlink.ts";
import { AF_INET } from "../../uapi/socket.ts";
import { AddResult, type Expectation, type ExpectPolicy } from "../expect.ts";
import { E, Ext, T } from "../layout.ts";
import { Manip } from "../manip.ts";
import { NatRange } from "../nat-range.ts";
import { setSeqAdjust } from "../seqadj.ts";
import { newTuple } from "../tuple.ts";
import { formatAddress, sameAddress } from "./address.ts";
import { expectationOf, type Helper, type HelperContext } from "./helper.ts";
import { addAtFreePort, replace, tcpPayload, text, udpPayload } from "./payload.ts";
import {
  address,
  findAddressParameter,
  findHeader,
  findNumberParameter,
  findRequestUri,
  findSdp,
  findTransportParameter,
  findUri,
  found,
  type Header,
  isLetter,
  number,
  port,
  Result,
  readNumber,
  SIP_HEADERS,
  sdpHeaders,
  standsAt,
  Walk,
} from "./sip-message.ts";

/**
 * SIP (RFC 3261) over UDP and TCP: a registration expects calls from the registrar, an offer or answer in a session
 * description (RFC 4566) expects media and its control (RTP and RTCP, RFC 3550) from the other side of the signalling.
 * Under NAT the addresses of the message's own ends are translated wherever they stand.
 */

/** Helper words of the entry: numbers of the last requests, and the port where a client with another listens. */
const REGISTER_CSEQ = E.HELP;
const INVITE_CSEQ = E.HELP + 1;
const LISTEN_PORT = E.HELP + 2;

/** Signalling may be silent for an hour. */
const MASTER_TIMEOUT = 3_600_000;
const MIN_MESSAGE = "SIP/2.0 200".length;
const HEADERS_END = "\r\n\r\n";

/** Classes of expectations. */
const enum Class {
  SIGNALLING = 0,
  AUDIO = 1,
  VIDEO = 2,
  IMAGE = 3,
}
const POLICIES: readonly ExpectPolicy[] = [
  { name: "signalling", maxExpected: 1, timeout: 180_000 },
  { name: "audio", maxExpected: 4, timeout: 180_000 },
  { name: "video", maxExpected: 4, timeout: 180_000 },
  { name: "image", maxExpected: 2, timeout: 180_000 },
];
const MEDIA: readonly (readonly [string, Class])[] = [
  ["audio ", Class.AUDIO],
  ["video ", Class.VIDEO],
  ["image ", Class.IMAGE],
];
/** Media lines of a description that are followed. */
const MAX_MEDIA = 3;

const range = new NatRange();
const scratch = newTuple();

/** A message on its way through the helper. */
class Message {
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

/** @returns false to drop the packet */
function handle(message: Message): boolean {
  const isResponse = standsAt(message.text, 0, "sip/2.0 ");
  if (!(isResponse ? response(message) : request(message))) return false;
  return !message.isTranslated || translate(message);
}

// Requests and responses

type Handler = (message: Message, cseq: number, code: number) => boolean;

/** Methods in the order they are tried: a method may be the beginning of another's name. */
const METHODS: readonly { readonly name: string; readonly request?: Handler; readonly response?: Handler }[] = [
  { name: "invite", request: invite, response: answer },
  { name: "update", request: describe, response: answer },
  { name: "ack", request: describe },
  { name: "prack", request: describe, response: answer },
  { name: "bye", request: bye },
  { name: "register", request: register, response: registered },
];

/** CSeq's number and where the method behind it stands; -1 if it has none. */
function cseqMethod(message: Message): number {
  const { text, family } = message;
  if (findHeader(text, 0, SIP_HEADERS.CSEQ, family) !== Result.FOUND) return -1;
  return readNumber(text, found.offset) === found.offset ? -1 : found.offset + found.length + 1;
}

function response(message: Message): boolean {
  const { text } = message;
  if (text.length < MIN_MESSAGE) return true;
  readNumber(text, "SIP/2.0 ".length);
  const code = number;
  if (code === 0) return false;
  const at = cseqMethod(message);
  if (at < 0) return false;
  const cseq = number;
  const method = METHODS.find((one) => one.response !== undefined && standsAt(text, at, one.name));
  return method?.response?.(message, cseq, code) ?? true;
}

function request(message: Message): boolean {
  const { text, family, words, own } = message;
  // Some telephones send from a high port but listen on what their Via says.
  if (findUri(text, SIP_HEADERS.VIA_UDP, family) === Result.FOUND) {
    if (port !== message.sourcePort(own) && sameAddress(address, 0, words, own + T.SRC)) {
      words[message.entry + LISTEN_PORT] = port;
    }
  }
  const method = METHODS.find(
    ({ name, request: handler }) =>
      handler !== undefined && standsAt(text, 0, `${name} `) && isLetter(text.charCodeAt(name.length + 1)),
  );
  if (method === undefined) return true;
  if (cseqMethod(message) < 0) return false;
  return method.request?.(message, number, 0) ?? true;
}

function invite(message: Message, cseq: number): boolean {
  flush(message, true);
  if (!describe(message)) return false;
  message.words[message.entry + INVITE_CSEQ] = cseq | 0;
  return true;
}

function bye(message: Message): boolean {
  flush(message, true);
  return true;
}

function answer(message: Message, cseq: number, code: number): boolean {
  if (code >= 100 && code <= 299) return describe(message);
  if (message.words[message.entry + INVITE_CSEQ] >>> 0 === cseq) flush(message, true);
  return true;
}

/** Removes the media expectations, or the newest of signalling. */
function flush(message: Message, media: boolean): void {
  const { expectations, slot } = message;
  for (const expectation of [...expectations.of(slot)].reverse()) {
    if ((expectation.class !== Class.SIGNALLING) !== media) continue;
    expectations.remove(expectation, 0, false);
    if (!media) return;
  }
}

// Registration

/** The protocol that Contact wants calls with, -1 if it is another than this connection's. */
function transportOf(message: Message, from: number): number {
  const wanted = findTransportParameter(message.text, from);
  if (wanted === undefined) return message.proto;
  const proto = wanted === "tcp" ? IpProto.TCP : wanted === "udp" ? IpProto.UDP : -1;
  return proto === message.proto ? proto : -1;
}

function expiresHeader(message: Message): number {
  const { text, family } = message;
  if (findHeader(text, 0, SIP_HEADERS.EXPIRES, family) !== Result.FOUND) return 0;
  readNumber(text, found.offset);
  return number;
}

/** REGISTER: calls to the Contact are expected, as soon as the registrar agrees. */
function register(message: Message, cseq: number): boolean {
  const { context, words, entry, own, other, text, family } = message;
  // An expected connection registers nothing.
  if ((words[entry + E.STATUS] & IPS_EXPECTED) !== 0) return true;
  let expires = expiresHeader(message);
  const contact = findUri(text, SIP_HEADERS.CONTACT, family);
  if (contact === Result.BAD) return false;
  if (contact === Result.NONE) return true;
  if (!sameAddress(words, own + T.SRC, address, 0)) return true;
  const { offset, length } = found;
  const proto = transportOf(message, offset + length);
  if (proto < 0) return true;
  const parameter = findNumberParameter(text, offset + length, "expires=");
  if (parameter === Result.BAD) return false;
  if (parameter === Result.FOUND) expires = number;
  let pass = true;
  if (expires !== 0) {
    const expectation = expectationOf(context, message.slot, proto, Class.SIGNALLING)
      .from(words, other + T.SRC)
      .to(address, 0, port);
    expectation.assignHelper = expectation.helper;
    expectation.flags = NF_CT_EXPECT_PERMANENT | NF_CT_EXPECT_INACTIVE;
    pass = message.isTranslated
      ? expectTranslated(message, expectation, offset, length)
      : context.expectations.add(expectation, context.now) === AddResult.OK;
  }
  if (pass) words[entry + REGISTER_CSEQ] = cseq | 0;
  return pass;
}

/** The registrar's answer: what it binds is expected for so long. */
function registered(message: Message, cseq: number, code: number): boolean {
  const { words, entry, own, text, family } = message;
  if (words[entry + REGISTER_CSEQ] >>> 0 !== cseq || (code >= 100 && code <= 199)) return true;
  if (code >= 200 && code <= 299) {
    const common = expiresHeader(message);
    const walk = new Walk();
    for (;;) {
      const contact = findUri(text, SIP_HEADERS.CONTACT, family, walk);
      if (contact === Result.BAD) return false;
      if (contact === Result.NONE) break;
      if (!sameAddress(words, own + T.DST, address, 0)) continue;
      const end = found.offset + found.length;
      const proto = transportOf(message, end);
      if (proto < 0) continue;
      const parameter = findNumberParameter(text, end, "expires=");
      if (parameter === Result.BAD) return false;
      const expires = parameter === Result.FOUND ? number : common;
      if (expires === 0) break;
      if (activate(message, proto, expires)) return true;
    }
  }
  flush(message, false);
  return true;
}

/** Activates the signalling expectation of the address in hand. */
function activate(message: Message, proto: number, expires: number): boolean {
  const { context, expectations, slot } = message;
  const expectation = [...expectations.of(slot)]
    .reverse()
    .find(
      (one) =>
        one.class === Class.SIGNALLING &&
        sameAddress(one.tuple, T.DST, address, 0) &&
        ((one.tuple[T.META] >>> 8) & 0xff) === proto &&
        one.port === port,
    );
  if (expectation === undefined) return false;
  expectation.expires = (context.now + Math.min(expires * 1000, 0x7fff_ffff)) | 0;
  expectation.flags &= ~NF_CT_EXPECT_INACTIVE;
  return true;
}

/** An expectation of signalling to a translated Contact, which is rewritten. */
function expectTranslated(message: Message, expectation: Expectation, offset: number, length: number): boolean {
  const { context, words, entry, own, other, family } = message;
  const first = expectation.port;
  expectation.savedAddress.set(expectation.tuple.subarray(T.DST, T.DST + 4));
  expectation.translate(1 - message.direction, first, EXPECT_FUNCTION, context.expectFunctions.get(EXPECT_FUNCTION));
  if (!sameAddress(words, own + T.SRC, words, other + T.DST)) expectation.to(words, other + T.DST, first);
  const listens = words[entry + LISTEN_PORT];
  const wanted = first === (listens !== 0 ? listens : message.sourcePort(own)) ? message.destinationPort(other) : first;
  const free = addAtFreePort(context, expectation, wanted);
  if (free === 0) return false;
  if (sameAddress(expectation.tuple, T.DST, expectation.savedAddress, 0) && free === first) return true;
  if (message.mangle(offset, length, endpoint(expectation.tuple, T.DST, family, free))) return true;
  context.expectations.giveUp(expectation);
  return false;
}

// Session descriptions

/** A message with a session description: expects its media. */
function describe(message: Message): boolean {
  const { family } = message;
  const sdp = sdpHeaders(family);
  if (findSdp(message.text, 0, sdp.VERSION, undefined, family) !== Result.FOUND) return true;
  const start = found.offset;
  const common = new Int32Array(4);
  const target = new Int32Array(4);
  const hasCommon = findSdp(message.text, start, sdp.CONNECTION, sdp.MEDIA, family) === Result.FOUND;
  if (hasCommon) common.set(address);
  target.set(common);
  let hasTarget = hasCommon;
  let at = start;
  for (let count = 0; count < MAX_MEDIA; ) {
    if (findSdp(message.text, at, sdp.MEDIA, undefined, family) !== Result.FOUND) break;
    at = found.offset;
    let { length } = found;
    const line = message.text.slice(at, at + length);
    const kind = MEDIA.find(([name]) => line.startsWith(name));
    if (kind === undefined) {
      at += length;
      continue;
    }
    at += kind[0].length;
    length -= kind[0].length;
    readNumber(message.text, at);
    const mediaPort = number;
    // A stream with port 0 is switched off.
    if (mediaPort === 0) continue;
    if (mediaPort < 1024 || mediaPort > 0xffff) return false;
    const hasOwn = findSdp(message.text, at, sdp.CONNECTION, sdp.MEDIA, family) === Result.FOUND;
    if (hasOwn) target.set(address);
    else if (hasCommon) target.set(common);
    else return false;
    hasTarget = true;
    if (!expectMedia(message, target, mediaPort, kind[1], at, length)) return false;
    if (hasOwn && message.isTranslated) {
      if (mangleSdp(message, at, sdp.CONNECTION, target) !== Result.FOUND || !mangleLength(message)) return false;
    }
    count++;
  }
  return !message.isTranslated || !hasTarget || mangleSession(message, start, target);
}

/**
 * Expects RTP and RTCP at an address and port of the description.
 * @param target becomes what the description is to say instead
 */
function expectMedia(
  message: Message,
  target: Int32Array,
  mediaPort: number,
  kind: Class,
  offset: number,
  length: number,
): boolean {
  const { context, expectations, slot, words, entry, own, other } = message;
  const { now } = context;
  // Media go between the ends of the signalling only.
  if (!sameAddress(target, 0, words, own + T.SRC)) return true;
  const helper = (words[entry + E.EXT] & Ext.HELPER_MASK) >>> Ext.HELPER_SHIFT;
  scratch.fill(0);
  for (let i = 0; i < 4; i++) {
    scratch[T.SRC + i] = words[other + T.SRC + i];
    scratch[T.DST + i] = target[i];
  }
  scratch[T.PORTS] = mediaPort;
  scratch[T.META] = (words[entry + T.META] & ~0xff00) | (IpProto.UDP << 8);
  let direct = false;
  let known = false;
  // The same description may pass on other connections: media that both sides can reach directly are left direct.
  while (!known) {
    const other = expectations.find(scratch, now);
    if (other === undefined || other.master === slot || other.helper !== helper || other.class !== kind) break;
    const moved = !sameAddress(other.savedAddress, 0, other.tuple, T.DST) || other.savedPort !== other.port;
    if (!direct && moved && message.isTranslated) {
      target.set(other.savedAddress);
      for (let i = 0; i < 4; i++) scratch[T.DST + i] = target[i];
      scratch[T.PORTS] = other.savedPort;
      direct = true;
    } else known = true;
  }
  const base = scratch[T.PORTS] & 0xfffe;
  if (direct && !(message.mangle(offset, length, String(base)) && mangleLength(message))) return false;
  if (known) return true;
  const pair = [base, base + 1].map((to) =>
    expectationOf(context, slot, IpProto.UDP, kind)
      .from(words, other + T.SRC)
      .to(target, 0, to),
  );
  if (message.isTranslated && !direct) return expectTranslatedMedia(message, pair, target, offset, length);
  // Ends that name one port for two media, or the same for two calls, are taken at their word.
  const rtp = expectations.add(pair[0], now, 0, false, true);
  if (rtp !== AddResult.OK && rtp !== AddResult.ALREADY) return false;
  const rtcp = expectations.add(pair[1], now, 0, false, true);
  if (rtcp === AddResult.OK || rtcp === AddResult.ALREADY) return true;
  if (rtp === AddResult.OK) expectations.giveUp(pair[0]);
  return false;
}

/** Expects media at the translated address, at two ports side by side that are free. */
function expectTranslatedMedia(
  message: Message,
  pair: readonly Expectation[],
  target: Int32Array,
  offset: number,
  length: number,
): boolean {
  const { context, expectations, words, own, other } = message;
  const [rtp, rtcp] = pair;
  if (!sameAddress(words, own + T.SRC, words, other + T.DST))
    target.set(words.subarray(other + T.DST, other + T.DST + 4));
  const set = context.expectFunctions.get(EXPECT_FUNCTION);
  for (const expectation of pair) {
    expectation.savedAddress.set(expectation.tuple.subarray(T.DST, T.DST + 4));
    expectation.translate(1 - message.direction, expectation.port, EXPECT_FUNCTION, set);
    expectation.to(target, 0, expectation.port);
  }
  for (let free = rtp.port; free <= 0xffff; free += 2) {
    rtp.setPort(free);
    rtcp.setPort(free + 1);
    const result = expectations.addPair(rtp, rtcp, context.now);
    if (result === AddResult.BUSY) continue;
    if (result !== AddResult.OK) return false;
    if (free === rtp.savedPort) return true;
    if (message.mangle(offset, length, String(free)) && mangleLength(message)) return true;
    for (const expectation of pair) expectations.giveUp(expectation);
    return false;
  }
  return false;
}

/** Replaces the address of a line. */
function mangleSdp(message: Message, from: number, header: Header, by: Int32Array): Result {
  const { family } = message;
  const result = findSdp(message.text, from, header, sdpHeaders(family).MEDIA, family);
  if (result !== Result.FOUND) return Result.NONE;
  return message.mangle(found.offset, found.length, formatAddress(by, 0, family)) ? Result.FOUND : Result.BAD;
}

/** Owner and connection of the whole session. */
function mangleSession(message: Message, start: number, by: Int32Array): boolean {
  const sdp = sdpHeaders(message.family);
  if (mangleSdp(message, start, sdp.OWNER, by) !== Result.FOUND) return false;
  if (mangleSdp(message, start, sdp.CONNECTION, by) === Result.BAD) return false;
  return mangleLength(message);
}

/** Content-Length after a change of the description. */
function mangleLength(message: Message): boolean {
  const { text, family } = message;
  if (findSdp(text, 0, sdpHeaders(family).VERSION, undefined, family) !== Result.FOUND) return false;
  const length = text.length - found.offset + "v=".length;
  if (findHeader(text, 0, SIP_HEADERS.CONTENT_LENGTH, family) !== Result.FOUND) return false;
  return message.mangle(found.offset, found.length, String(length));
}

// Translation of the message itself

function endpoint(words: Int32Array, at: number, family: number, atPort: number): string {
  const text = formatAddress(words, at, family);
  return family === AF_INET ? `${text}:${atPort}` : `[${text}]:${atPort}`;
}

/** Replaces the endpoint that was found, if it is the sender's or the receiver's. */
function mapEndpoint(message: Message): boolean {
  const { words, entry, own, other, family } = message;
  let at: number;
  let to: number;
  if (sameAddress(words, own + T.SRC, address, 0) && message.sourcePort(own) === port) {
    at = other + T.DST;
    to = message.destinationPort(other);
  } else if (sameAddress(words, own + T.DST, address, 0) && message.destinationPort(own) === port) {
    at = other + T.SRC;
    to = words[entry + LISTEN_PORT] !== 0 ? words[entry + LISTEN_PORT] : message.sourcePort(other);
  } else return true;
  if (sameAddress(words, at, address, 0) && to === port) return true;
  return message.mangle(found.offset, found.length, endpoint(words, at, family, to));
}

function translate(message: Message): boolean {
  const { words, entry, packet, family, proto } = message;
  const isRequest = !standsAt(message.text, 0, "sip/2.0");
  if (isRequest && findRequestUri(message.text, family) === Result.FOUND && !mapEndpoint(message)) return false;
  if (!translateVia(message, isRequest)) return false;
  const walk = new Walk();
  while (findUri(message.text, SIP_HEADERS.CONTACT, family, walk) === Result.FOUND) {
    const before = message.text.length;
    if (!mapEndpoint(message)) return false;
    walk.at += message.text.length - before;
  }
  for (const header of [SIP_HEADERS.FROM, SIP_HEADERS.TO]) {
    if (findUri(message.text, header, family) === Result.FOUND && !mapEndpoint(message)) return false;
  }
  const listens = words[entry + LISTEN_PORT];
  if (message.direction === 0 || listens === 0) return true;
  if (proto !== IpProto.UDP) return false;
  packet.memory.view.setUint16(packet.l4 + udp.DST_PORT, listens);
  return replace(packet, packet.l4, proto, 0, 0, "");
}

/** The topmost Via of this connection, and its parameters. */
function translateVia(message: Message, isRequest: boolean): boolean {
  const { words, own, other, family } = message;
  const header = message.proto === IpProto.TCP ? SIP_HEADERS.VIA_TCP : SIP_HEADERS.VIA_UDP;
  if (findUri(message.text, header, family) !== Result.FOUND) return true;
  const at = own + (isRequest ? T.SRC : T.DST);
  const atPort = isRequest ? message.sourcePort(own) : message.destinationPort(own);
  if (!sameAddress(words, at, address, 0) || port !== atPort) return true;
  const end = found.offset + found.length;
  const before = message.text.length;
  if (!mapEndpoint(message)) return false;
  const from = end + message.text.length - before;
  const parameter = (name: string, is: number, becomes: number, brackets: boolean): boolean => {
    if (!findAddressParameter(message.text, from, name, family, brackets)) return true;
    if (!sameAddress(address, 0, words, is) || sameAddress(address, 0, words, becomes)) return true;
    const by = formatAddress(words, becomes, family);
    return message.mangle(found.offset, found.length, brackets && family !== AF_INET ? `[${by}]` : by);
  };
  if (!parameter("maddr=", own + T.SRC, other + T.DST, true)) return false;
  if (!parameter("received=", own + T.DST, other + T.SRC, false)) return false;
  if (findNumberParameter(message.text, from, "rport=") !== Result.FOUND || number < 1024) return true;
  if (number !== message.destinationPort(own) || number === message.sourcePort(other)) return true;
  return message.mangle(found.offset, found.length, String(message.sourcePort(other)));
}

/** What CTA_EXPECT_FN calls expected(). */
const EXPECT_FUNCTION = "sip";

/** Sets up translation of an expected connection: to whom it is for, and from what the other end expects it from. */
function expected(context: HelperContext, slot: number, expectation: Expectation): void {
  const { mapper, expectations } = context;
  const { words } = context.table;
  const entry = slot * E.WORDS;
  mapper.setup(slot, range.setAddress(expectation.savedAddress, 0).setPort(expectation.savedPort), Manip.DST);
  if (expectation.class !== Class.SIGNALLING) {
    const sent = [...expectations.of(expectation.master)]
      .reverse()
      .find(
        (one) =>
          ((one.tuple[T.META] ^ words[entry + T.META]) & 0xffff) === 0 &&
          sameAddress(words, entry + T.SRC, one.savedAddress, 0) &&
          words[entry + T.PORTS] >>> 16 === one.savedPort,
      );
    if (sent !== undefined) {
      mapper.setup(slot, range.setAddress(sent.tuple, T.DST).setPort(sent.port), Manip.SRC);
      return;
    }
  }
  const master = expectation.master * E.WORDS;
  if (!sameAddress(words, entry + T.SRC, words, master + (expectation.direction << E.DIR_SHIFT) + T.SRC)) return;
  const from = master + ((1 - expectation.direction) << E.DIR_SHIFT) + T.DST;
  mapper.setup(slot, range.setAddress(words, from), Manip.SRC);
}

export const sipUdpHelper: Helper = {
  name: "sip",
  proto: IpProto.UDP,
  policies: POLICIES,
  nat: true,
  expectFunctions: (context) => ({
    [EXPECT_FUNCTION]: (slot, expectation) => expected(context, slot, expectation),
  }),

  help(context: HelperContext, packet: Packet, l4: number, family: number, slot: number, ctInfo: number): boolean {
    const data = udpPayload(packet, l4);
    if (data < 0) return true;
    context.refreshTimeout(slot, MASTER_TIMEOUT);
    const payload = text(packet, data);
    if (payload.length < MIN_MESSAGE) return true;
    packet.l4 = l4;
    const direction = ctInfo >= IP_CT_IS_REPLY ? 1 : 0;
    return handle(new Message(context, packet, slot, direction, family, IpProto.UDP, 0, payload));
  },
};

export const sipTcpHelper: Helper = {
  name: "sip",
  proto: IpProto.TCP,
  policies: POLICIES,
  nat: true,

  help(context: HelperContext, packet: Packet, l4: number, family: number, slot: number, ctInfo: number): boolean {
    if (ctInfo !== IP_CT_ESTABLISHED && ctInfo !== IP_CT_ESTABLISHED_REPLY) return true;
    const data = tcpPayload(packet, l4);
    if (data < 0) return true;
    context.refreshTimeout(slot, MASTER_TIMEOUT);
    let rest = text(packet, data);
    if (rest.length < MIN_MESSAGE) return true;
    packet.l4 = l4;
    const direction = ctInfo === IP_CT_ESTABLISHED ? 0 : 1;
    let base = 0;
    let change = 0;
    for (;;) {
      const length = messageLength(rest, family);
      if (length < 0) break;
      // The rest of this message comes with the next segment: nobody can look at it in one piece.
      if (length > rest.length) return true;
      const one = rest.slice(0, length);
      const message = new Message(context, packet, slot, direction, family, IpProto.TCP, base, one);
      if (!handle(message)) return false;
      change += message.text.length - length;
      base += message.text.length;
      rest = rest.slice(length);
    }
    const { words } = context.table;
    const entry = slot * E.WORDS;
    if ((words[entry + E.STATUS] & IPS_NAT_MASK) === 0) return true;
    const seq = packet.memory.view.getInt32(packet.l4 + tcp.SEQ);
    setSeqAdjust(words, entry, direction, seq, change);
    return true;
  },
};

/** Length of the message at the beginning of a stream by its Content-Length; -1 if that cannot be told. */
function messageLength(stream: string, family: number): number {
  if (findHeader(stream, 0, SIP_HEADERS.CONTENT_LENGTH, family) !== Result.FOUND) return -1;
  const at = readNumber(stream, found.offset);
  if (at === found.offset || number > stream.length) return -1;
  const end = stream.indexOf(HEADERS_END, at);
  return end < 0 ? -1 : end + HEADERS_END.length + number;
}
