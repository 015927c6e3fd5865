import * as ovs from "../../../uapi/openvswitch.ts";
import type { ActionKind } from "../draft.ts";
import { compileSet, SET_OPERANDS } from "./set.ts";

/** SET_MASKED: writes the bits of a field that its mask has. */
export const setMaskedKind: ActionKind = {
  type: ovs.OVS_ACTION_ATTR_SET_MASKED,
  operands: SET_OPERANDS,
  compile(compiler, reader, state, draft) {
    compileSet(compiler, reader, state, draft, true);
  },
};
