import type { ConntrackPort } from "../../conntrack/conntrack-port.ts";
import { Errno } from "../../core/errors.ts";
import type { KernelProfile } from "../../core/kernel-profile.ts";
import { parseTunnel, putTunnel } from "../../flow/codec.ts";
import { K, newKey } from "../../flow/key.ts";
import { AttributeReader } from "../../netlink/reader.ts";
import { MessageWriter } from "../../netlink/writer.ts";
import {
  ETH_P_8021AD,
  ETH_P_8021Q,
  ETH_P_ARP,
  ETH_P_IP,
  ETH_P_IPV6,
  ETH_P_NSH,
  ETH_P_RARP,
  ETH_P_TEB,
  isMpls,
} from "../../packet/ethernet.ts";
import { IpProto } from "../../packet/ip.ts";
import * as nsh from "../../packet/nsh.ts";
import { DEI } from "../../packet/vlan.ts";
import { actionAttributes } from "../../schema/openvswitch.ts";
import { EINVAL, EMSGSIZE, EOVERFLOW, ERANGE } from "../../uapi/errno.ts";
import * as ovs from "../../uapi/openvswitch.ts";
import { DropReason } from "../drop-reason.ts";
import { parseCt, putCt } from "./ct.ts";
import { Nested, Op, Program, SET_DST, SET_SRC, type UserspaceUpcall } from "./program.ts";

/** What validation asks of the rest of the datapath. */
export interface ValidationContext {
  readonly kernel: KernelProfile;
  readonly conntrack: Pick<ConntrackPort, "checkHelper" | "crossZoneNat"> & Partial<Pick<ConntrackPort, "bind">>;
}

const AF_INET = 2;
const AF_INET6 = 10;
/** DP_MAX_PORTS (spec/actions A-039). */
const MAX_PORTS = 65535;
/** Lists deeper than this give EOVERFLOW (spec/actions A-031). */
const MAX_DEPTH = 16;
const MIN_TRUNC = 14;
const NESTED = -1;
const NLA_HDRLEN = 4;
const NLA_F_NESTED = 0x8000;
const IPV6_LABEL_MASK = 0x000fffff;
const MAX_NSH_CONTEXT = 248;

/** Payload length by OVS_ACTION_ATTR_* (spec/actions ); NESTED = any. */
const LENGTHS: readonly number[] = [
  0, // UNSPEC
  4, // OUTPUT
  NESTED, // USERSPACE
  NESTED, // SET
  4, // PUSH_VLAN
  0, // POP_VLAN
  NESTED, // SAMPLE
  4, // RECIRC
  8, // HASH
  8, // PUSH_MPLS
  2, // POP_MPLS
  NESTED, // SET_MASKED
  NESTED, // CT
  4, // TRUNC
  12, // PUSH_ETH
  0, // POP_ETH
  0, // CT_CLEAR
  NESTED, // PUSH_NSH
  0, // POP_NSH
  4, // METER
  NESTED, // CLONE
  NESTED, // CHECK_PKT_LEN
  8, // ADD_MPLS
  NESTED, // DEC_TTL
  4, // DROP
  NESTED, // PSAMPLE
];

/**
 * The most bytes that a list, or one nested list, may take in the kernel's own form, and the sizes there of what is not
 * copied as it came (spec/actions A-035).
 */
const MAX_KERNEL_SIZE = 65535;
const KERNEL_CT = 4 + 160;
const KERNEL_SET_TUNNEL = 16;
const KERNEL_SAMPLE = 4 + 12;
const KERNEL_CLONE = 4 + 8;
const KERNEL_CHECK_PKT_LEN = 4 + 8;

/**
 * Validates an action list and compiles it.
 * @param view bytes of the message; the attributes of the list stand in [start, end)
 * @param maskedKey the flow's key under its mask; for EXECUTE the packet's key (spec/actions A-032)
 * @throws Errno EINVAL mostly; ERANGE, EOVERFLOW, EMSGSIZE, ENOENT where the rows of spec/actions section 3 say so.
 *   Nothing has been installed then
 */
