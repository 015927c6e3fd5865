import { Errno } from "../../../core/errors.ts";
import { EINVAL, ERANGE } from "../../../uapi/errno.ts";
import { NLA_HDRLEN } from "../../../uapi/netlink.ts";
import * as ovs from "../../../uapi/openvswitch.ts";
import { type ActionKind, nestedFlags } from "../draft.ts";
import { Op } from "../program.ts";

/** CHECK_PKT_LEN: one of two lists, by the length of the packet. */
export const checkPktLenKind: ActionKind = {
  type: ovs.OVS_ACTION_ATTR_CHECK_PKT_LEN,
  operands: { [Op.CHECK_PKT_LEN]: 5 },
  compile(compiler, reader, state, draft, last) {
    const attributes = reader.nested();
    let length = 0;
    let greaterStart = -1;
    let greaterEnd = 0;
    let lessStart = -1;
    let lessEnd = 0;
    while (attributes.next()) {
      const size = attributes.length;
      switch (attributes.type) {
        case ovs.OVS_CHECK_PKT_LEN_ATTR_PKT_LEN:
          if (size < 2) throw new Errno(ERANGE);
          length = attributes.u16();
          break;
        case ovs.OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_GREATER:
        case ovs.OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_LESS_EQUAL:
          if (size !== 0 && size < NLA_HDRLEN) throw new Errno(ERANGE);
          if (attributes.type === ovs.OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_GREATER) {
            greaterStart = attributes.offset;
            greaterEnd = greaterStart + size;
          } else {
            lessStart = attributes.offset;
            lessEnd = lessStart + size;
          }
          break;
        default:
          throw new Errno(EINVAL);
      }
    }
    if (attributes.rest > 0 || length === 0 || greaterStart < 0 || lessStart < 0) throw new Errno(EINVAL);
    const nest = compiler.writer.nest(ovs.OVS_ACTION_ATTR_CHECK_PKT_LEN);
    compiler.writer.u16(ovs.OVS_CHECK_PKT_LEN_ATTR_PKT_LEN, length);
    const less = compiler.nestedList(
      ovs.OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_LESS_EQUAL,
      reader,
      lessStart,
      lessEnd,
      state,
    );
    const greater = compiler.nestedList(
      ovs.OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_GREATER,
      reader,
      greaterStart,
      greaterEnd,
      state,
    );
    compiler.writer.endNest(nest);
    draft.addNested(KERNEL_CHECK_PKT_LEN + 2 * NLA_HDRLEN + less.kernelSize + greater.kernelSize);
    draft.emitChange(
      Op.CHECK_PKT_LEN,
      length,
      draft.programs.push(greater) - 1,
      nestedFlags(greater, last),
      draft.programs.push(less) - 1,
      nestedFlags(less, last),
    );
  },
};

/** Its size in the kernel's own form of the list, without the nested one (spec/actions A-035). */
const KERNEL_CHECK_PKT_LEN = 4 + 8;
