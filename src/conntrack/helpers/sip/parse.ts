import { AF_INET } from "../../../uapi/socket.ts";

import { scanAddress } from "../address.ts";

/**
 * Searches SIP messages (RFC 3261) and session descriptions (RFC 4566) without parsing them as a whole: translation needs the
 * offsets of addresses only. Text has one character a byte. A match leaves its offset in `found`, an address in `address`
 * and `port`.
 */

const SIP_PORT = 5060;

export const enum Result {
  /** It is there, but not as it should be. */
  BAD = -1,
  NONE = 0,
  FOUND = 1,
}

/** The last match: place in the text. After BAD the offset says where to look on. */
export const found = { offset: 0, length: 0 };
/** The last address that was read, big-endian words, and its port. */
export const address = new Int32Array(4);
export let port = 0;
/** The last number that was read. */
export let number = 0;

/** A header: its name, what its value is searched for, and the length of the piece found. */
export interface Header {
  readonly name: string;
  /** Short form of the name (RFC 3261 section 7.3.3). */
  readonly compact?: string;
  readonly search?: string;
  /** Length of the piece at `at`, 0 if it is malformed; `skipped` says how far in it begins. */
  readonly measure: (text: string, at: number, family: number) => number;
}

const CR = 13;
const LF = 10;
const TAB = 9;
const SPACE = 32;

const isBreak = (code: number): boolean => code === CR || code === LF;
const isBlank = (code: number): boolean => code === SPACE || code === TAB;
const isDigit = (code: number): boolean => code >= 48 && code <= 57;
/** Letters of Latin-1, as the kernel's. */
export function isLetter(code: number): boolean {
  const lower = code | 0x20;
  return (lower >= 97 && lower <= 122) || (code >= 0xc0 && code !== 0xd7 && code !== 0xf7);
}

/** Whether `needle`, in lower case, stands at `at`, whatever the case. */
export function standsAt(text: string, at: number, needle: string): boolean {
  if (text !== lastText) {
    lastText = text;
    lastLower = text.toLowerCase();
  }
  return lastLower.startsWith(needle, at);
}
/** One message is looked through many times. Lower case of Latin-1 has the same length. */
let lastText = "";
let lastLower = "";

let skipped = 0;

function digits(text: string, at: number): number {
  let end = at;
  while (isDigit(text.charCodeAt(end))) end++;
  return end - at;
}
function letters(text: string, at: number): number {
  let end = at;
  while (isLetter(text.charCodeAt(end))) end++;
  return end - at;
}
/** Media type, a space, and the port. */
function media(text: string, at: number): number {
  const type = letters(text, at);
  if (text.charCodeAt(at + type) !== SPACE) return 0;
  return type + 1 + digits(text, at + type + 1);
}
/** Address and perhaps a port. */
function endpoint(text: string, at: number, family: number): number {
  const end = readAddress(text, at, family, true);
  return end < 0 ? 0 : Math.max(readPort(text, end), at) - at;
}
/** The same behind a user's name. */
function userEndpoint(text: string, at: number, family: number): number {
  let end = at;
  while (end < text.length && text[end] !== "@" && !isBreak(text.charCodeAt(end))) end++;
  skipped = text[end] === "@" ? end + 1 - at : 0;
  return endpoint(text, at + skipped, family);
}
const bareAddress = (text: string, at: number, family: number): number =>
  Math.max(scanAddress(text, at, family, address), at) - at;

export const SIP_HEADERS = {
  CSEQ: { name: "cseq", measure: digits },
  FROM: { name: "from", compact: "f", search: "sip:", measure: userEndpoint },
  TO: { name: "to", compact: "t", search: "sip:", measure: userEndpoint },
  CONTACT: { name: "contact", compact: "m", search: "sip:", measure: userEndpoint },
  VIA_UDP: { name: "via", compact: "v", search: "udp ", measure: endpoint },
  VIA_TCP: { name: "via", compact: "v", search: "tcp ", measure: endpoint },
  EXPIRES: { name: "expires", measure: digits },
  CONTENT_LENGTH: { name: "content-length", compact: "l", measure: digits },
} as const satisfies Record<string, Header>;

/** Lines of a session description by address family. */
export function sdpHeaders(family: number): typeof SDP_V4 {
  return family === AF_INET ? SDP_V4 : SDP_V6;
}
const SDP_V4 = {
  VERSION: { name: "v=", measure: digits } as Header,
  OWNER: { name: "o=", search: "IN IP4 ", measure: bareAddress } as Header,
  CONNECTION: { name: "c=", search: "IN IP4 ", measure: bareAddress } as Header,
  MEDIA: { name: "m=", measure: media } as Header,
};
const SDP_V6 = {
  ...SDP_V4,
  OWNER: { name: "o=", search: "IN IP6 ", measure: bareAddress } as Header,
  CONNECTION: { name: "c=", search: "IN IP6 ", measure: bareAddress } as Header,
};

