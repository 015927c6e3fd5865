/** Actions that set fields and tags of the flow; commit() writes them when a packet leaves. */
import { bytesToBigint } from "../bigint.ts";
import { ETH_TYPE_VLAN_8021Q, type Flow, FlowAt, VLAN_CFI } from "../flow.ts";
import type { Action, SetFieldAction } from "../ofctl/actions.ts";
import { hasPrerequisite } from "../prerequisite.ts";
import { fillSubfield, getSubfield, putSubfield, type Subfield } from "../subfield.ts";
import { flowPopVlan, flowPushVlan } from "./commit.ts";
import type { XlateState } from "./context.ts";

/** Bits of a tag's TCI. */
const VID_BITS = 0xfff;
const PCP_BITS = 0xe000;

type FieldAction = Extract<
  Action,
  {
    type:
      | "set_field"
      | "load"
      | "move"
      | "push"
      | "pop"
      | "mod_tp"
      | "mod_vlan_vid"
      | "mod_vlan_pcp"
      | "push_vlan"
      | "strip_vlan";
  }
>;

/** Changes the flow as the action says, and marks what was consulted; nothing where the packet has no such field. */
export function runFieldAction(action: FieldAction, { flow, wc, stack }: XlateState): void {
  switch (action.type) {
    case "set_field":
      setField(action, flow, wc);
      return;
    case "load":
      if (!hasPrerequisite(flow, action.target.field.prerequisite, wc)) return;
      fillSubfield(wc, action.target);
      putField(flow, action.target, action.value);
      return;
    case "move": {
      const { source, target } = action;
      if (!hasPrerequisite(flow, target.field.prerequisite, wc)) return;
      if (!hasPrerequisite(flow, source.field.prerequisite, wc)) return;
      fillSubfield(wc, source);
      fillSubfield(wc, target);
      putField(flow, target, getSubfield(flow, source));
      return;
    }
    case "push":
      fillSubfield(wc, action.source);
      stack.push(getSubfield(flow, action.source));
      return;
    case "pop": {
      const value = stack.pop();
      if (!value || !hasPrerequisite(flow, action.target.field.prerequisite, wc)) return;
      fillSubfield(wc, action.target);
      const size = (action.target.bits + 7) >> 3;
      const fitted = new Uint8Array(size);
      const common = Math.min(size, value.length);
      fitted.set(value.subarray(value.length - common), size - common);
      putField(flow, action.target, fitted);
      return;
    }
    case "mod_tp":
      if (!flow.hasL4) return;
      wc.put8(FlowAt.NW_PROTO, 0xff);
      if (![6, 17, 132].includes(flow.u8(FlowAt.NW_PROTO))) return;
      wc.put16(action.destination ? FlowAt.TP_DST : FlowAt.TP_SRC, 0xffff);
      flow.put16(action.destination ? FlowAt.TP_DST : FlowAt.TP_SRC, action.port);
      return;
    case "mod_vlan_vid":
      setTci(flow, wc, VID_BITS, action.vid);
      return;
    case "mod_vlan_pcp":
      setTci(flow, wc, PCP_BITS, action.pcp << 13);
      return;
    case "push_vlan":
      flowPushVlan(flow, action.tpid, VLAN_CFI, wc);
      return;
    case "strip_vlan":
      flowPopVlan(flow, wc);
      return;
  }
}

/** Puts a value into a subfield of the flow. */
export function putField(flow: Flow, target: Subfield, value: Uint8Array): void {
  putSubfield(flow, target, value);
  // in_port has 16 bits in a container of 32.
  if (target.field.name === "in_port") flow.put16(FlowAt.IN_PORT, 0);
}

function setField({ field, masked, bits }: SetFieldAction, flow: Flow, wc: Flow): void {
  if (field.name === "dl_vlan" || field.name === "dl_vlan_pcp" || field.name === "vlan_tci") {
    setVlanField(field.name, masked.value, masked.mask, flow, wc);
    return;
  }
  if (!hasPrerequisite(flow, field.prerequisite, wc)) return;
  if (field.name === "vlan_vid" && flow.vlanCount === 0) {
    wc.put16(FlowAt.VLAN0_TCI, wc.u16(FlowAt.VLAN0_TCI) | VLAN_CFI);
    return;
  }
  const { key, mask } = bits;
  for (let i = 0; i < flow.words.length; i++) {
    const word = mask.words[i];
    if (!word) continue;
    flow.words[i] = (flow.words[i] & ~word) | key.words[i];
    wc.words[i] |= word;
  }
}

/** Sets bits of the outer tag's TCI; a packet without a tag gets one. */
function setTci(flow: Flow, wc: Flow, bits: number, value: number): void {
  wc.put16(FlowAt.VLAN0_TCI, wc.u16(FlowAt.VLAN0_TCI) | bits | VLAN_CFI);
  if (flow.vlanCount === 0) flow.put16(FlowAt.VLAN0_TPID, ETH_TYPE_VLAN_8021Q);
  flow.put16(FlowAt.VLAN0_TCI, (flow.u16(FlowAt.VLAN0_TCI) & ~bits) | value | VLAN_CFI);
}

/** set_field of dl_vlan, dl_vlan_pcp and vlan_tci, which can add a tag; vlan_tci without VLAN_CFI removes it. */
function setVlanField(name: string, value: Uint8Array, mask: Uint8Array, flow: Flow, wc: Flow): void {
  const number = Number(bytesToBigint(value));
  if (name === "dl_vlan") setTci(flow, wc, VID_BITS, number);
  else if (name === "dl_vlan_pcp") setTci(flow, wc, PCP_BITS, number << 13);
  else {
    const bits = Number(bytesToBigint(mask));
    wc.put16(FlowAt.VLAN0_TCI, wc.u16(FlowAt.VLAN0_TCI) | bits);
    const tci = (flow.u16(FlowAt.VLAN0_TCI) & ~bits) | number;
    if (tci & VLAN_CFI) {
      if (flow.vlanCount === 0) flow.put16(FlowAt.VLAN0_TPID, ETH_TYPE_VLAN_8021Q);
      flow.put16(FlowAt.VLAN0_TCI, tci);
    } else flowPopVlan(flow, wc);
  }
}
