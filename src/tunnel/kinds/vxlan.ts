import { Errno } from "../../core/errors.ts";
import { K, TunnelFlag } from "../../flow/key.ts";
import { IpProto } from "../../packet/ip.ts";
import type { Packet } from "../../packet/packet.ts";
import { vxlanLink } from "../../schema/rtnetlink.ts";
import { EEXIST, EINVAL } from "../../uapi/errno.ts";
import { OVS_VPORT_TYPE_VXLAN } from "../../uapi/openvswitch.ts";
import * as rt from "../../uapi/rtnetlink.ts";
import { AF_INET, AF_INET6 } from "../../uapi/socket.ts";
import { type Encapsulation, Pull } from "../encapsulation.ts";
import { Count, type TunnelKind } from "../kind.ts";
import { be16Bytes, fixed, ifGiven, isFlagSet, type LinkData, readBe16, reportedBool } from "../link-data.ts";
import { GPE_PORT, VxlanGpe, validateGpe } from "./gpe.ts";

/**
 * VXLAN (RFC 7348), with the group policy extension (draft-smith-vxlan-group-policy) where the device has it.
 *
 * ```
 *  0                   1                   2                   3
 *  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 * |G|R|R|R|I|R|R|R|R|D|R|R|A|R|R|R|       group policy id         |  0
 * |                     VNI                       |   reserved    |  4
 * ```
 */
const HEADER_LEN = 8;

const VNI_PRESENT = 0x08000000;
const GBP_PRESENT = 0x80000000 | 0;
/** Bits of OVS_VXLAN_EXT_GBP, which in the header are where they are in a u32. */
const DONT_LEARN = 0x00400000;
const POLICY_APPLIED = 0x00080000;
const POLICY_ID = 0xffff;
/** The extension's flag and the bits of its field, which may have any value. */
const GBP_USED = 0x80ffffff | 0;

/** Swaps the bytes of a u32: the option bytes of a key hold it in the machine's byte order. */
const swap = (word: number): number =>
  ((word & 0xff) << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);

class Vxlan implements Encapsulation {
  readonly protocol = IpProto.UDP;
  readonly l3 = false;

  /** @param gbp whether the device has the group policy extension */
  constructor(private readonly gbp: boolean) {}

  length(): number {
    return HEADER_LEN;
  }

  push(packet: Packet, _length: number, tunnel: Int32Array): void {
    const { view } = packet.memory;
    const { off } = packet;
    let flags = VNI_PRESENT;
    if (this.gbp && ((tunnel[K.TUN_FLAGS] >>> 16) & TunnelFlag.VXLAN_OPT) !== 0) {
      const gbp = swap(tunnel[K.TUN_OPTS]);
      if (gbp !== 0) flags |= GBP_PRESENT | (gbp & (DONT_LEARN | POLICY_APPLIED | POLICY_ID));
    }
    view.setInt32(off, flags);
    view.setInt32(off + 4, tunnel[K.TUN_ID + 1] << 8);
  }

  pull(packet: Packet, tunnel: Int32Array): number {
    if (packet.len < HEADER_LEN) return Pull.IGNORED;
    const { view } = packet.memory;
    const { off } = packet;
    let flags = view.getInt32(off);
    if ((flags & VNI_PRESENT) === 0) return Pull.IGNORED;
    const vni = view.getInt32(off + 4);
    flags &= ~VNI_PRESENT;
    let keyFlags = TunnelFlag.KEY;
    if (this.gbp) {
      if ((flags & GBP_PRESENT) !== 0) {
        tunnel[K.TUN_OPTS] = swap(flags & (DONT_LEARN | POLICY_APPLIED | POLICY_ID));
        tunnel[K.TUN_PROTO] = (tunnel[K.TUN_PROTO] & ~0xff) | 4;
        keyFlags |= TunnelFlag.VXLAN_OPT;
      }
      flags &= ~GBP_USED;
    }
    if (flags !== 0 || (vni & 0xff) !== 0) return Pull.IGNORED;
    tunnel[K.TUN_ID] = 0;
    tunnel[K.TUN_ID + 1] = vni >>> 8;
    tunnel[K.TUN_FLAGS] |= keyFlags << 16;
    return HEADER_LEN;
  }
}

/** UDP port of a device for which none was given: the one in use before IANA assigned 4789. */
const DEFAULT_PORT = 8472;

function portOf(data: LinkData): number {
  return readBe16(data, rt.IFLA_VXLAN_PORT) || (data.has(rt.IFLA_VXLAN_GPE) ? GPE_PORT : DEFAULT_PORT);
}

/** Source ports by an IFLA_VXLAN_PORT_RANGE (two be16, the end not included); undefined for an empty range. */
function sourcePorts(range: Uint8Array | undefined): { min: number; max: number } | undefined {
  if (range === undefined || range.length < 4) return undefined;
  const [min, max] = [(range[0] << 8) | range[1], (range[2] << 8) | range[3]];
  return min < max ? { min, max } : undefined;
}

/** Header bits that are in no use (IFLA_VXLAN_RESERVED_BITS). */
function reservedBits(data: LinkData): Uint8Array {
  const bits = Uint8Array.of(0xf7, 0xff, 0xff, 0xff, 0, 0, 0, 0xff);
  const used = data.has(rt.IFLA_VXLAN_GPE)
    ? [0x35, 0, 0, 0xff]
    : data.has(rt.IFLA_VXLAN_GBP)
      ? [0x80, 0xff, 0xff, 0xff]
      : [];
  for (const [i, byte] of used.entries()) bits[i] &= ~byte;
  return bits;
}

