import { Errno } from "../../core/errors.ts";
import { K, TunnelFlag } from "../../flow/key.ts";
import { ETH_P_IP, ETH_P_IPV6, ETH_P_MPLS_MC, ETH_P_MPLS_UC } from "../../packet/ethernet.ts";
import { IpProto } from "../../packet/ip.ts";
import type { Packet } from "../../packet/packet.ts";
import { bareudpLink } from "../../schema/rtnetlink.ts";
import { EBUSY, EINVAL } from "../../uapi/errno.ts";
import * as rt from "../../uapi/rtnetlink.ts";
import { AF_INET, AF_INET6 } from "../../uapi/socket.ts";
import { type Encapsulation, Pull } from "../encapsulation.ts";
import { Count, type TunnelKind } from "../kind.ts";
import { fixed, ifGiven, readBe16, readU16 } from "../link-data.ts";

/**
 * Packets in UDP without a tunnel header (Documentation/networking/bareudp.rst; with MPLS, RFC 7510): the UDP port stands
 * for the ethertype of the payload. In multi-protocol mode a device for IPv4 takes IPv6 too, recognised by the IP version,
 * and one for MPLS takes multicast MPLS, recognised by the outer destination (RFC 5332).
 */
class Bareudp implements Encapsulation {
  readonly protocol = IpProto.UDP;
  readonly l3 = true;
  /** The other ethertype of multi-protocol mode, 0: none. */
  private readonly second: number;

  /**
   * @param etherType of the payload
   * @param multiProto whether the device takes the related ethertype as well
   */
  constructor(
    private readonly etherType: number,
    multiProto: boolean,
  ) {
    const related = etherType === ETH_P_IP ? ETH_P_IPV6 : etherType === ETH_P_MPLS_UC ? ETH_P_MPLS_MC : 0;
    this.second = multiProto ? related : 0;
  }

  length(): number {
    return 0;
  }

  carries(etherType: number): boolean {
    return etherType === this.etherType || (this.second !== 0 && etherType === this.second);
  }

  push(): void {}

  pull(packet: Packet, tunnel: Int32Array, v6: boolean): number {
    let { etherType } = this;
    const first = tunnel[K.TUN_DST] >>> 24;
    // The kernel has one IPv6 socket for both families, and it is in no IPv4 multicast group.
    if (!v6 && first >> 4 === 0xe) return Pull.IGNORED;
    if (etherType === ETH_P_IP) {
      const version = packet.len === 0 ? 0 : packet.memory.view.getUint8(packet.off) >> 4;
      if (version === 6) etherType = this.second;
      else if (version !== 4) return Pull.DROPPED;
    } else if (etherType === ETH_P_MPLS_UC && v6 && first === 0xff) {
      etherType = this.second;
    }
    if (etherType === 0) return Pull.DROPPED;
    packet.protocol = etherType;
    tunnel[K.TUN_ID] = 0;
    tunnel[K.TUN_ID + 1] = 0;
    tunnel[K.TUN_FLAGS] |= TunnelFlag.KEY << 16;
    return 0;
  }
}

/** End of the range of UDP source ports, not included. */
const LAST_PORT = 0xffff;

const { definitions: LINK } = bareudpLink;

export const bareudp: TunnelKind = {
  name: "bareudp",
  collectMetadata: 0,
  attributes: bareudpLink,
  reported: [ifGiven(LINK.PORT), ifGiven(LINK.ETHERTYPE), fixed(LINK.SRCPORT_MIN), ifGiven(LINK.MULTIPROTO_MODE)],
  derived: () => new Map(),
  validate(data) {
    if (data === undefined) throw new Errno(EINVAL);
    if (!data.has(rt.IFLA_BAREUDP_PORT) || !data.has(rt.IFLA_BAREUDP_ETHERTYPE)) throw new Errno(EINVAL);
    const etherType = readBe16(data, rt.IFLA_BAREUDP_ETHERTYPE);
    if (data.has(rt.IFLA_BAREUDP_MULTIPROTO_MODE) && etherType !== ETH_P_IP && etherType !== ETH_P_MPLS_UC)
      throw new Errno(EINVAL);
  },
  isL3: () => true,
  identity: (data) => String(readBe16(data, rt.IFLA_BAREUDP_PORT)),
  duplicateErrno: EBUSY,
  settings(data) {
    const min = readU16(data, rt.IFLA_BAREUDP_SRCPORT_MIN);
    const multiProto = data.has(rt.IFLA_BAREUDP_MULTIPROTO_MODE);
    return {
      kind: bareudp,
      encapsulation: new Bareudp(readBe16(data, rt.IFLA_BAREUDP_ETHERTYPE), multiProto),
      families: [AF_INET, AF_INET6],
      dstPort: readBe16(data, rt.IFLA_BAREUDP_PORT),
      zeroChecksum6: true,
      sourcePorts: min < LAST_PORT ? { min, max: LAST_PORT } : undefined,
      gbp: false,
    };
  },
  behaviour: {
    egressKey: true,
    withoutKey: Count.TX_ERROR,
    unfitKey: Count.TX_ERROR,
    truncated: Count.TX_ERROR,
    answersTooBig: false,
    countsAnswers: false,
    routeHopLimit: false,
    keyDstPort: false,
    countsShortFrames: false,
  },
  vport: undefined,
};
