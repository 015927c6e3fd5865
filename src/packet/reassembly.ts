import type { Clock } from "../core/clock.ts";
import { E2BIG, EINPROGRESS, EINVAL, ENOMEM } from "../uapi/errno.ts";
import { IpProto } from "./ip.ts";
import * as ipv4 from "./ipv4.ts";
import * as ipv6 from "./ipv6.ts";
import { HEADROOM, type PacketMemory } from "./memory.ts";
import { Csum, CtRef, Gso, type Packet } from "./packet.ts";

/**
 * Reassembly of IP fragments before connection tracking (spec/conntrack section 4): what the kernel's ip_defrag and
 * nf_ct_frag6_gather do for the users "conntrack, zone n".
 *
 * Queues and fragments are rows of two Int32Arrays; the bytes wait in buffers of the arena. A queue holds its fragments
 * in order of offset. As in the kernel, neighbours that came in order make a *run*: a fragment that lies within one run
 * is a duplicate, one that touches a run otherwise is an overlap.
 */

/** How long a family's queues live, and how much they may hold. */
export interface ReassemblyLimits {
  /** ipfrag_time, nf_conntrack_frag6_timeout, in milliseconds (spec/conntrack C-070, C-071). */
  timeout: number;
  /**
   * Above this many bytes in all queues no fragment is taken (ipfrag_high_thresh, nf_conntrack_frag6_high_thresh;
   * spec/conntrack C-070).
   */
  high: number;
}
/** What a fragment is counted with besides its bytes, and a queue: the sizes of the kernel's structures, about. */
const FRAGMENT_OVERHEAD = 768;
const QUEUE_OVERHEAD = 200;
/** Sources remembered for maxDistance before all are forgotten. */
const MAX_SOURCES = 4096;

const MAX_QUEUES = 8192;
const MAX_FRAGMENTS = 8192;
const BUCKETS = 1024;

/** Columns of a queue. */
const enum Q {
  /** Next in the hash chain, or next free row. */
  NEXT = 0,
  BUCKET = 1,
  /** QueueFlag bits. */
  FLAGS = 2,
  ZONE = 3,
  /** Four words each; IPv4 in the first. */
  SRC = 4,
  DST = 8,
  ID = 12,
  /** IPv4: protocol. IPv6: input port for link-local and multicast destinations. */
  PROTO = 13,
  /** Payload bytes: end of the furthest fragment, and sum of what is here. */
  LEN = 14,
  MEAT = 15,
  /** Bit 1 << ecn for every ECN value seen. */
  ECN = 16,
  /** Largest fragment; largest with DF. */
  MAX_SIZE = 17,
  MAX_DF_SIZE = 18,
  HEAD = 19,
  TAIL = 20,
  COUNT = 21,
  /** The source's fragment counter when this queue last got one. */
  RID = 22,
  /** Neighbours in the list by age of the family. */
  OLDER = 23,
  NEWER = 24,
  /** IPv6: offset, from the IPv6 header, of the byte that names the fragment header, and of the fragment header. */
  NEXT_HEADER_AT = 25,
  FRAGMENT_AT = 26,
  WORDS = 27,
}

const enum QueueFlag {
  FIRST_IN = 1,
  LAST_IN = 2,
  V6 = 4,
}

/** Columns of a fragment. */
const enum F {
  /** Next by offset, or next free row. */
  NEXT = 0,
  OFFSET = 1,
  LEN = 2,
  /** Buffer in the arena, and where the payload lies in it. */
  BUFFER = 3,
  DATA = 4,
  /** Row that heads the run; of a head: where the run ends. */
  RUN = 5,
  RUN_END = 6,
  SIZE = 7,
  CSUM = 8,
  /** Of the frame: start, network header and checksum start, from BUFFER. */
  L3 = 9,
  CSUM_START = 10,
  CSUM_OFFSET = 11,
  MARK = 12,
  PRIORITY = 13,
  VLAN_TCI = 14,
  VLAN_TPID = 15,
  PROTOCOL = 16,
  MAC_NONE = 17,
  WORDS = 18,
}

const NONE = -1;

/** Counts since the start, as in /proc/net/snmp (Ip: Reasm*), both families together; and what is there now. */
export interface ReassemblyStats {
  requests: number;
  ok: number;
  fails: number;
  timeouts: number;
  overlaps: number;
  queues: number;
}

