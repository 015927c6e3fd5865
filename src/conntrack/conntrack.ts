import type { Clock } from "../core/clock.ts";
import { Errno } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import { extractHeaders, isNd } from "../flow/extract.ts";
import { K } from "../flow/key.ts";
import { checksum } from "../packet/checksum.ts";
import { ensureWritable, trimToIpLength } from "../packet/edit.ts";
import { ETH_P_IP, ETH_P_IPV6 } from "../packet/ethernet.ts";
import * as icmp from "../packet/icmp.ts";
import * as icmpv6 from "../packet/icmpv6.ts";
import { IpProto } from "../packet/ip.ts";
import * as ipv4 from "../packet/ipv4.ts";
import * as ipv6 from "../packet/ipv6.ts";
import { pseudoV4, pseudoV6, verifyL4 } from "../packet/l4-checksum.ts";
import type { PacketMemory } from "../packet/memory.ts";
import { Csum, CtRef, type Packet } from "../packet/packet.ts";
import { Reassembler } from "../packet/reassembly.ts";
import * as sctp from "../packet/sctp.ts";
import * as udp from "../packet/udp.ts";
import { EBUSY, EEXIST, EINVAL, ENOENT, ENOMEM, ENOSPC } from "../uapi/errno.ts";
import {
  IP_CT_ESTABLISHED,
  IP_CT_ESTABLISHED_REPLY,
  IP_CT_IS_REPLY,
  IP_CT_NEW,
  IP_CT_RELATED,
  IP_CT_RELATED_REPLY,
  IPCT_DESTROY,
  IPCT_HELPER,
  IPCT_LABEL,
  IPCT_MARK,
  IPCT_NEW,
  IPCT_RELATED,
  IPCT_REPLY,
  IPS_ASSURED,
  IPS_CONFIRMED,
  IPS_DST_NAT,
  IPS_DST_NAT_DONE,
  IPS_DYING,
  IPS_EXPECTED,
  IPS_FIXED_TIMEOUT,
  IPS_HELPER,
  IPS_UNTRACKED as IPS_NAT_CLASH,
  IPS_NAT_MASK,
  IPS_SEEN_REPLY,
  IPS_SEQ_ADJUST,
  IPS_SRC_NAT,
  IPS_SRC_NAT_DONE,
} from "../uapi/nfnetlink.ts";
import {
  OVS_CS_F_DST_NAT,
  OVS_CS_F_ESTABLISHED,
  OVS_CS_F_INVALID,
  OVS_CS_F_NAT_MASK,
  OVS_CS_F_NEW,
  OVS_CS_F_RELATED,
  OVS_CS_F_REPLY_DIR,
  OVS_CS_F_SRC_NAT,
  OVS_CS_F_TRACKED,
} from "../uapi/openvswitch.ts";
import type { CtAction, NatAction } from "./action.ts";
import type { ConntrackPort } from "./conntrack-port.ts";
import type { ConntrackListener } from "./events.ts";
import { type Expectation, ExpectationTable, type ExpectFunction } from "./expect.ts";
import { GreKeymap } from "./gre-keymap.ts";
import { builtinHelpers } from "./helpers/builtin.ts";
import { FOLLOW_MASTER, type Helper, type HelperContext } from "./helpers/helper.ts";
import { AF_INET, AF_INET6, E, Ext, Slot, T, Tcp } from "./layout.ts";
import { ZoneLimits } from "./limits.ts";
import { Manip, manipIcmpError, manipPacket, statusBit } from "./manip.ts";
import { allowsClash, NatMapper, NatRange } from "./nat.ts";
import { type ConntrackOptions, defaultOptions, IPPROTO_DCCP, TimeoutTable } from "./options.ts";
import { adjustSegment, seqOffset } from "./seqadj.ts";
import { ConnectionTable, sameTuple } from "./table.ts";
import { dccpClosing, dccpCoverage, dccpHeaderValid } from "./trackers/dccp.ts";
import { trackOther, trackUdp } from "./trackers/protocols.ts";
import { shuttingDown } from "./trackers/sctp.ts";
import { closing, finished, isEstablished, setLiberal, tcpHeaderValid, trackTcp } from "./trackers/tcp.ts";
import { Tracked, Verdict } from "./trackers/verdict.ts";
import { copyTuple, findTransport, invert, newTuple, protoOf, setZone, Transport, tupleOf, zoneOf } from "./tuple.ts";

/** Counters of CTNETLINK GET_STATS_CPU (spec/ctnetlink N-145), named as there. */
export interface ConntrackStats {
  found: number;
  invalid: number;
  insert: number;
  insertFailed: number;
  drop: number;
  earlyDrop: number;
  error: number;
  searchRestart: number;
  clashResolve: number;
  chainTooLong: number;
}

export interface ConntrackEnvironment {
  /** Read once a batch. */
  readonly clock: Clock;
  readonly random: Random;
  readonly memory: PacketMemory;
  readonly options?: Partial<ConntrackOptions>;
}

/** A named set of timeouts (OVS_CT_ATTR_TIMEOUT, nfnetlink_cttimeout). */
export interface TimeoutPolicy {
  readonly name: string;
  readonly family: number;
  readonly proto: number;
  /** Milliseconds by CTA_TIMEOUT_* number; changed in place. */
  readonly timeouts: Int32Array;
}

/** No room for an entry, or no tuple for the answers. */
const NO_ROOM = -1;
const NO_INVERSE = -2;

/** Buckets that early drop looks into (spec/conntrack C-258). */
const EVICTION_RANGE = 8;
/** Bounds of the random chain length limit (spec/conntrack C-261). */
const MIN_CHAIN = 50;
const CHAIN_SPREAD = 30;

/**
 * Garbage collection walks the table once in ten seconds: with packets, a slice every GC_INTERVAL milliseconds; without,
 * a tenth of it every second in slices of GC_SLICE slots. No slice destroys more than GC_DESTROYED entries, so that none
 * keeps packets waiting.
 */
const GC_INTERVAL = 10;
const GC_SLICES = 1000;
const GC_TICKS = 10;
const GC_SLICE = 16384;
const GC_DESTROYED = 500;
/** Of HZ=250, in ms. */
const JIFFY = 4;

const CLASH_TIMEOUT = 1000;

/** The protocol of timeout policies for all that have no tracker of their own. */
const GENERIC = 255;

/** GRE: flags and version, protocol, payload length, call id (RFC 2637 section 4.1). */
const GRE_MIN_LEN = 8;
const GRE_VERSION = 0x0007;

/** NF_CT_HELPER_NAME_LEN less the NUL; NF_CT_EXPECT_MAX_CNT. */
const MAX_HELPER_NAME = 15;
const MAX_EXPECTED = 255;

/**
 * nf_conntrack with NAT, and what openvswitch.ko does on top of it: one instance is a network namespace's connection
 * tracking, all zones. Packets enter by execute(); the control plane uses find, destroy, create and the dump cursor.
 *
 * Packet.ct names a slot of the table and stays readable until endBatch(), also when the entry goes meanwhile.
 */
export class Conntrack implements ConntrackPort, HelperContext {
  readonly table: ConnectionTable;
  readonly options: ConntrackOptions;
  readonly timeouts = new TimeoutTable();
  readonly limits = new ZoneLimits();
  readonly expectations: ExpectationTable;
  readonly mapper: NatMapper;
  readonly stats: ConntrackStats = {
    found: 0,
    invalid: 0,
    insert: 0,
    insertFailed: 0,
    drop: 0,
    earlyDrop: 0,
    error: 0,
    searchRestart: 0,
    clashResolve: 0,
    chainTooLong: 0,
  };
  /** ctnetlink, once somebody serves it. */
  listener: ConntrackListener | undefined = undefined;
  /** Table time of the packet in hand. */
  now = 0;

  private readonly clock: Clock;
  readonly random: Random;
  readonly reassembly: Reassembler;
  private readonly epoch: number;
  private readonly tuple = newTuple();
  private readonly scratchTuple = newTuple();
  private readonly transport = new Transport();
  private readonly inner = new Transport();
  private readonly tracked = new Tracked();
  private readonly range = new NatRange();
  /** By number; 0 is "none". */
  private readonly helpers: (Helper | undefined)[] = [undefined];
  /** What expectations may be given to do when they are met, by the name that CTA_EXPECT_FN has for it. */
  readonly expectFunctions = new Map<string, ExpectFunction>();
  readonly greKeys = new GreKeymap();
  /**
   * By number; 0 is "none". A deleted policy leaves a hole: entries fall back to the defaults (spec/conntrack C-369).
   */
  private readonly policies: (TimeoutPolicy | undefined)[] = [undefined];
  /** Zones of answers by zone of origin, where connections ever crossed. */
  private readonly crossings = new Map<number, Set<number>>();
  /** The clock was read for this batch. */
  private clockRead = false;
  private gcCursor = 0;
  private gcLast = 0;
  /** When limits were last settled. */
  private settled = 0;
  /** Slots that the tick under way has still to look at. */
  private gcLeft = 0;
  /** A packet was refused for want of room: the next round evicts (spec/conntrack C-259). */
  private crowded = false;
  private evicting = false;

