/**
 * Writes datapath actions for the difference between a flow as the actions want it and the packet as the actions written
 * so far leave it, before each output. Only bits that were consulted or set are written (OVS_ACTION_ATTR_SET_MASKED).
 */
import type { MessageWriter } from "../../netlink/writer.ts";
import * as ovs from "../../uapi/openvswitch.ts";
import { ETH_TYPE_IP, ETH_TYPE_IPV6, type Flow, FlowAt, isMplsType, VLAN_CFI } from "../flow.ts";
import { mplsDepth } from "../odp/key.ts";

/** Parts of a key attribute: offset in the flow, bytes, offset in the attribute. */
interface Layout {
  readonly type: number;
  readonly size: number;
  readonly parts: readonly (readonly [flow: number, size: number, attribute: number])[];
}

const ethernet: Layout = {
  type: ovs.OVS_KEY_ATTR_ETHERNET,
  size: 12,
  parts: [
    [FlowAt.DL_SRC, 6, 0],
    [FlowAt.DL_DST, 6, 6],
  ],
};
const ipv4: Layout = {
  type: ovs.OVS_KEY_ATTR_IPV4,
  size: 12,
  parts: [
    [FlowAt.NW_SRC, 4, 0],
    [FlowAt.NW_DST, 4, 4],
    [FlowAt.NW_TOS, 1, 9],
    [FlowAt.NW_TTL, 1, 10],
  ],
};
const ipv6: Layout = {
  type: ovs.OVS_KEY_ATTR_IPV6,
  size: 40,
  parts: [
    [FlowAt.IPV6_SRC, 16, 0],
    [FlowAt.IPV6_DST, 16, 16],
    [FlowAt.IPV6_LABEL, 4, 32],
    [FlowAt.NW_TOS, 1, 37],
    [FlowAt.NW_TTL, 1, 38],
  ],
};
const arp: Layout = {
  type: ovs.OVS_KEY_ATTR_ARP,
  size: 24,
  parts: [
    [FlowAt.NW_SRC, 4, 0],
    [FlowAt.NW_DST, 4, 4],
    [FlowAt.NW_PROTO, 1, 9],
    [FlowAt.ARP_SHA, 6, 10],
    [FlowAt.ARP_THA, 6, 16],
  ],
};
const ports = (type: number): Layout => ({
  type,
  size: 4,
  parts: [
    [FlowAt.TP_SRC, 2, 0],
    [FlowAt.TP_DST, 2, 2],
  ],
});
const tcp = ports(ovs.OVS_KEY_ATTR_TCP);
const udp = ports(ovs.OVS_KEY_ATTR_UDP);
const sctp = ports(ovs.OVS_KEY_ATTR_SCTP);
const icmpParts: Layout["parts"] = [
  [FlowAt.TP_SRC + 1, 1, 0],
  [FlowAt.TP_DST + 1, 1, 1],
];
const icmp: Layout = { type: ovs.OVS_KEY_ATTR_ICMP, size: 2, parts: icmpParts };
const icmpv6: Layout = { type: ovs.OVS_KEY_ATTR_ICMPV6, size: 2, parts: icmpParts };
const nd: Layout = {
  type: ovs.OVS_KEY_ATTR_ND,
  size: 28,
  parts: [
    [FlowAt.ND_TARGET, 16, 0],
    [FlowAt.ARP_SHA, 6, 16],
    [FlowAt.ARP_THA, 6, 22],
  ],
};

function same(a: Flow, b: Flow, at: number, size: number): boolean {
  for (let i = at; i < at + size; i++) if (a.bytes[i] !== b.bytes[i]) return false;
  return true;
}

/**
 * Writes a set action for those parts that differ.
 * @returns whether there were any
 */
function commitLayout(layout: Layout, flow: Flow, base: Flow, wc: Flow, writer: MessageWriter): boolean {
  const { type, size, parts } = layout;
  if (parts.every(([at, length]) => same(flow, base, at, length))) return false;
  // The slow path sets ICMP type and code together.
  if (parts === icmpParts) for (const [at, length] of parts) wc.fill(at, length, 0xff);
  const key = new Uint8Array(size);
  const mask = new Uint8Array(size);
  let whole = 0;
  for (const [at, length, to] of parts) {
    key.set(flow.bytes.subarray(at, at + length), to);
    if (same(flow, base, at, length) && parts !== icmpParts) continue;
    for (let i = 0; i < length; i++) {
      // Changed bits are set even where they were not marked as consulted.
      const bits = wc.bytes[at + i] | (flow.bytes[at + i] ^ base.bytes[at + i]);
      mask[to + i] = bits;
      if (bits === 0xff) whole++;
    }
    base.bytes.set(flow.bytes.subarray(at, at + length), at);
  }
  // The attribute's operation has 16 bits, of which a flow holds the lower 8.
  if (type === ovs.OVS_KEY_ATTR_ARP) mask[8] = mask[9];
  if (whole === size) {
    const nest = writer.nest(ovs.OVS_ACTION_ATTR_SET);
    writer.raw(type, key);
    writer.endNest(nest);
  } else {
    const nest = writer.nest(ovs.OVS_ACTION_ATTR_SET_MASKED);
    const both = new Uint8Array(2 * size);
    for (let i = 0; i < size; i++) both[i] = key[i] & mask[i];
    both.set(mask, size);
    writer.raw(type, both);
    writer.endNest(nest);
  }
  return true;
}