export function validateActions(
  view: DataView,
  start: number,
  end: number,
  maskedKey: Int32Array,
  context: ValidationContext,
): Program {
  const key = maskedKey;
  const type = key[K.ETH_TYPE] >>> 16;
  const labels = isMpls(type) ? bitCount(key[K.MPLS_LABELS]) : 0;
  const compiler = new Compiler(view, key, context, scratchWriter.reset());
  return compiler.list(start, end, new State(type, (key[K.VLAN] >>> 16) & 0xffff, labels, 0));
}

/** Canonical forms are copied out of it. */
const scratchWriter = new MessageWriter();

/** What is known of the packet at a place of the list (spec/actions A-032): copied for nested lists. */
class State {
  /** True while the packet has an Ethernet header. */
  ethernet = false;
  constructor(
    public ethType: number,
    public vlanTci: number,
    public labels: number,
    readonly depth: number,
  ) {}

  get tagged(): boolean {
    return (this.vlanTci & DEI) !== 0;
  }

  nested(): State {
    return new State(this.ethType, this.vlanTci, this.labels, this.depth + 1);
  }
}

/** Instructions and side tables of one list while it is compiled. */
class Draft {
  readonly code: number[] = [];
  readonly programs: Program[] = [];
  readonly cts: ReturnType<typeof parseCt>[] = [];
  readonly upcalls: UserspaceUpcall[] = [];
  readonly blobs: Uint8Array[] = [];
  readonly tunnels: Int32Array[] = [];
  passive = true;
  kernelSize = 0;
  program: Program | undefined = undefined;

  /** Position of the last instruction that consumes the packet if it is last: it needs no END. */
  ended = false;

  emit(...words: number[]): void {
    this.code.push(...words);
  }
}

class Compiler {
  private readonly known: typeof actionAttributes;

  constructor(
    private readonly view: DataView,
    private readonly key: Int32Array,
    private readonly context: ValidationContext,
    private readonly writer: MessageWriter,
  ) {
    this.known = actionAttributes.asOf(context.kernel.version);
  }

  /** One list: writes its canonical form and compiles it. */
  list(start: number, end: number, state: State): Program {
    if (state.depth > MAX_DEPTH) throw new Errno(EOVERFLOW);
    // Each list starts from the flow's key, whatever the lists around it did (spec/actions A-034).
    state.ethernet = (this.key[K.ETH_TYPE] & 0xff) === 1;
    const { writer } = this;
    const from = writer.length;
    const draft = new Draft();
    const reader = new AttributeReader(this.view, start, end);
    while (reader.next()) {
      const length = LENGTHS[reader.type];
      if (length === undefined || !this.known.knows(reader.type)) throw new Errno(EINVAL);
      if (length !== NESTED && length !== reader.length) throw new Errno(EINVAL);
      // nla_is_last(): padding counts as something that follows.
      const last = reader.offset + reader.length === end;
      draft.ended = false;
      this.action(reader, state, draft, last);
    }
    if (reader.rest > 0) throw new Errno(EINVAL);
    if (!draft.ended) draft.emit(Op.END);
    const program = new Program(
      Int32Array.from(draft.code),
      draft.programs,
      draft.cts,
      draft.upcalls,
      draft.blobs,
      draft.tunnels,
      writer.bytes.slice(from, writer.length),
      draft.passive,
      draft.kernelSize,
    );
    draft.program = program;
    return program;
  }

