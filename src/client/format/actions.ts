/** Writes actions (OVS_ACTION_ATTR_*). */
import { ipv4Text, ipv6Text, macText } from "../../net/address.ts";
import { payloads, payloadsByName } from "../../netlink/schema/index.ts";
import { natExtensionAttributes } from "../../schema/nokmod.ts";
import {
  actionAttributes,
  checkPktLenAttributes,
  ctAttributes,
  decTtlAttributes,
  keyAttributes,
  natAttributes,
  psampleAttributes,
  sampleAttributes,
  userspaceAttributes,
} from "../../schema/openvswitch.ts";
import { attributeText, ctLabels, mplsText, nshText, vlanText } from "./keys.ts";
import {
  bigEndian,
  type FormatOptions,
  hex,
  hex4,
  hexBytes,
  littleEndian,
  NOTHING,
  portText,
  textOf,
} from "./numbers.ts";

/** Writes a sequence of OVS_ACTION_ATTR_*; no action at all is `drop`. */
export function formatActions(actions: Uint8Array, options: FormatOptions = {}): string {
  const shown = payloads(actionAttributes, actions).map(([action, bytes]) => actionText(action, bytes, options));
  return shown.length === 0 ? "drop" : shown.join(",");
}

/** @param action its name in actionAttributes, or `#` and its number */
function actionText(action: string, bytes: Uint8Array, options: FormatOptions): string {
  switch (action) {
    case "OUTPUT":
      return portText(littleEndian(bytes), options);
    case "USERSPACE":
      return userspaceText(bytes, options);
    case "SET": {
      const key = payloads(keyAttributes, bytes).at(0);
      return key === undefined ? "set()" : `set(${attributeText(key[0], key[1], null, {})})`;
    }
    case "SET_MASKED": {
      const key = payloads(keyAttributes, bytes).at(0);
      if (key === undefined) return "set()";
      const [attribute, value] = key;
      const half = value.length / 2;
      return `set(${attributeText(attribute, value.subarray(0, half), value.subarray(half), {})})`;
    }
    case "PUSH_VLAN": {
      const tpid = bigEndian(bytes.subarray(0, 2));
      const tci = bigEndian(bytes.subarray(2, 4));
      return `push_vlan(${tpid === 0x8100 ? "" : `tpid=${hex4(tpid)},`}${vlanText(tci, 0xffff, false)})`;
    }
    case "POP_VLAN":
      return "pop_vlan";
    case "SAMPLE":
      return sampleText(bytes, options);
    case "RECIRC":
      return `recirc(${hex(littleEndian(bytes))})`;
    case "HASH": {
      const algorithm = littleEndian(bytes.subarray(0, 4));
      const basis = littleEndian(bytes.subarray(4, 8));
      const name = ["l4", "sym_l4"][algorithm] ?? "Unknown hash algorithm";
      return `hash(${name}(${basis}))`;
    }
    case "PUSH_MPLS":
      return `push_mpls(${mplsText(bytes.subarray(0, 4), null)},eth_type=0x${bigEndian(bytes.subarray(4, 6)).toString(16)})`;
    case "ADD_MPLS":
      return `add_mpls(${mplsText(bytes.subarray(0, 4), null)},eth_type=0x${bigEndian(bytes.subarray(4, 6)).toString(16)})`;
    case "POP_MPLS":
      return `pop_mpls(eth_type=0x${bigEndian(bytes).toString(16)})`;
    case "CT":
      return ctText(bytes);
    case "CT_CLEAR":
      return "ct_clear";
    case "TRUNC":
      return `trunc(${littleEndian(bytes)})`;
    case "PUSH_ETH":
      return `push_eth(src=${macText(bytes.subarray(0, 6))},dst=${macText(bytes.subarray(6, 12))})`;
    case "POP_ETH":
      return "pop_eth";
    case "PUSH_NSH":
      return `push_nsh(${nshText(bytes, null, false)})`;
    case "POP_NSH":
      return "pop_nsh()";
    case "METER":
      return `meter(${littleEndian(bytes)})`;
    case "CLONE":
      return `clone(${formatActions(bytes, options)})`;
    case "CHECK_PKT_LEN": {
      const parts = payloadsByName(checkPktLenAttributes, bytes);
      const size = littleEndian(parts.get("PKT_LEN") ?? NOTHING);
      const greater = formatActions(parts.get("ACTIONS_IF_GREATER") ?? NOTHING, options);
      const less = formatActions(parts.get("ACTIONS_IF_LESS_EQUAL") ?? NOTHING, options);
      return `check_pkt_len(size=${size},gt(${greater}),le(${less}))`;
    }
    case "DEC_TTL": {
      const nested = payloadsByName(decTtlAttributes, bytes).get("ACTION") ?? NOTHING;
      return `dec_ttl(le_1(${formatActions(nested, options)}))`;
    }
    case "DROP":
      return "drop";
    case "PSAMPLE": {
      const parts = payloadsByName(psampleAttributes, bytes);
      const cookie = parts.get("COOKIE");
      const group = littleEndian(parts.get("GROUP") ?? NOTHING);
      return `psample(group=${group}${cookie === undefined ? "" : `,cookie=0x${hexBytes(cookie)}`})`;
    }
    default:
      return `action${action.slice(1)}(${hexBytes(bytes)})`;
  }
}

