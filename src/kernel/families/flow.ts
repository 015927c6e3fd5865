import { Errno } from "../../core/errors.ts";
import type { ValidationContext } from "../../datapath/actions/draft.ts";
import type { Program } from "../../datapath/actions/program.ts";
import type { Datapath } from "../../datapath/datapath.ts";
import type { Datapaths } from "../../datapath/datapaths.ts";
import type { FlowTable } from "../../datapath/flow-table.ts";
import { flowAttributes } from "../../schema/openvswitch.ts";
import { EEXIST, EINVAL, ENODEV, ENOENT } from "../../uapi/errno.ts";
import { GENL_UNS_ADMIN_PERM } from "../../uapi/genetlink.ts";
import { NLM_F_CREATE, NLM_F_EXCL } from "../../uapi/netlink.ts";
import * as ovs from "../../uapi/openvswitch.ts";
import type { GenlFamily, GenlRequest } from "../genl-family.ts";
import { beginOvs, dpIfindex, OVS_HEADER_SIZE } from "../ovs-header.ts";
import { FlowMatch, ufidIn } from "./flow-match.ts";
import { FlowDump, putFlowActions, putFlowRecord, ufidFlagsIn } from "./flow-record.ts";

/** The ovs_flow family (spec/families sections 8 and 9). */
export function flowFamily(datapaths: Datapaths, context: ValidationContext): GenlFamily {
  const match = new FlowMatch(context);
  const { key, mask } = match;

  /** NEW (spec/families F-217 to F-233). */
  function put(request: GenlRequest): void {
    const { attrs } = request;
    if (!attrs.has(ovs.OVS_FLOW_ATTR_KEY) || !attrs.has(ovs.OVS_FLOW_ATTR_ACTIONS)) throw new Errno(EINVAL);
    const maskRange = match.parse(attrs);
    const ufid = ufidIn(attrs);
    const program = match.parseActions(attrs);
    const { flows } = lookup(request);

    let flow = ufid === undefined ? -1 : flows.findUfid(ufid);
    if (flow < 0) flow = flows.find(key);
    if (flow < 0) {
      flow = flows.insert(key, mask, ufid, program, maskRange);
    } else {
      if ((request.message.flags & (NLM_F_CREATE | NLM_F_EXCL)) !== 0) throw new Errno(EEXIST);
      if (!match.names(flows, flow)) {
        flow = flows.ufid(flow) === undefined ? flows.findExact(key) : -1;
        if (flow < 0) throw new Errno(ENOENT);
      }
      flows.setProgram(flow, program);
    }
    if (request.mustNotify) {
      answer(request, ovs.OVS_FLOW_CMD_NEW, flows, flow);
      request.notify();
    }
  }

  /** SET (spec/families F-234 to F-245). */
  function set(request: GenlRequest): void {
    const { attrs } = request;
    const ufid = ufidIn(attrs);
    const hasKey = attrs.has(ovs.OVS_FLOW_ATTR_KEY);
    if (!hasKey && ufid === undefined) throw new Errno(EINVAL);
    if (hasKey) match.parse(attrs);
    let program: Program | undefined;
    if (attrs.has(ovs.OVS_FLOW_ATTR_ACTIONS)) {
      if (!hasKey) throw new Errno(EINVAL);
      program = match.parseActions(attrs);
    }
    const { flows } = lookup(request);
    const flow = match.find(flows, ufid);
    if (program !== undefined) flows.setProgram(flow, program);
    const notify = request.mustNotify;
    // The message has the statistics from before they are cleared (spec/families F-243).
    if (notify) answer(request, ovs.OVS_FLOW_CMD_SET, flows, flow);
    if (attrs.has(ovs.OVS_FLOW_ATTR_CLEAR)) flows.clearStats(flow);
    if (notify) request.notify();
  }

  /** GET (spec/families F-246 to F-253). */
  function get(request: GenlRequest): void {
    const { attrs } = request;
    const ufid = ufidIn(attrs);
    if (attrs.has(ovs.OVS_FLOW_ATTR_KEY)) match.parseKey(attrs);
    else if (ufid === undefined) throw new Errno(EINVAL);
    const { flows } = lookup(request);
    answer(request, ovs.OVS_FLOW_CMD_GET, flows, match.find(flows, ufid));
    request.reply();
  }

  /** DEL, and without key and UFID the flush of all flows (spec/families F-254 to F-258). */
  function remove(request: GenlRequest): void {
    const { attrs } = request;
    const ufid = ufidIn(attrs);
    const hasKey = attrs.has(ovs.OVS_FLOW_ATTR_KEY);
    if (hasKey) match.parseKey(attrs);
    const { flows } = lookup(request);
    if (!hasKey && ufid === undefined) {
      flows.flush();
      return;
    }
    const flow = match.find(flows, ufid);
    const notify = request.mustNotify;
    if (notify) answer(request, ovs.OVS_FLOW_CMD_DEL, flows, flow);
    flows.remove(flow);
    if (notify) request.notify();
  }

  function lookup(request: GenlRequest): Datapath {
    const datapath = datapaths.byIfindex(dpIfindex(request));
    if (datapath === undefined) throw new Errno(ENODEV);
    return datapath;
  }

  return {
    name: ovs.OVS_FLOW_FAMILY,
    version: ovs.OVS_FLOW_VERSION,
    headerSize: OVS_HEADER_SIZE,
    maxAttr: ovs.OVS_FLOW_ATTR_MAX,
    attributes: flowAttributes,
    operations: [
      { cmd: ovs.OVS_FLOW_CMD_NEW, flags: GENL_UNS_ADMIN_PERM, doit: put },
      { cmd: ovs.OVS_FLOW_CMD_DEL, flags: GENL_UNS_ADMIN_PERM, doit: remove },
      { cmd: ovs.OVS_FLOW_CMD_GET, flags: 0, doit: get, dumpit: (request) => new FlowDump(datapaths, request) },
      { cmd: ovs.OVS_FLOW_CMD_SET, flags: GENL_UNS_ADMIN_PERM, doit: set },
    ],
    groups: [ovs.OVS_FLOW_MCGROUP],
    firstStrictCommand: ovs.OVS_FLOW_CMD_SET + 1,
  };
}

/** Replies echo the ifindex of the request (spec/families F-105). */
function answer(request: GenlRequest, cmd: number, flows: FlowTable, flow: number): void {
  const writer = beginOvs(request, cmd, dpIfindex(request));
  const flags = ufidFlagsIn(request.attrs);
  putFlowRecord(writer, flows, flow, flags);
  if ((flags & ovs.OVS_UFID_F_OMIT_ACTIONS) === 0) putFlowActions(writer, flows, flow);
}
