import type { CtAction } from "../../conntrack/action.ts";
import type { ConntrackPort } from "../../conntrack/conntrack-port.ts";
import { Errno } from "../../core/errors.ts";
import type { KernelProfile } from "../../core/kernel-profile.ts";
import type { AttributeReader } from "../../netlink/reader.ts";
import type { MessageWriter } from "../../netlink/writer.ts";
import { EINVAL, EMSGSIZE } from "../../uapi/errno.ts";
import { NLA_HDRLEN } from "../../uapi/netlink.ts";
import { Fact, type KeyFacts } from "./facts.ts";
import { Nested, Op, type Program, type UserspaceUpcall } from "./program.ts";

/** What the kinds of actions (kinds/) and the compiler (compile.ts) share. */

/** What validation asks of the rest of the datapath. */
export interface ValidationContext {
  readonly kernel: KernelProfile;
  readonly conntrack: Pick<ConntrackPort, "checkHelper" | "crossZoneNat"> & Partial<Pick<ConntrackPort, "bind">>;
}

/**
 * A kind of datapath action: everything that depends on OVS_ACTION_ATTR_*, but running it, which is interpret() in
 * execute.ts. The length of its attribute is in the schema (actionAttributes).
 */
export interface ActionKind {
  /** OVS_ACTION_ATTR_* */
  readonly type: number;
  /** The instructions that compile() emits, and how many operands each has. */
  readonly operands: Readonly<Partial<Record<Op, number>>>;
  /**
   * Validates one action, emits its instructions and writes it to `compiler.writer` as it is dumped.
   * @param reader stands on the attribute, whose length has been checked
   * @param last it is the last of its list
   * @throws Errno EINVAL mostly; nothing has been installed then (spec/actions A-037)
   */
  compile(compiler: ListCompiler, reader: AttributeReader, state: State, draft: Draft, last: boolean): void;
}

/** What a kind needs of the compiler. */
export interface ListCompiler {
  /** Of the flow's key, whatever the list has changed (spec/actions A-034). */
  readonly facts: KeyFacts;
  readonly context: ValidationContext;
  /** The list as it is dumped. */
  readonly writer: MessageWriter;
  /** Dumps the attribute as it came, without the flag bits of its type (spec/actions A-110). */
  copy(reader: AttributeReader, draft: Draft): void;
  /** Compiles a nested list, and writes it as an attribute of that type. */
  nestedList(type: number, reader: AttributeReader, start: number, end: number, state: State): Program;
}

/** What is known of the packet at a place of the list (spec/actions A-032); copied for nested lists. */
export class State {
  /** True while the packet has an Ethernet header. */
  ethernet: boolean;

  constructor(
    public ethType: number,
    public tagged: boolean,
    public labels: number,
    readonly depth: number,
    facts: KeyFacts,
  ) {
    this.ethernet = facts[Fact.ETHERNET] === 1;
  }

  /** For a list inside this one: the Ethernet header is that of the flow's key again (spec/actions A-034). */
  nested(facts: KeyFacts): State {
    return new State(this.ethType, this.tagged, this.labels, this.depth + 1, facts);
  }
}

/** Most bytes that a list, or one nested list, may take in the kernel's own form (spec/actions A-035). */
const MAX_KERNEL_SIZE = 65535;

/** Instructions and side tables of one list while it is compiled. */
export class Draft {
  readonly code: number[] = [];
  readonly programs: Program[] = [];
  readonly cts: CtAction[] = [];
  readonly upcalls: UserspaceUpcall[] = [];
  readonly blobs: Uint8Array[] = [];
  readonly tunnels: Int32Array[] = [];
  passive = true;
  /** Bytes that the kernel's own form of the list takes so far. */
  kernelSize = 0;
  /** The finished program. */
  program: Program | undefined = undefined;
  /** The last instruction consumes the packet: the list needs no END. */
  ended = false;

  /** Appends an instruction that leaves packet and key as they are. */
  emit(op: Op, ...operands: number[]): void {
    const { code } = this;
    code.push(op);
    for (let i = 0; i < operands.length; i++) code.push(operands[i]);
  }

  /** Appends an instruction that changes the packet, its key or what becomes of it. */
  emitChange(op: Op, ...operands: number[]): void {
    const { code } = this;
    code.push(op);
    for (let i = 0; i < operands.length; i++) code.push(operands[i]);
    this.passive = false;
  }

  /** Ends an action that gives the packet to user space: as the last one it drops nothing (spec/actions ). */
  consume(last: boolean): void {
    if (last) this.emit(Op.CONSUME);
    this.ended = last;
  }

  /** @throws Errno EMSGSIZE */
  addNested(size: number): void {
    if (size > MAX_KERNEL_SIZE) throw new Errno(EMSGSIZE);
    this.kernelSize += size;
  }
}

/** Bytes of a payload of that length with header and padding. */
export const attributeSize = (length: number): number => (NLA_HDRLEN + length + 3) & ~3;

/** The Nested flags with which a list runs. */
export function nestedFlags(program: Program, last: boolean): number {
  return (last ? Nested.LAST : 0) | (last || program.passive ? Nested.SHARES_KEY : 0);
}

/** True if the attributes fill their nest to the last byte, the last one's padding included. */
export function endsExactly(reader: AttributeReader): boolean {
  return reader.rest === 0 && (reader.length === 0 || reader.offset + ((reader.length + 3) & ~3) <= reader.end);
}

/** @throws Errno EINVAL */
export function expectLength(length: number, expected: number): void {
  if (length !== expected) throw new Errno(EINVAL);
}

/** src[6], dst[6] as the three words from K.ETH_DST on. */
export function ethernetWords(view: DataView, offset: number): [number, number, number] {
  return [
    view.getInt32(offset + 6),
    (view.getUint16(offset + 10) << 16) | view.getUint16(offset),
    view.getInt32(offset + 2),
  ];
}
