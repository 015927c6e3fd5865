import { EAFNOSUPPORT, EBADMSG, EHOSTUNREACH, EINVAL, ENOMEM, EPROTO } from "../uapi/errno.ts";
import { diff16, diff32, diff128, replace16, replace32 } from "./checksum.ts";
import * as ethernet from "./ethernet.ts";
import { ETH_P_802_2, ETH_P_IP, ETH_P_IPV6, ETH_P_MPLS_UC, ETH_P_NSH, ETH_P_TEB, isMpls, isVlan } from "./ethernet.ts";
import { IpProto } from "./ip.ts";
import * as ipv4 from "./ipv4.ts";
import * as ipv6 from "./ipv6.ts";
import { updateL4, updateUdp } from "./l4-checksum.ts";
import { HEADROOM } from "./memory.ts";
import { LSE_LEN } from "./mpls.ts";
import * as nsh from "./nsh.ts";
import { NshNext } from "./nsh.ts";
import { Csum, type Packet } from "./packet.ts";
import * as sctp from "./sctp.ts";
import * as tcp from "./tcp.ts";
import * as udp from "./udp.ts";
import { TAG_LEN } from "./vlan.ts";

/**
 * The changes that actions make to a packet (spec/actions sections 8 and 9), with the checksums that follow from them.
 *
 * The functions that push, pop, trim or check return 0 or a negative errno, and make the packet writable by themselves.
 * The set* functions write in place: call ensureWritable first. They leave skb hash, conntrack reference and flow key
 * to the caller, and say whether something changed, which decides about these.
 */

/** ETH_P_802_3: the kernel's name for raw IPX over 802.3. */
const ETH_P_802_3 = 0x0001;

/**
 * Declares the packet's bytes shared: whoever got them (a queued output, another reference) keeps them as they are, and
 * the next change moves the packet to room of its own.
 */
export function share(packet: Packet): void {
  packet.head = packet.off;
  packet.end = packet.off;
}

/** True if the packet's bytes may be changed where they are. */
export function isWritable(packet: Packet): boolean {
  return packet.off + packet.len <= packet.end;
}

/**
 * Makes the packet's bytes writable, with `headroom` bytes before them: copies them to scratch memory if they are shared
 * or the room does not suffice. Offsets held by the caller are stale afterwards; those in the packet are not.
 * @returns false when scratch memory is used up: the packet is to be dropped with ENOMEM
 */
export function ensureWritable(packet: Packet, headroom = 0): boolean {
  if (packet.off + packet.len <= packet.end && packet.off - packet.head >= headroom) return true;
  return packet.unshare(HEADROOM, 0);
}

/** Bytes from the network header to the end; negative if the packet ends before it. */
function networkLength(packet: Packet): number {
  return packet.off + packet.len - packet.l3;
}

/** Bytes from the transport header to the end, -1 if there is none. */
function transportLength(packet: Packet): number {
  return packet.l4 === 0 ? -1 : packet.off + packet.len - packet.l4;
}

// Ethernet

/**
 * Masked write of both addresses (spec/actions A-183). The words are those of the flow key: destination 0-3,
 * destination 4-5 and source 0-1, source 2-5. Value bits outside of the mask are ignored.
 * @returns 0, or -ENOMEM if the packet is shorter than an Ethernet header or memory is used up
 */
export function setEthernet(
  packet: Packet,
  value0: number,
  value1: number,
  value2: number,
  mask0: number,
  mask1: number,
  mask2: number,
): number {
  if (packet.len < ethernet.HEADER_LEN || !ensureWritable(packet)) return -ENOMEM;
  const { view } = packet.memory;
  const { off } = packet;
  view.setInt32(off, (view.getInt32(off) & ~mask0) | (value0 & mask0));
  view.setInt32(off + 4, (view.getInt32(off + 4) & ~mask1) | (value1 & mask1));
  view.setInt32(off + 8, (view.getInt32(off + 8) & ~mask2) | (value2 & mask2));
  return 0;
}

/**
 * push_eth (spec/actions A-181): a header with the given addresses (as words of the flow key) and the packet's
 * protocol.
 * @returns -EPROTO if the packet has an L2 header or a tag
 */
