/**
 * Translates OpenFlow into datapath actions: walks the tables for one flow, writes OVS_ACTION_ATTR_* and marks every bit
 * of the flow that was consulted or set. Those bits become the mask of the datapath flow (the megaflow).
 */
import { NokmodError } from "../../core/errors.ts";
import { MessageWriter } from "../../netlink/writer.ts";
import * as ovs from "../../uapi/openvswitch.ts";
import { bytesToBigint } from "../bigint.ts";
import { Flow, FlowAt, isMplsType } from "../flow.ts";
import { type Action, OFPR_INVALID_TTL } from "../ofctl/actions.ts";
import type { FrozenState } from "../recirc.ts";
import { fillSubfield, getSubfield } from "../subfield.ts";
import type { OfpRule } from "../tables.ts";
import { needsHeader } from "./action-traits.ts";
import { commit, flowPopMpls, flowPushMpls } from "./commit.ts";
import type { Learned, XlateContext, XlateResult, XlateState } from "./context.ts";
import { translateCt } from "./ct.ts";
import { runFieldAction } from "./field-actions.ts";
import { translateCheckPacketLarger, translateClone } from "./nested.ts";
import { controller, output, outputTruncated } from "./output.ts";
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

// Shared by all translations, which never overlap.
const scratchFlow = new Flow();
const scratchBase = new Flow();
const scratchWriter = new MessageWriter(4096);

/** The state of one translation, and the loop over its actions. */
class Translation implements XlateState {
  readonly original: Flow;
  readonly flow: Flow;
  /** The packet as the actions written so far leave it. */
  readonly base: Flow;
  readonly writer = scratchWriter.reset();
  private readonly rules: OfpRule[] = [];
  readonly learned: Learned[] = [];
  readonly recircIds: number[] = [];
  readonly stack: Uint8Array[] = [];
  private slow = false;
  private depth = 0;
  private resubmits = 0;
  table = 0;
  rule: OfpRule | null = null;
  conntracked: boolean;
  /** Set while the rest of the actions is collected in frozenRest, to be run after recirculation. */
  freezing = false;
  private frozenRest: Action[] = [];
  /** Set by exit and by a failed dec_ttl. */
  exiting = false;
  /** The last MPLS label was popped: the header below it has not been read yet. */
  wasMpls = false;

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

  /** Starts with table 0, or with the frozen state of a recirculated packet. */
  private start(): void {
    const id = this.original.u32(FlowAt.RECIRC_ID);
    if (id === 0) this.lookup(0, null);
    else this.resume(id);
    if (this.freezing) this.freeze(this.table);
  }

  /** Restores the frozen state of a recirc_id and continues from it. */
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
  lookup(table: number, port: number | null): void {
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
  runActions(actions: readonly Action[]): void {
    for (let i = 0; i < actions.length; i++) {
      const action = actions[i];
      // The header below a popped label was not read: recirculate, and go on when it is known.
      if (this.wasMpls && needsHeader(action)) {
        this.freezing = true;
        this.frozenRest = [];
      }
      if (!this.freezing) {
        if (action.type === "check_pkt_larger") {
          translateCheckPacketLarger(this, action, actions.slice(i + 1));
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

  runAction(action: Action): void {
    const { flow, wc } = this;
    switch (action.type) {
      case "output":
        if (action.maxLen !== undefined) {
          outputTruncated(this, action.port, action.maxLen);
          return;
        }
        output(this, action.port);
        return;
      case "output_reg": {
        fillSubfield(wc, action.source);
        const port = Number(bytesToBigint(getSubfield(flow, action.source)));
        if (port <= 0xffff) output(this, port);
        return;
      }
      case "controller":
        controller(this, action.reason, action.id, action.maxLen, action.userdata);
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
          controller(this, OFPR_INVALID_TTL, 0, 0xffff, null);
          this.exiting = true;
        }
        return;
      }
      case "ct":
        translateCt(this, action);
        return;
      case "ct_clear":
        if (this.conntracked) {
          flow.clearConntrack();
          this.conntracked = false;
          this.writer.flag(ovs.OVS_ACTION_ATTR_CT_CLEAR);
        }
        return;
      case "clone":
        translateClone(this, action.actions);
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

  /** Writes the set, push and pop actions that turn `base` into `flow`. */
  commit(): void {
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
    for (const id of controllers) controller(this, OFPR_INVALID_TTL, id, 0xffff, null);
    this.exiting = true;
  }

  /** Commits what was set, and outputs to an OpenFlow port. */
  outputTo(port: number): void {
    const to = this.context.ports.get(port);
    if (!to) return;
    this.commit();
    this.writer.u32(ovs.OVS_ACTION_ATTR_OUTPUT, to.datapathPort);
  }

  /** Writes RECIRC with an id whose frozen state continues in `table`, or with `actions`. */
  recirculate(actions: Action[] | null, table: number): void {
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
  freeze(table: number): void {
    const rest = this.frozenRest;
    this.freezing = false;
    this.frozenRest = [];
    this.commit();
    this.recirculate(rest, table);
  }
}