  private action(reader: AttributeReader, state: State, draft: Draft, last: boolean): void {
    const { view, offset } = reader;
    switch (reader.type) {
      case ovs.OVS_ACTION_ATTR_OUTPUT: {
        const port = reader.u32();
        if (port >= MAX_PORTS) throw new Errno(EINVAL);
        draft.emit(last ? Op.OUTPUT_LAST : Op.OUTPUT, port);
        draft.ended = last;
        break;
      }
      case ovs.OVS_ACTION_ATTR_USERSPACE:
        draft.upcalls.push(userspace(reader, draft, this.context.kernel.strictUserspaceAction));
        draft.emit(Op.USERSPACE, draft.upcalls.length - 1);
        consume(draft, last);
        break;
      case ovs.OVS_ACTION_ATTR_SET:
        this.set(reader, state, draft, false);
        return;
      case ovs.OVS_ACTION_ATTR_SET_MASKED:
        this.set(reader, state, draft, true);
        return;
      case ovs.OVS_ACTION_ATTR_PUSH_VLAN: {
        const tpid = view.getUint16(offset);
        const tci = view.getUint16(offset + 2);
        if (!state.ethernet || (tpid !== ETH_P_8021Q && tpid !== ETH_P_8021AD) || (tci & DEI) === 0)
          throw new Errno(EINVAL);
        state.vlanTci = tci;
        draft.emit(Op.PUSH_VLAN, tpid, tci, this.context.kernel.vlanPushShiftsNetwork ? 1 : 0);
        draft.passive = false;
        break;
      }
      case ovs.OVS_ACTION_ATTR_POP_VLAN:
        if (!state.ethernet) throw new Errno(EINVAL);
        state.vlanTci = 0;
        draft.emit(Op.POP_VLAN);
        draft.passive = false;
        break;
      case ovs.OVS_ACTION_ATTR_SAMPLE:
        this.sample(reader, state, draft, last);
        return;
      case ovs.OVS_ACTION_ATTR_RECIRC:
        draft.emit(last ? Op.RECIRC_LAST : Op.RECIRC, reader.s32());
        draft.ended = last;
        break;
      case ovs.OVS_ACTION_ATTR_HASH: {
        const algorithm = reader.u32();
        const symmetric = algorithm === ovs.OVS_HASH_ALG_SYM_L4 && this.context.kernel.symmetricHash;
        if (algorithm !== ovs.OVS_HASH_ALG_L4 && !symmetric) throw new Errno(EINVAL);
        draft.emit(Op.HASH, algorithm, view.getInt32(offset + 4, true));
        draft.passive = false;
        break;
      }
      case ovs.OVS_ACTION_ATTR_PUSH_MPLS:
        this.pushMpls(view, offset, state, draft, true);
        break;
      case ovs.OVS_ACTION_ATTR_ADD_MPLS: {
        const flags = view.getUint16(offset + 6, true);
        this.pushMpls(view, offset, state, draft, (flags & ovs.OVS_MPLS_L3_TUNNEL_FLAG_MASK) !== 0);
        break;
      }
      case ovs.OVS_ACTION_ATTR_POP_MPLS: {
        if (state.tagged || !isMpls(state.ethType)) throw new Errno(EINVAL);
        const type = reader.be16();
        if (type === ETH_P_TEB && state.ethernet) throw new Errno(EINVAL);
        state.labels--;
        // Nothing is known of what comes to light: further changes need recirculation (spec/actions A-062).
        state.ethType = isMpls(type) && state.labels !== 0 ? type : 0;
        draft.emit(Op.POP_MPLS, type);
        draft.passive = false;
        break;
      }
      case ovs.OVS_ACTION_ATTR_CT:
        this.ct(reader, draft);
        return;
      case ovs.OVS_ACTION_ATTR_TRUNC:
        if (reader.u32() < MIN_TRUNC) throw new Errno(EINVAL);
        draft.emit(Op.TRUNC, Math.min(reader.u32(), 0x3fffffff));
        break;
      case ovs.OVS_ACTION_ATTR_PUSH_ETH:
        if (state.ethernet) throw new Errno(EINVAL);
        state.ethernet = true;
        draft.emit(Op.PUSH_ETH, ...ethernetWords(view, offset));
        draft.passive = false;
        break;
      case ovs.OVS_ACTION_ATTR_POP_ETH:
        if (!state.ethernet || state.tagged) throw new Errno(EINVAL);
        state.ethernet = false;
        draft.emit(Op.POP_ETH);
        draft.passive = false;
        break;
      case ovs.OVS_ACTION_ATTR_CT_CLEAR:
        draft.emit(Op.CT_CLEAR);
        draft.passive = false;
        break;
      case ovs.OVS_ACTION_ATTR_PUSH_NSH:
        if (!state.ethernet && !canFollowNsh(state.ethType)) throw new Errno(EINVAL);
        state.ethernet = false;
        draft.blobs.push(nshHeader(reader));
        draft.emit(Op.PUSH_NSH, draft.blobs.length - 1);
        draft.passive = false;
        break;
      case ovs.OVS_ACTION_ATTR_POP_NSH: {
        if (state.ethType !== ETH_P_NSH) throw new Errno(EINVAL);
        const next = this.key[K.NSH_BASE] & 0xff;
        if (next < nsh.NshNext.IPV4 || next > nsh.NshNext.MPLS) throw new Errno(EINVAL);
        state.ethernet = next === nsh.NshNext.ETHERNET;
        draft.emit(Op.POP_NSH);
        draft.passive = false;
        break;
      }
      case ovs.OVS_ACTION_ATTR_METER:
        draft.emit(Op.METER, reader.s32());
        draft.passive = false;
        break;
      case ovs.OVS_ACTION_ATTR_CLONE:
        this.clone(reader, state, draft, last);
        return;
      case ovs.OVS_ACTION_ATTR_CHECK_PKT_LEN:
        this.checkPktLen(reader, state, draft, last);
        return;
      case ovs.OVS_ACTION_ATTR_DEC_TTL:
        this.decTtl(reader, state, draft);
        return;
      case ovs.OVS_ACTION_ATTR_DROP:
        if (!last) throw new Errno(EINVAL);
        draft.emit(Op.DROP, reader.u32() === 0 ? DropReason.EXPLICIT : DropReason.EXPLICIT_WITH_ERROR);
        draft.ended = true;
        break;
      case ovs.OVS_ACTION_ATTR_PSAMPLE:
        psample(reader, draft);
        consume(draft, last);
        break;
    }
    this.copy(reader, draft);
  }