/** ECN combinations (RFC 3168 section 5.3): CE if any has CE, not to be mixed with not-ECT. -1 = drop. */
function combinedEcn(seen: number): number {
  if ((seen & 1) !== 0 && (seen & ~1) !== 0) return -1;
  return (seen & 8) !== 0 && (seen & 6) !== 0 ? 3 : 0;
}

/** Fragment queues of one conntrack instance. One per network namespace, as in the kernel. */
export class Reassembler {
  readonly stats: ReassemblyStats = { requests: 0, ok: 0, fails: 0, timeouts: 0, overlaps: 0, queues: 0 };
  /** IPv4, IPv6. */
  readonly limits: readonly [ReassemblyLimits, ReassemblyLimits] = [
    { timeout: 30_000, high: 4 << 20 },
    { timeout: 60_000, high: 4 << 20 },
  ];
  /** ipfrag_max_dist: so many fragments of the same IPv4 source may come in between two of one datagram; 0 = any. */
  maxDistance = 64;

  private readonly queues = new Int32Array(MAX_QUEUES * Q.WORDS);
  private readonly deadlines = new Float64Array(MAX_QUEUES);
  private readonly fragments = new Int32Array(MAX_FRAGMENTS * F.WORDS);
  private readonly buckets = new Int32Array(BUCKETS).fill(NONE);
  private freeQueue = 0;
  private freeFragment = 0;
  /** By family (0 IPv4, 1 IPv6): oldest and newest queue, bytes held. */
  private readonly oldest = new Int32Array(2).fill(NONE);
  private readonly newest = new Int32Array(2).fill(NONE);
  private readonly held = new Float64Array(2);
  /** Fragments received by IPv4 source, for maxDistance. */
  private readonly sources = new Map<number, number>();
  /** The key looked for: SRC and DST words. */
  private readonly wanted = new Int32Array(8);
  private readonly walked = new ipv6.Ipv6Walk();

  constructor(
    private readonly memory: PacketMemory,
    private readonly clock: Clock,
  ) {
    for (let row = 0; row < MAX_QUEUES; row++)
      this.queues[row * Q.WORDS + Q.NEXT] = row + 1 < MAX_QUEUES ? row + 1 : NONE;
    for (let row = 0; row < MAX_FRAGMENTS; row++) {
      this.fragments[row * F.WORDS + F.NEXT] = row + 1 < MAX_FRAGMENTS ? row + 1 : NONE;
    }
  }

  /**
   * Takes an IPv4 fragment (ip_defrag). Precondition: the packet was trimmed to the IP length.
   * @returns 0: the packet is now the whole datagram, in scratch memory: headers, VLAN tag, mark and priority are those
   * of the fragment with offset 0, DF as spec/conntrack C-068 says, l3, l4, mru, ignoreDf and fragList are set, hash
   * and conntrack reference cleared. -EINPROGRESS: queued, the packet's bytes are no longer needed. Dropped: -EINVAL
   * (malformed, duplicate, overlap), -E2BIG (longer than 65535), -ENOMEM (limits)
   */
  ipv4(packet: Packet, zone: number): number {
    const { view } = this.memory;
    const { l3 } = packet;
    this.expire();
    this.stats.requests++;
    const end = packet.off + packet.len;
    if (!ipv4.isValid(view, l3, end - l3)) return this.failed(EINVAL);
    if (this.held[0] > this.limits[0].high) return this.failed(ENOMEM);
    const { wanted } = this;
    wanted.fill(0);
    wanted[0] = view.getInt32(l3 + ipv4.SRC);
    wanted[4] = view.getInt32(l3 + ipv4.DST);
    const queue = this.find(0, zone, ipv4.id(view, l3), ipv4.protocol(view, l3));
    if (queue === NONE) return this.failed(ENOMEM);
    if (this.tooFar(queue, wanted[0])) {
      this.stats.fails++;
      this.restart(queue);
    }
    const error = this.queueIpv4(queue, packet);
    return error === 0 || error === -EINPROGRESS ? error : this.failed(-error);
  }