export function pushEth(packet: Packet, word0: number, word1: number, word2: number): number {
  if (networkOffset(packet) !== 0 || packet.vlanTpid !== 0) return -EPROTO;
  if (!ensureWritable(packet, ethernet.HEADER_LEN)) return -ENOMEM;
  const { view } = packet.memory;
  const l3 = packet.off;
  packet.off -= ethernet.HEADER_LEN;
  packet.len += ethernet.HEADER_LEN;
  packet.l3 = l3;
  view.setInt32(packet.off, word0);
  view.setInt32(packet.off + 4, word1);
  view.setInt32(packet.off + 8, word2);
  view.setUint16(packet.off + ethernet.TYPE, packet.protocol);
  packet.macNone = false;
  return 0;
}

/**
 * pop_eth (spec/actions A-182).
 * @returns -EPROTO if the packet has a VLAN tag, in or out of the frame, or is too short
 */
export function popEth(packet: Packet): number {
  if (
    packet.len < ethernet.HEADER_LEN ||
    packet.vlanTpid !== 0 ||
    isVlan(packet.protocol) ||
    networkOffset(packet) < ethernet.HEADER_LEN
  ) {
    return -EPROTO;
  }
  packet.off += ethernet.HEADER_LEN;
  packet.len -= ethernet.HEADER_LEN;
  packet.macNone = true;
  return 0;
}

/** Offset of the network header in the packet: the length of the L2 header (skb->mac_len). */
export function networkOffset(packet: Packet): number {
  return packet.l3 === 0 ? 0 : packet.l3 - packet.off;
}

// VLAN

/**
 * push_vlan (spec/actions ): the tag goes beside the frame; one that was there moves into it.
 * @param tci without the "present" bit 0x1000
 * @param shift take the network header to start four bytes earlier then, behind the type in front of the inner tag, as
 * Linux does from 6.12 on: what is set in the IP header afterwards is written there
 */
export function pushVlan(packet: Packet, tpid: number, tci: number, shift = true): number {
  if (packet.vlanTpid !== 0) {
    const error = insertVlanTag(packet);
    if (error !== 0) return error;
    packet.protocol = packet.vlanTpid;
    if (shift && packet.l3 !== 0) packet.l3 -= TAG_LEN;
  }
  packet.vlanTpid = tpid;
  packet.vlanTci = tci;
  return 0;
}

/**
 * Moves the out-of-band tag's bytes into the frame; the out-of-band fields, protocol and l3 are left to the caller.
 * @returns -EINVAL if the frame is shorter than an Ethernet header, -ENOMEM
 */
function insertVlanTag(packet: Packet): number {
  if (packet.len < ethernet.HEADER_LEN) return -EINVAL;
  if (!ensureWritable(packet, TAG_LEN)) return -ENOMEM;
  const { view, bytes } = packet.memory;
  const from = packet.off;
  const to = from - TAG_LEN;
  bytes.copyWithin(to, from, from + ethernet.TYPE);
  view.setUint16(to + ethernet.TYPE, packet.vlanTpid);
  view.setUint16(to + ethernet.TYPE + 2, packet.vlanTci);
  packet.off = to;
  packet.len += TAG_LEN;
  return 0;
}

/**
 * Moves the out-of-band tag into the frame, for a device or a reader that has no place for it beside; l3 keeps pointing
 * at the same header. Does nothing without a tag.
 */
export function materializeVlan(packet: Packet): number {
  if (packet.vlanTpid === 0) return 0;
  const error = insertVlanTag(packet);
  if (error !== 0) return error;
  packet.protocol = packet.vlanTpid;
  packet.vlanTpid = 0;
  packet.vlanTci = 0;
  return 0;
}

/**
 * pop_vlan (spec/actions ): the outermost tag goes; a tag that stands in the frame behind it moves beside
 * the frame.
 */
