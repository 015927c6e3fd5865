import { K, TunnelFlag } from "../../flow/key.ts";
import { IpProto } from "../../packet/ip.ts";
import type { Packet } from "../../packet/packet.ts";
import { type Encapsulation, Pull } from "../encapsulation.ts";

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
export const HEADER_LEN = 8;

const VNI_PRESENT = 0x08000000;
const GBP_PRESENT = 0x80000000 | 0;
/** Bits of OVS_VXLAN_EXT_GBP, which in the header are where they are in a u32. */
const DONT_LEARN = 0x00400000;
const POLICY_APPLIED = 0x00080000;
const POLICY_ID = 0xffff;
/** The extension's flag and all that its field covers: whatever stands there is taken. */
const GBP_USED = 0x80ffffff | 0;

/** The u32 that the key's option bytes hold in the machine's byte order. */
const swap = (word: number): number =>
  ((word & 0xff) << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);

export class Vxlan implements Encapsulation {
  readonly protocol = IpProto.UDP;
  readonly l3 = false;

  /** @param gbp whether the device has the group policy extension */
  constructor(readonly gbp: boolean) {}

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
