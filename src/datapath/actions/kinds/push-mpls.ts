import { Errno } from "../../../core/errors.ts";
import type { AttributeReader } from "../../../netlink/reader.ts";
import { ETH_P_ARP, ETH_P_IP, ETH_P_IPV6, ETH_P_RARP, isMpls } from "../../../packet/ethernet.ts";
import { EINVAL } from "../../../uapi/errno.ts";
import * as ovs from "../../../uapi/openvswitch.ts";
import type { ActionKind, Draft, State } from "../draft.ts";
import { Op } from "../program.ts";

/** PUSH_MPLS: a label behind the L2 header. */
export const pushMplsKind: ActionKind = {
  type: ovs.OVS_ACTION_ATTR_PUSH_MPLS,
  operands: { [Op.PUSH_MPLS]: 3 },
  compile(compiler, reader, state, draft) {
    pushMplsEntry(reader, state, draft, true);
    compiler.copy(reader, draft);
  },
};

/** @param behindL2 as PUSH_MPLS does; ADD_MPLS may put the label before the packet instead (spec/actions A-059) */
export function pushMplsEntry(reader: AttributeReader, state: State, draft: Draft, behindL2: boolean): void {
  const { view, offset } = reader;
  const etherType = view.getUint16(offset + 4);
  if (!isMpls(etherType)) throw new Errno(EINVAL);
  if (behindL2) {
    if (state.tagged || !takesLabel(state.ethType)) throw new Errno(EINVAL);
    state.labels++;
  } else if (state.ethernet) {
    state.labels = 1;
    state.ethernet = false;
  } else {
    state.labels++;
  }
  state.ethType = etherType;
  draft.emitChange(Op.PUSH_MPLS, view.getInt32(offset), etherType, behindL2 ? 1 : 0);
}

/** Ethertypes in front of which the place of a label is known. */
function takesLabel(type: number): boolean {
  return type === ETH_P_IP || type === ETH_P_IPV6 || type === ETH_P_ARP || type === ETH_P_RARP || isMpls(type);
}