  /** Dumps the attribute as it came, without the flag bits of its type (spec/actions A-110). */
  private copy(reader: AttributeReader, draft: Draft): void {
    this.writer.raw(reader.type, reader.bytes());
    draft.kernelSize += (NLA_HDRLEN + reader.length + 3) & ~3;
  }

  private pushMpls(view: DataView, offset: number, state: State, draft: Draft, behindL2: boolean): void {
    const etherType = view.getUint16(offset + 4);
    if (!isMpls(etherType)) throw new Errno(EINVAL);
    if (behindL2) {
      if (state.tagged || !takesLabel(state.ethType)) throw new Errno(EINVAL);
      state.labels++;
    } else if (state.ethernet) {
      state.labels = 1;
      state.ethernet = false;
    } else {
      state.labels++;
    }
    state.ethType = etherType;
    draft.emit(Op.PUSH_MPLS, view.getInt32(offset), etherType, behindL2 ? 1 : 0);
    draft.passive = false;
  }

  private ct(reader: AttributeReader, draft: Draft): void {
    const type = this.key[K.ETH_TYPE] >>> 16;
    if (type !== ETH_P_IP && type !== ETH_P_IPV6) throw new Errno(EINVAL);
    const family = type === ETH_P_IP ? AF_INET : AF_INET6;
    const action = parseCt(reader, family, this.key[K.IP] >>> 24, this.context.conntrack);
    this.context.conntrack.bind?.(action);
    draft.emit(Op.CT, draft.cts.push(action) - 1);
    draft.passive = false;
    draft.kernelSize += KERNEL_CT;
    const nest = this.writer.nest(ovs.OVS_ACTION_ATTR_CT);
    putCt(this.writer, action);
    this.writer.endNest(nest);
  }

  /** A nested list, written as an attribute of its own. */
  private nestedList(type: number, start: number, end: number, state: State): Program {
    const nest = this.writer.nest(type);
    const program = this.list(start, end, state.nested());
    this.writer.endNest(nest);
    return program;
  }

  private sample(reader: AttributeReader, state: State, draft: Draft, last: boolean): void {
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
    const nest = this.writer.nest(ovs.OVS_ACTION_ATTR_SAMPLE);
    this.writer.u32(ovs.OVS_SAMPLE_ATTR_PROBABILITY, probability);
    const program = this.nestedList(ovs.OVS_SAMPLE_ATTR_ACTIONS, start, end, state);
    this.writer.endNest(nest);
    addSize(draft, KERNEL_SAMPLE + program.kernelSize);
    // Chance decides only what a non-empty list does, but a last sample ends the packet either way.
    draft.emit(Op.SAMPLE, draft.programs.push(program) - 1, nestedFlags(program, last), probability);
    draft.passive = false;
  }

