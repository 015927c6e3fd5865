import { Errno } from "../../../core/errors.ts";
import { EINVAL } from "../../../uapi/errno.ts";
import { NLA_HDRLEN } from "../../../uapi/netlink.ts";
import * as ovs from "../../../uapi/openvswitch.ts";
import { type ActionKind, endsExactly } from "../draft.ts";
import { Op } from "../program.ts";

/** DEC_TTL: lowers TTL or hop limit; a list for packets that expire. */
export const decTtlKind: ActionKind = {
  type: ovs.OVS_ACTION_ATTR_DEC_TTL,
  operands: { [Op.DEC_TTL]: 1 },
  compile(compiler, reader, state, draft) {
    const attributes = reader.nested();
    let start = -1;
    let end = 0;
    while (attributes.next()) {
      // Attributes of later kernels are passed over (spec/actions A-098).
      if (attributes.type > ovs.OVS_DEC_TTL_ATTR_MAX) continue;
      if (attributes.type === 0 || start >= 0) throw new Errno(EINVAL);
      start = attributes.offset;
      end = start + attributes.length;
    }
    if (!endsExactly(attributes) || start < 0) throw new Errno(EINVAL);
    if (end !== start && end - start < NLA_HDRLEN) throw new Errno(EINVAL);
    const nest = compiler.writer.nest(ovs.OVS_ACTION_ATTR_DEC_TTL);
    const program = compiler.nestedList(ovs.OVS_DEC_TTL_ATTR_ACTION, reader, start, end, state);
    compiler.writer.endNest(nest);
    draft.addNested(2 * NLA_HDRLEN + program.kernelSize);
    draft.emitChange(Op.DEC_TTL, draft.programs.push(program) - 1);
  },
};
