/** Datapath flows as `ovs-appctl dpctl/dump-flows` writes them. */
import { AttributeReader } from "../../netlink/reader.ts";
import * as ovs from "../../uapi/openvswitch.ts";
import { formatIpv4, formatIpv6, formatMac } from "../ofctl/values.ts";

/** Names of the datapath's ports, where numbers shall not do. */
export type DatapathPortNames = (port: number) => string;

const plainNumbers: DatapathPortNames = String;

function readerOf(bytes: Uint8Array): AttributeReader {
  return new AttributeReader(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), 0, bytes.length);
}

const hex = (value: number | bigint): string => `0x${value.toString(16)}`;

function isFull(bytes: Uint8Array): boolean {
  return bytes.every((b) => b === 0xff);
}
function isEmpty(bytes: Uint8Array): boolean {
  return bytes.every((b) => b === 0);
}

type Style = "label" | "dec" | "hex" | "mac" | "ip4" | "ip6" | "frag" | "hex4";
/** name, offset, size, style */
type Part = readonly [string, number, number, Style];

const ipEnd = (at: number, tos: string, ttl: string): Part[] => [
  ["proto", at, 1, "dec"],
  [tos, at + 1, 1, "hex"],
  [ttl, at + 2, 1, "dec"],
  ["frag", at + 3, 1, "frag"],
];
const l4: Part[] = [
  ["src", 0, 2, "dec"],
  ["dst", 2, 2, "dec"],
];
const icmpParts: Part[] = [
  ["type", 0, 1, "dec"],
  ["code", 1, 1, "dec"],
];

const layouts: Readonly<Record<number, readonly [string, readonly Part[]]>> = {
  [ovs.OVS_KEY_ATTR_ETHERNET]: [
    "eth",
    [
      ["src", 0, 6, "mac"],
      ["dst", 6, 6, "mac"],
    ],
  ],
  [ovs.OVS_KEY_ATTR_IPV4]: ["ipv4", [["src", 0, 4, "ip4"], ["dst", 4, 4, "ip4"], ...ipEnd(8, "tos", "ttl")]],
  [ovs.OVS_KEY_ATTR_IPV6]: [
    "ipv6",
    [["src", 0, 16, "ip6"], ["dst", 16, 16, "ip6"], ["label", 32, 4, "label"], ...ipEnd(36, "tclass", "hlimit")],
  ],
  [ovs.OVS_KEY_ATTR_TCP]: ["tcp", l4],
  [ovs.OVS_KEY_ATTR_UDP]: ["udp", l4],
  [ovs.OVS_KEY_ATTR_SCTP]: ["sctp", l4],
  [ovs.OVS_KEY_ATTR_ICMP]: ["icmp", icmpParts],
  [ovs.OVS_KEY_ATTR_ICMPV6]: ["icmpv6", icmpParts],
  [ovs.OVS_KEY_ATTR_ARP]: [
    "arp",
    [
      ["sip", 0, 4, "ip4"],
      ["tip", 4, 4, "ip4"],
      ["op", 8, 2, "dec"],
      ["sha", 10, 6, "mac"],
      ["tha", 16, 6, "mac"],
    ],
  ],
  [ovs.OVS_KEY_ATTR_ND]: [
    "nd",
    [
      ["target", 0, 16, "ip6"],
      ["sll", 16, 6, "mac"],
      ["tll", 22, 6, "mac"],
    ],
  ],
  [ovs.OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4]: [
    "ct_tuple4",
    [
      ["src", 0, 4, "ip4"],
      ["dst", 4, 4, "ip4"],
      ["proto", 12, 1, "dec"],
      ["tp_src", 8, 2, "dec"],
      ["tp_dst", 10, 2, "dec"],
    ],
  ],
  [ovs.OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6]: [
    "ct_tuple6",
    [
      ["src", 0, 16, "ip6"],
      ["dst", 16, 16, "ip6"],
      ["proto", 36, 1, "dec"],
      ["tp_src", 32, 2, "dec"],
      ["tp_dst", 34, 2, "dec"],
    ],
  ],
};

function number(bytes: Uint8Array): number {
  let value = 0;
  for (const b of bytes) value = value * 256 + b;
  return value;
}

function part(style: Style, bytes: Uint8Array): string {
  switch (style) {
    case "mac":
      return formatMac(bytes);
    case "ip4":
      return formatIpv4(bytes);
    case "ip6":
      return formatIpv6(bytes);
    case "hex":
    case "label":
      return hex(number(bytes));
    case "hex4":
      return `0x${number(bytes).toString(16).padStart(4, "0")}`;
    case "frag":
      return ["no", "first", "later"][bytes[0]] ?? hex(bytes[0]);
    default:
      return String(number(bytes));
  }
}

