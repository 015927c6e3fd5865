/**
 * The built-in userspace: one bridge over one datapath. It answers upcalls by translating OpenFlow tables into datapath
 * flows and keeps those flows as the tables are, by netlink messages only.
 */
import { OvsClient } from "../client/ovs/index.ts";
import { systemClock } from "../core/clock.ts";
import { Errno, NokmodError } from "../core/errors.ts";
import { MessageWriter } from "../netlink/writer.ts";
import { EEXIST, ENODEV } from "../uapi/errno.ts";
import * as ovs from "../uapi/openvswitch.ts";
import type { BridgeHooks, BridgeStatistics, FlowEvent, PacketIn, UpcallEvent } from "./events.ts";
import { Flow, OFPP_NONE } from "./flow.ts";
import { type MacEntry, MacTable } from "./mac-table.ts";
import { ODPP_NONE, writeMetadata } from "./odp/key.ts";
import type { FlowFilter, OfpFlow } from "./ofctl/flow.ts";
import { formatOfpFlow } from "./ofctl/format/flow.ts";
import { parseOfpFilter, parseOfpFlow, parseOfpMatch } from "./ofctl/parse/flow.ts";
import { type PortNames, reservedPort } from "./ofctl/ports.ts";
import type { VSwitchOptions } from "./options.ts";
import { BridgePorts, type PortConfig, type PortSettings } from "./ports.ts";
import { RecircTable } from "./recirc.ts";
import { Revalidator } from "./revalidator.ts";
import { systemScheduler } from "./scheduler.ts";
import { selectRules } from "./select-rules.ts";
import type { BridgeState } from "./state.ts";
import { FlowTables, OfpRule } from "./tables.ts";
import { type Trace, traceFlow } from "./trace.ts";
import { UkeyTable } from "./ukey.ts";
import { UpcallHandler } from "./upcall-handler.ts";
import { encodeUserdata } from "./userdata.ts";
import type { XPort } from "./xlate/context.ts";

/** A bridge: its ports, its OpenFlow tables, and the datapath flows made from them. */
export class VSwitch implements BridgeHooks {
  readonly client: OvsClient;
  readonly name: string;
  /** Interface index of the local port: the datapath's handle. */
  readonly datapath: number;
  readonly macs: MacTable;

  onUpcall: ((event: UpcallEvent) => void) | null = null;
  onFlowPut: ((event: FlowEvent) => void) | null = null;
  onFlowDel: ((event: FlowEvent) => void) | null = null;
  onPacketIn: ((packet: PacketIn) => void) | null = null;
  onFault: ((what: string, error: unknown) => void) | null = null;

  readonly statistics: BridgeStatistics = {
    upcalls: 0,
    lost: 0,
    flowsPut: 0,
    flowsFailed: 0,
    flowsRefused: 0,
    executesRefused: 0,
    flowsDeleted: 0,
    flowsChanged: 0,
    revalidations: 0,
  };

  private readonly state: BridgeState;
  private readonly upcalls: UpcallHandler;
  private readonly revalidator: Revalidator;
  /** The datapath was created here, and is deleted with the bridge. */
  private readonly created: boolean;
  private readonly stops: (() => void)[] = [];
  private closed = false;

