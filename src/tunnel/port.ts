import { Errno } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import { K, TunnelFlag } from "../flow/key.ts";
import { checksum } from "../packet/checksum.ts";
import * as ethernet from "../packet/ethernet.ts";
import { ETH_P_IP, ETH_P_IPV6, ETH_P_TEB, isVlan } from "../packet/ethernet.ts";
import { fragment } from "../packet/fragment.ts";
import { gsoFrameLength, segment } from "../packet/gso.ts";
import { IpProto } from "../packet/ip.ts";
import * as ipv4 from "../packet/ipv4.ts";
import * as ipv6 from "../packet/ipv6.ts";
import { completePartial, pseudoV4, pseudoV6 } from "../packet/l4-checksum.ts";
import { Csum, Gso, Packet } from "../packet/packet.ts";
import * as tcp from "../packet/tcp.ts";
import * as udp from "../packet/udp.ts";
import type { DeviceStats, Port, PortReceiver } from "../port/port.ts";
import { AF_INET, AF_INET6, type Route, type Underlay, type UnderlayPort } from "../port/underlay.ts";
import { EAFNOSUPPORT, EINVAL, ENOMEM } from "../uapi/errno.ts";
import * as ecn from "./ecn.ts";
import { type Encapsulation, Pull } from "./encapsulation.ts";
import { writeIpv4, writeIpv6, writeUdp } from "./outer.ts";
import { tooBig } from "./pmtu.ts";
import type { RouteCache } from "./routes.ts";

/** How a tunnel device behaves; TunnelPorts makes it of what its maker asked for. */
export interface TunnelSettings {
  /** IFLA_INFO_KIND. */
  readonly kind: string;
  readonly encapsulation: Encapsulation;
  /** AF_INET, AF_INET6: outer families that the device takes. */
  readonly families: readonly number[];
  /** UDP port where packets come in, and where they go unless their key names one; 0 = any free one. */
  readonly dstPort: number;
  /** Takes UDP over IPv6 without checksum. */
  readonly zeroChecksum6: boolean;
  /** UDP source ports, from `min` to below `max`; undefined: those of the host (ip_local_port_range). */
  readonly sourcePorts?: { readonly min: number; readonly max: number } | undefined;
}

/** What a tunnel port asks of those who keep it. */
export interface TunnelHost {
  readonly underlay: Underlay;
  readonly routes: RouteCache;
  readonly random: Random;
  /** A packet has come in by this port. `tunnel`: tunnel words as a flow key has them; lent. */
  deliver(packet: Packet, port: Port, tunnel: Int32Array): void;
  /** The same when the batch is over, for a packet that was made while another is on its way. */
  deliverLater(packet: Packet, port: Port, tunnel: Int32Array): void;
}

const TAG_LEN = 4;
/** Values of TTL and TOS by which a key asks for the packet's own. */
const INHERIT_TTL = 0;
const INHERIT_TOS = 1;
/** IPTOS_RT_MASK: what of the TOS may decide the route. */
const ROUTE_TOS = 0x1c;
/** What a GSO packet's segments are cut to where nobody can tell: fits every path. */
const SMALLEST_MSS = 536;

/**
 * A tunnel device as a port: encapsulates what is sent and sends it through the host's IP stack, and the other way round.
 * The device that the host sees (`face`) lends name, ifindex, MTU and state.
 *
 * Packets are encapsulated in place, in front of the bytes, where there is room. GSO packets are cut before: what is on
 * the wire is the same as when a device of the kernel does that at the very end.
 */
export class TunnelPort implements Port {
  readonly kind = "tunnel";
  readonly l3: boolean;
  readonly netnsid = undefined;
  receiver: PortReceiver | undefined = undefined;
  private readonly underlay: (UnderlayPort | undefined)[] = [];
  private readonly isUdp: boolean;
  private identification: number;
  private readonly counters: DeviceStats = {
    rxPackets: 0,
    txPackets: 0,
    rxBytes: 0,
    txBytes: 0,
    rxErrors: 0,
    txErrors: 0,
    rxDropped: 0,
    txDropped: 0,
  };
  private readonly out: Packet;
  private readonly part: Packet;
  private readonly piece: Packet;
  private readonly received = new Int32Array(K.WORDS);
  private readonly sourceless = new Int32Array(K.WORDS);
  // The packet being sent, for the callbacks that see its segments and fragments.
  private tunnel: Int32Array = this.received;
  private route: Route | undefined = undefined;
  private header = 0;
  private tos = 0;
  private ttl = 0;
  private v6 = false;
  private etherType = 0;

