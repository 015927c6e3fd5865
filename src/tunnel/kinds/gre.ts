import { K, TunnelFlag } from "../../flow/key.ts";
import { checksum } from "../../packet/checksum.ts";
import { ETH_P_TEB } from "../../packet/ethernet.ts";
import { IpProto } from "../../packet/ip.ts";
import type { Packet } from "../../packet/packet.ts";
import { type Encapsulation, Pull } from "../encapsulation.ts";

/**
 * GRE (RFC 2784) with key and sequence number (RFC 2890).
 *
 * ```
 *  0                   1                   2                   3
 *  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 * |C|R|K|S|    reserved     | ver |         protocol type         |  0
 * |      checksum (if C)          |           reserved            |
 * |                            key (if K)                         |
 * |                      sequence number (if S)                   |
 * ```
 */
export const BASE_LEN = 4;
export const ETH_P_ERSPAN = 0x88be;
export const ETH_P_ERSPAN2 = 0x22eb;

export const GRE_CSUM = 0x8000;
const GRE_ROUTING = 0x4000;
export const GRE_KEY = 0x2000;
export const GRE_SEQ = 0x1000;
const GRE_VERSION = 0x0007;

/** Length of a header with these flags. */
export function headerLength(flags: number): number {
  return (
    BASE_LEN +
    ((flags & GRE_CSUM) !== 0 ? 4 : 0) +
    ((flags & GRE_KEY) !== 0 ? 4 : 0) +
    ((flags & GRE_SEQ) !== 0 ? 4 : 0)
  );
}

/**
 * Checks a header at packet.off: version 0, no source routes, all of it there, checksum right.
 * @returns its length, or -1
 */
export function check(packet: Packet): number {
  const { off, len } = packet;
  if (len < BASE_LEN) return -1;
  const { view } = packet.memory;
  const flags = view.getUint16(off);
  if ((flags & (GRE_VERSION | GRE_ROUTING)) !== 0) return -1;
  const length = headerLength(flags);
  if (len < length) return -1;
  // A packet that never left this machine may have its checksum still to be written: then the field is 0.
  if ((flags & GRE_CSUM) !== 0 && view.getUint16(off + BASE_LEN) !== 0 && checksum(view, off, len) !== 0) return -1;
  return length;
}

/** Which packets a GRE device takes: by the protocol type in their header. */
export const enum GreKind {
  /** Ethernet frames. */
  ETHERNET = 0,
  /** Whatever it is called, taken for an Ethernet frame. */
  ETHERNET_ANY = 1,
  /** Packets without Ethernet header; frames too if nobody else wants them. */
  L3 = 2,
}

/** GRE with Ethernet frames or, as an L3 device, with whatever else inside. */
export class Gre implements Encapsulation {
  readonly protocol = IpProto.GRE;
  readonly l3: boolean;

  /** @param takesFrames whether an L3 device is to take Ethernet frames now */
  constructor(
    private readonly kind: GreKind,
    private readonly takesFrames: () => boolean = () => false,
  ) {
    this.l3 = kind === GreKind.L3;
  }

  length(tunnel: Int32Array): number {
    const flags = tunnel[K.TUN_FLAGS] >>> 16;
    return BASE_LEN + ((flags & TunnelFlag.CSUM) !== 0 ? 4 : 0) + ((flags & TunnelFlag.KEY) !== 0 ? 4 : 0);
  }

  push(packet: Packet, length: number, tunnel: Int32Array, etherType: number): void {
    const { view } = packet.memory;
    const { off } = packet;
    const keyFlags = tunnel[K.TUN_FLAGS] >>> 16;
    let flags = 0;
    if ((keyFlags & TunnelFlag.CSUM) !== 0) flags |= GRE_CSUM;
    if ((keyFlags & TunnelFlag.KEY) !== 0) {
      flags |= GRE_KEY;
      view.setInt32(off + length - 4, tunnel[K.TUN_ID + 1]);
    }
    view.setUint16(off, flags);
    view.setUint16(off + 2, this.l3 ? etherType : ETH_P_TEB);
    if ((flags & GRE_CSUM) !== 0) {
      view.setInt32(off + BASE_LEN, 0);
      view.setUint16(off + BASE_LEN, checksum(view, off, packet.len));
    }
  }

  pull(packet: Packet, tunnel: Int32Array): number {
    const length = check(packet);
    if (length < 0) return Pull.IGNORED;
    const { view } = packet.memory;
    const { off } = packet;
    const flags = view.getUint16(off);
    const type = view.getUint16(off + 2);
    if (type === ETH_P_ERSPAN || type === ETH_P_ERSPAN2) return Pull.IGNORED;
    if (this.kind === GreKind.L3) {
      if (type === ETH_P_TEB && !this.takesFrames()) return Pull.IGNORED;
      packet.protocol = type;
    } else if (type !== ETH_P_TEB && this.kind === GreKind.ETHERNET) {
      return Pull.IGNORED;
    }
    // The device was not made with checksums, and wants what it was made with.
    if ((flags & GRE_CSUM) !== 0) return Pull.ERROR;
    let keyFlags = 0;
    if ((flags & GRE_KEY) !== 0) {
      keyFlags |= TunnelFlag.KEY;
      tunnel[K.TUN_ID + 1] = view.getInt32(off + length - ((flags & GRE_SEQ) !== 0 ? 8 : 4));
    } else {
      tunnel[K.TUN_ID + 1] = 0;
    }
    tunnel[K.TUN_ID] = 0;
    tunnel[K.TUN_FLAGS] |= keyFlags << 16;
    return length;
  }
}
