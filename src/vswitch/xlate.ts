/**
 * Translation of OpenFlow into datapath actions: walks the tables for one flow, writes OVS_ACTION_ATTR_* and marks every
 * bit of the flow that had a say, which becomes the mask of the datapath flow (the megaflow).
 */
import { MessageWriter } from "../netlink/writer.ts";
import { NOKMOD_NAT_ATTR_DST_ZONE, NOKMOD_NAT_ATTR_REVERSE, NOKMOD_NAT_ATTR_SRC_ZONE } from "../uapi/nokmod.ts";
import * as ovs from "../uapi/openvswitch.ts";
import { Classifier } from "./classifier.ts";
import { type CommitResult, commit, popMpls, popVlan, pushMpls, pushVlan } from "./commit.ts";
import { bytesToBigint, fillSubfield, getSubfield, hasPrerequisite, putSubfield, type Subfield } from "./fields.ts";
import {
  ETH_TYPE_VLAN_8021Q,
  F,
  FLOW_NW_FRAG_ANY,
  FLOW_NW_FRAG_LATER,
  Flow,
  isMplsType,
  OFPP_ALL,
  OFPP_CONTROLLER,
  OFPP_FLOOD,
  OFPP_IN_PORT,
  OFPP_NONE,
  OFPP_NORMAL,
  OFPP_TABLE,
  VLAN_CFI,
} from "./flow.ts";
import type { MacTable } from "./mac-table.ts";
import { type Action, type CtAction, type NatSpec, OFPR_ACTION, OFPR_INVALID_TTL } from "./ofctl/actions.ts";
import type { FlowSpec } from "./ofctl/flow-spec.ts";
import type { FrozenState, RecircTable } from "./recirc.ts";

/** resubmit may nest this deep, and happen this often in one translation. */
export const MAX_DEPTH = 64;
export const MAX_RESUBMITS = 4096;

/** NEW | RELATED | DESTROY | MARK | LABEL: what vswitchd asks for with every commit (spec/ctnetlink N-108). */
const CT_EVENTMASK = 0x487;

/** A flow of a table, with what went through it. */
export class Rule {
  packets = 0;
  bytes = 0;
  /** Monotonic milliseconds. */
  readonly created: number;
  used: number;
  constructor(
    readonly spec: FlowSpec,
    now: number,
  ) {
    this.created = now;
    this.used = now;
  }
  get match(): FlowSpec["match"] {
    return this.spec.match;
  }
  get priority(): number {
    return this.spec.priority;
  }
}

/** The tables of a bridge. */
export class FlowTables {
  private readonly tables = new Map<number, Classifier<Rule>>();
  /** Grows with every change. */
  generation = 0;

  /** Adds a rule; one of the same table, match and priority goes. */
  add(rule: Rule): Rule | null {
    let table = this.tables.get(rule.spec.table);
    if (!table) {
      table = new Classifier();
      this.tables.set(rule.spec.table, table);
    }
    this.generation++;
    return table.insert(rule);
  }
  remove(rule: Rule): boolean {
    const removed = this.tables.get(rule.spec.table)?.remove(rule) ?? false;
    if (removed) this.generation++;
    return removed;
  }
  lookup(table: number, flow: Flow, wildcards: Flow | null): Rule | null {
    return this.tables.get(table)?.lookup(flow, wildcards) ?? null;
  }
  *[Symbol.iterator](): IterableIterator<Rule> {
    for (const id of [...this.tables.keys()].sort((a, b) => a - b)) {
      const rules = [...this.tables.get(id)!];
      yield* rules.sort((a, b) => b.priority - a.priority || a.created - b.created);
    }
  }
}

/** A port as translation knows it. */
export interface XPort {
  /** OpenFlow number. */
  readonly port: number;
  /** Number in the datapath. */
  readonly datapathPort: number;
  readonly name: string;
  /** VLAN of an access port; of a port with trunks, its native VLAN. */
  readonly tag?: number;
  /** VLANs that a trunk port carries; all where left out. */
  readonly trunks?: readonly number[];
  /** `access` where there is a tag and nothing is said. */
  readonly vlanMode?: "access" | "trunk" | "native-tagged" | "native-untagged";
  /** Leaves the port out of FLOOD. */
  readonly noFlood?: boolean;
}

