/** Matches in the syntax of ovs-ofctl. */
import {
  copyBits,
  type Field,
  fieldNamed,
  fields,
  findField,
  hasPrerequisite,
  prerequisiteText,
  putSubfield,
  wholeField,
} from "../fields.ts";
import {
  ETH_TYPE_ARP,
  ETH_TYPE_IP,
  ETH_TYPE_IPV6,
  ETH_TYPE_MPLS,
  ETH_TYPE_MPLS_MCAST,
  ETH_TYPE_RARP,
  F,
  type Flow,
  isMplsType,
  Match,
  VLAN_CFI,
} from "../flow.ts";
import type { Span } from "./errors.ts";
import { needValue, type Pair, parseInteger } from "./lexer.ts";
import { entry, formatMasked, fullMask, type MaskedValue, noPortNames, type PortNames, parseMasked } from "./values.ts";

/** Words that stand for a dl_type and an nw_proto. */
const protocols: Readonly<Record<string, readonly [number, number?]>> = {
  ip: [ETH_TYPE_IP],
  ipv4: [ETH_TYPE_IP],
  ipv6: [ETH_TYPE_IPV6],
  ip6: [ETH_TYPE_IPV6],
  icmp: [ETH_TYPE_IP, 1],
  icmp6: [ETH_TYPE_IPV6, 58],
  tcp: [ETH_TYPE_IP, 6],
  tcp6: [ETH_TYPE_IPV6, 6],
  udp: [ETH_TYPE_IP, 17],
  udp6: [ETH_TYPE_IPV6, 17],
  sctp: [ETH_TYPE_IP, 132],
  sctp6: [ETH_TYPE_IPV6, 132],
  arp: [ETH_TYPE_ARP],
  rarp: [ETH_TYPE_RARP],
  mpls: [ETH_TYPE_MPLS],
  mplsm: [ETH_TYPE_MPLS_MCAST],
};

/** Collects the fields of a match; what they need of each other is checked when all are there, in any order. */
export class MatchBuilder {
  readonly match = new Match();
  private readonly used: { field: Field; span: Span }[] = [];
  private readonly deferred: Pair[] = [];

  constructor(private readonly names: PortNames = noPortNames) {}

  /** Takes a pair where it names a field or a protocol; false where it is something else. */
  take(pair: Pair): boolean {
    const name = pair.name.text;
    const lower = name.toLowerCase();
    if (lower === "eth" && pair.value === null) {
      this.match.key.put8(F.IS_ETH, 1);
      this.match.mask.put8(F.IS_ETH, 0xff);
      return true;
    }
    const protocol = pair.value === null ? entry(protocols, lower) : undefined;
    if (protocol) {
      this.put16(pair.whole, F.DL_TYPE, protocol[0]);
      if (protocol[1] !== undefined) this.put8(pair.whole, F.NW_PROTO, protocol[1]);
      return true;
    }
    // What these mean depends on the rest of the match.
    if (lower === "tp_src" || lower === "tp_dst" || entry(contextual, lower)) {
      needValue(pair);
      this.deferred.push(pair);
      return true;
    }
    const field = findField(name);
    if (!field) return false;
    this.takeField(field, pair);
    return true;
  }

  private takeField(field: Field, pair: Pair): void {
    const value = needValue(pair);
    if (value.text === "*" || value.text === "ANY") return;
    const { key, mask } = this.match;
    this.used.push({ field, span: pair.whole });
    if (field.name === "dl_vlan") {
      const vid = parseInteger(value, 0xffff);
      if (vid === 0xffff) this.putTci(0, 0xffff);
      else if (vid > 0xfff) throw value.syntax("not a VLAN id");
      else this.putTci(vid | VLAN_CFI, 0xfff | VLAN_CFI);
      return;
    }
    if (field.name === "dl_vlan_pcp" || field.name === "vlan_pcp") {
      this.putTci((parseInteger(value, 7) << 13) | VLAN_CFI, 0xe000 | VLAN_CFI);
      return;
    }
    const masked = parseMasked(field, value, this.names);
    put(key, mask, field, masked);
    if (field.name === "in_port") mask.fill(F.IN_PORT, 4, 0xff);
    // An operation above 255 is a number that no packet's key has.
    if (field.name === "arp_op" && masked.value[0] !== 0) throw value.syntax("not within 0 to 255");
  }

