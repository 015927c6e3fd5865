import { dpHash } from "../../flow/hash.ts";
import { copyKey, K, newKey } from "../../flow/key.ts";
import { popEth, pushEth, setEthernet } from "../../packet/edit/ethernet.ts";
import { popMpls, pushMpls, setMpls } from "../../packet/edit/mpls.ts";
import { popNsh, pushNsh } from "../../packet/edit/nsh.ts";
import { decTtl } from "../../packet/edit/ttl.ts";
import { popVlan, pushVlan } from "../../packet/edit/vlan.ts";
import { networkOffset, share } from "../../packet/edit/writable.ts";
import { ETH_P_IP, ETH_P_IPV6, ETH_P_TEB, isMpls } from "../../packet/ethernet.ts";
import { gsoFrameLength } from "../../packet/gso.ts";
import * as ipv4 from "../../packet/ipv4.ts";
import * as ipv6 from "../../packet/ipv6.ts";
import type { PacketMemory } from "../../packet/memory.ts";
import { Gso, Packet } from "../../packet/packet.ts";
import { EHOSTUNREACH, EINPROGRESS, ENETDOWN } from "../../uapi/errno.ts";
import { OVS_HASH_ALG_L4 } from "../../uapi/openvswitch.ts";
import { DropReason } from "../drop-reason.ts";
import type { ActionHost } from "../host.ts";
import { type DeferredAction, DeferredQueue, Mode } from "./deferred.ts";
import { Nested, Op, type Program } from "./program.ts";
import { setIpv4, setIpv6, setKeyTtl, setSctp, setTcp, setUdp } from "./set-headers.ts";

/** Executions within each other before a packet is dropped (spec/actions A-124). */
const RECURSION_LIMIT = 5;
/** Levels that have a key of their own to save; deeper ones are deferred (spec/actions A-125). */
const KEY_COPIES = 3;

/**
 * Runs compiled action lists: for received packets, recirculated ones, and those of OVS_PACKET_CMD_EXECUTE. One per
 * datapath context: it keeps the recursion level, the saved keys and the deferred queue.
 *
 * Bytes are copied only when they must be: an output or a clone that is not last declares them shared
 * (packet/edit/writable.ts), and the next change moves the packet to room of its own. So `output:1,output:2` copies nothing.
 */
export class ActionExecutor {
  private level = 0;
  private readonly keys: Int32Array[] = [];
  private readonly clones: Packet[] = [];
  private depth = 0;
  private readonly deferred: DeferredQueue;
  /** The packet of the list that just failed has been dropped already. */
  private freed = false;

  constructor(
    private readonly host: ActionHost,
    private readonly memory: PacketMemory,
  ) {
    for (let i = 0; i < KEY_COPIES; i++) this.keys.push(newKey());
    this.deferred = new DeferredQueue(memory);
    for (let i = 0; i < 16; i++) this.clones.push(new Packet(memory));
  }

  /**
   * Runs a list on a packet; both packet and key are used up. HOT PATH.
   * @param key valid, with packet.l3 and packet.l4 as extraction left them
   * @returns 0, or the negative errno of the action that failed (spec/actions A-115)
   */
  execute(packet: Packet, key: Int32Array, program: Program): number {
    const level = this.level + 1;
    if (level > RECURSION_LIMIT) {
      this.host.dropped(packet, DropReason.RECURSION_LIMIT);
      return -ENETDOWN;
    }
    this.level = level;
    try {
      const error = this.run(packet, key, program, Mode.VALID | Mode.OWNED);
      if (level === 1 && this.deferred.count > 0) this.drain();
      return error;
    } finally {
      this.level = level - 1;
      this.freed = false;
      if (level === 1) {
        this.depth = 0;
        this.deferred.count = 0;
      }
    }
  }

