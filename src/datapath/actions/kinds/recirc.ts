import * as ovs from "../../../uapi/openvswitch.ts";
import type { ActionKind } from "../draft.ts";
import { Op } from "../program.ts";

/** RECIRC: looks the packet up again. */
export const recircKind: ActionKind = {
  type: ovs.OVS_ACTION_ATTR_RECIRC,
  operands: { [Op.RECIRC]: 1, [Op.RECIRC_LAST]: 1 },
  compile(compiler, reader, _state, draft, last) {
    draft.emit(last ? Op.RECIRC_LAST : Op.RECIRC, reader.s32());
    draft.ended = last;
    compiler.copy(reader, draft);
  },
};
