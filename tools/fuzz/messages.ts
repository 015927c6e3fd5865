import type { Conntrack } from "../../src/conntrack/conntrack.ts";
import { Errno } from "../../src/core/errors.ts";
import type { KernelProfile } from "../../src/core/kernel-profile.ts";
import { extractKey } from "../../src/flow/extract/extract.ts";
import { K, newKey } from "../../src/flow/key.ts";
import { putKey, putMask } from "../../src/flow/put.ts";
import { type AnyAttributeSet, INTEGER_SIZE, type NamedAttribute, Rule } from "../../src/netlink/schema/index.ts";
import { MessageWriter } from "../../src/netlink/writer.ts";
import { HEADROOM, PacketMemory } from "../../src/packet/memory.ts";
import { Packet } from "../../src/packet/packet.ts";
import * as ctnetlink from "../../src/schema/ctnetlink.ts";
import { nlctrl } from "../../src/schema/genetlink.ts";
import { dropMonitorAttributes } from "../../src/schema/net-dropmon.ts";
import { natExtensionAttributes } from "../../src/schema/nokmod.ts";
import * as schema from "../../src/schema/openvswitch.ts";
import { psampleMessage } from "../../src/schema/psample.ts";
import { NLM_F_ACK, NLM_F_REQUEST } from "../../src/uapi/netlink.ts";
import * as nf from "../../src/uapi/nfnetlink.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import { attr, validateActions } from "../../test/support/actions.ts";
import type { Chance } from "./chance.ts";
import { structured } from "./frames.ts";
import { flipBytes, joinTlvs, mutateTlvs, type Tlv } from "./tlv.ts";
import { DEVICES, UPCALL_PID } from "./world.ts";

/** A family of generic netlink or a subsystem of nfnetlink. */
export interface Family {
  readonly name: string;
  readonly set: AnyAttributeSet;
  /** Commands are 0 to this. */
  readonly commands: number;
  /** nfnetlink: the subsystem's number. */
  readonly subsystem?: number;
  /** Generic: without ovs_header. */
  readonly bare?: boolean;
}

export const FAMILIES: readonly Family[] = [
  { name: ovs.OVS_DATAPATH_FAMILY, set: schema.datapathAttributes, commands: 5 },
  { name: ovs.OVS_VPORT_FAMILY, set: schema.vportAttributes, commands: 5 },
  { name: ovs.OVS_FLOW_FAMILY, set: schema.flowAttributes, commands: 5 },
  { name: ovs.OVS_FLOW_FAMILY, set: schema.flowAttributes, commands: 5 },
  { name: ovs.OVS_PACKET_FAMILY, set: schema.packetAttributes, commands: 4 },
  { name: ovs.OVS_PACKET_FAMILY, set: schema.packetAttributes, commands: 4 },
  { name: ovs.OVS_METER_FAMILY, set: schema.meterAttributes, commands: 5 },
  { name: ovs.OVS_CT_LIMIT_FAMILY, set: schema.ctLimitAttributes, commands: 4 },
  { name: "nlctrl", set: nlctrl, commands: 11, bare: true },
  { name: "NET_DM", set: dropMonitorAttributes, commands: 11, bare: true },
  { name: "psample", set: psampleMessage, commands: 4, bare: true },
  { name: "ctnetlink", set: ctnetlink.connectionAttributes, commands: 8, subsystem: nf.NFNL_SUBSYS_CTNETLINK },
  { name: "ctnetlink", set: ctnetlink.connectionAttributes, commands: 8, subsystem: nf.NFNL_SUBSYS_CTNETLINK },
  { name: "expect", set: ctnetlink.expectationAttributes, commands: 5, subsystem: nf.NFNL_SUBSYS_CTNETLINK_EXP },
  { name: "timeout", set: ctnetlink.timeoutAttributes, commands: 6, subsystem: nf.NFNL_SUBSYS_CTNETLINK_TIMEOUT },
];

const NAMES = [
  ...DEVICES,
  "dp0",
  "dp1",
  "br%d",
  "vxlan0",
  "gre0",
  "int0",
  "int1",
  "ftp",
  "tftp",
  "sip",
  "h323",
  "RAS",
  "Q.931",
  "pptp",
  "irc",
  "",
  "tp0",
  "ovs_flow",
  "ovs_vport",
  "nlctrl",
  "psample",
  "packets",
];
const MAX_DEPTH = 7;
/** Words of a key that validation wants exact for most actions and most headers (spec/keys). */
const NEEDED = [K.ETH_TYPE, K.VLAN, K.CVLAN, K.IP];
const memory = new PacketMemory();