  /** Runs what was deferred, and what that defers, in order. */
  private drain(): void {
    const { deferred } = this;
    for (let i = 0; i < deferred.count; i++) {
      const { packet, key, program, mode } = deferred.entries[i];
      this.freed = false;
      if (program === undefined) this.host.recirculate(packet, key);
      else this.run(packet, key, program, mode);
    }
    deferred.count = 0;
  }

  /** Runs one list and drops the packet when an action fails. HOT PATH. */
  private run(packet: Packet, key: Int32Array, program: Program, mode: number): number {
    const error = this.interpret(packet, key, program, mode);
    if (error !== 0 && !this.freed) {
      this.host.dropped(packet, DropReason.ACTION_ERROR);
      this.freed = true;
    }
    return error;
  }

  /**
   * Runs the instructions of one list. HOT PATH: one long switch, because a call or a table of functions for each instruction costs
   * more than most of them do.
   * @returns 0, or the negative errno of the action that failed
   */
  private interpret(packet: Packet, key: Int32Array, program: Program, mode: number): number {
    const { host } = this;
    const { code } = program;
    let pc = 0;
    let error = 0;
    for (;;) {
      switch (code[pc]) {
        case Op.END:
          host.dropped(packet, DropReason.LAST_ACTION);
          return 0;

        case Op.CONSUME:
          return 0;

        case Op.DROP:
          host.dropped(packet, code[pc + 1]);
          return 0;

        case Op.OUTPUT_LAST:
          host.output(packet, key, code[pc + 1]);
          return 0;

        case Op.OUTPUT:
          share(packet);
          host.outputCopy(packet, key, code[pc + 1]);
          packet.maxLen = 0;
          pc += 2;
          break;

        case Op.SET_ETHERNET: {
          const mask0 = code[pc + 4];
          const mask1 = code[pc + 5];
          const mask2 = code[pc + 6];
          error = setEthernet(packet, code[pc + 1], code[pc + 2], code[pc + 3], mask0, mask1, mask2);
          if (error !== 0) return error;
          const { view } = packet.memory;
          const { off } = packet;
          key[K.ETH_DST] = view.getInt32(off);
          key[K.ETH_MID] = view.getInt32(off + 4);
          key[K.ETH_SRC] = view.getInt32(off + 8);
          pc += 7;
          break;
        }

        case Op.SET_IPV4:
          error = setIpv4(packet, key, code, pc);
          if (error !== 0) return error;
          pc += 9;
          break;

        case Op.SET_IPV6:
          error = setIpv6(packet, key, code, pc);
          if (error !== 0) return error;
          pc += 24;
          break;

        case Op.SET_TCP:
          error = setTcp(packet, key, code[pc + 1], code[pc + 2]);
          if (error !== 0) return error;
          pc += 3;
          break;

        case Op.SET_UDP:
          error = setUdp(packet, key, code[pc + 1], code[pc + 2]);
          if (error !== 0) return error;
          pc += 3;
          break;

        case Op.SET_SCTP:
          error = setSctp(packet, key, code[pc + 1], code[pc + 2]);
          if (error !== 0) return error;
          pc += 3;
          break;

        case Op.SET_MPLS:
          error = setMpls(packet, code[pc + 1], code[pc + 2]);
          if (error !== 0) return error;
          // In the kernel's key the top label lies over the second word of other L3 headers: a stale key shows it there.
          key[isMpls(key[K.ETH_TYPE] >>> 16) ? K.MPLS_LSE : K.MPLS_LSE + 1] = packet.memory.view.getInt32(packet.l3);
          pc += 3;
          break;

        case Op.SET_PRIORITY:
          packet.priority = ((packet.priority & ~code[pc + 2]) | code[pc + 1]) >>> 0;
          key[K.PRIORITY] = packet.priority;
          pc += 3;
          break;

        case Op.SET_MARK:
          packet.mark = ((packet.mark & ~code[pc + 2]) | code[pc + 1]) >>> 0;
          key[K.SKB_MARK] = packet.mark;
          pc += 3;
          break;

        case Op.SET_TUNNEL:
          packet.egressTunnel = program.tunnels[code[pc + 1]];
          pc += 2;
          break;

        case Op.FAIL:
          return -code[pc + 1];

        case Op.PUSH_VLAN: {
          const tpid = code[pc + 1];
          const tci = code[pc + 2];
          if (packet.vlanTpid !== 0) mode &= ~Mode.VALID;
          else key[K.VLAN] = (tci << 16) | tpid;
          error = pushVlan(packet, tpid, tci & ~0x1000, code[pc + 3] !== 0);
          if (error !== 0) return error;
          pc += 4;
          break;
        }

        case Op.POP_VLAN:
          error = popVlan(packet);
          if (packet.vlanTpid !== 0) mode &= ~Mode.VALID;
          else key[K.VLAN] = 0;
          if (error !== 0) return error;
          pc++;
          break;

        case Op.PUSH_MPLS: {
          const macLen = code[pc + 3] === 0 ? 0 : networkOffset(packet);
          error = pushMpls(packet, code[pc + 1], code[pc + 2], macLen);
          if (error !== 0) return error;
          if (macLen === 0) setMacProto(packet, key, 0);
          mode &= ~Mode.VALID;
          pc += 4;
          break;
        }

        case Op.POP_MPLS:
          error = popMpls(packet, code[pc + 1]);
          if (error !== 0) return error;
          if (code[pc + 1] === ETH_P_TEB) setMacProto(packet, key, 1);
          mode &= ~Mode.VALID;
          pc += 2;
          break;

        case Op.PUSH_ETH:
          error = pushEth(packet, code[pc + 1], code[pc + 2], code[pc + 3]);
          if (error !== 0) return error;
          setMacProto(packet, key, 1);
          mode &= ~Mode.VALID;
          pc += 4;
          break;

        case Op.POP_ETH:
          error = popEth(packet);
          if (error !== 0) return error;
          setMacProto(packet, key, 0);
          mode &= ~Mode.VALID;
          pc++;
          break;

        case Op.PUSH_NSH:
          error = pushNsh(packet, program.blobs[code[pc + 1]]);
          if (error !== 0) return error;
          setMacProto(packet, key, 0);
          mode &= ~Mode.VALID;
          pc += 2;
          break;

        case Op.POP_NSH:
          error = popNsh(packet);
          if (error !== 0) return error;
          setMacProto(packet, key, packet.protocol === ETH_P_TEB ? 1 : 0);
          mode &= ~Mode.VALID;
          pc++;
          break;

        case Op.RECIRC:
          if ((mode & Mode.VALID) === 0) {
            error = this.updateKey(packet, key);
            if (error !== 0) return error;
            mode |= Mode.VALID;
          }
          this.recirculateCopy(packet, key, code[pc + 1]);
          pc += 2;
          break;

        case Op.RECIRC_LAST:
          if ((mode & Mode.VALID) === 0) {
            error = this.updateKey(packet, key);
            if (error !== 0) {
              // The module leaks the packet here: it is not dropped.
              this.freed = true;
              return error;
            }
          }
          this.recirculateLast(packet, key, code[pc + 1], mode);
          return 0;

        case Op.HASH: {
          const basis = code[pc + 2];
          if (code[pc + 1] === OVS_HASH_ALG_L4) {
            key[K.DP_HASH] = dpHash(host.hasher.ofPacket(packet, key), basis);
          } else {
            key[K.DP_HASH] = dpHash(host.hasher.symmetricL4(key), basis);
          }
          pc += 3;
          break;
        }

        case Op.SAMPLE: {
          const flags = code[pc + 2];
          const probability = code[pc + 3];
          if (probability === -1 || (probability !== 0 && host.random.u32() <= probability >>> 0)) {
            const outer = packet.probability;
            packet.probability = probability >>> 0;
            error = this.nested(packet, key, program.programs[code[pc + 1]], flags, mode);
            if (error !== 0 || (flags & Nested.LAST) !== 0) return error;
            packet.probability = outer;
          } else if ((flags & Nested.LAST) !== 0) {
            host.dropped(packet, DropReason.LAST_ACTION);
            return 0;
          }
          pc += 4;
          break;
        }

        case Op.CLONE: {
          const flags = code[pc + 2];
          error = this.nested(packet, key, program.programs[code[pc + 1]], flags, mode);
          if (error !== 0 || (flags & Nested.LAST) !== 0) return error;
          pc += 3;
          break;
        }

        case Op.CHECK_PKT_LEN: {
          const branch = fits(packet, code[pc + 1]) ? pc + 4 : pc + 2;
          const flags = code[branch + 1];
          error = this.nested(packet, key, program.programs[code[branch]], flags, mode);
          if (error !== 0 || (flags & Nested.LAST) !== 0) return error;
          pc += 6;
          break;
        }

        case Op.DEC_TTL:
          error = decTtl(packet);
          if (error === -EHOSTUNREACH) return this.expired(packet, key, program.programs[code[pc + 1]], mode);
          if (error !== 0) return error;
          if (packet.protocol === ETH_P_IP) setKeyTtl(key, ipv4.ttl(packet.memory.view, packet.l3));
          else if (packet.protocol === ETH_P_IPV6) setKeyTtl(key, ipv6.hopLimit(packet.memory.view, packet.l3));
          pc += 2;
          break;

        case Op.TRUNC:
          packet.maxLen = code[pc + 1];
          pc += 2;
          break;

        case Op.CT:
          if ((mode & Mode.VALID) === 0) {
            error = this.updateKey(packet, key);
            if (error !== 0) return error;
            mode |= Mode.VALID;
          }
          error = host.conntrack.execute(packet, key, program.cts[code[pc + 1]]);
          // A fragment that waits for others is not an error (spec/conntrack C-061).
          if (error === -EINPROGRESS) return 0;
          if (error !== 0) {
            host.dropped(packet, DropReason.CONNTRACK);
            this.freed = true;
            return error;
          }
          pc += 2;
          break;

        case Op.CT_CLEAR:
          host.conntrack.clear(packet, key);
          pc++;
          break;

        case Op.METER:
          if (host.meter(packet, code[pc + 1] >>> 0)) {
            host.dropped(packet, DropReason.METER);
            return 0;
          }
          pc += 2;
          break;

        case Op.USERSPACE:
          host.upcallAction(packet, key, program.upcalls[code[pc + 1]]);
          packet.maxLen = 0;
          pc += 2;
          break;

        case Op.PSAMPLE:
          host.psample(packet, key, code[pc + 1] >>> 0, program.blobs[code[pc + 2]]);
          packet.maxLen = 0;
          pc += 3;
          break;
      }
    }
  }