  private queueIpv4(queue: number, packet: Packet): number {
    const { view } = this.memory;
    const { l3 } = packet;
    const { queues } = this;
    const q = queue * Q.WORDS;
    const flags = ipv4.frag(view, l3);
    const offset = (flags & ipv4.OFFSET_MASK) << 3;
    const headerLength = ipv4.headerLength(view, l3);
    let end = offset + packet.off + packet.len - l3 - headerLength;
    let csum = packet.csum;
    if ((flags & ipv4.MF) === 0) {
      if (!this.endsHere(q, end)) return this.discard(queue);
    } else {
      if ((end & 7) !== 0) {
        end &= ~7;
        if (csum !== Csum.UNNECESSARY) csum = Csum.NONE;
      }
      if (!this.reaches(q, end)) return this.discard(queue);
    }
    if (end === offset) return this.discard(queue);

    const row = this.insert(queue, offset, end, end - offset);
    if (row === DUPLICATE) return -EINVAL;
    if (row === OVERLAP) this.stats.overlaps++;
    if (row < 0) return this.discard(queue);
    if (!this.keep(row, packet, l3 + headerLength, csum, 0)) {
      this.discard(queue);
      return -ENOMEM;
    }
    queues[q + Q.ECN] |= 1 << (ipv4.tos(view, l3) & 3);
    const size = end - offset + headerLength;
    if (size > queues[q + Q.MAX_SIZE]) queues[q + Q.MAX_SIZE] = size;
    if ((flags & ipv4.DF) !== 0 && size > queues[q + Q.MAX_DF_SIZE]) queues[q + Q.MAX_DF_SIZE] = size;
    if (!this.complete(q)) return -EINPROGRESS;
    return this.assembleIpv4(queue, packet);
  }

  private assembleIpv4(queue: number, packet: Packet): number {
    const { view } = this.memory;
    const q = queue * Q.WORDS;
    const { queues } = this;
    const ecn = combinedEcn(queues[q + Q.ECN]);
    const first = queues[q + Q.HEAD] * F.WORDS;
    const headerLength =
      this.fragments[first + F.DATA] - this.fragments[first + F.BUFFER] - this.fragments[first + F.L3];
    const length = headerLength + queues[q + Q.LEN];
    const maxSize = queues[q + Q.MAX_SIZE];
    const keepDf = queues[q + Q.MAX_DF_SIZE] === maxSize;
    let error = 0;
    if (ecn < 0) error = -EINVAL;
    else if (length > 0xffff) error = -E2BIG;
    else if (!this.join(queue, packet, 0)) error = -ENOMEM;
    this.remove(queue);
    if (error !== 0) return error;

    const { l3 } = packet;
    packet.l4 = l3 + headerLength;
    ipv4.setTotalLength(view, l3, length);
    if (ecn > 0) view.setUint8(l3 + ipv4.TOS, ipv4.tos(view, l3) | ecn);
    ipv4.setFrag(view, l3, keepDf ? ipv4.DF : 0);
    ipv4.fillChecksum(view, l3);
    packet.mru = maxSize;
    this.stats.ok++;
    return 0;
  }

  /**
   * Takes an IPv6 fragment (nf_ct_frag6_gather). Packets without fragment header, first fragments without the whole
   * header chain (RFC 8200 section 4.5) and fragments that end off a multiple of 8 pass as they are, with mru 0, as in
   * the kernel. An atomic fragment loses its fragment header at once (spec/conntrack C-072).
   * Precondition: the packet was trimmed to the IP length.
   * @returns as ipv4(); -EINPROGRESS also for an exact duplicate
   */
  ipv6(packet: Packet, zone: number): number {
    const { view } = this.memory;
    const { l3 } = packet;
    this.expire();
    const end = packet.off + packet.len;
    if (!ipv6.isValid(view, l3, end - l3)) return this.failed(EINVAL);
    if (ipv6.payloadLength(view, l3) === 0 || !this.findFragmentHeader(l3, end)) return passed(packet);
    const { offset: fragmentAt, nextHeaderAt } = this.walked;
    if (this.chainTruncated(fragmentAt, end)) return passed(packet);
    this.stats.requests++;
    if (fragmentAt + ipv6.FRAG_LEN > end) return this.failed(ENOMEM);
    if (this.held[1] > this.limits[1].high) return this.failed(ENOMEM);
    const { wanted } = this;
    for (let i = 0; i < 8; i++) wanted[i] = view.getInt32(l3 + ipv6.SRC + 4 * i);
    const local = wanted[4] >>> 24 === 0xff || wanted[4] >>> 22 === 0x3fa;
    const queue = this.find(1, zone, view.getInt32(fragmentAt + ipv6.FRAG_ID), local ? packet.inPort : 0);
    if (queue === NONE) return this.failed(ENOMEM);
    const error = this.queueIpv6(queue, packet, fragmentAt, nextHeaderAt);
    return error === 0 || error === -EINPROGRESS ? error : this.failed(-error);
  }