function masked(style: Style, value: Uint8Array, mask: Uint8Array): string {
  if (isFull(mask)) return part(style, value);
  if (style === "label")
    return number(mask) === 0xfffff ? hex(number(value)) : `${hex(number(value))}/${hex(number(mask))}`;
  if (style === "ip6") {
    const bits = [...mask].map((b) => b.toString(2).padStart(8, "0")).join("");
    const length = bits.indexOf("0");
    if (!bits.slice(length).includes("1")) return `${part(style, value)}/${length}`;
  }
  const wide = style === "dec" ? "hex" : style;
  return `${part(wide, value)}/${part(wide, mask)}`;
}

function struct(name: string, parts: readonly Part[], value: Uint8Array, mask: Uint8Array | null): string {
  const shown: string[] = [];
  for (const [field, at, size, style] of parts) {
    const v = value.subarray(at, at + size);
    const m = mask ? mask.subarray(at, at + size) : new Uint8Array(size).fill(0xff);
    if (!isEmpty(m)) shown.push(`${field}=${masked(style, v, m)}`);
  }
  return `${name}(${shown.join(",")})`;
}

function mpls(value: Uint8Array, mask: Uint8Array | null): string {
  const levels: string[] = [];
  for (let at = 0; at + 4 <= value.length; at += 4) {
    const v = number(value.subarray(at, at + 4));
    const m = mask && mask.length >= at + 4 ? number(mask.subarray(at, at + 4)) : 0xffffffff;
    const out: string[] = [];
    const bits = (name: string, shift: number, width: number) => {
      const all = 2 ** width - 1;
      const mm = Math.floor(m / 2 ** shift) % 2 ** width;
      const vv = Math.floor(v / 2 ** shift) % 2 ** width;
      if (mm) out.push(mm === all ? `${name}=${vv}` : `${name}=${vv}/${hex(mm)}`);
    };
    bits("label", 12, 20);
    bits("tc", 9, 3);
    bits("ttl", 0, 8);
    bits("bos", 8, 1);
    levels.push(out.join(","));
  }
  return levels.length > 1
    ? `mpls(${levels.map((l, i) => (i ? `lse${i}(${l})` : l)).join(",")})`
    : `mpls(${levels[0] ?? ""})`;
}

const ctStateNames = ["new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat"];

function ctState(value: number, mask: number): string {
  let text = "";
  ctStateNames.forEach((name, i) => {
    if (mask & (1 << i)) text += (value & (1 << i) ? "+" : "-") + name;
  });
  return text;
}

/**
 * Writes a key and its mask: what is not matched is left out.
 * @param mask null for a key alone: everything is shown
 */
export function formatKey(key: Uint8Array, mask: Uint8Array | null, names: DatapathPortNames = plainNumbers): string {
  return keyLevel(readerOf(key), mask && readerOf(mask), names);
}

function payloads(reader: AttributeReader): Map<number, Uint8Array> {
  const found = new Map<number, Uint8Array>();
  while (reader.next()) found.set(reader.type, reader.bytes());
  return found;
}

/** Order in which attributes are shown. */
const keyOrder = [
  ovs.OVS_KEY_ATTR_RECIRC_ID,
  ovs.OVS_KEY_ATTR_DP_HASH,
  ovs.OVS_KEY_ATTR_PRIORITY,
  ovs.OVS_KEY_ATTR_IN_PORT,
  ovs.OVS_KEY_ATTR_SKB_MARK,
  ovs.OVS_KEY_ATTR_CT_STATE,
  ovs.OVS_KEY_ATTR_CT_ZONE,
  ovs.OVS_KEY_ATTR_CT_MARK,
  ovs.OVS_KEY_ATTR_CT_LABELS,
  ovs.OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4,
  ovs.OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6,
  ovs.OVS_KEY_ATTR_ETHERNET,
  ovs.OVS_KEY_ATTR_ETHERTYPE,
  ovs.OVS_KEY_ATTR_VLAN,
  ovs.OVS_KEY_ATTR_ENCAP,
  ovs.OVS_KEY_ATTR_IPV4,
  ovs.OVS_KEY_ATTR_IPV6,
  ovs.OVS_KEY_ATTR_ARP,
  ovs.OVS_KEY_ATTR_MPLS,
  ovs.OVS_KEY_ATTR_TCP,
  ovs.OVS_KEY_ATTR_TCP_FLAGS,
  ovs.OVS_KEY_ATTR_UDP,
  ovs.OVS_KEY_ATTR_SCTP,
  ovs.OVS_KEY_ATTR_ICMP,
  ovs.OVS_KEY_ATTR_ICMPV6,
  ovs.OVS_KEY_ATTR_ND,
];

