import { Errno } from "../../../core/errors.ts";
import { EINVAL } from "../../../uapi/errno.ts";
import * as ovs from "../../../uapi/openvswitch.ts";
import { type ActionKind, ethernetWords } from "../draft.ts";
import { Op } from "../program.ts";

/** PUSH_ETH. */
export const pushEthKind: ActionKind = {
  type: ovs.OVS_ACTION_ATTR_PUSH_ETH,
  operands: { [Op.PUSH_ETH]: 3 },
  compile(compiler, reader, state, draft) {
    if (state.ethernet) throw new Errno(EINVAL);
    state.ethernet = true;
    draft.emitChange(Op.PUSH_ETH, ...ethernetWords(reader.view, reader.offset));
    compiler.copy(reader, draft);
  },
};
