import type { Clock } from "../../core/clock.ts";
import { K, TunnelFlag } from "../../flow/key.ts";
import * as ethernet from "../../packet/ethernet.ts";
import { ETH_P_8021Q } from "../../packet/ethernet.ts";
import { IpProto } from "../../packet/ip.ts";
import * as ipv4 from "../../packet/ipv4.ts";
import * as ipv6 from "../../packet/ipv6.ts";
import type { Packet } from "../../packet/packet.ts";
import { greLink, ip6greLink } from "../../schema/rtnetlink.ts";
import { AF_INET, AF_INET6 } from "../../uapi/socket.ts";
import { type Encapsulation, Pull } from "../encapsulation.ts";
import type { TunnelKind } from "../kind.ts";
import { fixed, type ReportedAttribute } from "../link-data.ts";
import {
  checkGre,
  ETH_P_ERSPAN,
  ETH_P_ERSPAN2,
  GRE_BASE_LEN,
  GRE_BEHAVIOUR,
  GRE_COMMON,
  GRE_CSUM,
  GRE_REPORTED,
  GRE_SEQ,
  greSettings,
  IP6GRE_BEHAVIOUR,
  IP6GRE_REPORTED,
} from "./gre.ts";

/**
 * ERSPAN (draft-foschiano-erspan), version 1 and 2 (types II and III), over GRE with a sequence number.
 *
 * ```
 *  0                   1                   2                   3
 *  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 * |  ver  |         VLAN          | COS |En |T|    session id     |  0
 * |       reserved        |              index                    |  4  version 1
 * |                          timestamp                            |  4  version 2
 * |             SGT               |P|    FT   |   HW ID   |D|GRA|O|  8  version 2
 * ```
 * The option bytes of a tunnel key are the version (u32 in the machine's byte order), then the header's words 4 and 8.
 */
/** Length of the GRE header: flags, protocol type and sequence number. */
const GRE_LEN = 8;
const V1_LEN = 8;
const V2_LEN = 12;
/** Length in bytes of the options of a key. */
const OPTIONS_LEN = 12;

const INDEX_MASK = 0xfffff;
const SESSION_MASK = 0x3ff;
/** En of version 1: the VLAN tag is in the frame. In version 2 the field is BSO: whether the frame is short or oversized. */
const ENCAP_INFRAME = 3;
const BSO_SHORT = 1;
const BSO_OVERSIZED = 2;
const ETH_ZLEN = 60;
const ETH_FRAME_LEN = 1514;
/** Bits of the last word of version 2: P and D. */
const PRESENT = 0x8000;
const DIRECTION = 0x8;

/** The version in the first word of the options, which is in the machine's byte order; -1 for one above 255. */
const versionOf = (word: number): number => ((word & 0x00ffffff) === 0 ? word >>> 24 : -1);

class Erspan implements Encapsulation {
  readonly protocol = IpProto.GRE;
  readonly l3 = false;
  private sequence = 0;

  constructor(private readonly clock: Clock) {}

  length(tunnel: Int32Array): number {
    const flags = tunnel[K.TUN_FLAGS] >>> 16;
    if ((flags & TunnelFlag.ERSPAN_OPT) === 0) return -1;
    switch (versionOf(tunnel[K.TUN_OPTS])) {
      case 1:
        return GRE_LEN + V1_LEN;
      case 2:
        return GRE_LEN + V2_LEN;
      default:
        return -1;
    }
  }

  push(packet: Packet, length: number, tunnel: Int32Array, etherType: number, v6: boolean): void {
    const { view } = packet.memory;
    const { off } = packet;
    const inner = off + length;
    const innerLength = packet.len - length;
    const v1 = length === GRE_LEN + V1_LEN;
    const tagged = innerLength >= 18 && view.getUint16(inner + ethernet.TYPE) === ETH_P_8021Q;
    const tci = tagged ? view.getUint16(inner + ethernet.HEADER_LEN) : 0;
    // The kernel reads the class of service at the offset that the outer family has it at, whatever the payload is.
    const l3 = packet.l3;
    let tos = 0;
    if (l3 + 2 <= off + packet.len) tos = v6 ? ipv6.trafficClass(view, l3) : ipv4.tos(view, l3);
    let encap = 0;
    if (!v1) encap = innerLength < ETH_ZLEN ? BSO_SHORT : innerLength > ETH_FRAME_LEN ? BSO_OVERSIZED : 0;
    else if (tagged) encap = ENCAP_INFRAME;
    const truncated = isTruncated(packet, inner, etherType) ? 1 : 0;
    view.setUint16(off, GRE_SEQ);
    view.setUint16(off + 2, v1 ? ETH_P_ERSPAN : ETH_P_ERSPAN2);
    view.setInt32(off + GRE_BASE_LEN, this.sequence++);
    const header = off + GRE_LEN;
    view.setUint16(header, ((v1 ? 1 : 2) << 12) | (tci & 0xfff));
    view.setUint16(
      header + 2,
      ((tos >> 5) << 13) | (encap << 11) | (truncated << 10) | (tunnel[K.TUN_ID + 1] & SESSION_MASK),
    );
    if (v1) {
      view.setInt32(header + 4, tunnel[K.TUN_OPTS + 1] & INDEX_MASK);
    } else {
      // In units of 100 µs.
      view.setUint32(header + 4, Math.floor(this.clock.realtime() * 10) >>> 0);
      view.setInt32(header + 8, PRESENT | (tunnel[K.TUN_OPTS + 2] & (DIRECTION | 0x3f0)));
    }
  }

