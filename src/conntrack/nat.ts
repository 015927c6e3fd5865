import type { Random } from "../core/random.ts";
import { IpProto } from "../packet/ip.ts";
import {
  IPS_CONFIRMED,
  IPS_DST_NAT,
  IPS_DST_NAT_DONE,
  IPS_DYING,
  IPS_FIXED_TIMEOUT,
  IPS_NAT_MASK,
  IPS_SEQ_ADJUST,
  IPS_SRC_NAT,
  IPS_SRC_NAT_DONE,
  TCP_CONNTRACK_SYN_SENT,
  TCP_CONNTRACK_TIME_WAIT,
} from "../uapi/nfnetlink.ts";
import type { Expectation } from "./expect.ts";
import { E, Ext, T, Tcp } from "./layout.ts";
import { Manip } from "./manip.ts";
import { inRange, NatRange, pickAddress, portInRange } from "./nat-range.ts";
import { IPPROTO_DCCP } from "./options.ts";
import { type ConnectionTable, sameTuple } from "./table.ts";
import { allowsClash } from "./trackers/protocols.ts";
import { copyTuple, invert, newTuple } from "./tuple.ts";

/** The connections that a mapping must not collide with. */
export interface NatHost {
  readonly table: ConnectionTable;
  /** The live confirmed entry with this tuple, or -1; expired ones are collected on the way. */
  findLive(tuple: Int32Array): number;
  /** Deletes an entry, with its event. */
  destroy(slot: number, portId: number, report: boolean): void;
}

/** Ports tried one after the other before the search jumps (spec/conntrack C-196). */
const MAX_ATTEMPTS = 128;
const MIN_ATTEMPTS = 16;
/** In the last attempts of a round a closed connection may be evicted (spec/conntrack C-198). */
const EVICTING = 32;

/** Chooses translations for new connections (spec/conntrack section 10). Slow path: once a connection and manip. */
export class NatMapper {
  private readonly current = newTuple();
  private readonly candidate = newTuple();
  private readonly reply = newTuple();
  private readonly ownRange = new NatRange();

  constructor(
    private readonly host: NatHost,
    private readonly random: Random,
  ) {}

  /**
   * Sets up one manip of an unconfirmed entry: alters its reply tuple so that answers are recognised
   * (spec/conntrack C-160, C-181, C-182). Confirmed entries stay as they are (C-163).
   */
  setup(slot: number, range: NatRange, manip: Manip): void {
    const { table } = this.host;
    const { words } = table;
    const entry = slot * E.WORDS;
    if ((words[entry + E.STATUS] & IPS_CONFIRMED) !== 0) return;
    const { current, candidate } = this;
    invert(words, entry + E.REPLY, current, 0);
    copyTuple(current, 0, candidate, 0);
    this.choose(slot, range, manip);
    if (!sameTuple(current, 0, candidate, 0)) {
      invert(candidate, 0, words, entry + E.REPLY);
      words[entry + E.STATUS] |= manip === Manip.SRC ? IPS_SRC_NAT : IPS_DST_NAT;
      // A helper may have to shift sequence numbers once addresses in the payload change length.
      if ((words[entry + E.EXT] & Ext.HELPER_MASK) !== 0) words[entry + E.EXT] |= Ext.SEQADJ;
    }
    if (manip === Manip.SRC) {
      if ((words[entry + E.EXT] & Ext.BY_SOURCE) === 0) table.linkSource(slot);
      words[entry + E.STATUS] |= IPS_SRC_NAT_DONE;
    } else words[entry + E.STATUS] |= IPS_DST_NAT_DONE;
  }

  /** A mapping that keeps the address and changes the port only if it must (spec/conntrack C-161). */
  setupNull(slot: number, manip: Manip): void {
    const { words } = this.host.table;
    const reply = slot * E.WORDS + E.REPLY;
    this.setup(slot, this.ownRange.setAddress(words, reply + (manip === Manip.SRC ? T.DST : T.SRC)), manip);
  }