  /** @throws Errno EADDRINUSE, EPERM, … */
  constructor(
    readonly settings: TunnelSettings,
    private readonly face: Port,
    private readonly host: TunnelHost,
    packet: Packet,
    private readonly onClose: (port: TunnelPort) => void,
  ) {
    this.l3 = settings.encapsulation.l3;
    this.isUdp = settings.encapsulation.protocol === IpProto.UDP;
    this.identification = host.random.u32() & 0xffff;
    this.out = new Packet(packet.memory);
    this.part = new Packet(packet.memory);
    this.piece = new Packet(packet.memory);
  }

  /**
   * Starts to receive.
   * @throws Errno EADDRINUSE, EAFNOSUPPORT, EPERM
   */
  open(): void {
    const { encapsulation, families, dstPort } = this.settings;
    const receive = (packet: Packet, size: number): void => this.receive(packet, size);
    for (const family of families) {
      try {
        this.underlay[family] = this.host.underlay.open(family, encapsulation.protocol, dstPort, receive);
      } catch (error) {
        // A host without IPv6 has tunnels over IPv4 all the same.
        if (family !== families[0] && error instanceof Errno && error.errno === EAFNOSUPPORT) continue;
        for (const port of this.underlay) port?.close();
        throw error;
      }
    }
  }

  get name(): string {
    return this.face.name;
  }
  get ifindex(): number {
    return this.face.ifindex;
  }
  get mtu(): number {
    return this.face.mtu;
  }
  get running(): boolean {
    return this.face.running;
  }

  /** The device's counters, and what the host's stack lost. */
  stats(): DeviceStats {
    const stats = { ...this.counters };
    for (const port of this.underlay) {
      if (port === undefined) continue;
      const [rxLost, txLost, txRefused] = port.losses();
      stats.rxDropped += rxLost;
      stats.txDropped += txLost;
      stats.txErrors += txRefused;
    }
    return stats;
  }

  countTxError(): void {
    this.counters.txErrors++;
  }

  close(): void {
    for (const port of this.underlay) port?.close();
    this.underlay.length = 0;
    this.onClose(this);
  }

  // Transmission

  send(packet: Packet): void {
    const { egressTunnel: tunnel } = packet;
    const { families, encapsulation } = this.settings;
    const family = tunnel === undefined ? 0 : (tunnel[K.TUN_PROTO] >>> 8) & 0xff;
    if (tunnel === undefined || !families.includes(family)) {
      this.refuse(family);
      return;
    }
    const v6 = family === AF_INET6;
    const header = encapsulation.length(tunnel);
    if (header < 0 || (!v6 && tunnel[K.TUN_DST] === 0)) {
      // Options that are none of this tunnel's; or INFO_BRIDGE: a bridge's own table would know where to, and there is none.
      this.refuse(family);
      return;
    }
    const isFrame = this.l3 && !packet.macNone;
    const untagged = isFrame ? ETH_P_TEB : packet.protocol;
    const inner = packet.vlanTpid === 0 ? untagged : packet.vlanTpid;
    this.etherType = isFrame ? inner : etherTypeOf(packet);
    let tos = (tunnel[K.TUN_FLAGS] >>> 8) & 0xff;
    const { view } = packet.memory;
    const end = packet.off + packet.len;
    // GRE does not look behind a tag, and over IPv6 not inside at all for the mark.
    const known = this.isUdp ? this.etherType : inner;
    if (packet.l3 + ipHeaderLength(known) > end) {
      this.refuseShort(v6);
      return;
    }
    if (encapsulation.carries?.(this.etherType) === false) {
      this.counters.txErrors++;
      return;
    }
    if (!this.isUdp && !v6 && tos === INHERIT_TOS) tos = ecn.dsfield(view, inner, packet.l3, end);
    const route = this.routeOf(packet, tunnel, tos, v6);
    if (route === undefined) {
      this.counters.txErrors++;
      if (v6 && !this.isUdp) this.counters.txDropped++;
      encapsulation.lost?.();
      return;
    }
    if (!this.fits(packet, tunnel, inner, header, route, v6)) {
      encapsulation.lost?.();
      return;
    }
    this.tunnel = tunnel;
    this.route = route;
    this.header = header;
    this.v6 = v6;
    if (!v6 || this.isUdp) tos = ecn.encapsulate(tos, ecn.dsfield(view, known, packet.l3, end));
    this.tos = tos;
    this.ttl = this.ttlOf(packet, tunnel, inner, route);
    // To GRE a frame is all payload.
    const length = end - (packet.l3 === 0 || (isFrame && !this.isUdp) ? packet.off : packet.l3);
    const error = packet.gsoType === Gso.NONE ? this.encapsulate(packet) : segment(packet, this.part, this.eachSegment);
    if (error !== 0) {
      if (v6 && this.isUdp) this.counters.txErrors++;
      else this.counters.txDropped++;
      return;
    }
    if (length === 0) {
      // Sent, but counted as if it were not (iptunnel_xmit_stats).
      this.counters.txDropped++;
      return;
    }
    this.counters.txPackets++;
    this.counters.txBytes += length;
  }

