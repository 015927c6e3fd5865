import { availableParallelism } from "node:os";
import type { ConntrackPort } from "../conntrack/conntrack-port.ts";
import { ZoneLimits } from "../conntrack/zone-limits.ts";
import type { Clock } from "../core/clock.ts";
import { type KernelProfile, kernelProfile } from "../core/kernel-profile.ts";
import type { Random } from "../core/random.ts";
import { BatchClock } from "../datapath/batch-clock.ts";
import { endBatch, receiveFrom, receiveFromTunnel } from "../datapath/datapath.ts";
import { Datapaths } from "../datapath/datapaths.ts";
import type { DatapathEnvironment } from "../datapath/environment.ts";
import { PacketHasher } from "../flow/hash.ts";
import { NetlinkBus } from "../netlink/bus.ts";
import { MessageWriter } from "../netlink/writer.ts";
import type { PacketMemory } from "../packet/memory.ts";
import type { Packet } from "../packet/packet.ts";
import type { Port, PortProvider } from "../port/port.ts";
import type { PortDriver } from "../port/provider.ts";
import { TunnelDevices } from "../tunnel/devices.ts";
import { TunnelPorts } from "../tunnel/ports.ts";
import { NETLINK_GENERIC } from "../uapi/netlink.ts";
import { OVS_VPORT_CMD_DEL, OVS_VPORT_VERSION } from "../uapi/openvswitch.ts";
import { DropMonitor } from "./drop-monitor.ts";
import { ctLimitFamily } from "./families/ct-limit.ts";
import { datapathFamily } from "./families/datapath.ts";
import { flowFamily } from "./families/flow.ts";
import { meterFamily } from "./families/meter.ts";
import { packetFamily } from "./families/packet.ts";
import { Psample } from "./families/psample.ts";
import { putVport, vportFamily } from "./families/vport.ts";
import { GenericNetlink } from "./genetlink.ts";
import type { RegisteredFamily } from "./genl-family.ts";
import { HostConntrack } from "./host-conntrack.ts";
import { Links } from "./links.ts";
import { addController } from "./nlctrl.ts";

/** What the kernel side of a network namespace is made of. */
interface OvsKernelOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** Seed of packet hashes (spec/keys K-284); 0 by default. */
  readonly hashSeed?: number;
  readonly memory: PacketMemory;
  readonly conntrack: ConntrackPort;
  readonly ports: PortProvider;
  /** Limits per zone; shared with conntrack, which enforces them. */
  readonly zoneLimits?: ZoneLimits;
  /** Possible processors: bounds upcall port ids (spec/families F-118, F-154). The machine's by default. */
  readonly processors?: number;
  /** The kernel to behave as; the newest by default. */
  readonly kernel?: KernelProfile;
  /** As a kernel built with NET_TC_SKB_EXT, as distributions' are: takes OVS_DP_F_TC_RECIRC_SHARING. On by default. */
  readonly tcSkbExt?: boolean;
}

/**
 * The kernel side: netlink bus, generic-netlink controller, the ovs_* families and the datapaths. Users open netlink
 * sockets on `bus` (src/netlink/pair.ts, or src/server for other processes).
 */
export class OvsKernel {
  readonly bus: NetlinkBus;
  readonly genl: GenericNetlink;
  readonly environment: DatapathEnvironment;
  readonly datapaths: Datapaths;
  readonly zoneLimits: ZoneLimits;
  /** Tunnel devices: a netdev vport of such a name is a tunnel port. */
  readonly tunnelDevices: TunnelDevices;
  /** Tunnel devices and ports of datapaths, as rtnetlink messages describe them. */
  readonly links: Links;
  /** Called after a change that no multicast group reports: of meters or zone limits. */
  onConfigured: (() => void) | undefined = undefined;
  /**
   * Called after a request has changed datapaths or ports, before its notification and answer are sent. Must send no
   * requests and must not throw.
   */
  onChange: (() => void) | undefined = undefined;
  private readonly drops: DropMonitor;
  private readonly vports: RegisteredFamily;
  private readonly writer = new MessageWriter(1024);

