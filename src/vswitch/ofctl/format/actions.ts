/** Writes lists of actions as `ovs-ofctl dump-flows` does. */
import { ipv4Text, ipv6Text } from "../../../net/address.ts";
import { bytesToBigint } from "../../bigint.ts";
import { OFPP_ALL, OFPP_FLOOD, OFPP_IN_PORT, OFPP_LOCAL, OFPP_NORMAL } from "../../flow.ts";
import type { Subfield } from "../../subfield.ts";
import { type Action, type NatSpec, OFPR_ACTION, OFPR_INVALID_TTL, type OfpCtAction } from "../actions.ts";
import { formatPort, noPortNames, type PortNames } from "../ports.ts";
import { formatMasked, formatValue } from "./values.ts";

/** Writes a list of actions; an empty one is `drop`. */
export function formatOfpActions(actions: readonly Action[], names: PortNames = noPortNames): string {
  return actions.length === 0 ? "drop" : actions.map((action) => formatAction(action, names)).join(",");
}

/** The name that `load` and `move` are written with: the NXM or OXM one. */
function formatSubfield({ field, start, bits }: Subfield): string {
  const name =
    field.aliases.find((a) => a.startsWith("NXM_")) ?? field.aliases.find((a) => a.startsWith("OXM_")) ?? field.name;
  if (start === 0 && bits === field.bits) return `${name}[]`;
  return bits === 1 ? `${name}[${start}]` : `${name}[${start}..${start + bits - 1}]`;
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join(".");
}

function formatAction(action: Action, names: PortNames): string {
  switch (action.type) {
    case "output":
      if (action.maxLen !== undefined) return `output(port=${formatPort(action.port, names)},max_len=${action.maxLen})`;
      if ([OFPP_NORMAL, OFPP_FLOOD, OFPP_ALL, OFPP_LOCAL, OFPP_IN_PORT].includes(action.port)) {
        return formatPort(action.port, names);
      }
      return `output:${formatPort(action.port, names)}`;
    case "output_reg":
      return `output:${formatSubfield(action.source)}`;
    case "controller": {
      if (action.reason === OFPR_ACTION && action.id === 0 && !action.userdata) return `CONTROLLER:${action.maxLen}`;
      const parts: string[] = [];
      if (action.reason !== OFPR_ACTION)
        parts.push(`reason=${action.reason === OFPR_INVALID_TTL ? "invalid_ttl" : "no_match"}`);
      if (action.maxLen !== 0xffff) parts.push(`max_len=${action.maxLen}`);
      if (action.id) parts.push(`id=${action.id}`);
      if (action.userdata) parts.push(`userdata=${hex(action.userdata)}`);
      return `controller(${parts.join(",")})`;
    }
    case "resubmit": {
      const port = action.port === null ? "" : formatPort(action.port, names);
      return action.table === null ? `resubmit:${port}` : `resubmit(${port},${action.table})`;
    }
    case "goto_table":
      return `goto_table:${action.table}`;
    case "set_field": {
      const { word, field, masked } = action;
      if (word === "set_field") {
        if (field.name === "vlan_vid") return `set_field:${bytesToBigint(masked.value)}->vlan_vid`;
        if (field.name === "nw_tos") return `set_field:${masked.value[0]}->nw_tos`;
        return `set_field:${formatMasked(field, masked, names)}->${field.name}`;
      }
      if (word.startsWith("set_mpls")) return `${word}(${formatValue(field, masked.value, names)})`;
      return `${word}:${word === "mod_nw_tos" ? masked.value[0] : formatMasked(field, masked, names)}`;
    }
    case "load": {
      return `load:0x${bytesToBigint(action.value).toString(16)}->${formatSubfield(action.target)}`;
    }
    case "move":
      return `move:${formatSubfield(action.source)}->${formatSubfield(action.target)}`;
    case "push":
      return `push:${formatSubfield(action.source)}`;
    case "pop":
      return `pop:${formatSubfield(action.target)}`;
    case "mod_tp":
      return `mod_tp_${action.destination ? "dst" : "src"}:${action.port}`;
    case "mod_vlan_vid":
      return `mod_vlan_vid:${action.vid}`;
    case "mod_vlan_pcp":
      return `mod_vlan_pcp:${action.pcp}`;
    case "push_vlan":
      return `push_vlan:0x${action.tpid.toString(16).padStart(4, "0")}`;
    case "strip_vlan":
    case "dec_mpls_ttl":
    case "ct_clear":
    case "exit":
    case "drop":
      return action.type;
    case "push_mpls":
    case "pop_mpls":
      return `${action.type}:0x${action.ethertype.toString(16).padStart(4, "0")}`;
    case "dec_ttl":
      return action.controllers.length === 1 && action.controllers[0] === 0
        ? "dec_ttl"
        : `dec_ttl(${action.controllers.join(",")})`;
    case "ct":
      return formatCt(action, names);
    case "note":
      return `note:${hex(action.bytes)}`;
    case "clone":
      return `clone(${action.actions.map((a) => formatAction(a, names)).join(",")})`;
    case "check_pkt_larger":
      return `check_pkt_larger(${action.length})->${formatSubfield(action.target)}`;
    case "meter":
      return `meter:${action.id}`;
  }
}

function formatCt(ct: OfpCtAction, names: PortNames): string {
  const parts: string[] = [];
  if (ct.commit) parts.push("commit");
  if (ct.force) parts.push("force");
  if (ct.table !== null) parts.push(`table=${ct.table}`);
  if (typeof ct.zone !== "number") parts.push(`zone=${formatSubfield(ct.zone)}`);
  else if (ct.zone !== 0) parts.push(`zone=${ct.zone}`);
  if (ct.nat) parts.push(formatNat(ct.nat));
  if (ct.exec.length > 0) parts.push(`exec(${ct.exec.map((a) => formatAction(a, names)).join(",")})`);
  if (ct.helper) parts.push(`alg=${ct.helper}`);
  return `ct(${parts.join(",")})`;
}

/** Writes a `nat(…)` of ct. */
function formatNat(nat: NatSpec): string {
  if (nat.reverse) return "nat(reverse)";
  if (nat.type === "restore") return "nat";
  let range = "";
  if (nat.addressMin) {
    const v6 = nat.addressMin.length === 16;
    const text = v6 ? ipv6Text : ipv4Text;
    const ports = nat.portMin !== undefined;
    const wrap = (address: string) => (v6 && ports ? `[${address}]` : address);
    const min = text(nat.addressMin);
    const max = text(nat.addressMax ?? nat.addressMin);
    range = min === max ? wrap(min) : `${wrap(min)}-${wrap(max)}`;
    if (ports) range += `:${nat.portMin}${nat.portMax !== nat.portMin ? `-${nat.portMax}` : ""}`;
  }
  const parts = [range ? `${nat.type}=${range}` : nat.type];
  if (nat.persistent) parts.push("persistent");
  if (nat.algorithm) parts.push(nat.algorithm);
  if (nat.zones) parts.push(`src_zone=${nat.zones.source}`, `dst_zone=${nat.zones.destination}`);
  return `nat(${parts.join(",")})`;
}