  private queueIpv6(queue: number, packet: Packet, fragmentAt: number, nextHeaderAt: number): number {
    const { view } = this.memory;
    const { l3 } = packet;
    const { queues } = this;
    const q = queue * Q.WORDS;
    const payload = ipv6.payloadLength(view, l3);
    const word = view.getUint16(fragmentAt + ipv6.FRAG_OFFSET);
    const offset = word & ipv6.FRAG_OFFSET_MASK;
    const data = fragmentAt + ipv6.FRAG_LEN;
    const end = offset + payload - (data - l3 - ipv6.HEADER_LEN);
    if (end > 0xffff || end < 0) return -EINVAL;
    if ((word & ipv6.FRAG_MF) === 0) {
      if (!this.endsHere(q, end)) return -EINVAL;
    } else {
      if ((end & 7) !== 0) {
        this.remove(queue);
        return passed(packet);
      }
      if (!this.reaches(q, end)) return -EINVAL;
    }
    // Nothing of the fragment, or less than its header says: never to be completed.
    if (end <= offset) return -EINVAL;
    const length = Math.min(packet.off + packet.len - data, end - offset);

    const row = this.insert(queue, offset, end, length);
    if (row === DUPLICATE) return -EINPROGRESS;
    if (row < 0) {
      this.stats.overlaps++;
      this.remove(queue);
      return -EINVAL;
    }
    if (!this.keep(row, packet, data, packet.csum, 1)) {
      this.remove(queue);
      return -ENOMEM;
    }
    queues[q + Q.ECN] |= 1 << (ipv6.trafficClass(view, l3) & 3);
    if (payload > queues[q + Q.MAX_SIZE]) queues[q + Q.MAX_SIZE] = payload;
    if (offset === 0) {
      queues[q + Q.NEXT_HEADER_AT] = nextHeaderAt - l3;
      queues[q + Q.FRAGMENT_AT] = fragmentAt - l3;
    }
    if (!this.complete(q)) return -EINPROGRESS;
    return this.assembleIpv6(queue, packet);
  }

  private assembleIpv6(queue: number, packet: Packet): number {
    const { view } = this.memory;
    const q = queue * Q.WORDS;
    const { queues } = this;
    const ecn = combinedEcn(queues[q + Q.ECN]);
    const fragmentAt = queues[q + Q.FRAGMENT_AT];
    const nextHeaderAt = queues[q + Q.NEXT_HEADER_AT];
    const payload = fragmentAt - ipv6.HEADER_LEN + queues[q + Q.LEN];
    const mru = ipv6.HEADER_LEN + queues[q + Q.MAX_SIZE];
    const first = this.fragments[queues[q + Q.HEAD] * F.WORDS + F.DATA] - ipv6.FRAG_LEN;
    const nextHeader = view.getUint8(first);
    // Once the fragments are the queue's, a failure is not told to the caller: the packet counts as queued.
    const ok = ecn >= 0 && payload <= 0xffff && this.join(queue, packet, ipv6.FRAG_LEN);
    this.remove(queue);
    if (!ok) {
      this.stats.fails++;
      return -EINPROGRESS;
    }
    const { l3 } = packet;
    view.setUint8(l3 + nextHeaderAt, nextHeader);
    ipv6.setPayloadLength(view, l3, payload);
    if (ecn > 0) ipv6.setTrafficClass(view, l3, ipv6.trafficClass(view, l3) | ecn);
    ipv6.walk(view, l3, packet.off + packet.len, this.walked);
    packet.l4 = this.walked.offset;
    packet.mru = mru;
    this.stats.ok++;
    return 0;
  }