  /** Fills `out`, the words of a key, with the tunnel that a packet sent now would go through (EGRESS_TUN_KEY). */
  egressTunnel(packet: Packet, out: Int32Array): boolean {
    const { egressTunnel: tunnel } = packet;
    if (tunnel === undefined) return false;
    const family = (tunnel[K.TUN_PROTO] >>> 8) & 0xff;
    const { families, kind } = this.settings;
    // The other kinds have no way to be asked.
    if (!this.isUdp && kind !== "gretap" && kind !== "erspan") return false;
    if (!families.includes(family) || (family === AF_INET && tunnel[K.TUN_DST] === 0)) return false;
    const route = this.routeOf(packet, tunnel, (tunnel[K.TUN_FLAGS] >>> 8) & 0xff, family === AF_INET6);
    if (route === undefined) return false;
    out.set(tunnel.subarray(K.TUN_PROTO), K.TUN_PROTO);
    for (let i = 0; i < 4; i++) out[K.TUN_SRC + i] = family === AF_INET && i > 0 ? 0 : route.src[i];
    if (this.isUdp) {
      out[K.TUN_TP] = (this.sourcePort(packet) << 16) | this.destinationPort(tunnel);
    }
    return true;
  }

  /**
   * Counts a packet whose key, if it has one, is not for this device: each kind has its own way.
   * @param family of the key, 0 = there is none
   */
  private refuse(family: number): void {
    const { counters } = this;
    const { kind, families } = this.settings;
    if (kind === "vxlan" && family === 0) return;
    if (kind === "bareudp") {
      counters.txErrors++;
      return;
    }
    counters.txDropped++;
    if (family !== 0 && families[0] === AF_INET6) counters.txErrors++;
  }

  /** Counts a packet that ends before the IP header does which its ethertype promises. */
  private refuseShort(v6: boolean): void {
    const { kind } = this.settings;
    const isError = this.isUdp ? kind !== "vxlan" : v6;
    if (isError) this.counters.txErrors++;
    if (!isError || !this.isUdp) this.counters.txDropped++;
  }

  private routeOf(packet: Packet, tunnel: Int32Array, tos: number, v6: boolean): Route | undefined {
    const { routes } = this.host;
    const { protocol } = this.settings.encapsulation;
    const port = this.isUdp ? this.destinationPort(tunnel) : 0;
    if (!v6 || this.isUdp) return routes.find(tunnel, tos & ROUTE_TOS, protocol, port, packet.mark | 0);
    // GRE over IPv6 chooses its source itself, whatever the key says.
    const { sourceless } = this;
    sourceless[K.TUN_PROTO] = tunnel[K.TUN_PROTO];
    for (let i = 0; i < 4; i++) sourceless[K.TUN_DST + i] = tunnel[K.TUN_DST + i];
    return routes.find(sourceless, tos & ROUTE_TOS, protocol, port, packet.mark | 0);
  }

