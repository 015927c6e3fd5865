import type { Clock } from "../../core/clock.ts";
import { EINVAL } from "../../uapi/errno.ts";
import type { PacketMemory } from "../memory.ts";
import type { Packet } from "../packet.ts";
import { DUPLICATE, FragmentColumn, FULL, NONE, OVERLAP, QueueColumn, QueueFlag } from "./layout.ts";

/** How long a family's queues live, and how much they may hold. */
interface ReassemblyLimits {
  /** ipfrag_time, nf_conntrack_frag6_timeout, in milliseconds (spec/conntrack C-070, C-071). */
  timeout: number;
  /**
   * Above this many bytes in all queues no fragment is taken (ipfrag_high_thresh, nf_conntrack_frag6_high_thresh;
   * spec/conntrack C-070).
   */
  high: number;
}

/** Counts since the start, as in /proc/net/snmp (Ip: Reasm*), both families together; and what is there now. */
interface ReassemblyStats {
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
/** Most IPv4 sources with a fragment counter (maxDistance); when there are more, all counters are removed. */
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
  readonly queues = new Int32Array(MAX_QUEUES * QueueColumn.WORDS);
  private readonly deadlines = new Float64Array(MAX_QUEUES);
  readonly fragments = new Int32Array(MAX_FRAGMENTS * FragmentColumn.WORDS);
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
      this.queues[row * QueueColumn.WORDS + QueueColumn.NEXT] = row + 1 < MAX_QUEUES ? row + 1 : NONE;
    for (let row = 0; row < MAX_FRAGMENTS; row++) {
      this.fragments[row * FragmentColumn.WORDS + FragmentColumn.NEXT] = row + 1 < MAX_FRAGMENTS ? row + 1 : NONE;
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
    const known = queues[q + QueueColumn.LEN];
    if (end < known || ((queues[q + QueueColumn.FLAGS] & QueueFlag.LAST_IN) !== 0 && end !== known)) return false;
    queues[q + QueueColumn.FLAGS] |= QueueFlag.LAST_IN;
    queues[q + QueueColumn.LEN] = end;
    return true;
  }

  /** Notes that the datagram reaches to `end` at least. @returns false if it is known to end before */
  reaches(q: number, end: number): boolean {
    const { queues } = this;
    if (end <= queues[q + QueueColumn.LEN]) return true;
    if ((queues[q + QueueColumn.FLAGS] & QueueFlag.LAST_IN) !== 0) return false;
    queues[q + QueueColumn.LEN] = end;
    return true;
  }

  /** Whether all bytes of the datagram are there. */
  complete(q: number): boolean {
    const { queues } = this;
    const both = QueueFlag.FIRST_IN | QueueFlag.LAST_IN;
    return (
      (queues[q + QueueColumn.FLAGS] & both) === both && queues[q + QueueColumn.MEAT] === queues[q + QueueColumn.LEN]
    );
  }

  /** Whether more than maxDistance fragments of this source came since this queue's last one. Counts the fragment. */
  tooFar(queue: number, source: number): boolean {
    if (this.maxDistance === 0) return false;
    const q = queue * QueueColumn.WORDS;
    const { queues, sources } = this;
    const start = queues[q + QueueColumn.RID];
    if (sources.size >= MAX_SOURCES) sources.clear();
    const now = ((sources.get(source) ?? 0) + 1) & 0x7fffffff;
    sources.set(source, now);
    queues[q + QueueColumn.RID] = now;
    return queues[q + QueueColumn.TAIL] !== NONE && now - start > this.maxDistance;
  }

  /** Empties the queue and gives it a full time to live again. */
  restart(queue: number): void {
    const q = queue * QueueColumn.WORDS;
    const { queues } = this;
    this.releaseFragments(q);
    queues[q + QueueColumn.FLAGS] &= QueueFlag.V6;
    queues[q + QueueColumn.LEN] = 0;
    queues[q + QueueColumn.MEAT] = 0;
    queues[q + QueueColumn.ECN] = 0;
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
    for (
      let queue = this.buckets[bucket];
      queue !== NONE;
      queue = queues[queue * QueueColumn.WORDS + QueueColumn.NEXT]
    ) {
      const q = queue * QueueColumn.WORDS;
      if (
        queues[q + QueueColumn.ID] === id &&
        queues[q + QueueColumn.ZONE] === zone &&
        queues[q + QueueColumn.PROTO] === proto &&
        (queues[q + QueueColumn.FLAGS] & QueueFlag.V6) === familyFlag &&
        this.sameAddresses(q)
      ) {
        return queue;
      }
    }
    const queue = this.freeQueue;
    if (queue === NONE) return NONE;
    const q = queue * QueueColumn.WORDS;
    this.freeQueue = queues[q + QueueColumn.NEXT];
    queues.fill(0, q, q + QueueColumn.WORDS);
    queues[q + QueueColumn.NEXT] = this.buckets[bucket];
    this.buckets[bucket] = queue;
    queues[q + QueueColumn.BUCKET] = bucket;
    queues[q + QueueColumn.FLAGS] = familyFlag;
    queues[q + QueueColumn.ZONE] = zone;
    for (let i = 0; i < 8; i++) queues[q + QueueColumn.SRC + i] = wanted[i];
    queues[q + QueueColumn.ID] = id;
    queues[q + QueueColumn.PROTO] = proto;
    queues[q + QueueColumn.HEAD] = NONE;
    queues[q + QueueColumn.TAIL] = NONE;
    this.held[family] += QUEUE_OVERHEAD;
    this.stats.queues++;
    this.linkAge(queue);
    return queue;
  }