const text = (value: string): Uint8Array => Buffer.from(`${value}\0`);
const le16 = (value: number): Uint8Array => Uint8Array.of(value, value >>> 8);
const le32 = (value: number): Uint8Array => Uint8Array.of(value, value >>> 8, value >>> 16, value >>> 24);
const be16 = (value: number): Uint8Array => Uint8Array.of(value >>> 8, value);
const join = (...parts: Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));

/** Attributes of a level by its table: some of them, most of the right length and form. */
export function attributes(set: AnyAttributeSet, chance: Chance, depth = 0): Uint8Array {
  const known = set.byType.filter((attribute): attribute is NamedAttribute => attribute !== undefined);
  const list: Tlv[] = [];
  const wanted = set.ordered ? chance.below(6) : known.length;
  for (let i = 0; i < wanted; i++) {
    const attribute = set.ordered ? chance.of(known) : known[i];
    if (!set.ordered && chance.oneIn(2)) continue;
    const type = attribute.type | (attribute.rule === Rule.NESTED && !chance.oneIn(3) ? 0x8000 : 0);
    list.push({ type, payload: payloadOf(set, attribute, chance, depth) });
  }
  return joinTlvs(list);
}

/** A payload that makes more sense than the attribute's rule demands; undefined: by the rule. */
const MEANT: Readonly<Record<string, (chance: Chance, depth: number) => Uint8Array | undefined>> = {
  "ovs_datapath.UPCALL_PID": (chance) => le32(chance.of([0, UPCALL_PID])),
  "ovs_datapath.USER_FEATURES": (chance) => le32(chance.below(32)),
  "ovs_vport.TYPE": (chance) => le32(chance.below(7)),
  "ovs_vport.PORT_NO": (chance) => le32(chance.below(10)),
  "ovs_vport.UPCALL_PID": (chance) => le32(chance.of([0, UPCALL_PID])),
  "ovs_tunnel.DST_PORT": (chance) => le16(chance.of([4789, 6081, 4790, 0])),
  "ovs_flow.KEY": (chance) => keyOf(structured(chance), chance).key,
  "ovs_flow.ACTIONS": (chance) => actionList(chance),
  "ovs_packet.PACKET": (chance) => structured(chance),
  "ovs_packet.KEY": (chance) =>
    join(
      attr(ovs.OVS_KEY_ATTR_IN_PORT, le32(chance.below(8))),
      chance.oneIn(3) ? attributes(schema.keyAttributes, chance, 2) : new Uint8Array(0),
    ),
  "ovs_packet.ACTIONS": (chance) => actionList(chance),
  "ovs_key.IN_PORT": (chance) => le32(chance.below(8)),
  "ovs_key.RECIRC_ID": (chance) => le32(chance.below(4)),
  "ovs_action.OUTPUT": (chance) => le32(chance.below(12)),
  "ovs_action.RECIRC": (chance) => le32(chance.below(4)),
  "ovs_action.METER": (chance) => le32(chance.below(4)),
  "ovs_action.SET_MASKED": (chance, depth) => {
    const list = attributes(schema.keyAttributes, chance, depth + 1);
    if (list.length < 4) return list;
    const size = (list[0] | (list[1] << 8)) - 4;
    const value = list.subarray(4, 4 + size);
    const type = list[2];
    const mask = chance.bytes(value.length);
    return attr(
      type,
      value.map((byte, i) => byte & mask[i]),
      mask,
    );
  },
  "ovs_userspace.PID": (chance) => le32(chance.of([UPCALL_PID, 0, 77])),
  "ovs_meter.ID": (chance) => le32(chance.below(5)),
  "ovs_band.TYPE": () => le32(1),
  "ovs_ct_limit.ZONE_LIMIT": (chance) =>
    join(
      ...Array.from({ length: chance.below(4) }, () =>
        join(le32(chance.below(6) - 1), le32(chance.below(200)), le32(0)),
      ),
    ),
  "ovs_tunnel_key.VXLAN_OPTS": (chance, depth) => attributes(schema.vxlanKeyExtension, chance, depth + 1),
  "ovs_ct.NAT": (chance, depth) =>
    chance.oneIn(8) ? attributes(natExtensionAttributes, chance, depth + 1) : nat(chance),
  "ctnetlink.TUPLE_ORIG": (chance) => tuple(chance),
  "ctnetlink.TUPLE_REPLY": (chance) => tuple(chance),
  "ctnetlink.TUPLE_MASTER": (chance) => tuple(chance),
  "ctnetlink_exp.MASTER": (chance) => tuple(chance),
  "ctnetlink_exp.TUPLE": (chance) => tuple(chance),
  "ctnetlink_exp.MASK": (chance) => tuple(chance),
  "ctnetlink.STATUS": (chance) => join(be16(0), be16(chance.of([0, 8, 0xe, 0x18e, chance.below(0x10000)]))),
  "ctnetlink.TIMEOUT": (chance) => join(be16(0), be16(chance.below(1000))),
  "cttimeout.NAME": (chance) => text(chance.of(["tp0", "tp1", "tp2"])),
  "cttimeout.L3PROTO": (chance) => be16(chance.of([2, 10, 0])),
  "cttimeout.L4PROTO": (chance) => Uint8Array.of(chance.of([1, 6, 17, 33, 47, 58, 89, 132, 136, 255])),
  "cttimeout.DATA": (chance) =>
    attributes(ctnetlink.timeoutDataAttributes(chance.of([1, 6, 17, 33, 47, 58, 132, 136, 255])), chance, 2),
};

