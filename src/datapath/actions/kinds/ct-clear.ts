import * as ovs from "../../../uapi/openvswitch.ts";
import type { ActionKind } from "../draft.ts";
import { Op } from "../program.ts";

/** CT_CLEAR. */
export const ctClearKind: ActionKind = {
  type: ovs.OVS_ACTION_ATTR_CT_CLEAR,
  operands: { [Op.CT_CLEAR]: 0 },
  compile(compiler, reader, _state, draft) {
    draft.emitChange(Op.CT_CLEAR);
    compiler.copy(reader, draft);
  },
};