  /**
   * Path MTU rules before encapsulation. @returns false if the packet goes no further
   */
  private fits(packet: Packet, tunnel: Int32Array, inner: number, header: number, route: Route, v6: boolean): boolean {
    const { counters } = this;
    const l3Length = packet.gsoType === Gso.NONE ? packet.off + packet.len - packet.l3 : gsoL3Length(packet);
    const l2 = this.l3 ? 0 : ethernet.HEADER_LEN;
    const outer = v6 ? ipv6.HEADER_LEN : ipv4.HEADER_LEN;
    // Answers nobody: its packets are cut, or dropped.
    if (this.settings.kind === "bareudp") return true;
    if (this.isUdp) {
      const mtu = route.mtu - outer - udp.HEADER_LEN - header - l2;
      if (l3Length <= mtu || !tooBig(packet, inner, mtu, this.out)) return true;
      this.answer(tunnel, route, v6);
      return false;
    }
    if (v6) {
      const mtu = Math.max(route.mtu - outer - header - l2, 1280);
      if (packet.gsoType !== Gso.NONE || packet.len - l2 + tagLength(packet) <= mtu) return true;
      counters.txErrors++;
      counters.txDropped++;
      return false;
    }
    if (packet.gsoType !== Gso.NONE) return true;
    const df = ((tunnel[K.TUN_FLAGS] >>> 16) & TunnelFlag.DONT_FRAGMENT) !== 0;
    const mtu = df ? route.mtu - outer - header - l2 : this.mtu;
    const { view } = packet.memory;
    const size = packet.len - l2 + tagLength(packet);
    const tells =
      (inner === ETH_P_IP && (ipv4.frag(view, packet.l3) & ipv4.DF) !== 0) || (inner === ETH_P_IPV6 && mtu >= 1280);
    if (size <= mtu || !tells) return true;
    counters.txErrors++;
    return false;
  }

  /** Sends this.out, an answer to a packet, back to where that came from: as if it had come through the tunnel. */
  private answer(tunnel: Int32Array, route: Route, v6: boolean): void {
    const { received, counters, out } = this;
    const length = this.l3 ? out.len + ethernet.HEADER_LEN : out.len;
    received.set(tunnel.subarray(K.TUN_PROTO), K.TUN_PROTO);
    for (let i = 0; i < (v6 ? 4 : 1); i++) {
      received[K.TUN_SRC + i] = tunnel[K.TUN_DST + i];
      received[K.TUN_DST + i] = route.src[i];
    }
    if (this.settings.kind === "vxlan") {
      counters.txPackets++;
      counters.txBytes += length;
      counters.rxPackets++;
      counters.rxBytes += length;
    } else {
      counters.txErrors++;
    }
    this.host.deliverLater(out, this, received);
  }

  private ttlOf(packet: Packet, tunnel: Int32Array, inner: number, route: Route): number {
    const ttl = tunnel[K.TUN_FLAGS] & 0xff;
    if (ttl !== INHERIT_TTL) return ttl;
    if (this.isUdp) return this.settings.kind === "vxlan" ? route.hopLimit : 0;
    const { view } = packet.memory;
    const available = packet.off + packet.len - packet.l3;
    if (inner === ETH_P_IP && available >= ipv4.HEADER_LEN) return ipv4.ttl(view, packet.l3);
    if (inner === ETH_P_IPV6 && available >= ipv6.HEADER_LEN) return ipv6.hopLimit(view, packet.l3);
    return route.hopLimit;
  }

  private readonly eachSegment = (part: Packet): number => this.encapsulate(part);