  /**
   * Sets up both sides of an expected connection as its master is translated: nf_nat_follow_master (spec/conntrack
   * C-232).
   */
  readonly followMaster = (slot: number, expectation: Expectation): void => {
    const { words } = this.host.table;
    const { ownRange } = this;
    // The side of the master that the expected connection comes from, as its partner sees it.
    const from = expectation.master * E.WORDS + ((1 - expectation.direction) << E.DIR_SHIFT);
    this.setup(slot, ownRange.setAddress(words, from + T.DST), Manip.SRC);
    this.setup(slot, ownRange.setAddress(words, from + T.SRC).setPort(expectation.savedPort), Manip.DST);
  };

  /** Turns this.candidate into a tuple inside the range, unique if one can be found (spec/conntrack C-185 to C-202). */
  private choose(slot: number, range: NatRange, manip: Manip): void {
    const { current, candidate } = this;
    if (manip === Manip.SRC && !range.random) {
      if (inRange(current, range)) {
        if (!this.takenByOther(current, slot)) return;
      } else if (this.reuseSource(slot, range)) {
        if (!this.taken(candidate, slot)) return;
        copyTuple(current, 0, candidate, 0);
      }
    }
    pickAddress(candidate, range, manip);
    if (!range.random) {
      if (range.hasProto) {
        if (
          portInRange(candidate, range, manip) &&
          (range.protoMin === range.protoMax || !this.taken(candidate, slot))
        ) {
          return;
        }
      } else if (!this.taken(candidate, slot)) return;
    }
    this.searchPort(slot, range, manip);
  }

  /** Step 4: tries ports until a free tuple is found, or leaves the last one tried (spec/conntrack C-192 to C-197). */
  private searchPort(slot: number, range: NatRange, manip: Manip): void {
    const { candidate } = this;
    const { words } = this.host.table;
    const proto = (candidate[T.META] >>> 8) & 0xff;
    let shift = manip === Manip.SRC ? 16 : 0;
    let min: number;
    let size: number;
    switch (proto) {
      case IpProto.ICMP:
      case IpProto.ICMPV6:
        shift = 16;
        min = range.hasProto ? range.protoMin : 0;
        size = range.hasProto ? range.protoMax - range.protoMin + 1 : 65536;
        break;
      case IpProto.GRE:
        if (words[slot * E.WORDS + E.MASTER] === 0) return;
        min = range.hasProto ? range.protoMin : 1;
        size = range.hasProto ? range.protoMax - range.protoMin + 1 : 65535;
        break;
      case IpProto.TCP:
      case IpProto.UDP:
      case IpProto.UDPLITE:
      case IpProto.SCTP:
      case IPPROTO_DCCP: {
        if (range.hasProto) {
          min = Math.min(range.protoMin, range.protoMax);
          size = Math.max(range.protoMin, range.protoMax) - min + 1;
          break;
        }
        if (manip === Manip.DST) return;
        const port = candidate[T.PORTS] >>> 16;
        min = port < 512 ? 1 : port < 1024 ? 600 : 1024;
        size = (port < 512 ? 511 : port < 1024 ? 1023 : 65535) - min + 1;
        break;
      }
      default:
        return;
    }
    // A reversed ICMP or GRE range is an unsigned size of nearly 2^32 to the kernel.
    if (size <= 0) size = 0x1_0000_0000 + size;
    let offset = range.random || manip !== Manip.DST ? this.random.u32() & 0xffff : 0;
    let attempts = Math.min(size, MAX_ATTEMPTS);
    const keep = ~(0xffff << shift);
    for (;;) {
      for (let i = 0; i < attempts; i++, offset = (offset + 1) & 0xffff) {
        const port = (min + (offset % size)) & 0xffff;
        candidate[T.PORTS] = (candidate[T.PORTS] & keep) | (port << shift);
        if (!this.takenOrEvict(slot, attempts - i)) return;
      }
      if (attempts >= size || attempts < MIN_ATTEMPTS) return;
      attempts >>= 1;
      offset = this.random.u32() & 0xffff;
    }
  }

  /**
   * Whether another entry has the inverse of this tuple; one with our own original tuple does not count
   * (spec/conntrack C-202).
   */
  private taken(tuple: Int32Array, slot: number): boolean {
    const { reply, host } = this;
    if (!invert(tuple, 0, reply, 0)) return false;
    const link = host.findLive(reply);
    if (link < 0) return false;
    const { words } = host.table;
    return !sameTuple(words, slot * E.WORDS, words, (link >> 1) * E.WORDS);
  }