  /**
   * Reads the headers again after push and pop (spec/actions A-123). As in the kernel, a packet in which no transport
   * header is found keeps the position of the one it had, and the key of one without Ethernet header keeps the
   * addresses.
   */
  private updateKey(packet: Packet, key: Int32Array): number {
    // Counted from the end, which stays the same place whatever extraction does with a tag.
    const l4 = packet.l4 === 0 ? 0 : packet.off + packet.len - packet.l4;
    const word0 = key[K.ETH_DST];
    const word1 = key[K.ETH_MID];
    const word2 = key[K.ETH_SRC];
    const error = this.host.updateKey(packet, key);
    if (packet.l4 === 0 && l4 !== 0) packet.l4 = packet.off + packet.len - l4;
    if (packet.macNone) {
      key[K.ETH_DST] = word0;
      key[K.ETH_MID] = word1;
      key[K.ETH_SRC] = word2;
    }
    return error;
  }

  /** A copy of the packet, metadata only, for a nested list; to be given back by lowering depth. */
  private clone(packet: Packet): Packet {
    share(packet);
    const { clones } = this;
    const depth = this.depth++;
    if (depth === clones.length) clones.push(new Packet(this.memory));
    const copy = clones[depth];
    copy.copyFrom(packet);
    copy.ctShared = true;
    return copy;
  }

