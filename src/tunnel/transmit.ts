/** Transmission: encapsulating packets and sending them through the host's IP stack. */

import { K, TunnelFlag } from "../flow/key.ts";
import { materializeVlan } from "../packet/edit/vlan.ts";
import * as ethernet from "../packet/ethernet.ts";
import { ETH_P_IP, ETH_P_IPV6, ETH_P_TEB } from "../packet/ethernet.ts";
import { fragment } from "../packet/fragment.ts";
import { gsoFrameLength, segment } from "../packet/gso.ts";
import { IpProto } from "../packet/ip.ts";
import * as ipv4 from "../packet/ipv4.ts";
import * as ipv6 from "../packet/ipv6.ts";
import { completePartial } from "../packet/l4-checksum.ts";
import type { PacketMemory } from "../packet/memory.ts";
import { Csum, Gso, Packet } from "../packet/packet.ts";
import * as udp from "../packet/udp.ts";
import { TAG_LEN } from "../packet/vlan.ts";
import type { DeviceStats, Port } from "../port/port.ts";
import type { Route } from "../port/underlay.ts";
import { EINVAL, ENOMEM } from "../uapi/errno.ts";
import { AF_INET, AF_INET6 } from "../uapi/socket.ts";
import * as ecn from "./ecn.ts";
import type { TunnelHost } from "./host.ts";
import { Count, type TunnelSettings } from "./kind.ts";
import { ipHeaderLength, writeIpv4, writeIpv6, writeUdp } from "./outer.ts";
import { tooBig } from "./pmtu.ts";
import type { UnderlaySockets } from "./underlay.ts";

/** Values of TTL and TOS by which a key asks for the packet's own. */
const INHERIT_TTL = 0;
const INHERIT_TOS = 1;
/** IPTOS_RT_MASK: the bits of the TOS that routing rules may use. */
const ROUTE_TOS = 0x1c;

/**
 * The transmit side of one tunnel port. Packets are encapsulated in place, in their headroom, where there is enough. GSO
 * packets are segmented before: the same packets reach the wire as from a device of the kernel, which segments at the end.
 */
export class TunnelTransmitter {
  private readonly l3: boolean;
  private readonly isUdp: boolean;
  private identification: number;
  private readonly out: Packet;
  private readonly part: Packet;
  private readonly piece: Packet;
  private readonly answerTunnel = new Int32Array(K.WORDS);
  private readonly sourceless = new Int32Array(K.WORDS);
  // Parameters of the packet being sent, for the callbacks that take its segments and fragments.
  private tunnel: Int32Array = this.answerTunnel;
  private route: Route | undefined = undefined;
  private header = 0;
  private tos = 0;
  private ttl = 0;
  private v6 = false;
  private etherType = 0;

  constructor(
    private readonly settings: TunnelSettings,
    private readonly port: Port,
    private readonly host: TunnelHost,
    private readonly sockets: UnderlaySockets,
    private readonly counters: DeviceStats,
    memory: PacketMemory,
  ) {
    this.l3 = settings.encapsulation.l3;
    this.isUdp = settings.encapsulation.protocol === IpProto.UDP;
    this.identification = host.random.u32() & 0xffff;
    this.out = new Packet(memory);
    this.part = new Packet(memory);
    this.piece = new Packet(memory);
  }