function keyLevel(keyReader: AttributeReader, maskReader: AttributeReader | null, names: DatapathPortNames): string {
  const key = payloads(keyReader);
  const masks = maskReader && payloads(maskReader);
  const out: string[] = [];
  for (const type of keyOrder) {
    const value = key.get(type);
    if (!value) continue;
    const mask = masks ? (masks.get(type) ?? null) : new Uint8Array(value.length).fill(0xff);
    const wildcarded = mask === null || isEmpty(mask);
    const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
    const u32 = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
    const plain = (name: string, text: (bytes: Uint8Array) => string) => {
      if (!wildcarded) out.push(`${name}(${text(value)}${isFull(mask) ? "" : `/${text(mask)}`})`);
    };
    switch (type) {
      case ovs.OVS_KEY_ATTR_RECIRC_ID:
        plain("recirc_id", (b) => (u32(b) ? hex(u32(b)) : "0"));
        break;
      case ovs.OVS_KEY_ATTR_DP_HASH:
        plain("dp_hash", (b) => hex(u32(b)));
        break;
      case ovs.OVS_KEY_ATTR_PRIORITY:
        plain("skb_priority", (b) => hex(u32(b)));
        break;
      case ovs.OVS_KEY_ATTR_SKB_MARK:
        plain("skb_mark", (b) => hex(u32(b)));
        break;
      case ovs.OVS_KEY_ATTR_IN_PORT:
        if (!wildcarded) out.push(`in_port(${names(view.getUint32(0, true))})`);
        break;
      case ovs.OVS_KEY_ATTR_CT_STATE:
        if (!wildcarded) out.push(`ct_state(${ctState(u32(value), masks ? u32(mask) : 0xff)})`);
        break;
      case ovs.OVS_KEY_ATTR_CT_ZONE:
        plain("ct_zone", (b) => hex(b[0] | (b[1] << 8)));
        break;
      case ovs.OVS_KEY_ATTR_CT_MARK:
        plain("ct_mark", (b) => hex(u32(b)));
        break;
      case ovs.OVS_KEY_ATTR_CT_LABELS:
        plain("ct_label", labelText);
        break;
      case ovs.OVS_KEY_ATTR_ETHERTYPE:
        plain("eth_type", (b) => `0x${number(b).toString(16).padStart(4, "0")}`);
        break;
      case ovs.OVS_KEY_ATTR_VLAN:
        if (!wildcarded) {
          const tci = number(value);
          const bits = number(mask) | 0;
          const parts: string[] = [];
          if (bits & 0xfff) parts.push(`vid=${tci & 0xfff}${(bits & 0xfff) === 0xfff ? "" : `/${hex(bits & 0xfff)}`}`);
          if (bits & 0xe000) parts.push(`pcp=${tci >> 13}${bits >> 13 === 7 ? "" : `/${hex(bits >> 13)}`}`);
          out.push(`vlan(${parts.join(",")})`);
        }
        break;
      case ovs.OVS_KEY_ATTR_ENCAP: {
        const inner = mask && masks ? readerOf(mask) : null;
        if (!masks || inner) out.push(`encap(${keyLevel(readerOf(value), inner, names)})`);
        break;
      }
      case ovs.OVS_KEY_ATTR_MPLS:
        if (!wildcarded) out.push(mpls(value, mask));
        break;
      case ovs.OVS_KEY_ATTR_TCP_FLAGS:
        plain("tcp_flags", (b) => hex(number(b)));
        break;
      default: {
        const layout = layouts[type];
        if (layout && !wildcarded) out.push(struct(layout[0], layout[1], value, mask));
      }
    }
  }
  return out.join(",");
}

/** The 128 bits of labels as one number; the kernel's first byte is the lowest. */
function labelText(bytes: Uint8Array): string {
  let value = 0n;
  for (let i = bytes.length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i]);
  return hex(value);
}

/** Writes a list of datapath actions. */
export function formatOdpActions(actions: Uint8Array, names: DatapathPortNames = plainNumbers): string {
  return actions.length === 0 ? "drop" : actionList(readerOf(actions), names);
}