  /** Whether the queue's addresses are those of `wanted`. */
  private sameAddresses(q: number): boolean {
    for (let i = 0; i < 8; i++) if (this.queues[q + QueueColumn.SRC + i] !== this.wanted[i]) return false;
    return true;
  }

  /** Appends the queue to its family's list by age and sets its deadline. */
  private linkAge(queue: number): void {
    const { queues } = this;
    const q = queue * QueueColumn.WORDS;
    const family = (queues[q + QueueColumn.FLAGS] & QueueFlag.V6) === 0 ? 0 : 1;
    this.deadlines[queue] = this.clock.monotonic() + this.limits[family].timeout;
    const last = this.newest[family];
    queues[q + QueueColumn.OLDER] = last;
    queues[q + QueueColumn.NEWER] = NONE;
    if (last === NONE) this.oldest[family] = queue;
    else queues[last * QueueColumn.WORDS + QueueColumn.NEWER] = queue;
    this.newest[family] = queue;
  }

  /** Takes the queue out of its family's list by age. */
  private unlinkAge(queue: number): void {
    const { queues } = this;
    const q = queue * QueueColumn.WORDS;
    const family = (queues[q + QueueColumn.FLAGS] & QueueFlag.V6) === 0 ? 0 : 1;
    const older = queues[q + QueueColumn.OLDER];
    const newer = queues[q + QueueColumn.NEWER];
    if (older === NONE) this.oldest[family] = newer;
    else queues[older * QueueColumn.WORDS + QueueColumn.NEWER] = newer;
    if (newer === NONE) this.newest[family] = older;
    else queues[newer * QueueColumn.WORDS + QueueColumn.OLDER] = older;
  }

  /** Takes the queue out of hash and list and frees all it holds. */
  remove(queue: number): void {
    const { queues } = this;
    const q = queue * QueueColumn.WORDS;
    const bucket = queues[q + QueueColumn.BUCKET];
    if (this.buckets[bucket] === queue) {
      this.buckets[bucket] = queues[q + QueueColumn.NEXT];
    } else {
      let before = this.buckets[bucket] * QueueColumn.WORDS;
      while (queues[before + QueueColumn.NEXT] !== queue)
        before = queues[before + QueueColumn.NEXT] * QueueColumn.WORDS;
      queues[before + QueueColumn.NEXT] = queues[q + QueueColumn.NEXT];
    }
    this.unlinkAge(queue);
    this.releaseFragments(q);
    this.held[(queues[q + QueueColumn.FLAGS] & QueueFlag.V6) === 0 ? 0 : 1] -= QUEUE_OVERHEAD;
    this.stats.queues--;
    queues[q + QueueColumn.NEXT] = this.freeQueue;
    this.freeQueue = queue;
  }

  /** Frees the fragments of a queue, their buffers included. */
  private releaseFragments(q: number): void {
    const { queues, fragments } = this;
    const family = (queues[q + QueueColumn.FLAGS] & QueueFlag.V6) === 0 ? 0 : 1;
    for (let row = queues[q + QueueColumn.HEAD]; row !== NONE; ) {
      const f = row * FragmentColumn.WORDS;
      const next = fragments[f + FragmentColumn.NEXT];
      if (fragments[f + FragmentColumn.BUFFER] !== NONE) this.memory.free(fragments[f + FragmentColumn.BUFFER]);
      this.held[family] -= fragments[f + FragmentColumn.SIZE];
      fragments[f + FragmentColumn.NEXT] = this.freeFragment;
      this.freeFragment = row;
      row = next;
    }
    queues[q + QueueColumn.HEAD] = NONE;
    queues[q + QueueColumn.TAIL] = NONE;
    queues[q + QueueColumn.COUNT] = 0;
  }

