/**
 * Translates OpenFlow into datapath actions: walks the tables for one flow, writes OVS_ACTION_ATTR_* and marks every bit
 * of the flow that was consulted or set. Those bits become the mask of the datapath flow (the megaflow).
 */
import { NokmodError } from "../../core/errors.ts";
import { MessageWriter } from "../../netlink/writer.ts";
import * as ovs from "../../uapi/openvswitch.ts";
import { bytesToBigint } from "../bigint.ts";
import {
  Flow,
  FlowAt,
  isMplsType,
  OFPP_ALL,
  OFPP_CONTROLLER,
  OFPP_FLOOD,
  OFPP_IN_PORT,
  OFPP_NONE,
  OFPP_NORMAL,
  OFPP_TABLE,
} from "../flow.ts";
import { type Action, OFPR_ACTION, OFPR_INVALID_TTL, type OfpCtAction } from "../ofctl/actions.ts";
import type { FrozenState } from "../recirc.ts";
import { fillSubfield, getSubfield } from "../subfield.ts";
import type { OfpRule } from "../tables.ts";
import type { UserspaceReason } from "../userdata.ts";
import { needsHeader, reversible } from "./action-traits.ts";
import { commit, flowPopMpls, flowPushMpls } from "./commit.ts";
import type { Learned, XlateContext, XlateResult, XlateState } from "./context.ts";
import { writeCt } from "./ct.ts";
import { putField, runFieldAction } from "./field-actions.ts";
import { normal } from "./normal.ts";
import { finishWildcards, setInitialWildcards } from "./wildcards.ts";

/** Depth of nested resubmits, and resubmits of one translation (ovs-vswitchd has the same bounds). */
const MAX_DEPTH = 64;
const MAX_RESUBMITS = 4096;

/**
 * Translates one flow. Allocates recirc_ids, and changes nothing else: learning is left to the caller.
 * @param flow its in_port is the OpenFlow number
 * @param wildcards becomes the result's
 */
export function xlate(context: XlateContext, flow: Flow, wildcards = new Flow()): XlateResult {
  return new Translation(context, flow, wildcards).run();
}

/** Ends a translation: everything is dropped. */
class TranslationFailed extends NokmodError {
  constructor(message: string) {
    super("ERR_TRANSLATION", message);
  }
}

// Shared by all translations: one runs at a time, and none inside another.
const scratchFlow = new Flow();
const scratchBase = new Flow();
const scratchWriter = new MessageWriter(4096);

/** The state of one translation, and the loop over its actions. */
class Translation implements XlateState {
  private readonly original: Flow;
  readonly flow: Flow;
  /** The packet as the actions written so far leave it. */
  private readonly base: Flow;
  readonly writer = scratchWriter.reset();
  private readonly rules: OfpRule[] = [];
  readonly learned: Learned[] = [];
  private readonly recircIds: number[] = [];
  readonly stack: Uint8Array[] = [];
  private slow = false;
  private depth = 0;
  private resubmits = 0;
  private table = 0;
  private rule: OfpRule | null = null;
  private conntracked: boolean;
  /** Set while the rest of the actions is collected in frozenRest, to be run after recirculation. */
  private freezing = false;
  private frozenRest: Action[] = [];
  /** Set by exit and by a failed dec_ttl. */
  private exiting = false;
  /** The last MPLS label was popped: the header below it has not been read yet. */
  private wasMpls = false;

  constructor(
    readonly context: XlateContext,
    flow: Flow,
    readonly wc: Flow,
  ) {
    this.original = flow;
    this.flow = scratchFlow;
    this.base = scratchBase;
    this.flow.set(flow);
    this.base.set(flow);
    setInitialWildcards(wc, flow);
    this.conntracked = (flow.u32(FlowAt.CT_STATE) & ovs.OVS_CS_F_TRACKED) !== 0;
  }

  run(): XlateResult {
    let error: string | null = null;
    try {
      this.start();
    } catch (failure) {
      if (!(failure instanceof TranslationFailed)) throw failure;
      error = failure.message;
      this.writer.reset();
    }
    finishWildcards(this.wc, this.original);
    return {
      actions: this.writer.finish(),
      wildcards: this.wc,
      rules: this.rules,
      learned: this.learned,
      recircIds: this.recircIds,
      slow: this.slow,
      error,
    };
  }