export function popVlan(packet: Packet): number {
  if (packet.vlanTpid !== 0) {
    packet.vlanTpid = 0;
    packet.vlanTci = 0;
  } else {
    if (!isVlan(packet.protocol)) return 0;
    const tci = removeVlanTag(packet);
    if (tci < 0) return tci;
  }
  if (!isVlan(packet.protocol)) return 0;
  const tpid = packet.protocol;
  const tci = removeVlanTag(packet);
  if (tci < 0) return tci;
  packet.vlanTpid = tpid;
  packet.vlanTci = tci;
  return 0;
}

/** Takes the tag behind the addresses out of the frame. @returns its tci, or -ENOMEM */
function removeVlanTag(packet: Packet): number {
  if (packet.len < ethernet.HEADER_LEN + TAG_LEN || !ensureWritable(packet)) return -ENOMEM;
  const { view, bytes } = packet.memory;
  const from = packet.off;
  const tci = view.getUint16(from + ethernet.HEADER_LEN);
  bytes.copyWithin(from + TAG_LEN, from, from + ethernet.TYPE);
  packet.off = from + TAG_LEN;
  packet.len -= TAG_LEN;
  packet.protocol = frameProtocol(packet);
  const l3 = packet.off + ethernet.HEADER_LEN;
  if (packet.l3 < l3) packet.l3 = l3;
  return tci;
}

/** What the kernel takes the frame's protocol for, from the field behind the addresses. */
function frameProtocol(packet: Packet): number {
  const { view } = packet.memory;
  const type = ethernet.type(view, packet.off);
  if (type >= ethernet.ETH_P_802_3_MIN) return type;
  const raw = packet.len >= ethernet.HEADER_LEN + 2 && view.getUint16(packet.off + ethernet.HEADER_LEN) === 0xffff;
  return raw ? ETH_P_802_3 : ETH_P_802_2;
}

// MPLS

/**
 * push_mpls and add_mpls (spec/actions ): a label stack entry behind the first `macLen` bytes, which are
 * the L2 header, or before the packet (macLen 0), which then has none.
 * @param lse used as it is
 * @returns -EINVAL for an ethertype that is not MPLS
 */
export function pushMpls(packet: Packet, lse: number, etherType: number, macLen: number): number {
  if (!isMpls(etherType)) return -EINVAL;
  if (!ensureWritable(packet, LSE_LEN)) return -ENOMEM;
  const { view, bytes } = packet.memory;
  const from = packet.off;
  packet.off -= LSE_LEN;
  packet.len += LSE_LEN;
  if (macLen !== 0) bytes.copyWithin(packet.off, from, from + macLen);
  packet.l3 = packet.off + macLen;
  view.setInt32(packet.l3, lse);
  if (macLen >= ethernet.HEADER_LEN) ethernet.setType(view, packet.off, etherType);
  packet.protocol = etherType;
  if (macLen === 0) packet.macNone = true;
  return 0;
}

/**
 * pop_mpls (spec/actions ): removes the top label; nothing happens to a packet that is not MPLS.
 * @param etherType what the packet is afterwards; ETH_P_TEB makes the inner frame the packet
 */
export function popMpls(packet: Packet, etherType: number): number {
  if (!isMpls(packet.protocol)) return 0;
  const macLen = networkOffset(packet);
  if (packet.len < macLen + LSE_LEN || !ensureWritable(packet)) return -ENOMEM;
  const { view, bytes } = packet.memory;
  const from = packet.off;
  packet.off += LSE_LEN;
  packet.len -= LSE_LEN;
  bytes.copyWithin(packet.off, from, from + macLen);
  packet.l3 = packet.off + macLen;
  // The type field stands right before the label stack, behind any tags.
  if (!packet.macNone && macLen >= ethernet.HEADER_LEN) view.setUint16(packet.l3 - 2, etherType);
  packet.protocol = etherType;
  if (etherType === ETH_P_TEB) packet.macNone = false;
  return 0;
}

/**
 * Masked write of the top label stack entry (spec/actions A-180). The new entry is at packet.l3.
 * @returns -ENOMEM if it is cut off, -EINVAL if the packet is not MPLS
 */