  /**
   * Step 1's test: two ends that begin at the same time without NAT are one connection (spec/conntrack C-185, C-266).
   */
  private takenByOther(tuple: Int32Array, slot: number): boolean {
    if (!this.taken(tuple, slot)) return false;
    const { host, reply } = this;
    const { words } = host.table;
    const entry = slot * E.WORDS;
    const usesNat = IPS_NAT_MASK | IPS_SEQ_ADJUST;
    if (!allowsClash((tuple[T.META] >>> 8) & 0xff) || (words[entry + E.STATUS] & usesNat) !== 0) return true;
    let link = host.findLive(tuple);
    if (link < 0) {
      invert(tuple, 0, reply, 0);
      link = host.findLive(reply);
      if (link < 0) return false;
    }
    const other = (link >> 1) * E.WORDS;
    if ((words[other + E.STATUS] & usesNat) !== 0) return true;
    return !sameTuple(words, other, words, entry + E.REPLY);
  }

  /**
   * As taken(), but may evict a closed translated connection whose sequence numbers lie behind ours
   * (spec/conntrack C-198).
   */
  private takenOrEvict(slot: number, attemptsLeft: number): boolean {
    const { candidate, reply, host } = this;
    const { words } = host.table;
    const entry = slot * E.WORDS;
    if (
      attemptsLeft > EVICTING ||
      ((candidate[T.META] >>> 8) & 0xff) !== IpProto.TCP ||
      (words[entry + Tcp.STATE] & 0xff) !== TCP_CONNTRACK_SYN_SENT
    ) {
      return this.taken(candidate, slot);
    }
    invert(candidate, 0, reply, 0);
    const link = host.findLive(reply);
    if (link < 0) return false;
    if ((link & 1) === 0) return true;
    const other = (link >> 1) * E.WORDS;
    const status = words[other + E.STATUS];
    if ((words[other + Tcp.STATE] & 0xff) < TCP_CONNTRACK_TIME_WAIT) return true;
    if ((status & (IPS_FIXED_TIMEOUT | IPS_DYING)) !== 0 || (status & IPS_SRC_NAT) === 0) return true;
    if (((words[other + Tcp.END] - words[entry + Tcp.END]) | 0) >= 0) return true;
    host.destroy(link >> 1, 0, false);
    return false;
  }

  /** Gives the candidate the source that another connection from the same place is mapped to (spec/conntrack C-186). */
  private reuseSource(slot: number, range: NatRange): boolean {
    const { current, candidate } = this;
    const { table } = this.host;
    const { words } = table;
    // The chain goes by the zone that connections begin in, which is not always that of their answers.
    const replyMeta = current[T.META];
    current[T.META] = words[slot * E.WORDS + T.META];
    const found = this.findSource(range, replyMeta);
    current[T.META] = replyMeta;
    if (!found) copyTuple(current, 0, candidate, 0);
    return found;
  }

  private findSource(range: NatRange, replyMeta: number): boolean {
    const { current, candidate } = this;
    const { table } = this.host;
    const { words } = table;
    for (let next = table.sourceHead(current, 0); next !== 0; ) {
      const other = (next - 1) * E.WORDS;
      next = words[other + E.SRC_NEXT];
      if (words[other + E.REPLY + T.META] !== replyMeta || !sameSource(words, other, current)) continue;
      invert(words, other + E.REPLY, candidate, 0);
      for (let i = 0; i < 4; i++) candidate[T.DST + i] = current[T.DST + i];
      candidate[T.PORTS] = (candidate[T.PORTS] & ~0xffff) | (current[T.PORTS] & 0xffff);
      if (inRange(candidate, range)) return true;
    }
    return false;
  }
}

function sameSource(words: Int32Array, at: number, tuple: Int32Array): boolean {
  return (
    words[at + T.META] === tuple[T.META] &&
    (words[at + T.PORTS] ^ tuple[T.PORTS]) >>> 16 === 0 &&
    words[at + T.SRC] === tuple[T.SRC] &&
    words[at + T.SRC + 1] === tuple[T.SRC + 1] &&
    words[at + T.SRC + 2] === tuple[T.SRC + 2] &&
    words[at + T.SRC + 3] === tuple[T.SRC + 3]
  );
}
