import { checksum, diff16, diff32, diff128, replace32 } from "../packet/checksum.ts";
import { ETH_P_IP, ETH_P_IPV6 } from "../packet/ethernet.ts";
import * as icmp from "../packet/icmp.ts";
import * as icmpv6 from "../packet/icmpv6.ts";
import { IpProto } from "../packet/ip.ts";
import * as ipv4 from "../packet/ipv4.ts";
import * as ipv6 from "../packet/ipv6.ts";
import { pseudoV6, updateL4, updateUdp, verifyL4 } from "../packet/l4-checksum.ts";
import { Csum, type Packet } from "../packet/packet.ts";
import * as sctp from "../packet/sctp.ts";
import * as tcp from "../packet/tcp.ts";
import * as udp from "../packet/udp.ts";
import { IPS_DST_NAT, IPS_NAT_DONE_MASK, IPS_NAT_MASK, IPS_SRC_NAT } from "../uapi/nfnetlink.ts";
import { AF_INET } from "../uapi/socket.ts";
import { E, T } from "./layout.ts";
import { IPPROTO_DCCP } from "./options.ts";
import { findTransport, icmpReplyType, Transport } from "./tuple.ts";

/**
 * Writing translated addresses and ports into packets. A *manip* is the side that is rewritten: source or destination.
 * All functions take the tuple of the *other* direction of the connection, at `at` of `words`: what a packet must look
 * like after translation is its inverse (spec/conntrack C-176 to C-181).
 */
export const enum Manip {
  SRC = 0,
  DST = 1,
}

/** Status bit that says whether the entry translates this manip for packets of this direction. */
export function statusBit(manip: Manip, direction: number): number {
  return (manip === Manip.SRC) === (direction === 0) ? IPS_SRC_NAT : IPS_DST_NAT;
}

const transport = new Transport();

/**
 * Rewrites one side of the packet whose IP header is at `l3`, which may be the inner one of an ICMP error.
 * @param at the other direction's tuple in `words`
 * @returns false if the headers do not fit: the packet is to be dropped
 */
export function manipPacket(
  packet: Packet,
  l3: number,
  family: number,
  words: Int32Array,
  at: number,
  manip: Manip,
  proto: number,
): boolean {
  const view = packet.memory.view;
  const end = packet.off + packet.len;
  if (!findTransport(view, l3, end, family, transport)) return false;
  const l4 = transport.offset;
  // New address: the other direction's opposite side.
  const from = at + (manip === Manip.SRC ? T.DST : T.SRC);
  const ports = words[at + T.PORTS];
  const port = manip === Manip.SRC ? ports & 0xffff : ports >>> 16;
  if (family === AF_INET) {
    const field = l3 + (manip === Manip.SRC ? ipv4.SRC : ipv4.DST);
    const old = view.getInt32(field);
    const fresh = words[from];
    if (!manipTransport(packet, proto, l4, manip, port, ports >>> 16, diff32(old, fresh), false)) return false;
    replace32(view, l3 + ipv4.CHECKSUM, old, fresh);
    view.setInt32(field, fresh);
    return true;
  }
  const field = l3 + (manip === Manip.SRC ? ipv6.SRC : ipv6.DST);
  const diff = diff128(view, field, words, from);
  if (!manipTransport(packet, proto, l4, manip, port, ports >>> 16, diff, true)) return false;
  for (let i = 0; i < 4; i++) view.setInt32(field + i * 4, words[from + i]);
  return true;
}

/**
 * Rewrites port or id and updates the transport checksum for it and for the address.
 * @param id what the id of an ICMP query becomes
 * @param addressDiff change of the pseudo header's sum by the new address
 * @param icmpPseudo ICMPv6 sums a pseudo header, ICMP does not
 */
