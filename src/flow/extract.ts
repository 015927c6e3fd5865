// biome-ignore-all lint/style/useLiteralEnumMembers: the numbers' one place is where they are imported from
import {
  ETH_P_802_2,
  ETH_P_802_3_MIN,
  ETH_P_8021AD,
  ETH_P_8021Q,
  ETH_P_ARP,
  ETH_P_IP,
  ETH_P_IPV6,
  ETH_P_MPLS_MC,
  ETH_P_MPLS_UC,
  ETH_P_NSH,
  ETH_P_RARP,
  ETH_P_TEB,
} from "../packet/ethernet.ts";
import { IpProto } from "../packet/ip.ts";
import { HEADROOM } from "../packet/memory.ts";
import { Gso, type Packet } from "../packet/packet.ts";
import { EINVAL, ENOMEM } from "../uapi/errno.ts";
import { OVS_FRAG_TYPE_FIRST, OVS_FRAG_TYPE_LATER, OVS_FRAG_TYPE_NONE } from "../uapi/openvswitch.ts";
import { K } from "./key.ts";

/*
 * Reading a packet's flow key (spec/keys sections 6 to 13). All of this runs once per packet: no allocation, one pass
 * over the headers, and no read outside [packet.off, packet.off + packet.len), whatever the lengths in them say.
 */

/*
 * Numbers of this file are const enums, which the compiler writes out: each reference to a module's constant is two
 * more instructions of bytecode, and V8 stops inlining by the bytes of bytecode.
 */
const enum EtherType {
  IP = ETH_P_IP,
  ARP = ETH_P_ARP,
  TEB = ETH_P_TEB,
  RARP = ETH_P_RARP,
  VLAN = ETH_P_8021Q,
  IPV6 = ETH_P_IPV6,
  MPLS_UC = ETH_P_MPLS_UC,
  MPLS_MC = ETH_P_MPLS_MC,
  VLAN_AD = ETH_P_8021AD,
  NSH = ETH_P_NSH,
  LLC = ETH_P_802_2,
  /** Smallest value that is a type and not a length. */
  MIN = ETH_P_802_3_MIN,
}

const enum Frag {
  NONE = OVS_FRAG_TYPE_NONE,
  FIRST = OVS_FRAG_TYPE_FIRST,
  LATER = OVS_FRAG_TYPE_LATER,
}

/** Lengths of headers in bytes. */
const enum Len {
  ETHERNET = 14,
  VLAN = 4,
  /** LLC with SNAP: DSAP, SSAP, control, OUI[3], type. */
  SNAP = 8,
  ARP = 28,
  IPV4 = 20,
  IPV6 = 40,
  TCP = 20,
  UDP = 8,
  SCTP = 12,
  ICMP = 8,
  /** Neighbour solicitation or advertisement without options. */
  ND = 24,
  NSH = 8,
  NSH_MD1 = 24,
}

const enum Bits {
  MAC_PROTO_ETHERNET = 1,
  /** Of a key's TCI: there is a tag. On the wire it is DEI. */
  VLAN_PRESENT = 0x1000,
  IPV4_MORE_FRAGMENTS = 0x2000,
  IPV4_OFFSET = 0x1fff,
  IPV6_OFFSET = 0xfff8,
  MPLS_BOTTOM = 0x100,
}

/** First 8 bytes of ARP for Ethernet and IPv4: hardware type 1, protocol 0x0800, lengths 6 and 4. */
const enum ArpStart {
  TYPES = 0x00010800,
  LENGTHS = 0x0604,
}

const enum Nd {
  SOLICIT = 135,
  ADVERT = 136,
}

const MPLS_DEPTH = 3;

/** OFPIEH12_* bits of IPV6_EXTHDRS (spec/keys K-176 to K-179). */
const enum Exthdr {
  NONEXT = 0x001,
  ESP = 0x002,
  AUTH = 0x004,
  DEST = 0x008,
  FRAG = 0x010,
  ROUTER = 0x020,
  HOP = 0x040,
  UNREP = 0x080,
  UNSEQ = 0x100,
}

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

/** True for a neighbour solicitation or advertisement whose ND fields were parsed (code 0). */
export function isNd(key: Int32Array): boolean {
  if (key[K.ETH_TYPE] >>> 16 !== EtherType.IPV6 || key[K.IP] >>> 24 !== IpProto.ICMPV6) return false;
  const typeAndCode = key[K.TP];
  return typeAndCode === Nd.SOLICIT << 16 || typeAndCode === Nd.ADVERT << 16;
}

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

