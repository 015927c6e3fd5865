import { Errno } from "../../../core/errors.ts";
import { ETH_P_TEB, isMpls } from "../../../packet/ethernet.ts";
import { EINVAL } from "../../../uapi/errno.ts";
import * as ovs from "../../../uapi/openvswitch.ts";
import type { ActionKind } from "../draft.ts";
import { Op } from "../program.ts";

/** POP_MPLS. */
export const popMplsKind: ActionKind = {
  type: ovs.OVS_ACTION_ATTR_POP_MPLS,
  operands: { [Op.POP_MPLS]: 1 },
  compile(compiler, reader, state, draft) {
    if (state.tagged || !isMpls(state.ethType)) throw new Errno(EINVAL);
    const type = reader.be16();
    if (type === ETH_P_TEB && state.ethernet) throw new Errno(EINVAL);
    state.labels--;
    // Nothing is known of the inner packet: further changes need recirculation (spec/actions A-062).
    state.ethType = isMpls(type) && state.labels !== 0 ? type : 0;
    draft.emitChange(Op.POP_MPLS, type);
    compiler.copy(reader, draft);
  },
};
