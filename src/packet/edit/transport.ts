import { ENOMEM } from "../../uapi/errno.ts";
import { diff16 } from "../checksum.ts";
import { IpProto } from "../ip.ts";
import { updateL4, updateUdp } from "../l4-checksum.ts";
import { Csum, type Packet } from "../packet.ts";
import * as sctp from "../sctp.ts";
import * as tcp from "../tcp.ts";
import * as udp from "../udp.ts";
import { ensureWritable, transportLength } from "./writable.ts";

/** Updates the transport checksum for a change in the pseudo header, if the transport header is there in full. */
export function updateForAddress(packet: Packet, proto: number, diff: number, icmpv6: boolean): void {
  const length = transportLength(packet);
  if (proto === IpProto.TCP) {
    if (length >= tcp.HEADER_LEN) updateL4(packet, packet.l4 + tcp.CHECKSUM, diff, true);
  } else if (proto === IpProto.UDP) {
    if (length >= udp.HEADER_LEN) updateUdp(packet, packet.l4 + udp.CHECKSUM, diff, true);
  } else if (icmpv6 && proto === IpProto.ICMPV6) {
    if (length >= 8) updateL4(packet, packet.l4 + 2, diff, true);
  }
}

/**
 * Whether `length` bytes of transport header can be written; makes the packet writable. @returns 0 or -ENOMEM
 * (spec/actions A-200)
 */
export function prepareTransport(packet: Packet, length: number): number {
  return transportLength(packet) >= length && ensureWritable(packet) ? 0 : -ENOMEM;
}

/**
 * Writes both ports of a TCP header with its checksum (spec/actions A-195). Precondition: prepareTransport(packet,
 * tcp.HEADER_LEN).
 * @returns true if one changed: the conntrack reference goes
 */
export function setTcpPorts(packet: Packet, src: number, dst: number): boolean {
  const { view } = packet.memory;
  const { l4 } = packet;
  const oldSrc = tcp.srcPort(view, l4);
  const oldDst = tcp.dstPort(view, l4);
  if (oldSrc !== src) {
    updateL4(packet, l4 + tcp.CHECKSUM, diff16(oldSrc, src), false);
    view.setUint16(l4 + tcp.SRC_PORT, src);
  }
  if (oldDst !== dst) {
    updateL4(packet, l4 + tcp.CHECKSUM, diff16(oldDst, dst), false);
    view.setUint16(l4 + tcp.DST_PORT, dst);
  }
  return oldSrc !== src || oldDst !== dst;
}

/**
 * Writes both ports of a UDP header with its checksum (spec/actions ). Precondition:
 * prepareTransport(packet, udp.HEADER_LEN).
 * @returns true if the conntrack reference goes: a port changed, or there was no checksum to update
 */
export function setUdpPorts(packet: Packet, src: number, dst: number): boolean {
  const { view } = packet.memory;
  const { l4 } = packet;
  const at = l4 + udp.CHECKSUM;
  const oldSrc = udp.srcPort(view, l4);
  const oldDst = udp.dstPort(view, l4);
  const plain = view.getUint16(at) === 0 || packet.csum === Csum.PARTIAL;
  if (!plain) {
    if (oldSrc !== src) updateL4(packet, at, diff16(oldSrc, src), false);
    if (oldDst !== dst) updateL4(packet, at, diff16(oldDst, dst), false);
    if (view.getUint16(at) === 0) view.setUint16(at, 0xffff);
  }
  view.setUint16(l4 + udp.SRC_PORT, src);
  view.setUint16(l4 + udp.DST_PORT, dst);
  return plain || oldSrc !== src || oldDst !== dst;
}

/**
 * Writes both ports of an SCTP header; an error that the checksum had is carried through (spec/actions A-199). The
 * conntrack reference goes in any case. Precondition: prepareTransport(packet, sctp.HEADER_LEN).
 */
export function setSctpPorts(packet: Packet, src: number, dst: number): void {
  const { view } = packet.memory;
  const { l4 } = packet;
  const length = transportLength(packet);
  const error = sctp.checksum(view, l4) ^ sctp.computeChecksum(view, l4, length);
  view.setUint16(l4 + sctp.SRC_PORT, src);
  view.setUint16(l4 + sctp.DST_PORT, dst);
  sctp.setChecksum(view, l4, error ^ sctp.computeChecksum(view, l4, length));
}
