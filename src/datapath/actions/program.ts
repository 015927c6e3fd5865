import type { CtAction } from "../../conntrack/action.ts";
import type { MessageWriter } from "../../netlink/writer.ts";

/** An upcall of the userspace action (OVS_PACKET_CMD_ACTION), as the action asks for it. */
export interface UserspaceUpcall {
  readonly pid: number;
  /** Verbatim OVS_USERSPACE_ATTR_USERDATA. */
  readonly userdata: Uint8Array | undefined;
  /** OVS_USERSPACE_ATTR_EGRESS_TUN_PORT, or -1. */
  readonly egressTunPort: number;
  /** The action list being executed at this level, re-serialised, when OVS_USERSPACE_ATTR_ACTIONS was given. */
  readonly actions: (() => Uint8Array) | undefined;
}

/**
 * Instructions of a compiled action list. In Program.code each is followed by its operands, all 32-bit words; a list ends
 * with END (the packet is dropped) or with an instruction that consumes the packet. An operand "index" is an index into one of the
 * program's arrays. Values of masked sets are already masked.
 */
export const enum Op {
  END = 0,
  /** port: a copy goes out, the list goes on. */
  OUTPUT = 1,
  /** port */
  OUTPUT_LAST = 2,
  /** value, mask as the three words from K.ETH_DST on */
  SET_ETHERNET = 3,
  /** src, mask, dst, mask, tos, mask, ttl, mask */
  SET_IPV4 = 4,
  /** src[4], mask[4], dst[4], mask[4], tclass, mask, label, mask, hlimit, mask, SET_SRC | SET_DST */
  SET_IPV6 = 5,
  /** src << 16 | dst, mask */
  SET_TCP = 6,
  SET_UDP = 7,
  SET_SCTP = 8,
  /** label stack entry, mask */
  SET_MPLS = 9,
  /** value, mask */
  SET_PRIORITY = 10,
  SET_MARK = 11,
  /** index: the egress tunnel key of the outputs that follow */
  SET_TUNNEL = 12,
  /** errno: an action that passes validation and fails when it runs (spec/actions A-071) */
  FAIL = 13,
  /** tpid, tci with the present bit, 1 = the second tag shifts the network header */
  PUSH_VLAN = 14,
  POP_VLAN = 15,
  /** label stack entry, ethertype, 1 = behind the L2 header, 0 = before the packet */
  PUSH_MPLS = 16,
  /** ethertype */
  POP_MPLS = 17,
  /** the three words from K.ETH_DST on */
  PUSH_ETH = 18,
  POP_ETH = 19,
  /** index of the NSH header */
  PUSH_NSH = 20,
  POP_NSH = 21,
  /** recirc id: a copy is recirculated */
  RECIRC = 22,
  RECIRC_LAST = 23,
  /** OVS_HASH_ALG_*, basis */
  HASH = 24,
  /** index, Nested flags, probability */
  SAMPLE = 25,
  /** index, Nested flags */
  CLONE = 26,
  /** length, index and Nested flags if greater, index and Nested flags if not */
  CHECK_PKT_LEN = 27,
  /** index of the list for an expired packet */
  DEC_TTL = 28,
  /** bytes to keep */
  TRUNC = 29,
  /** index */
  CT = 30,
  CT_CLEAR = 31,
  /** meter id */
  METER = 32,
  /** index */
  USERSPACE = 33,
  /** group, index of the cookie */
  PSAMPLE = 34,
  /** DropReason: ends the list. */
  DROP = 35,
  /** The list ends with an action that keeps the packet: none is dropped. */
  CONSUME = 36,
}

/** How a nested list runs. */
export const enum Nested {
  /** It is the last action of its list: it may have the packet itself. */
  LAST = 1,
  /** It needs no key of its own: it is last, or only looks (spec/actions A-129). */
  SHARES_KEY = 2,
}

/** Flags of SET_IPV6: which addresses have a mask. */
export const SET_SRC = 1;
export const SET_DST = 2;

/** What a compiled action list consists of. */
interface ProgramParts {
  readonly code: Int32Array;
  /** Nested lists. */
  readonly programs: readonly Program[];
  readonly cts: readonly CtAction[];
  readonly upcalls: readonly UserspaceUpcall[];
  /** NSH headers and psample cookies. */
  readonly blobs: readonly Uint8Array[];
  /** Egress tunnel keys: words in the layout of the flow key. */
  readonly tunnels: readonly Int32Array[];
  /** The list as it is dumped (spec/actions section 4), without a surrounding attribute. */
  readonly attributes: Uint8Array;
  /** Nothing in the list changes the packet or its key (spec/actions A-129). */
  readonly passive: boolean;
  /** Bytes that the kernel's own form of the list takes (spec/actions A-035). */
  readonly kernelSize: number;
}

/**
 * A validated action list, compiled when the flow is put. Immutable, and shared by all flows with the same actions.
 */
export class Program implements ProgramParts {
  readonly code: Int32Array;
  readonly programs: readonly Program[];
  readonly cts: readonly CtAction[];
  readonly upcalls: readonly UserspaceUpcall[];
  readonly blobs: readonly Uint8Array[];
  readonly tunnels: readonly Int32Array[];
  readonly attributes: Uint8Array;
  readonly passive: boolean;
  readonly kernelSize: number;
  /** Port number if the list is one OUTPUT and nothing else, else -1. */
  readonly soleOutput: number;
  /** The list is empty: packets are dropped. */
  readonly empty: boolean;

  constructor(parts: ProgramParts) {
    this.code = parts.code;
    this.programs = parts.programs;
    this.cts = parts.cts;
    this.upcalls = parts.upcalls;
    this.blobs = parts.blobs;
    this.tunnels = parts.tunnels;
    this.attributes = parts.attributes;
    this.passive = parts.passive;
    this.kernelSize = parts.kernelSize;
    this.soleOutput = this.code.length === 2 && this.code[0] === Op.OUTPUT_LAST ? this.code[1] : -1;
    this.empty = this.attributes.length === 0;
  }
}

/**
 * Writes the action list as the kernel dumps it (spec/actions, spec/conntrack C-031, C-051); the caller
 * has opened the surrounding attribute.
 */
export function dumpActions(program: Program, writer: MessageWriter): void {
  const { attributes } = program;
  const at = writer.reserve(attributes.length);
  writer.bytes.set(attributes, at);
}
