import { Errno } from "../../../core/errors.ts";
import { KEY_LENGTHS, parseTunnel, putTunnel } from "../../../flow/codec.ts";
import { K, newKey } from "../../../flow/key.ts";
import type { AttributeReader } from "../../../netlink/reader.ts";
import { ETH_P_IP, ETH_P_IPV6, isMpls } from "../../../packet/ethernet.ts";
import { IpProto } from "../../../packet/ip.ts";
import { LSE_LEN } from "../../../packet/mpls.ts";
import { EINVAL } from "../../../uapi/errno.ts";
import { NLA_HDRLEN } from "../../../uapi/netlink.ts";
import * as ovs from "../../../uapi/openvswitch.ts";
import { AF_INET } from "../../../uapi/socket.ts";
import {
  type ActionKind,
  attributeSize,
  type Draft,
  ethernetWords,
  expectLength,
  type ListCompiler,
  type State,
} from "../draft.ts";
import { Fact, type KeyFacts } from "../facts.ts";
import { Op, SET_DST, SET_SRC } from "../program.ts";

/** What SET and SET_MASKED emit: an instruction for each field that can be set, FAIL for those of conntrack. */
export const SET_OPERANDS = {
  [Op.SET_ETHERNET]: 6,
  [Op.SET_IPV4]: 8,
  [Op.SET_IPV6]: 23,
  [Op.SET_TCP]: 2,
  [Op.SET_UDP]: 2,
  [Op.SET_SCTP]: 2,
  [Op.SET_MPLS]: 2,
  [Op.SET_PRIORITY]: 2,
  [Op.SET_MARK]: 2,
  [Op.SET_TUNNEL]: 1,
  [Op.FAIL]: 1,
};

/** SET: writes a whole field, or chooses the tunnel. */
export const setKind: ActionKind = {
  type: ovs.OVS_ACTION_ATTR_SET,
  operands: SET_OPERANDS,
  compile(compiler, reader, state, draft) {
    compileSet(compiler, reader, state, draft, false);
  },
};

const IPV6_LABEL_MASK = 0x000fffff;
/** The size of SET(TUNNEL) in the kernel's own form of the list (spec/actions A-035). */
const KERNEL_SET_TUNNEL = 16;

/** Value and mask of the field in hand. A buffer for each would cost more than all else that compiling an action does. */
const scratch = new DataView(new ArrayBuffer(2 * Math.max(...KEY_LENGTHS)));

/** A field to set: value, then mask, `length` bytes each. */
interface MaskedField {
  readonly bytes: DataView;
  readonly length: number;
  /** It is that of a SET_MASKED. */
  readonly masked: boolean;
}

/** SET and SET_MASKED (spec/actions ). */
export function compileSet(
  compiler: ListCompiler,
  reader: AttributeReader,
  state: State,
  draft: Draft,
  masked: boolean,
): void {
  const { view } = reader;
  const inner = reader.nested();
  if (!inner.next() || attributeSize(inner.length) !== reader.length) throw new Errno(EINVAL);
  draft.passive = false;
  if (inner.type === ovs.OVS_KEY_ATTR_TUNNEL) {
    if (masked) throw new Errno(EINVAL);
    setTunnel(compiler, inner, draft);
    return;
  }
  const length = masked ? inner.length >> 1 : inner.length;
  const value = inner.offset;
  // Beyond the value stands the mask; an unmasked set has one of all ones (spec/actions A-084).
  const mask = value + length;
  // A label stack, the only field of variable length, is set one entry at a time.
  expectLength(length, inner.type === ovs.OVS_KEY_ATTR_MPLS ? LSE_LEN : (KEY_LENGTHS[inner.type] ?? -1));
  for (let i = 0; i < length; i++) {
    const bits = masked ? view.getUint8(mask + i) : 0xff;
    const octet = view.getUint8(value + i);
    if ((octet & ~bits) !== 0) throw new Errno(EINVAL);
    scratch.setUint8(i, octet);
    scratch.setUint8(length + i, bits);
  }
  setField(inner.type, { bytes: scratch, length, masked }, state, draft, compiler.facts);
  if (masked) {
    compiler.copy(reader, draft);
    return;
  }
  const nest = compiler.writer.nest(ovs.OVS_ACTION_ATTR_SET);
  compiler.writer.raw(inner.type, inner.bytes());
  compiler.writer.endNest(nest);
  draft.kernelSize += NLA_HDRLEN + attributeSize(2 * length);
}

/**
 * SET of a tunnel: the key of the tunnel to send through, dumped in canonical form (spec/actions ).
 */
function setTunnel(compiler: ListCompiler, reader: AttributeReader, draft: Draft): void {
  const tunnel = newKey();
  const options = parseTunnel(reader.view, reader.offset, reader.offset + reader.length, tunnel);
  if (options === ovs.OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS) checkGeneveOptions(tunnel);
  const bridge = tunnel[K.TUN_PROTO] >>> 8 === AF_INET && tunnel[K.TUN_DST] === 0;
  draft.emit(Op.SET_TUNNEL, draft.tunnels.push(tunnel) - 1);
  draft.kernelSize += KERNEL_SET_TUNNEL;
  const { writer } = compiler;
  const nest = writer.nest(ovs.OVS_ACTION_ATTR_SET);
  const inner = writer.nest(ovs.OVS_KEY_ATTR_TUNNEL);
  putTunnel(writer, tunnel, tunnel, bridge);
  writer.endNest(inner);
  writer.endNest(nest);
}

