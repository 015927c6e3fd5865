import type { Random } from "../core/random.ts";
import { EINVAL, ENOMEM, EPROTONOSUPPORT } from "../uapi/errno.ts";
import { checksum, fold, sum } from "./checksum.ts";
import * as ethernet from "./ethernet.ts";
import { ETH_P_IP, ETH_P_IPV6, ETH_P_MPLS_UC, ETH_P_NSH, ETH_P_TEB, isMpls, isVlan } from "./ethernet.ts";
import { IpProto } from "./ip.ts";
import * as ipv4 from "./ipv4.ts";
import * as ipv6 from "./ipv6.ts";
import { pseudoV4, pseudoV6 } from "./l4-checksum.ts";
import { isBottom, LSE_LEN, lse } from "./mpls.ts";
import * as nsh from "./nsh.ts";
import { Csum, Gso, type Packet } from "./packet.ts";
import { beginPart } from "./part.ts";
import * as tcp from "./tcp.ts";
import * as udp from "./udp.ts";
import { TAG_LEN } from "./vlan.ts";

/**
 * Segmentation of GSO packets in software, as skb_gso_segment does for upcalls (spec/upcalls U-050) and for devices
 * without offload. Every segment carries complete checksums.
 */

/** Where the parts of the packet at hand lie; filled by locate(), so that nothing is allocated per packet. */
class Layout {
  /** IP header, transport header: of the packet in the tunnel where there is one. */
  l3 = 0;
  l4 = 0;
  /** IP and transport header that the tunnel has added; outerL3 is 0 where there is none. */
  outerL3 = 0;
  outerL4 = 0;
  /** ETH_P_IP or ETH_P_IPV6, and the protocol (UDP, GRE, IPIP, IPV6), of the tunnel. */
  outerType = 0;
  outerProto = 0;
  /** There is an NSH before the IP header. */
  nsh = false;
  /** ETH_P_IP or ETH_P_IPV6. */
  etherType = 0;
  proto = 0;
}
const layout = new Layout();
const walked = new ipv6.Ipv6Walk();

/**
 * Cuts a GSO packet into segments of gsoSize and calls `each` with every one in order. They lie in scratch memory. `each` must not
 * call segment() itself.
 * - TCP: sequence number, FIN and PSH only in the last, CWR only in the first; IPv4 id counts up.
 * - UDP_L4: a UDP datagram each; IPv4 id counts up.
 * - UDP (UFO): IP fragments of one datagram, whose UDP checksum is completed first; DF is lost.
 * - TCP in a tunnel of the sender's (IP with UDP, GRE or IP in it; SKB_GSO_UDP_TUNNEL, GRE, IPXIP4, IPXIP6): each segment
 *   is a packet of the tunnel, with lengths, IPv4 id and checksums of the outer headers made anew.
 *
 * L2 header, VLAN tags in and beside the frame, MPLS labels and NSH are replicated.
 * @param out the object that is pointed at each segment in turn; not the packet itself
 * @param random gives the identification of IPv6 fragments (UFO)
 * @returns 0; the first nonzero value that `each` returned; -EINVAL if there is nothing to cut or the headers are
 * malformed; -EPROTONOSUPPORT for other protocols; -ENOMEM
 */
export function segment(packet: Packet, out: Packet, each: (part: Packet) => number, random: Random): number {
  const error = locate(packet);
  if (error !== 0) return error;
  const type = packet.gsoType & ~Gso.ECN;
  if (packet.gsoSize === 0) return -EINVAL;
  if (isTcp(type) && layout.proto !== IpProto.TCP && !locateInner(packet, type)) return -EINVAL;
  if (packet.csum === Csum.PARTIAL && packet.csumStart !== layout.l4) return -EINVAL;
  switch (type) {
    case Gso.TCPV4:
    case Gso.TCPV6:
      return layout.proto === IpProto.TCP ? segmentTcp(packet, out, each) : -EINVAL;
    case Gso.UDP_L4:
      return layout.proto === IpProto.UDP ? segmentUdp(packet, out, each) : -EINVAL;
    case Gso.UDP:
      return layout.proto === IpProto.UDP ? fragmentUdp(packet, out, each, random) : -EINVAL;
    default:
      return -EINVAL;
  }
}

