import type { MessageWriter } from "../netlink/writer.ts";
import {
  ETH_P_802_2,
  ETH_P_8021AD,
  ETH_P_8021Q,
  ETH_P_ARP,
  ETH_P_IP,
  ETH_P_IPV6,
  ETH_P_MPLS_MC,
  ETH_P_MPLS_UC,
  ETH_P_NSH,
  ETH_P_RARP,
} from "../packet/ethernet.ts";
import * as icmpv6 from "../packet/icmpv6.ts";
import { IpProto } from "../packet/ip.ts";
import {
  OVS_FRAG_TYPE_LATER,
  OVS_KEY_ATTR_ARP,
  OVS_KEY_ATTR_CT_LABELS,
  OVS_KEY_ATTR_CT_MARK,
  OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4,
  OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6,
  OVS_KEY_ATTR_CT_STATE,
  OVS_KEY_ATTR_CT_ZONE,
  OVS_KEY_ATTR_DP_HASH,
  OVS_KEY_ATTR_ENCAP,
  OVS_KEY_ATTR_ETHERNET,
  OVS_KEY_ATTR_ETHERTYPE,
  OVS_KEY_ATTR_ICMP,
  OVS_KEY_ATTR_ICMPV6,
  OVS_KEY_ATTR_IN_PORT,
  OVS_KEY_ATTR_IPV4,
  OVS_KEY_ATTR_IPV6,
  OVS_KEY_ATTR_IPV6_EXTHDRS,
  OVS_KEY_ATTR_MPLS,
  OVS_KEY_ATTR_ND,
  OVS_KEY_ATTR_NSH,
  OVS_KEY_ATTR_PRIORITY,
  OVS_KEY_ATTR_RECIRC_ID,
  OVS_KEY_ATTR_SCTP,
  OVS_KEY_ATTR_SKB_MARK,
  OVS_KEY_ATTR_TCP,
  OVS_KEY_ATTR_TCP_FLAGS,
  OVS_KEY_ATTR_TUNNEL,
  OVS_KEY_ATTR_UDP,
  OVS_KEY_ATTR_VLAN,
  OVS_NSH_KEY_ATTR_BASE,
  OVS_NSH_KEY_ATTR_MD1,
} from "../uapi/openvswitch.ts";
import { K, NO_PORT } from "./key.ts";
import { putTunnel } from "./tunnel.ts";

/** More than a key without tunnel ever needs: IPv6 neighbour solicitation with two tags and an original tuple. */
const MAX_KEY = 512;
const MAC_PROTO_MASK = 0xff;

/** Writes the content of OVS_FLOW_ATTR_KEY or OVS_PACKET_ATTR_KEY (spec/keys section 15). Allocation-free. */
export function putKey(writer: MessageWriter, key: Int32Array): void {
  put(writer, key, key, false);
}

/**
 * Writes the content of OVS_FLOW_ATTR_MASK. The key decides which attributes there are (spec/keys K-264).
 * @param key the masked key, as the flow table holds it
 */
export function putMask(writer: MessageWriter, key: Int32Array, mask: Int32Array): void {
  put(writer, key, mask, true);
}

/** An attribute of four bytes, host order; returns the position behind it. */
function u32(view: DataView, at: number, type: number, value: number): number {
  view.setUint32(at, (type << 16) | 8, true);
  view.setInt32(at + 4, value, true);
  return at + 8;
}

/** An attribute of four bytes, network order. */
function be32(view: DataView, at: number, type: number, value: number): number {
  view.setUint32(at, (type << 16) | 8, true);
  view.setInt32(at + 4, value);
  return at + 8;
}

/** An attribute of two bytes, network order, and two of padding. */
function be16(view: DataView, at: number, type: number, value: number): number {
  view.setUint32(at, (type << 16) | 6, true);
  view.setInt32(at + 4, value << 16);
  return at + 8;
}

/** An attribute of two bytes, host order, and two of padding. */
function u16(view: DataView, at: number, type: number, value: number): number {
  view.setUint32(at, (type << 16) | 6, true);
  view.setInt32(at + 4, value & 0xffff, true);
  return at + 8;
}

/** Words as they stand in the key, most significant byte first. */
function words(view: DataView, at: number, source: Int32Array, from: number, count: number): number {
  for (let i = 0; i < count; i++) view.setInt32(at + 4 * i, source[from + i]);
  return at + 4 * count;
}

function header(view: DataView, at: number, type: number, payload: number): number {
  view.setUint32(at, (type << 16) | (payload + 4), true);
  return at + 4;
}

const isVlan = (type: number): boolean => type === ETH_P_8021Q || type === ETH_P_8021AD;

