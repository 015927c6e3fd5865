/** Writes keys and masks (OVS_KEY_ATTR_*). */
import {
  type FieldPosition,
  payloads,
  payloadsByName,
  type StructAttribute,
  type StructField,
} from "../../netlink/schema/index.ts";
import { keyAttributes, nshAttributes } from "../../schema/openvswitch.ts";
import { OVS_KEY_ATTR_PACKET_TYPE } from "../../uapi/openvswitch.ts";
import {
  asDecimal,
  asFlowLabel,
  asFragment,
  asHex,
  asHostOrder,
  asIpv4,
  asIpv6,
  asMac,
  bigEndian,
  bigEndian64,
  CT_STATES,
  type FormatOptions,
  flagsText,
  hex,
  hex4,
  hexBytes,
  isFull,
  isZero,
  littleEndian,
  portText,
  type Style,
  styled,
  TCP_FLAGS,
} from "./numbers.ts";
import { tunnelText } from "./tunnel.ts";

/** A field of a structure: its name in the text, where it lies and how it is written. */
interface ShownField extends FieldPosition {
  readonly name: string;
  readonly style: Style;
}

/** The text of an attribute that is a C struct: its name and fields, in the order that they are shown. */
type Structure = readonly [name: string, fields: readonly ShownField[]];

/** @param shown field of the layout, how it is written, and its name in the text where that differs */
function structure<L extends Readonly<Record<string, StructField>>>(
  name: string,
  { fields }: StructAttribute<L>,
  ...shown: readonly (readonly [field: NoInfer<keyof StructAttribute<L>["fields"]>, style: Style, text?: string])[]
): Structure {
  return [name, shown.map(([field, style, text = field]) => ({ name: text, style, ...fields[field] }))];
}

const { definitions } = keyAttributes;
const ports = [
  ["src", asDecimal],
  ["dst", asDecimal],
] as const;
const types = [
  ["type", asDecimal],
  ["code", asDecimal],
] as const;
const originalTuple = [
  ["proto", asDecimal],
  ["sport", asDecimal, "tp_src"],
  ["dport", asDecimal, "tp_dst"],
] as const;

/** Structures of linux/openvswitch.h by attribute. */
const STRUCTURES: Readonly<Record<string, Structure>> = {
  ETHERNET: structure("eth", definitions.ETHERNET, ["src", asMac], ["dst", asMac]),
  IPV4: structure(
    "ipv4",
    definitions.IPV4,
    ["src", asIpv4],
    ["dst", asIpv4],
    ["proto", asDecimal],
    ["tos", asHex],
    ["ttl", asDecimal],
    ["frag", asFragment],
  ),
  IPV6: structure(
    "ipv6",
    definitions.IPV6,
    ["src", asIpv6],
    ["dst", asIpv6],
    ["label", asFlowLabel],
    ["proto", asDecimal],
    ["tclass", asHex],
    ["hlimit", asDecimal],
    ["frag", asFragment],
  ),
  TCP: structure("tcp", definitions.TCP, ...ports),
  UDP: structure("udp", definitions.UDP, ...ports),
  SCTP: structure("sctp", definitions.SCTP, ...ports),
  ICMP: structure("icmp", definitions.ICMP, ...types),
  ICMPV6: structure("icmpv6", definitions.ICMPV6, ...types),
  ARP: structure(
    "arp",
    definitions.ARP,
    ["sip", asIpv4],
    ["tip", asIpv4],
    ["op", asDecimal],
    ["sha", asMac],
    ["tha", asMac],
  ),
  ND: structure("nd", definitions.ND, ["target", asIpv6], ["sll", asMac], ["tll", asMac]),
  CT_ORIG_TUPLE_IPV4: structure(
    "ct_tuple4",
    definitions.CT_ORIG_TUPLE_IPV4,
    ["src", asIpv4],
    ["dst", asIpv4],
    ...originalTuple,
  ),
  CT_ORIG_TUPLE_IPV6: structure(
    "ct_tuple6",
    definitions.CT_ORIG_TUPLE_IPV6,
    ["src", asIpv6],
    ["dst", asIpv6],
    ...originalTuple,
  ),
};

/** 128 bits in host order: the first byte is the lowest. */
export const ctLabels = styled((bytes) => hex(bigEndian64(bytes.slice().reverse())));

