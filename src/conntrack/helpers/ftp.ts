import { ipv6LongText, wordsToBytes } from "../../net/address.ts";
import { IpProto } from "../../packet/ip.ts";
import type { Packet } from "../../packet/packet.ts";
import * as tcp from "../../packet/tcp.ts";
import { IP_CT_ESTABLISHED, IP_CT_ESTABLISHED_REPLY, IPS_NAT_MASK } from "../../uapi/nfnetlink.ts";
import { AF_INET } from "../../uapi/socket.ts";
import { AddResult } from "../expect.ts";
import { E, T } from "../layout.ts";
import { dotted, MAX_IPV6, readIpv6Words } from "./address.ts";
import { expectationOf, FOLLOW_MASTER, type Helper, type HelperContext } from "./helper.ts";
import { addAtFreePort, replaceInStream, tcpPayload } from "./payload.ts";

/**
 * FTP (RFC 959, RFC 2428; spec/conntrack C-219 to C-225): the control connection says where data connections will go,
 * in commands of the client (PORT, EPRT) and answers of the server (227 to PASV, 229 to EPSV). Under NAT the addresses
 * in the payload are rewritten, and sequence numbers follow its length.
 */

/** Helper words of the entry: two sequence numbers after a newline per direction, then how many there are. */
const AFTER_NEWLINE = E.HELP;
const NEWLINES = E.HELP + 4;
const NUM_SEQ_TO_REMEMBER = 2;
/** Directions, one bit each, whose next payload begins a line whatever its number: the entry came from ctnetlink. */
const PICK_UP = E.HELP + 5;

const NEWLINE = 10;
const CR = 13;
const SPACE = 32;
const COMMA = 44;
const DOT = 46;
const OPEN = 40;
const CLOSE = 41;

/** How an address is written. */
const enum Style {
  PORT = 0,
  EPRT = 1,
  PASV = 2,
  EPSV = 3,
}

interface Pattern {
  readonly word: string;
  /** Character to skip to behind the word, 0 = none. */
  readonly skip: number;
  /** Character that ends the address, 0 = any. */
  readonly end: number;
  readonly style: Style;
}

/** What each direction is searched for. */
const PATTERNS: readonly (readonly Pattern[])[] = [
  [
    { word: "PORT", skip: SPACE, end: CR, style: Style.PORT },
    { word: "EPRT", skip: SPACE, end: CR, style: Style.EPRT },
  ],
  [
    { word: "227 ", skip: 0, end: 0, style: Style.PASV },
    { word: "229 ", skip: OPEN, end: CLOSE, style: Style.EPSV },
  ],
];

const enum Found {
  NO = 0,
  YES = 1,
  /** The packet ends within what may be a match. */
  PARTIAL = 2,
}

/** Outcome of a search: the address, the port, and where they stand in the payload. */
const match = { address: new Int32Array(4), port: 0, offset: 0, length: 0 };

export const ftpHelper: Helper = {
  name: "ftp",
  proto: IpProto.TCP,
  policies: [{ maxExpected: 1, timeout: 300_000 }],
  nat: true,

  help(context: HelperContext, packet: Packet, l4: number, family: number, slot: number, ctInfo: number): boolean {
    if (ctInfo !== IP_CT_ESTABLISHED && ctInfo !== IP_CT_ESTABLISHED_REPLY) return true;
    const { view, bytes } = packet.memory;
    const end = packet.off + packet.len;
    const data = tcpPayload(packet, l4);
    if (data < 0) return true;
    const { words } = context.table;
    const entry = slot * E.WORDS;
    const direction = ctInfo === IP_CT_ESTABLISHED ? 0 : 1;
    const endsInNewline = bytes[end - 1] === NEWLINE;
    const seq = view.getInt32(l4 + tcp.SEQ);
    const next = (seq + end - data) | 0;
    let pass = true;
    if (followsNewline(words, entry, direction, seq) || picksUp(words, entry, direction)) {
      const side = entry + (direction << E.DIR_SHIFT) + T.SRC;
      for (let i = 0; i < 4; i++) match.address[i] = words[side + i];
      let found = Found.NO;
      let style = Style.PORT;
      for (const pattern of PATTERNS[direction]) {
        found = search(bytes, data, end, pattern, family);
        style = pattern.style;
        if (found !== Found.NO) break;
      }
      // Half a match cannot be tracked: the packet is dropped, for the sender to transmit it again (spec/conntrack C-222).
      if (found === Found.PARTIAL) return false;
      if (found === Found.YES) pass = announce(context, packet, l4, data, family, slot, direction, style);
    }
    if (endsInNewline) updateNewlineSeq(words, entry, direction, next);
    return pass;
  },

  restored(context: HelperContext, slot: number): void {
    context.table.words[slot * E.WORDS + PICK_UP] = 3;
  },
};