  /**
   * Creates the datapath; or takes over an existing one with its ports, and deletes its flows.
   * @throws Errno ENOENT where nothing answers for the OVS families; ENODEV, EBUSY … as ports are attached
   * @throws OfpError
   */
  constructor(options: VSwitchOptions) {
    this.name = options.name;
    this.onFault = options.onFault ?? null;
    const clock = options.clock ?? systemClock;
    const scheduler = options.scheduler ?? systemScheduler;
    const client = new OvsClient(options.opener);
    this.client = client;
    this.macs = new MacTable(clock, options.macAgingMs);
    const recirc = new RecircTable(() => clock.monotonic());
    const dispatch = options.dispatch ?? "vport";
    const perCpu = dispatch !== "vport";
    const ports = new BridgePorts(client, perCpu, {
      readable: (socket) => this.upcalls.receive(socket),
      changed: () => this.revalidator.schedule(),
      removed: (port) => this.macs.flush(port.port),
    });
    const pids = ports.openHandlers(perCpu ? Math.max(1, dispatch) : 1);
    const userFeatures =
      ovs.OVS_DP_F_UNALIGNED | (perCpu ? ovs.OVS_DP_F_DISPATCH_UPCALL_PER_CPU : ovs.OVS_DP_F_VPORT_PIDS);
    const { datapath, created } = this.open(ports, { upcallPid: perCpu ? 0 : pids[0], userFeatures });
    this.datapath = datapath;
    this.created = created;
    const tables = new FlowTables();
    const upcallPid = (port: number): number => ports.upcallPid(port);
    this.state = {
      client,
      datapath,
      clock,
      scheduler,
      tables,
      ports,
      macs: this.macs,
      recirc,
      ukeys: new UkeyTable(recirc, upcallPid),
      context: { tables, ports: ports.xports, macs: this.macs, recirc, upcallPid, userdata: encodeUserdata },
      statistics: this.statistics,
      hooks: this,
      maxIdleMs: options.maxIdleMs ?? 10_000,
      flowLimit: options.flowLimit ?? 200_000,
      revalidateSoon: () => this.revalidator.schedule(),
    };
    this.upcalls = new UpcallHandler(this.state);
    this.revalidator = new Revalidator(this.state);
    try {
      // Without per-CPU dispatch too: whatever program of OVS opens the datapath, such as `ovs-dpctl show`, switches that on
      // and names no port ids. The datapath keeps those that it was given last.
      const perCpuFeatures = userFeatures | ovs.OVS_DP_F_DISPATCH_UPCALL_PER_CPU;
      client.setDatapath(datapath, { userFeatures: perCpuFeatures, perCpuPids: pids });
      if (!perCpu) client.setDatapath(datapath, { userFeatures });
      this.stops.push(ports.attach(datapath));
      for (const port of options.ports ?? []) this.addPort(port);
      for (const flow of options.flows ?? []) this.addFlow(flow);
    } catch (error) {
      this.close();
      throw error;
    }
    this.stops.push(scheduler.every(options.revalidateMs ?? 500, () => this.revalidator.periodic()));
  }

  /** Closes the bridge. The datapath is deleted if this bridge has created it, else its flows are. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.upcalls.close();
    this.revalidator.close();
    for (const stop of this.stops.splice(0)) stop();
    try {
      if (this.created) this.client.deleteDatapath(this.datapath);
      else this.client.flushFlows(this.datapath);
    } catch (error) {
      // ENODEV: another program has deleted it.
      if (!(error instanceof Errno && error.errno === ENODEV)) this.onFault?.("close", error);
    }
    this.state.ports.close();
    this.client.close();
  }

  private open(
    ports: BridgePorts,
    options: { upcallPid: number; userFeatures: number },
  ): { datapath: number; created: boolean } {
    try {
      return { datapath: this.client.createDatapath(this.name, options).ifindex, created: true };
    } catch (error) {
      if (!(error instanceof Errno && error.errno === EEXIST)) {
        ports.close();
        throw error;
      }
    }
    const datapath = this.client.datapath(this.name).ifindex;
    this.client.flushFlows(datapath);
    return { datapath, created: false };
  }

  // Ports.

  /** The ports, the local one first. */
  ports(): XPort[] {
    return this.state.ports.list();
  }

  /** Names of the ports for parsing and printing. */
  get portNames(): PortNames {
    return this.state.ports.names;
  }

  /**
   * Attaches a device.
   * @throws Errno ENODEV (no such device), EBUSY (number taken, or device taken) …
   */
  addPort(config: string | PortConfig): XPort {
    return this.state.ports.add(config);
  }

  /** Detaches a port. @throws Errno ENODEV */
  removePort(name: string): void {
    this.state.ports.remove(name);
  }

  /** Replaces a port's VLAN and flooding settings. @throws Errno ENODEV */
  setPort(name: string, settings: PortSettings): void {
    this.state.ports.configure(name, settings);
  }