  private clone(reader: AttributeReader, state: State, draft: Draft, last: boolean): void {
    if (reader.length !== 0 && reader.length < NLA_HDRLEN) throw new Errno(EINVAL);
    const program = this.nestedList(ovs.OVS_ACTION_ATTR_CLONE, reader.offset, reader.offset + reader.length, state);
    addSize(draft, KERNEL_CLONE + program.kernelSize);
    draft.passive = false;
    if (!program.empty) draft.emit(Op.CLONE, draft.programs.push(program) - 1, nestedFlags(program, last));
  }

  private checkPktLen(reader: AttributeReader, state: State, draft: Draft, last: boolean): void {
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
    const nest = this.writer.nest(ovs.OVS_ACTION_ATTR_CHECK_PKT_LEN);
    this.writer.u16(ovs.OVS_CHECK_PKT_LEN_ATTR_PKT_LEN, length);
    const less = this.nestedList(ovs.OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_LESS_EQUAL, lessStart, lessEnd, state);
    const greater = this.nestedList(ovs.OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_GREATER, greaterStart, greaterEnd, state);
    this.writer.endNest(nest);
    addSize(draft, KERNEL_CHECK_PKT_LEN + 2 * NLA_HDRLEN + less.kernelSize + greater.kernelSize);
    draft.emit(
      Op.CHECK_PKT_LEN,
      length,
      draft.programs.push(greater) - 1,
      nestedFlags(greater, last),
      draft.programs.push(less) - 1,
      nestedFlags(less, last),
    );
    draft.passive = false;
  }

  private decTtl(reader: AttributeReader, state: State, draft: Draft): void {
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
    const nest = this.writer.nest(ovs.OVS_ACTION_ATTR_DEC_TTL);
    const program = this.nestedList(ovs.OVS_DEC_TTL_ATTR_ACTION, start, end, state);
    this.writer.endNest(nest);
    addSize(draft, 2 * NLA_HDRLEN + program.kernelSize);
    draft.emit(Op.DEC_TTL, draft.programs.push(program) - 1);
    draft.passive = false;
  }

  /** SET and SET_MASKED (spec/actions ). */
  private set(reader: AttributeReader, state: State, draft: Draft, masked: boolean): void {
    const { view } = reader;
    const inner = reader.nested();
    if (!inner.next() || ((NLA_HDRLEN + inner.length + 3) & ~3) !== reader.length) throw new Errno(EINVAL);
    draft.passive = false;
    if (inner.type === ovs.OVS_KEY_ATTR_TUNNEL) {
      if (masked) throw new Errno(EINVAL);
      this.setTunnel(inner, draft);
      return;
    }
    const length = masked ? inner.length >> 1 : inner.length;
    const value = inner.offset;
    // Beyond the value stands the mask; an unmasked set has one of all ones (spec/actions A-084).
    const mask = value + length;
    const bytes = new DataView(new ArrayBuffer(2 * length));
    for (let i = 0; i < length; i++) {
      const bits = masked ? view.getUint8(mask + i) : 0xff;
      const octet = view.getUint8(value + i);
      if ((octet & ~bits) !== 0) throw new Errno(EINVAL);
      bytes.setUint8(i, octet);
      bytes.setUint8(length + i, bits);
    }
    this.setField(inner.type, bytes, length, state, draft, masked);
    if (masked) {
      this.copy(reader, draft);
      return;
    }
    const nest = this.writer.nest(ovs.OVS_ACTION_ATTR_SET);
    this.writer.raw(inner.type, inner.bytes());
    this.writer.endNest(nest);
    draft.kernelSize += NLA_HDRLEN + ((NLA_HDRLEN + 2 * length + 3) & ~3);
  }

  /**
   * SET of a tunnel: the key of the tunnel to send through, dumped in canonical form (spec/actions,
   *
   */
  private setTunnel(reader: AttributeReader, draft: Draft): void {
    const tunnel = newKey();
    const options = parseTunnel(this.view, reader.offset, reader.offset + reader.length, tunnel);
    if (options === ovs.OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS) checkGeneveOptions(tunnel);
    const bridge = tunnel[K.TUN_PROTO] >>> 8 === AF_INET && tunnel[K.TUN_DST] === 0;
    draft.emit(Op.SET_TUNNEL, draft.tunnels.push(tunnel) - 1);
    draft.kernelSize += KERNEL_SET_TUNNEL;
    const { writer } = this;
    const nest = writer.nest(ovs.OVS_ACTION_ATTR_SET);
    const inner = writer.nest(ovs.OVS_KEY_ATTR_TUNNEL);
    putTunnel(writer, tunnel, tunnel, bridge);
    writer.endNest(inner);
    writer.endNest(nest);
  }