function payloadOf(set: AnyAttributeSet, attribute: NamedAttribute, chance: Chance, depth: number): Uint8Array {
  if (chance.oneIn(40)) return chance.bytes(chance.below(24));
  if (!chance.oneIn(5)) {
    const meant = MEANT[`${set.name}.${attribute.name}`]?.(chance, depth);
    if (meant !== undefined) return meant;
  }
  if (attribute.inner !== undefined)
    return depth < MAX_DEPTH ? attributes(attribute.inner(), chance, depth + 1) : new Uint8Array(0);
  const { element } = attribute;
  if (element !== undefined) {
    const list = Array.from({ length: chance.below(4) }, (_, type) => ({
      type,
      payload:
        element.inner === undefined ? chance.bytes(element.size) : attributes(element.inner(), chance, depth + 1),
    }));
    return joinTlvs(list);
  }
  switch (attribute.rule) {
    case Rule.FLAG:
      return new Uint8Array(0);
    case Rule.STRING:
    case Rule.NUL_STRING:
      return text(chance.of(NAMES));
    case Rule.BINARY:
    case Rule.UNSPEC:
    case Rule.NESTED:
    case Rule.NESTED_ARRAY:
      if (attribute.size > 0) return chance.bytes(attribute.size);
      return chance.bytes(chance.oneIn(2) ? 4 * chance.below(12) : attribute.length + chance.below(20));
    default: {
      const size = attribute.size || INTEGER_SIZE[attribute.rule];
      return chance.integer(size, attribute.min, attribute.max);
    }
  }
}

/** CTA_TUPLE_*: addresses and ports of few, so that messages meet connections of frames and of each other. */
function tuple(chance: Chance): Uint8Array {
  const proto = chance.of([1, 6, 6, 17, 17, 58, 132, 47, 33, 255]);
  const v6 = proto === 58 || chance.oneIn(4);
  const address = (): Uint8Array => {
    const last = 1 + chance.below(3);
    if (!v6) return Uint8Array.of(10, 0, 0, last);
    const bytes = new Uint8Array(16);
    bytes.set([0xfd, 0]);
    bytes[15] = last;
    return bytes;
  };
  const [src, dst] = v6 ? [nf.CTA_IP_V6_SRC, nf.CTA_IP_V6_DST] : [nf.CTA_IP_V4_SRC, nf.CTA_IP_V4_DST];
  const [id, type, code] =
    proto === 58
      ? [nf.CTA_PROTO_ICMPV6_ID, nf.CTA_PROTO_ICMPV6_TYPE, nf.CTA_PROTO_ICMPV6_CODE]
      : [nf.CTA_PROTO_ICMP_ID, nf.CTA_PROTO_ICMP_TYPE, nf.CTA_PROTO_ICMP_CODE];
  const port = (): Uint8Array => be16(chance.of([1000, 2000, 21, 5060, chance.below(65536)]));
  const parts =
    proto === 1 || proto === 58
      ? [attr(id, be16(1)), attr(type, Uint8Array.of(proto === 1 ? 8 : 128)), attr(code, Uint8Array.of(0))]
      : [attr(nf.CTA_PROTO_SRC_PORT, port()), attr(nf.CTA_PROTO_DST_PORT, port())];
  return join(
    attr(nf.CTA_TUPLE_IP | 0x8000, attr(src, address()), attr(dst, address())),
    attr(nf.CTA_TUPLE_PROTO | 0x8000, attr(nf.CTA_PROTO_NUM, Uint8Array.of(proto)), ...parts),
    chance.oneIn(4) ? attr(nf.CTA_TUPLE_ZONE, be16(chance.below(3))) : new Uint8Array(0),
  );
}

