import { Errno } from "../../../core/errors.ts";
import { NSH_KEY_LENGTHS } from "../../../flow/codec.ts";
import type { AttributeReader } from "../../../netlink/reader.ts";
import { ETH_P_IP, ETH_P_IPV6, ETH_P_MPLS_UC, ETH_P_NSH, ETH_P_TEB } from "../../../packet/ethernet.ts";
import * as nsh from "../../../packet/nsh.ts";
import { EINVAL } from "../../../uapi/errno.ts";
import * as ovs from "../../../uapi/openvswitch.ts";
import { type ActionKind, attributeSize, expectLength } from "../draft.ts";
import { Op } from "../program.ts";

/** PUSH_NSH. */
export const pushNshKind: ActionKind = {
  type: ovs.OVS_ACTION_ATTR_PUSH_NSH,
  operands: { [Op.PUSH_NSH]: 1 },
  compile(compiler, reader, state, draft) {
    if (!state.ethernet && !canFollowNsh(state.ethType)) throw new Errno(EINVAL);
    state.ethernet = false;
    draft.emitChange(Op.PUSH_NSH, draft.blobs.push(nshHeader(reader)) - 1);
    compiler.copy(reader, draft);
  },
};

/** Most context bytes of a header. */
const MAX_NSH_CONTEXT = 248;

function canFollowNsh(type: number): boolean {
  return type === ETH_P_IP || type === ETH_P_IPV6 || type === ETH_P_NSH || type === ETH_P_TEB || type === ETH_P_MPLS_UC;
}

/** The header that PUSH_NSH pushes, next protocol aside (spec/actions ). */
function nshHeader(reader: AttributeReader): Uint8Array {
  const outer = reader.nested();
  if (!outer.next() || outer.type !== ovs.OVS_KEY_ATTR_NSH) throw new Errno(EINVAL);
  if (attributeSize(outer.length) !== reader.length) throw new Errno(EINVAL);
  const header = new Uint8Array(nsh.BASE_LEN + MAX_NSH_CONTEXT);
  const view = new DataView(header.buffer);
  let base = -1;
  let md1 = false;
  let md2 = false;
  let context = 0;
  const attributes = outer.nested();
  while (attributes.next()) {
    const { type, length, offset } = attributes;
    switch (type) {
      case ovs.OVS_NSH_KEY_ATTR_BASE:
        expectLength(length, NSH_KEY_LENGTHS[type]);
        base = offset;
        break;
      case ovs.OVS_NSH_KEY_ATTR_MD1:
        expectLength(length, NSH_KEY_LENGTHS[type]);
        md1 = true;
        break;
      case ovs.OVS_NSH_KEY_ATTR_MD2:
        if (length === 0 || length > MAX_NSH_CONTEXT) throw new Errno(EINVAL);
        md2 = true;
        break;
      default:
        throw new Errno(EINVAL);
    }
    if (type !== ovs.OVS_NSH_KEY_ATTR_BASE) {
      context = length;
      header.set(attributes.bytes(), nsh.CONTEXT);
    }
  }
  if (attributes.rest > 0 || base < 0 || md1 === md2) throw new Errno(EINVAL);
  const source = reader.view;
  const mdtype = source.getUint8(base + 2);
  if (mdtype !== (md1 ? nsh.MD_TYPE1 : nsh.MD_TYPE2)) throw new Errno(EINVAL);
  nsh.setFlagsTtlLength(view, 0, source.getUint8(base), source.getUint8(base + 1), nsh.BASE_LEN + context);
  view.setUint8(nsh.MDTYPE, mdtype);
  view.setUint8(nsh.NEXT_PROTOCOL, source.getUint8(base + 3));
  view.setUint32(nsh.PATH, source.getUint32(base + 4));
  // The length field counts words: a context that is no whole number of them loses its end.
  return header.slice(0, (nsh.BASE_LEN + context) & ~3);
}