/** What a userspace action says to whom: the packet's way back to this program. */
export type UserspaceReason =
  | { readonly kind: "slow" }
  | {
      readonly kind: "controller";
      readonly reason: number;
      readonly id: number;
      readonly maxLen: number;
      readonly table: number;
      readonly cookie: bigint;
      readonly userdata: Uint8Array | null;
    };

export interface XlateContext {
  readonly tables: FlowTables;
  readonly ports: ReadonlyMap<number, XPort>;
  readonly macs: MacTable;
  readonly recirc: RecircTable;
  /** Netlink port id that userspace actions of a flow that came in by this port go to. */
  upcallPid(port: number): number;
  /** Writes the cookie of a userspace action. */
  userdata(reason: UserspaceReason): Uint8Array;
  /** Whether the datapath takes OVS_CT_ATTR_EVENTMASK. Default true. */
  readonly ctEventmask?: boolean;
}

/** A source address seen by NORMAL. */
export interface Learned {
  readonly mac: number;
  readonly macLow: number;
  readonly vlan: number;
  readonly port: number;
}

export interface XlateResult {
  /** OVS_ACTION_ATTR_* */
  readonly actions: Uint8Array;
  readonly wildcards: Flow;
  /** The rules that matched, once for each time. */
  readonly rules: readonly Rule[];
  readonly learned: readonly Learned[];
  /** recirc_id values that the actions name. */
  readonly recircIds: readonly number[];
  /** The datapath cannot do these actions alone: its flow sends every packet up. */
  readonly slow: boolean;
  /** Why everything is dropped, where translation itself failed. */
  readonly error: string | null;
}

/**
 * Translates one flow. Pure but for the recirculation ids that it takes: learning is left to the caller.
 * @param flow in_port is the OpenFlow number
 * @param wildcards where the result's are written
 */
export function xlate(context: XlateContext, flow: Flow, wildcards = new Flow()): XlateResult {
  return new Translation(context, flow, wildcards).run();
}

/** The mask with which every translation starts. */
function setInitialWildcards(wc: Flow, flow: Flow): void {
  wc.words.fill(0);
  wc.fill(F.IN_PORT, 4, 0xff);
  wc.fill(F.RECIRC_ID, 4, 0xff);
  wc.put8(F.IS_ETH, 0xff);
  wc.put16(F.DL_TYPE, 0xffff);
  if (flow.isIp) wc.put8(F.NW_FRAG, FLOW_NW_FRAG_ANY | FLOW_NW_FRAG_LATER);
}

/** Takes out of the mask what is no part of the packet. */
function finishWildcards(wc: Flow, original: Flow): void {
  wc.fill(F.REGS, F.SKB_PRIORITY - F.REGS, 0);
  // The datapath takes a mask of ND fields only where the type is exact (spec/keys K-069).
  if (original.isNd && !(wc.isZero(F.ND_TARGET, 16) && wc.isZero(F.ARP_SHA, 12))) wc.fill(F.TP_SRC, 2, 0xff);
  if (original.isIcmp) {
    wc.put16(F.TP_SRC, wc.u16(F.TP_SRC) & 0xff);
    wc.put16(F.TP_DST, wc.u16(F.TP_DST) & 0xff);
  }
  if (original.isLaterFragment) wc.fill(F.TP_SRC, 4, 0);
  // Bits set for what actions pushed; the packet has no such header to match on.
  if (original.vlanCount === 0) wc.fill(F.VLAN0_TPID, 8, 0);
  for (let at: number = F.VLAN0_TCI; at <= F.VLAN1_TCI; at += 4) if (wc.u16(at)) wc.put16(at, wc.u16(at) | VLAN_CFI);
  if (!original.isMpls) wc.fill(F.MPLS, 12, 0);
  if (!original.isIp && !original.isArp) wc.fill(F.NW_SRC, 8, 0);
}

class TranslationFailed extends Error {}

// One translation runs at a time, and none inside another.
const scratchFlow = new Flow();
const scratchBase = new Flow();
const scratchWriter = new MessageWriter(4096);

