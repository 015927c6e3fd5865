/** Writing the outer IP and UDP headers of tunnel packets. */
import { K } from "../flow/key.ts";
import { checksum } from "../packet/checksum.ts";
import { ETH_P_IP, ETH_P_IPV6 } from "../packet/ethernet.ts";
import * as ipv4 from "../packet/ipv4.ts";
import * as ipv6 from "../packet/ipv6.ts";
import { pseudoV4, pseudoV6 } from "../packet/l4-checksum.ts";
import type { Packet } from "../packet/packet.ts";
import * as udp from "../packet/udp.ts";
import type { Route } from "../port/underlay.ts";

/** Length of the IP header that the kernel requires in a packet of that ethertype, 0: of none. */
export const ipHeaderLength = (etherType: number): number =>
  etherType === ETH_P_IP ? ipv4.HEADER_LEN : etherType === ETH_P_IPV6 ? ipv6.HEADER_LEN : 0;

/** Writes the IPv4 header at packet.off; the packet is all of the datagram. The source is the route's. */
export function writeIpv4(
  packet: Packet,
  tunnel: Int32Array,
  route: Route,
  tos: number,
  ttl: number,
  proto: number,
  id: number,
  df: boolean,
): void {
  const { view } = packet.memory;
  const { off } = packet;
  view.setUint16(off, 0x4500 | tos);
  ipv4.setTotalLength(view, off, packet.len);
  ipv4.setId(view, off, id);
  ipv4.setFrag(view, off, df ? ipv4.DF : 0);
  view.setUint8(off + ipv4.TTL, ttl);
  view.setUint8(off + ipv4.PROTOCOL, proto);
  view.setInt32(off + ipv4.SRC, route.src[0]);
  view.setInt32(off + ipv4.DST, tunnel[K.TUN_DST]);
  ipv4.fillChecksum(view, off);
}

/** Writes the IPv6 header at packet.off; the packet is all of the datagram. The source is the route's. */
export function writeIpv6(
  packet: Packet,
  tunnel: Int32Array,
  route: Route,
  trafficClass: number,
  hopLimit: number,
  proto: number,
  label: number,
): void {
  const { view } = packet.memory;
  const { off } = packet;
  view.setInt32(off, 0x60000000 | (trafficClass << 20) | label);
  ipv6.setPayloadLength(view, off, packet.len - ipv6.HEADER_LEN);
  view.setUint8(off + ipv6.NEXT_HEADER, proto);
  view.setUint8(off + ipv6.HOP_LIMIT, hopLimit);
  for (let i = 0; i < 4; i++) {
    view.setInt32(off + ipv6.SRC + 4 * i, route.src[i]);
    view.setInt32(off + ipv6.DST + 4 * i, tunnel[K.TUN_DST + i]);
  }
}

/** Writes the UDP header behind the IP header at packet.off, which must be complete where a checksum is wanted. */
export function writeUdp(packet: Packet, v6: boolean, src: number, dst: number, withChecksum: boolean): void {
  const { view } = packet.memory;
  const at = packet.off + (v6 ? ipv6.HEADER_LEN : ipv4.HEADER_LEN);
  const length = packet.off + packet.len - at;
  view.setUint16(at + udp.SRC_PORT, src);
  view.setUint16(at + udp.DST_PORT, dst);
  udp.setLength(view, at, length);
  view.setUint16(at + udp.CHECKSUM, 0);
  if (!withChecksum) return;
  const pseudo = v6 ? pseudoV6(view, packet.off, 17, length) : pseudoV4(view, packet.off, 17, length);
  view.setUint16(at + udp.CHECKSUM, checksum(view, at, length, pseudo) || 0xffff);
}
