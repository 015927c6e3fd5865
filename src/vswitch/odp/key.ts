/** Flows as the datapath writes them: OVS_KEY_ATTR_* (spec/keys sections 1 and 15). */
import { AttributeReader } from "../../netlink/reader.ts";
import type { MessageWriter } from "../../netlink/writer.ts";
import * as ovs from "../../uapi/openvswitch.ts";
import {
  ETH_TYPE_NONE,
  FLOW_NW_FRAG_ANY,
  FLOW_NW_FRAG_LATER,
  type Flow,
  FlowAt,
  isVlanType,
  VLAN_CFI,
} from "../flow.ts";

/** Datapath port of a key without OVS_KEY_ATTR_IN_PORT. */
export const ODPP_NONE = 0xffffffff;

/**
 * Reads the nest of a key. IN_PORT of the flow is left 0: port numbers differ between OpenFlow and the datapath.
 * @returns the datapath's port number
 */
export function readKey(bytes: Uint8Array, flow: Flow): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return readLevel(new AttributeReader(view, 0, bytes.length), flow, 0);
}

function readLevel(reader: AttributeReader, flow: Flow, vlanLevel: number): number {
  let port = ODPP_NONE;
  let ethertype = -1;
  let encap: AttributeReader | null = null;
  let tci = 0;
  while (reader.next()) {
    const at = reader.offset;
    const { view } = reader;
    const copy = (target: number, from: number, size: number) => {
      for (let i = 0; i < size; i++) flow.bytes[target + i] = view.getUint8(at + from + i);
    };
    switch (reader.type) {
      case ovs.OVS_KEY_ATTR_RECIRC_ID:
        flow.put32(FlowAt.RECIRC_ID, reader.u32());
        break;
      case ovs.OVS_KEY_ATTR_DP_HASH:
        flow.put32(FlowAt.DP_HASH, reader.u32());
        break;
      case ovs.OVS_KEY_ATTR_PRIORITY:
        flow.put32(FlowAt.SKB_PRIORITY, reader.u32());
        break;
      case ovs.OVS_KEY_ATTR_IN_PORT:
        port = reader.u32();
        break;
      case ovs.OVS_KEY_ATTR_SKB_MARK:
        flow.put32(FlowAt.PKT_MARK, reader.u32());
        break;
      case ovs.OVS_KEY_ATTR_CT_STATE:
        flow.put32(FlowAt.CT_STATE, reader.u32());
        break;
      case ovs.OVS_KEY_ATTR_CT_ZONE:
        flow.put16(FlowAt.CT_ZONE, reader.u16());
        break;
      case ovs.OVS_KEY_ATTR_CT_MARK:
        flow.put32(FlowAt.CT_MARK, reader.u32());
        break;
      case ovs.OVS_KEY_ATTR_CT_LABELS:
        // The kernel's label bit 0 is the lowest of the first byte; OpenFlow writes the number big-endian.
        for (let i = 0; i < 16; i++) flow.bytes[FlowAt.CT_LABEL + 15 - i] = view.getUint8(at + i);
        break;
      case ovs.OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4:
        copy(FlowAt.CT_NW_SRC, 0, 8);
        copy(FlowAt.CT_TP_SRC, 8, 4);
        copy(FlowAt.CT_NW_PROTO, 12, 1);
        break;
      case ovs.OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6:
        copy(FlowAt.CT_IPV6_SRC, 0, 32);
        copy(FlowAt.CT_TP_SRC, 32, 4);
        copy(FlowAt.CT_NW_PROTO, 36, 1);
        break;
      case ovs.OVS_KEY_ATTR_ETHERNET:
        flow.put8(FlowAt.IS_ETH, 1);
        copy(FlowAt.DL_SRC, 0, 6);
        copy(FlowAt.DL_DST, 6, 6);
        break;
      case ovs.OVS_KEY_ATTR_ETHERTYPE:
        ethertype = reader.be16();
        break;
      case ovs.OVS_KEY_ATTR_VLAN:
        tci = reader.be16();
        break;
      case ovs.OVS_KEY_ATTR_ENCAP:
        encap = reader.nested();
        break;
      case ovs.OVS_KEY_ATTR_IPV4:
        copy(FlowAt.NW_SRC, 0, 8);
        readIp(flow, view, at + 8);
        break;
      case ovs.OVS_KEY_ATTR_IPV6:
        copy(FlowAt.IPV6_SRC, 0, 36 - 4);
        copy(FlowAt.IPV6_LABEL, 32, 4);
        readIp(flow, view, at + 36);
        break;
      case ovs.OVS_KEY_ATTR_ARP:
        copy(FlowAt.NW_SRC, 0, 8);
        flow.put8(FlowAt.NW_PROTO, view.getUint8(at + 9));
        copy(FlowAt.ARP_SHA, 10, 12);
        break;
      case ovs.OVS_KEY_ATTR_MPLS:
        copy(FlowAt.MPLS, 0, Math.min(reader.length, 12));
        break;
      case ovs.OVS_KEY_ATTR_TCP:
      case ovs.OVS_KEY_ATTR_UDP:
      case ovs.OVS_KEY_ATTR_SCTP:
        copy(FlowAt.TP_SRC, 0, 4);
        break;
      case ovs.OVS_KEY_ATTR_TCP_FLAGS:
        flow.put16(FlowAt.TCP_FLAGS, reader.be16() & 0xfff);
        break;
      case ovs.OVS_KEY_ATTR_ICMP:
      case ovs.OVS_KEY_ATTR_ICMPV6:
        flow.put16(FlowAt.TP_SRC, view.getUint8(at));
        flow.put16(FlowAt.TP_DST, view.getUint8(at + 1));
        break;
      case ovs.OVS_KEY_ATTR_ND:
        copy(FlowAt.ND_TARGET, 0, 16);
        copy(FlowAt.ARP_SHA, 16, 12);
        break;
    }
  }
  if (encap && vlanLevel < 2 && isVlanType(ethertype) && tci & VLAN_CFI) {
    flow.put16(FlowAt.VLAN0_TPID + 4 * vlanLevel, ethertype);
    flow.put16(FlowAt.VLAN0_TCI + 4 * vlanLevel, tci);
    readLevel(encap, flow, vlanLevel + 1);
  } else if (ethertype >= 0) flow.put16(FlowAt.DL_TYPE, ethertype);
  else flow.put16(FlowAt.DL_TYPE, ETH_TYPE_NONE);
  return port;
}

