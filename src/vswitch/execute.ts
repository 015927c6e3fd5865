/**
 * The slow path: sets ARP, ICMP and ND fields, which the datapath cannot, on the packet in user space, and gives the other
 * actions to the datapath. Other set, push and pop actions may run before or after that; actions that send may not.
 */
import { AttributeReader } from "../netlink/reader.ts";
import * as ovs from "../uapi/openvswitch.ts";

/** Executes actions on a packet in the datapath. */
type Run = (packet: Uint8Array, actions: Uint8Array) => void;

const HELPED: ReadonlySet<number> = new Set([
  ovs.OVS_KEY_ATTR_ARP,
  ovs.OVS_KEY_ATTR_ICMP,
  ovs.OVS_KEY_ATTR_ICMPV6,
  ovs.OVS_KEY_ATTR_ND,
]);
const CHANGES: ReadonlySet<number> = new Set([
  ovs.OVS_ACTION_ATTR_SET,
  ovs.OVS_ACTION_ATTR_SET_MASKED,
  ovs.OVS_ACTION_ATTR_PUSH_VLAN,
  ovs.OVS_ACTION_ATTR_POP_VLAN,
  ovs.OVS_ACTION_ATTR_PUSH_MPLS,
  ovs.OVS_ACTION_ATTR_POP_MPLS,
]);

/** Runs datapath actions on a packet. @param run is called for each part that the datapath does */
export function executeWithHelp(packet: Uint8Array, actions: Uint8Array, run: Run): void {
  const state = new Execution(packet, run);
  state.list(actions);
  state.flush();
}

class Execution {
  private pending: Uint8Array[] = [];
  private sends = false;

  constructor(
    private packet: Uint8Array,
    private readonly run: Run,
  ) {}

  list(actions: Uint8Array): void {
    const reader = new AttributeReader(
      new DataView(actions.buffer, actions.byteOffset, actions.length),
      0,
      actions.length,
    );
    while (reader.next()) {
      const whole = actions.subarray(reader.offset - 4, reader.offset + ((reader.length + 3) & ~3));
      const { type } = reader;
      if (type === ovs.OVS_ACTION_ATTR_SET || type === ovs.OVS_ACTION_ATTR_SET_MASKED) {
        const key = reader.nested();
        if (key.next() && HELPED.has(key.type)) {
          this.flush();
          this.packet = this.packet.slice();
          const both = key.bytes();
          const size = type === ovs.OVS_ACTION_ATTR_SET_MASKED ? both.length >> 1 : both.length;
          const mask = size < both.length ? both.subarray(size) : new Uint8Array(size).fill(0xff);
          setField(this.packet, key.type, both.subarray(0, size), mask);
          continue;
        }
      } else if (type === ovs.OVS_ACTION_ATTR_CLONE && hasHelped(reader.bytes())) {
        this.flush();
        const inner = new Execution(this.packet, this.run);
        inner.pending = [...this.pending];
        inner.list(reader.bytes());
        inner.flush();
        continue;
      } else if (type === ovs.OVS_ACTION_ATTR_CHECK_PKT_LEN && hasHelped(reader.bytes())) {
        let limit = 0;
        const branches = new Map<number, Uint8Array>();
        for (const part = reader.nested(); part.next(); ) {
          if (part.type === ovs.OVS_CHECK_PKT_LEN_ATTR_PKT_LEN) limit = part.u16();
          else branches.set(part.type, part.bytes());
        }
        const taken =
          this.packet.length > limit
            ? ovs.OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_GREATER
            : ovs.OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_LESS_EQUAL;
        this.list(branches.get(taken) ?? new Uint8Array(0));
        continue;
      }
      this.pending.push(whole);
      if (!CHANGES.has(type)) this.sends = true;
    }
  }

  /** Runs the pending actions if any of them sends; those that change the packet stay pending for the next part. */
  flush(): void {
    if (!this.sends) return;
    const total = this.pending.reduce((sum, a) => sum + a.length, 0);
    const actions = new Uint8Array(total);
    let at = 0;
    for (const action of this.pending) {
      actions.set(action, at);
      at += action.length;
    }
    this.run(this.packet, actions);
    this.pending = this.pending.filter((a) => CHANGES.has((a[2] | (a[3] << 8)) & 0x3fff));
    this.sends = false;
  }
}