  /** Puts all headers before a packet and queues it. @returns 0 or a negative errno */
  private encapsulate(packet: Packet): number {
    const { out, tunnel, header, v6, isUdp, settings } = this;
    const { encapsulation } = settings;
    const outer = (v6 ? ipv6.HEADER_LEN : ipv4.HEADER_LEN) + (isUdp ? udp.HEADER_LEN : 0);
    const room = outer + header + TAG_LEN;
    out.copyFrom(packet);
    if ((out.off + out.len > out.end || out.off - out.head < room) && !out.unshare(room, 0)) return -ENOMEM;
    if (!completePartial(out)) return -EINVAL;
    if (out.vlanTpid !== 0) putTag(out);
    out.off -= header;
    out.len += header;
    encapsulation.push(out, header, tunnel, this.etherType, v6);
    out.off -= outer;
    out.len += outer;
    const flags = tunnel[K.TUN_FLAGS] >>> 16;
    const { protocol } = encapsulation;
    const route = this.route as Route;
    const df = (flags & TunnelFlag.DONT_FRAGMENT) !== 0;
    if (v6) {
      const label = isUdp ? 0 : flowLabel(packet.hash);
      writeIpv6(out, tunnel, route, this.tos, this.ttl, protocol, label);
    } else {
      this.identification = (this.identification + 1) & 0xffff;
      writeIpv4(out, tunnel, route, this.tos, this.ttl, protocol, this.identification, df);
    }
    if (isUdp) {
      const dst = this.destinationPort(tunnel);
      writeUdp(out, v6, this.sourcePort(packet), dst, (flags & TunnelFlag.CSUM) !== 0);
    }
    return this.dispatch(df);
  }

  /** Queues this.out, in fragments if it must and may be. */
  private dispatch(df: boolean): number {
    const { out } = this;
    const route = this.route as Route;
    const port = this.underlay[this.v6 ? AF_INET6 : AF_INET];
    if (port === undefined) return -EINVAL;
    out.macNone = true;
    out.vlanTpid = 0;
    out.csum = Csum.NONE;
    out.csumStart = 0;
    out.protocol = this.v6 ? ETH_P_IPV6 : ETH_P_IP;
    out.l3 = out.off;
    out.l4 = out.off + (this.v6 ? ipv6.HEADER_LEN : ipv4.HEADER_LEN);
    out.fragList = 0;
    if (out.len <= route.mtu) {
      port.send(out);
      return 0;
    }
    if (df || this.v6) return -EINVAL;
    if (route.ipsec) {
      // Policies look at ports, which fragments do not have: the host cuts what IPsec has made of the packet.
      if (out.len > route.linkMtu) port.sendLong(out);
      else port.send(out);
      return 0;
    }
    return fragment(out, ETH_P_IP, route.mtu, route.mtu, this.host.random, this.piece, this.eachPiece);
  }

  private readonly eachPiece = (part: Packet): number => {
    this.underlay[AF_INET]?.send(part);
    return 0;
  };

  /** VXLAN sends to the port that the key names, others to that of their device. */
  private destinationPort(tunnel: Int32Array): number {
    const { kind, dstPort } = this.settings;
    return (kind === "vxlan" && tunnel[K.TUN_TP] & 0xffff) || dstPort;
  }

  /** A source port that differs from flow to flow and tells nothing of it (udp_flow_src_port). */
  private sourcePort(packet: Packet): number {
    const { min, max } = this.settings.sourcePorts ?? this.host.underlay.portRange;
    const mixed = (packet.hash ^ (packet.hash << 16)) >>> 0;
    return min + Math.floor((mixed * (max - min)) / 0x100000000);
  }

  // Reception

