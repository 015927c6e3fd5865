import { Errno } from "../../../core/errors.ts";
import { ETH_P_8021AD, ETH_P_8021Q } from "../../../packet/ethernet.ts";
import { DEI } from "../../../packet/vlan.ts";
import { EINVAL } from "../../../uapi/errno.ts";
import * as ovs from "../../../uapi/openvswitch.ts";
import type { ActionKind } from "../draft.ts";
import { Op } from "../program.ts";

/** PUSH_VLAN. */
export const pushVlanKind: ActionKind = {
  type: ovs.OVS_ACTION_ATTR_PUSH_VLAN,
  operands: { [Op.PUSH_VLAN]: 3 },
  compile(compiler, reader, state, draft) {
    const { view, offset } = reader;
    const tpid = view.getUint16(offset);
    const tci = view.getUint16(offset + 2);
    if (!state.ethernet || (tpid !== ETH_P_8021Q && tpid !== ETH_P_8021AD) || (tci & DEI) === 0)
      throw new Errno(EINVAL);
    state.tagged = true;
    draft.emitChange(Op.PUSH_VLAN, tpid, tci, compiler.context.kernel.vlanPushShiftsNetwork ? 1 : 0);
    compiler.copy(reader, draft);
  },
};