  /** Frees queues whose time is up. Called with each fragment; call it now and then so that memory comes back. */
  expire(): void {
    if (this.stats.queues === 0) return;
    const now = this.clock.monotonic();
    for (let family = 0; family < 2; family++) {
      for (;;) {
        const queue = this.oldest[family];
        if (queue === NONE || this.deadlines[queue] > now) break;
        this.stats.timeouts++;
        this.stats.fails++;
        this.remove(queue);
      }
    }
  }

  /** Frees all queues. */
  close(): void {
    for (let family = 0; family < 2; family++) {
      while (this.oldest[family] !== NONE) this.remove(this.oldest[family]);
    }
  }

  private failed(errno: number): number {
    this.stats.fails++;
    return -errno;
  }

  /** Drops the whole queue for a malformed fragment. */
  private discard(queue: number): number {
    this.remove(queue);
    return -EINVAL;
  }

  /** Notes the end of the datagram. @returns false if it contradicts what is known */
  private endsHere(q: number, end: number): boolean {
    const { queues } = this;
    const known = queues[q + Q.LEN];
    if (end < known || ((queues[q + Q.FLAGS] & QueueFlag.LAST_IN) !== 0 && end !== known)) return false;
    queues[q + Q.FLAGS] |= QueueFlag.LAST_IN;
    queues[q + Q.LEN] = end;
    return true;
  }

  /** Notes that the datagram reaches to `end` at least. @returns false if it is known to end before */
  private reaches(q: number, end: number): boolean {
    const { queues } = this;
    if (end <= queues[q + Q.LEN]) return true;
    if ((queues[q + Q.FLAGS] & QueueFlag.LAST_IN) !== 0) return false;
    queues[q + Q.LEN] = end;
    return true;
  }

  private complete(q: number): boolean {
    const { queues } = this;
    const both = QueueFlag.FIRST_IN | QueueFlag.LAST_IN;
    return (queues[q + Q.FLAGS] & both) === both && queues[q + Q.MEAT] === queues[q + Q.LEN];
  }

  /** Whether more than maxDistance fragments of this source came since this queue's last one. Counts the fragment. */
  private tooFar(queue: number, source: number): boolean {
    if (this.maxDistance === 0) return false;
    const q = queue * Q.WORDS;
    const { queues, sources } = this;
    const start = queues[q + Q.RID];
    if (sources.size >= MAX_SOURCES) sources.clear();
    const now = ((sources.get(source) ?? 0) + 1) & 0x7fffffff;
    sources.set(source, now);
    queues[q + Q.RID] = now;
    return queues[q + Q.TAIL] !== NONE && now - start > this.maxDistance;
  }

  /** Empties the queue and gives it a full time to live again. */
  private restart(queue: number): void {
    const q = queue * Q.WORDS;
    const { queues } = this;
    this.releaseFragments(q);
    queues[q + Q.FLAGS] &= QueueFlag.V6;
    queues[q + Q.LEN] = 0;
    queues[q + Q.MEAT] = 0;
    queues[q + Q.ECN] = 0;
    this.unlinkAge(queue);
    this.linkAge(queue);
  }

  /** The queue for `wanted`, made if there is none. @returns NONE when there are too many */
  private find(family: number, zone: number, id: number, proto: number): number {
    const { queues, wanted } = this;
    let hash = zone ^ Math.imul(id, 0x9e3779b1) ^ (proto << 8) ^ family;
    for (let i = 0; i < 8; i++) hash = Math.imul(hash ^ wanted[i], 0x85ebca6b) ^ (hash >>> 15);
    const bucket = (hash ^ (hash >>> 13)) & (BUCKETS - 1);
    const familyFlag = family === 0 ? 0 : QueueFlag.V6;
    for (let queue = this.buckets[bucket]; queue !== NONE; queue = queues[queue * Q.WORDS + Q.NEXT]) {
      const q = queue * Q.WORDS;
      if (
        queues[q + Q.ID] === id &&
        queues[q + Q.ZONE] === zone &&
        queues[q + Q.PROTO] === proto &&
        (queues[q + Q.FLAGS] & QueueFlag.V6) === familyFlag &&
        this.sameAddresses(q)
      ) {
        return queue;
      }
    }
    const queue = this.freeQueue;
    if (queue === NONE) return NONE;
    const q = queue * Q.WORDS;
    this.freeQueue = queues[q + Q.NEXT];
    queues.fill(0, q, q + Q.WORDS);
    queues[q + Q.NEXT] = this.buckets[bucket];
    this.buckets[bucket] = queue;
    queues[q + Q.BUCKET] = bucket;
    queues[q + Q.FLAGS] = familyFlag;
    queues[q + Q.ZONE] = zone;
    for (let i = 0; i < 8; i++) queues[q + Q.SRC + i] = wanted[i];
    queues[q + Q.ID] = id;
    queues[q + Q.PROTO] = proto;
    queues[q + Q.HEAD] = NONE;
    queues[q + Q.TAIL] = NONE;
    this.held[family] += QUEUE_OVERHEAD;
    this.stats.queues++;
    this.linkAge(queue);
    return queue;
  }