function nat(chance: Chance): Uint8Array {
  if (chance.oneIn(4)) return new Uint8Array(0);
  const parts = [attr(chance.of([ovs.OVS_NAT_ATTR_SRC, ovs.OVS_NAT_ATTR_DST]))];
  if (!chance.oneIn(4)) {
    const address = (last: number): Uint8Array =>
      chance.oneIn(4)
        ? Uint8Array.of(0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last)
        : Uint8Array.of(10, 1, 1, last);
    parts.push(attr(ovs.OVS_NAT_ATTR_IP_MIN, address(240)));
    if (chance.oneIn(2)) parts.push(attr(ovs.OVS_NAT_ATTR_IP_MAX, address(250)));
    if (chance.oneIn(2)) parts.push(attr(ovs.OVS_NAT_ATTR_PROTO_MIN, le16(chance.below(2000))));
    if (chance.oneIn(3)) parts.push(attr(ovs.OVS_NAT_ATTR_PROTO_MAX, le16(chance.below(65536))));
  }
  for (const flag of [ovs.OVS_NAT_ATTR_PERSISTENT, ovs.OVS_NAT_ATTR_PROTO_HASH, ovs.OVS_NAT_ATTR_PROTO_RANDOM])
    if (chance.oneIn(4)) parts.push(attr(flag));
  return join(...parts);
}

function ct(chance: Chance): Uint8Array {
  const parts: Uint8Array[] = [];
  const commit = !chance.oneIn(3);
  if (commit) parts.push(attr(chance.oneIn(5) ? ovs.OVS_CT_ATTR_FORCE_COMMIT : ovs.OVS_CT_ATTR_COMMIT));
  if (chance.oneIn(2)) parts.push(attr(ovs.OVS_CT_ATTR_ZONE, le16(chance.below(3))));
  if (chance.oneIn(4)) parts.push(attr(ovs.OVS_CT_ATTR_MARK, le32(chance.u32()), le32(0xffffffff)));
  if (chance.oneIn(4)) parts.push(attr(ovs.OVS_CT_ATTR_LABELS, chance.bytes(16), new Uint8Array(16).fill(0xff)));
  if (commit && chance.oneIn(3))
    parts.push(
      attr(
        ovs.OVS_CT_ATTR_HELPER,
        text(chance.of(["ftp", "tftp", "sip", "irc", "pptp", "RAS", "Q.931", "amanda", "snmp"])),
      ),
    );
  if (chance.oneIn(2)) parts.push(attr(ovs.OVS_CT_ATTR_NAT | 0x8000, nat(chance)));
  if (chance.oneIn(6)) parts.push(attr(ovs.OVS_CT_ATTR_EVENTMASK, le32(chance.u32())));
  if (chance.oneIn(8)) parts.push(attr(ovs.OVS_CT_ATTR_TIMEOUT, text("tp0")));
  return attr(ovs.OVS_ACTION_ATTR_CT | 0x8000, ...parts);
}