/** Expects the data connection to the address in `match`. @returns false to drop the packet */
function announce(
  context: HelperContext,
  packet: Packet,
  l4: number,
  data: number,
  family: number,
  slot: number,
  direction: number,
  style: Style,
): boolean {
  const { words } = context.table;
  const entry = slot * E.WORDS;
  const own = entry + (direction << E.DIR_SHIFT);
  const other = entry + ((1 - direction) << E.DIR_SHIFT);
  let foreign = false;
  for (let i = 0; i < 4; i++) if (match.address[i] !== words[own + T.SRC + i]) foreign = true;
  // An address that is not the sender's would let third parties' ports be expected (spec/conntrack C-223).
  if (foreign && !context.options.ftpLoose) return true;
  const expectation = expectationOf(context, slot, IpProto.TCP).from(words, other + T.SRC);
  if (foreign) expectation.to(match.address, 0, match.port);
  else expectation.to(words, other + T.DST, match.port);
  if ((words[entry + E.STATUS] & IPS_NAT_MASK) === 0) {
    return context.expectations.add(expectation, context.now) === AddResult.OK;
  }
  expectation.translate(1 - direction, match.port, FOLLOW_MASTER, context.followMaster);
  const port = addAtFreePort(context, expectation, match.port);
  if (port === 0) return false;
  const by = format(style, words, other + T.DST, family, port);
  if (replaceInStream(context, packet, l4, slot, direction, match.offset - data, match.length, by)) return true;
  context.expectations.giveUp(expectation);
  return false;
}

/** Whether this is the first payload of a direction of an entry made by ctnetlink; clears the direction's bit. */
function picksUp(words: Int32Array, entry: number, direction: number): boolean {
  if ((words[entry + PICK_UP] & (1 << direction)) === 0) return false;
  words[entry + PICK_UP] &= ~(1 << direction);
  return true;
}

/** Whether a segment begins right after a line that this direction has sent (spec/conntrack C-221). */
function followsNewline(words: Int32Array, entry: number, direction: number, seq: number): boolean {
  const count = (words[entry + NEWLINES] >>> (direction * 8)) & 0xff;
  const at = entry + AFTER_NEWLINE + direction * NUM_SEQ_TO_REMEMBER;
  for (let i = 0; i < count; i++) if (words[at + i] === seq) return true;
  return false;
}

/** Records the sequence number after a line in place of the oldest, unless it is older still (update_nl_seq). */
function updateNewlineSeq(words: Int32Array, entry: number, direction: number, seq: number): void {
  if (followsNewline(words, entry, direction, seq)) return;
  const count = (words[entry + NEWLINES] >>> (direction * 8)) & 0xff;
  const at = entry + AFTER_NEWLINE + direction * NUM_SEQ_TO_REMEMBER;
  if (count < NUM_SEQ_TO_REMEMBER) {
    words[at + count] = seq;
    words[entry + NEWLINES] += 1 << (direction * 8);
    return;
  }
  const oldest = ((words[at] - words[at + 1]) | 0) < 0 ? at : at + 1;
  if (((seq - words[oldest]) | 0) > 0) words[oldest] = seq;
}

/** Looks for one pattern at the beginning of the payload; fills `match`. */
function search(bytes: Uint8Array, start: number, end: number, pattern: Pattern, family: number): Found {
  const { word, skip } = pattern;
  const length = end - start;
  for (let i = 0; i < Math.min(length, word.length); i++) {
    if (upper(bytes[start + i]) !== word.charCodeAt(i)) return Found.NO;
  }
  if (length <= word.length) return Found.PARTIAL;
  let at = start + word.length;
  if (skip !== 0) {
    while (bytes[at] !== skip) if (++at === end) return Found.PARTIAL;
    at++;
  }
  match.offset = at;
  switch (pattern.style) {
    case Style.PASV:
      while (at < end && !isDigit(bytes[at])) at++;
      match.offset = at;
      match.length = at < end ? hostPort(bytes, at, end, 0) : 0;
      break;
    case Style.PORT:
      match.length = hostPort(bytes, at, end, pattern.end);
      break;
    case Style.EPRT:
      match.length = extended(bytes, at, end, family);
      break;
    default:
      match.length = extendedPort(bytes, at, end);
  }
  return match.length === 0 ? Found.PARTIAL : Found.YES;
}

