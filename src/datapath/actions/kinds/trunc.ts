import { Errno } from "../../../core/errors.ts";
import { EINVAL } from "../../../uapi/errno.ts";
import * as ovs from "../../../uapi/openvswitch.ts";
import type { ActionKind } from "../draft.ts";
import { Op } from "../program.ts";

/** TRUNC: the most bytes of the next output. */
export const truncKind: ActionKind = {
  type: ovs.OVS_ACTION_ATTR_TRUNC,
  operands: { [Op.TRUNC]: 1 },
  compile(compiler, reader, _state, draft) {
    if (reader.u32() < MIN_TRUNC) throw new Errno(EINVAL);
    draft.emit(Op.TRUNC, Math.min(reader.u32(), 0x3fffffff));
    compiler.copy(reader, draft);
  },
};

/** An Ethernet header. */
const MIN_TRUNC = 14;