export function setMpls(packet: Packet, lse: number, mask: number): number {
  if (networkLength(packet) < LSE_LEN) return -ENOMEM;
  if (!isMpls(packet.protocol)) return -EINVAL;
  if (!ensureWritable(packet)) return -ENOMEM;
  const { view } = packet.memory;
  view.setInt32(packet.l3, (view.getInt32(packet.l3) & ~mask) | (lse & mask));
  return 0;
}

// NSH

/**
 * push_nsh (spec/actions A-184): puts `header` before the packet; its next protocol field is written from what the
 * packet is.
 * @param header complete NSH header, length field included
 * @returns -EAFNOSUPPORT if the packet is of no kind that NSH can carry
 */
export function pushNsh(packet: Packet, header: Uint8Array): number {
  const next = networkOffset(packet) !== 0 ? NshNext.ETHERNET : nshNext(packet.protocol);
  if (next === 0) return -EAFNOSUPPORT;
  if (!ensureWritable(packet, header.length)) return -ENOMEM;
  const { view, bytes } = packet.memory;
  packet.off -= header.length;
  packet.len += header.length;
  bytes.set(header, packet.off);
  view.setUint8(packet.off + nsh.NEXT_PROTOCOL, next);
  packet.l3 = packet.off;
  packet.protocol = ETH_P_NSH;
  packet.macNone = true;
  return 0;
}

/**
 * pop_nsh (spec/actions A-185).
 * @returns -EINVAL if the length is below 8, -ENOMEM if the header is cut off, -EAFNOSUPPORT for an unknown payload
 */
export function popNsh(packet: Packet): number {
  if (packet.len < nsh.BASE_LEN) return -ENOMEM;
  const { view } = packet.memory;
  const length = nsh.headerLength(view, packet.off);
  if (length < nsh.BASE_LEN) return -EINVAL;
  const etherType = nshEtherType(nsh.nextProtocol(view, packet.off));
  if (packet.len < length) return -ENOMEM;
  if (etherType === 0) return -EAFNOSUPPORT;
  packet.off += length;
  packet.len -= length;
  packet.l3 = packet.off;
  packet.protocol = etherType;
  packet.macNone = etherType !== ETH_P_TEB;
  return 0;
}

function nshNext(etherType: number): number {
  switch (etherType) {
    case ETH_P_IP:
      return NshNext.IPV4;
    case ETH_P_IPV6:
      return NshNext.IPV6;
    case ETH_P_TEB:
      return NshNext.ETHERNET;
    case ETH_P_NSH:
      return NshNext.NSH;
    case ETH_P_MPLS_UC:
      return NshNext.MPLS;
    default:
      return 0;
  }
}

function nshEtherType(next: number): number {
  switch (next) {
    case NshNext.IPV4:
      return ETH_P_IP;
    case NshNext.IPV6:
      return ETH_P_IPV6;
    case NshNext.ETHERNET:
      return ETH_P_TEB;
    case NshNext.NSH:
      return ETH_P_NSH;
    case NshNext.MPLS:
      return ETH_P_MPLS_UC;
    default:
      return 0;
  }
}

// IPv4

/**
 * Whether the fixed IPv4 header can be written; makes the packet writable. @returns 0 or -ENOMEM (spec/actions A-200)
 */
export function prepareIpv4(packet: Packet): number {
  return networkLength(packet) >= ipv4.HEADER_LEN && ensureWritable(packet) ? 0 : -ENOMEM;
}

/**
 * Writes an address of the IPv4 header with header and transport checksum (spec/actions ).
 * Precondition: prepareIpv4.
 * @param field ipv4.SRC or ipv4.DST
 * @returns true if the address changed
 */
export function setIpv4Addr(packet: Packet, field: number, address: number): boolean {
  const { view } = packet.memory;
  const { l3 } = packet;
  const old = view.getInt32(l3 + field);
  if (old === (address | 0)) return false;
  if (!ipv4.isLaterFragment(view, l3)) {
    updateForAddress(packet, ipv4.protocol(view, l3), diff32(old, address), false);
  }
  replace32(view, l3 + ipv4.CHECKSUM, old, address);
  view.setInt32(l3 + field, address);
  return true;
}

