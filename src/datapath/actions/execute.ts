import { dpHash } from "../../flow/hash.ts";
import { K, newKey } from "../../flow/key.ts";
import { popEth, pushEth, setEthernet } from "../../packet/edit/ethernet.ts";
import { prepareIpv4, setIpv4Addr, setIpv4Tos, setIpv4Ttl } from "../../packet/edit/ipv4.ts";
import {
  prepareIpv6,
  setIpv6Addr,
  setIpv6FlowLabel,
  setIpv6HopLimit,
  setIpv6TrafficClass,
} from "../../packet/edit/ipv6.ts";
import { popMpls, pushMpls, setMpls } from "../../packet/edit/mpls.ts";
import { popNsh, pushNsh } from "../../packet/edit/nsh.ts";
import { prepareTransport, setSctpPorts, setTcpPorts, setUdpPorts } from "../../packet/edit/transport.ts";
import { decTtl } from "../../packet/edit/ttl.ts";
import { popVlan, pushVlan } from "../../packet/edit/vlan.ts";
import { networkOffset, share } from "../../packet/edit/writable.ts";
import { ETH_P_IP, ETH_P_IPV6, ETH_P_TEB, isMpls } from "../../packet/ethernet.ts";
import { gsoFrameLength } from "../../packet/gso.ts";
import * as ipv4 from "../../packet/ipv4.ts";
import * as ipv6 from "../../packet/ipv6.ts";
import type { PacketMemory } from "../../packet/memory.ts";
import { CtRef, Gso, Packet } from "../../packet/packet.ts";
import * as sctp from "../../packet/sctp.ts";
import * as tcp from "../../packet/tcp.ts";
import * as udp from "../../packet/udp.ts";
import { EHOSTUNREACH, EINPROGRESS, ENETDOWN } from "../../uapi/errno.ts";
import { OVS_HASH_ALG_L4 } from "../../uapi/openvswitch.ts";
import { DropReason } from "../drop-reason.ts";
import type { ActionHost } from "../host.ts";
import { Nested, Op, type Program, SET_DST, SET_SRC } from "./program.ts";

/** Executions within each other before a packet is dropped (spec/actions A-124). */
const RECURSION_LIMIT = 5;
/** Levels that have a key of their own to save; deeper ones are deferred (spec/actions A-125). */
const KEY_COPIES = 3;
/** Deferrals until the queue has been drained (spec/actions A-126). */
const DEFERRED_MAX = 9;

/** What a list may take for granted about the key it runs with. */
const enum Mode {
  /** The key tells what the packet is; not so after push and pop (spec/keys K-287). */
  VALID = 1,
  /** Nobody looks at the key afterwards: recirculation may have it. */
  OWNED = 2,
}

/** A nested list or recirculation that waits for the end of the top list (spec/actions ). */
class Deferred {
  readonly packet: Packet;
  readonly key = newKey();
  /** undefined = recirculation. */
  program: Program | undefined = undefined;
  mode = 0;

  constructor(memory: PacketMemory) {
    this.packet = new Packet(memory);
  }
}

/**
 * Runs compiled action lists: for received packets, recirculated ones, and those of OVS_PACKET_CMD_EXECUTE. One per
 * datapath context: it keeps the recursion level, the saved keys and the deferred queue.
 *
 * Bytes are copied only when they must be: an output or a clone that is not last declares them shared (packet/edit/writable.ts),
 * and the next change moves the packet to room of its own. So `output:1,output:2` copies nothing.
 */
export class ActionExecutor {
  private level = 0;
  private readonly keys: Int32Array[] = [];
  private readonly clones: Packet[] = [];
  private depth = 0;
  private readonly deferred: Deferred[] = [];
  private queued = 0;
  /** The packet of the list that just failed has been dropped already. */
  private freed = false;
  /** The masked address of set ipv6. */
  private readonly address = new Int32Array(4);

