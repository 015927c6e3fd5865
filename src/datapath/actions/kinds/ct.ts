import { Errno } from "../../../core/errors.ts";
import { ETH_P_IP, ETH_P_IPV6 } from "../../../packet/ethernet.ts";
import { EINVAL } from "../../../uapi/errno.ts";
import * as ovs from "../../../uapi/openvswitch.ts";
import { AF_INET, AF_INET6 } from "../../../uapi/socket.ts";
import { parseCt, putCt } from "../ct.ts";
import type { ActionKind } from "../draft.ts";
import { Fact } from "../facts.ts";
import { Op } from "../program.ts";

/** CT: connection tracking; its attributes are parsed in actions/ct.ts. */
export const ctKind: ActionKind = {
  type: ovs.OVS_ACTION_ATTR_CT,
  operands: { [Op.CT]: 1 },
  compile(compiler, reader, _state, draft) {
    const { facts, context, writer } = compiler;
    const type = facts[Fact.ETHER_TYPE];
    if (type !== ETH_P_IP && type !== ETH_P_IPV6) throw new Errno(EINVAL);
    const family = type === ETH_P_IP ? AF_INET : AF_INET6;
    const action = parseCt(reader, family, facts[Fact.IP_PROTO], context.conntrack);
    context.conntrack.bind?.(action);
    draft.emitChange(Op.CT, draft.cts.push(action) - 1);
    draft.kernelSize += KERNEL_CT;
    const nest = writer.nest(ovs.OVS_ACTION_ATTR_CT);
    putCt(writer, action);
    writer.endNest(nest);
  },
};

/** Its size in the kernel's own form of the list (spec/actions A-035). */
const KERNEL_CT = 4 + 160;
