import { K, TunnelFlag } from "../../flow/key.ts";
import { ETH_P_IP, ETH_P_IPV6, ETH_P_MPLS_MC, ETH_P_MPLS_UC } from "../../packet/ethernet.ts";
import { IpProto } from "../../packet/ip.ts";
import type { Packet } from "../../packet/packet.ts";
import { type Encapsulation, Pull } from "../encapsulation.ts";

/**
 * Packets in UDP with no header between (Documentation/networking/bareudp.rst; with MPLS, RFC 7510): the port says what is
 * inside. A device for IPv4 that is in multi-protocol mode takes IPv6 as well, told by the version; one for MPLS takes
 * multicast MPLS, told by the outer destination (RFC 5332).
 */
export class Bareudp implements Encapsulation {
  readonly protocol = IpProto.UDP;
  readonly l3 = true;
  /** The other ethertype of multi-protocol mode, 0 = there is none. */
  private readonly second: number;

  /**
   * @param etherType of what is inside
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
    // The kernel's socket is one for both families, and has joined no IPv4 group.
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