  /** Starts with table 0, or where a recirculated packet goes on. */
  private start(): void {
    const id = this.original.u32(FlowAt.RECIRC_ID);
    if (id === 0) this.lookup(0, null);
    else this.resume(id);
    if (this.freezing) this.freeze(this.table);
  }

  /** Restores the frozen state of a recirc_id and goes on from it. */
  private resume(id: number): void {
    const state = this.context.recirc.get(id);
    if (!state) throw new TranslationFailed(`no state for recirc_id ${id}`);
    this.flow.bytes.set(state.metadata, FlowAt.REGS);
    this.base.bytes.set(state.metadata, FlowAt.REGS);
    this.flow.put32(FlowAt.IN_PORT, state.inPort);
    this.base.put32(FlowAt.IN_PORT, state.inPort);
    for (const value of state.stack) this.stack.push(value);
    if (state.conntracked) this.conntracked = true;
    this.table = state.table;
    if (state.actions) this.runActions(state.actions);
    else this.lookup(state.table, null);
  }

  /**
   * Runs the actions of the rule that matches in a table.
   * @param port input port to look up with, where another than the packet's
   */
  private lookup(table: number, port: number | null): void {
    if (this.depth >= MAX_DEPTH) throw new TranslationFailed(`resubmit nested over ${MAX_DEPTH} deep`);
    if (this.resubmits++ >= MAX_RESUBMITS) throw new TranslationFailed(`over ${MAX_RESUBMITS} resubmits`);
    const { flow } = this;
    const inPort = flow.u32(FlowAt.IN_PORT);
    const ports = flow.u32(FlowAt.TP_SRC);
    if (port !== null) flow.put32(FlowAt.IN_PORT, port);
    // Only the first fragment of a datagram has its ports: no fragment is matched by them.
    if (flow.u8(FlowAt.NW_FRAG) !== 0) flow.put32(FlowAt.TP_SRC, 0);
    const rule = this.context.tables.lookup(table, flow, this.wc);
    flow.put32(FlowAt.TP_SRC, ports);
    // Actions see the packet's input port again: NORMAL and IN_PORT use it.
    flow.put32(FlowAt.IN_PORT, inPort);
    if (!rule) return;
    this.rules.push(rule);
    const outerTable = this.table;
    const outerRule = this.rule;
    this.table = table;
    this.rule = rule;
    this.depth++;
    this.runActions(rule.spec.actions);
    this.depth--;
    this.table = outerTable;
    this.rule = outerRule;
  }

  /** The translate loop: runs a list until it ends, exits or freezes. */
  private runActions(actions: readonly Action[]): void {
    for (let i = 0; i < actions.length; i++) {
      const action = actions[i];
      // The header below a popped label was not read: recirculate, and go on when it is known.
      if (this.wasMpls && needsHeader(action)) {
        this.freezing = true;
        this.frozenRest = [];
      }
      if (!this.freezing) {
        if (action.type === "check_pkt_larger") {
          this.checkPacketLarger(action, actions.slice(i + 1));
          return;
        }
        this.runAction(action);
        if (this.exiting) return;
        if (!this.freezing) continue;
        // The rest of a nested list was frozen: the rest of this one follows it.
        this.frozenRest.push(...actions.slice(i + 1));
        return;
      }
      this.frozenRest.push(...actions.slice(i));
      return;
    }
  }