  constructor(options: OvsKernelOptions) {
    const processors = options.processors ?? availableParallelism();
    this.bus = new NetlinkBus(options.random);
    this.genl = new GenericNetlink(this.bus);
    this.zoneLimits = options.zoneLimits ?? new ZoneLimits();
    const kernel = options.kernel ?? kernelProfile();
    this.tunnelDevices = new TunnelDevices(options.ports, kernel.version);
    this.drops = new DropMonitor(this.bus, () => options.clock.realtime());
    let packets = 0;
    const clock = options.clock instanceof BatchClock ? options.clock : new BatchClock(options.clock);
    const tunnels = new TunnelPorts(
      this.tunnelDevices,
      options.ports,
      clock,
      options.random,
      options.memory,
      receiveFromTunnel,
    );
    this.environment = {
      kernel,
      clock,
      random: options.random,
      hasher: new PacketHasher(options.hashSeed ?? 0),
      memory: options.memory,
      conntrack: options.conntrack,
      hostConntrack: new HostConntrack(clock),
      ports: options.ports,
      tunnels,
      packetFamily: () => packets,
      upcalls: (portId, message) => this.bus.unicast(NETLINK_GENERIC, portId, message),
      drops: this.drops,
      psample: (...sample) => psample.send(...sample),
    };
    const { environment } = this;
    this.tunnelDevices.onGone = (device) => {
      const port = tunnels.portOf(device);
      if (port !== undefined) this.deviceGone(port);
    };
    this.datapaths = new Datapaths(environment, processors);
    this.links = new Links(this.datapaths, this.tunnelDevices);
    this.genl.onDatagram = this.endTurn;

    addController(this.genl);
    const datapathsFamily = this.genl.add(datapathFamily(this.datapaths, processors, options.tcSkbExt ?? true));
    this.vports = this.genl.add(vportFamily(this.datapaths, kernel));
    this.genl.add(flowFamily(this.datapaths, environment));
    packets = this.genl.add(packetFamily(this.datapaths, environment, environment, this.endTurn)).id;
    const configured = (): void => this.onConfigured?.();
    this.genl.add(meterFamily(this.datapaths, configured));
    this.genl.add(ctLimitFamily(this.zoneLimits, configured));
    this.genl.onNotify = (family) => {
      if (family === this.vports || family === datapathsFamily) this.onChange?.();
    };
    const psample = new Psample(this.genl, environment.clock, kernel);
    this.drops.register(this.genl);
  }

  /**
   * Runs `work` as one turn of the engine: it reads the clock anew, and when it ends, also by an error, everything that it
   * queued leaves, and scratch memory and unconfirmed connections are given back. Timers and events enter by this; a
   * driver's batch of frames and a netlink datagram are turns by themselves, which end with endTurn().
   */
  turn<T>(work: () => T): T {
    this.environment.clock.invalidate();
    try {
      return work();
    } finally {
      this.endTurn();
    }
  }

  /** Ends a turn. A function of its own, so that a batch of frames needs no closure. */
  readonly endTurn = (): void => endBatch(this.environment);

  /** Takes a frame from a driver. A fault of ours costs that frame, not the rest of its batch. HOT PATH. */
  private readonly receive = (packet: Packet, port: Port): void => {
    try {
      receiveFrom(packet, port);
    } catch (error) {
      if (this.bus.onFault === undefined) throw error;
      this.bus.onFault(error);
    }
  };

  /** Lets the driver hand its frames and events to the datapaths. */
  start(driver: PortDriver): void {
    driver.start(this.receive, this.endTurn, {
      onGone: (port) => this.turn(() => this.deviceGone(port)),
      onFault: (error) => {
        if (this.bus.onFault === undefined) process.emitWarning(error);
        else this.bus.onFault(error);
      },
    });
  }

  /**
   * Removes the vport of a device that has vanished, with a notification to the ovs_vport group, seq 0 and port id 0
   * (spec/families F-066, F-191). An internal device is removed without a notification (F-067).
   */
  deviceGone(port: Port): void {
    if (this.tunnelDevices.portGone(port)) return;
    const vport = this.datapaths.vportOf(port);
    if (vport === undefined) return;
    const { writer, bus, vports } = this;
    const notify = !vport.internal && bus.hasListeners(NETLINK_GENERIC, vports.firstGroup);
    if (notify) {
      writer.reset();
      const at = writer.beginMessage(vports.id, 0, 0, 0);
      writer.genl(OVS_VPORT_CMD_DEL, OVS_VPORT_VERSION);
      writer.rawU32(vport.datapath.ifindex);
      putVport(writer, vport);
      writer.endMessage(at);
    }
    // Before the teardown, which takes tens of milliseconds (a packet ring): the notification is to be there before
    // ovs-vswitchd reads RTM_DELLINK of the device. A request that it sends is executed after this turn, without the port.
    if (notify) bus.multicast(NETLINK_GENERIC, vports.firstGroup, writer.bytes.subarray(0, writer.length));
    this.datapaths.deviceGone(port);
  }

  /** Periodic work, once a second or so: sorts masks by use. */
  tick(): void {
    this.turn(() => {
      this.datapaths.tick(this.environment.clock.monotonic());
      this.drops.tick();
    });
  }

  /** Takes all datapaths down, silently, as when their namespace goes (spec/families F-068). */
  shutdown(): void {
    this.turn(() => {
      for (const datapath of [...this.datapaths.list]) this.datapaths.destroy(datapath);
      this.tunnelDevices.clear();
    });
  }
}