function userspaceText(nest: Uint8Array, options: FormatOptions): string {
  const parts = payloadsByName(userspaceAttributes, nest);
  const userdata = parts.get("USERDATA");
  const tunnelPort = parts.get("EGRESS_TUN_PORT");
  let text = `pid=${littleEndian(parts.get("PID") ?? NOTHING)}`;
  if (userdata !== undefined) text += `,userdata(${hexBytes(userdata)})`;
  if (parts.has("ACTIONS")) text += ",actions";
  if (tunnelPort !== undefined) text += `,tunnel_out_port=${portText(littleEndian(tunnelPort), options)}`;
  return `userspace(${text})`;
}

function sampleText(nest: Uint8Array, options: FormatOptions): string {
  const parts = payloadsByName(sampleAttributes, nest);
  const probability = littleEndian(parts.get("PROBABILITY") ?? NOTHING);
  const actions = formatActions(parts.get("ACTIONS") ?? NOTHING, options);
  return `sample(sample=${((probability / 0xffff_ffff) * 100).toFixed(1)}%,actions(${actions}))`;
}

function ctText(nest: Uint8Array): string {
  const parts = payloadsByName(ctAttributes, nest);
  const shown: string[] = [];
  if (parts.has("COMMIT")) shown.push("commit");
  if (parts.has("FORCE_COMMIT")) shown.push("force_commit");
  const zone = littleEndian(parts.get("ZONE") ?? NOTHING);
  if (zone !== 0) shown.push(`zone=${zone}`);
  const mark = parts.get("MARK");
  if (mark !== undefined) {
    shown.push(`mark=${hex(littleEndian(mark.subarray(0, 4)))}/${hex(littleEndian(mark.subarray(4, 8)))}`);
  }
  const labels = parts.get("LABELS");
  if (labels !== undefined) {
    shown.push(`label=${ctLabels(labels.subarray(0, 16), labels.subarray(16, 32))}`);
  }
  const helper = parts.get("HELPER");
  if (helper !== undefined) shown.push(`helper=${textOf(helper)}`);
  const timeout = parts.get("TIMEOUT");
  if (timeout !== undefined) shown.push(`timeout=${textOf(timeout)}`);
  const nat = parts.get("NAT");
  if (nat !== undefined) shown.push(natText(nat));
  return shown.length === 0 ? "ct" : `ct(${shown.join(",")})`;
}

function natText(nest: Uint8Array): string {
  const parts = new Map([...payloads(natAttributes, nest), ...payloads(natExtensionAttributes, nest)]);
  const source = parts.has("SRC");
  if (parts.has("REVERSE")) return "nat(reverse)";
  if (!source && !parts.has("DST")) return "nat";
  const min = parts.get("IP_MIN");
  const max = parts.get("IP_MAX");
  const portMin = littleEndian(parts.get("PROTO_MIN") ?? NOTHING);
  const portMax = littleEndian(parts.get("PROTO_MAX") ?? NOTHING);
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
  if (parts.has("PERSISTENT")) text += ",persistent";
  if (parts.has("PROTO_HASH")) text += ",hash";
  if (parts.has("PROTO_RANDOM")) text += ",random";
  const replyZone = parts.get("DST_ZONE");
  if (replyZone !== undefined) {
    text += `,src_zone=${littleEndian(parts.get("SRC_ZONE") ?? NOTHING)}`;
    text += `,dst_zone=${littleEndian(replyZone)}`;
  }
  return `nat(${text})`;
}
