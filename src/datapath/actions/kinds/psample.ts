import { Errno } from "../../../core/errors.ts";
import type { AttributeReader } from "../../../netlink/reader.ts";
import { EINVAL, ERANGE } from "../../../uapi/errno.ts";
import { NLA_F_NESTED } from "../../../uapi/netlink.ts";
import * as ovs from "../../../uapi/openvswitch.ts";
import type { ActionKind, Draft } from "../draft.ts";
import { Op } from "../program.ts";

/** PSAMPLE: a sample (spec/actions; kernels from 6.11 on). */
export const psampleKind: ActionKind = {
  type: ovs.OVS_ACTION_ATTR_PSAMPLE,
  operands: { [Op.PSAMPLE]: 2, [Op.CONSUME]: 0 },
  compile(compiler, reader, _state, draft, last) {
    emitPsample(reader, draft);
    draft.consume(last);
    compiler.copy(reader, draft);
  },
};

/** Parsed strictly. */
function emitPsample(reader: AttributeReader, draft: Draft): void {
  if ((reader.rawType & NLA_F_NESTED) === 0) throw new Errno(EINVAL);
  let group = -1;
  let cookie = new Uint8Array(0);
  const attributes = reader.nested();
  while (attributes.next()) {
    if ((attributes.rawType & NLA_F_NESTED) !== 0) throw new Errno(EINVAL);
    if (attributes.type === ovs.OVS_PSAMPLE_ATTR_GROUP) {
      if (attributes.length !== 4) throw new Errno(EINVAL);
      group = attributes.u32();
    } else if (attributes.type === ovs.OVS_PSAMPLE_ATTR_COOKIE) {
      if (attributes.length > ovs.OVS_PSAMPLE_COOKIE_MAX_SIZE) throw new Errno(ERANGE);
      cookie = attributes.bytes().slice();
    } else throw new Errno(EINVAL);
  }
  if (attributes.rest > 0 || group < 0) throw new Errno(EINVAL);
  draft.emit(Op.PSAMPLE, group, draft.blobs.push(cookie) - 1);
}
