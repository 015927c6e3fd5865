/**
 * The built-in userspace: one bridge over one datapath. It answers upcalls by translating OpenFlow tables into datapath
 * flows, and keeps those flows true to the tables; all of it by netlink messages.
 */
import { formatActions } from "../client/format.ts";
import type { FlowInfo, Upcall, UpcallSocket, VportInfo } from "../client/ovs.ts";
import { type OvsBatch, OvsClient } from "../client/ovs.ts";
import type { SocketOpener } from "../client/requester.ts";
import { type Clock, systemClock } from "../core/clock.ts";
import { Errno, NokmodError } from "../core/errors.ts";
import { MessageWriter } from "../netlink/writer.ts";
import { EEXIST, ENODEV, ENOENT } from "../uapi/errno.ts";
import * as ovs from "../uapi/openvswitch.ts";
import { executeWithHelp } from "./execute.ts";
import { F, FLOW_WORDS, Flow, Match, OFPP_LOCAL, OFPP_NONE } from "./flow.ts";
import { type MacEntry, MacTable } from "./mac-table.ts";
import { ODPP_NONE, readKey, writeMask, writeMetadata } from "./odp/key.ts";
import { type FlowFilter, type FlowSpec, formatFlow, parseFilter, parseFlow, parseMatch } from "./ofctl/flow-spec.ts";
import { formatMatch } from "./ofctl/match.ts";
import { type PortNames, reservedPort } from "./ofctl/values.ts";
import { RecircTable } from "./recirc.ts";
import { ufidKey, ufidOf } from "./ufid.ts";
import { decodeUserdata, encodeUserdata } from "./userdata.ts";
import {
  FlowTables,
  Rule,
  type UserspaceReason,
  type XlateContext,
  type XlateResult,
  type XPort,
  xlate,
} from "./xlate.ts";

/** SO_RCVBUF of upcall sockets. */
const UPCALL_BUFFER = 4 * 1024 * 1024;
/** Upcalls answered in one send. */
const UPCALL_BATCH = 64;
/** A revalidation that runs beside other work gives way after this many milliseconds, asked every so many flows. */
const REVALIDATE_SLICE_MS = 1;
const REVALIDATE_SLICE = 16;
/** Passes that come by themselves are as far apart that other work has so many times what they take. */
const REVALIDATE_REST = 4;
/** Idle time that is let pass once there are too many flows. */
const CROWDED_IDLE = 100;
const MAX_PORT = 0xfeff;

/** A port to be. */
export interface PortConfig extends Omit<Partial<XPort>, "datapathPort"> {
  /** Device name. */
  readonly name: string;
  /** `netdev` (default): a device that is there; `internal`: one that is made. */
  readonly type?: "netdev" | "internal";
  /** Port number wanted, in OpenFlow and in the datapath; default the lowest free one. */
  readonly port?: number;
}

/** When periodic and postponed work is done. */
export interface Scheduler {
  /** Calls back every `ms` milliseconds until the returned function is called. */
  every(ms: number, callback: () => void): () => void;
  /** Calls back once, soon, when other work has had its turn. */
  soon(callback: () => void): () => void;
}

/** The event loop's timers; they keep no process alive. */
export const systemScheduler: Scheduler = {
  every(ms, callback) {
    const timer = setInterval(callback, ms).unref();
    return () => clearInterval(timer);
  },
  soon(callback) {
    const immediate = setImmediate(callback);
    return () => clearImmediate(immediate);
  },
};

/** Does nothing by itself: for tests that call revalidate(). */
export const manualScheduler: Scheduler = { every: () => () => {}, soon: () => () => {} };

export interface VSwitchOptions {
  /** Where netlink sockets come from. */
  readonly opener: SocketOpener;
  /** Name of the bridge: of the datapath and its local port. */
  readonly name: string;
  /** The clock that the datapath's `used` times count by. Default: the machine's. */
  readonly clock?: Clock;
  readonly scheduler?: Scheduler;
  /** Ports to attach, by name or with their settings. */
  readonly ports?: readonly (string | PortConfig)[];
  /** Flows in ovs-ofctl syntax. */
  readonly flows?: readonly string[];
  /** `vport`: an upcall socket for each port; a number: that many handlers, chosen by CPU. Default `vport`. */
  readonly dispatch?: "vport" | number;
  /** Milliseconds between revalidations. Default 500. */
  readonly revalidateMs?: number;
  /** Milliseconds without a packet after which a datapath flow goes. Default 10 000. */
  readonly maxIdleMs?: number;
  /** Most datapath flows. Default 200 000. */
  readonly flowLimit?: number;
  /** Milliseconds after which a learned address is forgotten. Default 300 000. */
  readonly macAgingMs?: number;
}