  /** @param bytes value, then mask, `length` bytes each */
  private setField(type: number, bytes: DataView, length: number, state: State, draft: Draft, masked: boolean): void {
    const { key } = this;
    switch (type) {
      case ovs.OVS_KEY_ATTR_PRIORITY:
      case ovs.OVS_KEY_ATTR_SKB_MARK:
        expectLength(length, 4);
        draft.emit(
          type === ovs.OVS_KEY_ATTR_PRIORITY ? Op.SET_PRIORITY : Op.SET_MARK,
          bytes.getInt32(0, true),
          bytes.getInt32(4, true),
        );
        break;
      case ovs.OVS_KEY_ATTR_CT_MARK:
        expectLength(length, 4);
        draft.emit(Op.FAIL, EINVAL);
        break;
      case ovs.OVS_KEY_ATTR_CT_LABELS:
        expectLength(length, 16);
        draft.emit(Op.FAIL, EINVAL);
        break;
      case ovs.OVS_KEY_ATTR_ETHERNET:
        expectLength(length, 12);
        if (!state.ethernet) throw new Errno(EINVAL);
        draft.emit(Op.SET_ETHERNET, ...ethernetWords(bytes, 0), ...ethernetWords(bytes, 12));
        break;
      case ovs.OVS_KEY_ATTR_IPV4:
        expectLength(length, 12);
        if (state.ethType !== ETH_P_IP) throw new Errno(EINVAL);
        expectReadOnly(key, bytes, 8, 11, length, masked);
        draft.emit(Op.SET_IPV4, bytes.getInt32(0), bytes.getInt32(12), bytes.getInt32(4), bytes.getInt32(16));
        draft.emit(bytes.getUint8(9), bytes.getUint8(21), bytes.getUint8(10), bytes.getUint8(22));
        break;
      case ovs.OVS_KEY_ATTR_IPV6: {
        expectLength(length, 40);
        if (state.ethType !== ETH_P_IPV6) throw new Errno(EINVAL);
        expectReadOnly(key, bytes, 36, 39, length, masked);
        if (masked && (bytes.getUint32(72) & ~IPV6_LABEL_MASK) !== 0) throw new Errno(EINVAL);
        if ((bytes.getUint32(32) & ~IPV6_LABEL_MASK) !== 0) throw new Errno(EINVAL);
        draft.emit(Op.SET_IPV6);
        const src = words(bytes, 40, 4);
        const dst = words(bytes, 56, 4);
        draft.emit(...words(bytes, 0, 4), ...src, ...words(bytes, 16, 4), ...dst);
        draft.emit(bytes.getUint8(37), bytes.getUint8(77));
        draft.emit(bytes.getUint32(32), bytes.getUint32(72) & IPV6_LABEL_MASK);
        draft.emit(bytes.getUint8(38), bytes.getUint8(78));
        draft.emit((src.some((w) => w !== 0) ? SET_SRC : 0) | (dst.some((w) => w !== 0) ? SET_DST : 0));
        break;
      }
      case ovs.OVS_KEY_ATTR_TCP:
        this.setPorts(Op.SET_TCP, IpProto.TCP, bytes, length, state, draft);
        break;
      case ovs.OVS_KEY_ATTR_UDP:
        this.setPorts(Op.SET_UDP, IpProto.UDP, bytes, length, state, draft);
        break;
      case ovs.OVS_KEY_ATTR_SCTP:
        this.setPorts(Op.SET_SCTP, IpProto.SCTP, bytes, length, state, draft);
        break;
      case ovs.OVS_KEY_ATTR_MPLS:
        expectLength(length, 4);
        if (!isMpls(state.ethType)) throw new Errno(EINVAL);
        draft.emit(Op.SET_MPLS, bytes.getInt32(0), bytes.getInt32(4));
        break;
      default:
        throw new Errno(EINVAL);
    }
  }

