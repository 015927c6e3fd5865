import { K, TunnelFlag } from "../../flow/key.ts";
import { ETH_P_TEB } from "../../packet/ethernet.ts";
import { IpProto } from "../../packet/ip.ts";
import type { Packet } from "../../packet/packet.ts";
import { geneveLink } from "../../schema/rtnetlink.ts";
import { EBUSY } from "../../uapi/errno.ts";
import { OVS_VPORT_TYPE_GENEVE } from "../../uapi/openvswitch.ts";
import * as rt from "../../uapi/rtnetlink.ts";
import { AF_INET, AF_INET6 } from "../../uapi/socket.ts";
import { type Encapsulation, Pull } from "../encapsulation.ts";
import { Count, type TunnelKind } from "../kind.ts";
import { be16Bytes, fixed, ifGiven, type LinkData, readBe16, reportedBool } from "../link-data.ts";

/**
 * Geneve (RFC 8926).
 *
 * ```
 *  0                   1                   2                   3
 *  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 * |ver|  opt len  |O|C|    rsvd   |        protocol type          |  0
 * |                     VNI                       |   reserved    |  4
 * |   options: class (16), type (8, top bit = critical), length in words (low 5 bits of 8), data …   8
 * ```
 */
const HEADER_LEN = 8;

const OAM = 0x80;
const CRITICAL = 0x40;
/** The critical bit of an option's first word. */
const OPTION_CRITICAL = 0x8000;

class Geneve implements Encapsulation {
  readonly protocol = IpProto.UDP;
  readonly l3 = false;

  length(tunnel: Int32Array): number {
    return HEADER_LEN + (tunnel[K.TUN_PROTO] & 0xff);
  }

  push(packet: Packet, length: number, tunnel: Int32Array): void {
    const { view } = packet.memory;
    const { off } = packet;
    const flags = tunnel[K.TUN_FLAGS] >>> 16;
    const options = length - HEADER_LEN;
    const isGeneve = (flags & TunnelFlag.GENEVE_OPT) !== 0;
    view.setUint8(off, options >> 2);
    view.setUint8(
      off + 1,
      ((flags & TunnelFlag.OAM) !== 0 ? OAM : 0) | (isGeneve && hasCritical(tunnel, options) ? CRITICAL : 0),
    );
    view.setUint16(off + 2, ETH_P_TEB);
    view.setInt32(off + 4, tunnel[K.TUN_ID + 1] << 8);
    for (let at = 0; at < options; at += 4) {
      view.setInt32(off + HEADER_LEN + at, isGeneve ? tunnel[K.TUN_OPTS + (at >> 2)] : 0);
    }
  }

  pull(packet: Packet, tunnel: Int32Array): number {
    if (packet.len < HEADER_LEN) return Pull.IGNORED;
    const { view } = packet.memory;
    const { off } = packet;
    const first = view.getUint8(off);
    const options = (first & 0x3f) << 2;
    if (first >> 6 !== 0) return Pull.IGNORED;
    if (view.getUint16(off + 2) !== ETH_P_TEB || packet.len < HEADER_LEN + options) return Pull.DROPPED;
    let keyFlags = TunnelFlag.KEY;
    if ((view.getUint8(off + 1) & OAM) !== 0) keyFlags |= TunnelFlag.OAM;
    if (options > 0) {
      keyFlags |= TunnelFlag.GENEVE_OPT;
      for (let at = 0; at < options; at += 4) tunnel[K.TUN_OPTS + (at >> 2)] = view.getInt32(off + HEADER_LEN + at);
      tunnel[K.TUN_PROTO] = (tunnel[K.TUN_PROTO] & ~0xff) | options;
    }
    tunnel[K.TUN_ID] = 0;
    tunnel[K.TUN_ID + 1] = view.getInt32(off + 4) >>> 8;
    tunnel[K.TUN_FLAGS] |= keyFlags << 16;
    return HEADER_LEN + options;
  }
}

/** Whether an option is critical. Their lengths add up: they were validated with the action. */
function hasCritical(tunnel: Int32Array, length: number): boolean {
  for (let at = 0; at < length; ) {
    const word = tunnel[K.TUN_OPTS + (at >> 2)];
    if ((word & OPTION_CRITICAL) !== 0) return true;
    at += 4 + ((word & 0x1f) << 2);
  }
  return false;
}

/** UDP port of a device for which none was given (IANA). */
const DEFAULT_PORT = 6081;

function portOf(data: LinkData): number {
  return data.has(rt.IFLA_GENEVE_PORT) ? readBe16(data, rt.IFLA_GENEVE_PORT) : DEFAULT_PORT;
}

const { definitions: LINK } = geneveLink;

export const geneve: TunnelKind = {
  name: "geneve",
  collectMetadata: rt.IFLA_GENEVE_COLLECT_METADATA,
  attributes: geneveLink,
  reported: [
    fixed(LINK.ID),
    fixed(LINK.TTL),
    fixed(LINK.TOS),
    fixed(LINK.LABEL),
    fixed(LINK.DF),
    ifGiven(LINK.PORT),
    ifGiven(LINK.COLLECT_METADATA),
    reportedBool(LINK.UDP_ZERO_CSUM6_RX, 1),
    reportedBool(LINK.TTL_INHERIT),
    ifGiven(LINK.INNER_PROTO_INHERIT),
  ],
  derived: (data) => new Map([[rt.IFLA_GENEVE_PORT, be16Bytes(portOf(data))]]),
  validate: () => {},
  isL3: () => false,
  identity: (data) => String(portOf(data)),
  duplicateErrno: EBUSY,
  settings: (data) => ({
    kind: geneve,
    encapsulation: new Geneve(),
    families: [AF_INET, AF_INET6],
    dstPort: portOf(data),
    zeroChecksum6: true,
    sourcePorts: { min: 1, max: 0xffff },
    gbp: false,
  }),
  behaviour: {
    egressKey: true,
    withoutKey: Count.TX_DROPPED,
    unfitKey: Count.TX_DROPPED,
    truncated: Count.TX_ERROR,
    answersTooBig: true,
    countsAnswers: false,
    routeHopLimit: false,
    keyDstPort: false,
    countsShortFrames: true,
  },
  vport: {
    type: OVS_VPORT_TYPE_GENEVE,
    name: "geneve",
    mtu: 65465,
    hasOptions: true,
    hasGbp: false,
    // The only type whose devices want checksums.
    zeroChecksum6: false,
    putLinkData(data, { dstPort }) {
      data.be16(rt.IFLA_GENEVE_PORT, dstPort);
      data.flag(rt.IFLA_GENEVE_COLLECT_METADATA);
      data.u8(rt.IFLA_GENEVE_UDP_ZERO_CSUM6_RX, 0);
    },
  },
};