/** What came up, and what became of it. */
export interface UpcallEvent {
  /** `miss`: no datapath flow matched; `slow`: one did, but user space has to do its work; `controller`: a packet-in. */
  readonly kind: "miss" | "slow" | "controller";
  /** Null where the port is not one of the bridge's. */
  readonly inPort: XPort | null;
  /** Views the datagram: valid during the call. */
  readonly packet: Uint8Array;
  /** OVS_KEY_ATTR_* */
  readonly key: Uint8Array;
  /** The flow in OpenFlow's terms. */
  readonly flow: Flow;
  readonly ufid: Uint8Array;
  /** Datapath actions that the packet was given. */
  readonly actions: Uint8Array;
  /** Why all was dropped, where translation failed. */
  readonly error: string | null;
}

/** A datapath flow that was put, changed or removed. */
export interface FlowEvent {
  readonly ufid: Uint8Array;
  /** OVS_KEY_ATTR_* as the packet had them; what the mask leaves out says nothing. */
  readonly key: Uint8Array;
  readonly mask: Uint8Array;
  readonly actions: Uint8Array;
  readonly packets: number;
  readonly bytes: number;
  readonly tcpFlags: number;
  /** Why it was removed. */
  readonly reason: "put" | "changed" | "idle" | "stale" | "gone" | "flushed";
}

/** A packet sent to the controller. */
export interface PacketIn {
  readonly packet: Uint8Array;
  /** Length before it was cut to max_len. */
  readonly totalLength: number;
  readonly inPort: number;
  readonly reason: number;
  readonly id: number;
  readonly table: number;
  readonly cookie: bigint;
  readonly userdata: Uint8Array | null;
}

/** A datapath flow, from our side (ovs-vswitchd's "ukey"). */
interface Ukey {
  readonly id: string;
  readonly ufid: Uint8Array;
  readonly key: Uint8Array;
  readonly inPort: number;
  readonly mask: Uint8Array;
  readonly wildcards: Uint8Array;
  actions: Uint8Array;
  /** Who is to be told of its packets, and what its actions need. */
  effects: Effects;
  packets: number;
  bytes: number;
  tcpFlags: number;
  used: number;
  /** The revision that it was last translated at. */
  revision: number;
  /** The dump in which it was last seen. */
  dump: number;
}

/** What of a translation outlives it. */
type Effects = Pick<XlateResult, "rules" | "learned" | "recircIds">;

export class VSwitch {
  readonly client: OvsClient;
  /** What the upcalls at hand are answered with. */
  private batch: OvsBatch;
  readonly name: string;
  /** Interface index of the local port: the datapath's handle. */
  readonly datapath: number;
  readonly macs: MacTable;

  /** Called for each upcall after it was answered. */
  onUpcall: ((event: UpcallEvent) => void) | null = null;
  onFlowPut: ((event: FlowEvent) => void) | null = null;
  onFlowDel: ((event: FlowEvent) => void) | null = null;
  /** The controller. */
  onPacketIn: ((packet: PacketIn) => void) | null = null;
  /** Called when a request failed that should not have. */
  onFault: ((what: string, error: unknown) => void) | null = null;

  /** Counters of this side. */
  readonly statistics = {
    /** Upcalls taken. */
    upcalls: 0,
    /** Times that a socket told of lost upcalls. */
    lost: 0,
    flowsPut: 0,
    flowsFailed: 0,
    flowsDeleted: 0,
    flowsChanged: 0,
    revalidations: 0,
  };

  private readonly clock: Clock;
  private readonly scheduler: Scheduler;
  private readonly tables = new FlowTables();
  private readonly xports = new Map<number, XPort>();
  private readonly recirc: RecircTable;
  private readonly context: XlateContext;
  private readonly sockets = new Map<number, UpcallSocket>();
  private readonly ukeys = new Map<string, Ukey>();
  private readonly maxIdleMs: number;
  private readonly flowLimit: number;
  private readonly perCpu: boolean;
  private readonly created: boolean;
  private readonly stops: (() => void)[] = [];
  private portGeneration = 0;
  private dump = 0;
  private running: Iterator<void> | null = null;
  /** Milliseconds that the running pass has taken. */
  private busy = 0;
  private restUntil = 0;
  private cancelSoon: (() => void) | null = null;
  private handling = false;
  private closed = false;