  private runAction(action: Action): void {
    const { flow, wc } = this;
    switch (action.type) {
      case "output":
        if (action.maxLen !== undefined) {
          this.outputTruncated(action.port, action.maxLen);
          return;
        }
        this.output(action.port);
        return;
      case "output_reg": {
        fillSubfield(wc, action.source);
        const port = Number(bytesToBigint(getSubfield(flow, action.source)));
        if (port <= 0xffff) this.output(port);
        return;
      }
      case "controller":
        this.controller(action.reason, action.id, action.maxLen, action.userdata);
        return;
      case "resubmit":
        this.lookup(action.table ?? this.table, action.port);
        return;
      case "goto_table":
        this.lookup(action.table, null);
        return;
      case "push_mpls":
        this.commit();
        flowPushMpls(flow, action.ethertype, wc);
        return;
      case "pop_mpls":
        if (!flow.isMpls) return;
        if (flowPopMpls(flow, action.ethertype, wc) && !isMplsType(action.ethertype)) this.wasMpls = true;
        return;
      case "dec_ttl":
        this.decTtl(action.controllers);
        return;
      case "dec_mpls_ttl": {
        if (!flow.isMpls) return;
        wc.put32(FlowAt.MPLS, wc.u32(FlowAt.MPLS) | 0xff);
        const ttl = flow.u8(FlowAt.MPLS + 3);
        if (ttl > 1) flow.put8(FlowAt.MPLS + 3, ttl - 1);
        else {
          this.controller(OFPR_INVALID_TTL, 0, 0xffff, null);
          this.exiting = true;
        }
        return;
      }
      case "ct":
        this.conntrack(action);
        return;
      case "ct_clear":
        if (this.conntracked) {
          flow.clearConntrack();
          this.conntracked = false;
          this.writer.flag(ovs.OVS_ACTION_ATTR_CT_CLEAR);
        }
        return;
      case "clone":
        this.clone(action.actions);
        return;
      case "meter":
        this.writer.u32(ovs.OVS_ACTION_ATTR_METER, action.id);
        return;
      case "exit":
        this.exiting = true;
        return;
      case "note":
      case "drop":
      case "check_pkt_larger":
        return;
      default:
        runFieldAction(action, this);
    }
  }

  /** Writes what makes the packet as `flow` wants it. */
  private commit(): void {
    if (commit(this.flow, this.base, this.wc, this.writer)) this.slow = true;
  }

  private decTtl(controllers: readonly number[]): void {
    const { flow, wc } = this;
    if (!flow.isIp) return;
    wc.put8(FlowAt.NW_TTL, 0xff);
    const ttl = flow.u8(FlowAt.NW_TTL);
    if (ttl > 1) {
      flow.put8(FlowAt.NW_TTL, ttl - 1);
      return;
    }
    for (const id of controllers) this.controller(OFPR_INVALID_TTL, id, 0xffff, null);
    this.exiting = true;
  }

  // Output.

  private output(port: number): void {
    switch (port) {
      case OFPP_IN_PORT:
        this.outputTo(this.flow.u32(FlowAt.IN_PORT));
        return;
      case OFPP_TABLE:
        this.lookup(0, null);
        return;
      case OFPP_NORMAL:
        normal(this);
        return;
      case OFPP_FLOOD:
      case OFPP_ALL:
        for (const to of this.context.ports.values()) {
          if (to.port === this.flow.u32(FlowAt.IN_PORT) || (port === OFPP_FLOOD && to.noFlood)) continue;
          this.outputTo(to.port);
        }
        return;
      case OFPP_CONTROLLER:
        this.controller(OFPR_ACTION, 0, 0xffff, null);
        return;
      case OFPP_NONE:
        return;
      default:
        if (port !== this.flow.u32(FlowAt.IN_PORT)) this.outputTo(port);
    }
  }

  /** Commits what was set, and outputs to an OpenFlow port. */
  outputTo(port: number): void {
    const to = this.context.ports.get(port);
    if (!to) return;
    this.commit();
    this.writer.u32(ovs.OVS_ACTION_ATTR_OUTPUT, to.datapathPort);
  }

  /** Outputs at most `maxLen` bytes of the packet. */
  private outputTruncated(port: number, maxLen: number): void {
    this.commit();
    const at = this.writer.length;
    this.writer.u32(ovs.OVS_ACTION_ATTR_TRUNC, maxLen);
    const after = this.writer.length;
    this.output(port);
    if (this.writer.length === after) this.writer.cancel(at);
  }

  /** Sends the packet to the controller (OFPR_* `reason`). */
  private controller(reason: number, id: number, maxLen: number, userdata: Uint8Array | null): void {
    this.commit();
    const cookie = this.rule?.spec.cookie ?? 0n;
    this.userspace({ kind: "controller", reason, id, maxLen, table: this.table, cookie, userdata });
  }

  private userspace(reason: UserspaceReason): void {
    const { writer } = this;
    const nest = writer.nest(ovs.OVS_ACTION_ATTR_USERSPACE);
    writer.u32(ovs.OVS_USERSPACE_ATTR_PID, this.context.upcallPid(this.original.u32(FlowAt.IN_PORT)));
    writer.raw(ovs.OVS_USERSPACE_ATTR_USERDATA, this.context.userdata(reason));
    writer.endNest(nest);
  }

  // Connection tracking and recirculation.