class Translation {
  private readonly original: Flow;
  private readonly flow: Flow;
  /** The packet as the actions written so far leave it. */
  private readonly base: Flow;
  private readonly writer = scratchWriter.reset();
  private readonly rules: Rule[] = [];
  private readonly learned: Learned[] = [];
  private readonly recircIds: number[] = [];
  private readonly stack: Uint8Array[] = [];
  private slow = false;
  private depth = 0;
  private resubmits = 0;
  private table = 0;
  private rule: Rule | null = null;
  private conntracked: boolean;
  /** Set while the rest of the actions is put aside for after recirculation. */
  private freezing = false;
  private frozenRest: Action[] = [];
  /** Set by exit and by a failed dec_ttl. */
  private exiting = false;
  private wasMpls = false;

  constructor(
    private readonly context: XlateContext,
    flow: Flow,
    private readonly wc: Flow,
  ) {
    this.original = flow;
    this.flow = scratchFlow;
    this.base = scratchBase;
    this.flow.set(flow);
    this.base.set(flow);
    setInitialWildcards(wc, flow);
    this.conntracked = (flow.u32(F.CT_STATE) & ovs.OVS_CS_F_TRACKED) !== 0;
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

  private start(): void {
    const id = this.original.u32(F.RECIRC_ID);
    if (id === 0) this.lookup(0, null);
    else this.resume(id);
    if (this.freezing) this.freeze(this.table);
  }

  /** Goes on where a packet was when it was recirculated. */
  private resume(id: number): void {
    const state = this.context.recirc.get(id);
    if (!state) throw new TranslationFailed(`no state for recirc_id ${id}`);
    this.flow.bytes.set(state.metadata, F.REGS);
    this.base.bytes.set(state.metadata, F.REGS);
    this.flow.put32(F.IN_PORT, state.inPort);
    this.base.put32(F.IN_PORT, state.inPort);
    for (const value of state.stack) this.stack.push(value);
    if (state.conntracked) this.conntracked = true;
    this.table = state.table;
    if (state.actions) this.runActions(state.actions);
    else this.lookup(state.table, null);
  }

  /**
   * Runs the actions of what matches in a table.
   * @param port input port to look up with, where another than the packet's
   */
  private lookup(table: number, port: number | null): void {
    if (this.depth >= MAX_DEPTH) throw new TranslationFailed(`resubmit nested over ${MAX_DEPTH} deep`);
    if (this.resubmits++ >= MAX_RESUBMITS) throw new TranslationFailed(`over ${MAX_RESUBMITS} resubmits`);
    const { flow } = this;
    const inPort = flow.u32(F.IN_PORT);
    const ports = flow.u32(F.TP_SRC);
    if (port !== null) flow.put32(F.IN_PORT, port);
    // The ports of a datagram stand in its first fragment only, so no fragment is matched by them.
    if (flow.u8(F.NW_FRAG) !== 0) flow.put32(F.TP_SRC, 0);
    const rule = this.context.tables.lookup(table, flow, this.wc);
    flow.put32(F.TP_SRC, ports);
    // The actions see the true input port again, so that NORMAL and IN_PORT mean what they say.
    flow.put32(F.IN_PORT, inPort);
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

  private runActions(actions: readonly Action[]): void {
    for (let i = 0; i < actions.length; i++) {
      const action = actions[i];
      // Below a popped label stands a header that was never read: recirculate, and go on when it is known.
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
        // A nested list was put aside: the rest of this one follows it.
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
          this.truncated(action.port, action.maxLen);
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
      case "set_field": {
        const { field, masked } = action;
        if (field.name === "dl_vlan" || field.name === "dl_vlan_pcp" || field.name === "vlan_tci") {
          this.setVlanBits(field.name, masked.value, masked.mask);
          return;
        }
        if (!hasPrerequisite(flow, field.prerequisite, wc)) return;
        if (field.name === "vlan_vid" && flow.vlanCount === 0) {
          wc.put16(F.VLAN0_TCI, wc.u16(F.VLAN0_TCI) | VLAN_CFI);
          return;
        }
        const { key: value, mask } = action.bits;
        for (let i = 0; i < flow.words.length; i++) {
          const bits = mask.words[i];
          if (!bits) continue;
          flow.words[i] = (flow.words[i] & ~bits) | value.words[i];
          wc.words[i] |= bits;
        }
        return;
      }
      case "load":
        if (!hasPrerequisite(flow, action.target.field.prerequisite, wc)) return;
        fillSubfield(wc, action.target);
        this.put(action.target, action.value);
        return;
      case "move": {
        const { source, target } = action;
        if (!hasPrerequisite(flow, target.field.prerequisite, wc)) return;
        if (!hasPrerequisite(flow, source.field.prerequisite, wc)) return;
        fillSubfield(wc, source);
        fillSubfield(wc, target);
        this.put(target, getSubfield(flow, source));
        return;
      }
      case "push":
        fillSubfield(wc, action.source);
        this.stack.push(getSubfield(flow, action.source));
        return;
      case "pop": {
        const value = this.stack.pop();
        if (!value || !hasPrerequisite(flow, action.target.field.prerequisite, wc)) return;
        fillSubfield(wc, action.target);
        const size = (action.target.bits + 7) >> 3;
        const fitted = new Uint8Array(size);
        const common = Math.min(size, value.length);
        fitted.set(value.subarray(value.length - common), size - common);
        this.put(action.target, fitted);
        return;
      }
      case "mod_tp":
        if (!flow.hasL4) return;
        wc.put8(F.NW_PROTO, 0xff);
        if (![6, 17, 132].includes(flow.u8(F.NW_PROTO))) return;
        wc.put16(action.destination ? F.TP_DST : F.TP_SRC, 0xffff);
        flow.put16(action.destination ? F.TP_DST : F.TP_SRC, action.port);
        return;
      case "mod_vlan_vid":
        this.setTci(0xfff, action.vid);
        return;
      case "mod_vlan_pcp":
        this.setTci(0xe000, action.pcp << 13);
        return;
      case "push_vlan":
        pushVlan(flow, action.tpid, VLAN_CFI, wc);
        return;
      case "strip_vlan":
        popVlan(flow, wc);
        return;
      case "push_mpls":
        this.commit();
        pushMpls(flow, action.ethertype, wc);
        return;
      case "pop_mpls":
        if (!flow.isMpls) return;
        if (popMpls(flow, action.ethertype, wc) && !isMplsType(action.ethertype)) this.wasMpls = true;
        return;
      case "dec_ttl":
        this.decTtl(action.controllers);
        return;
      case "dec_mpls_ttl": {
        if (!flow.isMpls) return;
        wc.put32(F.MPLS, wc.u32(F.MPLS) | 0xff);
        const ttl = flow.u8(F.MPLS + 3);
        if (ttl > 1) flow.put8(F.MPLS + 3, ttl - 1);
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
    }
  }

  private put(target: Subfield, value: Uint8Array): void {
    putSubfield(this.flow, target, value);
    if (target.field.name === "in_port") this.flow.put16(F.IN_PORT, 0);
  }

  private commit(): void {
    const result: CommitResult = commit(this.flow, this.base, this.wc, this.writer);
    if (result.slow) this.slow = true;
  }

  private setTci(bits: number, value: number): void {
    const { flow, wc } = this;
    wc.put16(F.VLAN0_TCI, wc.u16(F.VLAN0_TCI) | bits | VLAN_CFI);
    if (flow.vlanCount === 0) flow.put16(F.VLAN0_TPID, ETH_TYPE_VLAN_8021Q);
    flow.put16(F.VLAN0_TCI, (flow.u16(F.VLAN0_TCI) & ~bits) | value | VLAN_CFI);
  }

  private setVlanBits(name: string, value: Uint8Array, mask: Uint8Array): void {
    const number = Number(bytesToBigint(value));
    if (name === "dl_vlan") this.setTci(0xfff, number);
    else if (name === "dl_vlan_pcp") this.setTci(0xe000, number << 13);
    else {
      const { flow, wc } = this;
      const bits = Number(bytesToBigint(mask));
      wc.put16(F.VLAN0_TCI, wc.u16(F.VLAN0_TCI) | bits);
      const tci = (flow.u16(F.VLAN0_TCI) & ~bits) | number;
      if (tci & VLAN_CFI) {
        if (flow.vlanCount === 0) flow.put16(F.VLAN0_TPID, ETH_TYPE_VLAN_8021Q);
        flow.put16(F.VLAN0_TCI, tci);
      } else popVlan(flow, wc);
    }
  }

  private decTtl(controllers: readonly number[]): void {
    const { flow, wc } = this;
    if (!flow.isIp) return;
    wc.put8(F.NW_TTL, 0xff);
    const ttl = flow.u8(F.NW_TTL);
    if (ttl > 1) {
      flow.put8(F.NW_TTL, ttl - 1);
      return;
    }
    for (const id of controllers) this.controller(OFPR_INVALID_TTL, id, 0xffff, null);
    this.exiting = true;
  }

  // Output.

  private output(port: number): void {
    switch (port) {
      case OFPP_IN_PORT:
        this.outputTo(this.flow.u32(F.IN_PORT));
        return;
      case OFPP_TABLE:
        this.lookup(0, null);
        return;
      case OFPP_NORMAL:
        this.normal();
        return;
      case OFPP_FLOOD:
      case OFPP_ALL:
        for (const to of this.context.ports.values()) {
          if (to.port === this.flow.u32(F.IN_PORT) || (port === OFPP_FLOOD && to.noFlood)) continue;
          this.outputTo(to.port);
        }
        return;
      case OFPP_CONTROLLER:
        this.controller(OFPR_ACTION, 0, 0xffff, null);
        return;
      case OFPP_NONE:
        return;
      default:
        if (port !== this.flow.u32(F.IN_PORT)) this.outputTo(port);
    }
  }

  private outputTo(port: number): void {
    const to = this.context.ports.get(port);
    if (!to) return;
    this.commit();
    this.writer.u32(ovs.OVS_ACTION_ATTR_OUTPUT, to.datapathPort);
  }

  private truncated(port: number, maxLen: number): void {
    this.commit();
    const at = this.writer.length;
    this.writer.u32(ovs.OVS_ACTION_ATTR_TRUNC, maxLen);
    const after = this.writer.length;
    this.output(port);
    if (this.writer.length === after) this.writer.cancel(at);
  }

  private controller(reason: number, id: number, maxLen: number, userdata: Uint8Array | null): void {
    this.commit();
    const cookie = this.rule?.spec.cookie ?? 0n;
    this.userspace({ kind: "controller", reason, id, maxLen, table: this.table, cookie, userdata });
  }

  private userspace(reason: UserspaceReason): void {
    const { writer } = this;
    const nest = writer.nest(ovs.OVS_ACTION_ATTR_USERSPACE);
    writer.u32(ovs.OVS_USERSPACE_ATTR_PID, this.context.upcallPid(this.original.u32(F.IN_PORT)));
    writer.raw(ovs.OVS_USERSPACE_ATTR_USERDATA, this.context.userdata(reason));
    writer.endNest(nest);
  }

  /** Switching by learned addresses (IEEE 802.1D, 802.1Q). */
  private normal(): void {
    const { flow, wc, context } = this;
    wc.fill(F.DL_DST, 12, 0xff);
    wc.put16(F.VLAN0_TCI, wc.u16(F.VLAN0_TCI) | 0xfff | VLAN_CFI);
    const inPort = context.ports.get(flow.u32(F.IN_PORT));
    if (!inPort) return;
    const tci = flow.u16(F.VLAN0_TCI);
    const vid = tci & VLAN_CFI ? tci & 0xfff : 0;
    const vlan = inputVlan(inPort, vid);
    if (vlan < 0) return;
    // 01:80:c2:00:00:0x is for the bridge itself.
    if (flow.u32(F.DL_DST) === 0x0180c200 && (flow.u16(F.DL_DST + 4) & 0xfff0) === 0) return;
    this.consultGratuitousArp();
    if (!(flow.u8(F.DL_SRC) & 1)) {
      const learned = { mac: flow.u16(F.DL_SRC), macLow: flow.u32(F.DL_SRC + 2), vlan, port: inPort.port };
      this.learned.push(learned);
    }
    const multicast = (flow.u8(F.DL_DST) & 1) !== 0;
    const known = multicast ? null : context.macs.lookup(flow.u16(F.DL_DST), flow.u32(F.DL_DST + 2), vlan);
    if (known !== null) {
      const to = context.ports.get(known);
      if (to && to !== inPort) this.outputVlan(to, vlan);
      return;
    }
    for (const to of context.ports.values()) {
      if (to !== inPort && !to.noFlood && carries(to, vlan)) this.outputVlan(to, vlan);
    }
  }

  /** vswitchd asks of every broadcast ARP whether it is gratuitous before it learns: so masks are as its masks. */
  private consultGratuitousArp(): void {
    const { flow, wc } = this;
    if (!flow.isArp || flow.u32(F.DL_DST) !== 0xffffffff || flow.u16(F.DL_DST + 4) !== 0xffff) return;
    wc.put8(F.NW_PROTO, 0xff);
    if (flow.u8(F.NW_PROTO) === 1) wc.fill(F.NW_SRC, 8, 0xff);
  }

  private outputVlan(to: XPort, vlan: number): void {
    if (!carries(to, vlan)) return;
    const { flow } = this;
    const mode = vlanMode(to);
    const untagged = mode === "access" || (mode === "native-untagged" && vlan === (to.tag ?? 0));
    const saved = flow.bytes.slice(F.VLAN0_TPID, F.MPLS);
    const vid = untagged ? 0 : vlan;
    if (vid === 0) {
      // A priority tag (VID 0) does not leave either.
      if (flow.vlanCount > 0) popVlan(flow, null);
    } else if (flow.vlanCount > 0) flow.put16(F.VLAN0_TCI, (flow.u16(F.VLAN0_TCI) & 0xe000) | vid | VLAN_CFI);
    else pushVlan(flow, ETH_TYPE_VLAN_8021Q, vid | VLAN_CFI, null);
    this.outputTo(to.port);
    flow.bytes.set(saved, F.VLAN0_TPID);
  }

  // Connection tracking and recirculation.

  private conntrack(ct: CtAction): void {
    const { flow, wc, writer } = this;
    if (!flow.isIp) return;
    this.commit();
    // What exec() sets is what the mask says after it; the flow's own bits are the packet's again afterwards.
    const markMask = wc.u32(F.CT_MARK);
    const labelMask = wc.bytes.slice(F.CT_LABEL, F.CT_LABEL + 16);
    wc.fill(F.CT_MARK, 4, 0);
    wc.fill(F.CT_LABEL, 16, 0);
    for (const action of ct.exec) this.runAction(action);
    let zone: number;
    if (typeof ct.zone === "number") zone = ct.zone;
    else {
      fillSubfield(wc, ct.zone);
      zone = Number(bytesToBigint(getSubfield(flow, ct.zone)));
    }
    const nest = writer.nest(ovs.OVS_ACTION_ATTR_CT);
    if (ct.commit) {
      writer.flag(ct.force ? ovs.OVS_CT_ATTR_FORCE_COMMIT : ovs.OVS_CT_ATTR_COMMIT);
      if (this.context.ctEventmask !== false) writer.u32(ovs.OVS_CT_ATTR_EVENTMASK, CT_EVENTMASK);
    }
    writer.u16(ovs.OVS_CT_ATTR_ZONE, zone);
    if (wc.u32(F.CT_MARK)) {
      const at = writer.attr(ovs.OVS_CT_ATTR_MARK, 8);
      writer.view.setUint32(at, flow.u32(F.CT_MARK) & wc.u32(F.CT_MARK), true);
      writer.view.setUint32(at + 4, wc.u32(F.CT_MARK), true);
    }
    if (!wc.isZero(F.CT_LABEL, 16)) {
      const at = writer.attr(ovs.OVS_CT_ATTR_LABELS, 32);
      for (let i = 0; i < 16; i++) {
        const mask = wc.bytes[F.CT_LABEL + 15 - i];
        writer.bytes[at + i] = flow.bytes[F.CT_LABEL + 15 - i] & mask;
        writer.bytes[at + 16 + i] = mask;
      }
    }
    if (ct.helper) writer.string(ovs.OVS_CT_ATTR_HELPER, ct.helper);
    if (ct.nat) writeNat(writer, ct.nat);
    writer.endNest(nest);
    wc.put32(F.CT_MARK, markMask);
    wc.bytes.set(labelMask, F.CT_LABEL);
    if (ct.table !== null) {
      this.conntracked = true;
      this.recirculate(null, ct.table);
    }
    flow.clearConntrack();
    this.base.clearConntrack();
    this.conntracked = false;
  }

  /** Writes RECIRC; what comes back goes on in `table`, or with `actions`. */
  private recirculate(actions: Action[] | null, table: number): void {
    const { flow } = this;
    const state: FrozenState = {
      table,
      actions,
      metadata: flow.bytes.slice(F.REGS, F.SKB_PRIORITY),
      inPort: flow.u32(F.IN_PORT),
      stack: this.stack.map((value) => value.slice()),
      conntracked: this.conntracked,
    };
    const id = this.context.recirc.idOf(state);
    this.recircIds.push(id);
    this.writer.u32(ovs.OVS_ACTION_ATTR_RECIRC, id);
  }

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
      this.put(action.target, Uint8Array.of(larger));
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

/** Actions that look below a popped MPLS label. */
function needsHeader(action: Action): boolean {
  switch (action.type) {
    case "resubmit":
    case "goto_table":
    case "ct":
    case "dec_ttl":
    case "mod_tp":
      return true;
    case "set_field":
      return ["ip", "ipv4", "ipv6", "tcp", "udp", "sctp", "icmp4", "icmp6", "arp"].includes(action.field.prerequisite);
    case "load":
      return action.target.field.offset >= F.NW_SRC;
    case "move":
      return action.target.field.offset >= F.NW_SRC || action.source.field.offset >= F.NW_SRC;
    default:
      return false;
  }
}

/** Whether what a list does to the packet can be undone by setting fields back. */
function reversible(actions: readonly Action[]): boolean {
  return actions.every((action) => {
    switch (action.type) {
      case "ct":
      case "ct_clear":
      case "meter":
      case "push_mpls":
      case "pop_mpls":
      case "resubmit":
      case "goto_table":
      case "dec_mpls_ttl":
      case "dec_ttl":
        return false;
      case "clone":
        return reversible(action.actions);
      default:
        return true;
    }
  });
}

function vlanMode(port: XPort): NonNullable<XPort["vlanMode"]> {
  return (
    port.vlanMode ??
    (port.tag !== undefined && !port.trunks ? "access" : port.tag !== undefined ? "native-tagged" : "trunk")
  );
}

/** VLAN of a packet with VLAN id `vid` that came in by a port; negative where the port does not take it. */
function inputVlan(port: XPort, vid: number): number {
  const mode = vlanMode(port);
  if (mode === "access") return vid === 0 ? (port.tag ?? 0) : -1;
  if (vid === 0 && mode !== "trunk") return port.tag ?? 0;
  return carries(port, vid) ? vid : -1;
}

function carries(port: XPort, vlan: number): boolean {
  const mode = vlanMode(port);
  if (mode === "access") return vlan === (port.tag ?? 0);
  if (mode !== "trunk" && vlan === port.tag) return true;
  return !port.trunks || port.trunks.includes(vlan);
}

function writeNat(writer: MessageWriter, nat: NatSpec): void {
  const nest = writer.nest(ovs.OVS_CT_ATTR_NAT);
  if (nat.type !== "restore") {
    writer.flag(nat.type === "src" ? ovs.OVS_NAT_ATTR_SRC : ovs.OVS_NAT_ATTR_DST);
    if (nat.addressMin && nat.addressMax) {
      writer.raw(ovs.OVS_NAT_ATTR_IP_MIN, nat.addressMin);
      if (Buffer.compare(nat.addressMin, nat.addressMax) !== 0) writer.raw(ovs.OVS_NAT_ATTR_IP_MAX, nat.addressMax);
    }
    if (nat.portMin !== undefined) {
      writer.u16(ovs.OVS_NAT_ATTR_PROTO_MIN, nat.portMin);
      if (nat.portMax !== undefined && nat.portMax !== nat.portMin) writer.u16(ovs.OVS_NAT_ATTR_PROTO_MAX, nat.portMax);
    }
    if (nat.persistent) writer.flag(ovs.OVS_NAT_ATTR_PERSISTENT);
    if (nat.algorithm === "hash") writer.flag(ovs.OVS_NAT_ATTR_PROTO_HASH);
    if (nat.algorithm === "random") writer.flag(ovs.OVS_NAT_ATTR_PROTO_RANDOM);
    if (nat.zones) {
      writer.u16(NOKMOD_NAT_ATTR_SRC_ZONE, nat.zones.source);
      writer.u16(NOKMOD_NAT_ATTR_DST_ZONE, nat.zones.destination);
    }
  } else if (nat.reverse) writer.flag(NOKMOD_NAT_ATTR_REVERSE);
  writer.endNest(nest);
}
