import { ENOMEM } from "../../uapi/errno.ts";
import { diff128 } from "../checksum.ts";
import { IpProto } from "../ip.ts";
import * as ipv6 from "../ipv6.ts";
import type { Packet } from "../packet.ts";
import { updateForAddress } from "./transport.ts";
import { ensureWritable, networkLength } from "./writable.ts";

/** Whether the IPv6 header can be written; makes the packet writable. @returns 0 or -ENOMEM (spec/actions A-200) */
export function prepareIpv6(packet: Packet): number {
  return networkLength(packet) >= ipv6.HEADER_LEN && ensureWritable(packet) ? 0 : -ENOMEM;
}

/**
 * Writes an address of the IPv6 header with the transport checksum (spec/actions A-192). The checksum is left alone for
 * a destination with a routing header that has segments left: the checksum holds the final destination.
 * Precondition: prepareIpv6.
 * @param field ipv6.SRC or ipv6.DST
 * @param address big-endian words, four from `index` on
 * @param proto ip.proto of the flow key: the upper layer, 44 for later fragments
 * @returns true if the address changed
 */
export function setIpv6Addr(packet: Packet, field: number, address: Int32Array, index: number, proto: number): boolean {
  const { view } = packet.memory;
  const at = packet.l3 + field;
  if (
    view.getInt32(at) === address[index] &&
    view.getInt32(at + 4) === address[index + 1] &&
    view.getInt32(at + 8) === address[index + 2] &&
    view.getInt32(at + 12) === address[index + 3]
  ) {
    return false;
  }
  if (field === ipv6.SRC || !hasSegmentsLeft(packet)) {
    updateForAddress(packet, proto, diff128(view, at, address, index), true);
  }
  view.setInt32(at, address[index]);
  view.setInt32(at + 4, address[index + 1]);
  view.setInt32(at + 8, address[index + 2]);
  view.setInt32(at + 12, address[index + 3]);
  return true;
}

/** True if there is a routing header with segments left before any upper layer (ipv6_find_hdr with SKIP_RH). */
function hasSegmentsLeft(packet: Packet): boolean {
  const { view } = packet.memory;
  const end = packet.off + packet.len;
  let proto = ipv6.nextHeader(view, packet.l3);
  let off = packet.l3 + ipv6.HEADER_LEN;
  while (ipv6.isExtension(proto) && proto !== IpProto.NONE) {
    if (off + 8 > end) return false;
    if (proto === IpProto.ROUTING && view.getUint8(off + ipv6.ROUTING_SEGMENTS_LEFT) !== 0) return true;
    if (proto === IpProto.FRAGMENT && (view.getUint16(off + ipv6.FRAG_OFFSET) & ipv6.FRAG_OFFSET_MASK) !== 0) {
      return false;
    }
    const length = ipv6.extensionLength(view, off, proto);
    proto = view.getUint8(off);
    off += length;
  }
  return false;
}

/** Masked write of the traffic class (spec/actions A-193). Precondition: prepareIpv6. */
export function setIpv6TrafficClass(packet: Packet, value: number, mask: number): void {
  const { view } = packet.memory;
  const old = ipv6.trafficClass(view, packet.l3);
  ipv6.setTrafficClass(view, packet.l3, (old & ~mask) | (value & mask));
}

/** Masked write of the flow label (spec/actions A-193). Precondition: prepareIpv6. */
export function setIpv6FlowLabel(packet: Packet, value: number, mask: number): void {
  const { view } = packet.memory;
  const old = ipv6.flowLabel(view, packet.l3);
  ipv6.setFlowLabel(view, packet.l3, (old & ~mask) | (value & mask));
}

/** Masked write of the hop limit (spec/actions A-193). Precondition: prepareIpv6. */
export function setIpv6HopLimit(packet: Packet, value: number, mask: number): void {
  const { view } = packet.memory;
  const at = packet.l3 + ipv6.HOP_LIMIT;
  view.setUint8(at, (view.getUint8(at) & ~mask) | (value & mask));
}
