import { Errno } from "../../../core/errors.ts";
import { EINVAL } from "../../../uapi/errno.ts";
import * as ovs from "../../../uapi/openvswitch.ts";
import type { ActionKind } from "../draft.ts";
import { Op } from "../program.ts";

/** OUTPUT: a port number (spec/actions A-039). */
export const outputKind: ActionKind = {
  type: ovs.OVS_ACTION_ATTR_OUTPUT,
  operands: { [Op.OUTPUT]: 1, [Op.OUTPUT_LAST]: 1 },
  compile(compiler, reader, _state, draft, last) {
    const port = reader.u32();
    if (port >= MAX_PORTS) throw new Errno(EINVAL);
    draft.emit(last ? Op.OUTPUT_LAST : Op.OUTPUT, port);
    draft.ended = last;
    compiler.copy(reader, draft);
  },
};

/** DP_MAX_PORTS. */
const MAX_PORTS = 65535;