const upper = (byte: number): number => (byte >= 97 && byte <= 122 ? byte - 32 : byte);
const isDigit = (byte: number): boolean => byte >= 48 && byte <= 57;
/** A delimiter of RFC 2428: any printable character but a digit. */
const isDelimiter = (byte: number): boolean => byte >= 33 && byte <= 126 && !isDigit(byte);

const numbers = new Int32Array(6);

/** Reads `count` numbers with `separator` between. @returns their length, 0 if they do not end in `terminator` */
function readNumbers(
  bytes: Uint8Array,
  start: number,
  end: number,
  count: number,
  separator: number,
  terminator: number,
): number {
  numbers.fill(0);
  let index = 0;
  for (let at = start; at < end && index < count; at++) {
    const byte = bytes[at];
    if (isDigit(byte)) numbers[index] = (Math.imul(numbers[index], 10) + byte - 48) | 0;
    else if (byte === separator) index++;
    else if ((byte === terminator || terminator === 0) && index === count - 1) return at - start;
    else return 0;
  }
  return 0;
}

const quad = (): number => (numbers[0] << 24) | (numbers[1] << 16) | (numbers[2] << 8) | numbers[3];

/** h1,h2,h3,h4,p1,p2 (RFC 959 section 5.3.2). */
function hostPort(bytes: Uint8Array, start: number, end: number, terminator: number): number {
  const length = readNumbers(bytes, start, end, 6, COMMA, terminator);
  if (length === 0) return 0;
  match.address[0] = quad();
  match.port = ((numbers[4] << 8) | numbers[5]) & 0xffff;
  return length;
}

/** |1|address|port| or |2|address|port| (RFC 2428 section 2). */
function extended(bytes: Uint8Array, start: number, end: number, family: number): number {
  if (end - start <= 3) return 0;
  const delimiter = bytes[start];
  if (!isDelimiter(delimiter) || bytes[start + 2] !== delimiter) return 0;
  if (bytes[start + 1] !== (family === AF_INET ? 49 : 50)) return 0;
  const at = start + 3;
  let length: number;
  if (family === AF_INET) {
    length = readNumbers(bytes, at, end, 4, DOT, delimiter);
    if (length !== 0) match.address[0] = quad();
  } else length = readIpv6(bytes, at, end, delimiter);
  if (length === 0) return 0;
  const portEnd = readPort(bytes, at + length + 1, end, delimiter);
  return portEnd === 0 ? 0 : portEnd - start;
}

/** |||port| (RFC 2428 section 3). */
function extendedPort(bytes: Uint8Array, start: number, end: number): number {
  if (end - start <= 3) return 0;
  const delimiter = bytes[start];
  if (!isDelimiter(delimiter) || bytes[start + 1] !== delimiter || bytes[start + 2] !== delimiter) return 0;
  const portEnd = readPort(bytes, start + 3, end, delimiter);
  return portEnd === 0 ? 0 : portEnd - start;
}

/** @returns one past the delimiter behind the port, 0 if there is no port */
function readPort(bytes: Uint8Array, start: number, end: number, delimiter: number): number {
  let port = 0;
  for (let at = start; at < end; at++) {
    if (bytes[at] === delimiter) {
      if (port === 0) return 0;
      match.port = port;
      return at + 1;
    }
    if (!isDigit(bytes[at])) return 0;
    port = (port * 10 + bytes[at] - 48) & 0xffff;
  }
  return 0;
}

/** An IPv6 address up to the delimiter. @returns its length, 0 if it is none */
function readIpv6(bytes: Uint8Array, start: number, end: number, delimiter: number): number {
  let at = start;
  while (at < end && bytes[at] !== delimiter) at++;
  if (at === end || at - start > MAX_IPV6) return 0;
  return readIpv6Words(String.fromCharCode(...bytes.subarray(start, at)), match.address) ? at - start : 0;
}

/** Address and port as the command or answer has them. */
function format(style: Style, words: Int32Array, at: number, family: number, port: number): string {
  if (style === Style.EPSV) return `|||${port}|`;
  if (style !== Style.EPRT) return `${dotted(words, at, ",")},${port >>> 8},${port & 0xff}`;
  if (family === AF_INET) return `|1|${dotted(words, at)}|${port}|`;
  return `|2|${ipv6LongText(wordsToBytes(words, at, 4))}|${port}|`;
}