  constructor(environment: ConntrackEnvironment) {
    this.clock = environment.clock;
    this.random = environment.random;
    this.options = { ...defaultOptions, ...environment.options };
    this.table = new ConnectionTable(this.options.max, this.random);
    this.reassembly = new Reassembler(environment.memory, environment.clock);
    this.epoch = this.clock.monotonic();
    this.mapper = new NatMapper(this, this.random);
    this.expectations = new ExpectationTable(
      this.table,
      Math.max(Math.floor(this.options.buckets / 256), 1) * 4,
      (master, expectClass) => this.helperOfSlot(master)?.policies[expectClass],
    );
    this.limits.settle = () => this.settleLimits();
    this.expectFunctions.set(FOLLOW_MASTER, this.followMaster);
    for (const helper of builtinHelpers) this.registerHelper(helper);
  }

  /** Entries, unconfirmed ones included (nf_conntrack_count; spec/conntrack C-257). */
  get count(): number {
    return this.table.count;
  }

  /** Changes nf_conntrack_max; 0 is no limit: the table then grows as it fills. */
  setMax(max: number): void {
    this.options.max = max;
    if (max !== 0) this.table.resize(max);
  }

  /** Table time: milliseconds since the instance was made, in 32 bits that wrap. */
  private readClock(): number {
    this.now = (this.clock.monotonic() - this.epoch) | 0;
    return this.now;
  }

  // Packets

  /** See ConntrackPort. HOT PATH. */
  execute(packet: Packet, key: Int32Array, action: CtAction): number {
    if (!this.clockRead) {
      this.readClock();
      this.clockRead = true;
    }
    const etherType = action.family === AF_INET ? ETH_P_IP : ETH_P_IPV6;
    let error = trimToIpLength(packet, etherType);
    if (error !== 0) return error;
    if ((key[K.IP] & 0xff) !== 0) {
      error = this.defragment(packet, key, action);
      if (error !== 0) return error;
    }
    return action.commit ? this.commit(packet, key, action) : this.lookupOnly(packet, key, action);
  }

  /** Collects fragments (section 4). @returns 0 when the packet is whole, -EINPROGRESS when it was queued */
  private defragment(packet: Packet, key: Int32Array, action: CtAction): number {
    const error =
      action.family === AF_INET ? this.reassembly.ipv4(packet, action.zone) : this.reassembly.ipv6(packet, action.zone);
    if (error !== 0) return error;
    packet.hash = 0;
    packet.hashFlags = 0;
    const failed = extractHeaders(packet, key);
    if (failed !== 0) return failed;
    key[K.IP] &= ~0xff;
    return 0;
  }

  /** ct without commit (section 7). */
  private lookupOnly(packet: Packet, key: Int32Array, action: CtAction): number {
    if (
      !this.options.expectationsTracked &&
      this.expectations.count !== 0 &&
      this.announceExpected(packet, key, action)
    ) {
      return 0;
    }
    const error = this.lookup(packet, key, action);
    if (error !== 0) return error;
    if (packet.ct >= 0) this.deliver(packet.ct);
    return 0;
  }

  /** Before Linux 6.6: a packet that is expected is not tracked, the key shows its master (spec/conntrack C-119). */
  private announceExpected(packet: Packet, key: Int32Array, action: CtAction): boolean {
    if (!this.readTuple(packet, action)) return false;
    const { tuple } = this;
    const expectation = this.expectations.find(tuple, this.now);
    if (expectation === undefined) return false;
    const clashing = this.findLive(tuple);
    if (clashing >= 0) this.destroy(clashing >> 1, 0, false);
    const master = expectation.master * E.WORDS;
    key[K.CT_MARK] = this.table.words[master + E.MARK];
    this.labelsToKey(master, key);
    this.originToKey(key, master, action.zone, OVS_CS_F_TRACKED | OVS_CS_F_NEW | OVS_CS_F_RELATED);
    return true;
  }

  /** ct(commit) (section 8). */
  private commit(packet: Packet, key: Int32Array, action: CtAction): number {
    const error = this.lookup(packet, key, action);
    if (error !== 0) return error;
    const slot = packet.ct;
    if (slot < 0) return 0;
    const { words } = this.table;
    const entry = slot * E.WORDS;
    const confirmed = (words[entry + E.STATUS] & IPS_CONFIRMED) !== 0;
    if (this.limits.enabled && !confirmed && this.exceedsLimit(slot, action.zone)) return -ENOMEM;
    if (action.hasEventmask && (words[entry + E.EXT] & Ext.EVENTS) !== 0)
      words[entry + E.EVENT_MASK] = action.eventmask;
    if (action.hasMark) {
      // Bits of the value outside the mask are taken as well (spec/conntrack C-025).
      const mark = action.mark | (words[entry + E.MARK] & ~action.markMask);
      if (mark !== words[entry + E.MARK]) {
        words[entry + E.MARK] = mark;
        if (confirmed) this.remember(entry, 1 << IPCT_MARK);
        key[K.CT_MARK] = mark;
      }
    }
    if (!confirmed) {
      this.initLabels(entry, key, action);
      if (!this.help(packet, slot, action.family)) return -EINVAL;
      return this.confirm(packet) ? 0 : -EINVAL;
    }
    if (action.hasLabels) {
      if (this.mergeLabels(entry, action.labels, action.labelsMask)) this.remember(entry, 1 << IPCT_LABEL);
      this.labelsToKey(entry, key);
    }
    this.deliver(slot);
    return 0;
  }

  /** Finds or makes the packet's entry and translates (sections 5 and 7). @returns 0 or a negative errno */
  private lookup(packet: Packet, key: Int32Array, action: CtAction): number {
    const cached = this.isCached(packet, key, action) && !(action.commit && this.isOthers(packet));
    if (!cached) {
      if (!this.track(packet, action)) return -EINVAL;
      // Only now, after tracking really ran, does the key follow the entry: a cached result keeps the key's state with
      // its NAT bits (spec/conntrack C-092, C-096, C-381).
      this.updateKey(packet, key, action.zone);
    }
    const slot = packet.ct;
    if (slot < 0) return 0;
    const { words } = this.table;
    const entry = slot * E.WORDS;
    const confirmed = (words[entry + E.STATUS] & IPS_CONFIRMED) !== 0;

    // New connections are translated by the action that commits them, so that the helper sees what they became
    // (spec/conntrack C-153).
    if (action.nat !== undefined && (key[K.CT] & OVS_CS_F_NAT_MASK) === 0 && (confirmed || action.commit)) {
      const error = this.translate(packet, key, action.nat, action.commit);
      if (error !== 0) return error;
    }
    if (!confirmed && action.commit && action.helper !== undefined && (words[entry + E.EXT] & Ext.HELPER_MASK) === 0) {
      this.attachHelper(entry, action);
      if (action.nat !== undefined) words[entry + E.EXT] |= Ext.SEQADJ;
    }
    // A new connection's helper waits for the commit (spec/conntrack C-210, C-392).
    if (confirmed && !cached && (words[entry + E.EXT] & Ext.HELPER_MASK) !== 0) {
      if (!this.help(packet, slot, action.family)) return -EINVAL;
    }
    if (confirmed && protoOf(words, entry) === IpProto.TCP && isEstablished(words, entry)) setLiberal(words, entry);
    return 0;
  }

  /** The packet's entry is not confirmed, and the packet it was copied from has it too (spec/conntrack C-091). */
  private isOthers(packet: Packet): boolean {
    return packet.ctShared && (this.table.words[packet.ct * E.WORDS + E.STATUS] & IPS_CONFIRMED) === 0;
  }

  /**
   * Whether the packet's entry can be used without tracking it again (section 5). A packet that comes back from user
   * space has lost its entry: it is found again by the tuple, so that it is not counted twice (spec/conntrack C-080,
   * C-384).
   */
  private isCached(packet: Packet, key: Int32Array, action: CtAction): boolean {
    let executed = true;
    if (packet.ct < 0) {
      const ct = key[K.CT];
      executed = (ct & (OVS_CS_F_TRACKED | OVS_CS_F_INVALID)) === OVS_CS_F_TRACKED && ct >>> 16 === action.zone;
      if (!executed && !((ct & 0xff) === 0 && action.force)) return false;
      if (!this.findExisting(packet, key, action)) return false;
    }
    const { words } = this.table;
    const entry = packet.ct * E.WORDS;
    if (zoneOf(words, entry) !== action.zone && zoneOf(words, entry + E.REPLY) !== action.zone) return false;
    const ext = words[entry + E.EXT];
    if (action.helper !== undefined && (ext & Ext.HELPER_MASK) !== 0) {
      if ((ext & Ext.HELPER_MASK) >>> Ext.HELPER_SHIFT !== this.helperOf(action)) return false;
    }
    if (action.timeout !== undefined) {
      const policy = this.policyOf(action);
      if (policy !== 0 && policy !== ext >>> Ext.POLICY_SHIFT) return false;
    }
    if (action.force && packet.ctInfo >= IP_CT_IS_REPLY) {
      // The connection is to start in the packet's direction (spec/conntrack C-090).
      if ((words[entry + E.STATUS] & IPS_CONFIRMED) !== 0) this.destroy(packet.ct, 0, false);
      packet.ct = CtRef.NONE;
      packet.ctInfo = 0;
      return false;
    }
    return executed;
  }