  private putTci(value: number, mask: number): void {
    const { key, mask: m } = this.match;
    key.put16(F.VLAN0_TCI, (key.u16(F.VLAN0_TCI) & ~mask) | value);
    m.put16(F.VLAN0_TCI, m.u16(F.VLAN0_TCI) | mask);
  }
  private put16(span: Span, at: number, value: number): void {
    const { key, mask } = this.match;
    if (mask.u16(at) === 0xffff && key.u16(at) !== value) throw span.syntax("contradicts what was said before");
    key.put16(at, value);
    mask.put16(at, 0xffff);
  }
  private put8(span: Span, at: number, value: number): void {
    const { key, mask } = this.match;
    if (mask.u8(at) === 0xff && key.u8(at) !== value) throw span.syntax("contradicts what was said before");
    key.put8(at, value);
    mask.put8(at, 0xff);
  }

  /**
   * Ends the match.
   * @throws OfpError ERR_OFP_PREREQ where a field lacks what it needs
   */
  finish(): Match {
    const { key } = this.match;
    for (const pair of this.deferred) {
      const lower = pair.name.text.toLowerCase();
      const field = lower === "tp_src" || lower === "tp_dst" ? transport(key, lower, pair) : contextual[lower](key);
      this.takeField(field, pair);
    }
    for (const { field, span } of this.used) {
      const pre = field.prerequisite;
      if (pre === "ct") {
        if (!key.isIp || !(key.u32(F.CT_STATE) & 0x20))
          throw span.prerequisite(`${field.name} needs ${prerequisiteText.ct}`);
      } else if (!hasPrerequisite(key, pre)) {
        throw span.prerequisite(`${field.name} needs ${prerequisiteText[pre]}`);
      }
    }
    return this.match;
  }
}

const contextual: Readonly<Record<string, (key: Flow) => Field>> = {
  nw_src: (key) => fieldNamed(key.isArp ? "arp_spa" : "nw_src"),
  nw_dst: (key) => fieldNamed(key.isArp ? "arp_tpa" : "nw_dst"),
  nw_proto: (key) => fieldNamed(key.isArp ? "arp_op" : "nw_proto"),
  icmp_type: (key) => fieldNamed(key.u16(F.DL_TYPE) === ETH_TYPE_IPV6 ? "icmpv6_type" : "icmp_type"),
  icmp_code: (key) => fieldNamed(key.u16(F.DL_TYPE) === ETH_TYPE_IPV6 ? "icmpv6_code" : "icmp_code"),
};

/** tp_src and tp_dst by what the match says of the protocol. */
function transport(key: Flow, name: "tp_src" | "tp_dst", pair: Pair): Field {
  const source = name === "tp_src";
  const type = key.u16(F.DL_TYPE);
  if (key.isIp) {
    switch (key.u8(F.NW_PROTO)) {
      case 6:
        return fieldNamed(source ? "tcp_src" : "tcp_dst");
      case 17:
        return fieldNamed(source ? "udp_src" : "udp_dst");
      case 132:
        return fieldNamed(source ? "sctp_src" : "sctp_dst");
      case 1:
        if (type === ETH_TYPE_IP) return fieldNamed(source ? "icmp_type" : "icmp_code");
        break;
      case 58:
        if (type === ETH_TYPE_IPV6) return fieldNamed(source ? "icmpv6_type" : "icmpv6_code");
    }
  }
  throw pair.whole.prerequisite(`${name} needs tcp, udp, sctp or icmp`);
}

/** Puts a value as written into key and mask. */
export function put(key: Flow, mask: Flow, field: Field, { value, mask: bits }: MaskedValue): void {
  const whole = wholeField(field);
  const wide = Math.max(value.length, (field.bits + 7) >> 3);
  const v = new Uint8Array(wide);
  const m = new Uint8Array(wide);
  v.set(value, wide - value.length);
  m.set(bits, wide - bits.length);
  for (let i = 0; i < wide; i++) v[i] &= m[i];
  putSubfield(key, whole, v);
  putSubfield(mask, whole, m);
  if (field.name === "in_port" || field.name === "in_port_oxm") key.put16(F.IN_PORT, 0);
}

/** Order and choice of the fields that are printed; the rest are other names of the same bits. */
const printed = [
  "pkt_mark",
  "recirc_id",
  "dp_hash",
  "skb_priority",
  "ct_state",
  "ct_zone",
  "ct_mark",
  "ct_label",
  "ct_nw_src",
  "ct_nw_dst",
  "ct_ipv6_src",
  "ct_ipv6_dst",
  "ct_nw_proto",
  "ct_tp_src",
  "ct_tp_dst",
].map(fieldNamed);
const registers = fields.filter((f) => /^reg\d+$/.test(f.name));
const metadata = fieldNamed("metadata");

