/** Reception: packets from the host's IP stack are decapsulated and delivered to the datapath. */

import { K, TunnelFlag } from "../flow/key.ts";
import { checksum } from "../packet/checksum.ts";
import * as ethernet from "../packet/ethernet.ts";
import { ETH_P_IP, ETH_P_IPV6, ETH_P_TEB, isVlan } from "../packet/ethernet.ts";
import { IpProto } from "../packet/ip.ts";
import * as ipv4 from "../packet/ipv4.ts";
import * as ipv6 from "../packet/ipv6.ts";
import { completePartial, pseudoV4, pseudoV6 } from "../packet/l4-checksum.ts";
import { Csum, Gso, type Packet } from "../packet/packet.ts";
import * as tcp from "../packet/tcp.ts";
import * as udp from "../packet/udp.ts";
import { TAG_LEN } from "../packet/vlan.ts";
import type { DeviceStats, Port } from "../port/port.ts";
import { AF_INET, AF_INET6 } from "../uapi/socket.ts";

import * as ecn from "./ecn.ts";
import { Pull } from "./encapsulation.ts";
import type { TunnelHost } from "./host.ts";
import type { TunnelSettings } from "./kind.ts";
import { ipHeaderLength } from "./outer.ts";

/** Segment size in bytes for a GSO packet whose path MTU leaves less: fits every path. */
const SMALLEST_MSS = 536;

/** The receive side of one tunnel port. */
export class TunnelReceiver {
  private readonly l3: boolean;
  private readonly isUdp: boolean;
  /** The tunnel words of the packet being received. */
  private readonly received = new Int32Array(K.WORDS);

  constructor(
    private readonly settings: TunnelSettings,
    private readonly port: Port,
    private readonly host: TunnelHost,
    private readonly counters: DeviceStats,
  ) {
    this.l3 = settings.encapsulation.l3;
    this.isUdp = settings.encapsulation.protocol === IpProto.UDP;
  }

  /**
   * Takes a whole IP packet from the underlay. HOT PATH.
   * @param fragmentSize size of the largest fragment it came in, 0: it came whole
   */
  receive(packet: Packet, fragmentSize: number): void {
    if (!this.port.running) return;
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
      // With a wrong checksum the packet is dropped by UDP, before the device could count it.
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
        if (settings.kind.behaviour.countsShortFrames) this.counters.rxDropped++;
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
    // Only GRE over IPv4 counts the bytes of the Ethernet header.
    counters.rxBytes += this.l3 || (!isUdp && !v6) ? packet.len : packet.len - ethernet.HEADER_LEN;
    this.host.deliver(packet, this.port, tunnel);
  }

  /**
   * Restores the checksum and GSO state of the payload, which sockets do not report: a packet that was sent on this machine
   * may have its checksum still to be completed, and be a GSO packet. Its checksum field then holds the sum of the pseudo
   * header; where that happens to be the right checksum, completing it gives the same value.
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
    // Longer than the path's MTU, and not reassembled: the sender left segmentation to the device.
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

  /** Whether the outer UDP checksum is right, absent, or was left to a device to complete. */
  private verify(packet: Packet, ip: number, transport: number, v6: boolean): boolean {
    const { view } = packet.memory;
    const check = view.getUint16(transport + udp.CHECKSUM);
    if (check === 0 || packet.gsoType !== Gso.NONE) return true;
    const length = udp.length(view, transport);
    const pseudo = v6 ? pseudoV6(view, ip, IpProto.UDP, length) : pseudoV4(view, ip, IpProto.UDP, length);
    if (check === pseudo || checksum(view, transport, length, pseudo) === 0) return true;
    // The outer sum may presuppose that the inner checksum has been completed.
    return packet.csum === Csum.PARTIAL && completePartial(packet) && checksum(view, transport, length, pseudo) === 0;
  }
}

/** Exchanges source and destination address of tunnel words. */
function swapAddresses(tunnel: Int32Array): void {
  for (let i = 0; i < 4; i++) {
    const src = tunnel[K.TUN_SRC + i];
    tunnel[K.TUN_SRC + i] = tunnel[K.TUN_DST + i];
    tunnel[K.TUN_DST + i] = src;
  }
}
