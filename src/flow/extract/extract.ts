import { IpProto } from "../../packet/ip.ts";
import { HEADROOM } from "../../packet/memory.ts";
import { Gso, type Packet } from "../../packet/packet.ts";
import { EINVAL, ENOMEM } from "../../uapi/errno.ts";
import { K } from "../key.ts";
import { extractIcmpv6, isNd } from "./icmpv6.ts";
import { extractIpv6 } from "./ipv6.ts";
import { extractArp, extractMpls, extractNsh } from "./network.ts";
import { Bits, EtherType, Frag, Len } from "./numbers.ts";

/**
 * Reading a packet's flow key (spec/keys sections 6 to 13). All of this runs once per packet: no allocation, one pass
 * over the headers, and no read outside [packet.off, packet.off + packet.len), whatever the lengths in them say.
 *
 * The path of untagged IPv4 with its transport headers is in this file alone: a call into another module is a few
 * instructions of bytecode longer, and V8 stops inlining by the bytes of bytecode.
 */

/**
 * Fills the flow key of a packet just received: metadata from the packet, no connection, no tunnel, then the headers
 * (ovs_flow_key_extract). Sets packet.l3, packet.l4 and packet.protocol, and moves the outermost VLAN tag in the frame
 * out of band (spec/keys K-127): the MACs move four bytes up, in place.
 * @returns 0, or -EINVAL: the packet is to be dropped without an upcall (K-130, K-132, K-205 to K-209)
 */
export function extractKey(packet: Packet, key: Int32Array): number {
  key[K.RECIRC_ID] = 0;
  key[K.DP_HASH] = 0;
  key[K.IN_PORT] = packet.inPort;
  key[K.PRIORITY] = packet.priority;
  key[K.SKB_MARK] = packet.mark;
  key[K.CT] = 0;
  key[K.CT_MARK] = 0;
  key[K.CT_LABELS] = 0;
  key[K.CT_LABELS + 1] = 0;
  key[K.CT_LABELS + 2] = 0;
  key[K.CT_LABELS + 3] = 0;
  // Packets with a tunnel key are rare, and a key array is used over and over: clear those words only when dirty.
  if (key[K.TUN_PROTO] !== 0) key.fill(0, K.TUN_PROTO, K.WORDS);
  clearHeaders(key);

  // The commonest packet, untagged IPv4, without leaving this function: a third faster than the general way.
  const { off, len } = packet;
  const { view } = packet.memory;
  if (len >= Len.ETHERNET && packet.vlanTpid === 0 && !packet.macNone && view.getUint16(off + 12) === EtherType.IP) {
    const l3 = off + Len.ETHERNET;
    key[K.ETH_DST] = view.getInt32(off);
    key[K.ETH_MID] = view.getInt32(off + 4);
    key[K.ETH_SRC] = view.getInt32(off + 8);
    key[K.ETH_TYPE] = (EtherType.IP << 16) | Bits.MAC_PROTO_ETHERNET;
    packet.protocol = EtherType.IP;
    packet.l3 = l3;
    packet.l4 = ipv4(view, key, l3, off + len, packet.gsoType);
    return 0;
  }
  if (packet.macNone && packet.protocol === EtherType.TEB) packet.macNone = false;
  return linkLayer(packet, key, false);
}

/**
 * Reads the headers anew after push or pop made the key stale, or after fragments were put together
 * (ovs_flow_key_update). Metadata words stay; of the original tuple's words those that the new headers do not overlay
 * (spec/keys K-279).
 * @returns 0, -EINVAL, or -ENOMEM when a tag must be moved out of band and scratch memory is used up (K-291)
 */
export function extractHeaders(packet: Packet, key: Int32Array): number {
  const tracked = (key[K.CT] & 0xff00) !== 0;
  if (tracked) {
    for (let i = 0; i < 3; i++) savedTuple[i] = key[K.CT_ORIG4_SRC + i];
    for (let i = 0; i < 9; i++) savedTuple[3 + i] = key[K.CT_ORIG6_SRC + i];
  }
  clearHeaders(key);
  const error = linkLayer(packet, key, true);
  if (tracked) {
    const type = key[K.ETH_TYPE] >>> 16;
    if (type === EtherType.IP) {
      // An unreadable header clears the addresses of the tuple as well; l4 is not known then.
      if (packet.l4 !== 0) {
        key[K.CT_ORIG4_SRC] = savedTuple[0];
        key[K.CT_ORIG4_DST] = savedTuple[1];
      }
      key[K.CT_ORIG4_TP] = savedTuple[2];
    } else if (type === EtherType.IPV6 && !isNd(key))
      for (let i = 0; i < 9; i++) key[K.CT_ORIG6_SRC + i] = savedTuple[3 + i];
  }
  return error;
}