  /** Takes a whole IP packet from the underlay. HOT PATH. */
  private receive(packet: Packet, fragmentSize: number): void {
    if (!this.face.running) {
      return;
    }
    const { view } = packet.memory;
    const { received: tunnel, settings, isUdp } = this;
    const ip = packet.off;
    const v6 = view.getUint8(ip) >> 4 === 6;
    const outerLength = packet.len;
    const available = packet.len;
    if (v6 ? !ipv6.isValid(view, ip, available) : !ipv4.isValid(view, ip, available)) return;
    const skip = v6 ? ipv6.HEADER_LEN : ipv4.headerLength(view, ip);
    let outerTos: number;
    let ttl: number;
    if (tunnel[K.TUN_PROTO] !== 0) tunnel.fill(0, K.TUN_PROTO);
    if (v6) {
      outerTos = ipv6.trafficClass(view, ip);
      ttl = ipv6.hopLimit(view, ip);
      tunnel[K.TUN_PROTO] = AF_INET6 << 8;
      for (let i = 0; i < 4; i++) {
        tunnel[K.TUN_SRC + i] = view.getInt32(ip + ipv6.SRC + 4 * i);
        tunnel[K.TUN_DST + i] = view.getInt32(ip + ipv6.DST + 4 * i);
      }
    } else {
      outerTos = ipv4.tos(view, ip);
      ttl = ipv4.ttl(view, ip);
      tunnel[K.TUN_PROTO] = AF_INET << 8;
      tunnel[K.TUN_SRC] = view.getInt32(ip + ipv4.SRC);
      tunnel[K.TUN_DST] = view.getInt32(ip + ipv4.DST);
    }
    tunnel[K.TUN_FLAGS] = (outerTos << 8) | ttl;
    packet.off += skip;
    packet.len -= skip;
    const transport = packet.off;
    if (isUdp) {
      if (packet.len < udp.HEADER_LEN) return;
      const length = udp.length(view, transport);
      if (length < udp.HEADER_LEN || length > packet.len) return;
      packet.len = length;
      const check = view.getUint16(transport + udp.CHECKSUM);
      if (check !== 0) tunnel[K.TUN_FLAGS] |= TunnelFlag.CSUM << 16;
      else if (v6 && !settings.zeroChecksum6) return;
      tunnel[K.TUN_TP] = view.getInt32(transport);
      packet.off += udp.HEADER_LEN;
      packet.len -= udp.HEADER_LEN;
    }
    const header = settings.encapsulation.pull(packet, tunnel, v6);
    if (header < 0) {
      if (header === Pull.ERROR) this.counters.rxErrors++;
      // What has a wrong checksum does not come as far as that.
      if (header === Pull.DROPPED && (!isUdp || this.verify(packet, ip, transport, v6))) this.counters.rxDropped++;
      return;
    }
    packet.off += header;
    packet.len -= header;
    const end = packet.off + packet.len;
    let l3 = packet.off;
    let etherType = packet.protocol;
    if (this.l3) {
      packet.macNone = true;
    } else {
      if (packet.len < ethernet.HEADER_LEN) {
        // Only Geneve counts these.
        if (settings.kind === "geneve") this.counters.rxDropped++;
        return;
      }
      etherType = ethernet.type(view, packet.off);
      l3 += ethernet.HEADER_LEN;
    }
    const tagged = isVlan(etherType) && l3 + TAG_LEN <= end;
    const framed = this.l3 && etherType === ETH_P_TEB && packet.len >= ethernet.HEADER_LEN;
    if (framed) this.restore(packet, ethernet.type(view, l3), l3 + ethernet.HEADER_LEN, outerLength, fragmentSize);
    else if (tagged) this.restore(packet, view.getUint16(l3 + 2), l3 + TAG_LEN, outerLength, fragmentSize);
    else this.restore(packet, etherType, l3, outerLength, fragmentSize);
    if (isUdp && !this.verify(packet, ip, transport, v6)) return;
    const { counters } = this;
    if (l3 + ipHeaderLength(etherType) > end || !ecn.decapsulate(view, outerTos, etherType, l3, end)) {
      counters.rxErrors++;
      return;
    }
    counters.rxPackets++;
    // GRE over IPv4 counts the Ethernet header, all others do not.
    counters.rxBytes += this.l3 || (!isUdp && !v6) ? packet.len : packet.len - ethernet.HEADER_LEN;
    this.host.deliver(packet, this, tunnel);
  }

