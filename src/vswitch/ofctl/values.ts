/** How the values of fields are written and read. */
import {
  parseIpv4 as ipv4Bytes,
  ipv4Text,
  parseIpv6 as ipv6Bytes,
  ipv6Text,
  parseMac as macBytes,
  macText,
} from "../../net/address.ts";
import { bigintToBytes, bytesToBigint, type Field } from "../fields.ts";
import {
  OFPP_ALL,
  OFPP_CONTROLLER,
  OFPP_FLOOD,
  OFPP_IN_PORT,
  OFPP_LOCAL,
  OFPP_NONE,
  OFPP_NORMAL,
  OFPP_TABLE,
} from "../flow.ts";
import type { Span } from "./errors.ts";
import { parseBigInteger, parseInteger } from "./lexer.ts";

/** Resolves port names to OpenFlow port numbers and back. */
export interface PortNames {
  numberOf(name: string): number | undefined;
  nameOf(port: number): string | undefined;
}

/** No names: ports are numbers. */
export const noPortNames: PortNames = { numberOf: () => undefined, nameOf: () => undefined };

/** What a table has under a name, and not what every object has: `constructor` is nobody's port. */
export const entry = <T>(table: Readonly<Record<string, T>>, name: string): T | undefined =>
  Object.hasOwn(table, name) ? table[name] : undefined;

const reservedPorts: Readonly<Record<string, number>> = {
  in_port: OFPP_IN_PORT,
  table: OFPP_TABLE,
  normal: OFPP_NORMAL,
  flood: OFPP_FLOOD,
  all: OFPP_ALL,
  controller: OFPP_CONTROLLER,
  local: OFPP_LOCAL,
  none: OFPP_NONE,
  any: OFPP_NONE,
};

/** The reserved port of a name such as IN_PORT or LOCAL. */
export function reservedPort(name: string): number | undefined {
  return entry(reservedPorts, name.toLowerCase());
}

export function parsePort(span: Span, names: PortNames): number {
  const text = span.text;
  const named = reservedPort(text) ?? names.numberOf(text.replace(/^"(.*)"$/, "$1"));
  if (named !== undefined) return named;
  if (!/^[0-9]/.test(text)) throw span.syntax("no such port");
  const port = parseInteger(span, 0xffff);
  if (port >= 0xff00 && port < OFPP_IN_PORT) throw span.syntax("port number is reserved");
  return port;
}

export function formatPort(port: number, names: PortNames): string {
  switch (port) {
    case OFPP_IN_PORT:
      return "IN_PORT";
    case OFPP_TABLE:
      return "TABLE";
    case OFPP_NORMAL:
      return "NORMAL";
    case OFPP_FLOOD:
      return "FLOOD";
    case OFPP_ALL:
      return "ALL";
    case OFPP_CONTROLLER:
      return "CONTROLLER";
    case OFPP_LOCAL:
      return "LOCAL";
    case OFPP_NONE:
      return "NONE";
  }
  const name = names.nameOf(port);
  if (name === undefined) return String(port);
  return /^[a-zA-Z_][\w.-]*$/.test(name) ? name : `"${name}"`;
}

export function parseMac(span: Span): Uint8Array {
  const bytes = macBytes(span.text);
  if (bytes === null) throw span.syntax("not an Ethernet address");
  return bytes;
}

export function parseIpv4(span: Span): Uint8Array {
  const bytes = ipv4Bytes(span.text);
  if (bytes === null) throw span.syntax("not an IPv4 address");
  return bytes;
}

export function parseIpv6(span: Span): Uint8Array {
  const bytes = ipv6Bytes(span.text);
  if (bytes === null) throw span.syntax("not an IPv6 address");
  return bytes;
}

const ctStates = ["new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat"];
const tcpFlags = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns"];

/** `+trk-new` or `trk|new`; a bare number or number/mask as well. */
function parseFlags(span: Span, names: readonly string[], all: number): { value: number; mask: number } {
  const text = span.text;
  if (/^\d/.test(text)) {
    const [left, right] = span.split("/");
    const mask = right ? parseInteger(right, 0xffffffff) : all;
    return { value: parseInteger(left, all) & mask, mask };
  }
  const bitOf = (name: string, at: number): number => {
    const index = names.indexOf(name);
    if (index < 0)
      throw span.slice(at, at + Math.max(1, name.length)).syntax(`no such flag, one of ${names.join(", ")}`);
    return 1 << index;
  };
  let value = 0;
  let mask = 0;
  if (text.startsWith("+") || text.startsWith("-")) {
    for (let at = 0; at < text.length; ) {
      const sign = text[at];
      if (sign !== "+" && sign !== "-") throw span.slice(at).syntax("+ or - expected");
      let end = at + 1;
      while (end < text.length && /[a-z0-9]/i.test(text[end])) end++;
      const bit = bitOf(text.slice(at + 1, end), at + 1);
      if (mask & bit) throw span.slice(at, end).syntax("flag given twice");
      mask |= bit;
      if (sign === "+") value |= bit;
      at = end;
    }
    return { value, mask };
  }
  let at = 0;
  for (const name of text.split("|")) {
    value |= bitOf(name, at);
    at += name.length + 1;
  }
  return { value, mask: all };
}

function formatFlags(value: number, mask: number, names: readonly string[], all: number): string {
  if ((mask & all) === all) {
    if (value === 0) return "0";
    return names.filter((_, i) => value & (1 << i)).join("|");
  }
  return names.map((name, i) => (mask & (1 << i) ? `${value & (1 << i) ? "+" : "-"}${name}` : "")).join("");
}

