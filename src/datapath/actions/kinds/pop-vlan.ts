import { Errno } from "../../../core/errors.ts";
import { EINVAL } from "../../../uapi/errno.ts";
import * as ovs from "../../../uapi/openvswitch.ts";
import type { ActionKind } from "../draft.ts";
import { Op } from "../program.ts";

/** POP_VLAN. */
export const popVlanKind: ActionKind = {
  type: ovs.OVS_ACTION_ATTR_POP_VLAN,
  operands: { [Op.POP_VLAN]: 0 },
  compile(compiler, reader, state, draft) {
    if (!state.ethernet) throw new Errno(EINVAL);
    state.tagged = false;
    draft.emitChange(Op.POP_VLAN);
    compiler.copy(reader, draft);
  },
};