/** @param shared true when other packets may point at the same bytes, so that they must not be changed in place */
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

function networkLayer(packet: Packet, view: DataView, key: Int32Array, type: number, at: number, end: number): number {
  if (type === EtherType.IP) {
    packet.l4 = ipv4(view, key, at, end, packet.gsoType);
    return 0;
  }
  switch (type) {
    case EtherType.IPV6:
      packet.l4 = ipv6(view, key, at, end, packet.gsoType);
      return 0;
    case EtherType.ARP:
    case EtherType.RARP:
      arp(view, key, at, end);
      return 0;
    case EtherType.MPLS_UC:
    case EtherType.MPLS_MC:
      mpls(view, key, at, end);
      return 0;
    case EtherType.NSH:
      return nsh(view, key, at, end);
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

/** RFC 826. Anything but Ethernet and IPv4 addresses leaves everything zero (spec/keys K-193). */
function arp(view: DataView, key: Int32Array, at: number, end: number): void {
  if (end - at < Len.ARP || view.getInt32(at) !== ArpStart.TYPES || view.getUint16(at + 4) !== ArpStart.LENGTHS) return;
  const op = view.getUint16(at + 6);
  key[K.IP] = op <= 0xff ? op << 24 : 0;
  key[K.ARP_SIP] = view.getInt32(at + 14);
  key[K.ARP_TIP] = view.getInt32(at + 24);
  key[K.ARP_SHA] = view.getInt32(at + 8);
  key[K.ARP_MID] = (view.getUint16(at + 12) << 16) | view.getUint16(at + 18);
  key[K.ARP_THA] = view.getInt32(at + 20);
}

/** RFC 3032. A stack that does not end in the packet shows labels but counts none (spec/keys K-199). */
function mpls(view: DataView, key: Int32Array, at: number, end: number): void {
  let count = 0;
  for (let offset = at; end - offset >= 4; offset += 4) {
    const entry = view.getInt32(offset);
    if (count < MPLS_DEPTH) key[K.MPLS_LSE + count++] = entry;
    if ((entry & Bits.MPLS_BOTTOM) !== 0) {
      key[K.MPLS_LABELS] = (1 << count) - 1;
      return;
    }
  }
}

/** RFC 8300. A header that is not understood makes the packet unusable (spec/keys K-205 to K-209). */
function nsh(view: DataView, key: Int32Array, at: number, end: number): number {
  if (end - at < Len.NSH) return -EINVAL;
  const first = view.getInt32(at);
  const length = (first >>> 14) & 0xfc;
  if (first >>> 30 !== 0 || end - at < length) return -EINVAL;
  const mdtype = (first >>> 8) & 0xff;
  // flags and ttl stand in bits 29-28 and 27-22 of the first word; mdtype and next protocol are its low half.
  key[K.NSH_BASE] = ((first >>> 4) & 0x03000000) | ((first >>> 6) & 0x003f0000) | (first & 0xffff);
  key[K.NSH_PATH] = view.getInt32(at + 4);
  if (mdtype === 2) return 0;
  if (mdtype !== 1 || length !== Len.NSH_MD1) return -EINVAL;
  key[K.NSH_CONTEXT] = view.getInt32(at + 8);
  key[K.NSH_CONTEXT + 1] = view.getInt32(at + 12);
  key[K.NSH_CONTEXT + 2] = view.getInt32(at + 16);
  key[K.NSH_CONTEXT + 3] = view.getInt32(at + 20);
  return 0;
}

/**
 * RFC 8200 (spec/keys K-163 to K-184).
 * @returns where the transport header is, 0 = not known
 */
function ipv6(view: DataView, key: Int32Array, at: number, end: number, gsoType: number): number {
  if (end - at < Len.IPV6) return 0;
  const first = view.getInt32(at);
  const nextHeader = view.getUint8(at + 6);
  key[K.IPV6_SRC] = view.getInt32(at + 8);
  key[K.IPV6_SRC + 1] = view.getInt32(at + 12);
  key[K.IPV6_SRC + 2] = view.getInt32(at + 16);
  key[K.IPV6_SRC + 3] = view.getInt32(at + 20);
  key[K.IPV6_DST] = view.getInt32(at + 24);
  key[K.IPV6_DST + 1] = view.getInt32(at + 28);
  key[K.IPV6_DST + 2] = view.getInt32(at + 32);
  key[K.IPV6_DST + 3] = view.getInt32(at + 36);
  key[K.IPV6_LABEL] = first & 0xfffff;
  const tclassAndHops = ((first >>> 4) & 0xff0000) | (view.getUint8(at + 7) << 8);

  let proto = nextHeader;
  let frag: number = Frag.NONE;
  let l4 = at + Len.IPV6;
  if (isExtension(nextHeader)) {
    key[K.IPV6_EXTHDRS] = extensionBits(view, nextHeader, l4, end);
    l4 = walkExtensions(view, nextHeader, l4, end);
    proto = walkedProto;
    frag = walkedFrag;
    if (frag === Frag.LATER) {
      key[K.IP] = (IpProto.FRAGMENT << 24) | tclassAndHops | Frag.LATER;
      return l4;
    }
    if (l4 < 0) {
      key[K.IP] = (IpProto.NONE << 24) | tclassAndHops | frag;
      return 0;
    }
  }
  if ((gsoType & ~Gso.ECN) === Gso.UDP) frag = Frag.FIRST;
  key[K.IP] = (proto << 24) | tclassAndHops | frag;
  if (proto === IpProto.TCP) {
    tcp(view, key, l4, end);
  } else if (proto === IpProto.UDP) {
    if (end - l4 >= Len.UDP) key[K.TP] = view.getInt32(l4);
  } else if (proto === IpProto.ICMPV6) {
    if (end - l4 >= Len.ICMP) icmpv6(view, key, l4, end);
  } else if (proto === IpProto.SCTP) {
    if (end - l4 >= Len.SCTP) key[K.TP] = view.getInt32(l4);
  }
  return l4;
}

/**
 * The next header values that ipv6_ext_hdr() of the kernel counts as extension headers; ESP is none of them
 * (spec/keys K-171).
 */
const isExtension = (proto: number): boolean =>
  proto === IpProto.HOPOPTS ||
  proto === IpProto.ROUTING ||
  proto === IpProto.FRAGMENT ||
  proto === IpProto.AH ||
  proto === IpProto.NONE ||
  proto === IpProto.DSTOPTS;

// What walkExtensions() found besides the offset; plain numbers, so that nothing is allocated.
let walkedProto = 0;
let walkedFrag = 0;

/**
 * Finds the upper-layer header behind the extension headers; sets walkedProto and walkedFrag.
 * @returns its absolute offset (`end` if nothing follows), or -1 when the chain breaks off (spec/keys K-165)
 */
function walkExtensions(view: DataView, nextHeader: number, start: number, end: number): number {
  let proto = nextHeader;
  let at = start;
  walkedFrag = Frag.NONE;
  while (isExtension(proto) && proto !== IpProto.NONE) {
    if (end - at < 2) return -1;
    const next = view.getUint8(at);
    if (proto === IpProto.FRAGMENT) {
      // From here on a chain that breaks off is still that of a fragment.
      walkedFrag = Frag.FIRST;
      if (end - at < 4) return -1;
      if ((view.getUint16(at + 2) & Bits.IPV6_OFFSET) !== 0) {
        // Behind a later fragment's header stands no header; one that promises an extension there is an error.
        if (isExtension(next) && next !== IpProto.NONE) return -1;
        walkedFrag = Frag.LATER;
        walkedProto = next;
        return at + 8;
      }
      at += 8;
    } else if (proto === IpProto.AH) {
      at += (view.getUint8(at + 1) + 2) << 2;
    } else {
      at += (view.getUint8(at + 1) + 1) << 3;
    }
    // A header that reaches beyond the packet breaks the chain, even if nothing in it is read.
    if (at > end) return -1;
    proto = next;
  }
  walkedProto = proto;
  return at;
}

/**
 * The bitmap of extension headers seen, repeated (UNREP) or out of the order that RFC 8200 section 4.1 prefers (UNSEQ).
 * The walk takes all headers to be of hop-by-hop form, AH as well, as the module does.
 */
function extensionBits(view: DataView, nextHeader: number, start: number, end: number): number {
  let bits = 0;
  let dests = 0;
  let proto = nextHeader;
  let at = start;
  for (;;) {
    switch (proto) {
      case IpProto.NONE:
        return bits | Exthdr.NONEXT;
      case IpProto.AH:
        if ((bits & Exthdr.AUTH) !== 0) bits |= Exthdr.UNREP;
        if ((bits & ~BEFORE_AUTH) !== 0 || dests >= 2) bits |= Exthdr.UNSEQ;
        bits |= Exthdr.AUTH;
        break;
      case IpProto.DSTOPTS:
        if (dests === 0) {
          if ((bits & ~BEFORE_DEST) !== 0) bits |= Exthdr.UNSEQ;
          bits |= Exthdr.DEST;
        } else if (dests === 1) {
          if ((bits & ~BEFORE_SECOND_DEST) !== 0) bits |= Exthdr.UNSEQ;
        } else {
          bits |= Exthdr.UNREP;
        }
        dests++;
        break;
      case IpProto.FRAGMENT:
        if ((bits & Exthdr.FRAG) !== 0) bits |= Exthdr.UNREP;
        if ((bits & ~BEFORE_FRAG) !== 0 || dests >= 2) bits |= Exthdr.UNSEQ;
        bits |= Exthdr.FRAG;
        break;
      case IpProto.ROUTING:
        if ((bits & Exthdr.ROUTER) !== 0) bits |= Exthdr.UNREP;
        if ((bits & ~BEFORE_ROUTER) !== 0 || dests >= 2) bits |= Exthdr.UNSEQ;
        bits |= Exthdr.ROUTER;
        break;
      case IpProto.HOPOPTS:
        if ((bits & Exthdr.HOP) !== 0) bits |= Exthdr.UNREP;
        bits |= bits === 0 ? Exthdr.HOP : Exthdr.UNSEQ;
        break;
      default:
        return bits;
    }
    if (end - at < 2) return bits;
    proto = view.getUint8(at);
    at += (view.getUint8(at + 1) + 1) << 3;
  }
}

// What may stand before each header without being out of order.
const BEFORE_DEST = Exthdr.HOP | Exthdr.UNREP;
const BEFORE_ROUTER = Exthdr.HOP | Exthdr.DEST | Exthdr.UNREP;
const BEFORE_FRAG = Exthdr.HOP | Exthdr.DEST | Exthdr.ROUTER | Exthdr.UNREP;
const BEFORE_AUTH = Exthdr.HOP | Exthdr.DEST | Exthdr.ROUTER | Exthdr.FRAG | Exthdr.UNREP;
const BEFORE_SECOND_DEST =
  Exthdr.HOP | Exthdr.DEST | Exthdr.ROUTER | Exthdr.FRAG | Exthdr.AUTH | Exthdr.ESP | Exthdr.UNREP;

/** RFC 4443, and the options of neighbour solicitation and advertisement of RFC 4861 (spec/keys K-183 to K-191). */
function icmpv6(view: DataView, key: Int32Array, at: number, end: number): void {
  const type = view.getUint8(at);
  const code = view.getUint8(at + 1);
  key[K.TP] = (type << 16) | code;
  if (code !== 0 || (type !== Nd.SOLICIT && type !== Nd.ADVERT) || end - at < Len.ND) return;
  key[K.ND_TARGET] = view.getInt32(at + 8);
  key[K.ND_TARGET + 1] = view.getInt32(at + 12);
  key[K.ND_TARGET + 2] = view.getInt32(at + 16);
  key[K.ND_TARGET + 3] = view.getInt32(at + 20);
  let option = at + Len.ND;
  while (end - option >= 8) {
    const length = view.getUint8(option + 1) << 3;
    // One that reaches beyond the message ends the walk as well.
    if (length === 0) return;
    const kind = view.getUint8(option);
    if (length === 8 && kind === 1) {
      if ((key[K.ND_SLL] | (key[K.ND_MID] & ~0xffff)) !== 0) {
        clearNd(key);
        return;
      }
      key[K.ND_SLL] = view.getInt32(option + 2);
      key[K.ND_MID] = (view.getUint16(option + 6) << 16) | (key[K.ND_MID] & 0xffff);
    } else if (length === 8 && kind === 2) {
      if ((key[K.ND_TLL] | (key[K.ND_MID] & 0xffff)) !== 0) {
        clearNd(key);
        return;
      }
      key[K.ND_MID] = (key[K.ND_MID] & ~0xffff) | view.getUint16(option + 2);
      key[K.ND_TLL] = view.getInt32(option + 4);
    }
    option += length;
  }
}

/** A link-layer option seen twice: nothing of the message is believed (spec/keys K-189). */
function clearNd(key: Int32Array): void {
  for (let i = K.ND_TARGET; i <= K.ND_TLL; i++) key[i] = 0;
}