function actionList(reader: AttributeReader, names: DatapathPortNames): string {
  const out: string[] = [];
  while (reader.next()) out.push(actionText(reader, names));
  return out.join(",");
}

function actionText(a: AttributeReader, names: DatapathPortNames): string {
  switch (a.type) {
    case ovs.OVS_ACTION_ATTR_OUTPUT:
      return names(a.u32());
    case ovs.OVS_ACTION_ATTR_USERSPACE:
      return userspace(a.nested());
    case ovs.OVS_ACTION_ATTR_SET:
    case ovs.OVS_ACTION_ATTR_SET_MASKED: {
      const nest = a.nested();
      nest.next();
      return `set(${setText(nest.type, nest.bytes(), a.type === ovs.OVS_ACTION_ATTR_SET_MASKED)})`;
    }
    case ovs.OVS_ACTION_ATTR_PUSH_VLAN: {
      const tpid = a.be16();
      const tci = a.view.getUint16(a.offset + 2);
      const kind = tpid === 0x8100 ? "" : `tpid=0x${tpid.toString(16).padStart(4, "0")},`;
      return `push_vlan(${kind}vid=${tci & 0xfff},pcp=${tci >> 13}${tci & 0x1000 ? "" : ",cfi=0"})`;
    }
    case ovs.OVS_ACTION_ATTR_POP_VLAN:
      return "pop_vlan";
    case ovs.OVS_ACTION_ATTR_PUSH_MPLS: {
      const label = a.be32();
      return (
        `push_mpls(label=${label >>> 12},tc=${(label >>> 9) & 7},ttl=${label & 0xff},bos=${(label >>> 8) & 1},` +
        `eth_type=0x${a.view
          .getUint16(a.offset + 4)
          .toString(16)
          .padStart(4, "0")})`
      );
    }
    case ovs.OVS_ACTION_ATTR_POP_MPLS:
      return `pop_mpls(eth_type=${hex(a.be16())})`;
    case ovs.OVS_ACTION_ATTR_RECIRC:
      return `recirc(${hex(a.u32())})`;
    case ovs.OVS_ACTION_ATTR_HASH:
      return `hash(${["l4", "sym_l4"][a.view.getUint32(a.offset, true)] ?? "?"}(${a.view.getUint32(a.offset + 4, true)}))`;
    case ovs.OVS_ACTION_ATTR_CT:
      return ctText(a.nested());
    case ovs.OVS_ACTION_ATTR_CT_CLEAR:
      return "ct_clear";
    case ovs.OVS_ACTION_ATTR_TRUNC:
      return `trunc(${a.u32()})`;
    case ovs.OVS_ACTION_ATTR_CLONE:
      return `clone(${actionList(a.nested(), names)})`;
    case ovs.OVS_ACTION_ATTR_SAMPLE: {
      let probability = 0;
      let inner = "";
      for (const n = a.nested(); n.next(); ) {
        if (n.type === ovs.OVS_SAMPLE_ATTR_PROBABILITY) probability = n.u32();
        else if (n.type === ovs.OVS_SAMPLE_ATTR_ACTIONS) inner = actionList(n.nested(), names);
      }
      return `sample(sample=${((100 * probability) / 0xffffffff).toFixed(1)}%,actions(${inner}))`;
    }
    case ovs.OVS_ACTION_ATTR_METER:
      return `meter(${a.u32()})`;
    case ovs.OVS_ACTION_ATTR_CHECK_PKT_LEN: {
      let size = 0;
      let greater = "drop";
      let less = "drop";
      for (const n = a.nested(); n.next(); ) {
        if (n.type === ovs.OVS_CHECK_PKT_LEN_ATTR_PKT_LEN) size = n.u16();
        else if (n.length === 0) continue;
        else if (n.type === ovs.OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_GREATER) greater = actionList(n.nested(), names);
        else if (n.type === ovs.OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_LESS_EQUAL) less = actionList(n.nested(), names);
      }
      return `check_pkt_len(size=${size},gt(${greater}),le(${less}))`;
    }
    case ovs.OVS_ACTION_ATTR_DROP:
      return "drop";
    default:
      return `action${a.type}(${Buffer.from(a.bytes()).toString("hex")})`;
  }
}

function userspace(reader: AttributeReader): string {
  let pid = 0;
  let data = "";
  while (reader.next()) {
    if (reader.type === ovs.OVS_USERSPACE_ATTR_PID) pid = reader.u32();
    else if (reader.type === ovs.OVS_USERSPACE_ATTR_USERDATA) {
      data = `,userdata(${Buffer.from(reader.bytes()).toString("hex")})`;
    }
  }
  return `userspace(pid=${pid}${data})`;
}