/** proto, tos, ttl, frag: the common end of OVS_KEY_ATTR_IPV4 and IPV6. */
function readIp(flow: Flow, view: DataView, at: number): void {
  flow.put8(FlowAt.NW_PROTO, view.getUint8(at));
  flow.put8(FlowAt.NW_TOS, view.getUint8(at + 1));
  flow.put8(FlowAt.NW_TTL, view.getUint8(at + 2));
  const frag = view.getUint8(at + 3);
  flow.put8(
    FlowAt.NW_FRAG,
    frag === ovs.OVS_FRAG_TYPE_FIRST
      ? FLOW_NW_FRAG_ANY
      : frag === ovs.OVS_FRAG_TYPE_LATER
        ? FLOW_NW_FRAG_ANY | FLOW_NW_FRAG_LATER
        : 0,
  );
}

function put(writer: MessageWriter, type: number, source: Flow, ...parts: number[]): void {
  let size = 0;
  for (let i = 1; i < parts.length; i += 2) size += parts[i];
  let at = writer.attr(type, size);
  for (let i = 0; i < parts.length; i += 2) {
    writer.bytes.set(source.bytes.subarray(parts[i], parts[i] + parts[i + 1]), at);
    at += parts[i + 1];
  }
}

function putLabels(writer: MessageWriter, source: Flow): void {
  const at = writer.attr(ovs.OVS_KEY_ATTR_CT_LABELS, 16);
  for (let i = 0; i < 16; i++) writer.bytes[at + i] = source.bytes[FlowAt.CT_LABEL + 15 - i];
}

