/** Writes the values of fields. */
import { ipv4Text, ipv6Text, macText } from "../../../net/address.ts";
import { bytesToBigint } from "../../bigint.ts";
import type { OfpField } from "../../fields.ts";
import { formatPort, type PortNames } from "../ports.ts";
import { ctStates, fragments, fullMask, type MaskedValue, tcpFlags } from "../symbols.ts";

/** Writes a value of a field without its mask. */
export function formatValue(field: OfpField, value: Uint8Array, names: PortNames): string {
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
export function formatMasked(field: OfpField, masked: MaskedValue, names: PortNames): string {
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
function prefixLength(mask: Uint8Array): number {
  let length = 0;
  while (length < mask.length * 8 && mask[length >> 3] & (0x80 >> (length & 7))) length++;
  for (let i = length; i < mask.length * 8; i++) if (mask[i >> 3] & (0x80 >> (i & 7))) return -1;
  return length;
}

function formatFlags(value: number, mask: number, names: readonly string[], all: number): string {
  if ((mask & all) === all) {
    if (value === 0) return "0";
    return names.filter((_, i) => value & (1 << i)).join("|");
  }
  return names.map((name, i) => (mask & (1 << i) ? `${value & (1 << i) ? "+" : "-"}${name}` : "")).join("");
}
