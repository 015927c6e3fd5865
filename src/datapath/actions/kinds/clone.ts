import { Errno } from "../../../core/errors.ts";
import { EINVAL } from "../../../uapi/errno.ts";
import { NLA_HDRLEN } from "../../../uapi/netlink.ts";
import * as ovs from "../../../uapi/openvswitch.ts";
import { type ActionKind, nestedFlags } from "../draft.ts";
import { Op } from "../program.ts";

/** CLONE: a list that runs on a copy of the packet. */
export const cloneKind: ActionKind = {
  type: ovs.OVS_ACTION_ATTR_CLONE,
  operands: { [Op.CLONE]: 2 },
  compile(compiler, reader, state, draft, last) {
    if (reader.length !== 0 && reader.length < NLA_HDRLEN) throw new Errno(EINVAL);
    const program = compiler.nestedList(
      ovs.OVS_ACTION_ATTR_CLONE,
      reader,
      reader.offset,
      reader.offset + reader.length,
      state,
    );
    draft.addNested(KERNEL_CLONE + program.kernelSize);
    draft.passive = false;
    if (!program.empty) draft.emit(Op.CLONE, draft.programs.push(program) - 1, nestedFlags(program, last));
  },
};

/** Its size in the kernel's own form of the list, without the nested one (spec/actions A-035). */
const KERNEL_CLONE = 4 + 8;
