import { ENOMEM } from "../../uapi/errno.ts";
import { diff32, replace16, replace32 } from "../checksum.ts";
import * as ipv4 from "../ipv4.ts";
import type { Packet } from "../packet.ts";
import { updateForAddress } from "./transport.ts";
import { ensureWritable, networkLength } from "./writable.ts";

/**
 * Whether the fixed IPv4 header can be written; makes the packet writable. @returns 0 or -ENOMEM (spec/actions A-200)
 */
export function prepareIpv4(packet: Packet): number {
  return networkLength(packet) >= ipv4.HEADER_LEN && ensureWritable(packet) ? 0 : -ENOMEM;
}

/**
 * Writes an address of the IPv4 header with header and transport checksum (spec/actions ).
 * Precondition: prepareIpv4.
 * @param field ipv4.SRC or ipv4.DST
 * @returns true if the address changed
 */
export function setIpv4Addr(packet: Packet, field: number, address: number): boolean {
  const { view } = packet.memory;
  const { l3 } = packet;
  const old = view.getInt32(l3 + field);
  if (old === (address | 0)) return false;
  if (!ipv4.isLaterFragment(view, l3)) {
    updateForAddress(packet, ipv4.protocol(view, l3), diff32(old, address), false);
  }
  replace32(view, l3 + ipv4.CHECKSUM, old, address);
  view.setInt32(l3 + field, address);
  return true;
}

/**
 * Masked write of the tos byte, ECN bits included, with the header checksum (spec/actions A-190). Precondition:
 * prepareIpv4.
 */
export function setIpv4Tos(packet: Packet, value: number, mask: number): void {
  const { view } = packet.memory;
  const { l3 } = packet;
  const old = view.getUint16(l3);
  const tos = (old & ~mask & 0xff) | (value & mask);
  replace16(view, l3 + ipv4.CHECKSUM, old & 0xff, tos);
  view.setUint8(l3 + ipv4.TOS, tos);
}

/** Masked write of the ttl, with the header checksum; 0 is allowed (spec/actions A-191). Precondition: prepareIpv4. */
export function setIpv4Ttl(packet: Packet, value: number, mask: number): void {
  const { view } = packet.memory;
  const { l3 } = packet;
  const old = view.getUint8(l3 + ipv4.TTL);
  const ttl = (old & ~mask & 0xff) | (value & mask);
  replace16(view, l3 + ipv4.CHECKSUM, old << 8, ttl << 8);
  view.setUint8(l3 + ipv4.TTL, ttl);
}