  /** Looks the packet's tuple up without tracking (spec/conntrack C-080, C-081). Sets the packet's entry. */
  private findExisting(packet: Packet, key: Int32Array, action: CtAction): boolean {
    if (!this.readTuple(packet, action)) return false;
    const { tuple } = this;
    const natted = (key[K.CT] & OVS_CS_F_NAT_MASK) !== 0;
    let link: number;
    if (natted) {
      // What was translated looks like the inverse of what the answers look like.
      if (!invert(tuple, 0, this.scratchTuple, 0)) return false;
      link = this.findLive(this.scratchTuple);
      if (link < 0) link = this.findAcross(action.zone);
      if (link >= 0) link ^= 1;
    } else link = this.findLive(tuple);
    if (link < 0) return false;
    packet.ct = link >> 1;
    packet.ctInfo = this.infoOf(link);
    return true;
  }

  /** this.scratchTuple in the zones where connections from this zone have their answers. */
  private findAcross(zone: number): number {
    const crossings = this.crossings.get(zone);
    if (crossings === undefined) return -1;
    for (const answers of crossings) {
      setZone(this.scratchTuple, 0, answers);
      const link = this.findLive(this.scratchTuple);
      if (link >= 0 && zoneOf(this.table.words, (link >> 1) * E.WORDS) === zone) return link;
    }
    return -1;
  }

  /** Puts the answers of a new connection into another zone. */
  private cross(entry: number, answers: number): void {
    const { words } = this.table;
    const zone = zoneOf(words, entry);
    setZone(words, entry + E.REPLY, answers);
    const known = this.crossings.get(zone);
    if (known === undefined) this.crossings.set(zone, new Set([answers]));
    else known.add(answers);
  }

  /** Reads the tuple of a packet that is not tracked. @returns false if it has none */
  private readTuple(packet: Packet, action: CtAction): boolean {
    const { view } = packet.memory;
    const { tuple, transport } = this;
    const end = packet.off + packet.len;
    if (!findTransport(view, packet.l3, end, action.family, transport)) return false;
    const { proto, offset } = transport;
    if (!tupleOf(view, packet.l3, end, action.family, proto, offset, action.zone, tuple)) return false;
    if (proto === IpProto.GRE) this.greSource(view, offset, end, tuple);
    return true;
  }

  /** The source's key of enhanced GRE, which its header does not have (spec/conntrack C-332). */
  private greSource(view: DataView, l4: number, end: number, tuple: Int32Array): void {
    if (this.greKeys.size === 0 || l4 + GRE_MIN_LEN > end || (view.getUint16(l4) & GRE_VERSION) !== 1) return;
    tuple[T.PORTS] |= this.greKeys.lookUp(tuple) << 16;
  }

  /** enum ip_conntrack_info of a packet that matched this direction (spec/conntrack C-375). */
  private infoOf(link: number): number {
    if ((link & 1) !== 0) return IP_CT_ESTABLISHED_REPLY;
    const status = this.table.words[(link >> 1) * E.WORDS + E.STATUS];
    if ((status & IPS_SEEN_REPLY) !== 0) return IP_CT_ESTABLISHED;
    return (status & IPS_EXPECTED) !== 0 ? IP_CT_RELATED : IP_CT_NEW;
  }

  /** nf_conntrack_in (section 13). @returns false if the packet is to be dropped */
  private track(packet: Packet, action: CtAction): boolean {
    packet.ct = CtRef.NONE;
    packet.ctInfo = 0;
    packet.ctShared = false;
    const { view } = packet.memory;
    const { transport, tuple, table } = this;
    const { family, zone } = action;
    const end = packet.off + packet.len;
    if (!findTransport(view, packet.l3, end, family, transport)) {
      this.stats.invalid++;
      return true;
    }
    const { proto, offset: l4 } = transport;
    packet.l4 = l4;
    if (proto === IpProto.ICMP || proto === IpProto.ICMPV6) {
      if (this.icmpError(packet, proto, l4, action)) return true;
    }
    if (!tupleOf(view, packet.l3, end, family, proto, l4, zone, tuple)) {
      this.stats.invalid++;
      return true;
    }
    if (proto === IpProto.GRE) this.greSource(view, l4, end, tuple);
    const hash = table.hash(tuple, 0);
    for (;;) {
      let link = table.find(tuple, hash);
      while (link >= 0 && this.expired(link >> 1)) {
        this.destroy(link >> 1, 0, false);
        link = table.find(tuple, hash);
      }
      if (link < 0) {
        const slot = this.begin(hash, action);
        if (slot === NO_ROOM) {
          this.stats.drop++;
          return false;
        }
        if (slot < 0) {
          this.stats.invalid++;
          return true;
        }
        link = slot << 1;
      }
      const slot = link >> 1;
      const info = this.infoOf(link);
      const verdict = this.trackEntry(packet, slot, info, family, proto, l4, end);
      if (verdict === Verdict.REPEAT) {
        this.destroy(slot, 0, false);
        continue;
      }
      if (verdict === Verdict.INVALID) {
        this.stats.invalid++;
        if ((table.words[slot * E.WORDS + E.STATUS] & IPS_CONFIRMED) === 0) this.abandon(slot);
        return true;
      }
      packet.ct = slot;
      packet.ctInfo = info;
      if (info === IP_CT_ESTABLISHED_REPLY) {
        const entry = slot * E.WORDS;
        if ((table.words[entry + E.STATUS] & IPS_SEEN_REPLY) === 0) {
          table.words[entry + E.STATUS] |= IPS_SEEN_REPLY;
          this.remember(entry, 1 << IPCT_REPLY);
        }
      }
      return true;
    }
  }

  /** Runs the protocol's tracker and refreshes the entry. */
  private trackEntry(
    packet: Packet,
    slot: number,
    info: number,
    family: number,
    proto: number,
    l4: number,
    end: number,
  ): Verdict {
    const { view } = packet.memory;
    const { tracked } = this;
    const { words } = this.table;
    const entry = slot * E.WORDS;
    const direction = info >= IP_CT_IS_REPLY ? 1 : 0;
    const policy = words[entry + E.EXT] >>> Ext.POLICY_SHIFT;
    tracked.events = 0;
    tracked.timeout = 0;
    let verdict: Verdict;
    if (proto === IpProto.TCP) {
      const length = end - l4;
      if (!tcpHeaderValid(view, l4, length) || !this.checksumValid(packet, family, proto)) return Verdict.INVALID;
      const timeouts = policy === 0 ? this.timeouts.tcp : (this.policies[policy]?.timeouts ?? this.timeouts.tcp);
      const offset = seqOffset(words, entry, 1 - direction, (view.getInt32(l4 + 8) - 1) | 0);
      const left = (words[entry + E.EXPIRES] - this.now) | 0;
      verdict = trackTcp(words, entry, direction, view, l4, length, offset, timeouts, this.options, left, tracked);
      if (verdict === Verdict.INVALID && tracked.timeout !== 0) words[entry + E.EXPIRES] = this.now + tracked.timeout;
      if ((words[entry + E.EXT] & Ext.LIMITED) !== 0 && finished(words[entry + Tcp.STATE] & 0xff)) this.uncount(entry);
    } else if (proto === IpProto.UDP) {
      if (!this.udpValid(packet, family, l4, end - l4)) return Verdict.INVALID;
      const timeouts = policy === 0 ? this.timeouts.udp : (this.policies[policy]?.timeouts ?? this.timeouts.udp);
      verdict = trackUdp(words, entry, timeouts, this.now, tracked);
    } else {
      if (!this.headerValid(packet, family, proto, l4, end)) return Verdict.INVALID;
      const standard = this.timeouts.of(proto);
      const timeouts = policy === 0 ? standard : (this.policies[policy]?.timeouts ?? standard);
      verdict = trackOther(words, entry, direction, proto, view, l4, end - l4, timeouts, tracked);
    }
    // An SCTP packet may move the state on with one chunk and be found invalid at the next.
    if (tracked.events !== 0) this.remember(entry, tracked.events);
    if (verdict === Verdict.INVALID || verdict === Verdict.REPEAT) return verdict;
    if (verdict === Verdict.IGNORE) return verdict;
    if ((words[entry + E.EXT] & Ext.COUNTERS) !== 0) account(words, entry, direction, end - packet.l3);
    if (verdict === Verdict.KILL) {
      this.destroy(slot, 0, false);
      return verdict;
    }
    const status = words[entry + E.STATUS];
    if ((status & IPS_FIXED_TIMEOUT) === 0) {
      // Until it is confirmed the entry holds the timeout itself (spec/conntrack C-148).
      words[entry + E.EXPIRES] = (status & IPS_CONFIRMED) !== 0 ? this.now + tracked.timeout : tracked.timeout;
    }
    return verdict;
  }

