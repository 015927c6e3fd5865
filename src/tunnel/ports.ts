import type { Clock } from "../core/clock.ts";
import { Errno } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import { K } from "../flow/key.ts";
import { MessageWriter } from "../netlink/writer.ts";
import type { PacketMemory } from "../packet/memory.ts";
import { Packet } from "../packet/packet.ts";
import type { Port, PortProvider, TunnelOptions } from "../port/port.ts";
import type { Underlay } from "../port/underlay.ts";
import { EAFNOSUPPORT, EBUSY, EINVAL } from "../uapi/errno.ts";
import * as rt from "../uapi/rtnetlink.ts";
import type { TunnelDevice, TunnelDevices } from "./devices.ts";
import type { TunnelHost } from "./host.ts";
import type { TunnelContext, TunnelKind, TunnelSettings, TunnelVport } from "./kind.ts";
import { tunnelKindOfVport } from "./kinds/index.ts";
import { parseLinkInfo } from "./link-info.ts";
import { TunnelPort } from "./port.ts";
import { RouteCache } from "./routes.ts";

/** Most packets that wait for the end of a batch; more are dropped, as the kernel does when its backlog is full. */
const BACKLOG = 1000;

/** Takes decapsulated packets: receiveFromTunnel of src/datapath/datapath.ts. */
type DeliverTunnel = (packet: Packet, port: Port, tunnel: Int32Array) => void;

/**
 * The tunnel ports of one network namespace: makes ports of tunnel devices, and the devices of vports whose type is a
 * tunnel's.
 */
export class TunnelPorts implements TunnelHost, TunnelContext {
  readonly underlay: Underlay;
  readonly routes: RouteCache;
  /** Ports by their device. */
  private readonly ports = new Map<TunnelDevice, TunnelPort>();
  private readonly template: Packet;
  private readonly backlog: { packet: Packet; port: Port; tunnel: Int32Array }[] = [];
  private waiting = 0;

  constructor(
    readonly devices: TunnelDevices,
    private readonly provider: PortProvider,
    readonly clock: Clock,
    readonly random: Random,
    private readonly memory: PacketMemory,
    readonly deliver: DeliverTunnel,
  ) {
    this.underlay = provider.underlay;
    this.routes = new RouteCache(this.underlay, clock);
    this.template = new Packet(memory);
  }

  /**
   * Makes a port of the tunnel device of that name; undefined if there is none.
   * @throws Errno EBUSY (it is a port already), EADDRINUSE (another socket has its UDP port), EPERM
   */
  open(name: string): Port | undefined {
    const device = this.devices.get(name);
    if (device === undefined) return undefined;
    if (this.ports.has(device)) throw new Errno(EBUSY);
    const settings = device.kind.settings(device.data, this);
    return this.attach(device, settings, () => this.ports.delete(device));
  }

  /**
   * Makes the device of a vport of a tunnel type, and a port of it (spec/families F-152, F-162 to F-165). Closing the port
   * removes the device.
   * @param type OVS_VPORT_TYPE_*
   * @param options undefined: there is no OVS_VPORT_ATTR_OPTIONS
   * @throws Errno EAFNOSUPPORT (no tunnel's type), EINVAL (options are missing), EEXIST, EBUSY, EADDRINUSE, EPERM
   */
  create(name: string, type: number, options: TunnelOptions | undefined): Port {
    const kind = tunnelKindOfVport(type);
    const vport = kind?.vport;
    if (kind === undefined || vport === undefined) throw new Errno(EAFNOSUPPORT);
    if (vport.hasOptions && options === undefined) throw new Errno(EINVAL);
    const info = linkInfo(kind, vport, options ?? { dstPort: 0, gbp: false });
    const { data = new Map() } = parseLinkInfo(info);
    const settings = { ...kind.settings(data, this), zeroChecksum6: vport.zeroChecksum6 };
    const device = this.devices.create(name, info);
    try {
      this.provider.configure(device.netdev, vport.mtu);
      return this.attach(device, settings, () => {
        this.ports.delete(device);
        this.devices.remove(device);
      });
    } catch (error) {
      this.devices.remove(device);
      throw error;
    }
  }

  /** Whether vports of that type are tunnels. */
  isTunnelType(type: number): boolean {
    return tunnelKindOfVport(type) !== undefined;
  }

  /** The OVS_VPORT_ATTR_OPTIONS of a port; undefined if it is of no kind whose vport type has any. */
  options(port: Port): TunnelOptions | undefined {
    if (!(port instanceof TunnelPort)) return undefined;
    const { kind, dstPort, gbp } = port.settings;
    return kind.vport?.hasOptions === true ? { dstPort, gbp } : undefined;
  }

  /** The port that was made of a device, undefined if there is none. */
  portOf(device: TunnelDevice): Port | undefined {
    return this.ports.get(device);
  }

  deliverLater(packet: Packet, port: Port, tunnel: Int32Array): void {
    if (this.waiting === BACKLOG) return;
    if (this.waiting === this.backlog.length) {
      this.backlog.push({ packet: new Packet(this.memory), port, tunnel: new Int32Array(K.WORDS) });
    }
    const entry = this.backlog[this.waiting++];
    entry.packet.copyFrom(packet);
    entry.port = port;
    entry.tunnel.set(tunnel);
  }

  /** Delivers what deliverLater() kept. The scratch memory that holds the packets must not have been reset yet. */
  endBatch(): void {
    if (this.waiting === 0) return;
    for (let i = 0; i < this.waiting; i++) {
      const { packet, port, tunnel } = this.backlog[i];
      this.deliver(packet, port, tunnel);
    }
    this.waiting = 0;
  }

  hasPort(kind: TunnelKind): boolean {
    for (const device of this.ports.keys()) if (device.kind === kind) return true;
    return false;
  }

  private attach(device: TunnelDevice, settings: TunnelSettings, onClose: () => void): TunnelPort {
    const port = new TunnelPort(settings, device.netdev, this, this.template, onClose);
    port.open();
    this.ports.set(device, port);
    return port;
  }
}

/** The IFLA_LINKINFO of the device that a vport of a tunnel type makes. */
function linkInfo(kind: TunnelKind, { putLinkData }: TunnelVport, options: TunnelOptions): Uint8Array {
  const data = new MessageWriter(64);
  putLinkData(data, options);
  const info = new MessageWriter(128);
  info.string(rt.IFLA_INFO_KIND, kind.name);
  info.raw(rt.IFLA_INFO_DATA, data.finish());
  return info.finish();
}