/**
 * @param key whose values tell which attributes there are
 * @param out whose values they carry: the key itself or its mask
 */
function put(writer: MessageWriter, key: Int32Array, out: Int32Array, isMask: boolean): void {
  let at = writer.reserve(24);
  let { view } = writer;
  at = u32(view, at, OVS_KEY_ATTR_RECIRC_ID, out[K.RECIRC_ID]);
  at = u32(view, at, OVS_KEY_ATTR_DP_HASH, out[K.DP_HASH]);
  u32(view, at, OVS_KEY_ATTR_PRIORITY, out[K.PRIORITY]);

  if (key[K.TUN_PROTO] !== 0 || isMask) {
    const nest = writer.nest(OVS_KEY_ATTR_TUNNEL);
    putTunnel(writer, key, out, false);
    writer.endNest(nest);
  }

  at = writer.reserve(MAX_KEY);
  view = writer.view;
  const inPort = out[K.IN_PORT];
  if (key[K.IN_PORT] !== NO_PORT) {
    at = u32(view, at, OVS_KEY_ATTR_IN_PORT, isMask ? inPort | 0xffff0000 : inPort);
  } else if (isMask && inPort === 0xffff) {
    at = u32(view, at, OVS_KEY_ATTR_IN_PORT, -1);
  }
  at = u32(view, at, OVS_KEY_ATTR_SKB_MARK, out[K.SKB_MARK]);
  const ct = out[K.CT];
  at = u32(view, at, OVS_KEY_ATTR_CT_STATE, ct & 0xff);
  at = u16(view, at, OVS_KEY_ATTR_CT_ZONE, ct >>> 16);
  at = u32(view, at, OVS_KEY_ATTR_CT_MARK, out[K.CT_MARK]);
  at = words(view, header(view, at, OVS_KEY_ATTR_CT_LABELS, 16), out, K.CT_LABELS, 4);

  const type = key[K.ETH_TYPE] >>> 16;
  if ((key[K.CT] & 0xff00) !== 0) {
    if (type === ETH_P_IP) {
      at = words(view, header(view, at, OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4, 16), out, K.CT_ORIG4_SRC, 3);
      view.setInt32(at, (ct & 0xff00) << 16);
      at += 4;
    } else if (type === ETH_P_IPV6) {
      at = words(view, header(view, at, OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6, 40), out, K.CT_ORIG6_SRC, 9);
      view.setInt32(at, (ct & 0xff00) << 16);
      at += 4;
    }
  }

  let encap = 0;
  let innerEncap = 0;
  let more = true;
  if ((key[K.ETH_TYPE] & MAC_PROTO_MASK) !== 0) {
    at = header(view, at, OVS_KEY_ATTR_ETHERNET, 12);
    const middle = out[K.ETH_MID];
    view.setInt32(at, (middle << 16) | (out[K.ETH_SRC] >>> 16));
    view.setInt32(at + 4, (out[K.ETH_SRC] << 16) | (out[K.ETH_DST] >>> 16));
    view.setInt32(at + 8, (out[K.ETH_DST] << 16) | (middle >>> 16));
    at += 12;
    if (key[K.VLAN] >>> 16 !== 0 || isVlan(type)) {
      at = tag(view, at, out[K.VLAN], isMask);
      encap = at;
      at += 4;
      if (key[K.VLAN] >>> 16 === 0) {
        more = false;
      } else if (key[K.CVLAN] >>> 16 !== 0 || isVlan(type)) {
        at = tag(view, at, out[K.CVLAN], isMask);
        innerEncap = at;
        at += 4;
        if (key[K.CVLAN] >>> 16 === 0) more = false;
      }
    }
    if (more && type === ETH_P_802_2) {
      if (isMask && out[K.ETH_TYPE] >>> 16 !== 0) at = be16(view, at, OVS_KEY_ATTR_ETHERTYPE, out[K.ETH_TYPE] >>> 16);
      more = false;
    }
  }
  if (more) {
    at = be16(view, at, OVS_KEY_ATTR_ETHERTYPE, out[K.ETH_TYPE] >>> 16);
    at = network(view, at, key, out, type, isMask);
  }
  if (innerEncap !== 0) header(view, innerEncap, OVS_KEY_ATTR_ENCAP, at - innerEncap - 4);
  if (encap !== 0) header(view, encap, OVS_KEY_ATTR_ENCAP, at - encap - 4);
  writer.length = at;
}

