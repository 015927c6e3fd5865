/** Translates output: to ports, and to the controller by a userspace action. */
import * as ovs from "../../uapi/openvswitch.ts";
import {
  FlowAt,
  OFPP_ALL,
  OFPP_CONTROLLER,
  OFPP_FLOOD,
  OFPP_IN_PORT,
  OFPP_NONE,
  OFPP_NORMAL,
  OFPP_TABLE,
} from "../flow.ts";
import { OFPR_ACTION } from "../ofctl/actions.ts";
import type { UserspaceReason } from "../userdata.ts";
import type { XlateState } from "./context.ts";
import { normal } from "./normal.ts";

/** Outputs to an OpenFlow port, OFPP_* included. */
export function output(state: XlateState, port: number): void {
  switch (port) {
    case OFPP_IN_PORT:
      state.outputTo(state.flow.u32(FlowAt.IN_PORT));
      return;
    case OFPP_TABLE:
      state.lookup(0, null);
      return;
    case OFPP_NORMAL:
      normal(state);
      return;
    case OFPP_FLOOD:
    case OFPP_ALL:
      for (const to of state.context.ports.values()) {
        if (to.port === state.flow.u32(FlowAt.IN_PORT) || (port === OFPP_FLOOD && to.noFlood)) continue;
        state.outputTo(to.port);
      }
      return;
    case OFPP_CONTROLLER:
      controller(state, OFPR_ACTION, 0, 0xffff, null);
      return;
    case OFPP_NONE:
      return;
    default:
      if (port !== state.flow.u32(FlowAt.IN_PORT)) state.outputTo(port);
  }
}

/** Outputs at most `maxLen` bytes of the packet. */
export function outputTruncated(state: XlateState, port: number, maxLen: number): void {
  state.commit();
  const at = state.writer.length;
  state.writer.u32(ovs.OVS_ACTION_ATTR_TRUNC, maxLen);
  const after = state.writer.length;
  output(state, port);
  if (state.writer.length === after) state.writer.cancel(at);
}

/** Sends the packet to the controller (OFPR_* `reason`). */
export function controller(
  state: XlateState,
  reason: number,
  id: number,
  maxLen: number,
  userdata: Uint8Array | null,
): void {
  state.commit();
  const cookie = state.rule?.spec.cookie ?? 0n;
  userspace(state, { kind: "controller", reason, id, maxLen, table: state.table, cookie, userdata });
}

function userspace(state: XlateState, reason: UserspaceReason): void {
  const { writer } = state;
  const nest = writer.nest(ovs.OVS_ACTION_ATTR_USERSPACE);
  writer.u32(ovs.OVS_USERSPACE_ATTR_PID, state.context.upcallPid(state.original.u32(FlowAt.IN_PORT)));
  writer.raw(ovs.OVS_USERSPACE_ATTR_USERDATA, state.context.userdata(reason));
  writer.endNest(nest);
}