/** An attribute that no kernel has, so that its set has no name for it. */
const PACKET_TYPE = `#${OVS_KEY_ATTR_PACKET_TYPE}`;

/** Plain values: name and style. */
const VALUES: Readonly<Record<string, readonly [name: string, style: Style]>> = {
  RECIRC_ID: ["recirc_id", asHostOrder],
  DP_HASH: ["dp_hash", asHostOrder],
  PRIORITY: ["skb_priority", asHostOrder],
  SKB_MARK: ["skb_mark", asHostOrder],
  CT_ZONE: ["ct_zone", asHostOrder],
  CT_MARK: ["ct_mark", asHostOrder],
  CT_LABELS: ["ct_label", ctLabels],
  ETHERTYPE: ["eth_type", styled((bytes) => hex4(bigEndian(bytes)))],
  IPV6_EXTHDRS: ["ipv6_exthdrs", asHostOrder],
};

function structureText(
  [name, fields]: Structure,
  value: Uint8Array,
  mask: Uint8Array | null,
  verbose: boolean,
): string {
  const shown: string[] = [];
  for (const { name: fieldName, offset, size, style } of fields) {
    const part = mask?.subarray(offset, offset + size) ?? null;
    if (!verbose && part !== null && isZero(part)) continue;
    shown.push(`${fieldName}=${style(value.subarray(offset, offset + size), part)}`);
  }
  return `${name}(${shown.join(",")})`;
}

/** Tag control information: vid and pcp; a clear CFI bit is shown: there is no tag. */
export function vlanText(tci: number, mask: number, verbose: boolean): string {
  const shown: string[] = [];
  const vid = mask & 0xfff;
  const pcp = (mask >>> 13) & 7;
  if (verbose || vid) shown.push(`vid=${tci & 0xfff}${vid === 0xfff ? "" : `/0x${vid.toString(16)}`}`);
  if (verbose || pcp) shown.push(`pcp=${tci >>> 13}${pcp === 7 ? "" : `/0x${pcp.toString(16)}`}`);
  if ((tci & 0x1000) === 0) shown.push("cfi=0");
  return shown.join(",");
}

export function mplsText(value: Uint8Array, mask: Uint8Array | null): string {
  const entries: string[] = [];
  for (let at = 0; at + 4 <= value.length; at += 4) {
    const word = bigEndian(value.subarray(at, at + 4));
    const label = word >>> 12;
    const tc = (word >>> 9) & 7;
    const ttl = word & 0xff;
    const bos = (word >>> 8) & 1;
    const part = mask === null || mask.length < at + 4 ? null : mask.subarray(at, at + 4);
    if (part === null || isFull(part)) {
      entries.push(`label=${label},tc=${tc},ttl=${ttl},bos=${bos}`);
      continue;
    }
    const bits = bigEndian(part);
    entries.push(
      `label=${label}/0x${(bits >>> 12).toString(16)},tc=${tc}/${((bits >>> 9) & 7).toString(16)},` +
        `ttl=${ttl}/0x${(bits & 0xff).toString(16)},bos=${bos}/${((bits >>> 8) & 1).toString(16)}`,
    );
  }
  return entries.join(",");
}

const NSH_BASE = nshAttributes.definitions.BASE;

/** OVS_NSH_KEY_ATTR_*: the base header, whose path is 24 bits of SPI and 8 bits of SI, and four context words. */
export function nshText(key: Uint8Array, mask: Uint8Array | null, verbose: boolean): string {
  const values = payloadsByName(nshAttributes, key);
  const masks = mask && payloadsByName(nshAttributes, mask);
  const base = values.get("BASE") ?? new Uint8Array(NSH_BASE.size);
  const baseMask = masks === null ? null : (masks.get("BASE") ?? new Uint8Array(NSH_BASE.size));
  const shown: string[] = [];
  const add = (name: string, value: Uint8Array, part: Uint8Array | null, style: Style): void => {
    if (verbose || part === null || !isZero(part)) shown.push(`${name}=${style(value, part)}`);
  };
  const addBase = (name: string, { offset, size }: FieldPosition, style: Style): void =>
    add(name, base.subarray(offset, offset + size), baseMask?.subarray(offset, offset + size) ?? null, style);
  const { flags, ttl, mdtype, np, path } = NSH_BASE.fields;
  const word = styled((bytes) => `0x${bigEndian(bytes).toString(16)}`);
  addBase("flags", flags, asDecimal);
  addBase("ttl", ttl, asDecimal);
  addBase("mdtype", mdtype, asDecimal);
  addBase("np", np, asDecimal);
  addBase("spi", { offset: path.offset, size: 3 }, word);
  addBase("si", { offset: path.offset + 3, size: 1 }, asDecimal);
  const context = values.get("MD1");
  const contextMask = masks?.get("MD1");
  for (let i = 0; context !== undefined && i < 4; i++) {
    const part = masks === null ? null : (contextMask?.subarray(i * 4, i * 4 + 4) ?? new Uint8Array(4));
    add(`c${i + 1}`, context.subarray(i * 4, i * 4 + 4), part, word);
  }
  return shown.join(",");
}