/** Reads an address into `address`. @param brackets IPv6 must stand in them @returns its end, or -1 */
function readAddress(text: string, at: number, family: number, brackets: boolean): number {
  if (family === AF_INET) return scanAddress(text, at, family, address);
  const open = text[at] === "[";
  if (!open && brackets) return -1;
  const end = scanAddress(text, open ? at + 1 : at, family, address);
  if (end < 0) return -1;
  if (text[end] === "]") return end + 1;
  return brackets ? -1 : end;
}

/** Reads ":port" into `port`, the default if there is none. @returns its end, or -1: the text may not end there */
function readPort(text: string, at: number): number {
  if (at >= text.length) return -1;
  if (text[at] !== ":") {
    port = SIP_PORT;
    return at;
  }
  const length = digits(text, at + 1);
  const end = at + 1 + length;
  const value = Number(text.slice(at + 1, end));
  if (length === 0 || length > 5 || end >= text.length || value < 1024 || value > 0xffff) return -1;
  port = value;
  return end;
}

const MAX_UINT_DIGITS = 11;

/** Reads an unsigned 32-bit number into `number`. @returns its end; `at` itself if there is none or it is too large */
export function readNumber(text: string, at: number): number {
  const length = digits(text, at);
  const value = Number(text.slice(at, at + length));
  number = length > MAX_UINT_DIGITS || value > 0xffff_ffff ? 0 : value;
  return length > MAX_UINT_DIGITS || value > 0xffff_ffff ? at : at + length;
}

/** From the end of a line to the text of its continuation; -1 if the next line begins another header. */
function continuation(text: string, at: number, limit: number): number {
  let next = at + 1;
  if (next >= limit) return -1;
  if (text.charCodeAt(at) === CR && text.charCodeAt(next) === LF && ++next >= limit) return -1;
  if (!isBlank(text.charCodeAt(next))) return -1;
  while (next < limit && isBlank(text.charCodeAt(next))) next++;
  return next;
}

/** Over blanks and one line's end, if the header goes on behind it. @returns -1 at the end */
function skipBlanks(text: string, at: number): number {
  let next = at;
  while (next < text.length && isBlank(text.charCodeAt(next))) next++;
  if (next < text.length && isBreak(text.charCodeAt(next))) next = continuation(text, next, text.length);
  return next < text.length ? next : -1;
}

/** Where `needle` stands in the value of a header that may go on over several lines; -1 if nowhere before `end`. */
function searchValue(text: string, at: number, end: number, needle: string): number {
  const limit = end - needle.length;
  let next = at;
  while (next < limit) {
    if (isBreak(text.charCodeAt(next))) {
      next = continuation(text, next, limit);
      if (next < 0) return -1;
      // The first character of a continuation is skipped.
      next++;
      continue;
    }
    if (standsAt(text, next, needle)) return next;
    next++;
  }
  return -1;
}

/** The beginning of the next line behind the first line's end at or after `at`; -1 at the end of the text. */
function nextLine(text: string, at: number): number {
  let next = at;
  while (next < text.length && !isBreak(text.charCodeAt(next))) next++;
  if (++next >= text.length) return -1;
  if (text.charCodeAt(next - 1) === CR && text.charCodeAt(next) === LF && ++next >= text.length) return -1;
  return next;
}

/** Finds the first header of a kind on a line that begins behind `from`. */
export function findHeader(text: string, from: number, header: Header, family: number): Result {
  for (let at = nextLine(text, from); at >= 0; at = nextLine(text, at + 1)) {
    if (isBlank(text.charCodeAt(at))) continue;
    const { compact = "", name, search } = header;
    let value = at;
    if (standsAt(text, at, name)) value += name.length;
    else if (compact !== "" && at + 1 < text.length && standsAt(text, at, compact)) {
      if (isLetter(text.charCodeAt(at + 1))) continue;
      value++;
    } else continue;
    value = skipBlanks(text, value);
    if (value < 0 || text[value] !== ":" || ++value >= text.length) return Result.NONE;
    value = skipBlanks(text, value);
    if (value < 0) return Result.NONE;
    found.offset = value;
    return measure(text, search === undefined ? value : searchIn(text, value, search), header, family);
  }
  return Result.NONE;
}

const searchIn = (text: string, at: number, needle: string): number => {
  const start = searchValue(text, at, text.length, needle);
  return start < 0 ? -1 : start + needle.length;
};

/** The piece at `at`, -1 = nowhere, into `found`. */
function measure(text: string, at: number, header: Header, family: number): Result {
  if (at < 0) return Result.BAD;
  skipped = 0;
  found.length = header.measure(text, at, family);
  if (found.length === 0) return Result.BAD;
  found.offset = at + skipped;
  return Result.FOUND;
}