  /** Runs the list of a clone, sample or check_pkt_len (spec/actions ). */
  private nested(packet: Packet, key: Int32Array, program: Program, flags: number, mode: number): number {
    if ((flags & Nested.LAST) !== 0) return this.run(packet, key, program, mode);
    if ((flags & Nested.SHARES_KEY) !== 0) {
      const error = this.run(this.clone(packet), key, program, mode & ~Mode.OWNED);
      this.depth--;
      this.freed = false;
      return error;
    }
    const { level } = this;
    if (level > KEY_COPIES) {
      this.defer(packet, key, program, mode, true);
      return 0;
    }
    const copy = this.keys[level - 1];
    copyKey(copy, key);
    this.level = level + 1;
    const error = this.run(this.clone(packet), copy, program, mode | Mode.OWNED);
    this.depth--;
    this.level = level;
    this.freed = false;
    return error;
  }

  /** Runs dec_ttl's list for a packet whose TTL has expired (spec/actions ). */
  private expired(packet: Packet, key: Int32Array, program: Program, mode: number): number {
    if (!program.empty) return this.run(packet, key, program, mode);
    this.host.dropped(packet, DropReason.IP_TTL);
    return 0;
  }

  private recirculateCopy(packet: Packet, key: Int32Array, recircId: number): void {
    const { level } = this;
    if (level > KEY_COPIES) {
      const entry = this.defer(packet, key, undefined, 0, true);
      if (entry !== undefined) entry.key[K.RECIRC_ID] = recircId;
      return;
    }
    const copy = this.keys[level - 1];
    copyKey(copy, key);
    copy[K.RECIRC_ID] = recircId;
    this.host.recirculate(this.clone(packet), copy);
    this.depth--;
  }

