/** Keeps the datapath's flows as the tables would translate them now, and their counters in the rules. */
import type { FlowInfo } from "../client/ovs/index.ts";
import type { Clock } from "../core/clock.ts";
import { Errno } from "../core/errors.ts";
import { ENOENT } from "../uapi/errno.ts";
import * as ovs from "../uapi/openvswitch.ts";
import type { FlowEvent } from "./events.ts";
import { Flow, FlowAt } from "./flow.ts";
import { readKey } from "./odp/key.ts";
import { pushStats } from "./push-stats.ts";
import { type BridgeState, revisionOf } from "./state.ts";
import { ufidKey } from "./ufid.ts";
import { flowEvent, type Ukey } from "./ukey.ts";
import { xlate } from "./xlate/xlate.ts";

/** Milliseconds of a slice of a pass; and flows between two readings of the clock. */
const SLICE_MS = 1;
const SLICE_FLOWS = 16;
/** After a periodic pass the next one waits for this multiple of the time that it took. */
const REST_FACTOR = 4;
/** Idle milliseconds that a flow may have when there are nearly too many. */
const OVERLOAD_IDLE_MS = 100;
const OVERLOAD = 0.9;
/** Attributes that a dump leaves out, since the bridge has them. */
const TERSE = ovs.OVS_UFID_F_OMIT_KEY | ovs.OVS_UFID_F_OMIT_MASK | ovs.OVS_UFID_F_OMIT_ACTIONS;

export class Revalidator {
  /** The pass that is being run in slices. */
  private running: Iterator<void> | null = null;
  /** Milliseconds that the running pass has taken so far. */
  private busyMs = 0;
  private restUntil = 0;
  private cancelScheduled: (() => void) | null = null;
  private closed = false;
  private readonly flow = new Flow();
  private readonly wildcards = new Flow();

  constructor(private readonly state: BridgeState) {}

  close(): void {
    this.closed = true;
    this.cancelScheduled?.();
  }

  /** Starts a pass after work that is due already. */
  schedule(): void {
    if (this.cancelScheduled || this.closed) return;
    this.cancelScheduled = this.state.scheduler.soon(() => {
      this.cancelScheduled = null;
      if (this.state.ukeys.size > 0) this.start();
    });
  }

  /** Starts a periodic pass, unless the last one was too recent for how long it took. */
  periodic(): void {
    if (this.state.clock.monotonic() >= this.restUntil) this.start();
  }

  /** Runs whole passes at once, in place of one that runs in slices. */
  runToEnd(): void {
    this.running?.return?.();
    this.running = null;
    // Twice at most: a pass may learn addresses and remove rules, by which flows translate differently.
    for (let i = 0; i < 2; i++) {
      const before = revisionOf(this.state);
      const pass = this.pass();
      while (!pass.next().done);
      if (revisionOf(this.state) === before) return;
    }
  }

  /** Deletes a flow from the datapath, with its last counters. */
  deleteFlow(ukey: Ukey, reason: FlowEvent["reason"]): void {
    const { client, datapath, ukeys, statistics, hooks } = this.state;
    if (ukeys.get(ukey.id) !== ukey) return;
    try {
      this.collectStats(ukey, client.deleteFlow(datapath, { ufid: ukey.ufid }));
    } catch (error) {
      // ENOENT: another program has deleted it.
      if (!(error instanceof Errno && error.errno === ENOENT)) throw error;
    }
    statistics.flowsDeleted++;
    ukeys.remove(ukey);
    hooks.onFlowDel?.(flowEvent(ukey, reason));
  }

  /** Starts a pass in slices; one at a time. */
  private start(): void {
    if (this.running || this.closed) return;
    this.running = this.pass();
    this.runSlice();
  }

  private runSlice(): void {
    if (!this.running || this.closed) return;
    const { state } = this;
    const before = revisionOf(state);
    const start = state.clock.monotonic();
    let done: boolean | undefined;
    try {
      done = this.running.next().done;
    } catch (error) {
      // The next pass dumps the datapath again.
      done = true;
      state.hooks.onFault?.("revalidation", error);
    }
    const now = state.clock.monotonic();
    this.busyMs += now - start;
    if (!done) {
      state.scheduler.soon(() => this.runSlice());
      return;
    }
    this.running = null;
    this.restUntil = now + REST_FACTOR * this.busyMs;
    this.busyMs = 0;
    if (before !== revisionOf(state)) this.schedule();
  }