  /**
   * Creates the datapath, or takes over one that is there with its ports.
   * @throws Errno ENOENT when there is no module; ENODEV, EBUSY … as ports are attached
   * @throws OfpError
   */
  constructor(options: VSwitchOptions) {
    this.name = options.name;
    this.clock = options.clock ?? systemClock;
    this.scheduler = options.scheduler ?? systemScheduler;
    this.maxIdleMs = options.maxIdleMs ?? 10_000;
    this.flowLimit = options.flowLimit ?? 200_000;
    this.client = new OvsClient(options.opener);
    this.batch = this.client.batch();
    this.macs = new MacTable(this.clock, options.macAgingMs);
    this.recirc = new RecircTable(() => this.clock.monotonic());
    this.context = {
      tables: this.tables,
      ports: this.xports,
      macs: this.macs,
      recirc: this.recirc,
      upcallPid: (port) => this.upcallPid(port),
      userdata: encodeUserdata,
    };
    const dispatch = options.dispatch ?? "vport";
    this.perCpu = dispatch !== "vport";
    const handlers = dispatch === "vport" ? 1 : Math.max(1, dispatch);
    const pids: number[] = [];
    for (let i = 0; i < handlers; i++) pids.push(this.openSocket(i).portId);
    const feature = this.perCpu ? ovs.OVS_DP_F_DISPATCH_UPCALL_PER_CPU : ovs.OVS_DP_F_VPORT_PIDS;
    const userFeatures = ovs.OVS_DP_F_UNALIGNED | feature;
    const upcallPid = this.perCpu ? 0 : pids[0];
    let made = true;
    let datapath: number;
    try {
      datapath = this.client.createDatapath(this.name, { upcallPid, userFeatures }).ifindex;
    } catch (error) {
      if (!(error instanceof Errno && error.errno === EEXIST)) {
        this.closeSockets();
        throw error;
      }
      made = false;
      datapath = this.client.datapath(this.name).ifindex;
      this.client.flushFlows(datapath);
    }
    this.created = made;
    this.datapath = datapath;
    try {
      if (this.perCpu) this.client.setDatapath(datapath, { userFeatures, perCpuPids: pids });
      else if (!made) this.client.setDatapath(datapath, { userFeatures });
      const subscription = this.client.subscribe(
        (notification) => {
          if (notification.family === "ovs_vport" && notification.vport.datapath === datapath) {
            this.vportChanged(notification.command, notification.vport);
          }
        },
        ["ovs_vport"],
        () => this.resyncPorts(),
      );
      this.stops.push(() => subscription.close());
      this.resyncPorts();
      for (const port of options.ports ?? []) this.addPort(port);
      for (const flow of options.flows ?? []) this.addFlow(flow);
    } catch (error) {
      this.close();
      throw error;
    }
    this.stops.push(this.scheduler.every(options.revalidateMs ?? 500, () => this.revalidateAgain()));
  }

  /** Takes the bridge down; the datapath goes with it where this bridge has made it. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.cancelSoon?.();
    for (const stop of this.stops.splice(0)) stop();
    try {
      if (this.created) this.client.deleteDatapath(this.datapath);
      else this.client.flushFlows(this.datapath);
    } catch (error) {
      if (!(error instanceof Errno && error.errno === ENODEV)) this.fault("close", error);
    }
    this.closeSockets();
    this.client.close();
  }

  // Ports.

  /** The ports, the local one first. */
  ports(): XPort[] {
    return [...this.xports.values()].sort((a, b) => a.datapathPort - b.datapathPort);
  }

  /** Names of the ports for parsing and printing. */
  get portNames(): PortNames {
    return {
      numberOf: (name) => this.portByName(name)?.port,
      nameOf: (port) => this.xports.get(port)?.name,
    };
  }

  private portByName(name: string): XPort | undefined {
    for (const port of this.xports.values()) if (port.name === name) return port;
    return undefined;
  }

  /**
   * Attaches a device.
   * @throws Errno ENODEV (no such device), EBUSY (number taken, or device taken) …
   */
  addPort(config: string | PortConfig): XPort {
    const wanted = typeof config === "string" ? { name: config } : config;
    const known = this.portByName(wanted.name);
    // A bridge that took over a datapath finds its ports there.
    if (known && (wanted.port === undefined || wanted.port === known.port)) {
      this.setPort(wanted.name, wanted);
      return this.xports.get(known.port)!;
    }
    const socket = this.perCpu ? null : this.openSocket(-1);
    let vport: VportInfo;
    try {
      vport = this.client.createVport(this.datapath, {
        name: wanted.name,
        type: wanted.type === "internal" ? ovs.OVS_VPORT_TYPE_INTERNAL : ovs.OVS_VPORT_TYPE_NETDEV,
        portNo: wanted.port,
        upcallPids: [socket?.portId ?? 0],
      });
    } catch (error) {
      socket?.close();
      throw error;
    }
    if (socket) this.sockets.set(vport.portNo, socket);
    return this.notePort(vport, wanted);
  }

  /** Detaches a port. @throws Errno ENODEV */
  removePort(name: string): void {
    const port = this.portByName(name);
    if (!port || port.port === OFPP_LOCAL) throw new Errno(ENODEV, `no port ${name}`);
    this.client.deleteVport(this.datapath, port.datapathPort);
    this.forgetPort(port);
  }

  /** Changes a port's VLAN settings. */
  setPort(name: string, settings: Pick<XPort, "tag" | "trunks" | "vlanMode" | "noFlood">): void {
    const port = this.portByName(name);
    if (!port) throw new Errno(ENODEV, `no port ${name}`);
    const { datapathPort } = port;
    const { tag, trunks, vlanMode, noFlood } = settings;
    this.xports.set(port.port, { port: port.port, datapathPort, name, tag, trunks, vlanMode, noFlood });
    this.portsChanged();
  }