/** Updates the transport checksum for a change in the pseudo header, if the transport header is there in full. */
function updateForAddress(packet: Packet, proto: number, diff: number, icmpv6: boolean): void {
  const length = transportLength(packet);
  if (proto === IpProto.TCP) {
    if (length >= tcp.HEADER_LEN) updateL4(packet, packet.l4 + tcp.CHECKSUM, diff, true);
  } else if (proto === IpProto.UDP) {
    if (length >= udp.HEADER_LEN) updateUdp(packet, packet.l4 + udp.CHECKSUM, diff, true);
  } else if (icmpv6 && proto === IpProto.ICMPV6) {
    if (length >= 8) updateL4(packet, packet.l4 + 2, diff, true);
  }
}

/**
 * Masked write of the tos byte, ECN bits included, with the header checksum (spec/actions A-190). Precondition:
 * prepareIpv4.
 */
export function setIpv4Tos(packet: Packet, value: number, mask: number): void {
  const { view } = packet.memory;
  const { l3 } = packet;
  const old = view.getUint16(l3);
  const tos = (old & ~mask & 0xff) | (value & mask);
  replace16(view, l3 + ipv4.CHECKSUM, old & 0xff, tos);
  view.setUint8(l3 + ipv4.TOS, tos);
}

/** Masked write of the ttl, with the header checksum; 0 is allowed (spec/actions A-191). Precondition: prepareIpv4. */
export function setIpv4Ttl(packet: Packet, value: number, mask: number): void {
  const { view } = packet.memory;
  const { l3 } = packet;
  const old = view.getUint8(l3 + ipv4.TTL);
  const ttl = (old & ~mask & 0xff) | (value & mask);
  replace16(view, l3 + ipv4.CHECKSUM, old << 8, ttl << 8);
  view.setUint8(l3 + ipv4.TTL, ttl);
}

// IPv6

/** Whether the IPv6 header can be written; makes the packet writable. @returns 0 or -ENOMEM (spec/actions A-200) */
export function prepareIpv6(packet: Packet): number {
  return networkLength(packet) >= ipv6.HEADER_LEN && ensureWritable(packet) ? 0 : -ENOMEM;
}

/**
 * Writes an address of the IPv6 header with the transport checksum (spec/actions A-192). The checksum is left alone for
 * a destination with a routing header that has segments left: the checksum holds the final destination.
 * Precondition: prepareIpv6.
 * @param field ipv6.SRC or ipv6.DST
 * @param address big-endian words, four from `index` on
 * @param proto ip.proto of the flow key: the upper layer, 44 for later fragments
 * @returns true if the address changed
 */
export function setIpv6Addr(packet: Packet, field: number, address: Int32Array, index: number, proto: number): boolean {
  const { view } = packet.memory;
  const at = packet.l3 + field;
  if (
    view.getInt32(at) === address[index] &&
    view.getInt32(at + 4) === address[index + 1] &&
    view.getInt32(at + 8) === address[index + 2] &&
    view.getInt32(at + 12) === address[index + 3]
  ) {
    return false;
  }
  if (field === ipv6.SRC || !hasSegmentsLeft(packet)) {
    updateForAddress(packet, proto, diff128(view, at, address, index), true);
  }
  view.setInt32(at, address[index]);
  view.setInt32(at + 4, address[index + 1]);
  view.setInt32(at + 8, address[index + 2]);
  view.setInt32(at + 12, address[index + 3]);
  return true;
}

/** True if there is a routing header with segments left before any upper layer (ipv6_find_hdr with SKIP_RH). */
function hasSegmentsLeft(packet: Packet): boolean {
  const { view } = packet.memory;
  const end = packet.off + packet.len;
  let proto = ipv6.nextHeader(view, packet.l3);
  let off = packet.l3 + ipv6.HEADER_LEN;
  while (ipv6.isExtension(proto) && proto !== IpProto.NONE) {
    if (off + 8 > end) return false;
    if (proto === IpProto.ROUTING && view.getUint8(off + ipv6.ROUTING_SEGMENTS_LEFT) !== 0) return true;
    if (proto === IpProto.FRAGMENT && (view.getUint16(off + ipv6.FRAG_OFFSET) & ipv6.FRAG_OFFSET_MASK) !== 0) {
      return false;
    }
    const length = ipv6.extensionLength(view, off, proto);
    proto = view.getUint8(off);
    off += length;
  }
  return false;
}

