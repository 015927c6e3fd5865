import { CtRef, type Packet } from "../packet/packet.ts";
import type { CtAction } from "./action.ts";
import { insert } from "./confirm.ts";
import type { ConntrackPort } from "./conntrack-port.ts";
import { createEntry, idOf, walkEntries } from "./control.ts";
import { clearKey } from "./ct-key.ts";
import { deliverEvents } from "./events.ts";
import { executeCt } from "./execute.ts";
import { GarbageCollector } from "./gc.ts";
import { builtinHelpers } from "./helpers/builtin.ts";
import { FOLLOW_MASTER, type Helper } from "./helpers/helper.ts";
import { E } from "./layout.ts";
import { type ConntrackEnvironment, ConntrackState } from "./state.ts";
import { UNLIMITED_ROOM } from "./table.ts";

/**
 * nf_conntrack with NAT, and what openvswitch.ko does on top of it: one instance is a network namespace's connection
 * tracking, all zones. Packets enter by execute(); the control plane uses findLive, destroy, create and walk.
 *
 * Packet.ct is a slot of the table and stays readable until endBatch(), also when the entry is destroyed meanwhile.
 */
export class Conntrack extends ConntrackState implements ConntrackPort {
  private readonly collector = new GarbageCollector(this);
  /** The clock was read for this batch. */
  private clockRead = false;

  constructor(environment: ConntrackEnvironment) {
    super(environment);
    this.limits.collectExpired = () => this.collector.collectCounted();
    this.helpers.expectFunctions.set(FOLLOW_MASTER, this.followMaster);
    for (const helper of builtinHelpers) this.registerHelper(helper);
  }

  // ConntrackPort

  /** See ConntrackPort. HOT PATH. */
  execute(packet: Packet, key: Int32Array, action: CtAction): number {
    if (!this.clockRead) {
      this.readClock();
      this.clockRead = true;
    }
    return executeCt(this, packet, key, action);
  }

  clear(packet: Packet, key: Int32Array): void {
    packet.ct = CtRef.UNTRACKED;
    packet.ctInfo = 0;
    clearKey(key);
  }

  get crossZoneNat(): boolean {
    return this.options.crossZoneNat;
  }

  checkHelper(name: string, family: number, ipProto: number, nat: boolean): number {
    return this.helpers.check(name, family, ipProto, nat);
  }

  bind(action: CtAction): void {
    this.helpers.of(action);
    this.timeoutPolicies.of(action);
  }

  /** See ConntrackPort. Collects a slice of garbage when it is time. */
  endBatch(): void {
    this.collector.endBatch();
    this.clockRead = false;
  }

  // The owner: Nokmod

  /** Entries, unconfirmed ones included (nf_conntrack_count; spec/conntrack C-257). */
  get count(): number {
    return this.table.count;
  }

  /** Changes nf_conntrack_max; 0 is no limit: then there is address space for UNLIMITED_ROOM connections at once. */
  setMax(max: number): void {
    this.options.max = max;
    this.table.resize(max === 0 ? UNLIMITED_ROOM : max);
  }

  /** Registers a helper. @throws Errno EBUSY, EINVAL (HelperRegistry.register) */
  registerHelper(helper: Helper): void {
    this.helpers.register(helper, this);
  }

  /** Collects garbage where no packets come, fragments included. @returns true to be called again soon (GarbageCollector.tick) */
  tick(): boolean {
    this.reassembly.expire();
    return this.collector.tick();
  }

  /** Destroys all expired entries now. */
  gc(): void {
    this.collector.collectAll();
  }

  // Control plane

  /** Reads the clock: call before the methods below when no packet is under way. */
  refresh(): void {
    this.readClock();
  }

  /**
   * Walks the live confirmed entries from a cursor, in slot order: entries that come or go meanwhile do not disturb it.
   * @param visit returns false to stop before this entry
   * @returns where to go on, -1 at the end
   */
  walk(cursor: number, visit: (slot: number) => boolean): number {
    return walkEntries(this, cursor, visit);
  }

  /** Milliseconds until the entry expires. */
  left(slot: number): number {
    return (this.table.words[slot * E.WORDS + E.EXPIRES] - this.now) | 0;
  }

  /** Sets the milliseconds until a confirmed entry expires. */
  setLeft(slot: number, ms: number): void {
    this.table.words[slot * E.WORDS + E.EXPIRES] = (this.now + Math.min(ms, 0x7fff_ffff)) | 0;
  }

  /** Delivers the events (1 << IPCT_*) of changes that the control plane made, past the entry's event cache. */
  announce(slot: number, events: number, portId: number, report: boolean): void {
    deliverEvents(this, slot, events, portId, report);
  }

  /**
   * Makes an entry for the control plane: unconfirmed until insert() is called, freed by cancel().
   * @returns slot, or -ENOMEM when the table is full (spec/ctnetlink N-093)
   */
  create(original: Int32Array, reply: Int32Array): number {
    return createEntry(this, original, reply);
  }

  /** Inserts an entry of create(). @returns 0; -EEXIST or -ENOSPC, and the entry is freed (spec/ctnetlink N-093) */
  insert(slot: number): number {
    return insert(this, slot);
  }

  /** Frees an entry of create() that was not inserted. */
  cancel(slot: number): void {
    this.discard(slot);
  }

  /** An opaque id, the same for the life of the entry (spec/ctnetlink N-039). */
  idOf(slot: number): number {
    return idOf(this.table.words, slot);
  }
}