  /**
   * Finds out what a socket does not tell: a packet that never left this machine may have its checksum still to be
   * completed, and be one of many segments. The checksum field holds the sum of the pseudo header then; should that be a
   * right checksum by chance, completing it gives the same.
   */
  private restore(packet: Packet, etherType: number, l3: number, outerLength: number, fragmentSize: number): void {
    const { view } = packet.memory;
    const end = packet.off + packet.len;
    let l4: number;
    let proto: number;
    let v6 = false;
    if (etherType === ETH_P_IP) {
      if (!ipv4.isValid(view, l3, end - l3) || ipv4.isFragment(view, l3)) return;
      l4 = l3 + ipv4.headerLength(view, l3);
      proto = ipv4.protocol(view, l3);
      if (ipv4.totalLength(view, l3) !== end - l3) return;
    } else if (etherType === ETH_P_IPV6) {
      if (!ipv6.isValid(view, l3, end - l3)) return;
      l4 = l3 + ipv6.HEADER_LEN;
      proto = ipv6.nextHeader(view, l3);
      v6 = true;
      if (ipv6.payloadLength(view, l3) !== end - l4) return;
    } else {
      return;
    }
    const length = end - l4;
    const isTcp = proto === IpProto.TCP;
    if (isTcp ? length < tcp.HEADER_LEN : proto !== IpProto.UDP || length < udp.HEADER_LEN) return;
    const field = isTcp ? tcp.CHECKSUM : udp.CHECKSUM;
    const pseudo = v6 ? pseudoV6(view, l3, proto, length) : pseudoV4(view, l3, proto, length);
    if (view.getUint16(l4 + field) !== pseudo) return;
    packet.csum = Csum.PARTIAL;
    packet.csumStart = l4;
    packet.csumOffset = field;
    if (!isTcp || fragmentSize !== 0) return;
    // Longer than the path takes, and never in pieces: segments that the sender left to the device.
    const { received } = this;
    swapAddresses(received);
    const { dstPort, encapsulation } = this.settings;
    const route = this.host.routes.find(received, 0, encapsulation.protocol, dstPort, 0);
    swapAddresses(received);
    if (route === undefined || outerLength <= route.linkMtu) return;
    const headers = l4 + tcp.headerLength(view, l4) - packet.off;
    const mss = Math.max(route.mtu - (outerLength - packet.len) - headers, SMALLEST_MSS);
    if (packet.len - headers <= mss) return;
    packet.gsoType = v6 ? Gso.TCPV6 : Gso.TCPV4;
    packet.gsoSize = mss;
  }

  /** Whether the outer UDP checksum is right, or absent, or was left to a device. */
  private verify(packet: Packet, ip: number, transport: number, v6: boolean): boolean {
    const { view } = packet.memory;
    const check = view.getUint16(transport + udp.CHECKSUM);
    if (check === 0 || packet.gsoType !== Gso.NONE) return true;
    const length = udp.length(view, transport);
    const pseudo = v6 ? pseudoV6(view, ip, IpProto.UDP, length) : pseudoV4(view, ip, IpProto.UDP, length);
    if (check === pseudo || checksum(view, transport, length, pseudo) === 0) return true;
    // The sender counted on the inner checksum being completed.
    return packet.csum === Csum.PARTIAL && completePartial(packet) && checksum(view, transport, length, pseudo) === 0;
  }
}

/** The ethertype of what stands at packet.l3, behind all tags. */
function etherTypeOf(packet: Packet): number {
  if (packet.macNone || packet.l3 < packet.off + ethernet.HEADER_LEN) return packet.protocol;
  return packet.memory.view.getUint16(packet.l3 - 2);
}

/** Length of the IP header that the kernel looks for in a packet of that ethertype, 0 = of none. */
const ipHeaderLength = (etherType: number): number =>
  etherType === ETH_P_IP ? ipv4.HEADER_LEN : etherType === ETH_P_IPV6 ? ipv6.HEADER_LEN : 0;

const tagLength = (packet: Packet): number => (packet.vlanTpid === 0 ? 0 : TAG_LEN);

/** Length of a GSO packet's longest segment from the network header on. */
function gsoL3Length(packet: Packet): number {
  return gsoFrameLength(packet) - (packet.l3 - packet.off);
}

/** Moves the tag beside a frame into it; there are four bytes of room. */
function putTag(packet: Packet): void {
  const { bytes, view } = packet.memory;
  const { off } = packet;
  bytes.copyWithin(off - TAG_LEN, off, off + 2 * 6);
  packet.off = off - TAG_LEN;
  packet.len += TAG_LEN;
  view.setUint16(packet.off + ethernet.TYPE, packet.vlanTpid);
  view.setUint16(packet.off + ethernet.TYPE + 2, packet.vlanTci);
  packet.vlanTpid = 0;
}

/** A flow label of the stateless range's half without that bit, never 0. */
function flowLabel(hash: number): number {
  return ((hash << 16) | (hash >>> 16)) & 0xfffff || 1;
}

function swapAddresses(tunnel: Int32Array): void {
  for (let i = 0; i < 4; i++) {
    const src = tunnel[K.TUN_SRC + i];
    tunnel[K.TUN_SRC + i] = tunnel[K.TUN_DST + i];
    tunnel[K.TUN_DST + i] = src;
  }
}