/** Masked write of the traffic class (spec/actions A-193). Precondition: prepareIpv6. */
export function setIpv6TrafficClass(packet: Packet, value: number, mask: number): void {
  const { view } = packet.memory;
  const old = ipv6.trafficClass(view, packet.l3);
  ipv6.setTrafficClass(view, packet.l3, (old & ~mask) | (value & mask));
}

/** Masked write of the flow label (spec/actions A-193). Precondition: prepareIpv6. */
export function setIpv6FlowLabel(packet: Packet, value: number, mask: number): void {
  const { view } = packet.memory;
  const old = ipv6.flowLabel(view, packet.l3);
  ipv6.setFlowLabel(view, packet.l3, (old & ~mask) | (value & mask));
}

/** Masked write of the hop limit (spec/actions A-193). Precondition: prepareIpv6. */
export function setIpv6HopLimit(packet: Packet, value: number, mask: number): void {
  const { view } = packet.memory;
  const at = packet.l3 + ipv6.HOP_LIMIT;
  view.setUint8(at, (view.getUint8(at) & ~mask) | (value & mask));
}

/**
 * dec_ttl: lowers TTL or hop limit by one, by packet.protocol; other packets pass unchanged (spec/actions section 10).
 * @returns -EHOSTUNREACH if it is 1 or 0 (unchanged then), -ENOMEM if the header is cut off
 */
export function decTtl(packet: Packet): number {
  const { view } = packet.memory;
  if (packet.protocol === ETH_P_IPV6) {
    const error = prepareIpv6(packet);
    if (error !== 0) return error;
    const hops = ipv6.hopLimit(view, packet.l3);
    if (hops <= 1) return -EHOSTUNREACH;
    view.setUint8(packet.l3 + ipv6.HOP_LIMIT, hops - 1);
  } else if (packet.protocol === ETH_P_IP) {
    const error = prepareIpv4(packet);
    if (error !== 0) return error;
    const ttl = ipv4.ttl(view, packet.l3);
    if (ttl <= 1) return -EHOSTUNREACH;
    setIpv4Ttl(packet, ttl - 1, 0xff);
  }
  return 0;
}

// TCP, UDP, SCTP

/**
 * Whether `length` bytes of transport header can be written; makes the packet writable. @returns 0 or -ENOMEM
 * (spec/actions A-200)
 */
export function prepareTransport(packet: Packet, length: number): number {
  return transportLength(packet) >= length && ensureWritable(packet) ? 0 : -ENOMEM;
}

/**
 * Writes both ports of a TCP header with its checksum (spec/actions A-195). Precondition: prepareTransport(packet,
 * tcp.HEADER_LEN).
 * @returns true if one changed: the conntrack reference goes
 */
export function setTcpPorts(packet: Packet, src: number, dst: number): boolean {
  const { view } = packet.memory;
  const { l4 } = packet;
  const oldSrc = tcp.srcPort(view, l4);
  const oldDst = tcp.dstPort(view, l4);
  if (oldSrc !== src) {
    updateL4(packet, l4 + tcp.CHECKSUM, diff16(oldSrc, src), false);
    view.setUint16(l4 + tcp.SRC_PORT, src);
  }
  if (oldDst !== dst) {
    updateL4(packet, l4 + tcp.CHECKSUM, diff16(oldDst, dst), false);
    view.setUint16(l4 + tcp.DST_PORT, dst);
  }
  return oldSrc !== src || oldDst !== dst;
}

/**
 * Writes both ports of a UDP header with its checksum (spec/actions ). Precondition:
 * prepareTransport(packet, udp.HEADER_LEN).
 * @returns true if the conntrack reference goes: a port changed, or there was no checksum to update
 */
