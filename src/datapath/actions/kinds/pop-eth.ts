import { Errno } from "../../../core/errors.ts";
import { EINVAL } from "../../../uapi/errno.ts";
import * as ovs from "../../../uapi/openvswitch.ts";
import type { ActionKind } from "../draft.ts";
import { Op } from "../program.ts";

/** POP_ETH. */
export const popEthKind: ActionKind = {
  type: ovs.OVS_ACTION_ATTR_POP_ETH,
  operands: { [Op.POP_ETH]: 0 },
  compile(compiler, reader, state, draft) {
    if (!state.ethernet || state.tagged) throw new Errno(EINVAL);
    state.ethernet = false;
    draft.emitChange(Op.POP_ETH);
    compiler.copy(reader, draft);
  },
};