  /** Verifies the transport checksum, once per packet (spec/conntrack C-058, C-059). */
  private checksumValid(packet: Packet, family: number, proto: number): boolean {
    if (packet.csum !== Csum.NONE || !this.options.checksum) return true;
    if (!verifyL4(packet, family === AF_INET ? ETH_P_IP : ETH_P_IPV6, proto)) return false;
    packet.csum = Csum.UNNECESSARY;
    return true;
  }

  /** UDP's length, and its checksum unless it has none (spec/conntrack C-315, C-316). */
  private udpValid(packet: Packet, family: number, l4: number, length: number): boolean {
    if (length < udp.HEADER_LEN) return false;
    const { view } = packet.memory;
    const claimed = udp.length(view, l4);
    if (claimed > length || claimed < udp.HEADER_LEN) return false;
    return view.getUint16(l4 + udp.CHECKSUM) === 0 || this.checksumValid(packet, family, IpProto.UDP);
  }

  /** A checksum over the first `covered` bytes of the transport's. */
  private coverageValid(
    packet: Packet,
    family: number,
    proto: number,
    l4: number,
    length: number,
    covered: number,
  ): boolean {
    if (packet.csum !== Csum.NONE || !this.options.checksum) return true;
    const { view } = packet.memory;
    const sum =
      family === AF_INET
        ? checksum(view, packet.l3, l4 - packet.l3 + covered, pseudoV4(view, packet.l3, proto, length))
        : checksum(view, l4, covered, pseudoV6(view, packet.l3, proto, length));
    return sum === 0;
  }

  /** What trackers other than TCP and UDP demand of a header (sections 17, 17b). */
  private headerValid(packet: Packet, family: number, proto: number, l4: number, end: number): boolean {
    const { view } = packet.memory;
    const length = end - l4;
    switch (proto) {
      case IpProto.UDPLITE:
        if (length < udp.HEADER_LEN || udp.udpliteCoverage(view, l4, length) < 0) return false;
        if (view.getUint16(l4 + udp.CHECKSUM) === 0) return false;
        // The kernel puts UDP's protocol number into the pseudo header, so must we (spec/conntrack C-317).
        return this.coverageValid(packet, family, IpProto.UDP, l4, length, udp.udpliteCoverage(view, l4, length));
      case IpProto.SCTP:
        if (length < sctp.HEADER_LEN) return false;
        if (packet.csum !== Csum.NONE || !this.options.checksum) return true;
        if (sctp.checksum(view, l4) !== sctp.computeChecksum(view, l4, length)) return false;
        packet.csum = Csum.UNNECESSARY;
        return true;
      case IPPROTO_DCCP:
        if (!dccpHeaderValid(view, l4, length)) return false;
        return this.coverageValid(packet, family, IPPROTO_DCCP, l4, length, dccpCoverage(view, l4, length));
      default:
        return true;
    }
  }

  /**
   * ICMP messages that are about another packet, and those that are not tracked at all (spec/conntrack C-320 to C-324,
   * C-112).
   * @returns true if the packet needs no tracking of its own: its entry is set if it is about one
   */
  private icmpError(packet: Packet, proto: number, l4: number, action: CtAction): boolean {
    const { view } = packet.memory;
    const end = packet.off + packet.len;
    const { family } = action;
    const v4 = family === AF_INET;
    // ICMP in IPv6 and the reverse: a tracker that does not fit, seen later.
    if (v4 !== (proto === IpProto.ICMP)) return false;
    if (l4 + icmp.HEADER_LEN > end || !this.checksumValid(packet, family, proto)) return this.icmpInvalid();
    const type = view.getUint8(l4);
    let inside = l4 + icmp.BODY;
    if (v4) {
      if (type > icmp.IcmpType.ADDRESSREPLY) return this.icmpInvalid();
      if (!icmp.isError(type)) return false;
    } else {
      if (isUntracked(type)) {
        packet.ct = CtRef.UNTRACKED;
        return true;
      }
      if (type === icmpv6.Icmpv6Type.REDIRECT) {
        inside = redirectedHeader(view, packet.l3, l4, end);
        if (inside < 0) return this.icmpInvalid();
        if (inside === 0) return false;
      } else if (!icmpv6.isError(type)) return false;
    }

    const { inner, tuple, scratchTuple } = this;
    if (!findTransport(view, inside, end, family, inner)) return this.icmpInvalid();
    if (!tupleOf(view, inside, end, family, inner.proto, inner.offset, action.zone, tuple)) return this.icmpInvalid();
    if (inner.proto === IpProto.GRE) this.greSource(view, inner.offset, end, tuple);
    if (!invert(tuple, 0, scratchTuple, 0)) return this.icmpInvalid();
    const link = this.findLive(scratchTuple);
    if (link < 0) return this.icmpInvalid();
    // The error must come to whom the packet inside was from (spec/conntrack C-248).
    const { words } = this.table;
    const at = (link >> 1) * E.WORDS + ((link & 1) << E.DIR_SHIFT);
    const destination = packet.l3 + (v4 ? ipv4.DST : ipv6.DST);
    for (let i = 0; i < (v4 ? 1 : 4); i++) {
      if (view.getInt32(destination + i * 4) !== words[at + T.DST + i]) return this.icmpInvalid();
    }
    packet.ct = link >> 1;
    packet.ctInfo = (link & 1) === 0 ? IP_CT_RELATED : IP_CT_RELATED_REPLY;
    return true;
  }

  private icmpInvalid(): boolean {
    this.stats.error++;
    return true;
  }

  /** Makes an unconfirmed entry for this.tuple (spec/conntrack C-246). @returns slot, NO_ROOM or NO_INVERSE */
  private begin(hash: number, action: CtAction): number {
    const { table, tuple } = this;
    if (!invert(tuple, 0, this.scratchTuple, 0)) return NO_INVERSE;
    const slot = this.allocate(hash);
    if (slot < 0) return NO_ROOM;
    const { words } = table;
    const entry = slot * E.WORDS;
    copyTuple(tuple, 0, words, entry);
    copyTuple(this.scratchTuple, 0, words, entry + E.REPLY);
    words[entry + T.HASH] = hash;
    if (action.nat !== undefined && action.nat.replyZone >= 0) this.cross(entry, action.nat.replyZone);
    this.extend(entry);
    if (action.timeout !== undefined) words[entry + E.EXT] |= this.policyOf(action) << Ext.POLICY_SHIFT;
    if (this.expectations.count !== 0) {
      const expectation = this.expectations.match(tuple, this.now, action.commit);
      if (expectation !== undefined) {
        this.fulfil(slot, expectation);
        return slot;
      }
    }
    if (action.helper !== undefined) this.attachHelper(entry, action);
    return slot;
  }

  /**
   * A slot for one more entry, by eviction if need be (spec/conntrack C-257, C-258). @returns -1 when the table is full
   */
  private allocate(hash: number): number {
    const { table, options } = this;
    if (options.max !== 0 && table.count >= options.max && !this.earlyDrop(hash)) {
      this.crowded = true;
      return -1;
    }
    const slot = table.allocate();
    if (slot >= 0 || options.max !== 0) return slot;
    table.resize(table.count * 2);
    return table.allocate();
  }

  /** Extensions that every new entry gets by the options of the moment. */
  private extend(entry: number): void {
    const { options, table } = this;
    const { words } = table;
    let ext = 0;
    if (options.acct) ext |= Ext.COUNTERS;
    if (options.events === 1 || (options.events === 2 && this.listener?.listening === true)) {
      ext |= Ext.EVENTS;
      words[entry + E.EVENT_MASK] = -1;
    }
    if (options.timestamp) {
      ext |= Ext.TIMESTAMP;
      table.doubles[(entry + E.START) >> 1] = this.clock.realtime();
    }
    words[entry + E.EXT] = ext;
  }

  /** A new connection was expected (spec/conntrack C-230, C-232). */
  private fulfil(slot: number, expectation: Expectation): void {
    const { words } = this.table;
    const entry = slot * E.WORDS;
    words[entry + E.STATUS] |= IPS_EXPECTED;
    words[entry + E.MASTER] = expectation.master + 1;
    this.table.hold(expectation.master);
    const master = expectation.master * E.WORDS;
    words[entry + E.MARK] = words[master + E.MARK];
    // Between the zones of its master, whichever end began it.
    const [zone, answers] = [zoneOf(words, master), zoneOf(words, master + E.REPLY)];
    if (zone !== answers) this.cross(entry, zoneOf(words, entry) === zone ? answers : zone);
    words[entry + E.EXT] |= expectation.assignHelper << Ext.HELPER_SHIFT;
    expectation.expectFunction?.(slot, expectation);
  }

  /** HelperContext. */
  readonly followMaster = (slot: number, expectation: Expectation): void => {
    const { words } = this.table;
    // The side of the master that the expected connection comes from, as its partner sees it.
    const from = expectation.master * E.WORDS + ((1 - expectation.direction) << E.DIR_SHIFT);
    this.mapper.setup(slot, this.range.setAddress(words, from + T.DST), Manip.SRC);
    this.mapper.setup(slot, this.range.setAddress(words, from + T.SRC).setPort(expectation.savedPort), Manip.DST);
  };

