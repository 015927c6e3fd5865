/** Reads lists of actions in the syntax of ovs-ofctl. */
import { bigintToBytes } from "../../bigint.ts";
import {
  ETH_TYPE_VLAN_8021AD,
  ETH_TYPE_VLAN_8021Q,
  Flow,
  FlowAt,
  isMplsType,
  OFPP_ALL,
  OFPP_FLOOD,
  OFPP_IN_PORT,
  OFPP_LOCAL,
  OFPP_NORMAL,
  VLAN_CFI,
} from "../../flow.ts";
import type { Action, LegacySet } from "../actions.ts";
import type { Span } from "../errors.ts";
import { type PortNames, reservedPort } from "../ports.ts";
import { entry } from "../symbols.ts";
import { parseOfpCt } from "./ct.ts";
import { needValue, type Pair, pairs, parseBigInteger, parseInteger } from "./lexer.ts";
import { parseController, parseOutput, parseOutputPort, parseResubmit } from "./output.ts";
import {
  type ActionScope,
  arrow,
  parseHexBytes,
  parseSubfield,
  parseTarget,
  requirePresent,
  setTagged,
} from "./scope.ts";
import { legacySets, parseLegacySet, parseSetField } from "./set-field.ts";

const outputs: Readonly<Record<string, number>> = {
  normal: OFPP_NORMAL,
  flood: OFPP_FLOOD,
  all: OFPP_ALL,
  local: OFPP_LOCAL,
  in_port: OFPP_IN_PORT,
};

/**
 * Parses the list of actions of a flow.
 * @param packet the match's key: what is known of packets. Changed as actions push and pop headers.
 * @throws OfpError
 */
export function parseActions(span: Span, packet: Flow, names: PortNames): Action[] {
  return parseList(span, { packet, names, insideCt: false });
}

function parseList(span: Span, scope: ActionScope): Action[] {
  const out: Action[] = [];
  for (const pair of pairs(span)) {
    if (out.some((a) => a.type === "drop")) throw pair.whole.syntax("nothing may follow drop");
    const action = parseAction(pair, scope);
    if (action.type === "drop" && out.length > 0) throw pair.whole.syntax("drop stands alone");
    if (out.at(-1)?.type === "goto_table") throw pair.whole.syntax("nothing may follow goto_table");
    if (scope.insideCt && !["set_field", "load", "move"].includes(action.type)) {
      throw pair.whole.syntax("only set_field, load and move may stand in ct(exec(…))");
    }
    out.push(action);
  }
  return out[0]?.type === "drop" ? [] : out;
}