  private notePort(vport: VportInfo, settings: Partial<PortConfig> = {}): XPort {
    const { tag, trunks, vlanMode, noFlood } = settings;
    const number = vport.portNo === ovs.OVSP_LOCAL ? OFPP_LOCAL : vport.portNo;
    const port: XPort = { port: number, datapathPort: vport.portNo, name: vport.name, tag, trunks, vlanMode, noFlood };
    this.xports.set(number, port);
    this.portsChanged();
    return port;
  }

  private forgetPort(port: XPort): void {
    if (this.xports.get(port.port) !== port) return;
    this.xports.delete(port.port);
    if (!this.perCpu) {
      this.sockets.get(port.datapathPort)?.close();
      this.sockets.delete(port.datapathPort);
    }
    this.macs.flush(port.port);
    this.portsChanged();
  }

  private portsChanged(): void {
    this.portGeneration++;
    this.revalidateSoon();
  }

  private vportChanged(command: number, vport: VportInfo): void {
    const number = vport.portNo === ovs.OVSP_LOCAL ? OFPP_LOCAL : vport.portNo;
    const known = this.xports.get(number);
    if (command === ovs.OVS_VPORT_CMD_DEL) {
      if (known && known.name === vport.name && !this.stillThere(vport)) this.forgetPort(known);
    } else if (!known) this.adoptPort(vport);
    else if (known.name !== vport.name && this.stillThere(vport)) {
      this.xports.set(number, { ...known, name: vport.name });
    }
  }

  /** A notification tells of the past: ask what is. */
  private stillThere(vport: VportInfo): boolean {
    try {
      return this.client.vport(this.datapath, vport.portNo).name === vport.name;
    } catch (error) {
      if (error instanceof Errno && error.errno === ENODEV) return false;
      throw error;
    }
  }

  /** Takes in a port that somebody else has attached. */
  private adoptPort(vport: VportInfo): void {
    if (vport.portNo > MAX_PORT) return;
    const local = vport.portNo === ovs.OVSP_LOCAL;
    const socket = this.perCpu ? null : local ? this.sockets.get(0)! : this.openSocket(-1);
    try {
      const now = this.client.setVport(this.datapath, vport.portNo, { upcallPids: [socket?.portId ?? 0] });
      if (socket) this.sockets.set(vport.portNo, socket);
      this.notePort(now);
    } catch (error) {
      if (!local) socket?.close();
      if (!(error instanceof Errno && error.errno === ENODEV)) throw error;
    }
  }

  /** Reads all ports anew: at the start, and when notifications were lost. */
  private resyncPorts(): void {
    const present = new Set<number>();
    for (const vport of this.client.vports(this.datapath)) {
      const number = vport.portNo === ovs.OVSP_LOCAL ? OFPP_LOCAL : vport.portNo;
      present.add(number);
      if (!this.xports.has(number)) this.adoptPort(vport);
    }
    for (const port of [...this.xports.values()]) if (!present.has(port.port)) this.forgetPort(port);
  }

  private openSocket(slot: number): UpcallSocket {
    const socket = this.client.openUpcalls();
    socket.socket.setReceiveBuffer(UPCALL_BUFFER);
    socket.onReadable = () => this.handleUpcalls(socket);
    if (slot >= 0) this.sockets.set(slot, socket);
    return socket;
  }

  private closeSockets(): void {
    for (const socket of this.sockets.values()) socket.close();
    this.sockets.clear();
  }

  /** In per-CPU mode the datapath looks at its own list, whatever an action says. */
  private upcallPid(port: number): number {
    if (this.perCpu) return 0xffffffff;
    const number = port === OFPP_LOCAL ? ovs.OVSP_LOCAL : port;
    return (this.sockets.get(number) ?? this.sockets.get(0))?.portId ?? 0;
  }

  // OpenFlow.

  /** Adds a flow; one of the same table, priority and match is replaced. @throws OfpError */
  addFlow(flow: string | FlowSpec): void {
    const spec = typeof flow === "string" ? parseFlow(flow, this.portNames) : flow;
    this.tables.add(new Rule(spec, this.clock.monotonic()));
    this.revalidateSoon();
  }

  /**
   * Deletes the flows that a filter selects: those that match nothing outside of it, or with `strict` the one of exactly
   * that match and priority.
   * @returns how many
   * @throws OfpError
   */
  delFlows(filter: string | FlowFilter = "", options: { strict?: boolean } = {}): number {
    const wanted = typeof filter === "string" ? parseFilter(filter, this.portNames) : filter;
    let count = 0;
    for (const rule of this.select(wanted, options.strict ?? false)) if (this.tables.remove(rule)) count++;
    if (count > 0) this.revalidateSoon();
    return count;
  }

  private select(filter: FlowFilter, strict: boolean): Rule[] {
    const found: Rule[] = [];
    for (const rule of this.tables) {
      const { spec } = rule;
      if (filter.table !== null && spec.table !== filter.table) continue;
      if (((spec.cookie ^ filter.cookie) & filter.cookieMask) !== 0n) continue;
      if (filter.outPort !== null && !spec.actions.some((a) => a.type === "output" && a.port === filter.outPort))
        continue;
      if (strict) {
        if (spec.priority !== (filter.priority ?? 0x8000) || !spec.match.equals(filter.match)) continue;
      } else if (!isWithin(spec.match, filter.match)) continue;
      found.push(rule);
    }
    return found;
  }

