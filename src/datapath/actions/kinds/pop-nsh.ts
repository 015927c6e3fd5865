import { Errno } from "../../../core/errors.ts";
import { ETH_P_NSH } from "../../../packet/ethernet.ts";
import * as nsh from "../../../packet/nsh.ts";
import { EINVAL } from "../../../uapi/errno.ts";
import * as ovs from "../../../uapi/openvswitch.ts";
import type { ActionKind } from "../draft.ts";
import { Fact } from "../facts.ts";
import { Op } from "../program.ts";

/** POP_NSH. */
export const popNshKind: ActionKind = {
  type: ovs.OVS_ACTION_ATTR_POP_NSH,
  operands: { [Op.POP_NSH]: 0 },
  compile(compiler, reader, state, draft) {
    if (state.ethType !== ETH_P_NSH) throw new Errno(EINVAL);
    const next = compiler.facts[Fact.NSH_NEXT];
    if (next < nsh.NshNext.IPV4 || next > nsh.NshNext.MPLS) throw new Errno(EINVAL);
    state.ethernet = next === nsh.NshNext.ETHERNET;
    draft.emitChange(Op.POP_NSH);
    compiler.copy(reader, draft);
  },
};