/**
 * Whether the kernel takes a GSO packet whole from AF_PACKET or a TAP: struct virtio_net_hdr has no word for the headers of a
 * tunnel, and NSH is segmented only by a kernel that has its module. Packets that segment() refuses are left to the kernel.
 */
export function isPlainGso(packet: Packet): boolean {
  if (locate(packet) !== 0) return true;
  const type = packet.gsoType & ~Gso.ECN;
  if (layout.nsh) return false;
  return !isTcp(type) || layout.proto === IpProto.TCP || !locateInner(packet, type);
}

const isTcp = (type: number): boolean => type === Gso.TCPV4 || type === Gso.TCPV6;

/**
 * Length in bytes of the longest frame that segment() would make of a GSO packet, without an out-of-band tag: what
 * check_pkt_len compares (skb_gso_validate_mac_len). A TCP header that is cut off counts as none. Precondition: gsoType is
 * not NONE. Without a known transport header (l4 = 0) the result is negative for all but huge segments.
 */
export function gsoFrameLength(packet: Packet): number {
  const type = packet.gsoType & ~Gso.ECN;
  let { l4 } = packet;
  let transport = 0;
  if (isTcp(type)) {
    // The checksum that is left to be made is that of the TCP header, also in a tunnel.
    if (l4 !== 0 && packet.csum === Csum.PARTIAL && packet.csumStart > l4) l4 = packet.csumStart;
    const { view } = packet.memory;
    if (l4 !== 0 && l4 + tcp.HEADER_LEN <= packet.off + packet.len) transport = tcp.headerLength(view, l4);
  } else if (type === Gso.UDP_L4) {
    transport = udp.HEADER_LEN;
  }
  return l4 - packet.off + transport + packet.gsoSize;
}

/** Finds IP and transport header behind whatever stands before them. @returns 0 or a negative errno */
function locate(packet: Packet): number {
  const { view } = packet.memory;
  const end = packet.off + packet.len;
  let off = packet.off + (packet.macNone ? 0 : ethernet.HEADER_LEN);
  let etherType = packet.protocol;
  layout.outerL3 = 0;
  layout.nsh = false;
  while (etherType !== ETH_P_IP && etherType !== ETH_P_IPV6) {
    if (isVlan(etherType)) {
      if (off + TAG_LEN > end) return -EINVAL;
      etherType = view.getUint16(off + 2);
      off += TAG_LEN;
    } else if (isMpls(etherType)) {
      let entry = 0;
      do {
        if (off + LSE_LEN > end) return -EINVAL;
        entry = lse(view, off);
        off += LSE_LEN;
      } while (!isBottom(entry));
      if (off >= end) return -EINVAL;
      const version = view.getUint8(off) >>> 4;
      etherType = version === 4 ? ETH_P_IP : version === 6 ? ETH_P_IPV6 : ETH_P_TEB;
    } else if (etherType === ETH_P_NSH) {
      if (off + nsh.BASE_LEN > end) return -EINVAL;
      const length = nsh.headerLength(view, off);
      const next = nsh.nextProtocol(view, off);
      if (length < nsh.BASE_LEN || off + length > end) return -EINVAL;
      if (next === nsh.NshNext.IPV4) etherType = ETH_P_IP;
      else if (next === nsh.NshNext.IPV6) etherType = ETH_P_IPV6;
      else if (next === nsh.NshNext.ETHERNET) etherType = ETH_P_TEB;
      else if (next === nsh.NshNext.NSH) etherType = ETH_P_NSH;
      else if (next === nsh.NshNext.MPLS) etherType = ETH_P_MPLS_UC;
      else return -EINVAL;
      layout.nsh = true;
      off += length;
    } else if (etherType === ETH_P_TEB) {
      if (off + ethernet.HEADER_LEN > end) return -EINVAL;
      etherType = ethernet.type(view, off);
      off += ethernet.HEADER_LEN;
    } else {
      return -EPROTONOSUPPORT;
    }
  }
  layout.l3 = off;
  layout.etherType = etherType;
  if (etherType === ETH_P_IP) {
    if (!ipv4.isValid(view, off, end - off)) return -EINVAL;
    layout.l4 = off + ipv4.headerLength(view, off);
    layout.proto = ipv4.protocol(view, off);
  } else {
    if (!ipv6.isValid(view, off, end - off) || !ipv6.walk(view, off, end, walked)) return -EINVAL;
    layout.l4 = walked.offset;
    layout.proto = walked.proto;
  }
  return 0;
}

