/** Reads matches in the syntax of ovs-ofctl. */
import { fieldNamed, findField, type OfpField } from "../../fields.ts";
import { ETH_TYPE_IP, ETH_TYPE_IPV6, type Flow, FlowAt, Match, VLAN_CFI } from "../../flow.ts";
import { hasPrerequisite, prerequisiteText } from "../../prerequisite.ts";
import { putSubfield, wholeField } from "../../subfield.ts";
import type { Span } from "../errors.ts";
import { noPortNames, type PortNames } from "../ports.ts";
import { entry, type MaskedValue, protocols } from "../symbols.ts";
import { needValue, type Pair, parseInteger } from "./lexer.ts";
import { parseMasked } from "./values.ts";

/** Collects the fields of a match in any order; finish() checks their prerequisites. */
export class MatchBuilder {
  readonly match = new Match();
  private readonly used: { field: OfpField; span: Span }[] = [];
  private readonly deferred: Pair[] = [];

  constructor(private readonly names: PortNames = noPortNames) {}

  /** Takes a pair where it names a field or a protocol; false where it is something else. */
  take(pair: Pair): boolean {
    const name = pair.name.text;
    const lower = name.toLowerCase();
    if (lower === "eth" && pair.value === null) {
      this.match.key.put8(FlowAt.IS_ETH, 1);
      this.match.mask.put8(FlowAt.IS_ETH, 0xff);
      return true;
    }
    const protocol = pair.value === null ? entry(protocols, lower) : undefined;
    if (protocol) {
      this.put16(pair.whole, FlowAt.DL_TYPE, protocol[0]);
      if (protocol[1] !== undefined) this.put8(pair.whole, FlowAt.NW_PROTO, protocol[1]);
      return true;
    }
    // Which field these name depends on the rest of the match.
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

  private takeField(field: OfpField, pair: Pair): void {
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
    if (field.name === "in_port") mask.fill(FlowAt.IN_PORT, 4, 0xff);
    // The datapath's keys hold the low eight bits of the operation.
    if (field.name === "arp_op" && masked.value[0] !== 0) throw value.syntax("not within 0 to 255");
  }

  private putTci(value: number, mask: number): void {
    const { key, mask: m } = this.match;
    key.put16(FlowAt.VLAN0_TCI, (key.u16(FlowAt.VLAN0_TCI) & ~mask) | value);
    m.put16(FlowAt.VLAN0_TCI, m.u16(FlowAt.VLAN0_TCI) | mask);
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
   * Checks prerequisites and returns the match.
   * @throws OfpError ERR_OFP_PREREQ where a field's prerequisite is not matched
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
        if (!key.isIp || !(key.u32(FlowAt.CT_STATE) & 0x20))
          throw span.prerequisite(`${field.name} needs ${prerequisiteText.ct}`);
      } else if (!hasPrerequisite(key, pre)) {
        throw span.prerequisite(`${field.name} needs ${prerequisiteText[pre]}`);
      }
    }
    return this.match;
  }
}

const contextual: Readonly<Record<string, (key: Flow) => OfpField>> = {
  nw_src: (key) => fieldNamed(key.isArp ? "arp_spa" : "nw_src"),
  nw_dst: (key) => fieldNamed(key.isArp ? "arp_tpa" : "nw_dst"),
  nw_proto: (key) => fieldNamed(key.isArp ? "arp_op" : "nw_proto"),
  icmp_type: (key) => fieldNamed(key.u16(FlowAt.DL_TYPE) === ETH_TYPE_IPV6 ? "icmpv6_type" : "icmp_type"),
  icmp_code: (key) => fieldNamed(key.u16(FlowAt.DL_TYPE) === ETH_TYPE_IPV6 ? "icmpv6_code" : "icmp_code"),
};

/** The field that tp_src or tp_dst names with the protocol that is matched. */
function transport(key: Flow, name: "tp_src" | "tp_dst", pair: Pair): OfpField {
  const source = name === "tp_src";
  const type = key.u16(FlowAt.DL_TYPE);
  if (key.isIp) {
    switch (key.u8(FlowAt.NW_PROTO)) {
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
export function put(key: Flow, mask: Flow, field: OfpField, { value, mask: bits }: MaskedValue): void {
  const whole = wholeField(field);
  const wide = Math.max(value.length, (field.bits + 7) >> 3);
  const v = new Uint8Array(wide);
  const m = new Uint8Array(wide);
  v.set(value, wide - value.length);
  m.set(bits, wide - bits.length);
  for (let i = 0; i < wide; i++) v[i] &= m[i];
  putSubfield(key, whole, v);
  putSubfield(mask, whole, m);
  if (field.name === "in_port" || field.name === "in_port_oxm") key.put16(FlowAt.IN_PORT, 0);
}