  /** Translates ct(…): its exec() list, the datapath's ct action, and recirculation where it has a table. */
  private conntrack(ct: OfpCtAction): void {
    const { flow, wc, writer } = this;
    if (!flow.isIp) return;
    this.commit();
    // With these bits clear, the mask says after exec() what it has set.
    const markMask = wc.u32(FlowAt.CT_MARK);
    const labelMask = wc.bytes.slice(FlowAt.CT_LABEL, FlowAt.CT_LABEL + 16);
    wc.fill(FlowAt.CT_MARK, 4, 0);
    wc.fill(FlowAt.CT_LABEL, 16, 0);
    for (const action of ct.exec) this.runAction(action);
    let zone: number;
    if (typeof ct.zone === "number") zone = ct.zone;
    else {
      fillSubfield(wc, ct.zone);
      zone = Number(bytesToBigint(getSubfield(flow, ct.zone)));
    }
    writeCt(writer, ct, zone, flow, wc, this.context.ctEventmask !== false);
    wc.put32(FlowAt.CT_MARK, markMask);
    wc.bytes.set(labelMask, FlowAt.CT_LABEL);
    if (ct.table !== null) {
      this.conntracked = true;
      this.recirculate(null, ct.table);
    }
    flow.clearConntrack();
    this.base.clearConntrack();
    this.conntracked = false;
  }

  /** Writes RECIRC to the frozen state that goes on in `table`, or with `actions`. */
  private recirculate(actions: Action[] | null, table: number): void {
    const { flow } = this;
    const state: FrozenState = {
      table,
      actions,
      metadata: flow.bytes.slice(FlowAt.REGS, FlowAt.SKB_PRIORITY),
      inPort: flow.u32(FlowAt.IN_PORT),
      stack: this.stack.map((value) => value.slice()),
      conntracked: this.conntracked,
    };
    const id = this.context.recirc.idOf(state);
    this.recircIds.push(id);
    this.writer.u32(ovs.OVS_ACTION_ATTR_RECIRC, id);
  }

  /** Recirculates with the actions of frozenRest. */
  private freeze(table: number): void {
    const rest = this.frozenRest;
    this.freezing = false;
    this.frozenRest = [];
    this.commit();
    this.recirculate(rest, table);
  }

  // Nested lists.

  /** Runs actions on a copy: what they do to the packet is undone afterwards. */
  private clone(actions: readonly Action[]): void {
    const flow = this.flow.clone();
    const stack = [...this.stack];
    const { conntracked, wasMpls } = this;
    // Actions that cannot be taken back by setting fields need a clone in the datapath.
    if (reversible(actions)) {
      this.runActions(actions);
    } else {
      this.commit();
      const base = this.base.clone();
      const nest = this.writer.nest(ovs.OVS_ACTION_ATTR_CLONE);
      this.runActions(actions);
      if (this.freezing) this.freeze(this.table);
      if (this.writer.length === nest + 4) this.writer.cancel(nest);
      else this.writer.endNest(nest);
      this.base.set(base);
    }
    this.exiting = false;
    this.flow.set(flow);
    this.stack.length = 0;
    this.stack.push(...stack);
    this.conntracked = conntracked;
    this.wasMpls = wasMpls;
  }

  /** Translates the rest of a list twice, in the branches of OVS_ACTION_ATTR_CHECK_PKT_LEN. */
  private checkPacketLarger(action: Extract<Action, { type: "check_pkt_larger" }>, rest: readonly Action[]): void {
    const { writer } = this;
    this.commit();
    const nest = writer.nest(ovs.OVS_ACTION_ATTR_CHECK_PKT_LEN);
    writer.u16(ovs.OVS_CHECK_PKT_LEN_ATTR_PKT_LEN, action.length);
    const flow = this.flow.clone();
    const base = this.base.clone();
    const { conntracked, wasMpls } = this;
    for (const larger of [1, 0]) {
      const branch = writer.nest(
        larger ? ovs.OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_GREATER : ovs.OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_LESS_EQUAL,
      );
      fillSubfield(this.wc, action.target);
      putField(this.flow, action.target, Uint8Array.of(larger));
      this.runActions(rest);
      if (this.freezing) this.freeze(this.table);
      writer.endNest(branch);
      this.flow.set(flow);
      this.base.set(base);
      this.conntracked = conntracked;
      this.wasMpls = wasMpls;
      this.exiting = false;
    }
    writer.endNest(nest);
  }
}