  /** Encapsulates a packet and queues it (Port.send). Its tunnel key is packet.egressTunnel. HOT PATH. */
  send(packet: Packet): void {
    const { egressTunnel: tunnel } = packet;
    const { families, encapsulation, kind } = this.settings;
    const { behaviour } = kind;
    const family = tunnel === undefined ? 0 : (tunnel[K.TUN_PROTO] >>> 8) & 0xff;
    if (tunnel === undefined || !families.includes(family)) {
      this.count(family === 0 ? behaviour.withoutKey : behaviour.unfitKey);
      return;
    }
    const v6 = family === AF_INET6;
    const header = encapsulation.length(tunnel);
    if (header < 0 || (!v6 && tunnel[K.TUN_DST] === 0)) {
      // The key's options are another tunnel type's; or it has no destination, which a bridge's table would have (INFO_BRIDGE).
      this.count(behaviour.unfitKey);
      return;
    }
    const isFrame = this.l3 && !packet.macNone;
    const untagged = isFrame ? ETH_P_TEB : packet.protocol;
    const inner = packet.vlanTpid === 0 ? untagged : packet.vlanTpid;
    this.etherType = isFrame ? inner : etherTypeOf(packet);
    let tos = (tunnel[K.TUN_FLAGS] >>> 8) & 0xff;
    const { view } = packet.memory;
    const end = packet.off + packet.len;
    // GRE does not look behind a VLAN tag, and over IPv6 takes no ECN mark from the payload at all.
    const known = this.isUdp ? this.etherType : inner;
    if (packet.l3 + ipHeaderLength(known) > end) {
      this.count(behaviour.truncated);
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
      encapsulation.dropped?.();
      return;
    }
    if (!this.fits(packet, tunnel, inner, header, route, v6)) {
      encapsulation.dropped?.();
      return;
    }
    this.tunnel = tunnel;
    this.route = route;
    this.header = header;
    this.v6 = v6;
    if (!v6 || this.isUdp) tos = ecn.encapsulate(tos, ecn.dsfield(view, known, packet.l3, end));
    this.tos = tos;
    this.ttl = this.ttlOf(packet, tunnel, inner, route);
    // GRE counts the Ethernet header as payload.
    const length = end - (packet.l3 === 0 || (isFrame && !this.isUdp) ? packet.off : packet.l3);
    const error =
      packet.gsoType === Gso.NONE
        ? this.encapsulate(packet)
        : segment(packet, this.part, this.eachSegment, this.host.random);
    if (error !== 0) {
      if (v6 && this.isUdp) this.counters.txErrors++;
      else this.counters.txDropped++;
      return;
    }
    if (length === 0) {
      // It was sent, but the kernel counts it as dropped (iptunnel_xmit_stats).
      this.counters.txDropped++;
      return;
    }
    this.counters.txPackets++;
    this.counters.txBytes += length;
  }

