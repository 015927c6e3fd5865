/** Writes keys and masks (OVS_KEY_ATTR_*). */
import { payloads, payloadsByName } from "../../netlink/schema/index.ts";
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

interface StructField {
  readonly name: string;
  readonly offset: number;
  readonly size: number;
  readonly style: Style;
}

function field(name: string, offset: number, size: number, style: Style): StructField {
  return { name, offset, size, style };
}

/** Structures of linux/openvswitch.h, in the order that fields are shown. */
const STRUCTURES: Readonly<Record<string, readonly [name: string, fields: readonly StructField[]]>> = {
  ETHERNET: ["eth", [field("src", 0, 6, asMac), field("dst", 6, 6, asMac)]],
  IPV4: [
    "ipv4",
    [
      field("src", 0, 4, asIpv4),
      field("dst", 4, 4, asIpv4),
      field("proto", 8, 1, asDecimal),
      field("tos", 9, 1, asHex),
      field("ttl", 10, 1, asDecimal),
      field("frag", 11, 1, asFragment),
    ],
  ],
  IPV6: [
    "ipv6",
    [
      field("src", 0, 16, asIpv6),
      field("dst", 16, 16, asIpv6),
      field("label", 32, 4, asFlowLabel),
      field("proto", 36, 1, asDecimal),
      field("tclass", 37, 1, asHex),
      field("hlimit", 38, 1, asDecimal),
      field("frag", 39, 1, asFragment),
    ],
  ],
  TCP: ["tcp", [field("src", 0, 2, asDecimal), field("dst", 2, 2, asDecimal)]],
  UDP: ["udp", [field("src", 0, 2, asDecimal), field("dst", 2, 2, asDecimal)]],
  SCTP: ["sctp", [field("src", 0, 2, asDecimal), field("dst", 2, 2, asDecimal)]],
  ICMP: ["icmp", [field("type", 0, 1, asDecimal), field("code", 1, 1, asDecimal)]],
  ICMPV6: ["icmpv6", [field("type", 0, 1, asDecimal), field("code", 1, 1, asDecimal)]],
  ARP: [
    "arp",
    [
      field("sip", 0, 4, asIpv4),
      field("tip", 4, 4, asIpv4),
      field("op", 8, 2, asDecimal),
      field("sha", 10, 6, asMac),
      field("tha", 16, 6, asMac),
    ],
  ],
  ND: ["nd", [field("target", 0, 16, asIpv6), field("sll", 16, 6, asMac), field("tll", 22, 6, asMac)]],
  CT_ORIG_TUPLE_IPV4: [
    "ct_tuple4",
    [
      field("src", 0, 4, asIpv4),
      field("dst", 4, 4, asIpv4),
      field("proto", 12, 1, asDecimal),
      field("tp_src", 8, 2, asDecimal),
      field("tp_dst", 10, 2, asDecimal),
    ],
  ],
  CT_ORIG_TUPLE_IPV6: [
    "ct_tuple6",
    [
      field("src", 0, 16, asIpv6),
      field("dst", 16, 16, asIpv6),
      field("proto", 36, 1, asDecimal),
      field("tp_src", 32, 2, asDecimal),
      field("tp_dst", 34, 2, asDecimal),
    ],
  ],
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
  [name, fields]: readonly [string, readonly StructField[]],
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

/** OVS_NSH_KEY_ATTR_*: base {flags, ttl, mdtype, np, be32 path} and four context words. */
export function nshText(key: Uint8Array, mask: Uint8Array | null, verbose: boolean): string {
  const values = payloadsByName(nshAttributes, key);
  const masks = mask && payloadsByName(nshAttributes, mask);
  const base = values.get("BASE") ?? new Uint8Array(8);
  const baseMask = masks === null ? null : (masks.get("BASE") ?? new Uint8Array(8));
  const shown: string[] = [];
  const add = (name: string, value: Uint8Array, part: Uint8Array | null, style: Style): void => {
    if (verbose || part === null || !isZero(part)) shown.push(`${name}=${style(value, part)}`);
  };
  const at = (name: string, offset: number, size: number, style: Style): void =>
    add(name, base.subarray(offset, offset + size), baseMask?.subarray(offset, offset + size) ?? null, style);
  at("flags", 0, 1, asDecimal);
  at("ttl", 1, 1, asDecimal);
  at("mdtype", 2, 1, asDecimal);
  at("np", 3, 1, asDecimal);
  at(
    "spi",
    4,
    3,
    styled((bytes) => `0x${bigEndian(bytes).toString(16)}`),
  );
  at("si", 7, 1, asDecimal);
  const context = values.get("MD1");
  const contextMask = masks?.get("MD1");
  const word = styled((bytes) => `0x${bigEndian(bytes).toString(16)}`);
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