function hasHelped(actions: Uint8Array): boolean {
  const reader = new AttributeReader(
    new DataView(actions.buffer, actions.byteOffset, actions.length),
    0,
    actions.length,
  );
  while (reader.next()) {
    const { type } = reader;
    if (type === ovs.OVS_ACTION_ATTR_SET || type === ovs.OVS_ACTION_ATTR_SET_MASKED) {
      const key = reader.nested();
      if (key.next() && HELPED.has(key.type)) return true;
    } else if (type === ovs.OVS_ACTION_ATTR_CLONE) {
      if (hasHelped(reader.bytes())) return true;
    } else if (type === ovs.OVS_ACTION_ATTR_CHECK_PKT_LEN) {
      for (const part = reader.nested(); part.next(); ) {
        if (part.type !== ovs.OVS_CHECK_PKT_LEN_ATTR_PKT_LEN && hasHelped(part.bytes())) return true;
      }
    }
  }
  return false;
}

/** Copies masked bytes. */
function blend(packet: Uint8Array, at: number, value: Uint8Array, mask: Uint8Array, from: number, size: number): void {
  for (let i = 0; i < size; i++) {
    packet[at + i] = (packet[at + i] & ~mask[from + i]) | (value[from + i] & mask[from + i]);
  }
}

/** Sets fields of an OVS_KEY_ATTR_* in a frame; a frame without that header stays as it is. */
function setField(packet: Uint8Array, type: number, value: Uint8Array, mask: Uint8Array): void {
  let at = 12;
  let ethertype = be16(packet, at);
  while ((ethertype === 0x8100 || ethertype === 0x88a8) && at + 6 <= packet.length) {
    at += 4;
    ethertype = be16(packet, at);
  }
  at += 2;
  if (type === ovs.OVS_KEY_ATTR_ARP) {
    if ((ethertype !== 0x0806 && ethertype !== 0x8035) || at + 28 > packet.length) return;
    // RFC 826 for Ethernet and IPv4: op at 6, sha 8, spa 14, tha 18, tpa 24.
    blend(packet, at + 6, value, mask, 8, 2);
    blend(packet, at + 8, value, mask, 10, 6);
    blend(packet, at + 14, value, mask, 0, 4);
    blend(packet, at + 18, value, mask, 16, 6);
    blend(packet, at + 24, value, mask, 4, 4);
    return;
  }
  const l4 = type === ovs.OVS_KEY_ATTR_ICMP ? icmpOffset(packet, at, ethertype) : icmpv6Offset(packet, at, ethertype);
  if (l4 < 0 || l4 + 8 > packet.length) return;
  const before = packet.slice(l4);
  if (type !== ovs.OVS_KEY_ATTR_ND) blend(packet, l4, value, mask, 0, 2);
  else if (l4 + 24 <= packet.length) {
    blend(packet, l4 + 8, value, mask, 0, 16);
    for (let option = l4 + 24; option + 8 <= packet.length; ) {
      const length = packet[option + 1] * 8;
      if (length === 0) break;
      if (length === 8 && packet[option] === 1) blend(packet, option + 2, value, mask, 16, 6);
      if (length === 8 && packet[option] === 2) blend(packet, option + 2, value, mask, 22, 6);
      option += length;
    }
  }
  patchChecksum(packet, l4, before);
}

function be16(packet: Uint8Array, at: number): number {
  return (packet[at] << 8) | packet[at + 1];
}

function icmpOffset(packet: Uint8Array, at: number, ethertype: number): number {
  if (ethertype !== 0x0800 || at + 20 > packet.length || packet[at + 9] !== 1) return -1;
  return be16(packet, at + 6) & 0x1fff ? -1 : at + (packet[at] & 15) * 4;
}

function icmpv6Offset(packet: Uint8Array, at: number, ethertype: number): number {
  if (ethertype !== 0x86dd || at + 40 > packet.length) return -1;
  let next = packet[at + 6];
  let offset = at + 40;
  // Hop-by-hop, routing and destination options are the headers that may precede ICMPv6 in unfragmented packets.
  while ((next === 0 || next === 43 || next === 60) && offset + 8 <= packet.length) {
    next = packet[offset];
    offset += (packet[offset + 1] + 1) * 8;
  }
  return next === 58 ? offset : -1;
}

/** RFC 1624: the ICMP checksum at offset 2, after words that follow `l4` have changed. */
function patchChecksum(packet: Uint8Array, l4: number, before: Uint8Array): void {
  let sum = ~be16(packet, l4 + 2) & 0xffff;
  for (let i = 0; i + 1 < before.length; i += 2) {
    if (i === 2) continue;
    const was = be16(before, i);
    const is = be16(packet, l4 + i);
    if (was === is) continue;
    sum += (~was & 0xffff) + is;
    sum = (sum & 0xffff) + (sum >>> 16);
  }
  sum = (sum & 0xffff) + (sum >>> 16);
  const checksum = ~sum & 0xffff;
  packet[l4 + 2] = checksum >> 8;
  packet[l4 + 3] = checksum & 0xff;
}