  /** Evicts an unassured connection near the new one's bucket (spec/conntrack C-258). */
  private earlyDrop(hash: number): boolean {
    const { table } = this;
    const { words } = table;
    for (let i = 0; i < EVICTION_RANGE; i++) {
      let dropped = false;
      for (let next = table.bucket(hash, i); next !== 0; ) {
        const slot = (next - 1) >> 1;
        const entry = slot * E.WORDS;
        next = words[entry + (((next - 1) & 1) << E.DIR_SHIFT) + T.NEXT];
        const status = words[entry + E.STATUS];
        if ((status & IPS_DYING) !== 0) continue;
        if (this.expired(slot)) {
          this.destroy(slot, 0, false);
          // The chain may have lost its next link too: both directions can share a bucket.
          next = table.bucket(hash, i);
        } else if ((status & (IPS_ASSURED | IPS_CONFIRMED)) === IPS_CONFIRMED) {
          this.destroy(slot, 0, false);
          this.stats.earlyDrop++;
          dropped = true;
          next = table.bucket(hash, i);
        }
      }
      if (dropped) return true;
    }
    return false;
  }

  /** An unconfirmed entry that no packet refers to. */
  private abandon(slot: number): void {
    this.letGo(slot);
    this.table.discard(slot);
  }

  /** What an entry holds elsewhere: its place in a limit, its expectations, its master. */
  private readonly letGo = (slot: number): void => {
    const { words } = this.table;
    const entry = slot * E.WORDS;
    this.uncount(entry);
    if (words[entry + E.EXPECTING] !== 0) this.expectations.removeAllOf(slot);
    const master = words[entry + E.MASTER];
    if (master === 0) return;
    if (protoOf(words, entry) === IpProto.GRE) this.greKeys.remove(master - 1);
    this.table.release(master - 1);
  };

  /** Inserts the entry into the table (spec/conntrack C-145 to C-149). @returns false to drop the packet */
  private confirm(packet: Packet): boolean {
    const slot = packet.ct;
    const { table } = this;
    const { words } = table;
    const entry = slot * E.WORDS;
    if (packet.ctInfo >= IP_CT_IS_REPLY) return true;
    if ((words[entry + E.STATUS] & IPS_DYING) !== 0) {
      this.stats.insertFailed++;
      return false;
    }
    const hash = words[entry + T.HASH];
    const replyHash = table.hash(words, entry + E.REPLY);
    words[entry + E.REPLY + T.HASH] = replyHash;
    let link = this.findAt(entry, hash);
    if (link < 0) link = this.findAt(entry + E.REPLY, replyHash);
    if (link >= 0) return this.resolveClash(packet, slot, link);
    if (this.chainTooLong(hash) || this.chainTooLong(replyHash)) {
      this.stats.chainTooLong++;
      this.stats.insertFailed++;
      return false;
    }
    words[entry + E.EXPIRES] += this.now;
    table.link(slot);
    words[entry + E.STATUS] |= IPS_CONFIRMED;
    let events = words[entry + E.MASTER] !== 0 ? 1 << IPCT_RELATED : 1 << IPCT_NEW;
    if ((words[entry + E.EXT] & Ext.HELPER_MASK) !== 0) events |= 1 << IPCT_HELPER;
    this.remember(entry, events);
    this.deliver(slot);
    return true;
  }

  /** Like table.find() for a tuple that lies in the slab. */
  private findAt(at: number, hash: number): number {
    copyTuple(this.table.words, at, this.scratchTuple, 0);
    return this.table.find(this.scratchTuple, hash);
  }

  private chainTooLong(hash: number): boolean {
    const length = this.table.chainLength(hash);
    return length > MIN_CHAIN && length > MIN_CHAIN + (this.random.u32() % CHAIN_SPREAD);
  }

  /** Another entry has one of our tuples (section 15). @returns false to drop the packet */
  private resolveClash(packet: Packet, slot: number, link: number): boolean {
    const { table } = this;
    const { words } = table;
    const entry = slot * E.WORDS;
    if (allowsClash(protoOf(words, entry))) {
      if (this.merge(packet, slot, link)) return true;
      const reply = this.findAt(entry + E.REPLY, words[entry + E.REPLY + T.HASH]);
      if (reply >= 0) {
        if (this.merge(packet, slot, reply)) return true;
      } else {
        // Answers find the loser for a second; packets of the original direction find the winner.
        words[entry + E.EXPIRES] = this.now + CLASH_TIMEOUT;
        words[entry + E.STATUS] |= IPS_FIXED_TIMEOUT | IPS_NAT_CLASH | IPS_CONFIRMED;
        table.linkDirection(slot, 1);
        this.stats.clashResolve++;
        this.deliver(slot);
        return true;
      }
    }
    this.stats.drop++;
    this.stats.insertFailed++;
    return false;
  }

  /** Lets the loser's packet adopt the winner's entry if both are the same connection (spec/conntrack C-267). */
  private merge(packet: Packet, slot: number, link: number): boolean {
    const { words } = this.table;
    const loser = slot * E.WORDS;
    const winner = (link >> 1) * E.WORDS;
    const same = sameTuple(words, loser, words, winner) && sameTuple(words, loser + E.REPLY, words, winner + E.REPLY);
    const reverse =
      sameTuple(words, loser, words, winner + E.REPLY) && sameTuple(words, loser + E.REPLY, words, winner);
    if (!same && !reverse) return false;
    if ((words[loser + E.EXT] & words[winner + E.EXT] & Ext.COUNTERS) !== 0) {
      account(words, winner, packet.ctInfo >= IP_CT_IS_REPLY ? 1 : 0, words[loser + E.COUNTERS + 2]);
    }
    packet.ct = link >> 1;
    this.stats.clashResolve++;
    return true;
  }

  // Translation

  /** The nat part of an action on a packet of a known entry (section 9). @returns 0 or -EINVAL, -ENOMEM */
  private translate(packet: Packet, key: Int32Array, nat: NatAction, commit: boolean): number {
    const { words } = this.table;
    const entry = packet.ct * E.WORDS;
    const { ctInfo } = packet;
    const direction = ctInfo >= IP_CT_IS_REPLY ? 1 : 0;
    let status = words[entry + E.STATUS];
    let manip: Manip;
    if (ctInfo !== IP_CT_NEW && (status & IPS_NAT_MASK) !== 0 && (ctInfo !== IP_CT_RELATED || commit)) {
      // As the connection was translated before (spec/conntrack C-156, C-157).
      manip = ((status & IPS_SRC_NAT) !== 0) === (direction === 0) ? Manip.SRC : Manip.DST;
    } else if (nat.type === 1) manip = Manip.SRC;
    else if (nat.type === 2) manip = Manip.DST;
    else return 0;

    let error = this.translateOne(packet, nat, manip);
    if (error !== 0) return error;
    let done = 1 << manip;
    status = words[entry + E.STATUS];
    if ((status & IPS_DST_NAT) !== 0) {
      if ((status & IPS_SRC_NAT) !== 0) {
        const other = manip === Manip.SRC ? Manip.DST : Manip.SRC;
        error = this.translateOne(packet, nat, other);
        if (error !== 0) return error;
        done |= 1 << other;
      } else if (direction === 0) {
        // A translated destination may collide with another connection: the source port gives way
        // (spec/conntrack C-165).
        error = this.translateOne(packet, undefined, Manip.SRC);
        if (error !== 0) return error;
        done |= 1 << Manip.SRC;
      }
    }
    natToKey(packet, key, done);
    return 0;
  }

  /** One manip of a packet: sets the mapping up if the connection is new, then rewrites. */
  private translateOne(packet: Packet, nat: NatAction | undefined, manip: Manip): number {
    const { table } = this;
    const { words } = table;
    const slot = packet.ct;
    const entry = slot * E.WORDS;
    const { ctInfo } = packet;
    const direction = ctInfo >= IP_CT_IS_REPLY ? 1 : 0;
    const family = words[entry + T.META] & 0xff;
    if (ctInfo === IP_CT_RELATED || ctInfo === IP_CT_RELATED_REPLY) {
      const { view } = packet.memory;
      const { transport } = this;
      const found = findTransport(view, packet.l3, packet.off + packet.len, family, transport);
      if (found && transport.proto === (family === AF_INET ? IpProto.ICMP : IpProto.ICMPV6)) {
        const l4 = transport.offset - packet.l3;
        if (!ensureWritable(packet)) return -ENOMEM;
        return manipIcmpError(packet, packet.l3 + l4, family, words, entry, direction, manip) ? 0 : -EINVAL;
      }
    }
    if (ctInfo === IP_CT_NEW || ctInfo === IP_CT_RELATED || ctInfo === IP_CT_RELATED_REPLY) {
      const done = manip === Manip.SRC ? IPS_SRC_NAT_DONE : IPS_DST_NAT_DONE;
      if ((words[entry + E.STATUS] & done) === 0) {
        if (nat?.hasIp === true) this.mapper.setup(slot, this.range.set(nat), manip);
        else this.mapper.setupNull(slot, manip);
      }
    }
    if ((words[entry + E.STATUS] & statusBit(manip, direction)) === 0) return 0;
    if (!ensureWritable(packet)) return -ENOMEM;
    const other = entry + ((1 - direction) << E.DIR_SHIFT);
    return manipPacket(packet, packet.l3, family, words, other, manip, protoOf(words, entry)) ? 0 : -EINVAL;
  }