function setField(type: number, field: MaskedField, state: State, draft: Draft, facts: KeyFacts): void {
  const { bytes, masked } = field;
  switch (type) {
    case ovs.OVS_KEY_ATTR_PRIORITY:
    case ovs.OVS_KEY_ATTR_SKB_MARK:
      draft.emit(
        type === ovs.OVS_KEY_ATTR_PRIORITY ? Op.SET_PRIORITY : Op.SET_MARK,
        bytes.getInt32(0, true),
        bytes.getInt32(4, true),
      );
      break;
    case ovs.OVS_KEY_ATTR_CT_MARK:
      draft.emit(Op.FAIL, EINVAL);
      break;
    case ovs.OVS_KEY_ATTR_CT_LABELS:
      draft.emit(Op.FAIL, EINVAL);
      break;
    case ovs.OVS_KEY_ATTR_ETHERNET:
      if (!state.ethernet) throw new Errno(EINVAL);
      draft.emit(Op.SET_ETHERNET, ...ethernetWords(bytes, 0), ...ethernetWords(bytes, 12));
      break;
    case ovs.OVS_KEY_ATTR_IPV4:
      if (state.ethType !== ETH_P_IP) throw new Errno(EINVAL);
      expectReadOnly(facts, field, 8, 11);
      draft.emit(
        Op.SET_IPV4,
        bytes.getInt32(0),
        bytes.getInt32(12),
        bytes.getInt32(4),
        bytes.getInt32(16),
        bytes.getUint8(9),
        bytes.getUint8(21),
        bytes.getUint8(10),
        bytes.getUint8(22),
      );
      break;
    case ovs.OVS_KEY_ATTR_IPV6: {
      if (state.ethType !== ETH_P_IPV6) throw new Errno(EINVAL);
      expectReadOnly(facts, field, 36, 39);
      if (masked && (bytes.getUint32(72) & ~IPV6_LABEL_MASK) !== 0) throw new Errno(EINVAL);
      if ((bytes.getUint32(32) & ~IPV6_LABEL_MASK) !== 0) throw new Errno(EINVAL);
      const src = words(bytes, 40, 4);
      const dst = words(bytes, 56, 4);
      draft.emit(
        Op.SET_IPV6,
        ...[...words(bytes, 0, 4), ...src, ...words(bytes, 16, 4), ...dst],
        ...[bytes.getUint8(37), bytes.getUint8(77)],
        ...[bytes.getUint32(32), bytes.getUint32(72) & IPV6_LABEL_MASK],
        ...[bytes.getUint8(38), bytes.getUint8(78)],
        (src.some((word) => word !== 0) ? SET_SRC : 0) | (dst.some((word) => word !== 0) ? SET_DST : 0),
      );
      break;
    }
    case ovs.OVS_KEY_ATTR_TCP:
      setPorts(Op.SET_TCP, IpProto.TCP, field, state, draft, facts);
      break;
    case ovs.OVS_KEY_ATTR_UDP:
      setPorts(Op.SET_UDP, IpProto.UDP, field, state, draft, facts);
      break;
    case ovs.OVS_KEY_ATTR_SCTP:
      setPorts(Op.SET_SCTP, IpProto.SCTP, field, state, draft, facts);
      break;
    case ovs.OVS_KEY_ATTR_MPLS:
      if (!isMpls(state.ethType)) throw new Errno(EINVAL);
      draft.emit(Op.SET_MPLS, bytes.getInt32(0), bytes.getInt32(4));
      break;
    default:
      throw new Errno(EINVAL);
  }
}

function setPorts(op: Op, proto: number, field: MaskedField, state: State, draft: Draft, facts: KeyFacts): void {
  if (state.ethType !== ETH_P_IP && state.ethType !== ETH_P_IPV6) throw new Errno(EINVAL);
  if (facts[Fact.IP_PROTO] !== proto) throw new Errno(EINVAL);
  draft.emit(op, field.bytes.getInt32(0), field.bytes.getInt32(4));
}

/**
 * Protocol and fragment type, at these bytes, cannot be written: unmasked they must be the flow's, masked have no mask
 * (spec/actions ).
 */
function expectReadOnly(facts: KeyFacts, field: MaskedField, proto: number, frag: number): void {
  const { bytes, length, masked } = field;
  const right = masked
    ? bytes.getUint8(length + proto) === 0 && bytes.getUint8(length + frag) === 0
    : bytes.getUint8(proto) === facts[Fact.IP_PROTO] && bytes.getUint8(frag) === facts[Fact.FRAG];
  if (!right) throw new Errno(EINVAL);
}

function words(view: DataView, offset: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => view.getInt32(offset + 4 * i));
}

/**
 * Options must chain to the last byte: each has 4 bytes and its length in words of 4 bytes after them
 * (spec/actions A-083).
 */
function checkGeneveOptions(tunnel: Int32Array): void {
  let left = tunnel[K.TUN_PROTO] & 0xff;
  let at: number = K.TUN_OPTS;
  while (left > 0) {
    const length = 4 + (tunnel[at] & 0x1f) * 4;
    if (length > left) throw new Errno(EINVAL);
    left -= length;
    at += length >> 2;
  }
}
