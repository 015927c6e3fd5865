/** Translates actions that hold actions: clone and check_pkt_larger. */
import * as ovs from "../../uapi/openvswitch.ts";
import type { Action } from "../ofctl/actions.ts";
import { fillSubfield } from "../subfield.ts";
import { reversible } from "./action-traits.ts";
import type { XlateState } from "./context.ts";
import { putField } from "./field-actions.ts";

/** Runs actions on a copy of the packet: their changes are undone afterwards. */
export function translateClone(state: XlateState, actions: readonly Action[]): void {
  const flow = state.flow.clone();
  const stack = [...state.stack];
  const { conntracked, wasMpls } = state;
  // Actions that setting fields cannot undo need a clone in the datapath.
  if (reversible(actions)) {
    state.runActions(actions);
  } else {
    state.commit();
    const base = state.base.clone();
    const nest = state.writer.nest(ovs.OVS_ACTION_ATTR_CLONE);
    state.runActions(actions);
    if (state.freezing) state.freeze(state.table);
    if (state.writer.length === nest + 4) state.writer.cancel(nest);
    else state.writer.endNest(nest);
    state.base.set(base);
  }
  state.exiting = false;
  state.flow.set(flow);
  state.stack.length = 0;
  state.stack.push(...stack);
  state.conntracked = conntracked;
  state.wasMpls = wasMpls;
}

/** Translates the rest of a list twice, in the branches of OVS_ACTION_ATTR_CHECK_PKT_LEN. */
export function translateCheckPacketLarger(
  state: XlateState,
  action: Extract<Action, { type: "check_pkt_larger" }>,
  rest: readonly Action[],
): void {
  const { writer } = state;
  state.commit();
  const nest = writer.nest(ovs.OVS_ACTION_ATTR_CHECK_PKT_LEN);
  writer.u16(ovs.OVS_CHECK_PKT_LEN_ATTR_PKT_LEN, action.length);
  const flow = state.flow.clone();
  const base = state.base.clone();
  const { conntracked, wasMpls } = state;
  for (const larger of [1, 0]) {
    const branch = writer.nest(
      larger ? ovs.OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_GREATER : ovs.OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_LESS_EQUAL,
    );
    fillSubfield(state.wc, action.target);
    putField(state.flow, action.target, Uint8Array.of(larger));
    state.runActions(rest);
    if (state.freezing) state.freeze(state.table);
    writer.endNest(branch);
    state.flow.set(flow);
    state.base.set(base);
    state.conntracked = conntracked;
    state.wasMpls = wasMpls;
    state.exiting = false;
  }
  writer.endNest(nest);
}
