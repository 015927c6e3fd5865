/** Translates ct(…) into OVS_ACTION_ATTR_CT and recirculation. */
import type { MessageWriter } from "../../netlink/writer.ts";
import { NOKMOD_NAT_ATTR_DST_ZONE, NOKMOD_NAT_ATTR_REVERSE, NOKMOD_NAT_ATTR_SRC_ZONE } from "../../uapi/nokmod.ts";
import * as ovs from "../../uapi/openvswitch.ts";
import { bytesToBigint } from "../bigint.ts";
import { type Flow, FlowAt } from "../flow.ts";
import type { NatSpec, OfpCtAction } from "../ofctl/actions.ts";
import { fillSubfield, getSubfield } from "../subfield.ts";
import type { XlateState } from "./context.ts";

/** NEW | RELATED | DESTROY | MARK | LABEL: what ovs-vswitchd asks for with every commit (spec/ctnetlink N-108). */
const CT_EVENTMASK = 0x487;

/**
 * Writes a ct action. @param flow its ct_mark and ct_label are set where the mask in `wc` has bits
 * @param eventmask whether the datapath takes OVS_CT_ATTR_EVENTMASK
 */
function writeCt(writer: MessageWriter, ct: OfpCtAction, zone: number, flow: Flow, wc: Flow, eventmask: boolean): void {
  const nest = writer.nest(ovs.OVS_ACTION_ATTR_CT);
  if (ct.commit) {
    writer.flag(ct.force ? ovs.OVS_CT_ATTR_FORCE_COMMIT : ovs.OVS_CT_ATTR_COMMIT);
    if (eventmask) writer.u32(ovs.OVS_CT_ATTR_EVENTMASK, CT_EVENTMASK);
  }
  writer.u16(ovs.OVS_CT_ATTR_ZONE, zone);
  if (wc.u32(FlowAt.CT_MARK)) {
    const at = writer.attr(ovs.OVS_CT_ATTR_MARK, 8);
    writer.view.setUint32(at, flow.u32(FlowAt.CT_MARK) & wc.u32(FlowAt.CT_MARK), true);
    writer.view.setUint32(at + 4, wc.u32(FlowAt.CT_MARK), true);
  }
  if (!wc.isZero(FlowAt.CT_LABEL, 16)) {
    const at = writer.attr(ovs.OVS_CT_ATTR_LABELS, 32);
    // The kernel's label bit 0 is the lowest of the first byte; the flow holds the number big-endian.
    for (let i = 0; i < 16; i++) {
      const mask = wc.bytes[FlowAt.CT_LABEL + 15 - i];
      writer.bytes[at + i] = flow.bytes[FlowAt.CT_LABEL + 15 - i] & mask;
      writer.bytes[at + 16 + i] = mask;
    }
  }
  if (ct.helper) writer.string(ovs.OVS_CT_ATTR_HELPER, ct.helper);
  if (ct.nat) writeNat(writer, ct.nat);
  writer.endNest(nest);
}

function writeNat(writer: MessageWriter, nat: NatSpec): void {
  const nest = writer.nest(ovs.OVS_CT_ATTR_NAT);
  if (nat.type !== "restore") {
    writer.flag(nat.type === "src" ? ovs.OVS_NAT_ATTR_SRC : ovs.OVS_NAT_ATTR_DST);
    if (nat.addressMin && nat.addressMax) {
      writer.raw(ovs.OVS_NAT_ATTR_IP_MIN, nat.addressMin);
      if (Buffer.compare(nat.addressMin, nat.addressMax) !== 0) writer.raw(ovs.OVS_NAT_ATTR_IP_MAX, nat.addressMax);
    }
    if (nat.portMin !== undefined) {
      writer.u16(ovs.OVS_NAT_ATTR_PROTO_MIN, nat.portMin);
      if (nat.portMax !== undefined && nat.portMax !== nat.portMin) writer.u16(ovs.OVS_NAT_ATTR_PROTO_MAX, nat.portMax);
    }
    if (nat.persistent) writer.flag(ovs.OVS_NAT_ATTR_PERSISTENT);
    if (nat.algorithm === "hash") writer.flag(ovs.OVS_NAT_ATTR_PROTO_HASH);
    if (nat.algorithm === "random") writer.flag(ovs.OVS_NAT_ATTR_PROTO_RANDOM);
    if (nat.zones) {
      writer.u16(NOKMOD_NAT_ATTR_SRC_ZONE, nat.zones.source);
      writer.u16(NOKMOD_NAT_ATTR_DST_ZONE, nat.zones.destination);
    }
  } else if (nat.reverse) writer.flag(NOKMOD_NAT_ATTR_REVERSE);
  writer.endNest(nest);
}

/** Translates ct(…): its exec() list, the datapath's ct action, and recirculation where it has a table. */
export function translateCt(state: XlateState, ct: OfpCtAction): void {
  const { flow, wc, writer } = state;
  if (!flow.isIp) return;
  state.commit();
  // With these bits clear, the mask has exactly the bits that exec() sets.
  const markMask = wc.u32(FlowAt.CT_MARK);
  const labelMask = wc.bytes.slice(FlowAt.CT_LABEL, FlowAt.CT_LABEL + 16);
  wc.fill(FlowAt.CT_MARK, 4, 0);
  wc.fill(FlowAt.CT_LABEL, 16, 0);
  for (const action of ct.exec) state.runAction(action);
  let zone: number;
  if (typeof ct.zone === "number") zone = ct.zone;
  else {
    fillSubfield(wc, ct.zone);
    zone = Number(bytesToBigint(getSubfield(flow, ct.zone)));
  }
  writeCt(writer, ct, zone, flow, wc, state.context.ctEventmask !== false);
  wc.put32(FlowAt.CT_MARK, markMask);
  wc.bytes.set(labelMask, FlowAt.CT_LABEL);
  if (ct.table !== null) {
    state.conntracked = true;
    state.recirculate(null, ct.table);
  }
  flow.clearConntrack();
  state.base.clearConntrack();
  state.conntracked = false;
}