  // The key

  /** Writes what is known of the packet's connection into the key (section 6). */
  private updateKey(packet: Packet, key: Int32Array, zone: number): void {
    const slot = packet.ct;
    if (slot < 0) {
      key[K.CT] = (zone << 16) | OVS_CS_F_TRACKED | OVS_CS_F_INVALID;
      key[K.CT_MARK] = 0;
      for (let i = 0; i < 4; i++) key[K.CT_LABELS + i] = 0;
      return;
    }
    const { words } = this.table;
    const entry = slot * E.WORDS;
    let state = STATE_OF_INFO[packet.ctInfo];
    let from = entry;
    const master = words[entry + E.MASTER];
    if (master !== 0) {
      state |= OVS_CS_F_RELATED;
      from = (master - 1) * E.WORDS;
    }
    key[K.CT_MARK] = words[entry + E.MARK];
    if ((words[entry + E.STATUS] & IPS_CONFIRMED) === 0) {
      state |= OVS_CS_F_NEW;
      // It is to inherit the master's labels when it is committed, and shows them already.
      this.labelsToKey(from, key);
    } else this.labelsToKey(entry, key);
    this.originToKey(key, from, words[entry + T.META] >>> 16, state);
  }

  /** State and zone, and the original tuple of the entry at `from`. */
  private originToKey(key: Int32Array, from: number, zone: number, state: number): void {
    const { words } = this.table;
    const etherType = key[K.ETH_TYPE] >>> 16;
    const family = words[from + T.META] & 0xff;
    const proto = protoOf(words, from);
    let ports = words[from + T.PORTS];
    if (etherType === ETH_P_IP && family === AF_INET) {
      if (proto === IpProto.ICMP) ports = ((ports & 0xff00) << 8) | (ports & 0xff);
      key[K.CT_ORIG4_SRC] = words[from + T.SRC];
      key[K.CT_ORIG4_DST] = words[from + T.DST];
      key[K.CT_ORIG4_TP] = ports;
    } else if (etherType === ETH_P_IPV6 && family === AF_INET6 && !isNd(key)) {
      if (proto === IpProto.ICMPV6) ports = ((ports & 0xff00) << 8) | (ports & 0xff);
      for (let i = 0; i < 4; i++) {
        key[K.CT_ORIG6_SRC + i] = words[from + T.SRC + i];
        key[K.CT_ORIG6_DST + i] = words[from + T.DST + i];
      }
      key[K.CT_ORIG6_TP] = ports;
    } else {
      key[K.CT] = (zone << 16) | state;
      return;
    }
    key[K.CT] = (zone << 16) | (proto << 8) | state;
  }

  private labelsToKey(entry: number, key: Int32Array): void {
    const { words } = this.table;
    if ((words[entry + E.EXT] & Ext.LABELS) === 0) {
      key[K.CT_LABELS] = 0;
      key[K.CT_LABELS + 1] = 0;
      key[K.CT_LABELS + 2] = 0;
      key[K.CT_LABELS + 3] = 0;
      return;
    }
    key[K.CT_LABELS] = words[entry + E.LABELS];
    key[K.CT_LABELS + 1] = words[entry + E.LABELS + 1];
    key[K.CT_LABELS + 2] = words[entry + E.LABELS + 2];
    key[K.CT_LABELS + 3] = words[entry + E.LABELS + 3];
  }

  /** See ConntrackPort. */
  clear(packet: Packet, key: Int32Array): void {
    packet.ct = CtRef.UNTRACKED;
    packet.ctInfo = 0;
    key[K.CT] = 0;
    key[K.CT_MARK] = 0;
    for (let i = 0; i < 4; i++) key[K.CT_LABELS + i] = 0;
  }

  /** Labels of a new connection: the master's, then what the action sets (spec/conntrack C-140, C-141). */
  private initLabels(entry: number, key: Int32Array, action: CtAction): void {
    const { words } = this.table;
    const master = words[entry + E.MASTER];
    if (master === 0 && !action.hasLabels) return;
    words[entry + E.EXT] |= Ext.LABELS;
    for (let i = 0; i < 4; i++) {
      let label = master === 0 ? words[entry + E.LABELS + i] : words[(master - 1) * E.WORDS + E.LABELS + i];
      if (action.hasLabels) label = (label & ~action.labelsMask[i]) | (action.labels[i] & action.labelsMask[i]);
      words[entry + E.LABELS + i] = label;
    }
    this.labelsToKey(entry, key);
    this.remember(entry, 1 << IPCT_LABEL);
  }

  /**
   * Labels of a confirmed connection: bits outside the mask are XORed in (spec/conntrack C-026). @returns whether they
   * changed
   */
  mergeLabels(entry: number, labels: Int32Array, mask: Int32Array): boolean {
    const { words } = this.table;
    words[entry + E.EXT] |= Ext.LABELS;
    let changed = false;
    for (let i = 0; i < 4; i++) {
      const old = words[entry + E.LABELS + i];
      const label = (old & ~mask[i]) ^ labels[i];
      if (label !== old) changed = true;
      words[entry + E.LABELS + i] = label;
    }
    return changed;
  }

  // Helpers, policies, limits

  /**
   * Makes a helper known. Its number stays for the life of the instance.
   * @throws Errno EBUSY if there is one of that name for a family and the protocol, EINVAL for a name of more than 15
   * characters or a policy of more than 255 expectations
   */
  registerHelper(helper: Helper): void {
    const { name, proto, families = [AF_INET, AF_INET6] } = helper;
    if (name === "" || name.length > MAX_HELPER_NAME || this.helpers.length > Ext.HELPER_MASK >>> Ext.HELPER_SHIFT) {
      throw new Errno(EINVAL);
    }
    if (helper.policies.length === 0 || helper.policies.some(({ maxExpected }) => maxExpected > MAX_EXPECTED)) {
      throw new Errno(EINVAL);
    }
    if (families.some((family) => this.findHelper(name, proto, family) !== 0)) throw new Errno(EBUSY);
    this.helpers.push(helper);
    for (const [key, set] of Object.entries(helper.expectFunctions?.(this) ?? {})) this.expectFunctions.set(key, set);
  }

  /**
   * Number of a helper, 0 if there is none of that name for protocol and family; 0 stands for any
   * (spec/conntrack C-018, C-218).
   */
  findHelper(name: string, proto: number, family: number): number {
    for (let i = 1; i < this.helpers.length; i++) {
      const helper = this.helpers[i];
      if (helper === undefined || helper.name !== name || (proto !== 0 && helper.proto !== proto)) continue;
      if (family === 0 || helper.families === undefined || helper.families.includes(family)) return i;
    }
    return 0;
  }

  helper(number: number): Helper | undefined {
    return this.helpers[number];
  }

  helperName(number: number): string | undefined {
    return this.helpers[number]?.name;
  }

  /** The helper that a connection has. */
  helperOfSlot(slot: number): Helper | undefined {
    return this.helpers[(this.table.words[slot * E.WORDS + E.EXT] & Ext.HELPER_MASK) >>> Ext.HELPER_SHIFT];
  }

  /** See ConntrackPort. */
  get crossZoneNat(): boolean {
    return this.options.crossZoneNat;
  }

  /** See ConntrackPort. */
  checkHelper(name: string, family: number, ipProto: number, nat: boolean): number {
    const number = ipProto === 0 ? 0 : this.findHelper(name, ipProto, family);
    if (number === 0) return -EINVAL;
    return nat && this.helpers[number]?.nat !== true ? -ENOENT : 0;
  }

  /** Resolves the names in an action, as the module does when the flow is put; execute() does it at the latest. */
  bind(action: CtAction): void {
    this.helperOf(action);
    this.policyOf(action);
  }

  private helperOf(action: CtAction): number {
    if (action.helperNumber < 0) {
      action.helperNumber =
        action.helper === undefined ? 0 : this.findHelper(action.helper, action.ipProto, action.family);
    }
    return action.helperNumber;
  }

  private policyOf(action: CtAction): number {
    if (action.policyNumber < 0) {
      action.policyNumber = action.timeout === undefined ? 0 : Math.max(this.findPolicy(action.timeout), 0);
    }
    const policy = this.policies[action.policyNumber];
    // One of another protocol is no error, and of no effect (spec/conntrack C-022, C-370).
    if (policy === undefined || policy.family !== action.family) return 0;
    const generic = this.timeouts.of(action.ipProto) === this.timeouts.generic;
    return policy.proto === (generic ? GENERIC : action.ipProto) ? action.policyNumber : 0;
  }

  private attachHelper(entry: number, action: CtAction): void {
    const { words } = this.table;
    const number = this.helperOf(action);
    if (number === 0) return;
    words[entry + E.EXT] |= number << Ext.HELPER_SHIFT;
    words[entry + E.STATUS] |= IPS_HELPER;
  }