/**
 * Writes what is needed for the packet to be as `flow` says; `base` is that afterwards.
 * @returns whether something was set that the datapath cannot set: the slow path must
 */
export function commit(flow: Flow, base: Flow, wc: Flow, writer: MessageWriter): boolean {
  let slow = false;
  commitLayout(ethernet, flow, base, wc, writer);
  // Pop MPLS first: what is set below is behind the labels.
  const leavesMpls = base.isMpls && !flow.isMpls;
  if (leavesMpls) commitMpls(flow, base, writer);
  const type = base.u16(FlowAt.DL_TYPE);
  if (!flow.isMpls) {
    if (type === ETH_TYPE_IP || type === ETH_TYPE_IPV6) {
      if (commitLayout(type === ETH_TYPE_IP ? ipv4 : ipv6, flow, base, wc, writer)) wc.put8(FlowAt.NW_PROTO, 0xff);
      if (base.hasL4) {
        switch (base.u8(FlowAt.NW_PROTO)) {
          case 6:
            commitLayout(tcp, flow, base, wc, writer);
            break;
          case 17:
            commitLayout(udp, flow, base, wc, writer);
            break;
          case 132:
            commitLayout(sctp, flow, base, wc, writer);
            break;
          case 1:
            if (type === ETH_TYPE_IP && commitLayout(icmp, flow, base, wc, writer)) slow = true;
            break;
          case 58:
            if (type !== ETH_TYPE_IPV6) break;
            if (base.isNd && commitLayout(nd, flow, base, wc, writer)) slow = true;
            if (commitLayout(icmpv6, flow, base, wc, writer)) slow = true;
        }
      }
    } else if (base.isArp && commitLayout(arp, flow, base, wc, writer)) slow = true;
  }
  if (!leavesMpls) commitMpls(flow, base, writer);
  commitVlan(flow, base, wc, writer);
  commitMetadata(FlowAt.SKB_PRIORITY, ovs.OVS_KEY_ATTR_PRIORITY, flow, base, wc, writer);
  commitMetadata(FlowAt.PKT_MARK, ovs.OVS_KEY_ATTR_SKB_MARK, flow, base, wc, writer);
  return slow;
}

function commitMetadata(at: number, type: number, flow: Flow, base: Flow, wc: Flow, writer: MessageWriter): void {
  const value = flow.u32(at);
  if (value === base.u32(at)) return;
  const mask = (wc.u32(at) | (value ^ base.u32(at))) >>> 0;
  const nest = writer.nest(mask === 0xffffffff ? ovs.OVS_ACTION_ATTR_SET : ovs.OVS_ACTION_ATTR_SET_MASKED);
  if (mask === 0xffffffff) writer.u32(type, value);
  else {
    const to = writer.attr(type, 8);
    writer.view.setUint32(to, (value & mask) >>> 0, true);
    writer.view.setUint32(to + 4, mask, true);
  }
  writer.endNest(nest);
  base.put32(at, value);
}

/** Tags that both have in common, from the innermost on, stay; the rest of base's are popped, then flow's pushed. */
function commitVlan(flow: Flow, base: Flow, wc: Flow, writer: MessageWriter): void {
  let have = base.vlanCount;
  let want = flow.vlanCount;
  while (have > 0 && want > 0) {
    if (base.u32(FlowAt.VLAN0_TPID + 4 * (have - 1)) !== flow.u32(FlowAt.VLAN0_TPID + 4 * (want - 1))) break;
    have--;
    want--;
  }
  if (have > 0 || want > 0) wc.fill(FlowAt.VLAN0_TPID, 8, 0xff);
  for (; have > 0; have--) writer.flag(ovs.OVS_ACTION_ATTR_POP_VLAN);
  for (; want > 0; want--) {
    const at = writer.attr(ovs.OVS_ACTION_ATTR_PUSH_VLAN, 4);
    writer.view.setUint16(at, flow.u16(FlowAt.VLAN0_TPID + 4 * (want - 1)));
    writer.view.setUint16(at + 2, flow.u16(FlowAt.VLAN0_TCI + 4 * (want - 1)) | VLAN_CFI);
  }
  base.bytes.set(flow.bytes.subarray(FlowAt.VLAN0_TPID, FlowAt.MPLS), FlowAt.VLAN0_TPID);
}