/** The next of the values that stand in one header, separated by commas. */
function nextValue(text: string, from: number, header: Header, family: number): Result {
  const comma = searchValue(text, from, text.length, ",");
  const at = comma < 0 ? -1 : searchIn(text, comma, header.search ?? "");
  if (at < 0) return Result.NONE;
  found.offset = at;
  const result = measure(text, at, header, family);
  if (result === Result.BAD) found.offset = at;
  return result;
}

/** A walk through all values of a kind of header: start with a new one, call findUri() until it finds none. */
export class Walk {
  at = 0;
  inHeader = false;
}

/**
 * Finds the next URI of a kind of header, malformed ones passed over; its place goes to `found`, its endpoint to `address`
 * and `port`.
 */
export function findUri(text: string, header: Header, family: number, walk = new Walk()): Result {
  if (!seek(text, header, family, walk)) return Result.NONE;
  const end = readAddress(text, found.offset, family, true);
  const portEnd = end < 0 ? -1 : readPort(text, end);
  if (portEnd < 0) return Result.BAD;
  walk.at = portEnd;
  return Result.FOUND;
}

function seek(text: string, header: Header, family: number, walk: Walk): boolean {
  let from = walk.at;
  if (walk.inHeader) {
    for (;;) {
      const result = nextValue(text, from, header, family);
      if (result === Result.FOUND) return true;
      if (result === Result.NONE) break;
      from = found.offset;
    }
    walk.inHeader = false;
  }
  for (;;) {
    const result = findHeader(text, from, header, family);
    if (result === Result.NONE) return false;
    if (result === Result.FOUND) break;
    from = found.offset;
  }
  walk.inHeader = true;
  return true;
}

/** "METHOD sip:user@address:port ...": the address of the request's line. */
export function findRequestUri(text: string, family: number): Result {
  const method = letters(text, 0);
  let at = method + 1;
  if (method === 0 || at >= text.length) return Result.NONE;
  for (; at < text.length - 4; at++) {
    if (isBreak(text.charCodeAt(at))) return Result.BAD;
    if (standsAt(text, at, "sip:")) {
      at += 4;
      break;
    }
  }
  skipped = 0;
  if (userEndpoint(text, at, family) === 0) return Result.NONE;
  found.offset = at + skipped;
  const end = readPort(text, readAddress(text, found.offset, family, true));
  found.length = end - found.offset;
  return Result.FOUND;
}

/** Where a parameter's value begins, -1 if the header has none; `parameterEnd` is where this value of the header ends. */
function parameter(text: string, from: number, name: string): number {
  const comma = searchValue(text, from, text.length, ",");
  parameterEnd = comma < 0 ? text.length : comma;
  const start = searchValue(text, from, parameterEnd, name);
  return start < 0 ? -1 : start + name.length;
}
let parameterEnd = 0;

/** A parameter that is an address ("maddr="). */
export function findAddressParameter(
  text: string,
  from: number,
  name: string,
  family: number,
  brackets: boolean,
): boolean {
  const start = parameter(text, from, name);
  if (start < 0) return false;
  const end = readAddress(text.slice(0, parameterEnd), start, family, brackets);
  found.offset = start;
  found.length = end - start;
  return end >= 0;
}

/** A parameter that is a number ("expires=") into `number`, which stays as it is when there is none. */
export function findNumberParameter(text: string, from: number, name: string): Result {
  const start = parameter(text, from, name);
  if (start < 0) return Result.NONE;
  const end = readNumber(text.slice(0, parameterEnd), start);
  found.offset = start;
  found.length = end - start;
  return end === start ? Result.BAD : Result.FOUND;
}

/** The value of "transport=", in lower case; undefined if there is none. */
export function findTransportParameter(text: string, from: number): string | undefined {
  const start = parameter(text, from, "transport=");
  return start < 0 ? undefined : text.slice(start, start + 3).toLowerCase();
}

/**
 * Finds a line of a session description behind `from`.
 * @param until ends the search when such a line comes first
 */
export function findSdp(text: string, from: number, header: Header, until: Header | undefined, family: number): Result {
  for (let at = nextLine(text, from); at >= 0; at = nextLine(text, at + 1)) {
    if (until !== undefined && standsAt(text, at, until.name)) return Result.NONE;
    if (!standsAt(text, at, header.name)) continue;
    const value = at + header.name.length;
    found.offset = value;
    if (header.search === undefined) return measure(text, value, header, family);
    let end = value;
    while (end < text.length && !isBreak(text.charCodeAt(end))) end++;
    const start = text.slice(0, end).indexOf(header.search, value);
    const fits = start >= 0 && start < text.length - header.search.length;
    return measure(text, fits ? start + header.search.length : -1, header, family);
  }
  return Result.NONE;
}
