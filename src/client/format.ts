/**
 * Keys, masks, actions and flows in the syntax of ovs-dpctl(8). What is not matched is left out; `verbose` shows it, as
 * `ovs-dpctl dump-flows -m` does.
 */

import { ipv4Text, ipv6Text, macText } from "../net/address.ts";
import { AttributeReader } from "../netlink/reader.ts";
import { NOKMOD_NAT_ATTR_DST_ZONE, NOKMOD_NAT_ATTR_REVERSE, NOKMOD_NAT_ATTR_SRC_ZONE } from "../uapi/nokmod.ts";
import * as ovs from "../uapi/openvswitch.ts";
import type { FlowInfo } from "./ovs.ts";

/** How to write. */
export interface FormatOptions {
  /** Shows wildcarded fields too. */
  readonly verbose?: boolean;
  /** Name of a port; its number when left out. */
  readonly portName?: (portNo: number) => string;
}

/** `%#x` of C: 0 has no prefix. */
const hex = (value: number | bigint): string => (value ? `0x${value.toString(16)}` : "0");
const hex4 = (value: number): string => `0x${value.toString(16).padStart(4, "0")}`;
const hexBytes = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const isZero = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0);
const isFull = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0xff);

function bigEndian(bytes: Uint8Array): number {
  let value = 0;
  for (const byte of bytes) value = value * 256 + byte;
  return value;
}

function bigEndian64(bytes: Uint8Array): bigint {
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  return value;
}

/** Host order, any width up to 32 bits. */
const littleEndian = (bytes: Uint8Array): number => bigEndian(bytes.slice().reverse());

/** How a field and its mask are written. */
type Style = (value: Uint8Array, mask: Uint8Array | null) => string;

const styled =
  (write: (bytes: Uint8Array) => string, writeMask = write): Style =>
  (value, mask) =>
    mask === null || isFull(mask) ? write(value) : `${write(value)}/${writeMask(mask)}`;

const decimal = styled(
  (bytes) => String(bigEndian(bytes)),
  (bytes) => hex(bigEndian(bytes)),
);
const hexadecimal = styled((bytes) => hex(bigEndian(bytes)));
const mac = styled(macText);
const ipv4 = styled(ipv4Text);
const ipv6 = styled(ipv6Text);
const host = styled((bytes) => hex(littleEndian(bytes)));
const FRAGMENTS = ["no", "first", "later"];
const fragment: Style = (value) => FRAGMENTS[value[0]] ?? `<invalid: ${value[0]}>`;

/** Twenty bits of a 32-bit big-endian word. */
const flowLabel: Style = (value, mask) => {
  const all = mask === null || (bigEndian(mask) & 0xfffff) === 0xfffff;
  return all ? hex(bigEndian(value)) : `${hex(bigEndian(value))}/${hex(bigEndian(mask))}`;
};

interface Field {
  readonly name: string;
  readonly offset: number;
  readonly size: number;
  readonly style: Style;
}

function field(name: string, offset: number, size: number, style: Style): Field {
  return { name, offset, size, style };
}