  private sameAddresses(q: number): boolean {
    for (let i = 0; i < 8; i++) if (this.queues[q + Q.SRC + i] !== this.wanted[i]) return false;
    return true;
  }

  /** Appends the queue to its family's list by age and sets its deadline. */
  private linkAge(queue: number): void {
    const { queues } = this;
    const q = queue * Q.WORDS;
    const family = (queues[q + Q.FLAGS] & QueueFlag.V6) === 0 ? 0 : 1;
    this.deadlines[queue] = this.clock.monotonic() + this.limits[family].timeout;
    const last = this.newest[family];
    queues[q + Q.OLDER] = last;
    queues[q + Q.NEWER] = NONE;
    if (last === NONE) this.oldest[family] = queue;
    else queues[last * Q.WORDS + Q.NEWER] = queue;
    this.newest[family] = queue;
  }

  private unlinkAge(queue: number): void {
    const { queues } = this;
    const q = queue * Q.WORDS;
    const family = (queues[q + Q.FLAGS] & QueueFlag.V6) === 0 ? 0 : 1;
    const older = queues[q + Q.OLDER];
    const newer = queues[q + Q.NEWER];
    if (older === NONE) this.oldest[family] = newer;
    else queues[older * Q.WORDS + Q.NEWER] = newer;
    if (newer === NONE) this.newest[family] = older;
    else queues[newer * Q.WORDS + Q.OLDER] = older;
  }

  /** Takes the queue out of hash and list and frees all it holds. */
  private remove(queue: number): void {
    const { queues } = this;
    const q = queue * Q.WORDS;
    const bucket = queues[q + Q.BUCKET];
    if (this.buckets[bucket] === queue) {
      this.buckets[bucket] = queues[q + Q.NEXT];
    } else {
      let before = this.buckets[bucket] * Q.WORDS;
      while (queues[before + Q.NEXT] !== queue) before = queues[before + Q.NEXT] * Q.WORDS;
      queues[before + Q.NEXT] = queues[q + Q.NEXT];
    }
    this.unlinkAge(queue);
    this.releaseFragments(q);
    this.held[(queues[q + Q.FLAGS] & QueueFlag.V6) === 0 ? 0 : 1] -= QUEUE_OVERHEAD;
    this.stats.queues--;
    queues[q + Q.NEXT] = this.freeQueue;
    this.freeQueue = queue;
  }

  private releaseFragments(q: number): void {
    const { queues, fragments } = this;
    const family = (queues[q + Q.FLAGS] & QueueFlag.V6) === 0 ? 0 : 1;
    for (let row = queues[q + Q.HEAD]; row !== NONE; ) {
      const f = row * F.WORDS;
      const next = fragments[f + F.NEXT];
      if (fragments[f + F.BUFFER] !== NONE) this.memory.free(fragments[f + F.BUFFER]);
      this.held[family] -= fragments[f + F.SIZE];
      fragments[f + F.NEXT] = this.freeFragment;
      this.freeFragment = row;
      row = next;
    }
    queues[q + Q.HEAD] = NONE;
    queues[q + Q.TAIL] = NONE;
    queues[q + Q.COUNT] = 0;
  }