  private recirculateLast(packet: Packet, key: Int32Array, recircId: number, mode: number): void {
    const { level } = this;
    if (level > KEY_COPIES) {
      const entry = this.defer(packet, key, undefined, 0, false);
      if (entry !== undefined) entry.key[K.RECIRC_ID] = recircId;
      return;
    }
    let own = key;
    if ((mode & Mode.OWNED) === 0) {
      own = this.keys[level - 1];
      copyKey(own, key);
    }
    own[K.RECIRC_ID] = recircId;
    this.host.recirculate(packet, own);
  }

  /** @returns undefined when the queue is full: the packet is dropped (spec/actions A-127) */
  private defer(
    packet: Packet,
    key: Int32Array,
    program: Program | undefined,
    mode: number,
    shared: boolean,
  ): DeferredAction | undefined {
    const entry = this.deferred.add();
    if (entry === undefined) {
      this.host.dropped(packet, DropReason.DEFERRED_LIMIT);
      return undefined;
    }
    if (shared) share(packet);
    entry.packet.copyFrom(packet);
    copyKey(entry.key, key);
    entry.program = program;
    entry.mode = mode | Mode.OWNED;
    return entry;
  }
}

/** Notes in packet and key whether the packet begins with an Ethernet header (1) or not (0). */
function setMacProto(packet: Packet, key: Int32Array, macProto: number): void {
  packet.macNone = macProto === 0;
  key[K.ETH_TYPE] = (key[K.ETH_TYPE] & ~0xffff) | macProto;
}

/** Whether check_pkt_len takes the LESS_EQUAL branch (spec/actions ). */
function fits(packet: Packet, limit: number): boolean {
  const { mru } = packet;
  if (mru !== 0) return mru + networkOffset(packet) <= limit;
  if (packet.len <= limit) return true;
  return packet.gsoType !== Gso.NONE && gsoFrameLength(packet) <= limit;
}
