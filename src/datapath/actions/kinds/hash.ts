import { Errno } from "../../../core/errors.ts";
import { EINVAL } from "../../../uapi/errno.ts";
import * as ovs from "../../../uapi/openvswitch.ts";
import type { ActionKind } from "../draft.ts";
import { Op } from "../program.ts";

/** HASH: computes dp_hash. */
export const hashKind: ActionKind = {
  type: ovs.OVS_ACTION_ATTR_HASH,
  operands: { [Op.HASH]: 2 },
  compile(compiler, reader, _state, draft) {
    const algorithm = reader.u32();
    const symmetric = algorithm === ovs.OVS_HASH_ALG_SYM_L4 && compiler.context.kernel.symmetricHash;
    if (algorithm !== ovs.OVS_HASH_ALG_L4 && !symmetric) throw new Errno(EINVAL);
    draft.emitChange(Op.HASH, algorithm, reader.view.getInt32(reader.offset + 4, true));
    compiler.copy(reader, draft);
  },
};