  constructor(
    private readonly host: ActionHost,
    private readonly memory: PacketMemory,
  ) {
    for (let i = 0; i < KEY_COPIES; i++) this.keys.push(newKey());
    for (let i = 0; i < DEFERRED_MAX; i++) this.deferred.push(new Deferred(memory));
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
      if (level === 1 && this.queued > 0) this.drain();
      return error;
    } finally {
      this.level = level - 1;
      this.freed = false;
      if (level === 1) {
        this.depth = 0;
        this.queued = 0;
      }
    }
  }

  /** Runs what was deferred, and what that defers, in order. Places in the queue are not reused before it is empty. */
  private drain(): void {
    for (let i = 0; i < this.queued; i++) {
      const { packet, key, program, mode } = this.deferred[i];
      this.freed = false;
      if (program === undefined) this.host.recirculate(packet, key);
      else this.run(packet, key, program, mode);
    }
    this.queued = 0;
  }

  /** One list; what it could not finish is dropped. HOT PATH. */
  private run(packet: Packet, key: Int32Array, program: Program, mode: number): number {
    const error = this.interpret(packet, key, program, mode);
    if (error !== 0 && !this.freed) {
      this.host.dropped(packet, DropReason.ACTION_ERROR);
      this.freed = true;
    }
    return error;
  }

  /** HOT PATH. */
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
          error = this.setIpv6(packet, key, code, pc);
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
              // Here the module forgets the packet.
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

  /** The list of a clone, sample or check_pkt_len (spec/actions ). */
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

  /** What dec_ttl does with a packet whose time is over (spec/actions ). */
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
  ): Deferred | undefined {
    if (this.queued === DEFERRED_MAX) {
      this.host.dropped(packet, DropReason.DEFERRED_LIMIT);
      return undefined;
    }
    if (shared) share(packet);
    const entry = this.deferred[this.queued++];
    entry.packet.copyFrom(packet);
    copyKey(entry.key, key);
    entry.program = program;
    entry.mode = mode | Mode.OWNED;
    return entry;
  }

  /** set ipv6 (spec/actions ). */
  private setIpv6(packet: Packet, key: Int32Array, code: Int32Array, pc: number): number {
    const error = prepareIpv6(packet);
    if (error !== 0) return error;
    const flags = code[pc + 23];
    if ((flags & SET_SRC) !== 0) this.setIpv6Address(packet, key, code, pc + 1, ipv6.SRC, K.IPV6_SRC);
    if ((flags & SET_DST) !== 0) this.setIpv6Address(packet, key, code, pc + 9, ipv6.DST, K.IPV6_DST);
    const { view } = packet.memory;
    const classMask = code[pc + 18];
    if (classMask !== 0) {
      setIpv6TrafficClass(packet, code[pc + 17], classMask);
      key[K.IP] = (key[K.IP] & ~0x00ff0000) | (ipv6.trafficClass(view, packet.l3) << 16);
    }
    const labelMask = code[pc + 20];
    if (labelMask !== 0) {
      setIpv6FlowLabel(packet, code[pc + 19], labelMask);
      key[K.IPV6_LABEL] = ipv6.flowLabel(view, packet.l3);
    }
    const hopMask = code[pc + 22];
    if (hopMask !== 0) {
      setIpv6HopLimit(packet, code[pc + 21], hopMask);
      setKeyTtl(key, ipv6.hopLimit(view, packet.l3));
    }
    return 0;
  }

  private setIpv6Address(
    packet: Packet,
    key: Int32Array,
    code: Int32Array,
    at: number,
    field: number,
    keyIndex: number,
  ): void {
    const { address } = this;
    const { view } = packet.memory;
    for (let i = 0; i < 4; i++)
      address[i] = (view.getInt32(packet.l3 + field + 4 * i) & ~code[at + 4 + i]) | code[at + i];
    if (!setIpv6Addr(packet, field, address, 0, key[K.IP] >>> 24)) return;
    forgetFlow(packet);
    for (let i = 0; i < 4; i++) key[keyIndex + i] = address[i];
  }
}

/** Copies a key. Tunnel words are copied only when one of the two keys has any. */
function copyKey(to: Int32Array, from: Int32Array): void {
  if (from[K.TUN_PROTO] !== 0 || to[K.TUN_PROTO] !== 0) {
    to.set(from);
    return;
  }
  for (let i = 0; i < K.PACKET_WORDS; i++) to[i] = from[i];
}

/** Says whether the packet begins with an Ethernet header; what extraction and ports go by. */
function setMacProto(packet: Packet, key: Int32Array, macProto: number): void {
  packet.macNone = macProto === 0;
  key[K.ETH_TYPE] = (key[K.ETH_TYPE] & ~0xffff) | macProto;
}

function setKeyTtl(key: Int32Array, ttl: number): void {
  key[K.IP] = (key[K.IP] & ~0xff00) | (ttl << 8);
}

