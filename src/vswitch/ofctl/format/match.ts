/** Writes matches in the syntax of ovs-ofctl. */

import { fieldNamed, fields, type OfpField } from "../../fields.ts";
import { ETH_TYPE_IPV6, type Flow, FlowAt, isMplsType, type Match, VLAN_CFI } from "../../flow.ts";
import { copyBits } from "../../subfield.ts";
import { noPortNames, type PortNames } from "../ports.ts";
import { fullMask, protocols } from "../symbols.ts";
import { formatMasked } from "./values.ts";

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
export function formatOfpMatch({ key, mask }: Match, names: PortNames = noPortNames): string {
  const out: string[] = [];
  const shown = (name: string, label = name): void => {
    const field = fieldNamed(name);
    const text = formatField(field, key, mask, names);
    if (text !== null) out.push(`${label}=${text}`);
  };
  for (const field of printed) shown(field.name);
  if (mask.u8(FlowAt.IS_ETH)) out.push("eth");
  const type = key.u16(FlowAt.DL_TYPE);
  const proto = key.u8(FlowAt.NW_PROTO);
  const typed = mask.u16(FlowAt.DL_TYPE) === 0xffff;
  let protoShown = false;
  if (typed) {
    const withProto = mask.u8(FlowAt.NW_PROTO) === 0xff;
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
  if (mask.u32(FlowAt.IN_PORT)) out.push(`in_port=${formatField(fieldNamed("in_port"), key, mask, names)}`);
  const tciMask = mask.u16(FlowAt.VLAN0_TCI);
  const tci = key.u16(FlowAt.VLAN0_TCI);
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
    if ((mask.u8(FlowAt.NW_TOS) & 0xfc) === 0xfc) out.push(`nw_tos=${key.u8(FlowAt.NW_TOS) & 0xfc}`);
    if (mask.u8(FlowAt.NW_TOS) & 3) shown("nw_ecn");
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
function formatField(field: OfpField, key: Flow, mask: Flow, names: PortNames): string | null {
  const size = (field.width + 7) >> 3;
  const value = new Uint8Array(size);
  const bits = new Uint8Array(size);
  copyBits(mask.bytes, field.offset, field.size, field.shift, bits, 0, size, 0, field.bits);
  if (bits.every((b) => b === 0)) return null;
  copyBits(key.bytes, field.offset, field.size, field.shift, value, 0, size, 0, field.bits);
  if (field.name === "arp_op") bits.set(fullMask(field));
  return formatMasked(field, { value, mask: bits }, names);
}