  /** Port.egressTunnel: fills the tunnel words of `out`, a flow key. */
  egressTunnel(packet: Packet, out: Int32Array): boolean {
    const { egressTunnel: tunnel } = packet;
    if (tunnel === undefined) return false;
    const family = (tunnel[K.TUN_PROTO] >>> 8) & 0xff;
    const { families, kind } = this.settings;
    if (!kind.behaviour.egressKey) return false;
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

  /** Adds a packet that cannot be sent to the counters that the kind's driver adds it to. */
  private count(counters: Count): void {
    if ((counters & Count.TX_DROPPED) !== 0) this.counters.txDropped++;
    if ((counters & Count.TX_ERROR) !== 0) this.counters.txErrors++;
  }

  private routeOf(packet: Packet, tunnel: Int32Array, tos: number, v6: boolean): Route | undefined {
    const { routes } = this.host;
    const { protocol } = this.settings.encapsulation;
    const port = this.isUdp ? this.destinationPort(tunnel) : 0;
    if (!v6 || this.isUdp) return routes.find(tunnel, tos & ROUTE_TOS, protocol, port, packet.mark | 0);
    // GRE over IPv6 does not use the key's source address.
    const { sourceless } = this;
    sourceless[K.TUN_PROTO] = tunnel[K.TUN_PROTO];
    for (let i = 0; i < 4; i++) sourceless[K.TUN_DST + i] = tunnel[K.TUN_DST + i];
    return routes.find(sourceless, tos & ROUTE_TOS, protocol, port, packet.mark | 0);
  }

  /**
   * Applies the path MTU rules that hold before encapsulation: counts and answers a packet that is too long.
   * @returns false if the packet is not to be sent
   */
  private fits(packet: Packet, tunnel: Int32Array, inner: number, header: number, route: Route, v6: boolean): boolean {
    const { counters } = this;
    const l3Length = packet.gsoType === Gso.NONE ? packet.off + packet.len - packet.l3 : gsoL3Length(packet);
    const l2 = this.l3 ? 0 : ethernet.HEADER_LEN;
    const outer = v6 ? ipv6.HEADER_LEN : ipv4.HEADER_LEN;
    if (this.isUdp) {
      // Too long packets are fragmented, or dropped later.
      if (!this.settings.kind.behaviour.answersTooBig) return true;
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
    const mtu = df ? route.mtu - outer - header - l2 : this.port.mtu;
    const { view } = packet.memory;
    const size = packet.len - l2 + tagLength(packet);
    const answered =
      (inner === ETH_P_IP && (ipv4.frag(view, packet.l3) & ipv4.DF) !== 0) || (inner === ETH_P_IPV6 && mtu >= 1280);
    if (size <= mtu || !answered) return true;
    counters.txErrors++;
    return false;
  }

  /** Delivers this.out, an ICMP answer to a packet, to the datapath as if it had come through the tunnel. */
  private answer(tunnel: Int32Array, route: Route, v6: boolean): void {
    const { answerTunnel: received, counters, out } = this;
    const length = this.l3 ? out.len + ethernet.HEADER_LEN : out.len;
    received.set(tunnel.subarray(K.TUN_PROTO), K.TUN_PROTO);
    for (let i = 0; i < (v6 ? 4 : 1); i++) {
      received[K.TUN_SRC + i] = tunnel[K.TUN_DST + i];
      received[K.TUN_DST + i] = route.src[i];
    }
    if (this.settings.kind.behaviour.countsAnswers) {
      counters.txPackets++;
      counters.txBytes += length;
      counters.rxPackets++;
      counters.rxBytes += length;
    } else {
      counters.txErrors++;
    }
    this.host.deliverLater(out, this.port, received);
  }

  private ttlOf(packet: Packet, tunnel: Int32Array, inner: number, route: Route): number {
    const ttl = tunnel[K.TUN_FLAGS] & 0xff;
    if (ttl !== INHERIT_TTL) return ttl;
    if (this.isUdp) return this.settings.kind.behaviour.routeHopLimit ? route.hopLimit : 0;
    const { view } = packet.memory;
    const available = packet.off + packet.len - packet.l3;
    if (inner === ETH_P_IP && available >= ipv4.HEADER_LEN) return ipv4.ttl(view, packet.l3);
    if (inner === ETH_P_IPV6 && available >= ipv6.HEADER_LEN) return ipv6.hopLimit(view, packet.l3);
    return route.hopLimit;
  }

  private readonly eachSegment = (part: Packet): number => this.encapsulate(part);

  /** Writes all headers in front of a packet and queues it. @returns 0 or a negative errno */
  private encapsulate(packet: Packet): number {
    const { out, tunnel, header, v6, isUdp, settings } = this;
    const { encapsulation } = settings;
    const outer = (v6 ? ipv6.HEADER_LEN : ipv4.HEADER_LEN) + (isUdp ? udp.HEADER_LEN : 0);
    const room = outer + header + TAG_LEN;
    out.copyFrom(packet);
    if ((out.off + out.len > out.end || out.off - out.head < room) && !out.unshare(room, 0)) return -ENOMEM;
    if (!completePartial(out)) return -EINVAL;
    const error = materializeVlan(out);
    if (error !== 0) return error;
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

  /** Queues this.out, in fragments if it is too long for the route. @returns 0 or a negative errno */
  private dispatch(df: boolean): number {
    const { out } = this;
    const route = this.route as Route;
    const port = this.v6 ? this.sockets.v6 : this.sockets.v4;
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
      // IPsec policies select by ports, which fragments do not have: the host fragments behind IPsec.
      if (out.len > route.linkMtu) port.sendLong(out);
      else port.send(out);
      return 0;
    }
    return fragment(out, ETH_P_IP, route.mtu, route.mtu, this.host.random, this.piece, this.eachPiece);
  }

  private readonly eachPiece = (part: Packet): number => {
    this.sockets.v4?.send(part);
    return 0;
  };

  /** The UDP destination port: the key's where the kind takes it from there, else the device's. */
  private destinationPort(tunnel: Int32Array): number {
    const { kind, dstPort } = this.settings;
    return (kind.behaviour.keyDstPort && tunnel[K.TUN_TP] & 0xffff) || dstPort;
  }

  /** The UDP source port, a function of the packet's hash (udp_flow_src_port). */
  private sourcePort(packet: Packet): number {
    const { min, max } = this.settings.sourcePorts ?? this.host.underlay.portRange;
    const mixed = (packet.hash ^ (packet.hash << 16)) >>> 0;
    return min + Math.floor((mixed * (max - min)) / 0x100000000);
  }
}

/** The ethertype of the header at packet.l3, behind all VLAN tags. */
function etherTypeOf(packet: Packet): number {
  if (packet.macNone || packet.l3 < packet.off + ethernet.HEADER_LEN) return packet.protocol;
  return packet.memory.view.getUint16(packet.l3 - 2);
}

const tagLength = (packet: Packet): number => (packet.vlanTpid === 0 ? 0 : TAG_LEN);

/** Length of a GSO packet's longest segment from the network header on. */
function gsoL3Length(packet: Packet): number {
  return gsoFrameLength(packet) - (packet.l3 - packet.off);
}

/** The IPv6 flow label for a packet hash (ip6_make_flowlabel), never 0. */
function flowLabel(hash: number): number {
  return ((hash << 16) | (hash >>> 16)) & 0xfffff || 1;
}