  dropped(): void {
    this.sequence++;
  }

  pull(packet: Packet, tunnel: Int32Array, v6: boolean): number {
    const gre = checkGre(packet);
    if (gre < 0) return Pull.IGNORED;
    const { view } = packet.memory;
    const { off, len } = packet;
    const flags = view.getUint16(off);
    const type = view.getUint16(off + 2);
    if ((type !== ETH_P_ERSPAN && type !== ETH_P_ERSPAN2) || len < gre + 4) return Pull.IGNORED;
    const header = off + gre;
    // Type I has neither sequence number nor ERSPAN header. Over IPv6 the version alone decides.
    const sequenced = (flags & GRE_SEQ) !== 0;
    const version = sequenced || v6 ? view.getUint8(header) >> 4 : 0;
    const length = gre + (version === 0 ? 0 : version === 1 ? V1_LEN : V2_LEN);
    if (len < length || len < gre + V2_LEN) return Pull.IGNORED;
    if ((flags & GRE_CSUM) !== 0) return Pull.ERROR;
    tunnel[K.TUN_ID] = 0;
    tunnel[K.TUN_ID + 1] = sequenced ? view.getUint16(header + 2) & SESSION_MASK : 0;
    tunnel[K.TUN_FLAGS] |= (TunnelFlag.KEY | TunnelFlag.ERSPAN_OPT) << 16;
    tunnel[K.TUN_PROTO] = (tunnel[K.TUN_PROTO] & ~0xff) | OPTIONS_LEN;
    tunnel[K.TUN_OPTS] = version << 24;
    tunnel[K.TUN_OPTS + 1] = view.getInt32(header + 4);
    tunnel[K.TUN_OPTS + 2] = version === 1 ? 0 : view.getInt32(header + 8);
    return length;
  }
}

/** Whether the IP header's length exceeds the frame. */
function isTruncated(packet: Packet, inner: number, etherType: number): boolean {
  const { view } = packet.memory;
  const { l3 } = packet;
  const end = packet.off + packet.len;
  if (l3 < inner) return false;
  if (etherType === ethernet.ETH_P_IP) return l3 + ipv4.HEADER_LEN <= end && ipv4.totalLength(view, l3) > end - l3;
  if (etherType === ethernet.ETH_P_IPV6)
    return l3 + ipv6.HEADER_LEN <= end && ipv6.payloadLength(view, l3) > end - l3 - ipv6.HEADER_LEN;
  return false;
}

const { definitions: LINK } = greLink;
const REPORTED: readonly ReportedAttribute[] = [fixed(LINK.ERSPAN_VER, 1), fixed(LINK.ERSPAN_INDEX)];

/** ERSPAN over IPv4. */
export const erspan: TunnelKind = {
  ...GRE_COMMON,
  name: "erspan",
  attributes: greLink,
  reported: [...REPORTED, ...GRE_REPORTED],
  settings: (_data, { clock }) => greSettings(erspan, new Erspan(clock), AF_INET),
  behaviour: GRE_BEHAVIOUR,
};

/** ERSPAN over IPv6. */
export const ip6erspan: TunnelKind = {
  ...GRE_COMMON,
  name: "ip6erspan",
  attributes: ip6greLink,
  reported: [...REPORTED, ...IP6GRE_REPORTED],
  settings: (_data, { clock }) => greSettings(ip6erspan, new Erspan(clock), AF_INET6),
  behaviour: IP6GRE_BEHAVIOUR,
};