  /**
   * Calls the connection's helper and adjusts sequence numbers (spec/conntrack C-213 to C-217). @returns false to drop
   * the packet
   */
  private help(packet: Packet, slot: number, family: number): boolean {
    const { words } = this.table;
    const entry = slot * E.WORDS;
    const helper = this.helpers[(words[entry + E.EXT] & Ext.HELPER_MASK) >>> Ext.HELPER_SHIFT];
    if (helper === undefined || packet.ctInfo === IP_CT_RELATED_REPLY) return true;
    const { transport } = this;
    if (!findTransport(packet.memory.view, packet.l3, packet.off + packet.len, family, transport)) return true;
    if (transport.proto !== helper.proto || helper.families?.includes(family) === false) return true;
    if (!ensureWritable(packet)) return false;
    findTransport(packet.memory.view, packet.l3, packet.off + packet.len, family, transport);
    if (!helper.help(this, packet, transport.offset, family, slot, packet.ctInfo)) return false;
    if ((words[entry + E.STATUS] & IPS_SEQ_ADJUST) === 0) return true;
    findTransport(packet.memory.view, packet.l3, packet.off + packet.len, family, transport);
    return adjustSegment(packet, transport.offset, words, entry, packet.ctInfo >= IP_CT_IS_REPLY ? 1 : 0);
  }

  /** Makes a policy, or changes one of the same name in place. @returns its number */
  setPolicy(policy: TimeoutPolicy): number {
    const known = this.findPolicy(policy.name);
    if (known > 0) {
      this.policies[known]?.timeouts.set(policy.timeouts);
      return known;
    }
    this.policies.push(policy);
    return this.policies.length - 1;
  }

  /** Number of a policy, or -1. */
  findPolicy(name: string): number {
    return this.policies.findIndex((policy) => policy?.name === name);
  }

  policy(number: number): TimeoutPolicy | undefined {
    return this.policies[number];
  }

  /** Policies in the order they were made, with their numbers. */
  *listPolicies(): IterableIterator<readonly [number, TimeoutPolicy]> {
    for (let i = 1; i < this.policies.length; i++) {
      const policy = this.policies[i];
      if (policy !== undefined) yield [i, policy];
    }
  }

  /** Deletes a policy; entries that used it fall back to the defaults (spec/conntrack C-369). */
  deletePolicy(number: number): void {
    this.policies[number] = undefined;
  }

  /** Counts an unconfirmed entry against its zone (spec/conntrack C-133). @returns true if the zone is full */
  private exceedsLimit(slot: number, zone: number): boolean {
    const limit = this.limits.limitOf(zone);
    if (limit === 0) return false;
    const { words } = this.table;
    const entry = slot * E.WORDS;
    if ((words[entry + E.EXT] & Ext.LIMITED) === 0) {
      words[entry + E.EXT] |= Ext.LIMITED;
      this.limits.add(zone);
    }
    if (this.limits.countOf(zone) <= limit) return false;
    this.limits.settle();
    return this.limits.countOf(zone) > limit;
  }

  /**
   * Destroys counted connections that have expired, so that limits count what is there (spec/tables T-071). Once per
   * jiffy as in the kernel; in a large table less often, so that refusing packets costs no more than serving them.
   */
  private settleLimits(): void {
    const { table } = this;
    const { words } = table;
    if (((this.readClock() - this.settled) | 0) < Math.max(JIFFY, table.top >> 10)) return;
    this.settled = this.now;
    let destroyed = 0;
    for (let slot = 0; slot < table.top && destroyed < GC_DESTROYED; slot++) {
      const entry = slot * E.WORDS;
      if ((words[entry + E.STATUS] & (IPS_CONFIRMED | IPS_DYING)) !== IPS_CONFIRMED) continue;
      if ((words[entry + E.EXT] & Ext.LIMITED) === 0 || !this.expired(slot)) continue;
      this.destroy(slot, 0, false);
      destroyed++;
    }
  }

  private uncount(entry: number): void {
    const { words } = this.table;
    if ((words[entry + E.EXT] & Ext.LIMITED) === 0) return;
    words[entry + E.EXT] &= ~Ext.LIMITED;
    this.limits.remove(words[entry + T.META] >>> 16);
  }

  // Life and death of entries

  /** NatHost, and the control plane: the live confirmed entry that has this tuple in one direction. */
  findLive(tuple: Int32Array): number {
    const { table } = this;
    const hash = table.hash(tuple, 0);
    let link = table.find(tuple, hash);
    while (link >= 0 && this.expired(link >> 1)) {
      this.destroy(link >> 1, 0, false);
      link = table.find(tuple, hash);
    }
    return link;
  }

  private expired(slot: number): boolean {
    return ((this.table.words[slot * E.WORDS + E.EXPIRES] - this.now) | 0) <= 0;
  }

  /**
   * Takes a confirmed entry out of the table and tells the listener (spec/conntrack C-263, C-265). @returns false if it
   * is gone already
   */
  destroy(slot: number, portId: number, report: boolean): boolean {
    const { table } = this;
    const { words } = table;
    const entry = slot * E.WORDS;
    if ((words[entry + E.STATUS] & IPS_DYING) !== 0 || words[entry + E.SLOT] !== Slot.USED) return false;
    words[entry + E.STATUS] |= IPS_DYING;
    if ((words[entry + E.EXT] & Ext.EVENTS) !== 0 && (words[entry + E.EVENT_MASK] & (1 << IPCT_DESTROY)) !== 0) {
      this.listener?.connection(slot, 1 << IPCT_DESTROY, portId, report);
    }
    if ((words[entry + E.EXT] & Ext.HELPER_MASK) !== 0) this.helperOfSlot(slot)?.destroy?.(this, slot);
    this.letGo(slot);
    table.remove(slot);
    return true;
  }

  /** Remembers events until they are delivered (spec/ctnetlink N-109). */
  private remember(entry: number, events: number): void {
    const { words } = this.table;
    if ((words[entry + E.EXT] & Ext.EVENTS) !== 0) words[entry + E.EVENTS] |= events;
  }

  /** Delivers remembered events of a confirmed entry (spec/conntrack C-124). */
  private deliver(slot: number): void {
    const { words } = this.table;
    const entry = slot * E.WORDS;
    const events = words[entry + E.EVENTS];
    if (events === 0 || (words[entry + E.STATUS] & (IPS_CONFIRMED | IPS_DYING)) !== IPS_CONFIRMED) return;
    words[entry + E.EVENTS] = 0;
    if ((events & words[entry + E.EVENT_MASK]) !== 0) this.listener?.connection(slot, events, 0, false);
  }

  /** See ConntrackPort. Collects a slice of garbage when it is time. */
  endBatch(): void {
    const now = this.readClock();
    if (((now - this.gcLast) | 0) >= GC_INTERVAL) {
      this.gcLast = now;
      this.collect(Math.ceil(this.table.top / GC_SLICES), GC_DESTROYED);
    }
    if (this.table.unsettled) this.table.endBatch(this.letGo);
    this.clockRead = false;
  }

  /**
   * Collects garbage where no packets come, for a timer of about a second: a slice of the tenth of the table that is this
   * tick's share, and the expectations.
   * @returns true if the share is not done: call again as soon as others have had their turn
   */
  tick(): boolean {
    this.readClock();
    if (this.gcLeft === 0) {
      this.gcLeft = Math.ceil(this.table.top / GC_TICKS);
      this.expectations.gc(this.now);
    }
    this.gcLeft = Math.max(this.gcLeft - this.collect(Math.min(this.gcLeft, GC_SLICE), GC_DESTROYED), 0);
    this.table.endBatch(this.letGo);
    return this.gcLeft !== 0;
  }

  /** Destroys all expired entries now. */
  gc(): void {
    this.readClock();
    this.beginRound();
    this.collect(this.table.top, this.table.top);
    this.expectations.gc(this.now);
    this.table.endBatch(this.letGo);
  }

  private beginRound(): void {
    this.gcCursor = 0;
    this.evicting = this.crowded;
    this.crowded = false;
  }

  /**
   * Looks at the next slots of the table. The round after a packet had to be refused also takes connections that are
   * not assured or are closing, as long as the table is nearly full (spec/conntrack C-259).
   * @returns slots looked at, fewer than asked for when `destroyed` entries had to go
   */
  private collect(slots: number, destroyed: number): number {
    const { table } = this;
    const { words } = table;
    const nearlyFull = Math.floor(this.options.max / 100) * 95;
    for (let i = 0; i < slots; i++) {
      if (this.gcCursor >= table.top) this.beginRound();
      const slot = this.gcCursor++;
      const entry = slot * E.WORDS;
      const status = words[entry + E.STATUS];
      if ((status & (IPS_CONFIRMED | IPS_DYING)) !== IPS_CONFIRMED) continue;
      const evict = this.evicting && nearlyFull !== 0 && table.count >= nearlyFull;
      if (this.expired(slot) || (evict && mayGo(words, entry))) {
        this.destroy(slot, 0, false);
        if (--destroyed <= 0) return i + 1;
      }
    }
    return slots;
  }