/** Writes metadata attributes. @param source the key itself, or a mask */
function putMetadata(writer: MessageWriter, key: Flow, source: Flow, inPort: number): void {
  writer.u32(ovs.OVS_KEY_ATTR_PRIORITY, source.u32(FlowAt.SKB_PRIORITY));
  writer.u32(ovs.OVS_KEY_ATTR_SKB_MARK, source.u32(FlowAt.PKT_MARK));
  writer.u32(ovs.OVS_KEY_ATTR_CT_STATE, source.u32(FlowAt.CT_STATE));
  writer.u16(ovs.OVS_KEY_ATTR_CT_ZONE, source.u16(FlowAt.CT_ZONE));
  writer.u32(ovs.OVS_KEY_ATTR_CT_MARK, source.u32(FlowAt.CT_MARK));
  putLabels(writer, source);
  if (key.u8(FlowAt.CT_NW_PROTO)) {
    if (!key.isZero(FlowAt.CT_IPV6_SRC, 32)) {
      put(
        writer,
        ovs.OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6,
        source,
        FlowAt.CT_IPV6_SRC,
        32,
        FlowAt.CT_TP_SRC,
        4,
        FlowAt.CT_NW_PROTO,
        1,
        FlowAt.PAD4,
        3,
      );
    } else {
      put(
        writer,
        ovs.OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4,
        source,
        FlowAt.CT_NW_SRC,
        8,
        FlowAt.CT_TP_SRC,
        4,
        FlowAt.CT_NW_PROTO,
        1,
        FlowAt.PAD4,
        3,
      );
    }
  }
  writer.u32(ovs.OVS_KEY_ATTR_RECIRC_ID, source.u32(FlowAt.RECIRC_ID));
  writer.u32(ovs.OVS_KEY_ATTR_DP_HASH, source.u32(FlowAt.DP_HASH));
  if (inPort !== ODPP_NONE || source !== key) writer.u32(ovs.OVS_KEY_ATTR_IN_PORT, inPort);
}

/**
 * Writes the metadata attributes of a packet, as OVS_PACKET_CMD_EXECUTE takes them (spec/upcalls U-063, U-064).
 * @param inPort the datapath's port number
 */
export function writeMetadata(writer: MessageWriter, flow: Flow, inPort: number): void {
  putMetadata(writer, flow, flow, inPort);
}

/** Writes a whole key. */
export function writeKey(writer: MessageWriter, flow: Flow, inPort: number): void {
  putMetadata(writer, flow, flow, inPort);
  putPacket(writer, flow, flow, false);
}

/**
 * Writes the mask of a flow. Attributes are those of the key, payloads the mask's (spec/keys section 3).
 * @param key decides which attributes there are
 */
export function writeMask(writer: MessageWriter, key: Flow, mask: Flow): void {
  putMetadata(writer, key, mask, mask.u32(FlowAt.IN_PORT) ? 0xffffffff : 0);
  putPacket(writer, key, mask, true);
}