/** ETHERTYPE with the TPID, and VLAN (spec/keys K-260). */
function tag(view: DataView, at: number, word: number, isMask: boolean): number {
  at = be16(view, at, OVS_KEY_ATTR_ETHERTYPE, isMask ? 0xffff : word & 0xffff);
  return be16(view, at, OVS_KEY_ATTR_VLAN, word >>> 16);
}

/** Attributes behind ETHERTYPE (spec/keys K-262, K-263). */
function network(view: DataView, at: number, key: Int32Array, out: Int32Array, type: number, isMask: boolean): number {
  switch (type) {
    case ETH_P_IP:
      at = words(view, header(view, at, OVS_KEY_ATTR_IPV4, 12), out, K.IPV4_SRC, 2);
      view.setInt32(at, out[K.IP]);
      return transport(view, at + 4, key, out, type);
    case ETH_P_IPV6:
      at = words(view, header(view, at, OVS_KEY_ATTR_IPV6, 40), out, K.IPV6_SRC, 9);
      view.setInt32(at, out[K.IP]);
      at = u16(view, at + 4, OVS_KEY_ATTR_IPV6_EXTHDRS, out[K.IPV6_EXTHDRS]);
      return transport(view, at, key, out, type);
    case ETH_P_NSH:
      return nsh(view, at, key, out, isMask);
    case ETH_P_ARP:
    case ETH_P_RARP:
      at = words(view, header(view, at, OVS_KEY_ATTR_ARP, 24), out, K.ARP_SIP, 2);
      // op, sha and tha stand at odd halves: each word is put together from two.
      view.setInt32(at, ((out[K.IP] >>> 24) << 16) | (out[K.ARP_SHA] >>> 16));
      view.setInt32(at + 4, (out[K.ARP_SHA] << 16) | (out[K.ARP_MID] >>> 16));
      view.setInt32(at + 8, (out[K.ARP_MID] << 16) | (out[K.ARP_THA] >>> 16));
      view.setInt32(at + 12, out[K.ARP_THA] << 16);
      return at + 16;
    case ETH_P_MPLS_UC:
    case ETH_P_MPLS_MC: {
      let count = 0;
      for (let bits = out[K.MPLS_LABELS]; bits !== 0; bits &= bits - 1) count++;
      return words(view, header(view, at, OVS_KEY_ATTR_MPLS, 4 * count), out, K.MPLS_LSE, count);
    }
    default:
      return at;
  }
}

function nsh(view: DataView, at: number, key: Int32Array, out: Int32Array, isMask: boolean): number {
  const nest = at;
  at = words(view, header(view, at + 4, OVS_NSH_KEY_ATTR_BASE, 8), out, K.NSH_BASE, 2);
  if (isMask || ((key[K.NSH_BASE] >>> 8) & 0xff) === 1)
    at = words(view, header(view, at, OVS_NSH_KEY_ATTR_MD1, 16), out, K.NSH_CONTEXT, 4);
  header(view, nest, OVS_KEY_ATTR_NSH, at - nest - 4);
  return at;
}

/** L4 attributes (spec/keys K-263). */
function transport(view: DataView, at: number, key: Int32Array, out: Int32Array, type: number): number {
  if ((key[K.IP] & 0xff) === OVS_FRAG_TYPE_LATER) return at;
  switch (key[K.IP] >>> 24) {
    case IpProto.TCP:
      at = be32(view, at, OVS_KEY_ATTR_TCP, out[K.TP]);
      return be16(view, at, OVS_KEY_ATTR_TCP_FLAGS, out[K.TCP_FLAGS]);
    case IpProto.UDP:
      return be32(view, at, OVS_KEY_ATTR_UDP, out[K.TP]);
    case IpProto.SCTP:
      return be32(view, at, OVS_KEY_ATTR_SCTP, out[K.TP]);
    case IpProto.ICMP:
      return type === ETH_P_IP ? be16(view, at, OVS_KEY_ATTR_ICMP, icmp(out[K.TP])) : at;
    case IpProto.ICMPV6: {
      if (type !== ETH_P_IPV6) return at;
      at = be16(view, at, OVS_KEY_ATTR_ICMPV6, icmp(out[K.TP]));
      const icmpType = key[K.TP] >>> 16;
      if (
        icmpType !== icmpv6.Icmpv6Type.NEIGHBOUR_SOLICITATION &&
        icmpType !== icmpv6.Icmpv6Type.NEIGHBOUR_ADVERTISEMENT
      )
        return at;
      return words(view, header(view, at, OVS_KEY_ATTR_ND, 28), out, K.ND_TARGET, 7);
    }
    default:
      return at;
  }
}

/** Type and code, kept in sixteen bits each, as two bytes. */
const icmp = (word: number): number => ((word >>> 8) & 0xff00) | (word & 0xff);
