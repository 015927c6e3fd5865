import { checksum } from "../packet/checksum.ts";
import * as ethernet from "../packet/ethernet.ts";
import { ETH_P_IP, ETH_P_IPV6 } from "../packet/ethernet.ts";
import * as icmp from "../packet/icmp.ts";
import * as icmpv6 from "../packet/icmpv6.ts";
import { IpProto } from "../packet/ip.ts";
import * as ipv4 from "../packet/ipv4.ts";
import * as ipv6 from "../packet/ipv6.ts";
import { pseudoV6 } from "../packet/l4-checksum.ts";
import { HEADROOM } from "../packet/memory.ts";
import type { Packet } from "../packet/packet.ts";

/**
 * ICMP errors that UDP tunnels on a bridge send, as a router would, for packets longer than the path MTU
 * (skb_tunnel_check_pmtu).
 */
const ICMP_LEN = 8;
const ICMP_FRAG_NEEDED = 4;
/** Sizes of the answers, IP header included. */
const MIN_MTU4 = 576;
const MIN_MTU6 = 1280;

/**
 * Builds the ICMP error for a packet that is longer than `mtu` in scratch memory and points `out` at it: an Ethernet frame, or a
 * packet without Ethernet header if the other has none. Mark and priority are the packet's. The kernel takes the first 14
 * bytes for an Ethernet header even then: the quoted packet begins behind them, and the headers written in front of it
 * overwrite the source address before that is read.
 * @param etherType of the packet, 8021Q if it has a tag
 * @returns false if it is not one to be answered
 */
export function tooBig(packet: Packet, etherType: number, mtu: number, out: Packet): boolean {
  const { view } = packet.memory;
  const { l3 } = packet;
  const available = packet.off + packet.len - l3;
  if (etherType === ETH_P_IP) {
    if (!ipv4.isValid(view, l3, available) || !isAnswerable4(view, l3, available, mtu)) return false;
  } else if (etherType === ETH_P_IPV6) {
    if (!ipv6.isValid(view, l3, available) || !isAnswerable6(view, l3, available, mtu)) return false;
  } else {
    return false;
  }
  const v6 = etherType === ETH_P_IPV6;
  const header = v6 ? ipv6.HEADER_LEN : ipv4.HEADER_LEN;
  const bare = packet.macNone;
  const link = bare ? 0 : ethernet.HEADER_LEN;
  const quote = bare ? l3 + ethernet.HEADER_LEN : l3;
  const quoted = Math.min(packet.off + packet.len - quote, (v6 ? MIN_MTU6 : MIN_MTU4) - header - ICMP_LEN);
  const size = link + header + ICMP_LEN + quoted;
  const base = packet.memory.scratch(HEADROOM + size);
  if (base < 0) return false;
  const { bytes } = packet.memory;
  const off = base + HEADROOM;
  const ip = off + link;
  const l4 = ip + header;
  if (!bare) {
    bytes.copyWithin(off, packet.off + ethernet.SRC, packet.off + ethernet.SRC + 6);
    bytes.copyWithin(off + ethernet.SRC, packet.off, packet.off + 6);
    ethernet.setType(view, off, etherType);
  }
  bytes.copyWithin(l4 + ICMP_LEN, quote, quote + quoted);
  view.setUint16(l4, v6 ? icmpv6.Icmpv6Type.PKT_TOOBIG << 8 : (icmp.IcmpType.DEST_UNREACH << 8) | ICMP_FRAG_NEEDED);
  view.setUint16(l4 + 2, 0);
  view.setUint32(l4 + 4, mtu);
  if (v6) {
    view.setUint32(ip, 0x60000000);
    ipv6.setPayloadLength(view, ip, ICMP_LEN + quoted);
    view.setUint8(ip + ipv6.NEXT_HEADER, IpProto.ICMPV6);
    view.setUint8(ip + ipv6.HOP_LIMIT, bare ? 0 : ipv6.hopLimit(view, l3));
    bytes.copyWithin(ip + ipv6.SRC, l3 + ipv6.DST, l3 + ipv6.DST + 16);
    bytes.copyWithin(ip + ipv6.DST, l3 + ipv6.SRC, l3 + ipv6.SRC + 16);
    if (bare) {
      view.setUint16(ip + ipv6.DST, 0);
      view.setUint32(ip + ipv6.DST + 2, mtu);
    }
    const pseudo = pseudoV6(view, ip, IpProto.ICMPV6, ICMP_LEN + quoted);
    view.setUint16(l4 + 2, checksum(view, l4, ICMP_LEN + quoted, pseudo));
  } else {
    view.setUint16(ip, 0x4500);
    ipv4.setTotalLength(view, ip, header + ICMP_LEN + quoted);
    ipv4.setId(view, ip, 0);
    ipv4.setFrag(view, ip, ipv4.DF);
    view.setUint16(l4 + 2, checksum(view, l4, ICMP_LEN + quoted));
    view.setUint8(ip + ipv4.TTL, bare ? view.getUint8(l4 + 2) : ipv4.ttl(view, l3));
    view.setUint8(ip + ipv4.PROTOCOL, IpProto.ICMP);
    view.setInt32(ip + ipv4.SRC, view.getInt32(l3 + ipv4.DST));
    view.setInt32(ip + ipv4.DST, view.getInt32(l3 + ipv4.SRC));
    if (bare) view.setUint16(ip + ipv4.DST, mtu);
    ipv4.fillChecksum(view, ip);
  }
  out.reset(off, size, base, off + size);
  out.macNone = bare;
  out.protocol = etherType;
  out.mark = packet.mark;
  out.priority = packet.priority;
  return true;
}

function isAnswerable4(view: DataView, l3: number, available: number, mtu: number): boolean {
  if (mtu < MIN_MTU4 || ipv4.frag(view, l3) !== ipv4.DF) return false;
  const src = ipv4.src(view, l3);
  const dst = ipv4.dst(view, l3);
  const group = (address: number): boolean => address >>> 28 === 0xe || address >>> 0 === 0xffffffff;
  if (group(src) || group(dst) || src >>> 24 === 0 || src >>> 24 === 127) return false;
  if (ipv4.protocol(view, l3) !== IpProto.ICMP) return true;
  const header = ipv4.headerLength(view, l3);
  if (available <= header) return false;
  const type = view.getUint8(l3 + header);
  return type !== 3 && type !== 4 && type !== 5 && type !== 11 && type !== 12;
}

function isAnswerable6(view: DataView, l3: number, available: number, mtu: number): boolean {
  if (mtu < MIN_MTU6) return false;
  const first = view.getUint32(l3 + ipv6.SRC);
  const isAny = (at: number): boolean =>
    view.getInt32(at) === 0 &&
    view.getInt32(at + 4) === 0 &&
    view.getInt32(at + 8) === 0 &&
    view.getInt32(at + 12) === 0;
  if (first >>> 24 === 0xff || view.getUint8(l3 + ipv6.DST) === 0xff || isAny(l3 + ipv6.SRC)) return false;
  if (ipv6.nextHeader(view, l3) !== IpProto.ICMPV6) return true;
  // Errors have the numbers below 128.
  return available > ipv6.HEADER_LEN && view.getUint8(l3 + ipv6.HEADER_LEN) >= 128;
}
