import { IpProto } from "../../../packet/ip.ts";
import { AddResult, type Expectation } from "../../expect.ts";
import { E, Ext, T } from "../../layout.ts";
import { formatAddress, sameAddress } from "../address.ts";
import { expectationOf } from "../helper.ts";
import { EXPECT_FUNCTION } from "./expected.ts";
import { ExpectClass, type SipMessage, scratch } from "./message.ts";
import {
  address,
  findHeader,
  findSdp,
  found,
  type Header,
  number,
  Result,
  readNumber,
  SIP_HEADERS,
  sdpHeaders,
} from "./parse.ts";

const MEDIA: readonly (readonly [string, ExpectClass])[] = [
  ["audio ", ExpectClass.AUDIO],
  ["video ", ExpectClass.VIDEO],
  ["image ", ExpectClass.IMAGE],
];

/** Media lines of a description that are followed. */
const MAX_MEDIA = 3;

/** A message with a session description: expects its media. */
export function describe(message: SipMessage): boolean {
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
  message: SipMessage,
  target: Int32Array,
  mediaPort: number,
  kind: ExpectClass,
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
  // The same description may pass on other connections: media between ends of one side are not translated.
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
  // An end may name one port for two media, or for two calls: ALREADY is no failure.
  const rtp = expectations.add(pair[0], now, 0, false, true);
  if (rtp !== AddResult.OK && rtp !== AddResult.ALREADY) return false;
  const rtcp = expectations.add(pair[1], now, 0, false, true);
  if (rtcp === AddResult.OK || rtcp === AddResult.ALREADY) return true;
  if (rtp === AddResult.OK) expectations.giveUp(pair[0]);
  return false;
}

/** Expects media at the translated address, at two ports side by side that are free. */
function expectTranslatedMedia(
  message: SipMessage,
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
function mangleSdp(message: SipMessage, from: number, header: Header, by: Int32Array): Result {
  const { family } = message;
  const result = findSdp(message.text, from, header, sdpHeaders(family).MEDIA, family);
  if (result !== Result.FOUND) return Result.NONE;
  return message.mangle(found.offset, found.length, formatAddress(by, 0, family)) ? Result.FOUND : Result.BAD;
}

/** Owner and connection of the whole session. */
function mangleSession(message: SipMessage, start: number, by: Int32Array): boolean {
  const sdp = sdpHeaders(message.family);
  if (mangleSdp(message, start, sdp.OWNER, by) !== Result.FOUND) return false;
  if (mangleSdp(message, start, sdp.CONNECTION, by) === Result.BAD) return false;
  return mangleLength(message);
}

/** Content-Length after a change of the description. */
function mangleLength(message: SipMessage): boolean {
  const { text, family } = message;
  if (findSdp(text, 0, sdpHeaders(family).VERSION, undefined, family) !== Result.FOUND) return false;
  const length = text.length - found.offset + "v=".length;
  if (findHeader(text, 0, SIP_HEADERS.CONTENT_LENGTH, family) !== Result.FOUND) return false;
  return message.mangle(found.offset, found.length, String(length));
}