/** The packet now belongs to another flow: its hash and its connection no longer hold (spec/actions A-194). */
function forgetFlow(packet: Packet): void {
  packet.hash = 0;
  packet.hashFlags = 0;
  packet.ct = CtRef.NONE;
}

/** set ipv4 (spec/actions ); the key gets what was written. */
function setIpv4(packet: Packet, key: Int32Array, code: Int32Array, pc: number): number {
  const error = prepareIpv4(packet);
  if (error !== 0) return error;
  const { view } = packet.memory;
  const { l3 } = packet;
  const srcMask = code[pc + 2];
  if (srcMask !== 0) {
    const src = (view.getInt32(l3 + ipv4.SRC) & ~srcMask) | code[pc + 1];
    if (setIpv4Addr(packet, ipv4.SRC, src)) {
      forgetFlow(packet);
      key[K.IPV4_SRC] = src;
    }
  }
  const dstMask = code[pc + 4];
  if (dstMask !== 0) {
    const dst = (view.getInt32(l3 + ipv4.DST) & ~dstMask) | code[pc + 3];
    if (setIpv4Addr(packet, ipv4.DST, dst)) {
      forgetFlow(packet);
      key[K.IPV4_DST] = dst;
    }
  }
  const tosMask = code[pc + 6];
  if (tosMask !== 0) {
    setIpv4Tos(packet, code[pc + 5], tosMask);
    key[K.IP] = (key[K.IP] & ~0x00ff0000) | (ipv4.tos(view, l3) << 16);
  }
  const ttlMask = code[pc + 8];
  if (ttlMask !== 0) {
    setIpv4Ttl(packet, code[pc + 7], ttlMask);
    setKeyTtl(key, ipv4.ttl(view, l3));
  }
  return 0;
}

/** Ports of the header at packet.l4 after a masked write, as src << 16 | dst. */
function maskedPorts(packet: Packet, value: number, mask: number): number {
  return (packet.memory.view.getInt32(packet.l4) & ~mask) | value;
}

/** Puts ports into the key, each only if it differs from what the packet had. */
function setKeyPorts(key: Int32Array, before: number, after: number): void {
  const changed = before ^ after;
  let mask = 0;
  if (changed >>> 16 !== 0) mask |= 0xffff0000;
  if ((changed & 0xffff) !== 0) mask |= 0xffff;
  key[K.TP] = (key[K.TP] & ~mask) | (after & mask);
}

/** set tcp (spec/actions ). */
function setTcp(packet: Packet, key: Int32Array, value: number, mask: number): number {
  const error = prepareTransport(packet, tcp.HEADER_LEN);
  if (error !== 0) return error;
  const before = packet.memory.view.getInt32(packet.l4);
  const after = maskedPorts(packet, value, mask);
  if (setTcpPorts(packet, after >>> 16, after & 0xffff)) {
    packet.ct = CtRef.NONE;
    setKeyPorts(key, before, after);
  }
  packet.hash = 0;
  packet.hashFlags = 0;
  return 0;
}

/** set udp (spec/actions ). */
function setUdp(packet: Packet, key: Int32Array, value: number, mask: number): number {
  const error = prepareTransport(packet, udp.HEADER_LEN);
  if (error !== 0) return error;
  const after = maskedPorts(packet, value, mask);
  if (setUdpPorts(packet, after >>> 16, after & 0xffff)) {
    packet.ct = CtRef.NONE;
    key[K.TP] = after;
  }
  packet.hash = 0;
  packet.hashFlags = 0;
  return 0;
}

/** set sctp (spec/actions A-199). */
function setSctp(packet: Packet, key: Int32Array, value: number, mask: number): number {
  const error = prepareTransport(packet, sctp.HEADER_LEN);
  if (error !== 0) return error;
  const after = maskedPorts(packet, value, mask);
  setSctpPorts(packet, after >>> 16, after & 0xffff);
  forgetFlow(packet);
  key[K.TP] = after;
  return 0;
}

/** Whether check_pkt_len takes the LESS_EQUAL branch (spec/actions ). */
function fits(packet: Packet, limit: number): boolean {
  const { mru } = packet;
  if (mru !== 0) return mru + networkOffset(packet) <= limit;
  if (packet.len <= limit) return true;
  return packet.gsoType !== Gso.NONE && gsoFrameLength(packet) <= limit;
}