function tunnelKey(chance: Chance): Uint8Array {
  const v6 = chance.oneIn(4);
  const dst = v6 ? Uint8Array.of(0xfd, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2) : Uint8Array.of(10, 9, 0, 2);
  const parts = [
    attr(ovs.OVS_TUNNEL_KEY_ATTR_ID, chance.bytes(8)),
    attr(v6 ? ovs.OVS_TUNNEL_KEY_ATTR_IPV6_DST : ovs.OVS_TUNNEL_KEY_ATTR_IPV4_DST, dst),
    attr(ovs.OVS_TUNNEL_KEY_ATTR_TTL, Uint8Array.of(64)),
  ];
  if (chance.oneIn(2)) parts.push(attr(ovs.OVS_TUNNEL_KEY_ATTR_CSUM));
  if (chance.oneIn(2)) parts.push(attr(ovs.OVS_TUNNEL_KEY_ATTR_DONT_FRAGMENT));
  if (chance.oneIn(3))
    parts.push(attr(ovs.OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS, Uint8Array.of(1, 2, 3, 1), chance.bytes(4)));
  else if (chance.below(3) === 0)
    parts.push(attr(ovs.OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS | 0x8000, attr(ovs.OVS_VXLAN_EXT_GBP, le32(chance.u32()))));
  else if (chance.oneIn(4)) parts.push(attr(ovs.OVS_TUNNEL_KEY_ATTR_ERSPAN_OPTS, chance.bytes(12)));
  return join(...parts);
}

/** A masked set of a header that most frames have. */
function setMasked(chance: Chance): Uint8Array {
  const [type, size] = chance.of([
    [ovs.OVS_KEY_ATTR_ETHERNET, 12],
    [ovs.OVS_KEY_ATTR_IPV4, 12],
    [ovs.OVS_KEY_ATTR_IPV6, 40],
    [ovs.OVS_KEY_ATTR_TCP, 4],
    [ovs.OVS_KEY_ATTR_UDP, 4],
    [ovs.OVS_KEY_ATTR_SCTP, 4],
    [ovs.OVS_KEY_ATTR_SKB_MARK, 4],
    [ovs.OVS_KEY_ATTR_PRIORITY, 4],
    [ovs.OVS_KEY_ATTR_MPLS, 4],
  ] as const);
  const mask = chance.bytes(size);
  // Protocol and fragment type are not to be set.
  if (type === ovs.OVS_KEY_ATTR_IPV4) mask[8] = mask[11] = 0;
  if (type === ovs.OVS_KEY_ATTR_IPV6) {
    mask[32] = mask[36] = mask[39] = 0;
    mask[33] &= 0x0f;
  }
  const value = chance.bytes(size).map((byte, i) => byte & mask[i]);
  return attr(ovs.OVS_ACTION_ATTR_SET_MASKED | 0x8000, attr(type, value, mask));
}

/** Actions of every kind, most of them valid for some frames. */
export function actionList(chance: Chance, depth = 0): Uint8Array {
  const list: Uint8Array[] = [];
  for (let i = chance.below(depth === 0 ? 6 : 3); i >= 0; i--) list.push(action(chance, depth));
  return join(...list);
}

/** As actionList(), without the actions that are refused for a flow with this masked key. */
export function validActions(chance: Chance, key: Int32Array, kernel: KernelProfile, conntrack: Conntrack): Uint8Array {
  let list: Uint8Array = new Uint8Array(0);
  for (let i = 1 + chance.below(9); i > 0; i--) {
    const longer = join(list, action(chance, 0));
    try {
      validateActions(new DataView(longer.buffer), 0, longer.length, key, { kernel, conntrack });
    } catch (error) {
      // Another error than an errno is to be found where the flow is put.
      if (error instanceof Errno) continue;
    }
    list = longer;
  }
  return list;
}