/** Structures of linux/openvswitch.h, in the order that fields are shown. */
const STRUCTURES: Readonly<Record<number, readonly [name: string, fields: readonly Field[]]>> = {
  [ovs.OVS_KEY_ATTR_ETHERNET]: ["eth", [field("src", 0, 6, mac), field("dst", 6, 6, mac)]],
  [ovs.OVS_KEY_ATTR_IPV4]: [
    "ipv4",
    [
      field("src", 0, 4, ipv4),
      field("dst", 4, 4, ipv4),
      field("proto", 8, 1, decimal),
      field("tos", 9, 1, hexadecimal),
      field("ttl", 10, 1, decimal),
      field("frag", 11, 1, fragment),
    ],
  ],
  [ovs.OVS_KEY_ATTR_IPV6]: [
    "ipv6",
    [
      field("src", 0, 16, ipv6),
      field("dst", 16, 16, ipv6),
      field("label", 32, 4, flowLabel),
      field("proto", 36, 1, decimal),
      field("tclass", 37, 1, hexadecimal),
      field("hlimit", 38, 1, decimal),
      field("frag", 39, 1, fragment),
    ],
  ],
  [ovs.OVS_KEY_ATTR_TCP]: ["tcp", [field("src", 0, 2, decimal), field("dst", 2, 2, decimal)]],
  [ovs.OVS_KEY_ATTR_UDP]: ["udp", [field("src", 0, 2, decimal), field("dst", 2, 2, decimal)]],
  [ovs.OVS_KEY_ATTR_SCTP]: ["sctp", [field("src", 0, 2, decimal), field("dst", 2, 2, decimal)]],
  [ovs.OVS_KEY_ATTR_ICMP]: ["icmp", [field("type", 0, 1, decimal), field("code", 1, 1, decimal)]],
  [ovs.OVS_KEY_ATTR_ICMPV6]: ["icmpv6", [field("type", 0, 1, decimal), field("code", 1, 1, decimal)]],
  [ovs.OVS_KEY_ATTR_ARP]: [
    "arp",
    [
      field("sip", 0, 4, ipv4),
      field("tip", 4, 4, ipv4),
      field("op", 8, 2, decimal),
      field("sha", 10, 6, mac),
      field("tha", 16, 6, mac),
    ],
  ],
  [ovs.OVS_KEY_ATTR_ND]: ["nd", [field("target", 0, 16, ipv6), field("sll", 16, 6, mac), field("tll", 22, 6, mac)]],
  [ovs.OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4]: [
    "ct_tuple4",
    [
      field("src", 0, 4, ipv4),
      field("dst", 4, 4, ipv4),
      field("proto", 12, 1, decimal),
      field("tp_src", 8, 2, decimal),
      field("tp_dst", 10, 2, decimal),
    ],
  ],
  [ovs.OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6]: [
    "ct_tuple6",
    [
      field("src", 0, 16, ipv6),
      field("dst", 16, 16, ipv6),
      field("proto", 36, 1, decimal),
      field("tp_src", 32, 2, decimal),
      field("tp_dst", 34, 2, decimal),
    ],
  ],
};

/** Plain values: name and style. */
const VALUES: Readonly<Record<number, readonly [name: string, style: Style]>> = {
  [ovs.OVS_KEY_ATTR_RECIRC_ID]: ["recirc_id", host],
  [ovs.OVS_KEY_ATTR_DP_HASH]: ["dp_hash", host],
  [ovs.OVS_KEY_ATTR_PRIORITY]: ["skb_priority", host],
  [ovs.OVS_KEY_ATTR_SKB_MARK]: ["skb_mark", host],
  [ovs.OVS_KEY_ATTR_CT_ZONE]: ["ct_zone", host],
  [ovs.OVS_KEY_ATTR_CT_MARK]: ["ct_mark", host],
  // The first byte is the lowest.
  [ovs.OVS_KEY_ATTR_CT_LABELS]: ["ct_label", styled((bytes) => hex(bigEndian64(bytes.slice().reverse())))],
  [ovs.OVS_KEY_ATTR_ETHERTYPE]: ["eth_type", styled((bytes) => hex4(bigEndian(bytes)))],
  [ovs.OVS_KEY_ATTR_IPV6_EXTHDRS]: ["ipv6_exthdrs", host],
};

const CT_STATES = ["new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat"];
const TCP_FLAGS = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns"];

/** `+est-new`: the bits that are matched, set or not. */
function flagsText(names: readonly string[], value: number, mask: number): string {
  let text = "";
  for (let bit = 0; bit < names.length; bit++) {
    if ((mask >>> bit) & 1) text += ((value >>> bit) & 1 ? "+" : "-") + names[bit];
  }
  return text;
}