const fragments: Readonly<Record<string, { value: number; mask: number }>> = {
  no: { value: 0, mask: 3 },
  yes: { value: 1, mask: 1 },
  first: { value: 1, mask: 3 },
  later: { value: 3, mask: 3 },
  not_later: { value: 0, mask: 2 },
};

/** A value and a mask: right-aligned big-endian numbers of ⌈width / 8⌉ bytes. */
export interface MaskedValue {
  readonly value: Uint8Array;
  readonly mask: Uint8Array;
}

export function fullMask(field: Field): Uint8Array {
  // The two low bits of the byte are ECN's, a field of its own.
  if (field.name === "nw_tos") return Uint8Array.of(0xfc);
  return bigintToBytes((1n << BigInt(field.bits)) - 1n, (field.width + 7) >> 3);
}

/** Reads `value[/mask]` of a field. */
export function parseMasked(field: Field, span: Span, names: PortNames): MaskedValue {
  const size = (field.width + 7) >> 3;
  const small = (value: number) => bigintToBytes(BigInt(value), size);
  if (field.kind === "ct_state" || field.kind === "tcp_flags") {
    const state = field.kind === "ct_state";
    const flags = parseFlags(span, state ? ctStates : tcpFlags, state ? 0xff : 0xfff);
    return { value: small(flags.value), mask: small(flags.mask) };
  }
  if (field.kind === "frag") {
    const found = entry(fragments, span.text);
    if (!found) throw span.syntax(`one of ${Object.keys(fragments).join(", ")} expected`);
    return { value: small(found.value), mask: small(found.mask) };
  }
  const [left, right] = span.split("/");
  if (right && !field.maskable) throw right.syntax(`${field.name} cannot be masked`);
  const value = parseValue(field, left, names);
  let mask = fullMask(field);
  if (right) mask = parseMask(field, right, names);
  for (let i = 0; i < size; i++) if (value[i] & ~mask[i]) value[i] &= mask[i];
  return { value, mask };
}

function parseMask(field: Field, span: Span, names: PortNames): Uint8Array {
  if ((field.kind === "ip4" || field.kind === "ip6") && /^\d+$/.test(span.text)) {
    const total = field.size * 8;
    const length = parseInteger(span, total);
    return bigintToBytes(((1n << BigInt(length)) - 1n) << BigInt(total - length), field.size);
  }
  return parseValue(field, span, names);
}

/** Reads a value without mask. */
export function parseValue(field: Field, span: Span, names: PortNames): Uint8Array {
  const size = (field.width + 7) >> 3;
  switch (field.kind) {
    case "mac":
      return parseMac(span);
    case "ip4":
      return parseIpv4(span);
    case "ip6":
      return parseIpv6(span);
    case "port":
      return bigintToBytes(BigInt(parsePort(span, names)), size);
    default: {
      const value = parseBigInteger(span, field.width);
      if (field.name === "nw_tos" && value & 3n) throw span.syntax("the two low bits of nw_tos are ECN's; must be 0");
      if (value >> BigInt(field.bits) && field.name !== "arp_op") throw span.syntax(`too big for ${field.bits} bits`);
      return bigintToBytes(value, size);
    }
  }
}

/** Writes a value of a field without its mask. */
export function formatValue(field: Field, value: Uint8Array, names: PortNames): string {
  switch (field.kind) {
    case "mac":
      return macText(value);
    case "ip4":
      return ipv4Text(value);
    case "ip6":
      return ipv6Text(value);
    case "port":
      return formatPort(Number(bytesToBigint(value)), names);
    case "decimal":
      return bytesToBigint(value).toString();
    case "eth_type":
    case "tci":
      return `0x${bytesToBigint(value).toString(16).padStart(4, "0")}`;
    default: {
      const number = bytesToBigint(value);
      return number === 0n ? "0" : `0x${number.toString(16)}`;
    }
  }
}

/** Writes `value[/mask]`. */
export function formatMasked(field: Field, masked: MaskedValue, names: PortNames): string {
  const value = Number(bytesToBigint(masked.value.subarray(-4)));
  const mask = Number(bytesToBigint(masked.mask.subarray(-4)));
  if (field.kind === "ct_state") return formatFlags(value, mask, ctStates, 0xff);
  if (field.kind === "tcp_flags") {
    if ((mask & 0xfff) === 0xfff) return (value & 0xfff) === 0 ? "0" : formatFlags(value, mask, tcpFlags, 0x1ff);
    return formatFlags(value, mask, tcpFlags, 0xfff);
  }
  if (field.kind === "frag") {
    for (const [name, frag] of Object.entries(fragments)) if (frag.value === value && frag.mask === mask) return name;
    return `0x${value.toString(16)}/0x${mask.toString(16)}`;
  }
  const full = fullMask(field);
  if (masked.mask.every((byte, i) => byte === full[i])) return formatValue(field, masked.value, names);
  if (field.kind === "ip4" || field.kind === "ip6") {
    const length = prefixLength(masked.mask);
    if (length >= 0) return `${formatValue(field, masked.value, names)}/${length}`;
  }
  if (field.kind === "decimal") {
    const hex = (bytes: Uint8Array) => `0x${bytesToBigint(bytes).toString(16)}`;
    return `${hex(masked.value)}/${hex(masked.mask)}`;
  }
  return `${formatValue(field, masked.value, names)}/${formatValue(field, masked.mask, names)}`;
}

/** Length of a contiguous prefix mask, or -1. */
export function prefixLength(mask: Uint8Array): number {
  let length = 0;
  while (length < mask.length * 8 && mask[length >> 3] & (0x80 >> (length & 7))) length++;
  for (let i = length; i < mask.length * 8; i++) if (mask[i >> 3] & (0x80 >> (i & 7))) return -1;
  return length;
}