  /**
   * Finds the place of a fragment and links a row for it (inet_frag_queue_insert).
   * @param length bytes that are really there, at most end - offset
   * @returns the row; DUPLICATE, OVERLAP or FULL (nothing was linked)
   */
  private insert(queue: number, offset: number, end: number, length: number): number {
    const { queues, fragments } = this;
    const q = queue * Q.WORDS;
    const tail = queues[q + Q.TAIL];
    let before = NONE;
    let run = NONE;
    if (tail !== NONE) {
      const t = tail * F.WORDS;
      const tailEnd = fragments[t + F.OFFSET] + fragments[t + F.LEN];
      if (tailEnd < end) {
        if (offset < tailEnd) return OVERLAP;
        before = tail;
        if (offset === tailEnd) run = fragments[t + F.RUN];
      } else {
        for (let row = queues[q + Q.HEAD]; row !== NONE; row = fragments[row * F.WORDS + F.NEXT]) {
          const f = row * F.WORDS;
          const start = fragments[f + F.OFFSET];
          if (fragments[f + F.RUN] === row && end > start && offset < fragments[f + F.RUN_END]) {
            return offset >= start && end <= fragments[f + F.RUN_END] ? DUPLICATE : OVERLAP;
          }
          if (start <= offset) before = row;
        }
      }
    }
    const row = this.freeFragment;
    if (row === NONE) return FULL;
    const f = row * F.WORDS;
    this.freeFragment = fragments[f + F.NEXT];
    fragments.fill(0, f, f + F.WORDS);
    fragments[f + F.OFFSET] = offset;
    fragments[f + F.LEN] = length;
    fragments[f + F.BUFFER] = NONE;
    if (run === NONE) {
      fragments[f + F.RUN] = row;
      fragments[f + F.RUN_END] = offset + length;
    } else {
      fragments[f + F.RUN] = run;
      fragments[run * F.WORDS + F.RUN_END] += length;
    }
    if (before === NONE) {
      fragments[f + F.NEXT] = queues[q + Q.HEAD];
      queues[q + Q.HEAD] = row;
    } else {
      fragments[f + F.NEXT] = fragments[before * F.WORDS + F.NEXT];
      fragments[before * F.WORDS + F.NEXT] = row;
    }
    if (before === tail) queues[q + Q.TAIL] = row;
    queues[q + Q.COUNT]++;
    queues[q + Q.MEAT] += length;
    if (offset === 0) queues[q + Q.FLAGS] |= QueueFlag.FIRST_IN;
    return row;
  }

  /**
   * Copies the packet into a buffer of its own, with what must be known of it should it be the first.
   * @param data absolute offset of the payload
   * @returns false when there is no buffer: the caller removes the queue
   */
  private keep(row: number, packet: Packet, data: number, csum: number, family: number): boolean {
    const { fragments, memory } = this;
    const f = row * F.WORDS;
    const size = data - packet.off + fragments[f + F.LEN];
    const buffer = memory.alloc(size);
    if (buffer < 0) return false;
    memory.bytes.copyWithin(buffer, packet.off, packet.off + size);
    fragments[f + F.BUFFER] = buffer;
    fragments[f + F.DATA] = buffer + data - packet.off;
    fragments[f + F.SIZE] = size + FRAGMENT_OVERHEAD;
    this.held[family] += size + FRAGMENT_OVERHEAD;
    fragments[f + F.CSUM] = csum;
    fragments[f + F.L3] = packet.l3 - packet.off;
    fragments[f + F.CSUM_START] = packet.csumStart - packet.off;
    fragments[f + F.CSUM_OFFSET] = packet.csumOffset;
    fragments[f + F.MARK] = packet.mark;
    fragments[f + F.PRIORITY] = packet.priority;
    fragments[f + F.VLAN_TCI] = packet.vlanTci;
    fragments[f + F.VLAN_TPID] = packet.vlanTpid;
    fragments[f + F.PROTOCOL] = packet.protocol;
    fragments[f + F.MAC_NONE] = packet.macNone ? 1 : 0;
    this.lastRow = row;
    return true;
  }

  /** The row that keep() filled last: the fragment that completes a queue. */
  private lastRow = NONE;