const savedTuple = new Int32Array(12);

/** Zeroes all words that headers fill but MACs and ethertype. Unrolled: three times as fast as fill() at this size. */
function clearHeaders(key: Int32Array): void {
  key[K.VLAN] = 0;
  key[K.CVLAN] = 0;
  key[K.IP] = 0;
  key[K.TP] = 0;
  key[K.TCP_FLAGS] = 0;
  key[20] = 0;
  key[21] = 0;
  key[22] = 0;
  key[23] = 0;
  key[24] = 0;
  key[25] = 0;
  key[26] = 0;
  key[27] = 0;
  key[28] = 0;
  key[29] = 0;
  key[30] = 0;
  key[31] = 0;
  key[32] = 0;
  key[33] = 0;
  key[34] = 0;
  key[35] = 0;
  key[36] = 0;
  key[37] = 0;
  key[38] = 0;
}

/**
 * Reads the Ethernet header, or takes a packet without one by its protocol, and goes on.
 * @param shared true when other packets may point at the same bytes, so that they must not be changed in place
 * @returns 0, -EINVAL or -ENOMEM
 */
function linkLayer(packet: Packet, key: Int32Array, shared: boolean): number {
  const { view } = packet.memory;
  const { off } = packet;
  packet.l4 = 0;
  if (packet.macNone) {
    const { protocol } = packet;
    if (protocol === EtherType.VLAN || protocol === EtherType.VLAN_AD) return -EINVAL;
    key[K.ETH_DST] = 0;
    key[K.ETH_MID] = 0;
    key[K.ETH_SRC] = 0;
    key[K.ETH_TYPE] = protocol << 16;
    packet.l3 = off;
    return networkLayer(packet, view, key, protocol, off, off + packet.len);
  }
  if (packet.len < Len.ETHERNET) return -EINVAL;
  key[K.ETH_DST] = view.getInt32(off);
  key[K.ETH_MID] = view.getInt32(off + 4);
  key[K.ETH_SRC] = view.getInt32(off + 8);
  const type = view.getUint16(off + 12);
  if (packet.vlanTpid !== 0 || type === EtherType.VLAN || type === EtherType.VLAN_AD || type < EtherType.MIN) {
    return taggedOrLlc(packet, key, shared);
  }
  key[K.ETH_TYPE] = (type << 16) | Bits.MAC_PROTO_ETHERNET;
  packet.protocol = type;
  packet.l3 = off + Len.ETHERNET;
  return networkLayer(packet, view, key, type, off + Len.ETHERNET, off + packet.len);
}

/** Frames with a tag, in the frame or out of band, and 802.2 frames (spec/keys K-123 to K-136). */
function taggedOrLlc(packet: Packet, key: Int32Array, shared: boolean): number {
  const { view } = packet.memory;
  // Position of the type field that is being looked at.
  let at = packet.off + 12;
  let end = packet.off + packet.len;
  let type = view.getUint16(at);
  let tagged = packet.vlanTpid !== 0;
  if (!tagged && (type === EtherType.VLAN || type === EtherType.VLAN_AD) && end - at >= Len.VLAN + 2) {
    if (shared) {
      if (!packet.unshare(HEADROOM, 0)) return -ENOMEM;
      at = packet.off + 12;
      end = packet.off + packet.len;
    }
    packet.vlanTpid = type;
    packet.vlanTci = view.getUint16(at + 2);
    const { off } = packet;
    view.setInt32(off + 12, key[K.ETH_SRC]);
    view.setInt32(off + 8, key[K.ETH_MID]);
    view.setInt32(off + 4, key[K.ETH_DST]);
    packet.off = off + Len.VLAN;
    packet.len -= Len.VLAN;
    at += Len.VLAN;
    type = view.getUint16(at);
    tagged = true;
  }
  let protocol = 0;
  if (tagged) {
    key[K.VLAN] = ((packet.vlanTci | Bits.VLAN_PRESENT) << 16) | packet.vlanTpid;
    if ((type === EtherType.VLAN || type === EtherType.VLAN_AD) && end - at >= Len.VLAN + 2) {
      key[K.CVLAN] = ((view.getUint16(at + 2) | Bits.VLAN_PRESENT) << 16) | type;
      // skb->protocol tells what follows the out-of-band tag.
      protocol = type;
      at += Len.VLAN;
      type = view.getUint16(at);
    }
  }
  at += 2;
  if (type < EtherType.MIN) {
    type = EtherType.LLC;
    if (
      end - at >= Len.SNAP &&
      view.getUint16(at) === 0xaaaa &&
      view.getUint8(at + 3) === 0 &&
      view.getUint16(at + 4) === 0
    ) {
      const snapType = view.getUint16(at + 6);
      if (snapType >= EtherType.MIN) type = snapType;
      at += Len.SNAP;
    }
  }
  key[K.ETH_TYPE] = (type << 16) | Bits.MAC_PROTO_ETHERNET;
  packet.protocol = protocol === 0 ? type : protocol;
  packet.l3 = at;
  return networkLayer(packet, view, key, type, at, end);
}

