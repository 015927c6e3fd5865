import { Errno } from "../../../core/errors.ts";
import { EINVAL } from "../../../uapi/errno.ts";
import { NLA_HDRLEN } from "../../../uapi/netlink.ts";
import * as ovs from "../../../uapi/openvswitch.ts";
import { type ActionKind, endsExactly, nestedFlags } from "../draft.ts";
import { Op } from "../program.ts";

/** SAMPLE: a list that runs with a probability. */
export const sampleKind: ActionKind = {
  type: ovs.OVS_ACTION_ATTR_SAMPLE,
  operands: { [Op.SAMPLE]: 3 },
  compile(compiler, reader, state, draft, last) {
    const attributes = reader.nested();
    let probability = -1;
    let seen = 0;
    let start = 0;
    let end = 0;
    while (attributes.next()) {
      const { type, length } = attributes;
      if (type === 0 || type > ovs.OVS_SAMPLE_ATTR_MAX || (seen & (1 << type)) !== 0) throw new Errno(EINVAL);
      seen |= 1 << type;
      if (type === ovs.OVS_SAMPLE_ATTR_PROBABILITY) {
        if (length !== 4) throw new Errno(EINVAL);
        probability = attributes.s32();
      } else {
        start = attributes.offset;
        end = start + length;
      }
    }
    if (!endsExactly(attributes) || seen !== 0b110) throw new Errno(EINVAL);
    if (end !== start && end - start < NLA_HDRLEN) throw new Errno(EINVAL);
    const nest = compiler.writer.nest(ovs.OVS_ACTION_ATTR_SAMPLE);
    compiler.writer.u32(ovs.OVS_SAMPLE_ATTR_PROBABILITY, probability);
    const program = compiler.nestedList(ovs.OVS_SAMPLE_ATTR_ACTIONS, reader, start, end, state);
    compiler.writer.endNest(nest);
    draft.addNested(KERNEL_SAMPLE + program.kernelSize);
    // Chance decides only what a non-empty list does, but a last sample ends the packet either way.
    draft.emitChange(Op.SAMPLE, draft.programs.push(program) - 1, nestedFlags(program, last), probability);
  },
};

/** Its size in the kernel's own form of the list, without the nested one (spec/actions A-035). */
const KERNEL_SAMPLE = 4 + 12;