  /**
   * Finds the place of a fragment and links a row for it (inet_frag_queue_insert).
   * @param length bytes that are really there, at most end - offset
   * @returns the row; DUPLICATE, OVERLAP or FULL (nothing was linked)
   */
  insert(queue: number, offset: number, end: number, length: number): number {
    const { queues, fragments } = this;
    const q = queue * QueueColumn.WORDS;
    const tail = queues[q + QueueColumn.TAIL];
    let before = NONE;
    let run = NONE;
    if (tail !== NONE) {
      const t = tail * FragmentColumn.WORDS;
      const tailEnd = fragments[t + FragmentColumn.OFFSET] + fragments[t + FragmentColumn.LEN];
      if (tailEnd < end) {
        if (offset < tailEnd) return OVERLAP;
        before = tail;
        if (offset === tailEnd) run = fragments[t + FragmentColumn.RUN];
      } else {
        for (
          let row = queues[q + QueueColumn.HEAD];
          row !== NONE;
          row = fragments[row * FragmentColumn.WORDS + FragmentColumn.NEXT]
        ) {
          const f = row * FragmentColumn.WORDS;
          const start = fragments[f + FragmentColumn.OFFSET];
          if (
            fragments[f + FragmentColumn.RUN] === row &&
            end > start &&
            offset < fragments[f + FragmentColumn.RUN_END]
          ) {
            return offset >= start && end <= fragments[f + FragmentColumn.RUN_END] ? DUPLICATE : OVERLAP;
          }
          if (start <= offset) before = row;
        }
      }
    }
    const row = this.freeFragment;
    if (row === NONE) return FULL;
    const f = row * FragmentColumn.WORDS;
    this.freeFragment = fragments[f + FragmentColumn.NEXT];
    fragments.fill(0, f, f + FragmentColumn.WORDS);
    fragments[f + FragmentColumn.OFFSET] = offset;
    fragments[f + FragmentColumn.LEN] = length;
    fragments[f + FragmentColumn.BUFFER] = NONE;
    if (run === NONE) {
      fragments[f + FragmentColumn.RUN] = row;
      fragments[f + FragmentColumn.RUN_END] = offset + length;
    } else {
      fragments[f + FragmentColumn.RUN] = run;
      fragments[run * FragmentColumn.WORDS + FragmentColumn.RUN_END] += length;
    }
    if (before === NONE) {
      fragments[f + FragmentColumn.NEXT] = queues[q + QueueColumn.HEAD];
      queues[q + QueueColumn.HEAD] = row;
    } else {
      fragments[f + FragmentColumn.NEXT] = fragments[before * FragmentColumn.WORDS + FragmentColumn.NEXT];
      fragments[before * FragmentColumn.WORDS + FragmentColumn.NEXT] = row;
    }
    if (before === tail) queues[q + QueueColumn.TAIL] = row;
    queues[q + QueueColumn.COUNT]++;
    queues[q + QueueColumn.MEAT] += length;
    if (offset === 0) queues[q + QueueColumn.FLAGS] |= QueueFlag.FIRST_IN;
    return row;
  }

  /**
   * Copies the packet into a buffer of its own, with what must be known of it should it be the first.
   * @param data absolute offset of the payload
   * @returns false when there is no buffer: the caller removes the queue
   */
  keep(row: number, packet: Packet, data: number, csum: number, family: number): boolean {
    const { fragments, memory } = this;
    const f = row * FragmentColumn.WORDS;
    const size = data - packet.off + fragments[f + FragmentColumn.LEN];
    const buffer = memory.alloc(size);
    if (buffer < 0) return false;
    memory.bytes.copyWithin(buffer, packet.off, packet.off + size);
    fragments[f + FragmentColumn.BUFFER] = buffer;
    fragments[f + FragmentColumn.DATA] = buffer + data - packet.off;
    fragments[f + FragmentColumn.SIZE] = size + FRAGMENT_OVERHEAD;
    this.held[family] += size + FRAGMENT_OVERHEAD;
    fragments[f + FragmentColumn.CSUM] = csum;
    fragments[f + FragmentColumn.L3] = packet.l3 - packet.off;
    fragments[f + FragmentColumn.CSUM_START] = packet.csumStart - packet.off;
    fragments[f + FragmentColumn.CSUM_OFFSET] = packet.csumOffset;
    fragments[f + FragmentColumn.MARK] = packet.mark;
    fragments[f + FragmentColumn.PRIORITY] = packet.priority;
    fragments[f + FragmentColumn.VLAN_TCI] = packet.vlanTci;
    fragments[f + FragmentColumn.VLAN_TPID] = packet.vlanTpid;
    fragments[f + FragmentColumn.PROTOCOL] = packet.protocol;
    fragments[f + FragmentColumn.MAC_NONE] = packet.macNone ? 1 : 0;
    this.lastRow = row;
    return true;
  }
}