  private setPorts(op: Op, proto: number, bytes: DataView, length: number, state: State, draft: Draft): void {
    expectLength(length, 4);
    if (state.ethType !== ETH_P_IP && state.ethType !== ETH_P_IPV6) throw new Errno(EINVAL);
    if (this.key[K.IP] >>> 24 !== proto) throw new Errno(EINVAL);
    draft.emit(op, bytes.getInt32(0), bytes.getInt32(4));
  }
}

/** A last action that hands the packet to user space: it is not dropped then (spec/actions ). */
function consume(draft: Draft, last: boolean): void {
  if (last) draft.emit(Op.CONSUME);
  draft.ended = last;
}

function addSize(draft: Draft, size: number): void {
  if (size > MAX_KERNEL_SIZE) throw new Errno(EMSGSIZE);
  draft.kernelSize += size;
}

function nestedFlags(program: Program, last: boolean): number {
  return (last ? Nested.LAST : 0) | (last || program.passive ? Nested.SHARES_KEY : 0);
}

/** True if the attributes fill their nest to the last byte, the last one's padding included. */
function endsExactly(reader: AttributeReader): boolean {
  return reader.rest === 0 && (reader.length === 0 || reader.offset + ((reader.length + 3) & ~3) <= reader.end);
}

function expectLength(length: number, expected: number): void {
  if (length !== expected) throw new Errno(EINVAL);
}

/**
 * Protocol and fragment type cannot be written: unmasked they must be the flow's, masked have no mask
 * (spec/actions ).
 */
function expectReadOnly(
  key: Int32Array,
  bytes: DataView,
  proto: number,
  frag: number,
  length: number,
  masked: boolean,
): void {
  const right = masked
    ? bytes.getUint8(length + proto) === 0 && bytes.getUint8(length + frag) === 0
    : bytes.getUint8(proto) === key[K.IP] >>> 24 && bytes.getUint8(frag) === (key[K.IP] & 0xff);
  if (!right) throw new Errno(EINVAL);
}

/** src[6], dst[6] as the three words from K.ETH_DST on. */
function ethernetWords(view: DataView, offset: number): [number, number, number] {
  return [
    view.getInt32(offset + 6),
    (view.getUint16(offset + 10) << 16) | view.getUint16(offset),
    view.getInt32(offset + 2),
  ];
}

function words(view: DataView, offset: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => view.getInt32(offset + 4 * i));
}

function bitCount(value: number): number {
  let count = 0;
  for (let rest = value; rest !== 0; rest &= rest - 1) count++;
  return count;
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

/** Ethertypes in front of which the place of a label is known (spec/actions A-059). */
function takesLabel(type: number): boolean {
  return type === ETH_P_IP || type === ETH_P_IPV6 || type === ETH_P_ARP || type === ETH_P_RARP || isMpls(type);
}

function canFollowNsh(type: number): boolean {
  return type === ETH_P_IP || type === ETH_P_IPV6 || type === ETH_P_NSH || type === ETH_P_TEB || type === 0x8847;
}

/**
 * OVS_ACTION_ATTR_USERSPACE: the last of several equal sub-attributes counts (spec/actions ).
 * @param strict refuse unknown sub-attributes and trailing bytes, which are otherwise passed over
 */
function userspace(reader: AttributeReader, draft: Draft, strict: boolean): UserspaceUpcall {
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

/** OVS_ACTION_ATTR_PSAMPLE, parsed strictly (spec/actions ). */
function psample(reader: AttributeReader, draft: Draft): void {
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

/** The header that PUSH_NSH pushes, next protocol aside (spec/actions ). */
function nshHeader(reader: AttributeReader): Uint8Array {
  const outer = reader.nested();
  if (!outer.next() || outer.type !== ovs.OVS_KEY_ATTR_NSH) throw new Errno(EINVAL);
  if (((NLA_HDRLEN + outer.length + 3) & ~3) !== reader.length) throw new Errno(EINVAL);
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
        expectLength(length, 8);
        base = offset;
        break;
      case ovs.OVS_NSH_KEY_ATTR_MD1:
        expectLength(length, 16);
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
