import * as ovs from "../../../uapi/openvswitch.ts";
import type { ActionKind } from "../draft.ts";
import { Op } from "../program.ts";

/** METER. */
export const meterKind: ActionKind = {
  type: ovs.OVS_ACTION_ATTR_METER,
  operands: { [Op.METER]: 1 },
  compile(compiler, reader, _state, draft) {
    draft.emitChange(Op.METER, reader.s32());
    compiler.copy(reader, draft);
  },
};