  /** One pass: fetches counters, removes idle flows, translates again what may have changed. Yields after each slice. */
  private *pass(): Generator<void> {
    const { state } = this;
    const { ukeys } = state;
    state.statistics.revalidations++;
    const now = state.clock.monotonic();
    state.macs.expire();
    const dump = ++ukeys.dump;
    if (ukeys.size > 0) {
      const maxIdleMs = ukeys.size > state.flowLimit * OVERLOAD ? OVERLOAD_IDLE_MS : state.maxIdleMs;
      const slice = new TimeSlice(state.clock);
      const doomed: [Ukey, FlowEvent["reason"]][] = [];
      for (const info of state.client.flows(state.datapath, TERSE)) {
        const ukey = info.ufid && ukeys.get(ufidKey(info.ufid));
        if (ukey) {
          ukey.dump = dump;
          this.collectStats(ukey, info);
          const reason = this.revalidate(ukey, now, maxIdleMs);
          if (reason) doomed.push([ukey, reason]);
        } else if (info.ufid) this.deleteUnknown(info.ufid);
        if (slice.isOver()) yield;
      }
      for (const [ukey, reason] of doomed) {
        this.deleteFlow(ukey, reason);
        if (slice.isOver()) yield;
      }
      for (const ukey of ukeys.values()) {
        if (slice.isOver()) yield;
        if (ukey.dump >= dump) continue;
        // The dump did not have it: another program has deleted it.
        ukeys.remove(ukey);
        state.hooks.onFlowDel?.(flowEvent(ukey, "gone"));
      }
    }
    // Last, when the counters of the rules are fresh.
    this.expireRules(now);
    state.recirc.sweep(state.maxIdleMs);
  }

  private expireRules(now: number): void {
    const { tables } = this.state;
    for (const rule of [...tables]) {
      const { idleTimeout, hardTimeout } = rule.spec;
      if (idleTimeout > 0 && now - rule.used >= idleTimeout * 1000) tables.remove(rule);
      else if (hardTimeout > 0 && now - rule.created >= hardTimeout * 1000) tables.remove(rule);
    }
  }

  /** Adds what a flow has counted since the last dump to the rules that made it. */
  private collectStats(ukey: Ukey, info: FlowInfo): void {
    const packets = info.packets - ukey.packets;
    const bytes = info.bytes - ukey.bytes;
    if (info.used !== null && info.used > ukey.used) ukey.used = info.used;
    ukey.packets = info.packets;
    ukey.bytes = info.bytes;
    ukey.tcpFlags |= info.tcpFlags;
    // Counters that went down were cleared by another program.
    if (packets > 0) pushStats(this.state, ukey.xcache, packets, Math.max(0, bytes), ukey.used);
  }

  /** Translates a flow again where needed. @returns why it must be removed; null where it stays, perhaps changed */
  private revalidate(ukey: Ukey, now: number, maxIdleMs: number): FlowEvent["reason"] | null {
    if (now - ukey.used > maxIdleMs) return "idle";
    const { state, flow } = this;
    const revision = revisionOf(state);
    if (ukey.revision === revision) return null;
    flow.words.fill(0);
    readKey(ukey.key, flow);
    flow.put32(FlowAt.IN_PORT, ukey.inPort);
    const result = xlate(state.context, flow, this.wildcards);
    if (result.error !== null || exceeds(result.wildcards.bytes, ukey.wildcards)) return "stale";
    state.ukeys.update(ukey, result, revision);
    const actions = state.ukeys.datapathActions(flow, result);
    if (Buffer.compare(actions, ukey.actions) === 0) return null;
    try {
      state.client.setFlow(state.datapath, { ufid: ukey.ufid, key: ukey.key }, { mask: ukey.mask, actions });
    } catch (error) {
      if (!(error instanceof Errno)) throw error;
      // Refused, or deleted by another program: the next packet misses and puts it again.
      return "stale";
    }
    ukey.actions = actions;
    state.statistics.flowsChanged++;
    state.hooks.onFlowPut?.(flowEvent(ukey, "changed"));
    return null;
  }

  /** Deletes a flow that the bridge has not put: nothing would keep it as the tables are. */
  private deleteUnknown(ufid: Uint8Array): void {
    try {
      this.state.client.deleteFlow(this.state.datapath, { ufid: ufid.slice() });
    } catch (error) {
      // ENOENT: it was deleted meanwhile.
      if (!(error instanceof Errno && error.errno === ENOENT)) throw error;
    }
  }
}

/** Measures a slice of a pass. */
class TimeSlice {
  private steps = 0;
  private over = false;
  private since: number;

  constructor(private readonly clock: Clock) {
    this.since = clock.monotonic();
  }

  /** Called after each step. @returns whether the slice is over; the next slice begins with the next step */
  isOver(): boolean {
    if (++this.steps % SLICE_FLOWS !== 0) return false;
    const now = this.clock.monotonic();
    // The time between two slices does not count.
    if (this.over) this.since = now;
    this.over = now - this.since > SLICE_MS;
    return this.over;
  }
}

/** Whether `now` consults bits that `then` has not: the old flow would match packets that it must not. */
function exceeds(now: Uint8Array, then: Uint8Array): boolean {
  for (let i = 0; i < now.length; i++) if (now[i] & ~then[i]) return true;
  return false;
}
