import { Errno } from "../../../core/errors.ts";
import type { AttributeReader } from "../../../netlink/reader.ts";
import { EINVAL, ERANGE } from "../../../uapi/errno.ts";
import * as ovs from "../../../uapi/openvswitch.ts";
import type { ActionKind, Draft } from "../draft.ts";
import { Op, type Program, type UserspaceUpcall } from "../program.ts";

/** USERSPACE: an upcall (spec/actions ). */
export const userspaceKind: ActionKind = {
  type: ovs.OVS_ACTION_ATTR_USERSPACE,
  operands: { [Op.USERSPACE]: 1, [Op.CONSUME]: 0 },
  compile(compiler, reader, _state, draft, last) {
    const upcall = parseUserspace(reader, draft, compiler.context.kernel.strictUserspaceAction);
    draft.emit(Op.USERSPACE, draft.upcalls.push(upcall) - 1);
    draft.consume(last);
    compiler.copy(reader, draft);
  },
};

/**
 * The last of several equal sub-attributes counts.
 * @param strict refuse unknown sub-attributes and trailing bytes, which are otherwise passed over
 */
function parseUserspace(reader: AttributeReader, draft: Draft, strict: boolean): UserspaceUpcall {
  let pid = 0;
  let egressTunPort = -1;
  let userdata: Uint8Array | undefined;
  let wantsActions = false;
  const attributes = reader.nested();
  while (attributes.next()) {
    switch (attributes.type) {
      case ovs.OVS_USERSPACE_ATTR_PID:
        if (attributes.length < 4) throw new Errno(ERANGE);
        pid = attributes.u32();
        break;
      case ovs.OVS_USERSPACE_ATTR_USERDATA:
        userdata = attributes.bytes().slice();
        break;
      case ovs.OVS_USERSPACE_ATTR_EGRESS_TUN_PORT:
        if (attributes.length < 4) throw new Errno(ERANGE);
        egressTunPort = attributes.u32();
        break;
      case ovs.OVS_USERSPACE_ATTR_ACTIONS:
        wantsActions = true;
        break;
      default:
        if (strict) throw new Errno(EINVAL);
    }
  }
  if (strict && attributes.rest > 0) throw new Errno(EINVAL);
  if (pid === 0) throw new Errno(EINVAL);
  const actions = wantsActions ? () => (draft.program as Program).attributes : undefined;
  return { pid, userdata, egressTunPort, actions };
}