/** Attributes by which devices of the same UDP port and VNI may differ (VXLAN_F_RCV_FLAGS). */
const RECEIVE_FLAGS = [
  rt.IFLA_VXLAN_GBP,
  rt.IFLA_VXLAN_GPE,
  rt.IFLA_VXLAN_UDP_ZERO_CSUM6_RX,
  rt.IFLA_VXLAN_REMCSUM_RX,
  rt.IFLA_VXLAN_REMCSUM_NOPARTIAL,
  rt.IFLA_VXLAN_VNIFILTER,
];

const { definitions: LINK } = vxlanLink;

/** VXLAN devices; with IFLA_VXLAN_GPE they speak VXLAN-GPE (gpe.ts). */
export const vxlan: TunnelKind = {
  name: "vxlan",
  collectMetadata: rt.IFLA_VXLAN_COLLECT_METADATA,
  attributes: vxlanLink,
  reported: [
    fixed(LINK.ID),
    ifGiven(LINK.GROUP),
    ifGiven(LINK.GROUP6),
    ifGiven(LINK.LINK),
    ifGiven(LINK.LOCAL),
    ifGiven(LINK.LOCAL6),
    fixed(LINK.TTL),
    reportedBool(LINK.TTL_INHERIT),
    fixed(LINK.TOS),
    fixed(LINK.DF),
    fixed(LINK.LABEL),
    fixed(LINK.LABEL_POLICY),
    reportedBool(LINK.LEARNING, 1),
    reportedBool(LINK.PROXY),
    reportedBool(LINK.RSC),
    reportedBool(LINK.L2MISS),
    reportedBool(LINK.L3MISS),
    reportedBool(LINK.COLLECT_METADATA),
    // 300 s
    fixed(LINK.AGEING, 300 & 0xff, 300 >> 8),
    fixed(LINK.LIMIT),
    ifGiven(LINK.PORT),
    reportedBool(LINK.UDP_CSUM, 1),
    reportedBool(LINK.UDP_ZERO_CSUM6_TX),
    reportedBool(LINK.UDP_ZERO_CSUM6_RX),
    reportedBool(LINK.REMCSUM_TX),
    reportedBool(LINK.REMCSUM_RX),
    reportedBool(LINK.LOCALBYPASS, 1),
    fixed(LINK.PORT_RANGE),
    ifGiven(LINK.GBP),
    ifGiven(LINK.GPE),
    ifGiven(LINK.REMCSUM_NOPARTIAL),
    ifGiven(LINK.VNIFILTER),
    ifGiven(LINK.RESERVED_BITS),
  ],
  derived: (data) =>
    new Map([
      [rt.IFLA_VXLAN_PORT, be16Bytes(portOf(data))],
      [rt.IFLA_VXLAN_RESERVED_BITS, data.get(rt.IFLA_VXLAN_RESERVED_BITS) ?? reservedBits(data)],
    ]),
  validate(data) {
    if (data === undefined) return;
    const range = data.get(rt.IFLA_VXLAN_PORT_RANGE);
    if (range !== undefined && (range[2] << 8) + range[3] < (range[0] << 8) + range[1]) throw new Errno(EINVAL);
    if (data.has(rt.IFLA_VXLAN_GPE)) validateGpe(data);
  },
  isL3: (data) => data.has(rt.IFLA_VXLAN_GPE),
  identity(data) {
    const vni = (data.get(rt.IFLA_VXLAN_ID) ?? []).join(" ");
    return `${vni} ${portOf(data)} ${RECEIVE_FLAGS.map((type) => isFlagSet(data, type))}`;
  },
  duplicateErrno: EEXIST,
  settings(data) {
    const isGpe = data.has(rt.IFLA_VXLAN_GPE);
    const gbp = !isGpe && isFlagSet(data, rt.IFLA_VXLAN_GBP);
    return {
      kind: vxlan,
      encapsulation: isGpe ? new VxlanGpe() : new Vxlan(gbp),
      families: [AF_INET, AF_INET6],
      dstPort: portOf(data),
      zeroChecksum6: isFlagSet(data, rt.IFLA_VXLAN_UDP_ZERO_CSUM6_RX),
      sourcePorts: sourcePorts(data.get(rt.IFLA_VXLAN_PORT_RANGE)),
      gbp,
    };
  },
  behaviour: {
    egressKey: true,
    withoutKey: Count.NONE,
    unfitKey: Count.TX_DROPPED,
    truncated: Count.TX_DROPPED,
    answersTooBig: true,
    countsAnswers: true,
    routeHopLimit: true,
    keyDstPort: true,
    countsShortFrames: false,
  },
  vport: {
    type: OVS_VPORT_TYPE_VXLAN,
    name: "vxlan",
    mtu: 65535,
    hasOptions: true,
    hasGbp: true,
    zeroChecksum6: true,
    putLinkData(data, { dstPort, gbp }) {
      data.be16(rt.IFLA_VXLAN_PORT, dstPort);
      data.u8(rt.IFLA_VXLAN_UDP_ZERO_CSUM6_RX, 1);
      if (gbp) data.flag(rt.IFLA_VXLAN_GBP);
      data.u8(rt.IFLA_VXLAN_COLLECT_METADATA, 1);
      data.u8(rt.IFLA_VXLAN_LEARNING, 0);
      data.u8(rt.IFLA_VXLAN_LOCALBYPASS, 0);
    },
  },
};
