import * as ovs from "../../../uapi/openvswitch.ts";
import type { ActionKind } from "../draft.ts";
import { Op } from "../program.ts";
import { pushMplsEntry } from "./push-mpls.ts";

/** ADD_MPLS: a label behind the L2 header or before the packet. */
export const addMplsKind: ActionKind = {
  type: ovs.OVS_ACTION_ATTR_ADD_MPLS,
  operands: { [Op.PUSH_MPLS]: 3 },
  compile(compiler, reader, state, draft) {
    const flags = reader.view.getUint16(reader.offset + 6, true);
    pushMplsEntry(reader, state, draft, (flags & ovs.OVS_MPLS_L3_TUNNEL_FLAG_MASK) !== 0);
    compiler.copy(reader, draft);
  },
};