/** Writes a match as `ovs-ofctl dump-flows` does; the empty string matches everything. */
export function formatMatch({ key, mask }: Match, names: PortNames = noPortNames): string {
  const out: string[] = [];
  const shown = (name: string, label = name): void => {
    const field = fieldNamed(name);
    const text = formatField(field, key, mask, names);
    if (text !== null) out.push(`${label}=${text}`);
  };
  for (const field of printed) shown(field.name);
  if (mask.u8(F.IS_ETH)) out.push("eth");
  const type = key.u16(F.DL_TYPE);
  const proto = key.u8(F.NW_PROTO);
  const typed = mask.u16(F.DL_TYPE) === 0xffff;
  let protoShown = false;
  if (typed) {
    const withProto = mask.u8(F.NW_PROTO) === 0xff;
    const name = Object.keys(protocols).find(
      (k) => protocols[k][0] === type && protocols[k][1] === (withProto ? proto : undefined) && !aliases.has(k),
    );
    const plain = Object.keys(protocols).find(
      (k) => protocols[k][0] === type && protocols[k].length === 1 && !aliases.has(k),
    );
    if (name && !(key.isArp && withProto)) {
      out.push(name);
      protoShown = withProto;
    } else if (plain) out.push(plain);
    else out.push(`dl_type=0x${type.toString(16).padStart(4, "0")}`);
  }
  for (const field of registers) shown(field.name);
  const meta = formatField(metadata, key, mask, names);
  if (meta !== null) out.push(`metadata=${meta}`);
  if (mask.u32(F.IN_PORT)) out.push(`in_port=${formatField(fieldNamed("in_port"), key, mask, names)}`);
  const tciMask = mask.u16(F.VLAN0_TCI);
  const tci = key.u16(F.VLAN0_TCI);
  if (tciMask) {
    const pcp = tciMask & 0xe000;
    if (tci & VLAN_CFI && tciMask & VLAN_CFI && (pcp === 0 || pcp === 0xe000) && [0, 0xfff].includes(tciMask & 0xfff)) {
      if (tciMask & 0xfff) out.push(`dl_vlan=${tci & 0xfff}`);
      if (pcp) out.push(`dl_vlan_pcp=${tci >> 13}`);
      if (!(tciMask & 0xfff) && !pcp) out.push("vlan_tci=0x1000/0x1000");
    } else {
      const hex = (n: number) => `0x${n.toString(16).padStart(4, "0")}`;
      out.push(tciMask === 0xffff ? `vlan_tci=${hex(tci)}` : `vlan_tci=${hex(tci)}/${hex(tciMask)}`);
    }
  }
  shown("dl_src");
  shown("dl_dst");
  if (type === ETH_TYPE_IPV6) {
    shown("ipv6_src");
    shown("ipv6_dst");
    shown("ipv6_label");
  } else if (key.isArp) {
    shown("arp_spa");
    shown("arp_tpa");
  } else {
    shown("nw_src");
    shown("nw_dst");
  }
  if (key.isArp) {
    shown("arp_op");
    shown("arp_sha");
    shown("arp_tha");
  } else if (!protoShown) shown("nw_proto");
  if (key.isIp) {
    if ((mask.u8(F.NW_TOS) & 0xfc) === 0xfc) out.push(`nw_tos=${key.u8(F.NW_TOS) & 0xfc}`);
    if (mask.u8(F.NW_TOS) & 3) shown("nw_ecn");
    shown("nw_ttl");
  }
  if (isMplsType(type)) for (const name of ["mpls_label", "mpls_tc", "mpls_bos", "mpls_ttl"]) shown(name);
  const frag = formatField(fieldNamed("ip_frag"), key, mask, names);
  if (frag !== null && key.isIp) out.push(`nw_frag=${frag}`);
  if (key.isIcmp) {
    shown(proto === 1 ? "icmp_type" : "icmpv6_type", "icmp_type");
    shown(proto === 1 ? "icmp_code" : "icmpv6_code", "icmp_code");
    if (proto === 58) {
      shown("nd_target");
      shown("nd_sll");
      shown("nd_tll");
    }
  } else {
    shown("tcp_src", "tp_src");
    shown("tcp_dst", "tp_dst");
    if (proto === 6) shown("tcp_flags");
  }
  return out.join(",");
}

const aliases = new Set(["ipv4", "ip6"]);

/** A field's `value[/mask]`, or null where the mask is empty. */
export function formatField(field: Field, key: Flow, mask: Flow, names: PortNames): string | null {
  const size = (field.width + 7) >> 3;
  const value = new Uint8Array(size);
  const bits = new Uint8Array(size);
  copyBits(mask.bytes, field.offset, field.size, field.shift, bits, 0, size, 0, field.bits);
  if (bits.every((b) => b === 0)) return null;
  copyBits(key.bytes, field.offset, field.size, field.shift, value, 0, size, 0, field.bits);
  if (field.name === "arp_op") bits.set(fullMask(field));
  return formatMasked(field, { value, mask: bits }, names);
}
