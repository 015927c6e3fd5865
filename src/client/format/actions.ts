/** Writes actions (OVS_ACTION_ATTR_*). */
import { ipv4Text, ipv6Text, macText } from "../../net/address.ts";
import type { AttributeReader } from "../../netlink/reader.ts";
import { NOKMOD_NAT_ATTR_DST_ZONE, NOKMOD_NAT_ATTR_REVERSE, NOKMOD_NAT_ATTR_SRC_ZONE } from "../../uapi/nokmod.ts";
import * as ovs from "../../uapi/openvswitch.ts";
import { attributeText, ctLabels, mplsText, nshText, vlanText } from "./keys.ts";
import {
  bigEndian,
  byType,
  type FormatOptions,
  hex,
  hex4,
  hexBytes,
  littleEndian,
  NOTHING,
  portText,
  readerOf,
  textOf,
} from "./numbers.ts";

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
    shown.push(`label=${ctLabels(labels.subarray(0, 16), labels.subarray(16, 32))}`);
  }
  const helper = parts.get(ovs.OVS_CT_ATTR_HELPER);
  if (helper !== undefined) shown.push(`helper=${textOf(helper)}`);
  const timeout = parts.get(ovs.OVS_CT_ATTR_TIMEOUT);
  if (timeout !== undefined) shown.push(`timeout=${textOf(timeout)}`);
  const nat = parts.get(ovs.OVS_CT_ATTR_NAT);
  if (nat !== undefined) shown.push(natText(nat));
  return shown.length === 0 ? "ct" : `ct(${shown.join(",")})`;
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
