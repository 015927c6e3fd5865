import { dumpActions } from "../../datapath/actions/program.ts";
import type { Datapaths } from "../../datapath/datapaths.ts";
import type { FlowTable } from "../../datapath/flow-table.ts";
import { putKey, putMask } from "../../flow/codec.ts";
import { newKey } from "../../flow/key.ts";
import type { ExtAck } from "../../netlink/extack.ts";
import type { AttributeTable } from "../../netlink/schema/index.ts";
import type { MessageWriter } from "../../netlink/writer.ts";
import { flowAttributes } from "../../schema/openvswitch.ts";
import { ENODEV } from "../../uapi/errno.ts";
import * as ovs from "../../uapi/openvswitch.ts";
import type { GenlRequest } from "../genl-family.ts";
import { dpIfindex, OVS_HEADER_SIZE, OvsDump } from "../ovs-header.ts";

/** Flows as the ovs_flow family reports them. */

/** The masked key being written: one message is written at a time. */
const maskedKey = newKey();

/** OVS_UFID_F_* of a request: what the reply leaves out. */
export function ufidFlagsIn(attrs: AttributeTable): number {
  return attrs.has(ovs.OVS_FLOW_ATTR_UFID_FLAGS) ? attrs.u32(ovs.OVS_FLOW_ATTR_UFID_FLAGS) : 0;
}

/**
 * UFID or key, and mask, in the module's order (spec/families F-204 to F-206). Written without the table, because a dump of
 * many flows would make objects for each.
 * @param flags OVS_UFID_F_*
 */
export function putFlowMatch(writer: MessageWriter, flows: FlowTable, flow: number, flags: number): void {
  const own = flows.unmaskedKey(flow);
  const withMask = (flags & ovs.OVS_UFID_F_OMIT_MASK) === 0;
  const withKey = own === undefined && (flags & ovs.OVS_UFID_F_OMIT_KEY) === 0;
  if (own === undefined) writer.raw(ovs.OVS_FLOW_ATTR_UFID, flows.ufid(flow) as Uint8Array);
  else putKeyNest(writer, own);
  if (withKey || withMask) flows.readMaskedKey(flow, maskedKey);
  if (withKey) putKeyNest(writer, maskedKey);
  if (withMask) {
    const nest = writer.nest(ovs.OVS_FLOW_ATTR_MASK);
    putMask(writer, maskedKey, flows.mask(flow).words);
    writer.endNest(nest);
  }
}

/** UFID or key, mask and statistics, in the module's order (spec/families F-204 to F-209). @param flags OVS_UFID_F_* */
export function putFlowRecord(writer: MessageWriter, flows: FlowTable, flow: number, flags: number): void {
  putFlowMatch(writer, flows, flow, flags);
  const packets = flows.packets[flow];
  const tcpFlags = flows.tcpFlags[flow] & 0xff;
  if (flows.used[flow] !== 0) writer.u64(ovs.OVS_FLOW_ATTR_USED, flows.usedAt(flow));
  if (packets !== 0) {
    const at = writer.attr(ovs.OVS_FLOW_ATTR_STATS, 16);
    putU64(writer, at, packets);
    putU64(writer, at + 8, flows.bytes[flow]);
  }
  if (tcpFlags !== 0) writer.u8(ovs.OVS_FLOW_ATTR_TCP_FLAGS, tcpFlags);
}

function putKeyNest(writer: MessageWriter, words: Int32Array): void {
  const nest = writer.nest(ovs.OVS_FLOW_ATTR_KEY);
  putKey(writer, words);
  writer.endNest(nest);
}

export function putFlowActions(writer: MessageWriter, flows: FlowTable, flow: number): void {
  const nest = writer.nest(ovs.OVS_FLOW_ATTR_ACTIONS);
  dumpActions(flows.program(flow), writer);
  writer.endNest(nest);
}

/** All flows by index: flows that change between datagrams may be missed or shown twice (spec/families F-260 to F-265). */
export class FlowDump extends OvsDump {
  private readonly ifindex: number;
  private readonly request: Uint8Array;
  private flags = -1;
  private next = 0;

  constructor(
    private readonly datapaths: Datapaths,
    request: GenlRequest,
  ) {
    super(request, ovs.OVS_FLOW_CMD_GET);
    this.ifindex = dpIfindex(request);
    this.request = request.message.bytes.slice(request.header + OVS_HEADER_SIZE, request.message.end);
  }

  fill(writer: MessageWriter, room: number, _extack: ExtAck): number {
    if (this.flags < 0) this.flags = this.parse();
    const datapath = this.datapaths.byIfindex(this.ifindex);
    if (datapath === undefined) return -ENODEV;
    const { flows } = datapath;
    for (; this.next < flows.limit; this.next++) {
      if (!flows.has(this.next)) continue;
      const at = this.begin(writer, this.ifindex);
      putFlowRecord(writer, flows, this.next, this.flags);
      const withoutActions = writer.length;
      if ((this.flags & ovs.OVS_UFID_F_OMIT_ACTIONS) === 0) putFlowActions(writer, flows, this.next);
      // Actions that fit in no datagram of a dump are left out; FLOW_GET has them (spec/families F-264).
      if (writer.length > room && at === 0) writer.cancel(withoutActions);
      if (!this.end(writer, at, room)) break;
    }
    return writer.length;
  }

  /** Of a dump's attributes only UFID_FLAGS matters, but all are checked (spec/families F-261). @throws Errno */
  private parse(): number {
    const view = new DataView(this.request.buffer, this.request.byteOffset, this.request.byteLength);
    return ufidFlagsIn(flowAttributes.parse(flowAttributes.table(), view, 0, view.byteLength, 0, undefined));
  }
}

function putU64(writer: MessageWriter, at: number, value: number): void {
  writer.view.setUint32(at, value % 0x1_0000_0000, true);
  writer.view.setUint32(at + 4, Math.floor(value / 0x1_0000_0000), true);
}