/** Longest IPv4 header; IPv6 with as many bytes of extension headers as a sender is likely to add. */
const LONGEST_IPV4 = 60;
const LONGEST_IPV6 = ipv6.HEADER_LEN + 64;

/**
 * Finds the packet in a tunnel, whose TCP header is where the checksum is to begin. Between the outer transport header and it
 * lie the tunnel's own header, perhaps an Ethernet header with tags, and an IP header, which must name TCP, end at the TCP
 * header and be as long as the packet.
 * @returns false if there is none
 */
function locateInner(packet: Packet, type: number): boolean {
  const { proto, l3, l4, etherType } = layout;
  if (proto !== IpProto.UDP && proto !== IpProto.GRE && proto !== IpProto.IPIP && proto !== IpProto.IPV6) return false;
  if (packet.csum !== Csum.PARTIAL) return false;
  const { view } = packet.memory;
  const end = packet.off + packet.len;
  const inner = packet.csumStart;
  const v6 = type === Gso.TCPV6;
  const shortest = v6 ? ipv6.HEADER_LEN : ipv4.HEADER_LEN;
  const first = l4 + (proto === IpProto.UDP ? udp.HEADER_LEN : proto === IpProto.GRE ? GRE_LEN : 0);
  const lowest = Math.max(first, inner - (v6 ? LONGEST_IPV6 : LONGEST_IPV4));
  for (let at = inner - shortest; at >= lowest; at -= v6 ? 8 : 4) {
    if (!(v6 ? endsAtTcp6(view, at, inner, end) : endsAtTcp4(view, at, inner, end))) continue;
    layout.outerL3 = l3;
    layout.outerL4 = l4;
    layout.outerType = etherType;
    layout.outerProto = proto;
    layout.l3 = at;
    layout.l4 = inner;
    layout.etherType = v6 ? ETH_P_IPV6 : ETH_P_IP;
    layout.proto = IpProto.TCP;
    return true;
  }
  return false;
}

function endsAtTcp4(view: DataView, at: number, l4: number, end: number): boolean {
  return (
    view.getUint8(at) >>> 4 === 4 &&
    at + ipv4.headerLength(view, at) === l4 &&
    ipv4.protocol(view, at) === IpProto.TCP &&
    ipv4.totalLength(view, at) === end - at
  );
}

function endsAtTcp6(view: DataView, at: number, l4: number, end: number): boolean {
  return (
    view.getUint8(at) >>> 4 === 6 &&
    ipv6.payloadLength(view, at) === end - at - ipv6.HEADER_LEN &&
    ipv6.walk(view, at, end, walked) &&
    walked.offset === l4 &&
    walked.proto === IpProto.TCP
  );
}

/** Bytes of a GRE header without optional fields (RFC 2784), and its flag for a checksum behind them. */
const GRE_LEN = 4;
const GRE_CHECKSUM = 0x8000;

/** Lengths, IPv4 id and checksums of the headers that the tunnel has added to a segment, which is complete otherwise. */
function finishOuter(packet: Packet, part: Packet, id: number): void {
  const { view } = packet.memory;
  const { outerL3, outerL4, outerType, outerProto } = layout;
  const shift = part.off - packet.off;
  const l3 = outerL3 + shift;
  const l4 = outerL4 + shift;
  const end = part.off + part.len;
  const length = end - l4;
  if (outerType === ETH_P_IP) {
    ipv4.setTotalLength(view, l3, end - l3);
    ipv4.setId(view, l3, id);
    ipv4.fillChecksum(view, l3);
  } else ipv6.setPayloadLength(view, l3, end - l3 - ipv6.HEADER_LEN);
  if (outerProto === IpProto.UDP) {
    udp.setLength(view, l4, length);
    if (view.getUint16(l4 + udp.CHECKSUM) === 0) return;
    const pseudo =
      outerType === ETH_P_IP ? pseudoV4(view, l3, IpProto.UDP, length) : pseudoV6(view, l3, IpProto.UDP, length);
    view.setUint16(l4 + udp.CHECKSUM, 0);
    const value = checksum(view, l4, length, pseudo);
    view.setUint16(l4 + udp.CHECKSUM, value === 0 ? 0xffff : value);
  } else if (outerProto === IpProto.GRE && (view.getUint16(l4) & GRE_CHECKSUM) !== 0) {
    view.setUint16(l4 + GRE_LEN, 0);
    view.setUint16(l4 + GRE_LEN, checksum(view, l4, length, 0));
  }
}

