import type { Clock } from "../../core/clock.ts";
import { EINVAL } from "../../uapi/errno.ts";
import type { PacketMemory } from "../memory.ts";
import type { Packet } from "../packet.ts";
import { DUPLICATE, F, FULL, NONE, OVERLAP, Q, QueueFlag } from "./layout.ts";

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

/** Counts since the start, as in /proc/net/snmp (Ip: Reasm*), both families together; and what is there now. */
export interface ReassemblyStats {
  requests: number;
  ok: number;
  fails: number;
  timeouts: number;
  overlaps: number;
  queues: number;
}

/** What a fragment is counted with besides its bytes, and a queue: the sizes of the kernel's structures, about. */
const FRAGMENT_OVERHEAD = 768;
const QUEUE_OVERHEAD = 200;
/** Sources remembered for maxDistance before all are forgotten. */
const MAX_SOURCES = 4096;

const MAX_QUEUES = 8192;
const MAX_FRAGMENTS = 8192;
const BUCKETS = 1024;

/**
 * The queues of both families and their fragments: hash table, list by age, limits. Rows lie in two Int32Arrays, the
 * bytes in buffers of the arena. One instance, one shape.
 */
export class FragmentTable {
  readonly stats: ReassemblyStats = { requests: 0, ok: 0, fails: 0, timeouts: 0, overlaps: 0, queues: 0 };
  /** IPv4, IPv6. */
  readonly limits: readonly [ReassemblyLimits, ReassemblyLimits] = [
    { timeout: 30_000, high: 4 << 20 },
    { timeout: 60_000, high: 4 << 20 },
  ];
  /** ipfrag_max_dist: so many fragments of the same IPv4 source may come in between two of one datagram; 0 = any. */
  maxDistance = 64;
  readonly queues = new Int32Array(MAX_QUEUES * Q.WORDS);
  private readonly deadlines = new Float64Array(MAX_QUEUES);
  readonly fragments = new Int32Array(MAX_FRAGMENTS * F.WORDS);
  private readonly buckets = new Int32Array(BUCKETS).fill(NONE);
  private freeQueue = 0;
  private freeFragment = 0;
  /** By family (0 IPv4, 1 IPv6): oldest and newest queue, bytes held. */
  private readonly oldest = new Int32Array(2).fill(NONE);
  private readonly newest = new Int32Array(2).fill(NONE);
  readonly held = new Float64Array(2);
  /** Fragments received by IPv4 source, for maxDistance. */
  private readonly sources = new Map<number, number>();
  /** The key looked for: SRC and DST words. */
  readonly wanted = new Int32Array(8);
  /** The row that keep() filled last: the fragment that completes a queue. */
  lastRow = NONE;

  constructor(
    readonly memory: PacketMemory,
    private readonly clock: Clock,
  ) {
    for (let row = 0; row < MAX_QUEUES; row++)
      this.queues[row * Q.WORDS + Q.NEXT] = row + 1 < MAX_QUEUES ? row + 1 : NONE;
    for (let row = 0; row < MAX_FRAGMENTS; row++) {
      this.fragments[row * F.WORDS + F.NEXT] = row + 1 < MAX_FRAGMENTS ? row + 1 : NONE;
    }
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

  /** Counts a failure. @returns -errno */
  failed(errno: number): number {
    this.stats.fails++;
    return -errno;
  }

  /** Drops the whole queue for a malformed fragment. */
  discard(queue: number): number {
    this.remove(queue);
    return -EINVAL;
  }

  /** Notes the end of the datagram. @returns false if it contradicts what is known */
  endsHere(q: number, end: number): boolean {
    const { queues } = this;
    const known = queues[q + Q.LEN];
    if (end < known || ((queues[q + Q.FLAGS] & QueueFlag.LAST_IN) !== 0 && end !== known)) return false;
    queues[q + Q.FLAGS] |= QueueFlag.LAST_IN;
    queues[q + Q.LEN] = end;
    return true;
  }

  /** Notes that the datagram reaches to `end` at least. @returns false if it is known to end before */
  reaches(q: number, end: number): boolean {
    const { queues } = this;
    if (end <= queues[q + Q.LEN]) return true;
    if ((queues[q + Q.FLAGS] & QueueFlag.LAST_IN) !== 0) return false;
    queues[q + Q.LEN] = end;
    return true;
  }

  /** Whether all bytes of the datagram are there. */
  complete(q: number): boolean {
    const { queues } = this;
    const both = QueueFlag.FIRST_IN | QueueFlag.LAST_IN;
    return (queues[q + Q.FLAGS] & both) === both && queues[q + Q.MEAT] === queues[q + Q.LEN];
  }

  /** Whether more than maxDistance fragments of this source came since this queue's last one. Counts the fragment. */
  tooFar(queue: number, source: number): boolean {
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
  restart(queue: number): void {
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
  find(family: number, zone: number, id: number, proto: number): number {
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

  /** Whether the queue's addresses are those of `wanted`. */
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

  /** Takes the queue out of its family's list by age. */
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
  remove(queue: number): void {
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

  /** Frees the fragments of a queue, their buffers included. */
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
  insert(queue: number, offset: number, end: number, length: number): number {
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
  keep(row: number, packet: Packet, data: number, csum: number, family: number): boolean {
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
}
