import type { SocketOpener } from "../client/requester.ts";
import { Conntrack } from "../conntrack/conntrack.ts";
import type { Helper } from "../conntrack/helpers/helper.ts";
import { ConntrackSysctl } from "../conntrack/sysctl.ts";
import { type Clock, systemClock } from "../core/clock.ts";
import { kernelProfile } from "../core/kernel-profile.ts";
import type { Log } from "../core/log.ts";
import { type Random, SystemRandom } from "../core/random.ts";
import { BatchClock } from "../datapath/batch-clock.ts";
import { Ctnetlink } from "../kernel/ctnetlink/ctnetlink.ts";
import { OvsKernel } from "../kernel/ovs-kernel.ts";
import { PairSocket } from "../netlink/pair.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import type { PortDriver } from "../port/provider.ts";

/** Options of Nokmod. */
export interface NokmodOptions {
  /** NativePorts for real devices, MemoryPorts for tests. */
  readonly ports: PortDriver;
  /** Default: the machine's clock. */
  readonly clock?: Clock;
  readonly random?: Random;
  /** Seed of packet hashes, 32 bits; by default the first number of `random`. */
  readonly hashSeed?: number;
  /** Milliseconds between periodic work (expiry of connections, order of masks); 0: only when tick() is called. */
  readonly tickInterval?: number;
  /** Release of the kernel to behave as: one of KERNEL_RELEASES (kernel-profile.ts), the newest by default. */
  readonly kernel?: string;
  /** Settings of connection tracking by their sysctl(8) names (src/conntrack/sysctl.ts). */
  readonly sysctl?: Readonly<Record<string, number | string>>;
  /** Helpers in addition to the kernel's (docs/helpers.md). */
  readonly helpers?: readonly Helper[];
  /** Allows ct actions with cross-zone NAT (docs/cross-zone-nat.md), an extension. Default: EINVAL, as in the kernel. */
  readonly crossZoneNat?: boolean;
  /** Possible processors, as the module would see them; bounds upcall port ids. */
  readonly processors?: number;
  /** Gets faults: errors other than Errno that ended a request or the processing of a frame. Default: none. */
  readonly log?: Log;
}

/** Milliseconds between ticks: connection timeouts and the use of masks are visible in seconds. */
const TICK_INTERVAL = 1000;

/**
 * The module: datapaths, connection tracking and their netlink families over a set of ports. Netlink sockets are opened on
 * it in this process (open()), or by other processes through a server (src/server).
 *
 * @throws NokmodError ERR_KERNEL_UNKNOWN; Errno ENOENT, EACCES or EINVAL of a setting, EBUSY or EINVAL of a helper
 *
 * @example
 * ```ts
 * const nokmod = new Nokmod({ ports: new MemoryPorts() });
 * const client = new OvsClient(nokmod);
 * const { ifindex } = client.createDatapath("dp0");
 * ```
 */
export class Nokmod implements SocketOpener {
  readonly kernel: OvsKernel;
  readonly conntrack: Conntrack;
  readonly ports: PortDriver;
  /** Settings of connection tracking by name. */
  readonly sysctl: ConntrackSysctl;
  /** Called after a change of meters, zone limits or timeout policies, which no multicast group reports. */
  onConfigured: (() => void) | undefined = undefined;
  private readonly timer: NodeJS.Timeout | undefined;
  private unfinished: NodeJS.Immediate | undefined;

  constructor(options: NokmodOptions) {
    const kernel = kernelProfile(options.kernel);
    const clock = new BatchClock(options.clock ?? systemClock);
    const random = options.random ?? new SystemRandom();
    const hashSeed = options.hashSeed ?? random.u32();
    this.ports = options.ports;
    const { memory } = options.ports;
    const { expectationsTracked } = kernel;
    const tracking = { crossZoneNat: options.crossZoneNat ?? false, expectationsTracked };
    this.conntrack = new Conntrack({ clock, random, memory, options: tracking });
    for (const helper of options.helpers ?? []) this.conntrack.registerHelper(helper);
    this.sysctl = new ConntrackSysctl(this.conntrack);
    for (const [name, value] of Object.entries(options.sysctl ?? {})) this.sysctl.set(name, value);
    this.kernel = new OvsKernel({
      kernel,
      clock,
      random,
      hashSeed,
      memory,
      conntrack: this.conntrack,
      ports: options.ports,
      zoneLimits: this.conntrack.limits,
      processors: options.processors,
    });
    const ctnetlink = new Ctnetlink(this.kernel.bus, this.conntrack, () => clock.realtime(), kernel);
    ctnetlink.onDatagram = this.kernel.endTurn;
    this.kernel.onConfigured = ctnetlink.onConfigured = () => this.onConfigured?.();
    const { log } = options;
    if (log !== undefined)
      this.kernel.bus.onFault = (error) => log.limited("fault", "error", "fault in a request or a frame", error);
    this.kernel.start(options.ports);
    const interval = options.tickInterval ?? TICK_INTERVAL;
    if (interval > 0) this.timer = setInterval(() => this.beginTick(), interval).unref();
  }

  /** Opens a netlink socket in this process: NETLINK_GENERIC or NETLINK_NETFILTER. */
  open(protocol: number): NetlinkSocket {
    return new PairSocket(this.kernel.bus, protocol);
  }

  /** Periodic work: expiry of connections, order of masks. A test with a virtual clock calls it itself. */
  tick(): void {
    this.kernel.tick();
    while (this.expire());
  }

  /** tick() in slices, with packets and requests in between. */
  private beginTick(): void {
    if (this.unfinished !== undefined) return;
    this.kernel.tick();
    this.continueTick();
  }

  private continueTick(): void {
    this.unfinished = this.expire() ? setImmediate(() => this.continueTick()) : undefined;
  }

  /** Scans a slice of the connection table for expired entries. @returns whether slices are left */
  private expire(): boolean {
    return this.kernel.turn(() => this.conntrack.tick());
  }

  /** Removes datapaths and ports and stops the timer. Devices are as they were before. */
  close(): void {
    clearInterval(this.timer);
    clearImmediate(this.unfinished);
    this.kernel.shutdown();
    this.ports.close();
  }
}
