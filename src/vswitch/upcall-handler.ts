/** Answers upcalls: translates each packet's flow, puts a datapath flow for it, and executes its actions. */
import type { OvsBatch, Upcall, UpcallSocket } from "../client/ovs/index.ts";
import type { Errno } from "../core/errors.ts";
import { MessageWriter } from "../netlink/writer.ts";
import { EEXIST } from "../uapi/errno.ts";
import * as ovs from "../uapi/openvswitch.ts";
import type { UpcallEvent } from "./events.ts";
import { executeWithHelp } from "./execute.ts";
import { Flow, FlowAt, OFPP_LOCAL, OFPP_NONE } from "./flow.ts";
import { readKey, writeMetadata } from "./odp/key.ts";
import { MAX_PORT, openFlowPort } from "./ports.ts";
import { learn, pushStats } from "./push-stats.ts";
import { type Refusal, RefusalReporter } from "./refusals.ts";
import { type BridgeState, revisionOf } from "./state.ts";
import { ufidKey, ufidOfKey } from "./ufid.ts";
import { flowEvent, type Ukey } from "./ukey.ts";
import { decodeUserdata, type UserspaceReason } from "./userdata.ts";
import { xlate } from "./xlate/xlate.ts";

/** Upcalls answered in one send. */
const UPCALL_BATCH = 64;
const NO_ACTIONS: Uint8Array = new Uint8Array(0);

/** A request of the batch: the flow that it puts, or what it executes. */
type Pending = { readonly put: Ukey } | { readonly put: null; readonly key: Uint8Array; readonly actions: Uint8Array };

export class UpcallHandler {
  private batch: OvsBatch;
  /** Requests of the batch, by index. */
  private pending: Pending[] = [];
  private readonly ready = new Set<UpcallSocket>();
  private readonly queue: Upcall[] = [];
  private handling = false;
  private closed = false;
  private readonly refusals: RefusalReporter;
  private readonly writer = new MessageWriter();
  private readonly wildcards = new Flow();
  private readonly scratchFlow = new Flow();

  constructor(private readonly state: BridgeState) {
    this.batch = state.client.batch();
    this.refusals = new RefusalReporter(state.clock, (what, error) => state.hooks.onFault?.(what, error));
  }

  /** Ends the handling: upcalls that wait are not answered. */
  close(): void {
    this.closed = true;
  }

  /** Takes the upcalls that wait in a socket, in batches, until there are no more. */
  receive(socket: UpcallSocket): void {
    this.ready.add(socket);
    // Answers make packets that may miss: receive() is called again below itself.
    if (this.handling) return;
    this.handling = true;
    for (const next of this.ready) {
      this.ready.delete(next);
      if (this.closed) break;
      const lost = next.lost;
      try {
        next.drain((upcall) => {
          this.queue.push(upcall);
          if (this.queue.length >= UPCALL_BATCH) this.answer();
        });
        this.answer();
      } catch (error) {
        // Requests that were not sent yet go with the batch; their packets are lost.
        this.queue.length = 0;
        this.pending = [];
        this.batch = this.state.client.batch();
        this.state.hooks.onFault?.("upcall", error);
      }
      this.state.statistics.lost += next.lost - lost;
    }
    this.handling = false;
  }

  /** Answers the upcalls of the queue in one send. */
  private answer(): void {
    if (this.queue.length === 0) return;
    const { state } = this;
    const { statistics, hooks } = state;
    const upcalls = this.queue.splice(0);
    const events: UpcallEvent[] = [];
    for (const upcall of upcalls) {
      if (upcall.datapath !== state.datapath) continue;
      statistics.upcalls++;
      const event = this.handleUpcall(upcall);
      if (event) events.push(event);
    }
    const { pending } = this;
    this.pending = [];
    const failed = new Set<Pending>();
    this.batch.send((index, error) => {
      failed.add(pending[index]);
      this.requestFailed(pending[index], error);
    });
    for (const request of pending) {
      if (request.put === null || failed.has(request)) continue;
      statistics.flowsPut++;
      hooks.onFlowPut?.(flowEvent(request.put, "put"));
    }
    if (hooks.onUpcall) for (const event of events) hooks.onUpcall(event);
  }