function manipTransport(
  packet: Packet,
  proto: number,
  l4: number,
  manip: Manip,
  port: number,
  id: number,
  addressDiff: number,
  icmpPseudo: boolean,
): boolean {
  const view = packet.memory.view;
  const end = packet.off + packet.len;
  const field = l4 + (manip === Manip.SRC ? 0 : 2);
  switch (proto) {
    case IpProto.TCP: {
      if (l4 + 8 > end) return false;
      const old = view.getUint16(field);
      view.setUint16(field, port);
      // The packet inside an ICMP error may hold no more than eight bytes of TCP.
      if (l4 + tcp.HEADER_LEN > end) return true;
      // A partial checksum covers the pseudo header only.
      updateL4(
        packet,
        l4 + tcp.CHECKSUM,
        packet.csum === Csum.PARTIAL ? addressDiff : addressDiff + diff16(old, port),
        true,
      );
      return true;
    }
    case IpProto.UDP:
    case IpProto.UDPLITE: {
      if (l4 + udp.HEADER_LEN > end) return false;
      const old = view.getUint16(field);
      updateUdp(
        packet,
        l4 + udp.CHECKSUM,
        packet.csum === Csum.PARTIAL ? addressDiff : addressDiff + diff16(old, port),
        true,
      );
      view.setUint16(field, port);
      return true;
    }
    case IpProto.SCTP:
      if (l4 + 8 > end) return false;
      view.setUint16(field, port);
      if (l4 + sctp.HEADER_LEN > end) return true;
      if (packet.csum !== Csum.PARTIAL) {
        sctp.setChecksum(view, l4, sctp.computeChecksum(view, l4, end - l4));
        packet.csum = Csum.NONE;
      }
      return true;
    case IPPROTO_DCCP: {
      if (l4 + 8 > end) return false;
      const old = view.getUint16(field);
      view.setUint16(field, port);
      updateL4(
        packet,
        l4 + DCCP_CHECKSUM,
        packet.csum === Csum.PARTIAL ? addressDiff : addressDiff + diff16(old, port),
        true,
      );
      return true;
    }
    case IpProto.ICMP: {
      if (l4 + icmp.HEADER_LEN > end) return false;
      if (icmpReplyType(icmp.type(view, l4)) < 0) return true;
      const old = icmp.id(view, l4);
      updateL4(packet, l4 + icmp.CHECKSUM, diff16(old, id), false);
      view.setUint16(l4 + icmp.ID, id);
      return true;
    }
    case IpProto.ICMPV6: {
      if (l4 + icmpv6.HEADER_LEN > end) return false;
      if (icmpPseudo) updateL4(packet, l4 + icmpv6.CHECKSUM, addressDiff, true);
      const type = icmpv6.type(view, l4);
      if (type !== icmpv6.Icmpv6Type.ECHO_REQUEST && type !== icmpv6.Icmpv6Type.ECHO_REPLY) return true;
      const old = icmpv6.id(view, l4);
      updateL4(packet, l4 + icmpv6.CHECKSUM, diff16(old, id), false);
      view.setUint16(l4 + icmpv6.ID, id);
      return true;
    }
    case IpProto.GRE:
      if (l4 + 8 > end) return false;
      // Only PPTP's version has a key, and only its destination's side is in the header (spec/conntrack C-180).
      if (manip === Manip.DST && (view.getUint16(l4) & 7) === 1) view.setUint16(l4 + 6, port);
      return (view.getUint16(l4) & 7) <= 1;
    default:
      return true;
  }
}

const DCCP_CHECKSUM = 6;

/**
 * Translates an ICMP error: the packet inside by the opposite manip, its own checksum, then the address of the error
 * itself (spec/conntrack C-173, C-174).
 * @param other first word of the tuple of the other direction
 * @returns false if the packet is to be dropped
 */
export function manipIcmpError(
  packet: Packet,
  l4: number,
  family: number,
  words: Int32Array,
  entry: number,
  direction: number,
  manip: Manip,
): boolean {
  const view = packet.memory.view;
  const l3 = packet.l3;
  const end = packet.off + packet.len;
  const v4 = family === AF_INET;
  if (l4 + 8 + (v4 ? ipv4.HEADER_LEN : ipv6.HEADER_LEN) > end) return false;
  const proto = v4 ? IpProto.ICMP : IpProto.ICMPV6;
  const knownL4 = packet.l4;
  packet.l4 = l4;
  const valid = verifyL4(packet, v4 ? ETH_P_IP : ETH_P_IPV6, proto);
  packet.l4 = knownL4;
  if (!valid) return false;
  const status = words[entry + E.STATUS];
  if (view.getUint8(l4) === (v4 ? icmp.IcmpType.REDIRECT : icmpv6.Icmpv6Type.REDIRECT)) {
    if ((status & IPS_NAT_DONE_MASK) !== IPS_NAT_DONE_MASK || (status & IPS_NAT_MASK) !== 0) return false;
  }
  if ((status & statusBit(manip, direction)) === 0) return true;
  const other = entry + ((1 - direction) << E.DIR_SHIFT);

  // The inner packet went the other way, so its opposite side changes; it must read as the other direction's own tuple.
  if (!manipInner(packet, l4 + 8, family, words, other, manip === Manip.SRC ? Manip.DST : Manip.SRC)) return false;
  if (packet.csum !== Csum.PARTIAL) {
    const at = l4 + icmp.CHECKSUM;
    view.setUint16(at, 0);
    const initial = v4 ? 0 : pseudoV6(view, l3, proto, end - l4);
    view.setUint16(at, checksum(view, l4, end - l4, initial));
  }
  return manipPacket(packet, l3, family, words, other, manip, proto);
}

/** Writes one side of the tuple at `at` itself (not its inverse) into the packet inside an ICMP error. */
function manipInner(packet: Packet, l3: number, family: number, words: Int32Array, at: number, manip: Manip): boolean {
  const proto = (words[at + T.META] >>> 8) & 0xff;
  const side = at + (manip === Manip.SRC ? T.SRC : T.DST);
  const opposite = manip === Manip.SRC ? T.DST : T.SRC;
  for (let i = 0; i < 4; i++) inner[opposite + i] = words[side + i];
  const ports = words[at + T.PORTS];
  // manipPacket() takes the inverse of what it is given; the id of ICMP is on the source side either way.
  inner[T.PORTS] = proto === IpProto.ICMP || proto === IpProto.ICMPV6 ? ports : (ports << 16) | (ports >>> 16);
  inner[T.META] = words[at + T.META];
  return manipPacket(packet, l3, family, inner, 0, manip, proto);
}

const inner = new Int32Array(T.WORDS);