function parseAction(pair: Pair, scope: ActionScope): Action {
  const name = pair.name.text.toLowerCase();
  const { packet, names } = scope;
  if (Object.hasOwn(legacySets, name)) return parseLegacySet(scope, name as LegacySet, pair);
  const port = pair.value === null ? entry(outputs, name) : undefined;
  if (port !== undefined) return { type: "output", port };
  switch (name) {
    case "drop":
      return { type: "drop" };
    case "output":
      return parseOutput(scope, pair);
    case "controller":
      return parseController(pair);
    case "resubmit":
      return parseResubmit(scope, pair);
    case "goto_table":
      return { type: "goto_table", table: parseInteger(needValue(pair), 254) };
    case "set_field":
      return parseSetField(scope, pair);
    case "load": {
      const [valueSpan, target] = arrow(needValue(pair));
      const subfield = parseTarget(scope, target);
      const value = parseBigInteger(valueSpan, subfield.bits);
      return { type: "load", target: subfield, value: bigintToBytes(value, (subfield.bits + 7) >> 3) };
    }
    case "move": {
      const [from, to] = arrow(needValue(pair));
      const source = parseSubfield(from);
      requirePresent(scope, source.field, from);
      const target = parseTarget(scope, to);
      if (source.bits !== target.bits) {
        throw pair.whole.syntax(`source has ${source.bits} bits, destination ${target.bits}`);
      }
      return { type: "move", source, target };
    }
    case "push": {
      const value = needValue(pair);
      const source = parseSubfield(value);
      requirePresent(scope, source.field, value);
      return { type: "push", source };
    }
    case "pop":
      return { type: "pop", target: parseTarget(scope, needValue(pair)) };
    case "mod_tp_src":
    case "mod_tp_dst":
      return { type: "mod_tp", destination: name === "mod_tp_dst", port: parseInteger(needValue(pair), 0xffff) };
    case "mod_vlan_vid":
    case "set_vlan_vid": {
      const vid = parseInteger(needValue(pair), 0xfff);
      setTagged(scope);
      return { type: "mod_vlan_vid", vid };
    }
    case "mod_vlan_pcp":
    case "set_vlan_pcp": {
      const pcp = parseInteger(needValue(pair), 7);
      setTagged(scope);
      return { type: "mod_vlan_pcp", pcp };
    }
    case "push_vlan": {
      const value = needValue(pair);
      const tpid = parseInteger(value, 0xffff);
      if (tpid !== ETH_TYPE_VLAN_8021Q && tpid !== ETH_TYPE_VLAN_8021AD)
        throw value.syntax("0x8100 or 0x88a8 expected");
      packet.put32(FlowAt.VLAN1_TPID, packet.u32(FlowAt.VLAN0_TPID));
      packet.put16(FlowAt.VLAN0_TCI, VLAN_CFI);
      return { type: "push_vlan", tpid };
    }
    case "strip_vlan":
    case "pop_vlan":
      packet.put32(FlowAt.VLAN0_TPID, packet.u32(FlowAt.VLAN1_TPID));
      packet.put32(FlowAt.VLAN1_TPID, 0);
      return { type: "strip_vlan" };
    case "push_mpls": {
      const value = needValue(pair);
      const ethertype = parseInteger(value, 0xffff);
      if (!isMplsType(ethertype)) throw value.syntax("0x8847 or 0x8848 expected");
      packet.put16(FlowAt.DL_TYPE, ethertype);
      packet.fill(FlowAt.NW_FRAG, 4, 0);
      return { type: "push_mpls", ethertype };
    }
    case "pop_mpls": {
      const ethertype = parseInteger(needValue(pair), 0xffff);
      packet.put16(FlowAt.DL_TYPE, ethertype);
      return { type: "pop_mpls", ethertype };
    }
    case "dec_ttl":
      return {
        type: "dec_ttl",
        controllers: pair.value ? pairs(pair.value).map((inner) => parseInteger(inner.name, 0xffff)) : [0],
      };
    case "dec_mpls_ttl":
      return { type: "dec_mpls_ttl" };
    case "ct":
      return parseOfpCt(scope, pair, parseList);
    case "ct_clear":
      return { type: "ct_clear" };
    case "note":
      return { type: "note", bytes: parseHexBytes(needValue(pair)) };
    case "clone": {
      const inner = { packet: new Flow(packet), names, insideCt: scope.insideCt };
      return { type: "clone", actions: parseList(pair.value ?? pair.whole.slice(pair.whole.text.length), inner) };
    }
    case "check_pkt_larger": {
      if (!pair.arrow) throw pair.whole.syntax("written check_pkt_larger(LENGTH)->FIELD[BIT]");
      const target = parseTarget(scope, pair.arrow);
      if (target.bits !== 1) throw pair.arrow.syntax("one bit expected");
      return { type: "check_pkt_larger", length: parseInteger(needValue(pair), 0xffff), target };
    }
    case "meter":
      return { type: "meter", id: parseInteger(needValue(pair), 0xffffff00, 1) };
    case "exit":
      return { type: "exit" };
  }
  if (pair.value === null) {
    if (name === "controller") return parseController(pair);
    if (
      /^[0-9]/.test(name) ||
      reservedPort(name) !== undefined ||
      names.numberOf(pair.name.text.replace(/"/g, "")) !== undefined
    ) {
      return { type: "output", port: parseOutputPort(scope, pair.name) };
    }
  }
  throw pair.name.syntax("no such action");
}