function structureText(
  [name, fields]: readonly [string, readonly Field[]],
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

/** Tag control information: vid and pcp; a missing CFI bit is told, for it means that there is no tag. */
function vlanText(tci: number, mask: number, verbose: boolean): string {
  const shown: string[] = [];
  const vid = mask & 0xfff;
  const pcp = (mask >>> 13) & 7;
  if (verbose || vid) shown.push(`vid=${tci & 0xfff}${vid === 0xfff ? "" : `/0x${vid.toString(16)}`}`);
  if (verbose || pcp) shown.push(`pcp=${tci >>> 13}${pcp === 7 ? "" : `/0x${pcp.toString(16)}`}`);
  if ((tci & 0x1000) === 0) shown.push("cfi=0");
  return shown.join(",");
}

function mplsText(value: Uint8Array, mask: Uint8Array | null): string {
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

/** Attributes by type; the last one wins. */
function byType(reader: AttributeReader): Map<number, Uint8Array> {
  const found = new Map<number, Uint8Array>();
  while (reader.next()) found.set(reader.type, reader.bytes());
  return found;
}

function readerOf(bytes: Uint8Array): AttributeReader {
  return new AttributeReader(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), 0, bytes.length);
}

const TUNNEL_VALUES: Readonly<Record<number, readonly [name: string, style: Style]>> = {
  [ovs.OVS_TUNNEL_KEY_ATTR_ID]: ["tun_id", styled((bytes) => `0x${bigEndian64(bytes).toString(16)}`)],
  [ovs.OVS_TUNNEL_KEY_ATTR_IPV4_SRC]: ["src", ipv4],
  [ovs.OVS_TUNNEL_KEY_ATTR_IPV4_DST]: ["dst", ipv4],
  [ovs.OVS_TUNNEL_KEY_ATTR_IPV6_SRC]: ["ipv6_src", ipv6],
  [ovs.OVS_TUNNEL_KEY_ATTR_IPV6_DST]: ["ipv6_dst", ipv6],
  [ovs.OVS_TUNNEL_KEY_ATTR_TOS]: ["tos", hexadecimal],
  [ovs.OVS_TUNNEL_KEY_ATTR_TTL]: ["ttl", decimal],
  [ovs.OVS_TUNNEL_KEY_ATTR_TP_SRC]: ["tp_src", decimal],
  [ovs.OVS_TUNNEL_KEY_ATTR_TP_DST]: ["tp_dst", decimal],
};

/** Attributes that are flags, in the order that they are shown; the key flag is told by the presence of an id. */
const TUNNEL_FLAGS: readonly (readonly [type: number, name: string])[] = [
  [ovs.OVS_TUNNEL_KEY_ATTR_OAM, "oam"],
  [ovs.OVS_TUNNEL_KEY_ATTR_DONT_FRAGMENT, "df"],
  [ovs.OVS_TUNNEL_KEY_ATTR_CSUM, "csum"],
  [ovs.OVS_TUNNEL_KEY_ATTR_ID, "key"],
];

function tunnelText(key: Uint8Array, mask: Uint8Array | null, verbose: boolean): string {
  const masks = mask && byType(readerOf(mask));
  const values = byType(readerOf(key));
  const shown: string[] = [];
  for (const [type, value] of values) {
    const part = masks === null ? null : (masks.get(type) ?? new Uint8Array(value.length));
    if (!verbose && part !== null && value.length > 0 && isZero(part)) continue;
    const plain = TUNNEL_VALUES[type];
    if (plain !== undefined) shown.push(`${plain[0]}=${plain[1](value, part)}`);
    else if (type === ovs.OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS) shown.push(`geneve(${geneveText(value, part)})`);
    else if (type === ovs.OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS) shown.push(`vxlan(${vxlanText(value, part, verbose)})`);
    else if (type === ovs.OVS_TUNNEL_KEY_ATTR_ERSPAN_OPTS) shown.push(`erspan(${erspanText(value)})`);
  }
  const flags =
    masks === null
      ? TUNNEL_FLAGS.filter(([type]) => values.has(type))
          .map(([, name]) => name)
          .join("|")
      : TUNNEL_FLAGS.filter(([type]) => masks.has(type))
          .map(([type, name]) => (values.has(type) ? "+" : "-") + name)
          .join("");
  shown.push(`flags(${flags})`);
  return shown.join(",");
}

/** struct geneve_opt: be16 class, u8 type, u8 length in words (low 5 bits), data. */
function geneveText(value: Uint8Array, mask: Uint8Array | null): string {
  let text = "";
  for (let at = 0; at + 4 <= value.length; ) {
    const length = (value[at + 3] & 0x1f) * 4;
    const part = (offset: number, size: number, style: Style): string =>
      style(value.subarray(at + offset, at + offset + size), mask?.subarray(at + offset, at + offset + size) ?? null);
    const data = styled((bytes) => `0x${hexBytes(bytes)}`);
    text += `{class=${part(0, 2, hexadecimal)},type=${part(2, 1, hexadecimal)},len=${length}`;
    text += length > 0 ? `,${part(4, length, data)}}` : "}";
    at += 4 + length;
  }
  return text;
}

/** OVS_VXLAN_EXT_GBP: u32, policy id in the low half, flags above. */
function vxlanText(value: Uint8Array, mask: Uint8Array | null, verbose: boolean): string {
  const gbp = byType(readerOf(value)).get(ovs.OVS_VXLAN_EXT_GBP);
  if (gbp === undefined || gbp.length < 4) return "";
  const word = littleEndian(gbp);
  const maskBytes = mask && byType(readerOf(mask)).get(ovs.OVS_VXLAN_EXT_GBP);
  const bits = mask === null ? 0xffff_ffff : maskBytes ? littleEndian(maskBytes) : 0;
  const idMask = bits & 0xffff;
  const flagMask = (bits >>> 16) & 0xff;
  const shown: string[] = [];
  if (verbose || idMask) shown.push(`id=${word & 0xffff}${idMask === 0xffff ? "" : `/${hex(idMask)}`}`);
  if (verbose || flagMask) {
    shown.push(`flags=0x${((word >>> 16) & 0xff).toString(16)}${flagMask === 0xff ? "" : `/${hex(flagMask)}`}`);
  }
  return `gbp(${shown.join(",")})`;
}

/** struct erspan_metadata: s32 version, then the index, or direction and hardware id. */
function erspanText(value: Uint8Array): string {
  const version = littleEndian(value.subarray(0, 4));
  if (version === 1) return `ver=1,idx=${hex(bigEndian(value.subarray(4, 8)))}`;
  const dir = (value[7] >>> 3) & 1;
  const hwid = ((value[7] >>> 4) & 0xf) | ((value[6] & 3) << 4);
  return `ver=${version},dir=${dir},hwid=${hex(hwid)}`;
}

/** OVS_NSH_KEY_ATTR_*: base {flags, ttl, mdtype, np, be32 path} and four context words. */
function nshText(key: Uint8Array, mask: Uint8Array | null, verbose: boolean): string {
  const values = byType(readerOf(key));
  const masks = mask && byType(readerOf(mask));
  const base = values.get(ovs.OVS_NSH_KEY_ATTR_BASE) ?? new Uint8Array(8);
  const baseMask = masks === null ? null : (masks.get(ovs.OVS_NSH_KEY_ATTR_BASE) ?? new Uint8Array(8));
  const shown: string[] = [];
  const add = (name: string, value: Uint8Array, part: Uint8Array | null, style: Style): void => {
    if (verbose || part === null || !isZero(part)) shown.push(`${name}=${style(value, part)}`);
  };
  const at = (name: string, offset: number, size: number, style: Style): void =>
    add(name, base.subarray(offset, offset + size), baseMask?.subarray(offset, offset + size) ?? null, style);
  at("flags", 0, 1, decimal);
  at("ttl", 1, 1, decimal);
  at("mdtype", 2, 1, decimal);
  at("np", 3, 1, decimal);
  at(
    "spi",
    4,
    3,
    styled((bytes) => `0x${bigEndian(bytes).toString(16)}`),
  );
  at("si", 7, 1, decimal);
  const context = values.get(ovs.OVS_NSH_KEY_ATTR_MD1);
  const contextMask = masks?.get(ovs.OVS_NSH_KEY_ATTR_MD1);
  const word = styled((bytes) => `0x${bigEndian(bytes).toString(16)}`);
  for (let i = 0; context !== undefined && i < 4; i++) {
    const part = masks === null ? null : (contextMask?.subarray(i * 4, i * 4 + 4) ?? new Uint8Array(4));
    add(`c${i + 1}`, context.subarray(i * 4, i * 4 + 4), part, word);
  }
  return shown.join(",");
}

/** One attribute of a key, or of a set action. @param mask null: exact */
function attributeText(type: number, value: Uint8Array, mask: Uint8Array | null, options: FormatOptions): string {
  const verbose = options.verbose ?? false;
  const plain = VALUES[type];
  if (plain !== undefined) return `${plain[0]}(${plain[1](value, mask)})`;
  const structure = STRUCTURES[type];
  if (structure !== undefined) return structureText(structure, value, mask, verbose);
  switch (type) {
    case ovs.OVS_KEY_ATTR_IN_PORT: {
      const port = portText(littleEndian(value), options);
      return `in_port(${port}${mask === null || isFull(mask) ? "" : `/${hex(littleEndian(mask))}`})`;
    }
    case ovs.OVS_KEY_ATTR_CT_STATE:
      return `ct_state(${verbose ? host(value, mask) : flagsText(CT_STATES, littleEndian(value), mask === null ? 0xff : littleEndian(mask))})`;
    case ovs.OVS_KEY_ATTR_TCP_FLAGS: {
      const bits = mask === null ? 0xfff : bigEndian(mask) & 0xfff;
      return `tcp_flags(${bits === 0 ? hexadecimal(value, mask) : flagsText(TCP_FLAGS, bigEndian(value), bits)})`;
    }
    case ovs.OVS_KEY_ATTR_VLAN:
      return `vlan(${vlanText(bigEndian(value), mask === null ? 0xffff : bigEndian(mask), verbose)})`;
    case ovs.OVS_KEY_ATTR_MPLS:
      return `mpls(${mplsText(value, mask)})`;
    case ovs.OVS_KEY_ATTR_TUNNEL:
      return `tunnel(${tunnelText(value, mask, verbose)})`;
    case ovs.OVS_KEY_ATTR_NSH:
      return `nsh(${nshText(value, mask, verbose)})`;
    case ovs.OVS_KEY_ATTR_ENCAP:
      return `encap(${formatKey(value, mask, options)})`;
    case ovs.OVS_KEY_ATTR_PACKET_TYPE:
      return `packet_type(ns=${bigEndian(value.subarray(0, 2))},id=${hex4(bigEndian(value.subarray(2, 4)))})`;
    default:
      return `key${type}(${hexBytes(value)}${mask === null ? "" : `/${hexBytes(mask)}`})`;
  }
}

function portText(portNo: number, options: FormatOptions): string {
  return options.portName?.(portNo) ?? String(portNo);
}

/**
 * Writes a sequence of OVS_KEY_ATTR_*, in its order.
 * @param mask null or left out: every bit is matched; an attribute that it lacks is wildcarded
 */
export function formatKey(key: Uint8Array, mask?: Uint8Array | null, options: FormatOptions = {}): string {
  const masks = mask ? byType(readerOf(mask)) : null;
  const shown: string[] = [];
  let hasType = false;
  const attribute = readerOf(key);
  while (attribute.next()) {
    const { type } = attribute;
    const value = attribute.bytes();
    if (type === ovs.OVS_KEY_ATTR_ETHERTYPE) hasType = true;
    const part = masks === null ? null : (masks.get(type) ?? new Uint8Array(value.length));
    const nested = NESTED.has(type);
    const wildcarded = part !== null && (nested ? !masks?.has(type) : isZero(part));
    if (!wildcarded || (options.verbose && type !== ovs.OVS_KEY_ATTR_IPV6_EXTHDRS)) {
      shown.push(attributeText(type, value, part, options));
    } else if (type === ovs.OVS_KEY_ATTR_ETHERNET) {
      // That there is an Ethernet header is matched all the same.
      shown.push("eth()");
    }
  }
  const typeMask = masks?.get(ovs.OVS_KEY_ATTR_ETHERTYPE);
  // A mask without a key: frames that have no Ethernet type.
  if (!hasType && typeMask !== undefined) shown.push(`eth_type(0/${hex4(bigEndian(typeMask))})`);
  return shown.join(",");
}

const NESTED: ReadonlySet<number> = new Set([ovs.OVS_KEY_ATTR_ENCAP, ovs.OVS_KEY_ATTR_TUNNEL, ovs.OVS_KEY_ATTR_NSH]);

/** Writes a sequence of OVS_ACTION_ATTR_*; no action at all is `drop`. */
export function formatActions(actions: Uint8Array, options: FormatOptions = {}): string {
  const shown: string[] = [];
  const action = readerOf(actions);
  while (action.next()) shown.push(actionText(action.type, action, options));
  return shown.length === 0 ? "drop" : shown.join(",");
}

function actionText(type: number, action: AttributeReader, options: FormatOptions): string {
  const bytes = action.bytes();
  switch (type) {
    case ovs.OVS_ACTION_ATTR_OUTPUT:
      return portText(action.u32(), options);
    case ovs.OVS_ACTION_ATTR_USERSPACE:
      return userspaceText(action.nested(), options);
    case ovs.OVS_ACTION_ATTR_SET: {
      const key = action.nested();
      return key.next() ? `set(${attributeText(key.type, key.bytes(), null, {})})` : "set()";
    }
    case ovs.OVS_ACTION_ATTR_SET_MASKED: {
      const key = action.nested();
      if (!key.next()) return "set()";
      const half = key.length / 2;
      const value = key.bytes();
      return `set(${attributeText(key.type, value.subarray(0, half), value.subarray(half), {})})`;
    }
    case ovs.OVS_ACTION_ATTR_PUSH_VLAN: {
      const tpid = bigEndian(bytes.subarray(0, 2));
      const tci = bigEndian(bytes.subarray(2, 4));
      return `push_vlan(${tpid === 0x8100 ? "" : `tpid=${hex4(tpid)},`}${vlanText(tci, 0xffff, false)})`;
    }
    case ovs.OVS_ACTION_ATTR_POP_VLAN:
      return "pop_vlan";
    case ovs.OVS_ACTION_ATTR_SAMPLE:
      return sampleText(action.nested(), options);
    case ovs.OVS_ACTION_ATTR_RECIRC:
      return `recirc(${hex(action.u32())})`;
    case ovs.OVS_ACTION_ATTR_HASH: {
      const algorithm = littleEndian(bytes.subarray(0, 4));
      const basis = littleEndian(bytes.subarray(4, 8));
      const name = ["l4", "sym_l4"][algorithm] ?? "Unknown hash algorithm";
      return `hash(${name}(${basis}))`;
    }
    case ovs.OVS_ACTION_ATTR_PUSH_MPLS:
      return `push_mpls(${mplsText(bytes.subarray(0, 4), null)},eth_type=0x${bigEndian(bytes.subarray(4, 6)).toString(16)})`;
    case ovs.OVS_ACTION_ATTR_ADD_MPLS:
      return `add_mpls(${mplsText(bytes.subarray(0, 4), null)},eth_type=0x${bigEndian(bytes.subarray(4, 6)).toString(16)})`;
    case ovs.OVS_ACTION_ATTR_POP_MPLS:
      return `pop_mpls(eth_type=0x${action.be16().toString(16)})`;
    case ovs.OVS_ACTION_ATTR_CT:
      return ctText(action.nested());
    case ovs.OVS_ACTION_ATTR_CT_CLEAR:
      return "ct_clear";
    case ovs.OVS_ACTION_ATTR_TRUNC:
      return `trunc(${action.u32()})`;
    case ovs.OVS_ACTION_ATTR_PUSH_ETH:
      return `push_eth(src=${macText(bytes.subarray(0, 6))},dst=${macText(bytes.subarray(6, 12))})`;
    case ovs.OVS_ACTION_ATTR_POP_ETH:
      return "pop_eth";
    case ovs.OVS_ACTION_ATTR_PUSH_NSH:
      return `push_nsh(${nshText(bytes, null, false)})`;
    case ovs.OVS_ACTION_ATTR_POP_NSH:
      return "pop_nsh()";
    case ovs.OVS_ACTION_ATTR_METER:
      return `meter(${action.u32()})`;
    case ovs.OVS_ACTION_ATTR_CLONE:
      return `clone(${formatActions(bytes, options)})`;
    case ovs.OVS_ACTION_ATTR_CHECK_PKT_LEN: {
      const parts = byType(action.nested());
      const size = littleEndian(parts.get(ovs.OVS_CHECK_PKT_LEN_ATTR_PKT_LEN) ?? NOTHING);
      const greater = formatActions(parts.get(ovs.OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_GREATER) ?? NOTHING, options);
      const less = formatActions(parts.get(ovs.OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_LESS_EQUAL) ?? NOTHING, options);
      return `check_pkt_len(size=${size},gt(${greater}),le(${less}))`;
    }
    case ovs.OVS_ACTION_ATTR_DEC_TTL: {
      const nested = byType(action.nested()).get(ovs.OVS_DEC_TTL_ATTR_ACTION) ?? NOTHING;
      return `dec_ttl(le_1(${formatActions(nested, options)}))`;
    }
    case ovs.OVS_ACTION_ATTR_DROP:
      return "drop";
    case ovs.OVS_ACTION_ATTR_PSAMPLE: {
      const parts = byType(action.nested());
      const cookie = parts.get(ovs.OVS_PSAMPLE_ATTR_COOKIE);
      const group = littleEndian(parts.get(ovs.OVS_PSAMPLE_ATTR_GROUP) ?? NOTHING);
      return `psample(group=${group}${cookie === undefined ? "" : `,cookie=0x${hexBytes(cookie)}`})`;
    }
    default:
      return `action${type}(${hexBytes(bytes)})`;
  }
}

const NOTHING: Uint8Array = new Uint8Array(0);

function userspaceText(nested: AttributeReader, options: FormatOptions): string {
  const parts = byType(nested);
  const userdata = parts.get(ovs.OVS_USERSPACE_ATTR_USERDATA);
  const tunnelPort = parts.get(ovs.OVS_USERSPACE_ATTR_EGRESS_TUN_PORT);
  let text = `pid=${littleEndian(parts.get(ovs.OVS_USERSPACE_ATTR_PID) ?? NOTHING)}`;
  if (userdata !== undefined) text += `,userdata(${hexBytes(userdata)})`;
  if (parts.has(ovs.OVS_USERSPACE_ATTR_ACTIONS)) text += ",actions";
  if (tunnelPort !== undefined) text += `,tunnel_out_port=${portText(littleEndian(tunnelPort), options)}`;
  return `userspace(${text})`;
}

function sampleText(nested: AttributeReader, options: FormatOptions): string {
  const parts = byType(nested);
  const probability = littleEndian(parts.get(ovs.OVS_SAMPLE_ATTR_PROBABILITY) ?? NOTHING);
  const actions = formatActions(parts.get(ovs.OVS_SAMPLE_ATTR_ACTIONS) ?? NOTHING, options);
  return `sample(sample=${((probability / 0xffff_ffff) * 100).toFixed(1)}%,actions(${actions}))`;
}

function ctText(nested: AttributeReader): string {
  const parts = byType(nested);
  const shown: string[] = [];
  if (parts.has(ovs.OVS_CT_ATTR_COMMIT)) shown.push("commit");
  if (parts.has(ovs.OVS_CT_ATTR_FORCE_COMMIT)) shown.push("force_commit");
  const zone = littleEndian(parts.get(ovs.OVS_CT_ATTR_ZONE) ?? NOTHING);
  if (zone !== 0) shown.push(`zone=${zone}`);
  const mark = parts.get(ovs.OVS_CT_ATTR_MARK);
  if (mark !== undefined) {
    shown.push(`mark=${hex(littleEndian(mark.subarray(0, 4)))}/${hex(littleEndian(mark.subarray(4, 8)))}`);
  }
  const labels = parts.get(ovs.OVS_CT_ATTR_LABELS);
  if (labels !== undefined) {
    shown.push(`label=${VALUES[ovs.OVS_KEY_ATTR_CT_LABELS][1](labels.subarray(0, 16), labels.subarray(16, 32))}`);
  }
  const helper = parts.get(ovs.OVS_CT_ATTR_HELPER);
  if (helper !== undefined) shown.push(`helper=${textOf(helper)}`);
  const timeout = parts.get(ovs.OVS_CT_ATTR_TIMEOUT);
  if (timeout !== undefined) shown.push(`timeout=${textOf(timeout)}`);
  const nat = parts.get(ovs.OVS_CT_ATTR_NAT);
  if (nat !== undefined) shown.push(natText(nat));
  return shown.length === 0 ? "ct" : `ct(${shown.join(",")})`;
}

/** Up to the first NUL. */
function textOf(bytes: Uint8Array): string {
  const nul = bytes.indexOf(0);
  return Buffer.from(nul < 0 ? bytes : bytes.subarray(0, nul)).toString("latin1");
}

function natText(nest: Uint8Array): string {
  const parts = byType(readerOf(nest));
  const source = parts.has(ovs.OVS_NAT_ATTR_SRC);
  if (parts.has(NOKMOD_NAT_ATTR_REVERSE)) return "nat(reverse)";
  if (!source && !parts.has(ovs.OVS_NAT_ATTR_DST)) return "nat";
  const min = parts.get(ovs.OVS_NAT_ATTR_IP_MIN);
  const max = parts.get(ovs.OVS_NAT_ATTR_IP_MAX);
  const portMin = littleEndian(parts.get(ovs.OVS_NAT_ATTR_PROTO_MIN) ?? NOTHING);
  const portMax = littleEndian(parts.get(ovs.OVS_NAT_ATTR_PROTO_MAX) ?? NOTHING);
  const address = (bytes: Uint8Array): string => {
    if (bytes.length === 4) return ipv4Text(bytes);
    // Brackets only where a port follows.
    return portMin === 0 ? ipv6Text(bytes) : `[${ipv6Text(bytes)}]`;
  };
  let text = source ? "src" : "dst";
  if (min !== undefined) {
    text += `=${address(min)}`;
    if (max !== undefined && Buffer.compare(min, max) !== 0) text += `-${address(max)}`;
  }
  if (portMin !== 0) {
    text += `:${portMin}`;
    if (portMax !== 0 && portMax !== portMin) text += `-${portMax}`;
  }
  if (parts.has(ovs.OVS_NAT_ATTR_PERSISTENT)) text += ",persistent";
  if (parts.has(ovs.OVS_NAT_ATTR_PROTO_HASH)) text += ",hash";
  if (parts.has(ovs.OVS_NAT_ATTR_PROTO_RANDOM)) text += ",random";
  const replyZone = parts.get(NOKMOD_NAT_ATTR_DST_ZONE);
  if (replyZone !== undefined) {
    text += `,src_zone=${littleEndian(parts.get(NOKMOD_NAT_ATTR_SRC_ZONE) ?? NOTHING)}`;
    text += `,dst_zone=${littleEndian(replyZone)}`;
  }
  return `nat(${text})`;
}

/** `01234567-89ab-…`: a unique flow id. */
export function formatUfid(ufid: Uint8Array): string {
  const text = hexBytes(ufid).padStart(32, "0");
  return `ufid:${text.slice(0, 8)}-${text.slice(8, 12)}-${text.slice(12, 16)}-${text.slice(16, 20)}-${text.slice(20)}`;
}

const FLOW_TCP_FLAGS = "FSRP.UEC";

/**
 * Writes a flow as `ovs-dpctl dump-flows` does: key, packets, bytes, idle time, TCP flags, actions.
 * @param now CLOCK_MONOTONIC in milliseconds, to tell the idle time
 */
export function formatFlow(flow: FlowInfo, now: number, options: FormatOptions = {}): string {
  let text = "";
  if (flow.ufid !== null && (options.verbose || flow.key === null)) text += `${formatUfid(flow.ufid)}, `;
  if (flow.key !== null) text += `${formatKey(flow.key, flow.mask, options)}, `;
  text += `packets:${flow.packets}, bytes:${flow.bytes}, used:`;
  text += flow.used === null ? "never" : `${(Math.max(0, now - flow.used) / 1000).toFixed(3)}s`;
  if (flow.tcpFlags !== 0) {
    text += ", flags:";
    for (let bit = 0; bit < 8; bit++) if ((flow.tcpFlags >>> bit) & 1) text += FLOW_TCP_FLAGS[bit];
  }
  return `${text}, actions:${flow.actions === null ? "" : formatActions(flow.actions, options)}`;
}