/**
 * One attribute of a key, or of a set action.
 * @param attribute its name in keyAttributes, or `#` and its number
 * @param mask null: exact
 */
export function attributeText(
  attribute: string,
  value: Uint8Array,
  mask: Uint8Array | null,
  options: FormatOptions,
): string {
  const verbose = options.verbose ?? false;
  const plain = VALUES[attribute];
  if (plain !== undefined) return `${plain[0]}(${plain[1](value, mask)})`;
  const structure = STRUCTURES[attribute];
  if (structure !== undefined) return structureText(structure, value, mask, verbose);
  switch (attribute) {
    case "IN_PORT": {
      const port = portText(littleEndian(value), options);
      return `in_port(${port}${mask === null || isFull(mask) ? "" : `/${hex(littleEndian(mask))}`})`;
    }
    case "CT_STATE":
      return `ct_state(${verbose ? asHostOrder(value, mask) : flagsText(CT_STATES, littleEndian(value), mask === null ? 0xff : littleEndian(mask))})`;
    case "TCP_FLAGS": {
      const bits = mask === null ? 0xfff : bigEndian(mask) & 0xfff;
      return `tcp_flags(${bits === 0 ? asHex(value, mask) : flagsText(TCP_FLAGS, bigEndian(value), bits)})`;
    }
    case "VLAN":
      return `vlan(${vlanText(bigEndian(value), mask === null ? 0xffff : bigEndian(mask), verbose)})`;
    case "MPLS":
      return `mpls(${mplsText(value, mask)})`;
    case "TUNNEL":
      return `tunnel(${tunnelText(value, mask, verbose)})`;
    case "NSH":
      return `nsh(${nshText(value, mask, verbose)})`;
    case "ENCAP":
      return `encap(${formatKey(value, mask, options)})`;
    case PACKET_TYPE:
      return `packet_type(ns=${bigEndian(value.subarray(0, 2))},id=${hex4(bigEndian(value.subarray(2, 4)))})`;
    default:
      return `key${attribute.slice(1)}(${hexBytes(value)}${mask === null ? "" : `/${hexBytes(mask)}`})`;
  }
}

/**
 * Writes a sequence of OVS_KEY_ATTR_*, in its order.
 * @param mask null or left out: every bit is matched; an attribute that it lacks is wildcarded
 */
export function formatKey(key: Uint8Array, mask?: Uint8Array | null, options: FormatOptions = {}): string {
  const masks = mask ? payloadsByName(keyAttributes, mask) : null;
  const shown: string[] = [];
  let hasType = false;
  for (const [attribute, value] of payloads(keyAttributes, key)) {
    if (attribute === "ETHERTYPE") hasType = true;
    const part = masks === null ? null : (masks.get(attribute) ?? new Uint8Array(value.length));
    const nested = NESTED.has(attribute);
    const wildcarded = part !== null && (nested ? !masks?.has(attribute) : isZero(part));
    if (!wildcarded || (options.verbose && attribute !== "IPV6_EXTHDRS")) {
      shown.push(attributeText(attribute, value, part, options));
    } else if (attribute === "ETHERNET") {
      // The presence of an Ethernet header is matched even so.
      shown.push("eth()");
    }
  }
  const typeMask = masks?.get("ETHERTYPE");
  // A mask without a key: frames that have no Ethernet type.
  if (!hasType && typeMask !== undefined) shown.push(`eth_type(0/${hex4(bigEndian(typeMask))})`);
  return shown.join(",");
}

const NESTED: ReadonlySet<string> = new Set(["ENCAP", "TUNNEL", "NSH"]);
