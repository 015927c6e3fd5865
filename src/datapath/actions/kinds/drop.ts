import { Errno } from "../../../core/errors.ts";
import { EINVAL } from "../../../uapi/errno.ts";
import * as ovs from "../../../uapi/openvswitch.ts";
import { DropReason } from "../../drop-reason.ts";
import type { ActionKind } from "../draft.ts";
import { Op } from "../program.ts";

/** DROP: ends a list (kernels from 6.6 on). */
export const dropKind: ActionKind = {
  type: ovs.OVS_ACTION_ATTR_DROP,
  operands: { [Op.DROP]: 1 },
  compile(compiler, reader, _state, draft, last) {
    if (!last) throw new Errno(EINVAL);
    draft.emit(Op.DROP, reader.u32() === 0 ? DropReason.EXPLICIT : DropReason.EXPLICIT_WITH_ERROR);
    draft.ended = true;
    compiler.copy(reader, draft);
  },
};
