import type { Clock } from "../core/clock.ts";
import { Errno } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import { K } from "../flow/key.ts";
import { MessageWriter } from "../netlink/writer.ts";
import type { PacketMemory } from "../packet/memory.ts";
import { Packet } from "../packet/packet.ts";
import type { Port, PortProvider } from "../port/port.ts";
import { AF_INET, AF_INET6, type Underlay } from "../port/underlay.ts";
import { EAFNOSUPPORT, EBUSY, EINVAL } from "../uapi/errno.ts";
import { OVS_VPORT_TYPE_GENEVE, OVS_VPORT_TYPE_GRE, OVS_VPORT_TYPE_VXLAN } from "../uapi/openvswitch.ts";
import * as rt from "../uapi/rtnetlink.ts";
import type { TunnelDevice, TunnelDevices } from "./devices.ts";
import { Bareudp } from "./kinds/bareudp.ts";
import { Erspan } from "./kinds/erspan.ts";
import { Geneve } from "./kinds/geneve.ts";
import { VxlanGpe } from "./kinds/gpe.ts";
import { Gre, GreKind } from "./kinds/gre.ts";
import { Vxlan } from "./kinds/vxlan.ts";
import { be16, flag, genevePort, type LinkData, parseLinkInfo, u16, vxlanPort } from "./link-info.ts";
import { type TunnelHost, TunnelPort, type TunnelSettings } from "./port.ts";
import { RouteCache } from "./routes.ts";

/** OVS_VPORT_ATTR_OPTIONS of a tunnel vport. */
export interface TunnelOptions {
  /** OVS_TUNNEL_ATTR_DST_PORT, host order. */
  readonly dstPort: number;
  /** OVS_VXLAN_EXT_GBP */
  readonly gbp: boolean;
}

const BOTH = [AF_INET, AF_INET6];
/** MTU of the devices that vports of the old types make (spec/tables T-094; seen on 6.12). */
const VXLAN_MTU = 65535;
const GENEVE_MTU = 65465;
const GRE_MTU = 65497;
/** Packets that wait for the end of a batch; more are dropped, as by a full backlog. */
const BACKLOG = 1000;

/** Takes packets that have come in through a tunnel: implemented by src/datapath/datapath.ts. */
export type DeliverTunnel = (packet: Packet, port: Port, tunnel: Int32Array) => void;

/**
 * The tunnels of one network namespace: makes ports of tunnel devices, and devices for vports of the types that bring
 * their own.
 */
export class TunnelPorts implements TunnelHost {
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
    private readonly clock: Clock,
    readonly random: Random,
    private readonly memory: PacketMemory,
    readonly deliver: DeliverTunnel,
  ) {
    this.underlay = provider.underlay;
    this.routes = new RouteCache(this.underlay, clock);
    this.template = new Packet(memory);
  }

  /**
   * The device of that name as a port, or undefined if it is no tunnel's.
   * @throws Errno EBUSY (it is a port), EADDRINUSE (somebody else has its UDP port), EPERM
   */
  open(name: string): Port | undefined {
    const device = this.devices.get(name);
    if (device === undefined) return undefined;
    if (this.ports.has(device)) throw new Errno(EBUSY);
    const settings = settingsOf(device.kind, device.data, this.clock, this.hasGretap);
    return this.attach(device, settings, () => this.ports.delete(device));
  }

  /**
   * Makes the device of a vport of type GRE, VXLAN or GENEVE, and a port of it (spec/families F-152, F-162 to F-165).
   * It goes with the port.
   * @throws Errno EEXIST (name, or a tunnel like that), EBUSY, EADDRINUSE, EINVAL, EPERM
   */
  create(name: string, type: number, options: TunnelOptions | undefined): Port {
    const { info, mtu } = linkInfo(type, options);
    const { kind, data = new Map() } = parseLinkInfo(info);
    const settings = settingsOf(kind, data, this.clock, this.hasGretap);
    const device = this.devices.create(name, info);
    try {
      this.provider.configure(device.face, mtu);
      // Of all tunnels this one alone wants checksums.
      const strict = { ...settings, zeroChecksum6: settings.kind !== "geneve" };
      return this.attach(device, strict, () => {
        this.ports.delete(device);
        this.devices.remove(device);
      });
    } catch (error) {
      this.devices.remove(device);
      throw error;
    }
  }

  /** What OVS_VPORT_ATTR_OPTIONS tells of a port, undefined if it is no tunnel with a UDP port. */
  options(port: Port): TunnelOptions | undefined {
    if (!(port instanceof TunnelPort)) return undefined;
    const { settings } = port;
    if (settings.kind !== "vxlan" && settings.kind !== "geneve") return undefined;
    return { dstPort: settings.dstPort, gbp: isGbp(settings) };
  }

  /** The port that stands on a device, to be taken out of its datapath when the device goes. */
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

  /** Delivers what has been put off; called while scratch memory still holds it. */
  endBatch(): void {
    if (this.waiting === 0) return;
    for (let i = 0; i < this.waiting; i++) {
      const { packet, port, tunnel } = this.backlog[i];
      this.deliver(packet, port, tunnel);
    }
    this.waiting = 0;
  }

  private readonly hasGretap = (): boolean => {
    for (const { kind } of this.ports.keys()) if (kind === "gretap") return true;
    return false;
  };

  private attach(device: TunnelDevice, settings: TunnelSettings, onClose: () => void): TunnelPort {
    const port = new TunnelPort(settings, device.face, this, this.template, onClose);
    port.open();
    this.ports.set(device, port);
    return port;
  }
}