  // OpenFlow.

  /** Adds a flow; it replaces a flow of the same table, priority and match. @throws OfpError */
  addFlow(flow: string | OfpFlow): void {
    const spec = typeof flow === "string" ? parseOfpFlow(flow, this.portNames) : flow;
    this.state.tables.add(new OfpRule(spec, this.state.clock.monotonic()));
    this.revalidator.schedule();
  }

  /**
   * Deletes the flows that a filter selects: those that match nothing outside of it, or with `strict` the one of exactly
   * that match and priority.
   * @returns how many
   * @throws OfpError
   */
  delFlows(filter: string | FlowFilter = "", options: { strict?: boolean } = {}): number {
    const wanted = typeof filter === "string" ? parseOfpFilter(filter, this.portNames) : filter;
    let count = 0;
    for (const rule of selectRules(this.state.tables, wanted, options.strict ?? false))
      if (this.state.tables.remove(rule)) count++;
    if (count > 0) this.revalidator.schedule();
    return count;
  }

  /** Flows with their counters, as `ovs-ofctl dump-flows` writes them. @throws OfpError */
  dumpFlows(filter = "", options: { names?: boolean; statistics?: boolean } = {}): string[] {
    const names = options.names === true ? this.portNames : undefined;
    return this.flows(filter).map((rule) => {
      if (options.statistics === false) return formatOfpFlow(rule.spec, null, names);
      const now = this.state.clock.monotonic();
      const stats = {
        duration: (now - rule.created) / 1000,
        packets: rule.packets,
        bytes: rule.bytes,
        idleAge: (now - rule.used) / 1000,
      };
      return formatOfpFlow(rule.spec, stats, names);
    });
  }

  /** The flows that a filter selects, with counters as fresh as the datapath's. @throws OfpError */
  flows(filter = ""): OfpRule[] {
    const wanted = parseOfpFilter(filter, this.portNames);
    this.revalidate();
    return selectRules(this.state.tables, wanted, false);
  }

  /** Addresses that NORMAL has learned. */
  learned(): MacEntry[] {
    return [...this.macs];
  }

  /**
   * Translates a packet without sending it, as `ofproto/trace` does.
   * @param packet a flow in ovs-ofctl syntax; fields that it does not name are zero
   * @throws OfpError
   */
  trace(packet: string): Trace {
    return traceFlow(this.state.context, parseOfpMatch(packet, this.portNames).key);
  }

  /**
   * Sends a packet out of ports.
   * @param ports OpenFlow numbers, or names
   * @throws NokmodError ERR_NO_PORT; Errno as the datapath refuses the packet
   */
  packetOut(packet: Uint8Array, ports: readonly (number | string)[], inPort: number = OFPP_NONE): void {
    const { xports } = this.state.ports;
    const writer = new MessageWriter();
    for (const port of ports) {
      const number = typeof port === "number" ? port : (this.portNames.numberOf(port) ?? reservedPort(port));
      const to = number === undefined ? undefined : xports.get(number);
      if (!to) throw new NokmodError("ERR_NO_PORT", `no port ${port}`);
      writer.u32(ovs.OVS_ACTION_ATTR_OUTPUT, to.datapathPort);
    }
    const key = new MessageWriter();
    writeMetadata(key, new Flow(), xports.get(inPort)?.datapathPort ?? ODPP_NONE);
    this.client.execute(this.datapath, { packet, key: key.finish(), actions: writer.finish() });
  }

  // Datapath flows.

  /** Number of datapath flows that this bridge has put. */
  get datapathFlows(): number {
    return this.state.ukeys.size;
  }

  /** Revalidates all datapath flows now: fetches counters, removes idle flows, translates again what may have changed. */
  revalidate(): void {
    this.revalidator.runToEnd();
  }

  /** Removes all datapath flows; upcalls put again those that packets need. */
  flushDatapathFlows(): void {
    for (const ukey of [...this.state.ukeys.values()]) this.revalidator.deleteFlow(ukey, "flushed");
    this.client.flushFlows(this.datapath);
  }
}
