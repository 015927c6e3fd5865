import type { Clock } from "../core/clock.ts";
import type { Random } from "../core/random.ts";
import { IpProto } from "../packet/ip.ts";
import type { PacketMemory } from "../packet/memory.ts";
import { Reassembler } from "../packet/reassembly/index.ts";
import { IPCT_DESTROY, IPS_CONFIRMED, IPS_DYING, IPS_FIXED_TIMEOUT } from "../uapi/nfnetlink.ts";
import { ReplyZones } from "./cross-zone.ts";
import { type ConntrackListener, deliverEvents } from "./events.ts";
import type { ExpectFunction } from "./expect.ts";
import { ExpectationTable } from "./expectation-table.ts";
import { GreKeymap } from "./gre-keymap.ts";
import { HelperRegistry } from "./helper-registry.ts";
import type { Helper, HelperContext } from "./helpers/helper.ts";
import { E, Ext, Slot } from "./layout.ts";
import { type NatHost, NatMapper } from "./nat.ts";
import { type ConntrackOptions, defaultOptions, TimeoutTable } from "./options.ts";
import { ConnectionTable } from "./table.ts";
import { TimeoutPolicyTable } from "./timeout-policies.ts";
import { protoOf } from "./tuple.ts";
import { ZoneLimits } from "./zone-limits.ts";

/** Counters of CTNETLINK GET_STATS_CPU (spec/ctnetlink N-145), named as there. */
interface ConntrackStats {
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

/** What connection tracking is made with; all of it belongs to one Nokmod. */
export interface ConntrackEnvironment {
  /** Read once a batch. */
  readonly clock: Clock;
  readonly random: Random;
  /** Memory of reassembled packets. */
  readonly memory: PacketMemory;
  readonly options?: Partial<ConntrackOptions>;
}

/**
 * The state of one network namespace's connection tracking: the tables, settings and counters that the functions of
 * this folder share, and the end of an entry's life, which any of them may bring about. One instance, one shape; a
 * packet costs no allocation here.
 */
export class ConntrackState implements NatHost, HelperContext {
  readonly table: ConnectionTable;
  readonly options: ConntrackOptions;
  /** Default timeouts by protocol. */
  readonly timeouts = new TimeoutTable();
  readonly timeoutPolicies = new TimeoutPolicyTable(this.timeouts);
  readonly limits = new ZoneLimits();
  readonly helpers = new HelperRegistry();
  readonly expectations: ExpectationTable;
  readonly mapper: NatMapper;
  readonly greKeys = new GreKeymap();
  readonly replyZones = new ReplyZones();
  readonly reassembly: Reassembler;
  readonly random: Random;
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
  /** Receives events; set by ctnetlink when it starts. */
  listener: ConntrackListener | undefined = undefined;
  /** Table time of the packet in hand: milliseconds since the instance was made, in 32 bits that wrap. */
  now = 0;
  /** A new entry was refused because the table was full: the next round of collection evicts (spec/conntrack C-259). */
  tableFull = false;
  private readonly clock: Clock;
  /** CLOCK_MONOTONIC in milliseconds at table time 0. */
  epoch: number;

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
  }

  /** Sets `now` from the clock. @returns it */
  readClock(): number {
    this.now = (this.clock.monotonic() - this.epoch) | 0;
    return this.now;
  }

  /** Lets the table's time count from another moment: that of kept connections. @param epoch CLOCK_MONOTONIC in milliseconds */
  beginTime(epoch: number): void {
    this.epoch = epoch;
    this.readClock();
  }

  /** CLOCK_MONOTONIC in milliseconds. */
  monotonic(): number {
    return this.clock.monotonic();
  }

  /** Wall-clock milliseconds since 1970. */
  realtime(): number {
    return this.clock.realtime();
  }

  /** The helper that a connection has. */
  helperOfSlot(slot: number): Helper | undefined {
    return this.helpers.get((this.table.words[slot * E.WORDS + E.EXT] & Ext.HELPER_MASK) >>> Ext.HELPER_SHIFT);
  }

  // HelperContext

  get followMaster(): ExpectFunction {
    return this.mapper.followMaster;
  }

  get expectFunctions(): ReadonlyMap<string, ExpectFunction> {
    return this.helpers.expectFunctions;
  }

  findHelper(name: string, proto: number, family: number): number {
    return this.helpers.find(name, proto, family);
  }

  refreshTimeout(slot: number, ms: number): void {
    const { words } = this.table;
    const entry = slot * E.WORDS;
    const status = words[entry + E.STATUS];
    if ((status & IPS_FIXED_TIMEOUT) !== 0) return;
    // Until it is confirmed the entry holds the timeout itself (spec/conntrack C-148).
    words[entry + E.EXPIRES] = (status & IPS_CONFIRMED) !== 0 ? (this.now + ms) | 0 : ms;
  }

  // Lookup and destruction of entries

  /** The live confirmed entry that has this tuple in one direction: its link, or -1. Destroys expired ones on the way. */
  findLive(tuple: Int32Array): number {
    return this.findLiveByHash(tuple, this.table.hash(tuple, 0));
  }

  /** findLive() of a tuple whose hash is known. HOT PATH. */
  findLiveByHash(tuple: Int32Array, hash: number): number {
    const { table } = this;
    let link = table.find(tuple, hash);
    while (link >= 0 && this.expired(link >> 1)) {
      this.destroy(link >> 1, 0, false);
      link = table.find(tuple, hash);
    }
    return link;
  }

  /** Whether a confirmed entry's time is over. */
  expired(slot: number): boolean {
    return ((this.table.words[slot * E.WORDS + E.EXPIRES] - this.now) | 0) <= 0;
  }

  /**
   * Takes a confirmed entry out of the table and delivers IPCT_DESTROY (spec/conntrack C-263, C-265).
   * @param portId requester, 0 for packets and the garbage collector
   * @param report NLM_F_ECHO: the requester wants the event too
   * @returns false if it is gone already
   */
  destroy(slot: number, portId: number, report: boolean): boolean {
    const { table } = this;
    const { words } = table;
    const entry = slot * E.WORDS;
    if ((words[entry + E.STATUS] & IPS_DYING) !== 0 || words[entry + E.SLOT] !== Slot.USED) return false;
    words[entry + E.STATUS] |= IPS_DYING;
    deliverEvents(this, slot, 1 << IPCT_DESTROY, portId, report);
    if ((words[entry + E.EXT] & Ext.HELPER_MASK) !== 0) {
      this.helperOfSlot(slot)?.destroy?.(this, slot);
    }
    this.releaseReferences(slot);
    table.remove(slot);
    return true;
  }

  /** Frees an unconfirmed entry that no packet refers to. */
  discard(slot: number): void {
    this.releaseReferences(slot);
    this.table.discard(slot);
  }

  /** Releases what an entry that goes away has elsewhere: its count against a limit, its expectations, its master. */
  readonly releaseReferences = (slot: number): void => {
    const { words } = this.table;
    const entry = slot * E.WORDS;
    this.limits.uncount(words, entry);
    if (words[entry + E.EXPECTING] !== 0) this.expectations.removeAllOf(slot);
    const master = words[entry + E.MASTER];
    if (master === 0) return;
    if (protoOf(words, entry) === IpProto.GRE) this.greKeys.remove(master - 1);
    this.table.release(master - 1);
  };
}