function action(chance: Chance, depth: number): Uint8Array {
  const inner = (): Uint8Array => (depth < 4 ? actionList(chance, depth + 1) : new Uint8Array(0));
  switch (chance.below(26)) {
    case 0:
    case 1:
    case 2:
      return attr(ovs.OVS_ACTION_ATTR_OUTPUT, le32(chance.below(12)));
    case 3:
      return attr(
        ovs.OVS_ACTION_ATTR_USERSPACE | 0x8000,
        attr(ovs.OVS_USERSPACE_ATTR_PID, le32(UPCALL_PID)),
        ...(chance.oneIn(2) ? [attr(ovs.OVS_USERSPACE_ATTR_USERDATA, chance.bytes(chance.below(16)))] : []),
        ...(chance.oneIn(3) ? [attr(ovs.OVS_USERSPACE_ATTR_EGRESS_TUN_PORT, le32(chance.below(12)))] : []),
        ...(chance.oneIn(3) ? [attr(ovs.OVS_USERSPACE_ATTR_ACTIONS)] : []),
      );
    case 4:
    case 5:
    case 6:
    case 7:
      return ct(chance);
    case 8:
    case 9:
      return attr(ovs.OVS_ACTION_ATTR_RECIRC, le32(chance.below(4)));
    case 10:
    case 11:
      return setMasked(chance);
    case 12:
      return join(
        attr(ovs.OVS_ACTION_ATTR_SET | 0x8000, attr(ovs.OVS_KEY_ATTR_TUNNEL | 0x8000, tunnelKey(chance))),
        attr(ovs.OVS_ACTION_ATTR_OUTPUT, le32(6 + chance.below(6))),
      );
    case 13:
      return attr(ovs.OVS_ACTION_ATTR_PUSH_VLAN, be16(chance.of([0x8100, 0x88a8])), be16(0x1000 | chance.below(4096)));
    case 14:
      return attr(ovs.OVS_ACTION_ATTR_POP_VLAN);
    case 15:
      return attr(ovs.OVS_ACTION_ATTR_PUSH_MPLS, chance.bytes(4), be16(chance.of([0x8847, 0x8848])), be16(0));
    case 16:
      return attr(ovs.OVS_ACTION_ATTR_POP_MPLS, be16(chance.of([0x0800, 0x86dd, 0x8847, 0x0806])));
    case 17:
      return attr(ovs.OVS_ACTION_ATTR_CLONE | 0x8000, inner());
    case 18:
      return attr(
        ovs.OVS_ACTION_ATTR_SAMPLE | 0x8000,
        attr(ovs.OVS_SAMPLE_ATTR_PROBABILITY, le32(chance.of([0, 0xffffffff, 0x80000000]))),
        attr(ovs.OVS_SAMPLE_ATTR_ACTIONS | 0x8000, inner()),
      );
    case 19:
      return attr(
        ovs.OVS_ACTION_ATTR_CHECK_PKT_LEN | 0x8000,
        attr(ovs.OVS_CHECK_PKT_LEN_ATTR_PKT_LEN, le16(chance.below(1600))),
        attr(ovs.OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_GREATER | 0x8000, inner()),
        attr(ovs.OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_LESS_EQUAL | 0x8000, inner()),
      );
    case 20:
      return attr(ovs.OVS_ACTION_ATTR_METER, le32(chance.below(4)));
    case 21:
      return attr(ovs.OVS_ACTION_ATTR_DEC_TTL | 0x8000, attr(ovs.OVS_DEC_TTL_ATTR_ACTION | 0x8000, inner()));
    case 22:
      return attr(ovs.OVS_ACTION_ATTR_TRUNC, le32(chance.below(200)));
    case 23:
      return chance.of([
        attr(ovs.OVS_ACTION_ATTR_HASH, le32(chance.below(2)), le32(chance.u32())),
        attr(ovs.OVS_ACTION_ATTR_CT_CLEAR),
        attr(ovs.OVS_ACTION_ATTR_POP_ETH),
        attr(ovs.OVS_ACTION_ATTR_POP_NSH),
        attr(ovs.OVS_ACTION_ATTR_DROP, le32(chance.below(300))),
        attr(ovs.OVS_ACTION_ATTR_PUSH_ETH, chance.bytes(12)),
      ]);
    case 24:
      return attr(
        ovs.OVS_ACTION_ATTR_PSAMPLE | 0x8000,
        attr(ovs.OVS_PSAMPLE_ATTR_GROUP, le32(1)),
        attr(ovs.OVS_PSAMPLE_ATTR_COOKIE, chance.bytes(1 + chance.below(16))),
      );
    default:
      return attributes(schema.actionAttributes, chance, depth + 2);
  }
}

