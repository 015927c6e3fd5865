/** Reads lists of actions in the syntax of ovs-ofctl. */
import { bigintToBytes } from "../../bigint.ts";
import { findField, type OfpField } from "../../fields.ts";
import {
  ETH_TYPE_VLAN_8021AD,
  ETH_TYPE_VLAN_8021Q,
  F,
  Flow,
  isMplsType,
  Match,
  OFPP_ALL,
  OFPP_CONTROLLER,
  OFPP_FLOOD,
  OFPP_IN_PORT,
  OFPP_LOCAL,
  OFPP_NORMAL,
  VLAN_CFI,
} from "../../flow.ts";
import { hasPrerequisite, prerequisiteText } from "../../prerequisite.ts";
import type { Subfield } from "../../subfield.ts";
import {
  type Action,
  type LegacySet,
  type NatSpec,
  OFPR_ACTION,
  OFPR_INVALID_TTL,
  OFPR_NO_MATCH,
  type OfpCtAction,
  type SetFieldAction,
} from "../actions.ts";
import type { Span } from "../errors.ts";
import { type PortNames, reservedPort } from "../ports.ts";
import { entry, fullMask, type MaskedValue } from "../symbols.ts";
import { needValue, type Pair, pairs, parseBigInteger, parseInteger } from "./lexer.ts";
import { put } from "./match.ts";
import { parseNat } from "./nat.ts";
import { ipv4Value, macValue, parseMasked, parsePort } from "./values.ts";

const legacySets: Readonly<Record<LegacySet, string>> = {
  mod_dl_src: "dl_src",
  mod_dl_dst: "dl_dst",
  mod_nw_src: "nw_src",
  mod_nw_dst: "nw_dst",
  mod_nw_tos: "nw_tos",
  mod_nw_ecn: "nw_ecn",
  mod_nw_ttl: "nw_ttl",
  set_mpls_label: "mpls_label",
  set_mpls_tc: "mpls_tc",
  set_mpls_ttl: "mpls_ttl",
  write_metadata: "metadata",
};

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
  return new ActionParser(packet, names).list(span);
}

class ActionParser {
  constructor(
    private readonly packet: Flow,
    private readonly names: PortNames,
    /** Inside ct(exec(…)): only ct_mark and ct_label may be set. */
    private readonly insideCt = false,
  ) {}

  list(span: Span): Action[] {
    const out: Action[] = [];
    for (const pair of pairs(span)) {
      if (out.some((a) => a.type === "drop")) throw pair.whole.syntax("nothing may follow drop");
      const action = this.parseAction(pair);
      if (action.type === "drop" && out.length > 0) throw pair.whole.syntax("drop stands alone");
      if (out.at(-1)?.type === "goto_table") throw pair.whole.syntax("nothing may follow goto_table");
      if (this.insideCt && !["set_field", "load", "move"].includes(action.type)) {
        throw pair.whole.syntax("only set_field, load and move may stand in ct(exec(…))");
      }
      out.push(action);
    }
    return out[0]?.type === "drop" ? [] : out;
  }