  /** Flows with their counters, as `ovs-ofctl dump-flows` writes them. @throws OfpError */
  dumpFlows(filter = "", options: { names?: boolean; statistics?: boolean } = {}): string[] {
    const names = options.names === true ? this.portNames : undefined;
    return this.flows(filter).map((rule) => {
      if (options.statistics === false) return formatFlow(rule.spec, null, names);
      const now = this.clock.monotonic();
      const stats = {
        duration: (now - rule.created) / 1000,
        packets: rule.packets,
        bytes: rule.bytes,
        idleAge: (now - rule.used) / 1000,
      };
      return formatFlow(rule.spec, stats, names);
    });
  }

  /** The flows that a filter selects, with counters as fresh as the datapath's. @throws OfpError */
  flows(filter = ""): Rule[] {
    const wanted = parseFilter(filter, this.portNames);
    this.revalidate();
    return this.select(wanted, false);
  }

  /** Addresses that NORMAL has learned. */
  learned(): MacEntry[] {
    return [...this.macs];
  }

  /**
   * What a packet would be given, as `ofproto/trace` tells.
   * @param packet a flow in ovs-ofctl syntax; what it does not name is zero
   */
  trace(packet: string): { megaflow: string; actions: string; rules: string[]; error: string | null } {
    const flow = new Flow(parseMatch(packet, this.portNames).key);
    flow.put8(F.IS_ETH, 1);
    if (flow.u16(F.VLAN0_TCI)) flow.put16(F.VLAN0_TPID, 0x8100);
    const result = xlate(this.context, flow);
    const key = new Flow(flow);
    for (let i = 0; i < FLOW_WORDS; i++) key.words[i] &= result.wildcards.words[i];
    return {
      megaflow: formatMatch(new Match(key, result.wildcards)),
      actions: formatActions(result.actions),
      rules: result.rules.map((rule) => formatFlow(rule.spec, null)),
      error: result.error,
    };
  }

  /** Sends a packet out of ports. */
  packetOut(packet: Uint8Array, ports: readonly (number | string)[], inPort: number = OFPP_NONE): void {
    const writer = new MessageWriter();
    for (const port of ports) {
      const number = typeof port === "number" ? port : (this.portByName(port)?.port ?? reservedPort(port));
      const to = number === undefined ? undefined : this.xports.get(number);
      if (!to) throw new NokmodError("ERR_NO_PORT", `no port ${port}`);
      writer.u32(ovs.OVS_ACTION_ATTR_OUTPUT, to.datapathPort);
    }
    const key = new MessageWriter();
    writeMetadata(key, new Flow(), this.xports.get(inPort)?.datapathPort ?? ODPP_NONE);
    this.client.execute(this.datapath, { packet, key: key.finish(), actions: writer.finish() });
  }

  // Upcalls.

  private readonly ready = new Set<UpcallSocket>();
  private readonly queue: Upcall[] = [];