  /** Counts and reports a refused request; the packet of an execute is lost, as it would be in the datapath. */
  private requestFailed(request: Pending, error: Errno): void {
    const { statistics, ukeys } = this.state;
    let refusal: Refusal;
    if (request.put === null) {
      statistics.executesRefused++;
      refusal = { what: "execute", key: request.key, actions: request.actions };
    } else {
      const { key, mask, actions } = request.put;
      statistics.flowsFailed++;
      ukeys.remove(request.put);
      // EEXIST: another packet of the batch has put a flow that covers this one.
      if (error.errno === EEXIST) return;
      statistics.flowsRefused++;
      refusal = { what: "flow put", key, mask, actions };
    }
    this.refusals.add(refusal, error);
  }

  /** Translates one upcall and adds its answer to the batch. @returns null for a userspace action of other programs */
  private handleUpcall(upcall: Upcall): UpcallEvent | null {
    const { state } = this;
    const flow = state.hooks.onUpcall ? new Flow() : this.scratchFlow;
    flow.words.fill(0);
    const datapathPort = readKey(upcall.key, flow);
    const number = openFlowPort(datapathPort);
    const inPort = state.ports.xports.get(number) ?? null;
    flow.put32(FlowAt.IN_PORT, number <= MAX_PORT || number === OFPP_LOCAL ? number : OFPP_NONE);
    const ufid = ufidOfKey(upcall.key);
    const base = { inPort, packet: upcall.packet, key: upcall.key, flow, ufid };
    let kind: UpcallEvent["kind"] = "miss";
    if (upcall.command === ovs.OVS_PACKET_CMD_ACTION) {
      const reason = upcall.userdata && decodeUserdata(upcall.userdata);
      if (!reason) return null;
      if (reason.kind === "controller") {
        this.packetIn(upcall, number, reason);
        return { kind: "controller", ...base, actions: NO_ACTIONS, error: null };
      }
      kind = "slow";
    }
    // A flow for a packet of a port that is being removed would outlive the port.
    if (!inPort) return { kind, ...base, actions: NO_ACTIONS, error: "no such port" };
    const result = xlate(state.context, flow, this.wildcards);
    const now = state.clock.monotonic();
    const { actions } = result;
    if (kind === "miss") {
      const id = ufidKey(ufid);
      const { ukeys } = state;
      if (!ukeys.has(id) && ukeys.size < state.flowLimit) {
        this.putFlow(ukeys.add(id, ufid, upcall.key.slice(), flow, result, now, revisionOf(state)));
      }
      // EXECUTE runs the packet past the flow table: the flow does not count it.
      pushStats(state, result, 1, upcall.length ?? upcall.packet.length, now);
    } else learn(state, result, now);
    if (actions.length > 0) {
      const writer = this.writer.reset();
      writeMetadata(writer, flow, datapathPort);
      const metadata = writer.finish();
      if (result.slow) {
        executeWithHelp(upcall.packet, actions, (packet, list) => this.execute(upcall, packet, metadata, list));
      } else this.execute(upcall, upcall.packet, metadata, actions);
    }
    return { kind, ...base, actions, error: result.error };
  }

  private putFlow(ukey: Ukey): void {
    const { key, mask, actions, ufid } = ukey;
    this.batch.putFlow(this.state.datapath, { key, mask, actions, ufid });
    this.pending.push({ put: ukey });
  }

  private execute(upcall: Upcall, packet: Uint8Array, key: Uint8Array, actions: Uint8Array): void {
    const { mru, hash } = upcall;
    this.batch.execute(this.state.datapath, { packet, key, actions, mru: mru ?? undefined, hash: hash ?? undefined });
    this.pending.push({ put: null, key: upcall.key, actions });
  }

  private packetIn(upcall: Upcall, inPort: number, reason: Extract<UserspaceReason, { kind: "controller" }>): void {
    const { reason: code, id, table, cookie, userdata, maxLen } = reason;
    this.state.hooks.onPacketIn?.({
      packet: upcall.packet.slice(0, maxLen),
      totalLength: upcall.length ?? upcall.packet.length,
      inPort,
      reason: code,
      id,
      table,
      cookie,
      userdata,
    });
  }
}
