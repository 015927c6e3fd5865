import { Errno } from "../../core/errors.ts";
import { K, TunnelFlag } from "../../flow/key.ts";
import { ETH_P_IP, ETH_P_IPV6, ETH_P_MPLS_UC, ETH_P_NSH, ETH_P_TEB } from "../../packet/ethernet.ts";
import { IpProto } from "../../packet/ip.ts";
import type { Packet } from "../../packet/packet.ts";
import { EINVAL } from "../../uapi/errno.ts";
import * as rt from "../../uapi/rtnetlink.ts";
import { type Encapsulation, Pull } from "../encapsulation.ts";
import { isFlagSet, type LinkData } from "../link-data.ts";

/**
 * VXLAN with the generic protocol extension (draft-ietf-nvo3-vxlan-gpe): the header names the protocol of the payload.
 * To rtnetlink it is a mode of the VXLAN device (IFLA_VXLAN_GPE), whose record is in vxlan.ts.
 *
 * ```
 *  0                   1                   2                   3
 *  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 * |R|R|ver|I|P|B|O|           reserved            | next protocol |  0
 * |                     VNI                       |   reserved    |  4
 * ```
 * I: there is a VNI, P: there is a next protocol, O: an OAM packet, B: a BUM packet.
 */
const HEADER_LEN = 8;

/** UDP port of a device for which none was given (IANA). */
export const GPE_PORT = 4790;

const VNI_PRESENT = 0x08000000;
const PROTOCOL_PRESENT = 0x04000000;
/** The bits that the extension uses: version, P, O and the next protocol. The kernel knows no B. */
const GPE_USED = 0x350000ff;
const VERSION_OR_OAM = 0x31000000;

/** Ethertypes by next protocol, 0: none. */
const ETHER_TYPES = Uint16Array.of(0, ETH_P_IP, ETH_P_IPV6, ETH_P_TEB, ETH_P_NSH, ETH_P_MPLS_UC);

export class VxlanGpe implements Encapsulation {
  readonly protocol = IpProto.UDP;
  readonly l3 = true;

  length(): number {
    return HEADER_LEN;
  }

  carries(etherType: number): boolean {
    return ETHER_TYPES.indexOf(etherType) > 0;
  }

  push(packet: Packet, _length: number, tunnel: Int32Array, etherType: number): void {
    const { view } = packet.memory;
    const { off } = packet;
    view.setInt32(off, VNI_PRESENT | PROTOCOL_PRESENT | ETHER_TYPES.indexOf(etherType));
    view.setInt32(off + 4, tunnel[K.TUN_ID + 1] << 8);
  }

  pull(packet: Packet, tunnel: Int32Array): number {
    if (packet.len < HEADER_LEN) return Pull.IGNORED;
    const { view } = packet.memory;
    const { off } = packet;
    const flags = view.getInt32(off);
    const vni = view.getInt32(off + 4);
    if ((flags & VNI_PRESENT) === 0 || (flags & PROTOCOL_PRESENT) === 0) return Pull.IGNORED;
    if ((flags & VERSION_OR_OAM) !== 0 || (flags & ~(VNI_PRESENT | GPE_USED)) !== 0 || (vni & 0xff) !== 0)
      return Pull.IGNORED;
    const next = flags & 0xff;
    if (next === 0 || next >= ETHER_TYPES.length) return Pull.IGNORED;
    packet.protocol = ETHER_TYPES[next];
    tunnel[K.TUN_ID] = 0;
    tunnel[K.TUN_ID + 1] = vni >>> 8;
    tunnel[K.TUN_FLAGS] |= TunnelFlag.KEY << 16;
    return HEADER_LEN;
  }
}

/** Attributes that a device with the extension refuses (the complement of VXLAN_F_ALLOWED_GPE). */
const REFUSED = [
  rt.IFLA_VXLAN_PROXY,
  rt.IFLA_VXLAN_RSC,
  rt.IFLA_VXLAN_L2MISS,
  rt.IFLA_VXLAN_L3MISS,
  rt.IFLA_VXLAN_REMCSUM_TX,
  rt.IFLA_VXLAN_REMCSUM_RX,
  rt.IFLA_VXLAN_GBP,
  rt.IFLA_VXLAN_REMCSUM_NOPARTIAL,
  rt.IFLA_VXLAN_TTL_INHERIT,
];

/** Checks the attributes of a device with the extension. @throws Errno EINVAL: it learns (the default), or has a refused one */
export function validateGpe(data: LinkData): void {
  const learns = !data.has(rt.IFLA_VXLAN_LEARNING) || isFlagSet(data, rt.IFLA_VXLAN_LEARNING);
  if (learns || REFUSED.some((attribute) => isFlagSet(data, attribute))) throw new Errno(EINVAL);
}