  /** Takes what waits in sockets, in batches, until there is no more. */
  private handleUpcalls(socket: UpcallSocket): void {
    this.ready.add(socket);
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
        this.queue.length = 0;
        // What it holds has not been sent.
        this.batch = this.client.batch();
        this.fault("upcall", error);
      }
      this.statistics.lost += next.lost - lost;
    }
    this.handling = false;
  }

  private answer(): void {
    if (this.queue.length === 0) return;
    const upcalls = this.queue.splice(0);
    const { batch } = this;
    const puts = new Map<number, Ukey>();
    const events: UpcallEvent[] = [];
    for (const upcall of upcalls) {
      if (upcall.datapath !== this.datapath) continue;
      this.statistics.upcalls++;
      const event = this.one(
        upcall,
        (ukey) => {
          const index = batch.putFlow(this.datapath, {
            key: ukey.key,
            mask: ukey.mask,
            actions: ukey.actions,
            ufid: ukey.ufid,
          });
          puts.set(index, ukey);
        },
        (packet, key, actions) => {
          batch.execute(this.datapath, {
            packet,
            key,
            actions,
            mru: upcall.mru ?? undefined,
            hash: upcall.hash ?? undefined,
          });
        },
      );
      if (event) events.push(event);
    }
    batch.send((index, error) => {
      const ukey = puts.get(index);
      if (!ukey) {
        // A packet that cannot be sent is lost, as it would be in the datapath.
        this.fault("execute", error);
        return;
      }
      puts.delete(index);
      this.statistics.flowsFailed++;
      this.dropUkey(ukey);
      // EEXIST: a packet that came up at the same time has put a flow that covers this one.
      if (error.errno !== EEXIST) this.fault("flow put", error);
    });
    for (const ukey of puts.values()) {
      this.statistics.flowsPut++;
      this.onFlowPut?.(flowEvent(ukey, "put"));
    }
    if (this.onUpcall) for (const event of events) this.onUpcall(event);
  }

  /** Translates one upcall. */
  private one(
    upcall: Upcall,
    put: (ukey: Ukey) => void,
    execute: (packet: Uint8Array, key: Uint8Array, actions: Uint8Array) => void,
  ): UpcallEvent | null {
    const flow = this.onUpcall ? new Flow() : this.upcallFlow;
    flow.words.fill(0);
    const datapathPort = readKey(upcall.key, flow);
    const number = datapathPort === ovs.OVSP_LOCAL ? OFPP_LOCAL : datapathPort;
    const inPort = this.xports.get(number) ?? null;
    flow.put32(F.IN_PORT, number <= MAX_PORT || number === OFPP_LOCAL ? number : OFPP_NONE);
    const ufid = ufidOf(upcall.key);
    const base = { inPort, packet: upcall.packet, key: upcall.key, flow, ufid };
    let kind: UpcallEvent["kind"] = "miss";
    if (upcall.command === ovs.OVS_PACKET_CMD_ACTION) {
      const reason = upcall.userdata && decodeUserdata(upcall.userdata);
      if (!reason) return null;
      if (reason.kind === "controller") {
        this.deliver(upcall, number, reason);
        return { kind: "controller", ...base, actions: NOTHING, error: null };
      }
      kind = "slow";
    }
    // A packet of a port that is going: no flow for it, it would outlive the port.
    if (!inPort) return { kind, ...base, actions: NOTHING, error: "no such port" };
    const result = xlate(this.context, flow, this.scratchWildcards);
    const now = this.clock.monotonic();
    const ran = result.actions;
    if (kind === "miss") {
      const id = ufidKey(ufid);
      if (!this.ukeys.has(id) && this.ukeys.size < this.flowLimit) {
        const ukey = this.makeUkey(id, ufid, upcall.key.slice(), flow, result, now);
        this.ukeys.set(id, ukey);
        put(ukey);
      }
      // The packet itself goes by EXECUTE, which no flow counts.
      this.account(result, 1, upcall.length ?? upcall.packet.length, now);
    } else this.learn(result, now);
    if (ran.length > 0) {
      const key = this.scratch.reset();
      writeMetadata(key, flow, datapathPort);
      const metadata = key.finish();
      if (result.slow) executeWithHelp(upcall.packet, ran, (packet, actions) => execute(packet, metadata, actions));
      else execute(upcall.packet, metadata, ran);
    }
    return { kind, ...base, actions: ran, error: result.error };
  }
  private readonly scratch = new MessageWriter();
  private readonly scratchFlow = new Flow();
  private readonly scratchWildcards = new Flow();
  private readonly upcallFlow = new Flow();
  private readonly masks = new Shared();
  private readonly wildcards = new Shared();
  private readonly actions = new Shared();

  private makeUkey(id: string, ufid: Uint8Array, key: Uint8Array, flow: Flow, result: XlateResult, now: number): Ukey {
    const mask = this.scratch.reset();
    writeMask(mask, flow, result.wildcards);
    this.recirc.hold(result.recircIds);
    return {
      id,
      ufid,
      key,
      inPort: flow.u32(F.IN_PORT),
      mask: this.masks.get(mask.bytes.subarray(0, mask.length)),
      wildcards: this.wildcards.get(result.wildcards.bytes),
      actions: this.actions.get(this.datapathActions(flow, result)),
      effects: effectsOf(result),
      packets: 0,
      bytes: 0,
      tcpFlags: 0,
      used: now,
      revision: this.revision,
      // Not to be missed in a dump that has begun before it was put.
      dump: this.dump,
    };
  }

  /** What the datapath is told to do: the actions, or to send every packet up. */
  private datapathActions(flow: Flow, result: XlateResult): Uint8Array {
    if (!result.slow) return result.actions;
    const writer = new MessageWriter(64);
    const nest = writer.nest(ovs.OVS_ACTION_ATTR_USERSPACE);
    writer.u32(ovs.OVS_USERSPACE_ATTR_PID, this.upcallPid(flow.u32(F.IN_PORT)));
    writer.raw(ovs.OVS_USERSPACE_ATTR_USERDATA, encodeUserdata({ kind: "slow" }));
    writer.endNest(nest);
    return writer.finish();
  }

  private deliver(upcall: Upcall, inPort: number, reason: Extract<UserspaceReason, { kind: "controller" }>): void {
    if (!this.onPacketIn) return;
    const { reason: code, id, table, cookie, userdata, maxLen } = reason;
    this.onPacketIn({
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

  private account(result: Effects, packets: number, bytes: number, used: number): void {
    for (const rule of result.rules) {
      rule.packets += packets;
      rule.bytes += bytes;
      if (used > rule.used) rule.used = used;
    }
    this.learn(result, used);
  }

  private learn(result: Effects, when: number): void {
    if (result.learned.length === 0) return;
    const before = this.macs.generation;
    for (const { mac, macLow, vlan, port } of result.learned) this.macs.learn(mac, macLow, vlan, port, when);
    if (this.macs.generation !== before) this.revalidateSoon();
  }

  // Revalidation.

  /** Changes whenever a translation made before may not hold any more. */
  private get revision(): number {
    return this.tables.generation + this.macs.generation + this.portGeneration;
  }

  /** Number of datapath flows that this bridge has put. */
  get datapathFlows(): number {
    return this.ukeys.size;
  }

  private revalidateSoon(): void {
    if (this.cancelSoon || this.closed) return;
    this.cancelSoon = this.scheduler.soon(() => {
      this.cancelSoon = null;
      if (this.ukeys.size > 0) this.startRevalidation();
    });
  }

  private revalidateAgain(): void {
    if (this.clock.monotonic() >= this.restUntil) this.startRevalidation();
  }

  /** Starts a pass that runs in slices beside other work; one at a time. */
  private startRevalidation(): void {
    if (this.running || this.closed) return;
    this.running = this.pass();
    this.step();
  }

  private step(): void {
    if (!this.running || this.closed) return;
    const before = this.revision;
    const start = this.clock.monotonic();
    let done: boolean | undefined;
    try {
      done = this.running.next().done;
    } catch (error) {
      done = true;
      this.fault("revalidation", error);
    }
    const now = this.clock.monotonic();
    this.busy += now - start;
    if (!done) {
      this.scheduler.soon(() => this.step());
      return;
    }
    this.running = null;
    this.restUntil = now + REVALIDATE_REST * this.busy;
    this.busy = 0;
    if (before !== this.revision) this.revalidateSoon();
  }

  /** A whole pass, at once: fetches statistics, removes idle flows, translates again what may have changed. */
  revalidate(): void {
    this.running?.return?.();
    this.running = null;
    // Twice at most: a pass may learn addresses and remove rules, by which flows translate differently.
    for (let i = 0; i < 2; i++) {
      const before = this.revision;
      const pass = this.pass();
      while (!pass.next().done);
      if (this.revision === before) return;
    }
  }

  private *pass(): Generator<void> {
    this.statistics.revalidations++;
    const now = this.clock.monotonic();
    this.macs.expire();
    const dump = ++this.dump;
    const crowded = this.ukeys.size > this.flowLimit * 0.9;
    const idle = crowded ? CROWDED_IDLE : this.maxIdleMs;
    if (this.ukeys.size > 0) {
      const gone: [Ukey, FlowEvent["reason"]][] = [];
      const turn = new Turn(this.clock);
      for (const info of this.client.flows(this.datapath, TERSE)) {
        const ukey = info.ufid && this.ukeys.get(ufidKey(info.ufid));
        if (ukey) {
          ukey.dump = dump;
          this.fetch(ukey, info);
          const reason = this.examine(ukey, now, idle);
          if (reason) gone.push([ukey, reason]);
        } else if (info.ufid) this.deleteUnknown(info.ufid);
        if (turn.isOver()) yield;
      }
      for (const [ukey, reason] of gone) {
        this.deleteFlow(ukey, reason);
        if (turn.isOver()) yield;
      }
      // What the datapath no longer has: somebody else has deleted it.
      for (const ukey of this.ukeys.values()) {
        if (turn.isOver()) yield;
        if (ukey.dump >= dump) continue;
        this.dropUkey(ukey);
        this.onFlowDel?.(flowEvent(ukey, "gone"));
      }
    }
    // Last, when the counters of the rules are fresh.
    this.expireRules(now);
    this.recirc.sweep(this.maxIdleMs);
  }

  private expireRules(now: number): void {
    for (const rule of [...this.tables]) {
      const { idleTimeout, hardTimeout } = rule.spec;
      if (idleTimeout > 0 && now - rule.used >= idleTimeout * 1000) this.tables.remove(rule);
      else if (hardTimeout > 0 && now - rule.created >= hardTimeout * 1000) this.tables.remove(rule);
    }
  }

  /** Adds what a flow has counted since the last time to the rules that made it. */
  private fetch(ukey: Ukey, info: FlowInfo): void {
    const packets = info.packets - ukey.packets;
    const bytes = info.bytes - ukey.bytes;
    if (info.used !== null && info.used > ukey.used) ukey.used = info.used;
    ukey.packets = info.packets;
    ukey.bytes = info.bytes;
    ukey.tcpFlags |= info.tcpFlags;
    // Counters that went down were cleared by somebody else.
    if (packets > 0) this.account(ukey.effects, packets, Math.max(0, bytes), ukey.used);
  }

  /** Whether a flow must go; one whose actions alone have changed is changed. */
  private examine(ukey: Ukey, now: number, idle: number): FlowEvent["reason"] | null {
    if (now - ukey.used > idle) return "idle";
    const { revision } = this;
    if (ukey.revision === revision) return null;
    const flow = this.scratchFlow;
    flow.words.fill(0);
    readKey(ukey.key, flow);
    flow.put32(F.IN_PORT, ukey.inPort);
    const result = xlate(this.context, flow, this.scratchWildcards);
    if (result.error !== null || exceeds(result.wildcards.bytes, ukey.wildcards)) return "stale";
    ukey.revision = revision;
    this.recirc.hold(result.recircIds);
    this.recirc.release(ukey.effects.recircIds);
    ukey.effects = effectsOf(result);
    const actions = this.actions.get(this.datapathActions(flow, result));
    if (Buffer.compare(actions, ukey.actions) === 0) return null;
    try {
      this.client.setFlow(this.datapath, { ufid: ukey.ufid, key: ukey.key }, { mask: ukey.mask, actions });
    } catch (error) {
      if (!(error instanceof Errno)) throw error;
      return "stale";
    }
    ukey.actions = actions;
    this.statistics.flowsChanged++;
    this.onFlowPut?.(flowEvent(ukey, "changed"));
    return null;
  }

  private deleteFlow(ukey: Ukey, reason: FlowEvent["reason"]): void {
    if (this.ukeys.get(ukey.id) !== ukey) return;
    try {
      this.fetch(ukey, this.client.deleteFlow(this.datapath, { ufid: ukey.ufid }));
    } catch (error) {
      if (!(error instanceof Errno && error.errno === ENOENT)) throw error;
    }
    this.statistics.flowsDeleted++;
    this.dropUkey(ukey);
    this.onFlowDel?.(flowEvent(ukey, reason));
  }

  /** A flow that this bridge knows nothing of has no business in its datapath. */
  private deleteUnknown(ufid: Uint8Array): void {
    try {
      this.client.deleteFlow(this.datapath, { ufid: ufid.slice() });
    } catch (error) {
      if (!(error instanceof Errno && error.errno === ENOENT)) throw error;
    }
  }

  private dropUkey(ukey: Ukey): void {
    if (this.ukeys.get(ukey.id) !== ukey) return;
    this.ukeys.delete(ukey.id);
    this.recirc.release(ukey.effects.recircIds);
  }

  /** Removes all datapath flows; what is still needed comes back by upcalls. */
  flushDatapathFlows(): void {
    for (const ukey of [...this.ukeys.values()]) this.deleteFlow(ukey, "flushed");
    this.client.flushFlows(this.datapath);
  }

  private fault(what: string, error: unknown): void {
    this.onFault?.(what, error);
  }
}

/** Tells a long job when it has had its turn. */
class Turn {
  private steps = 0;
  private over = false;
  private since: number;

  constructor(private readonly clock: Clock) {
    this.since = clock.monotonic();
  }

  /** Asked after each step; true: the next turn begins when the job goes on. */
  isOver(): boolean {
    if (++this.steps % REVALIDATE_SLICE !== 0) return false;
    const now = this.clock.monotonic();
    // The first steps of a turn come after others have had theirs.
    if (this.over) this.since = now;
    this.over = now - this.since > REVALIDATE_SLICE_MS;
    return this.over;
  }
}

const NO_EFFECTS: readonly never[] = [];

function effectsOf({ rules, learned, recircIds }: XlateResult): Effects {
  return {
    rules,
    learned: learned.length === 0 ? NO_EFFECTS : learned,
    recircIds: recircIds.length === 0 ? NO_EFFECTS : recircIds,
  };
}

const NOTHING: Uint8Array = new Uint8Array(0);

/** Equal bytes once: most flows have one of few masks and actions. */
class Shared {
  private readonly known = new Map<string, Uint8Array>();
  private last: Uint8Array = NOTHING;

  /** A copy of `value`, the same one for the same bytes. */
  get(value: Uint8Array): Uint8Array {
    // One flow is often as the one before; to compare is faster than to hash.
    if (Buffer.compare(value, this.last) === 0) return this.last;
    const id = Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("latin1");
    let found = this.known.get(id);
    if (found === undefined) {
      // Forgetting costs memory, not truth.
      if (this.known.size >= SHARED_LIMIT) this.known.clear();
      found = value.slice();
      this.known.set(id, found);
    }
    this.last = found;
    return found;
  }
}

const SHARED_LIMIT = 4096;

const TERSE = ovs.OVS_UFID_F_OMIT_KEY | ovs.OVS_UFID_F_OMIT_MASK | ovs.OVS_UFID_F_OMIT_ACTIONS;

function flowEvent(ukey: Ukey, reason: FlowEvent["reason"]): FlowEvent {
  const { ufid, key, mask, actions, packets, bytes, tcpFlags } = ukey;
  return { ufid, key, mask, actions, packets, bytes, tcpFlags, reason };
}

/** Whether `now` consults bits that `then` has not: the old flow would then take in packets that it must not. */
function exceeds(now: Uint8Array, then: Uint8Array): boolean {
  for (let i = 0; i < now.length; i++) if (now[i] & ~then[i]) return true;
  return false;
}

/** Whether everything that `match` matches is matched by `outer` too. */
function isWithin(match: Match, outer: Match): boolean {
  for (let i = 0; i < FLOW_WORDS; i++) {
    const mask = outer.mask.words[i];
    if (mask & ~match.mask.words[i]) return false;
    if ((match.key.words[i] ^ outer.key.words[i]) & mask) return false;
  }
  return true;
}