/**
 * Sum of the pseudo header for a part of `length` bytes. With Csum.PARTIAL it is what the field holds, for another length:
 * the addresses in it need not be those in the IP header (routing header).
 */
function partPseudo(packet: Packet, field: number, wholeLength: number, length: number): number {
  const { view } = packet.memory;
  if (packet.csum === Csum.PARTIAL) {
    return fold(view.getUint16(layout.l4 + field) + 0xffff - fold(wholeLength) + length);
  }
  return layout.etherType === ETH_P_IPV6
    ? pseudoV6(view, layout.l3, layout.proto, length)
    : pseudoV4(view, layout.l3, layout.proto, length);
}

function segmentTcp(packet: Packet, out: Packet, each: (part: Packet) => number): number {
  const { view } = packet.memory;
  const end = packet.off + packet.len;
  const { l4 } = layout;
  const whole = end - l4;
  if (whole < tcp.HEADER_LEN) return -EINVAL;
  const headerLength = tcp.headerLength(view, l4);
  if (headerLength < tcp.HEADER_LEN || headerLength > whole) return -EINVAL;
  const mss = packet.gsoSize;
  let from = l4 + headerLength;
  if (end - from <= mss) return -EINVAL;
  const prefix = from - packet.off;
  const fullPseudo = partPseudo(packet, tcp.CHECKSUM, whole, headerLength + mss);
  const flags = tcp.flags(view, l4);
  let seq = tcp.seq(view, l4);
  let id = layout.etherType === ETH_P_IP ? ipv4.id(view, layout.l3) : 0;
  const tunnelled = layout.outerL3 !== 0;
  let outerId = tunnelled && layout.outerType === ETH_P_IP ? ipv4.id(view, layout.outerL3) : 0;
  for (let keep = tcp.CWR; from < end; keep = 0) {
    const last = end - from <= mss;
    const length = last ? end - from : mss;
    const at = beginPart(packet, out, prefix, 0, from, length);
    if (at < 0) return -ENOMEM;
    const l4At = at + l4 - packet.off;
    out.l4 = l4At;
    view.setUint32(l4At + tcp.SEQ, seq);
    let clear = tcp.CWR & ~keep;
    if (!last) clear |= tcp.FIN | tcp.PSH;
    tcp.setFlags(view, l4At, flags & ~clear);
    const pseudo = last ? partPseudo(packet, tcp.CHECKSUM, whole, headerLength + length) : fullPseudo;
    view.setUint16(l4At + tcp.CHECKSUM, 0);
    view.setUint16(l4At + tcp.CHECKSUM, checksum(view, l4At, headerLength + length, pseudo));
    finishIp(packet, out, id);
    if (tunnelled) finishOuter(packet, out, outerId);
    const error = each(out);
    if (error !== 0) return error;
    id = (id + 1) & 0xffff;
    outerId = (outerId + 1) & 0xffff;
    seq += length;
    from += length;
  }
  return 0;
}

function segmentUdp(packet: Packet, out: Packet, each: (part: Packet) => number): number {
  const { view } = packet.memory;
  const end = packet.off + packet.len;
  const { l4 } = layout;
  const whole = end - l4;
  const mss = packet.gsoSize;
  if (whole <= udp.HEADER_LEN + mss) return -EINVAL;
  let from = l4 + udp.HEADER_LEN;
  const prefix = from - packet.off;
  const none = packet.csum !== Csum.PARTIAL && view.getUint16(l4 + udp.CHECKSUM) === 0;
  const stated = udp.length(view, l4);
  let id = layout.etherType === ETH_P_IP ? ipv4.id(view, layout.l3) : 0;
  while (from < end) {
    const length = Math.min(mss, end - from);
    const at = beginPart(packet, out, prefix, 0, from, length);
    if (at < 0) return -ENOMEM;
    const l4At = at + l4 - packet.off;
    out.l4 = l4At;
    udp.setLength(view, l4At, udp.HEADER_LEN + length);
    if (!none) {
      const pseudo = partPseudo(packet, udp.CHECKSUM, stated, udp.HEADER_LEN + length);
      view.setUint16(l4At + udp.CHECKSUM, 0);
      const value = checksum(view, l4At, udp.HEADER_LEN + length, pseudo);
      view.setUint16(l4At + udp.CHECKSUM, value === 0 ? 0xffff : value);
    }
    finishIp(packet, out, id);
    const error = each(out);
    if (error !== 0) return error;
    id = (id + 1) & 0xffff;
    from += length;
  }
  return 0;
}