function putPacket(writer: MessageWriter, key: Flow, source: Flow, isMask: boolean): void {
  if (key.u8(FlowAt.IS_ETH)) put(writer, ovs.OVS_KEY_ATTR_ETHERNET, source, FlowAt.DL_SRC, 6, FlowAt.DL_DST, 6);
  const nests: number[] = [];
  for (let level = 0; level < key.vlanCount; level++) {
    writer.be16(ovs.OVS_KEY_ATTR_ETHERTYPE, isMask ? 0xffff : key.u16(FlowAt.VLAN0_TPID + 4 * level));
    // The datapath insists that the bit of a present tag is matched (spec/keys K-118, K-120).
    writer.be16(ovs.OVS_KEY_ATTR_VLAN, source.u16(FlowAt.VLAN0_TCI + 4 * level) | VLAN_CFI);
    nests.push(writer.nest(ovs.OVS_KEY_ATTR_ENCAP));
  }
  const type = key.u16(FlowAt.DL_TYPE);
  if (type !== ETH_TYPE_NONE) writer.be16(ovs.OVS_KEY_ATTR_ETHERTYPE, source.u16(FlowAt.DL_TYPE));
  else if (isMask) writer.be16(ovs.OVS_KEY_ATTR_ETHERTYPE, 0xffff);
  if (type === 0x0800 || type === 0x86dd) {
    const v4 = type === 0x0800;
    const size = v4 ? 12 : 40;
    const at = writer.attr(v4 ? ovs.OVS_KEY_ATTR_IPV4 : ovs.OVS_KEY_ATTR_IPV6, size);
    const bytes = writer.bytes;
    if (v4) bytes.set(source.bytes.subarray(FlowAt.NW_SRC, FlowAt.NW_SRC + 8), at);
    else {
      bytes.set(source.bytes.subarray(FlowAt.IPV6_SRC, FlowAt.IPV6_SRC + 32), at);
      bytes.set(source.bytes.subarray(FlowAt.IPV6_LABEL, FlowAt.IPV6_LABEL + 4), at + 32);
    }
    bytes[at + size - 4] = source.u8(FlowAt.NW_PROTO);
    bytes[at + size - 3] = source.u8(FlowAt.NW_TOS);
    bytes[at + size - 2] = source.u8(FlowAt.NW_TTL);
    const frag = source.u8(FlowAt.NW_FRAG);
    if (isMask) bytes[at + size - 1] = frag ? 0xff : 0;
    else {
      bytes[at + size - 1] =
        frag & FLOW_NW_FRAG_LATER ? ovs.OVS_FRAG_TYPE_LATER : frag & FLOW_NW_FRAG_ANY ? ovs.OVS_FRAG_TYPE_FIRST : 0;
    }
    if (!key.isLaterFragment) putTransport(writer, key, source, isMask, v4);
  } else if (type === 0x0806 || type === 0x8035) {
    const at = writer.attr(ovs.OVS_KEY_ATTR_ARP, 24);
    writer.bytes.set(source.bytes.subarray(FlowAt.NW_SRC, FlowAt.NW_SRC + 8), at);
    writer.view.setUint16(at + 8, isMask && source.u8(FlowAt.NW_PROTO) ? 0xffff : source.u8(FlowAt.NW_PROTO));
    writer.bytes.set(source.bytes.subarray(FlowAt.ARP_SHA, FlowAt.ARP_SHA + 12), at + 10);
    writer.view.setUint16(at + 22, 0);
  } else if (key.isMpls) {
    const labels = mplsDepth(key);
    if (labels > 0) put(writer, ovs.OVS_KEY_ATTR_MPLS, source, FlowAt.MPLS, 4 * labels);
  }
  for (const nest of nests.reverse()) writer.endNest(nest);
}

function putTransport(writer: MessageWriter, key: Flow, source: Flow, isMask: boolean, v4: boolean): void {
  switch (key.u8(FlowAt.NW_PROTO)) {
    case 6:
      put(writer, ovs.OVS_KEY_ATTR_TCP, source, FlowAt.TP_SRC, 4);
      writer.be16(ovs.OVS_KEY_ATTR_TCP_FLAGS, source.u16(FlowAt.TCP_FLAGS));
      break;
    case 17:
      put(writer, ovs.OVS_KEY_ATTR_UDP, source, FlowAt.TP_SRC, 4);
      break;
    case 132:
      put(writer, ovs.OVS_KEY_ATTR_SCTP, source, FlowAt.TP_SRC, 4);
      break;
    case 1:
      if (v4) put(writer, ovs.OVS_KEY_ATTR_ICMP, source, FlowAt.TP_SRC + 1, 1, FlowAt.TP_DST + 1, 1);
      break;
    case 58: {
      if (v4) break;
      put(writer, ovs.OVS_KEY_ATTR_ICMPV6, source, FlowAt.TP_SRC + 1, 1, FlowAt.TP_DST + 1, 1);
      // The key has ND for both types whatever the code; a mask of it needs the type exact (spec/keys K-069, K-086).
      const type = key.u16(FlowAt.TP_SRC);
      if ((type === 135 || type === 136) && (!isMask || source.u8(FlowAt.TP_SRC + 1) === 0xff)) {
        put(writer, ovs.OVS_KEY_ATTR_ND, source, FlowAt.ND_TARGET, 16, FlowAt.ARP_SHA, 12);
      }
    }
  }
}

/** Label stack entries that a flow holds: up to the bottom of the stack, at most three. */
export function mplsDepth(flow: Flow): number {
  for (let i = 0; i < 3; i++) {
    const lse = flow.u32(FlowAt.MPLS + 4 * i);
    if (lse & 0x100) return i + 1;
    if (lse === 0) return i;
  }
  return 3;
}