/** Where the range of UDP source ports ends that has no other end. */
const LAST_PORT = 0xffff;

const isGbp = ({ encapsulation }: TunnelSettings): boolean => encapsulation instanceof Vxlan && encapsulation.gbp;

/** What the IFLA_INFO_DATA of a device asks for. @throws Errno EAFNOSUPPORT for kinds that are none of ours */
function settingsOf(kind: string, data: LinkData, clock: Clock, hasGretap: () => boolean): TunnelSettings {
  const plain = { kind, dstPort: 0, zeroChecksum6: false };
  switch (kind) {
    case "vxlan":
      return {
        kind,
        encapsulation: data.has(rt.IFLA_VXLAN_GPE) ? new VxlanGpe() : new Vxlan(flag(data, rt.IFLA_VXLAN_GBP)),
        families: BOTH,
        dstPort: vxlanPort(data),
        zeroChecksum6: flag(data, rt.IFLA_VXLAN_UDP_ZERO_CSUM6_RX),
        sourcePorts: sourcePorts(data.get(rt.IFLA_VXLAN_PORT_RANGE)),
      };
    case "geneve":
      return {
        kind,
        encapsulation: new Geneve(),
        families: BOTH,
        dstPort: genevePort(data),
        zeroChecksum6: true,
        sourcePorts: { min: 1, max: LAST_PORT },
      };
    case "bareudp": {
      const min = u16(data, rt.IFLA_BAREUDP_SRCPORT_MIN);
      const multiProto = data.has(rt.IFLA_BAREUDP_MULTIPROTO_MODE);
      return {
        kind,
        encapsulation: new Bareudp(be16(data, rt.IFLA_BAREUDP_ETHERTYPE), multiProto),
        families: BOTH,
        dstPort: be16(data, rt.IFLA_BAREUDP_PORT),
        zeroChecksum6: true,
        sourcePorts: min < LAST_PORT ? { min, max: LAST_PORT } : undefined,
      };
    }
    case "gretap":
      return { ...plain, encapsulation: new Gre(GreKind.ETHERNET), families: [AF_INET] };
    case "ip6gretap":
      return { ...plain, encapsulation: new Gre(GreKind.ETHERNET_ANY), families: [AF_INET6] };
    case "gre":
      return { ...plain, encapsulation: new Gre(GreKind.L3, () => !hasGretap()), families: [AF_INET] };
    case "erspan":
      return { ...plain, encapsulation: new Erspan(clock), families: [AF_INET] };
    case "ip6erspan":
      return { ...plain, encapsulation: new Erspan(clock), families: [AF_INET6] };
    default:
      throw new Errno(EAFNOSUPPORT);
  }
}

/** What an IFLA_VXLAN_PORT_RANGE (two be16) says; undefined if that leaves nothing to choose from. */
function sourcePorts(range: Uint8Array | undefined): { min: number; max: number } | undefined {
  if (range === undefined || range.length < 4) return undefined;
  const [min, max] = [(range[0] << 8) | range[1], (range[2] << 8) | range[3]];
  return min < max ? { min, max } : undefined;
}

/** The IFLA_LINKINFO of the device that a vport of a tunnel type makes. @throws Errno EINVAL, EAFNOSUPPORT */
function linkInfo(type: number, options: TunnelOptions | undefined): { info: Uint8Array; mtu: number } {
  const data = new MessageWriter(64);
  let kind: string;
  let mtu: number;
  if (type === OVS_VPORT_TYPE_GRE) {
    kind = "gretap";
    mtu = GRE_MTU;
    data.flag(rt.IFLA_GRE_COLLECT_METADATA);
    data.u8(rt.IFLA_GRE_PMTUDISC, 0);
  } else if (options === undefined) {
    throw new Errno(EINVAL);
  } else if (type === OVS_VPORT_TYPE_VXLAN) {
    kind = "vxlan";
    mtu = VXLAN_MTU;
    data.be16(rt.IFLA_VXLAN_PORT, options.dstPort);
    data.u8(rt.IFLA_VXLAN_UDP_ZERO_CSUM6_RX, 1);
    if (options.gbp) data.flag(rt.IFLA_VXLAN_GBP);
    data.u8(rt.IFLA_VXLAN_COLLECT_METADATA, 1);
    data.u8(rt.IFLA_VXLAN_LEARNING, 0);
    data.u8(rt.IFLA_VXLAN_LOCALBYPASS, 0);
  } else if (type === OVS_VPORT_TYPE_GENEVE) {
    kind = "geneve";
    mtu = GENEVE_MTU;
    data.be16(rt.IFLA_GENEVE_PORT, options.dstPort);
    data.flag(rt.IFLA_GENEVE_COLLECT_METADATA);
    data.u8(rt.IFLA_GENEVE_UDP_ZERO_CSUM6_RX, 0);
  } else {
    throw new Errno(EAFNOSUPPORT);
  }
  const info = new MessageWriter(128);
  info.string(rt.IFLA_INFO_KIND, kind);
  info.raw(rt.IFLA_INFO_DATA, data.finish());
  return { info: info.finish(), mtu };
}