  private parseAction(pair: Pair): Action {
    const name = pair.name.text.toLowerCase();
    const { packet, names } = this;
    if (Object.hasOwn(legacySets, name)) return this.legacy(name as LegacySet, pair);
    const port = pair.value === null ? entry(outputs, name) : undefined;
    if (port !== undefined) return { type: "output", port };
    switch (name) {
      case "drop":
        return { type: "drop" };
      case "output":
        return this.output(pair);
      case "controller":
        return this.controller(pair);
      case "resubmit":
        return this.resubmit(pair);
      case "goto_table":
        return { type: "goto_table", table: parseInteger(needValue(pair), 254) };
      case "set_field":
        return this.setField(pair);
      case "load": {
        const [valueSpan, target] = arrow(needValue(pair));
        const subfield = this.target(target);
        const value = parseBigInteger(valueSpan, subfield.bits);
        return { type: "load", target: subfield, value: bigintToBytes(value, (subfield.bits + 7) >> 3) };
      }
      case "move": {
        const [from, to] = arrow(needValue(pair));
        const source = this.subfield(from);
        this.need(source.field, from);
        const target = this.target(to);
        if (source.bits !== target.bits) {
          throw pair.whole.syntax(`source has ${source.bits} bits, destination ${target.bits}`);
        }
        return { type: "move", source, target };
      }
      case "push": {
        const value = needValue(pair);
        const source = this.subfield(value);
        this.need(source.field, value);
        return { type: "push", source };
      }
      case "pop":
        return { type: "pop", target: this.target(needValue(pair)) };
      case "mod_tp_src":
      case "mod_tp_dst":
        return { type: "mod_tp", destination: name === "mod_tp_dst", port: parseInteger(needValue(pair), 0xffff) };
      case "mod_vlan_vid":
      case "set_vlan_vid": {
        const vid = parseInteger(needValue(pair), 0xfff);
        this.tagged();
        return { type: "mod_vlan_vid", vid };
      }
      case "mod_vlan_pcp":
      case "set_vlan_pcp": {
        const pcp = parseInteger(needValue(pair), 7);
        this.tagged();
        return { type: "mod_vlan_pcp", pcp };
      }
      case "push_vlan": {
        const value = needValue(pair);
        const tpid = parseInteger(value, 0xffff);
        if (tpid !== ETH_TYPE_VLAN_8021Q && tpid !== ETH_TYPE_VLAN_8021AD)
          throw value.syntax("0x8100 or 0x88a8 expected");
        packet.put32(F.VLAN1_TPID, packet.u32(F.VLAN0_TPID));
        packet.put16(F.VLAN0_TCI, VLAN_CFI);
        return { type: "push_vlan", tpid };
      }
      case "strip_vlan":
      case "pop_vlan":
        packet.put32(F.VLAN0_TPID, packet.u32(F.VLAN1_TPID));
        packet.put32(F.VLAN1_TPID, 0);
        return { type: "strip_vlan" };
      case "push_mpls": {
        const value = needValue(pair);
        const ethertype = parseInteger(value, 0xffff);
        if (!isMplsType(ethertype)) throw value.syntax("0x8847 or 0x8848 expected");
        packet.put16(F.DL_TYPE, ethertype);
        packet.fill(F.NW_FRAG, 4, 0);
        return { type: "push_mpls", ethertype };
      }
      case "pop_mpls": {
        const ethertype = parseInteger(needValue(pair), 0xffff);
        packet.put16(F.DL_TYPE, ethertype);
        return { type: "pop_mpls", ethertype };
      }
      case "dec_ttl":
        return { type: "dec_ttl", controllers: pair.value ? this.numbers(pair.value) : [0] };
      case "dec_mpls_ttl":
        return { type: "dec_mpls_ttl" };
      case "ct":
        return this.ct(pair);
      case "ct_clear":
        return { type: "ct_clear" };
      case "note":
        return { type: "note", bytes: hexBytes(needValue(pair)) };
      case "clone": {
        const inner = new ActionParser(new Flow(packet), names, this.insideCt);
        return { type: "clone", actions: inner.list(pair.value ?? pair.whole.slice(pair.whole.text.length)) };
      }
      case "check_pkt_larger": {
        if (!pair.arrow) throw pair.whole.syntax("written check_pkt_larger(LENGTH)->FIELD[BIT]");
        const target = this.target(pair.arrow);
        if (target.bits !== 1) throw pair.arrow.syntax("one bit expected");
        return { type: "check_pkt_larger", length: parseInteger(needValue(pair), 0xffff), target };
      }
      case "meter":
        return { type: "meter", id: parseInteger(needValue(pair), 0xffffff00, 1) };
      case "exit":
        return { type: "exit" };
    }
    if (pair.value === null) {
      if (name === "controller") return this.controller(pair);
      if (
        /^[0-9]/.test(name) ||
        reservedPort(name) !== undefined ||
        names.numberOf(pair.name.text.replace(/"/g, "")) !== undefined
      ) {
        return { type: "output", port: this.port(pair.name) };
      }
    }
    throw pair.name.syntax("no such action");
  }

  private port(span: Span): number {
    const port = parsePort(span, this.names);
    if (port === 0xffff) throw span.syntax("not a port to send to");
    return port;
  }

  private output(pair: Pair): Action {
    const value = needValue(pair);
    if (pair.delimiter === "(") {
      let port: number | null = null;
      let maxLen: number | undefined;
      for (const inner of pairs(value)) {
        if (inner.name.text === "port") port = this.port(needValue(inner));
        else if (inner.name.text === "max_len") maxLen = parseInteger(needValue(inner), 0xffffffff, 14);
        else throw inner.name.syntax("port or max_len expected");
      }
      if (port === null || maxLen === undefined) throw pair.whole.syntax("output(…) needs port and max_len");
      return { type: "output", port, maxLen };
    }
    if (value.text.includes("[")) {
      const source = this.subfield(value);
      this.need(source.field, value);
      if (source.bits > 32) throw value.syntax("a port number has at most 32 bits");
      return { type: "output_reg", source };
    }
    const port = this.port(value);
    if (port === OFPP_CONTROLLER) return this.controllerAction();
    return { type: "output", port };
  }

  private controllerAction(maxLen = 0xffff): Action {
    return { type: "controller", maxLen, id: 0, reason: OFPR_ACTION, userdata: null };
  }

  private controller(pair: Pair): Action {
    if (pair.value === null || pair.value.text === "") return this.controllerAction();
    if (pair.delimiter !== "(") return this.controllerAction(parseInteger(pair.value, 0xffff));
    let maxLen = 0xffff;
    let id = 0;
    let reason = OFPR_ACTION;
    let userdata: Uint8Array | null = null;
    const reasons: Readonly<Record<string, number>> = {
      no_match: OFPR_NO_MATCH,
      action: OFPR_ACTION,
      invalid_ttl: OFPR_INVALID_TTL,
    };
    for (const inner of pairs(pair.value)) {
      switch (inner.name.text) {
        case "max_len":
          maxLen = parseInteger(needValue(inner), 0xffff);
          break;
        case "id":
          id = parseInteger(needValue(inner), 0xffff);
          break;
        case "reason": {
          const value = needValue(inner);
          const code = entry(reasons, value.text);
          if (code === undefined) throw value.syntax(`one of ${Object.keys(reasons).join(", ")} expected`);
          reason = code;
          break;
        }
        case "userdata":
          userdata = hexBytes(needValue(inner));
          break;
        default:
          throw inner.name.syntax("no such argument of controller");
      }
    }
    return { type: "controller", maxLen, id, reason, userdata };
  }

  private resubmit(pair: Pair): Action {
    const value = needValue(pair);
    if (pair.delimiter !== "(") return { type: "resubmit", port: this.port(value), table: null, ct: false };
    const parts: Span[] = [];
    let rest: Span | null = value;
    while (rest) {
      const [head, tail]: [Span, Span | null] = rest.split(",");
      parts.push(head.trim());
      rest = tail;
    }
    if (parts.length > 3) throw value.syntax("resubmit takes a port, a table and ct");
    const [port, table, ct] = parts;
    if (ct && ct.text !== "ct") throw ct.syntax("ct expected");
    if (ct) throw ct.syntax("resubmit(…,ct) is not supported");
    const portNumber = port.text === "" ? null : this.port(port);
    const tableNumber = !table || table.text === "" ? null : parseInteger(table, 254);
    if (portNumber === null && tableNumber === null) throw pair.whole.syntax("resubmit needs a port or a table");
    return { type: "resubmit", port: portNumber === OFPP_IN_PORT ? null : portNumber, table: tableNumber, ct: false };
  }

  private legacy(word: LegacySet, pair: Pair): Action {
    const field = findField(legacySets[word])!;
    const value = needValue(pair);
    let masked: MaskedValue;
    switch (word) {
      case "mod_dl_src":
      case "mod_dl_dst":
        masked = { value: macValue(value), mask: fullMask(field) };
        break;
      case "mod_nw_src":
      case "mod_nw_dst":
        masked = { value: ipv4Value(value), mask: fullMask(field) };
        break;
      case "mod_nw_tos": {
        const tos = parseInteger(value, 255);
        if (tos & 3) throw value.syntax("the two low bits are ECN's; must be 0");
        masked = { value: Uint8Array.of(tos), mask: Uint8Array.of(0xfc) };
        break;
      }
      default:
        masked = parseMasked(field, value, this.names);
    }
    if (word.startsWith("set_mpls")) this.needPacket("mpls", pair.whole);
    return setFieldAction(word, field, masked);
  }

  private setField(pair: Pair): Action {
    const value = needValue(pair);
    const [valueSpan, fieldSpan] = arrow(value);
    const field = findField(fieldSpan.text);
    if (!field) throw fieldSpan.syntax("no such field");
    this.writable(field, fieldSpan);
    this.need(field, fieldSpan);
    let masked: MaskedValue;
    if (field.name === "vlan_vid") {
      masked = parseMasked(field, valueSpan, this.names);
      // The field exists in tagged packets only: setting it never removes the tag.
      masked.value[0] |= VLAN_CFI >> 8;
    } else masked = parseMasked(field, valueSpan, this.names);
    if (field.name === "arp_op" && masked.value[0] !== 0) throw valueSpan.syntax("not within 0 to 255");
    if (field.name === "dl_vlan") this.tagged();
    return setFieldAction("set_field", field, masked);
  }

  /** `NAME`, `NAME[]`, `NAME[n]` or `NAME[a..b]`. */
  private subfield(span: Span): Subfield {
    const found = /^([^[\]]+)(?:\[(?:(\d+)(?:\.\.(\d+))?)?\])?$/.exec(span.text);
    if (!found) throw span.syntax("not a field such as NXM_NX_REG0[0..15]");
    const field = findField(found[1]);
    if (!field) throw span.slice(0, found[1].length).syntax("no such field");
    if (found[2] === undefined) return { field, start: 0, bits: field.bits };
    const start = Number(found[2]);
    const end = found[3] === undefined ? start : Number(found[3]);
    if (end < start) throw span.syntax("the last bit stands before the first");
    if (end >= field.width || start >= field.bits) throw span.syntax(`${field.name} has ${field.bits} bits`);
    return { field, start, bits: Math.min(end, field.bits - 1) - start + 1 };
  }

  private target(span: Span): Subfield {
    const subfield = this.subfield(span);
    this.writable(subfield.field, span);
    this.need(subfield.field, span);
    return subfield;
  }

  private writable(field: OfpField, span: Span): void {
    if (!field.writable) throw span.syntax(`${field.name} cannot be written`);
    const ct = field.name === "ct_mark" || field.name === "ct_label";
    if (this.insideCt && !ct) throw span.syntax("only ct_mark and ct_label may be set in ct(exec(…))");
    if (!this.insideCt && ct) throw span.syntax(`${field.name} may be set in ct(exec(…)) only`);
  }

  private need(field: OfpField, span: Span): void {
    if (!hasPrerequisite(this.packet, field.prerequisite)) {
      throw span.prerequisite(`${field.name} needs ${prerequisiteText[field.prerequisite]}`);
    }
  }

  private needPacket(pre: "ip" | "mpls", span: Span): void {
    if (!hasPrerequisite(this.packet, pre)) throw span.prerequisite(`this action needs ${prerequisiteText[pre]}`);
  }

  private tagged(): void {
    this.packet.put16(F.VLAN0_TCI, this.packet.u16(F.VLAN0_TCI) | VLAN_CFI);
  }

  private numbers(span: Span): number[] {
    return pairs(span).map((pair) => parseInteger(pair.name, 0xffff));
  }

  private ct(pair: Pair): OfpCtAction {
    this.needPacket("ip", pair.whole);
    let commit = false;
    let force = false;
    let table: number | null = null;
    let zone: number | Subfield | undefined;
    let nat: NatSpec | null = null;
    let natZone: number | undefined;
    let natSpan: Span | null = null;
    let helper: string | null = null;
    let exec: Action[] = [];
    let execSpan: Span | null = null;
    for (const inner of pair.value ? pairs(pair.value) : []) {
      switch (inner.name.text) {
        case "commit":
          commit = true;
          break;
        case "force":
          force = true;
          break;
        case "table":
          table = parseInteger(needValue(inner), 254);
          break;
        case "zone": {
          const value = needValue(inner);
          if (/^[0-9]/.test(value.text)) zone = parseInteger(value, 0xffff);
          else {
            const source = this.subfield(value);
            if (source.bits !== 16) throw value.syntax("a zone has 16 bits");
            zone = source;
          }
          break;
        }
        case "nat":
          ({ nat, zone: natZone } = parseNat(inner));
          natSpan = inner.whole;
          break;
        case "alg": {
          const value = needValue(inner);
          if (value.text !== "ftp" && value.text !== "tftp") throw value.syntax("ftp or tftp expected");
          helper = value.text;
          const pre = helper === "ftp" ? "tcp" : "udp";
          if (!hasPrerequisite(this.packet, pre))
            throw inner.whole.prerequisite(`alg=${helper} needs ${prerequisiteText[pre]}`);
          break;
        }
        case "exec":
          execSpan = inner.whole;
          exec = new ActionParser(new Flow(this.packet), this.names, true).list(needValue(inner));
          break;
        default:
          throw inner.name.syntax("no such argument of ct");
      }
    }
    if (force && !commit) throw pair.whole.syntax("force needs commit");
    if (execSpan && !commit) throw execSpan.syntax("exec needs commit");
    if (natSpan && nat && nat.type !== "restore" && !commit) throw natSpan.syntax("nat with src or dst needs commit");
    if (helper && !commit) throw pair.whole.syntax("alg needs commit");
    if (natSpan && nat?.reverse && commit) throw natSpan.syntax("reverse is for connections that are there: no commit");
    if (natSpan && natZone !== undefined && (zone ?? natZone) !== natZone)
      throw natSpan.syntax(`the zone of ct and that of nat differ: ${natZone}`);
    zone ??= natZone ?? 0;
    return { type: "ct", commit, force, table, zone, nat, helper, exec };
  }
}

function arrow(span: Span): [Span, Span] {
  const [left, right] = span.split("->");
  if (!right) throw span.syntax("-> is missing");
  return [left.trim(), right.trim()];
}

/** `00.11.22` */
function hexBytes(span: Span): Uint8Array {
  const text = span.text.replace(/\./g, "");
  if (text.length % 2 !== 0 || !/^[0-9a-fA-F]*$/.test(text)) throw span.syntax("not bytes in hex, as 01.02.0a");
  return new Uint8Array(Buffer.from(text, "hex"));
}

function setFieldAction(word: SetFieldAction["word"], field: OfpField, masked: MaskedValue): SetFieldAction {
  const bits = new Match();
  put(bits.key, bits.mask, field, masked);
  return { type: "set_field", word, field, masked, bits };
}
