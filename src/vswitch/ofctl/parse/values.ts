/** Reads the values of fields. */
import { parseIpv4, parseIpv6, parseMac } from "../../../net/address.ts";
import { bigintToBytes } from "../../bigint.ts";
import type { OfpField } from "../../fields.ts";
import { OFPP_IN_PORT } from "../../flow.ts";
import type { Span } from "../errors.ts";
import { type PortNames, reservedPort } from "../ports.ts";
import { ctStates, entry, fragments, fullMask, type MaskedValue, tcpFlags } from "../symbols.ts";
import { parseBigInteger, parseInteger } from "./lexer.ts";

/** Reads a port: a number, a name of `names` (in double quotes or not), or a reserved name. @throws OfpError */
export function parsePort(span: Span, names: PortNames): number {
  const text = span.text;
  const named = reservedPort(text) ?? names.numberOf(text.replace(/^"(.*)"$/, "$1"));
  if (named !== undefined) return named;
  if (!/^[0-9]/.test(text)) throw span.syntax("no such port");
  const port = parseInteger(span, 0xffff);
  if (port >= 0xff00 && port < OFPP_IN_PORT) throw span.syntax("port number is reserved");
  return port;
}

/** @throws OfpError */
export function macValue(span: Span): Uint8Array {
  const bytes = parseMac(span.text);
  if (bytes === null) throw span.syntax("not an Ethernet address");
  return bytes;
}

/** @throws OfpError */
export function ipv4Value(span: Span): Uint8Array {
  const bytes = parseIpv4(span.text);
  if (bytes === null) throw span.syntax("not an IPv4 address");
  return bytes;
}

/** RFC 4291 section 2.2. @throws OfpError */
export function ipv6Value(span: Span): Uint8Array {
  const bytes = parseIpv6(span.text);
  if (bytes === null) throw span.syntax("not an IPv6 address");
  return bytes;
}

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

/** Reads `value[/mask]` of a field. */
export function parseMasked(field: OfpField, span: Span, names: PortNames): MaskedValue {
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

function parseMask(field: OfpField, span: Span, names: PortNames): Uint8Array {
  if ((field.kind === "ip4" || field.kind === "ip6") && /^\d+$/.test(span.text)) {
    const total = field.size * 8;
    const length = parseInteger(span, total);
    return bigintToBytes(((1n << BigInt(length)) - 1n) << BigInt(total - length), field.size);
  }
  return parseValue(field, span, names);
}

/** Reads a value without mask. */
function parseValue(field: OfpField, span: Span, names: PortNames): Uint8Array {
  const size = (field.width + 7) >> 3;
  switch (field.kind) {
    case "mac":
      return macValue(span);
    case "ip4":
      return ipv4Value(span);
    case "ip6":
      return ipv6Value(span);
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