  // Control plane

  /** Reads the clock: call before the accessors below when no packet is under way. */
  refresh(): void {
    this.readClock();
  }

  /**
   * Walks the live confirmed entries from a cursor, in slot order: entries that come or go meanwhile do not disturb it.
   * @param visit returns false to stop before this entry
   * @returns where to go on, -1 at the end
   */
  walk(cursor: number, visit: (slot: number) => boolean): number {
    const { table } = this;
    this.readClock();
    for (let slot = cursor; slot < table.top; slot++) {
      if (!this.isListed(slot)) continue;
      if (!visit(slot)) return slot;
    }
    return -1;
  }

  /** Live, confirmed, and not a loser of a clash (spec/ctnetlink N-076 to N-078). */
  isListed(slot: number): boolean {
    const { words } = this.table;
    const entry = slot * E.WORDS;
    if (words[entry + E.SLOT] !== Slot.USED) return false;
    const status = words[entry + E.STATUS];
    return (status & (IPS_CONFIRMED | IPS_DYING | IPS_NAT_CLASH)) === IPS_CONFIRMED && !this.expired(slot);
  }

  /** Milliseconds until the entry expires. */
  left(slot: number): number {
    return (this.table.words[slot * E.WORDS + E.EXPIRES] - this.now) | 0;
  }

  /** Sets the time that a confirmed entry has left. */
  setLeft(slot: number, ms: number): void {
    this.table.words[slot * E.WORDS + E.EXPIRES] = (this.now + Math.min(ms, 0x7fff_ffff)) | 0;
  }

  /** HelperContext. */
  prolong(slot: number, ms: number): void {
    const { words } = this.table;
    const entry = slot * E.WORDS;
    const status = words[entry + E.STATUS];
    if ((status & IPS_FIXED_TIMEOUT) !== 0) return;
    words[entry + E.EXPIRES] = (status & IPS_CONFIRMED) !== 0 ? (this.now + ms) | 0 : ms;
  }

  /** Tells the listener of changes that the control plane made, cached events with them. */
  announce(slot: number, events: number, portId: number, report: boolean): void {
    const { words } = this.table;
    const entry = slot * E.WORDS;
    if ((words[entry + E.EXT] & Ext.EVENTS) === 0) return;
    if ((events & words[entry + E.EVENT_MASK]) !== 0) this.listener?.connection(slot, events, portId, report);
  }

  /**
   * Makes an entry for the control plane: unconfirmed until insert() is called.
   * @returns slot, or a negative errno: -EINVAL, -ENOMEM when the table is full (spec/ctnetlink N-093)
   */
  create(original: Int32Array, reply: Int32Array): number {
    const { table } = this;
    this.readClock();
    const hash = table.hash(original, 0);
    const slot = this.allocate(hash);
    if (slot < 0) return -ENOMEM;
    const { words } = table;
    const entry = slot * E.WORDS;
    copyTuple(original, 0, words, entry);
    copyTuple(reply, 0, words, entry + E.REPLY);
    words[entry + T.HASH] = hash;
    this.extend(entry);
    return slot;
  }

  /** Inserts an entry of create(). @returns 0; -EEXIST or -ENOSPC, and the entry is gone (spec/ctnetlink N-093) */
  insert(slot: number): number {
    const { table } = this;
    const { words } = table;
    const entry = slot * E.WORDS;
    const hash = words[entry + T.HASH];
    const replyHash = table.hash(words, entry + E.REPLY);
    words[entry + E.REPLY + T.HASH] = replyHash;
    if (this.findAt(entry, hash) >= 0 || this.findAt(entry + E.REPLY, replyHash) >= 0) {
      this.stats.insertFailed++;
      this.abandon(slot);
      return -EEXIST;
    }
    if (this.chainTooLong(hash) || this.chainTooLong(replyHash)) {
      this.stats.chainTooLong++;
      this.stats.insertFailed++;
      this.abandon(slot);
      return -ENOSPC;
    }
    table.link(slot);
    words[entry + E.STATUS] |= IPS_CONFIRMED;
    this.stats.insert++;
    return 0;
  }

  /** Gives an entry of create() back. */
  cancel(slot: number): void {
    this.abandon(slot);
  }

  /** An opaque id, the same for the life of the entry (spec/ctnetlink N-039). */
  idOf(slot: number): number {
    const generation = this.table.words[slot * E.WORDS + E.GENERATION];
    let h = Math.imul(slot ^ 0x5bd1e995, 0x297a2d39) ^ Math.imul(generation, 0x2c1b3c6d);
    h = Math.imul(h ^ (h >>> 15), 0x297a2d39);
    return (h ^ (h >>> 13)) >>> 0;
  }

  /** Deletes an entry of the control plane's choice. @throws nothing; -ENOENT if it is gone */
  remove(slot: number, portId: number, report: boolean): number {
    return this.destroy(slot, portId, report) ? 0 : -ENOENT;
  }
}

/** ct_state bits by enum ip_conntrack_info (spec/conntrack C-100 to C-104). */
const STATE_OF_INFO = Uint8Array.of(
  OVS_CS_F_TRACKED | OVS_CS_F_ESTABLISHED,
  OVS_CS_F_TRACKED | OVS_CS_F_RELATED,
  OVS_CS_F_TRACKED | OVS_CS_F_NEW,
  OVS_CS_F_TRACKED | OVS_CS_F_ESTABLISHED | OVS_CS_F_REPLY_DIR,
  OVS_CS_F_TRACKED | OVS_CS_F_RELATED | OVS_CS_F_REPLY_DIR,
);

/** Whether a crowded table can do without a connection (spec/conntrack C-259). */
function mayGo(words: Int32Array, entry: number): boolean {
  if ((words[entry + E.STATUS] & IPS_ASSURED) === 0) return true;
  const state = words[entry + Tcp.STATE] & 0xff;
  switch (protoOf(words, entry)) {
    case IpProto.TCP:
      return closing(state);
    case IpProto.SCTP:
      return shuttingDown(state);
    case IPPROTO_DCCP:
      return dccpClosing(state);
    default:
      return false;
  }
}

/** Adds a packet to a direction's 64-bit counters. */
function account(words: Int32Array, entry: number, direction: number, bytes: number): void {
  const at = entry + E.COUNTERS + direction * 4;
  words[at]++;
  if (words[at] === 0) words[at + 1]++;
  const sum = (words[at + 2] >>> 0) + bytes;
  words[at + 2] = sum;
  if (sum > 0xffff_ffff) words[at + 3]++;
}

/**
 * Addresses and ports of the packet into the key after translation, with the NAT bits (spec/conntrack C-169, C-170).
 */
function natToKey(packet: Packet, key: Int32Array, done: number): void {
  const { view } = packet.memory;
  const { l3, l4 } = packet;
  const v4 = key[K.ETH_TYPE] >>> 16 === ETH_P_IP;
  const proto = key[K.IP] >>> 24;
  const hasPorts = proto === IpProto.UDP || proto === IpProto.TCP || proto === IpProto.SCTP;
  if ((done & (1 << Manip.SRC)) !== 0) {
    key[K.CT] |= OVS_CS_F_SRC_NAT;
    if (v4) key[K.IPV4_SRC] = view.getInt32(l3 + ipv4.SRC);
    else for (let i = 0; i < 4; i++) key[K.IPV6_SRC + i] = view.getInt32(l3 + ipv6.SRC + i * 4);
    if (hasPorts) key[K.TP] = (view.getUint16(l4) << 16) | (key[K.TP] & 0xffff);
  }
  if ((done & (1 << Manip.DST)) !== 0) {
    key[K.CT] |= OVS_CS_F_DST_NAT;
    if (v4) key[K.IPV4_DST] = view.getInt32(l3 + ipv4.DST);
    else for (let i = 0; i < 4; i++) key[K.IPV6_DST + i] = view.getInt32(l3 + ipv6.DST + i * 4);
    if (hasPorts) key[K.TP] = (key[K.TP] & 0xffff_0000) | view.getUint16(l4 + 2);
  }
}

/** Neighbour discovery and multicast listener messages are nobody's connection (spec/conntrack C-112). */
function isUntracked(type: number): boolean {
  return (type >= 130 && type <= 136) || type === 143 || type === 151 || type === 152;
}

const ND_OPT_REDIRECT_HDR = 4;
const REDIRECT_LEN = 40;

/** Where the redirected packet stands in an ICMPv6 redirect (RFC 4861 section 4.5); 0 = it has none, -1 = not valid. */
function redirectedHeader(view: DataView, l3: number, l4: number, end: number): number {
  if (l4 + REDIRECT_LEN > end) return -1;
  if (icmpv6.code(view, l4) !== 0) return 0;
  if (ipv6.hopLimit(view, l3) !== 255 || (view.getUint16(l3 + ipv6.SRC) & 0xffc0) !== 0xfe80) return -1;
  const option = l4 + REDIRECT_LEN;
  if (option + 2 > end || view.getUint8(option + 1) === 0) return -1;
  return view.getUint8(option) === ND_OPT_REDIRECT_HDR ? option + 8 : 0;
}