function commitMpls(flow: Flow, base: Flow, writer: MessageWriter): void {
  let have = base.isMpls ? mplsDepth(base) : 0;
  const want = flow.isMpls ? mplsDepth(flow) : 0;
  let common = 0;
  while (common < have && common < want && lse(base, have - 1 - common) === lse(flow, want - 1 - common)) common++;
  const labels = Array.from({ length: have }, (_, i) => lse(base, i));
  while (have > common) {
    if (have - 1 === common && want > common) {
      const nest = writer.nest(ovs.OVS_ACTION_ATTR_SET);
      writer.be32(ovs.OVS_KEY_ATTR_MPLS, lse(flow, want - have));
      writer.endNest(nest);
      labels[0] = lse(flow, want - have);
      common++;
      break;
    }
    const below = have === 1 && !flow.isMpls ? flow.u16(FlowAt.DL_TYPE) : base.u16(FlowAt.DL_TYPE);
    writer.be16(ovs.OVS_ACTION_ATTR_POP_MPLS, below);
    labels.shift();
    have--;
  }
  for (; have < want; have++) {
    // struct ovs_action_push_mpls: be32 label stack entry, be16 EtherType, two bytes of padding.
    const at = writer.attr(ovs.OVS_ACTION_ATTR_PUSH_MPLS, 8);
    writer.view.setUint32(at, lse(flow, want - have - 1));
    writer.view.setUint16(at + 4, flow.u16(FlowAt.DL_TYPE));
    writer.view.setUint16(at + 6, 0);
  }
  if (base.isMpls || flow.isMpls) {
    base.bytes.set(flow.bytes.subarray(FlowAt.MPLS, FlowAt.MPLS + 12), FlowAt.MPLS);
    base.put16(FlowAt.DL_TYPE, flow.u16(FlowAt.DL_TYPE));
  }
}

function lse(flow: Flow, index: number): number {
  return flow.u32(FlowAt.MPLS + 4 * index);
}

/** Puts a tag in front; a third tag is not in the key any more. */
export function flowPushVlan(flow: Flow, tpid: number, tci: number, wc: Flow | null): void {
  wc?.fill(FlowAt.VLAN0_TPID, 4 * flow.vlanCount, 0xff);
  flow.bytes.copyWithin(FlowAt.VLAN1_TPID, FlowAt.VLAN0_TPID, FlowAt.VLAN0_TPID + 4);
  flow.put16(FlowAt.VLAN0_TPID, tpid);
  flow.put16(FlowAt.VLAN0_TCI, tci);
}

/** Takes the outer tag away. */
export function flowPopVlan(flow: Flow, wc: Flow | null): void {
  if (flow.vlanCount === 0) return;
  if (flow.vlanCount > 1) wc?.put32(FlowAt.VLAN1_TPID, 0xffffffff);
  flow.bytes.copyWithin(FlowAt.VLAN0_TPID, FlowAt.VLAN1_TPID, FlowAt.VLAN1_TPID + 4);
  flow.put32(FlowAt.VLAN1_TPID, 0);
}

/** Puts a label in front: a copy of the outer one, or 0 with the packet's own class and TTL. */
export function flowPushMpls(flow: Flow, ethertype: number, wc: Flow): void {
  if (flow.isMpls) {
    const depth = mplsDepth(flow);
    wc.fill(FlowAt.MPLS, 4 * Math.min(depth, 3), 0xff);
    flow.bytes.copyWithin(FlowAt.MPLS + 4, FlowAt.MPLS, FlowAt.MPLS + 8);
    flow.put32(FlowAt.MPLS, (flow.u32(FlowAt.MPLS) & ~0x100) >>> 0);
  } else {
    let label = 0;
    let trafficClass = 0;
    let ttl = 64;
    const type = flow.u16(FlowAt.DL_TYPE);
    if (type === ETH_TYPE_IPV6) label = 2;
    if (flow.isIp) {
      trafficClass = (flow.u8(FlowAt.NW_TOS) & 0xfc) >> 2;
      wc.put8(FlowAt.NW_TOS, wc.u8(FlowAt.NW_TOS) | 0xfc);
      ttl = flow.u8(FlowAt.NW_TTL) || 64;
      wc.put8(FlowAt.NW_TTL, 0xff);
    }
    flow.put32(FlowAt.MPLS, ((label << 12) | ((trafficClass & 7) << 9) | 0x100 | ttl) >>> 0);
    // Headers behind the labels can no longer be matched or set.
    flow.fill(FlowAt.NW_SRC, FlowAt.PAD4 + 4 - FlowAt.NW_SRC, 0);
  }
  flow.put16(FlowAt.DL_TYPE, ethertype);
}

/** Takes the outer label away. */
export function flowPopMpls(flow: Flow, ethertype: number, wc: Flow): boolean {
  const depth = mplsDepth(flow);
  if (depth === 0) return false;
  wc.put32(FlowAt.MPLS, wc.u32(FlowAt.MPLS) | 0x100);
  flow.bytes.copyWithin(FlowAt.MPLS, FlowAt.MPLS + 4, FlowAt.MPLS + 12);
  flow.put32(FlowAt.MPLS + 8, 0);
  if (isMplsType(ethertype) || depth === 1) flow.put16(FlowAt.DL_TYPE, ethertype);
  return depth === 1;
}