/** UFO: IP fragments of one datagram. */
function fragmentUdp(packet: Packet, out: Packet, each: (part: Packet) => number, random: Random): number {
  const { view } = packet.memory;
  const end = packet.off + packet.len;
  const { l3, l4 } = layout;
  const whole = end - l4;
  const mss = packet.gsoSize;
  if (whole < udp.HEADER_LEN || whole <= mss) return -EINVAL;
  const v6 = layout.etherType === ETH_P_IPV6;
  const initial = v6 ? pseudoV6(view, l3, IpProto.UDP, whole) : pseudoV4(view, l3, IpProto.UDP, whole);
  // All but the checksum field itself.
  const head = sum(view, l4, udp.CHECKSUM, initial);
  const value = checksum(view, l4 + udp.HEADER_LEN, whole - udp.HEADER_LEN, head);
  const check = value === 0 ? 0xffff : value;

  let split = l4;
  let named = 0;
  let nextHeader = 0;
  let identification = 0;
  if (v6) {
    if (!ipv6.findFragmentable(view, l3, end, walked)) return -EINVAL;
    split = walked.offset;
    named = walked.nextHeaderAt - packet.off;
    nextHeader = walked.proto;
    while (identification === 0) identification = random.u32();
  }
  const gap = v6 ? ipv6.FRAG_LEN : 0;
  const prefix = split - packet.off;
  // Headers between the fragment header and UDP, if any, stay with each part, as in the kernel.
  const between = l4 - split;
  let offset = 0;
  for (let from = l4; from < end; ) {
    const length = Math.min(mss, end - from);
    const at = beginPart(packet, out, prefix, gap + between, from, length);
    if (at < 0) return -ENOMEM;
    const l3At = at + l3 - packet.off;
    const l4At = at + prefix + gap + between;
    out.l4 = l4At;
    if (between > 0) packet.memory.bytes.copyWithin(at + prefix + gap, split, l4);
    // The checksum field lies in the first part, or across two if mss is absurdly small.
    const field = udp.CHECKSUM - offset;
    if (field >= 0 && field + 2 <= length) view.setUint16(l4At + field, check);
    const more = from + length < end;
    if (v6) {
      const fragmentHeader = at + prefix;
      view.setUint8(at + named, IpProto.FRAGMENT);
      ipv6.setPayloadLength(view, l3At, at + out.len - l3At - ipv6.HEADER_LEN);
      view.setUint16(fragmentHeader, nextHeader << 8);
      view.setUint16(fragmentHeader + ipv6.FRAG_OFFSET, (offset & ipv6.FRAG_OFFSET_MASK) | (more ? ipv6.FRAG_MF : 0));
      view.setUint32(fragmentHeader + ipv6.FRAG_ID, identification);
      offset += between + length;
    } else {
      ipv4.setTotalLength(view, l3At, at + out.len - l3At);
      ipv4.setFrag(view, l3At, ((offset >> 3) & ipv4.OFFSET_MASK) | (more ? ipv4.MF : 0));
      ipv4.fillChecksum(view, l3At);
      offset += length;
    }
    const error = each(out);
    if (error !== 0) return error;
    from += length;
  }
  return 0;
}

/** Length fields, IPv4 id and checksum of a segment's IP header. */
function finishIp(packet: Packet, part: Packet, id: number): void {
  const { view } = packet.memory;
  const l3At = part.off + layout.l3 - packet.off;
  const length = part.off + part.len - l3At;
  if (layout.etherType === ETH_P_IP) {
    ipv4.setTotalLength(view, l3At, length);
    ipv4.setId(view, l3At, id);
    ipv4.fillChecksum(view, l3At);
  } else {
    ipv6.setPayloadLength(view, l3At, length - ipv6.HEADER_LEN);
  }
}