function setText(type: number, bytes: Uint8Array, isMasked: boolean): string {
  const size = isMasked ? bytes.length / 2 : bytes.length;
  const value = bytes.subarray(0, size);
  const mask = isMasked ? bytes.subarray(size) : null;
  const layout = layouts[type];
  if (layout) return struct(layout[0], layout[1], value, mask);
  const u32 = (b: Uint8Array) => new DataView(b.buffer, b.byteOffset).getUint32(0, true);
  const plain = (name: string) => `${name}(${hex(u32(value))}${mask && !isFull(mask) ? `/${hex(u32(mask))}` : ""})`;
  switch (type) {
    case ovs.OVS_KEY_ATTR_PRIORITY:
      return plain("skb_priority");
    case ovs.OVS_KEY_ATTR_SKB_MARK:
      return plain("skb_mark");
    case ovs.OVS_KEY_ATTR_MPLS:
      return mpls(value, mask);
    default:
      return `key${type}(${Buffer.from(bytes).toString("hex")})`;
  }
}

function ctText(reader: AttributeReader): string {
  const out: string[] = [];
  let tail: string[] = [];
  while (reader.next()) {
    switch (reader.type) {
      case ovs.OVS_CT_ATTR_COMMIT:
        out.push("commit");
        break;
      case ovs.OVS_CT_ATTR_FORCE_COMMIT:
        out.push("force_commit");
        break;
      case ovs.OVS_CT_ATTR_ZONE:
        if (reader.u16()) out.push(`zone=${reader.u16()}`);
        break;
      case ovs.OVS_CT_ATTR_MARK:
        out.push(`mark=${hex(reader.u32())}/${hex(reader.view.getUint32(reader.offset + 4, true))}`);
        break;
      case ovs.OVS_CT_ATTR_LABELS: {
        const bytes = reader.bytes();
        out.push(`label=${labelText(bytes.subarray(0, 16))}/${labelText(bytes.subarray(16))}`);
        break;
      }
      case ovs.OVS_CT_ATTR_HELPER:
        tail.push(`helper=${reader.string()}`);
        break;
      case ovs.OVS_CT_ATTR_TIMEOUT:
        tail.push(`timeout=${reader.string()}`);
        break;
      case ovs.OVS_CT_ATTR_NAT:
        tail = [...tail, natText(reader.nested())];
        break;
    }
  }
  const parts = [...out, ...tail];
  return parts.length === 0 ? "ct" : `ct(${parts.join(",")})`;
}

function natText(reader: AttributeReader): string {
  let kind = "";
  let min = "";
  let max = "";
  let v6 = false;
  let portMin = 0;
  let portMax = 0;
  const flags: string[] = [];
  while (reader.next()) {
    switch (reader.type) {
      case ovs.OVS_NAT_ATTR_SRC:
        kind = "src";
        break;
      case ovs.OVS_NAT_ATTR_DST:
        kind = "dst";
        break;
      case ovs.OVS_NAT_ATTR_IP_MIN:
      case ovs.OVS_NAT_ATTR_IP_MAX: {
        const bytes = reader.bytes();
        v6 = bytes.length === 16;
        const text = v6 ? formatIpv6(bytes) : formatIpv4(bytes);
        if (reader.type === ovs.OVS_NAT_ATTR_IP_MIN) min = text;
        else max = text;
        break;
      }
      case ovs.OVS_NAT_ATTR_PROTO_MIN:
        portMin = reader.u16();
        break;
      case ovs.OVS_NAT_ATTR_PROTO_MAX:
        portMax = reader.u16();
        break;
      case ovs.OVS_NAT_ATTR_PERSISTENT:
        flags.push("persistent");
        break;
      case ovs.OVS_NAT_ATTR_PROTO_HASH:
        flags.push("hash");
        break;
      case ovs.OVS_NAT_ATTR_PROTO_RANDOM:
        flags.push("random");
        break;
    }
  }
  if (kind === "") return "nat";
  let range = "";
  if (min !== "") {
    const wrap = (text: string) => (v6 && portMin ? `[${text}]` : text);
    range = `=${wrap(min)}${max && max !== min ? `-${wrap(max)}` : ""}`;
    if (portMin) range += `:${portMin}${portMax && portMax !== portMin ? `-${portMax}` : ""}`;
  }
  return `nat(${[`${kind}${range}`, ...flags].join(",")})`;
}