  /**
   * Puts all fragments together in scratch memory and points the packet there. The list of fragment lengths lies behind.
   * @param skip bytes right before the first payload that are left out: the fragment header
   */
  private join(queue: number, packet: Packet, skip: number): boolean {
    const { queues, fragments, memory } = this;
    const { view, bytes } = memory;
    const q = queue * Q.WORDS;
    const first = queues[q + Q.HEAD];
    const f = first * F.WORDS;
    const frame = fragments[f + F.BUFFER];
    const prefix = fragments[f + F.DATA] - frame - skip;
    const length = prefix + queues[q + Q.LEN];
    const count = queues[q + Q.COUNT];
    const base = memory.scratch(HEADROOM + length + 2 + 2 * (count + 1));
    if (base < 0) return false;
    const off = base + HEADROOM;
    const list = (off + length + 1) & ~1;
    bytes.copyWithin(off, frame, frame + prefix);
    let to = off + prefix;
    let csum = fragments[f + F.CSUM];
    let index = 0;
    for (let row = first; row !== NONE; row = fragments[row * F.WORDS + F.NEXT]) {
      const at = row * F.WORDS;
      const size = fragments[at + F.LEN];
      bytes.copyWithin(to, fragments[at + F.DATA], fragments[at + F.DATA] + size);
      to += size;
      index++;
      view.setUint16(list + 2 * index, size);
      if (fragments[at + F.CSUM] !== csum) csum = Csum.NONE;
    }
    view.setUint16(list, index);

    packet.off = off;
    packet.len = length;
    packet.head = base;
    packet.end = off + length;
    packet.l3 = off + fragments[f + F.L3];
    packet.l4 = 0;
    if (this.lastRow !== first) {
      packet.mark = fragments[f + F.MARK];
      packet.priority = fragments[f + F.PRIORITY];
      packet.vlanTci = fragments[f + F.VLAN_TCI];
      packet.vlanTpid = fragments[f + F.VLAN_TPID];
      packet.protocol = fragments[f + F.PROTOCOL];
      packet.macNone = fragments[f + F.MAC_NONE] !== 0;
      packet.ct = CtRef.NONE;
      packet.ctInfo = 0;
    }
    packet.csum = csum;
    packet.csumStart = csum === Csum.PARTIAL ? off + fragments[f + F.CSUM_START] - skip : 0;
    packet.csumOffset = csum === Csum.PARTIAL ? fragments[f + F.CSUM_OFFSET] : 0;
    packet.gsoType = Gso.NONE;
    packet.gsoSize = 0;
    packet.hash = 0;
    packet.hashFlags = 0;
    packet.ignoreDf = true;
    packet.fragList = list;
    return true;
  }

  /**
   * Walks to the fragment header; this.walked.offset is that header, nextHeaderAt the byte that names it.
   * @returns false if there is none or the chain is cut off
   */
  private findFragmentHeader(l3: number, end: number): boolean {
    const { view } = this.memory;
    let at = l3 + ipv6.NEXT_HEADER;
    let off = l3 + ipv6.HEADER_LEN;
    let proto = view.getUint8(at);
    while (proto !== IpProto.FRAGMENT) {
      if (!ipv6.isExtension(proto) || proto === IpProto.NONE || off + 2 > end) return false;
      const length = ipv6.extensionLength(view, off, proto);
      at = off;
      proto = view.getUint8(off);
      off += length;
    }
    this.walked.offset = off;
    this.walked.nextHeaderAt = at;
    return off <= end;
  }

  /** True for a first fragment that ends before the upper-layer header does (ipv6frag_thdr_truncated). */
  private chainTruncated(fragmentAt: number, end: number): boolean {
    const { view } = this.memory;
    let proto: number = IpProto.FRAGMENT;
    let off = fragmentAt;
    while (ipv6.isExtension(proto)) {
      if (proto === IpProto.NONE || off + 2 > end) return false;
      if (proto === IpProto.FRAGMENT) {
        if (off + 4 > end) return false;
        if ((view.getUint16(off + ipv6.FRAG_OFFSET) & ipv6.FRAG_OFFSET_MASK) !== 0) return false;
      }
      const length = ipv6.extensionLength(view, off, proto);
      proto = view.getUint8(off);
      off += length;
    }
    let need = 1;
    if (proto === IpProto.TCP) need = 20;
    else if (proto === IpProto.UDP || proto === IpProto.ICMPV6) need = 8;
    return off + need > end;
  }
}

/** The outcome for a packet that reassembly lets pass as it is. */
function passed(packet: Packet): number {
  packet.mru = 0;
  packet.hash = 0;
  packet.hashFlags = 0;
  packet.ignoreDf = true;
  return 0;
}

/** Results of insert() that are no row. */
const DUPLICATE = -2;
const OVERLAP = -3;
const FULL = -4;