/** OVS_FLOW_ATTR_KEY and MASK for a frame: the exact key, and a mask of whole words; and one under the other. */
export function keyOf(
  frame: Uint8Array,
  chance: Chance,
  inPort = 1 + chance.below(8),
  recircId = chance.below(4),
): { key: Uint8Array; mask: Uint8Array; masked: Int32Array } {
  memory.resetScratch();
  const base = memory.scratch(HEADROOM + frame.length + 128);
  memory.bytes.set(frame, base + HEADROOM);
  const packet = new Packet(memory);
  packet.reset(base + HEADROOM, frame.length, base, base + HEADROOM + frame.length);
  packet.inPort = inPort;
  const key = newKey();
  const mask = newKey();
  if (extractKey(packet, key) !== 0) return { key: new Uint8Array(0), mask: new Uint8Array(0), masked: key };
  key[K.RECIRC_ID] = recircId;
  const wild = chance.below(4);
  const needed = chance.oneIn(6) ? [K.RECIRC_ID] : [K.RECIRC_ID, K.IN_PORT, ...NEEDED];
  for (let word = 0; word < K.PACKET_WORDS; word++)
    mask[word] = chance.below(4) < wild ? 0 : chance.oneIn(8) ? chance.u32() : -1;
  for (const word of needed) mask[word] = -1;
  const writer = new MessageWriter();
  putKey(writer, key);
  const keyBytes = writer.finish();
  const maskWriter = new MessageWriter();
  putMask(maskWriter, key, mask);
  return { key: keyBytes, mask: maskWriter.finish(), masked: key.map((word, i) => word & mask[i]) };
}

/** A nlmsghdr with what follows it; `lie` is added to the length that it tells. */
export function message(type: number, flags: number, seq: number, body: Uint8Array, lie = 0): Uint8Array {
  const bytes = new Uint8Array((16 + body.length + 3) & ~3);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, Math.max(0, 16 + body.length + lie), true);
  view.setUint16(4, type, true);
  view.setUint16(6, flags, true);
  view.setUint32(8, seq, true);
  bytes.set(body, 16);
  return bytes;
}

/** What is behind nlmsghdr: genlmsghdr, with ovs_header unless bare, or nfgenmsg; then attributes. */
export function header(family: Family, chance: Chance, command: number, ifindex: number): Uint8Array {
  if (family.subsystem !== undefined)
    return Uint8Array.of(chance.of([2, 10, 0, chance.below(256)]), chance.oneIn(20) ? chance.below(256) : 0, 0, 0);
  const version = chance.oneIn(12)
    ? chance.below(256)
    : family.name === ovs.OVS_DATAPATH_FAMILY
      ? ovs.OVS_DATAPATH_VERSION
      : 1;
  const genl = Uint8Array.of(command, version, 0, 0);
  return family.bare ? genl : join(genl, le32(chance.oneIn(12) ? chance.number() : ifindex));
}

/** Flags of a request: REQUEST and ACK most times. */
export function requestFlags(chance: Chance): number {
  let flags = chance.of([0, 0, 0, 8, 0x300, 0x400, 0x200, 0x600, 0x100, chance.below(0x10000)]);
  if (!chance.oneIn(30)) flags |= NLM_F_REQUEST;
  if (!chance.oneIn(4)) flags |= NLM_F_ACK;
  return flags;
}

/** Attributes of a request, right by the tables or changed. */
export function requestBody(family: Family, chance: Chance): Uint8Array {
  let body = attributes(family.set, chance);
  if (family.set === (schema.flowAttributes as AnyAttributeSet) && !chance.oneIn(4)) {
    // A flow that could be: a key of a frame, with its mask.
    const { key, mask } = keyOf(structured(chance), chance);
    const parts = [
      attr(ovs.OVS_FLOW_ATTR_KEY | 0x8000, key),
      attr(ovs.OVS_FLOW_ATTR_ACTIONS | 0x8000, actionList(chance)),
    ];
    if (!chance.oneIn(4)) parts.push(attr(ovs.OVS_FLOW_ATTR_MASK | 0x8000, mask));
    if (chance.oneIn(3))
      parts.push(attr(ovs.OVS_FLOW_ATTR_UFID, chance.bytes(chance.of([16, 16, 4, 20])).fill(chance.below(4), 0, 4)));
    body = join(...parts);
  }
  if (chance.oneIn(3)) body = mutateTlvs(body, chance);
  if (chance.oneIn(6)) body = mutateTlvs(body, chance);
  if (chance.oneIn(30)) body = flipBytes(body, chance);
  if (chance.oneIn(60)) body = chance.bytes(chance.below(120));
  return body.length > 60_000 ? body.subarray(0, 60_000) : body;
}