export function setUdpPorts(packet: Packet, src: number, dst: number): boolean {
  const { view } = packet.memory;
  const { l4 } = packet;
  const at = l4 + udp.CHECKSUM;
  const oldSrc = udp.srcPort(view, l4);
  const oldDst = udp.dstPort(view, l4);
  const plain = view.getUint16(at) === 0 || packet.csum === Csum.PARTIAL;
  if (!plain) {
    if (oldSrc !== src) updateL4(packet, at, diff16(oldSrc, src), false);
    if (oldDst !== dst) updateL4(packet, at, diff16(oldDst, dst), false);
    if (view.getUint16(at) === 0) view.setUint16(at, 0xffff);
  }
  view.setUint16(l4 + udp.SRC_PORT, src);
  view.setUint16(l4 + udp.DST_PORT, dst);
  return plain || oldSrc !== src || oldDst !== dst;
}

/**
 * Writes both ports of an SCTP header; an error that the checksum had is carried through (spec/actions A-199). The
 * conntrack reference goes in any case. Precondition: prepareTransport(packet, sctp.HEADER_LEN).
 */
export function setSctpPorts(packet: Packet, src: number, dst: number): void {
  const { view } = packet.memory;
  const { l4 } = packet;
  const length = transportLength(packet);
  const error = sctp.checksum(view, l4) ^ sctp.computeChecksum(view, l4, length);
  view.setUint16(l4 + sctp.SRC_PORT, src);
  view.setUint16(l4 + sctp.DST_PORT, dst);
  sctp.setChecksum(view, l4, error ^ sctp.computeChecksum(view, l4, length));
}

// Lengths

/**
 * Cuts off what follows the IP datagram: Ethernet padding (spec/conntrack C-053). Nothing is cut if the packet is
 * shorter than its header says, nor from IPv4 packets with total length 0.
 * @param etherType ETH_P_IP or ETH_P_IPV6
 * @returns 0; -EBADMSG or -ENOMEM for a malformed hop-by-hop header (jumbo payload, RFC 2675)
 */
export function trimToIpLength(packet: Packet, etherType: number): number {
  const { view } = packet.memory;
  const available = networkLength(packet);
  let length = available;
  if (etherType === ETH_P_IP) {
    if (available < ipv4.HEADER_LEN) return 0;
    length = ipv4.totalLength(view, packet.l3);
    if (length === 0) return 0;
  } else if (etherType === ETH_P_IPV6) {
    if (available < ipv6.HEADER_LEN) return 0;
    length = ipv6.payloadLength(view, packet.l3);
    if (ipv6.nextHeader(view, packet.l3) === IpProto.HOPOPTS) {
      const jumbo = jumboLength(packet);
      if (jumbo < 0) return jumbo;
      if (jumbo > 0) length = jumbo;
    }
    length += ipv6.HEADER_LEN;
  }
  if (length < available) packet.len -= available - length;
  return 0;
}

/** Hop-by-hop option types: padding of one byte, and the jumbo payload length. */
const TLV_PAD1 = 0;
const TLV_JUMBO = 194;

/** The jumbo payload length of a hop-by-hop header, 0 if it has none, or a negative errno if it is malformed. */
function jumboLength(packet: Packet): number {
  const { view } = packet.memory;
  const { l3 } = packet;
  const available = networkLength(packet);
  let off = ipv6.HEADER_LEN;
  if (available < off + 8) return -ENOMEM;
  let left = ipv6.extensionLength(view, l3 + off, IpProto.HOPOPTS);
  if (available < off + left) return -ENOMEM;
  off += 2;
  left -= 2;
  let result = 0;
  while (left > 0) {
    if (view.getUint8(l3 + off) === TLV_PAD1) {
      off++;
      left--;
      continue;
    }
    if (left < 2) return -EBADMSG;
    const length = view.getUint8(l3 + off + 1) + 2;
    if (length > left) return -EBADMSG;
    if (view.getUint8(l3 + off) === TLV_JUMBO) {
      if (length !== 6 || (off & 3) !== 2) return -EBADMSG;
      const jumbo = view.getUint32(l3 + off + 2);
      if (jumbo <= 0xffff || ipv6.payloadLength(view, l3) !== 0) return -EBADMSG;
      if (jumbo > available - ipv6.HEADER_LEN) return -EBADMSG;
      result = jumbo;
    }
    off += length;
    left -= length;
  }
  return result;
}