/** Reads the header behind Ethernet, and sets packet.l4. @returns 0 or -EINVAL */
function networkLayer(packet: Packet, view: DataView, key: Int32Array, type: number, at: number, end: number): number {
  if (type === EtherType.IP) {
    packet.l4 = ipv4(view, key, at, end, packet.gsoType);
    return 0;
  }
  switch (type) {
    case EtherType.IPV6: {
      const l4 = extractIpv6(view, key, at, end, packet.gsoType);
      packet.l4 = l4;
      if (l4 !== 0 && (key[K.IP] & 0xff) !== Frag.LATER) ipv6Transport(view, key, l4, end);
      return 0;
    }
    case EtherType.ARP:
    case EtherType.RARP:
      extractArp(view, key, at, end);
      return 0;
    case EtherType.MPLS_UC:
    case EtherType.MPLS_MC:
      extractMpls(view, key, at, end);
      return 0;
    case EtherType.NSH:
      return extractNsh(view, key, at, end);
    default:
      return 0;
  }
}

/**
 * RFC 791. A header that cannot be read leaves everything zero, and the packet goes on (spec/keys K-142).
 * @returns where the transport header is, 0 = not known
 */
function ipv4(view: DataView, key: Int32Array, at: number, end: number, gsoType: number): number {
  const left = end - at;
  if (left < Len.IPV4) return 0;
  const first = view.getInt32(at);
  const headerLength = (first >>> 22) & 0x3c;
  if (headerLength < Len.IPV4 || headerLength > left) return 0;
  const ttlAndProto = view.getUint16(at + 8);
  const proto = ttlAndProto & 0xff;
  const fragmentField = view.getUint16(at + 6);
  const l4 = at + headerLength;
  key[K.IPV4_SRC] = view.getInt32(at + 12);
  key[K.IPV4_DST] = view.getInt32(at + 16);
  // tos << 16 comes straight from the first word, ttl << 8 from the third.
  const rest = (proto << 24) | (first & 0xff0000) | (ttlAndProto & 0xff00);
  if ((fragmentField & Bits.IPV4_OFFSET) !== 0) {
    key[K.IP] = rest | Frag.LATER;
    return l4;
  }
  const isFirst = (fragmentField & Bits.IPV4_MORE_FRAGMENTS) !== 0 || (gsoType & ~Gso.ECN) === Gso.UDP;
  key[K.IP] = isFirst ? rest | Frag.FIRST : rest;
  if (proto === IpProto.UDP) {
    if (end - l4 >= Len.UDP) key[K.TP] = view.getInt32(l4);
  } else if (proto === IpProto.TCP) {
    tcp(view, key, l4, end);
  } else if (proto === IpProto.ICMP) {
    if (end - l4 >= Len.ICMP) key[K.TP] = (view.getUint8(l4) << 16) | view.getUint8(l4 + 1);
  } else if (proto === IpProto.SCTP) {
    if (end - l4 >= Len.SCTP) key[K.TP] = view.getInt32(l4);
  }
  return l4;
}

/** RFC 9293. An incomplete header, options included, gives no ports (spec/keys K-153). */
function tcp(view: DataView, key: Int32Array, at: number, end: number): void {
  if (end - at < Len.TCP) return;
  const offsetAndFlags = view.getUint16(at + 12);
  const headerLength = (offsetAndFlags >>> 10) & 0x3c;
  if (headerLength < Len.TCP || headerLength > end - at) return;
  key[K.TP] = view.getInt32(at);
  key[K.TCP_FLAGS] = offsetAndFlags & 0xfff;
}

/** Reads the upper-layer header behind IPv6 and its extension headers. */
function ipv6Transport(view: DataView, key: Int32Array, l4: number, end: number): void {
  const proto = key[K.IP] >>> 24;
  if (proto === IpProto.TCP) {
    tcp(view, key, l4, end);
  } else if (proto === IpProto.UDP) {
    if (end - l4 >= Len.UDP) key[K.TP] = view.getInt32(l4);
  } else if (proto === IpProto.ICMPV6) {
    if (end - l4 >= Len.ICMP) extractIcmpv6(view, key, l4, end);
  } else if (proto === IpProto.SCTP) {
    if (end - l4 >= Len.SCTP) key[K.TP] = view.getInt32(l4);
  }
}
