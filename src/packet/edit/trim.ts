import { EBADMSG, ENOMEM } from "../../uapi/errno.ts";
import { ETH_P_IP, ETH_P_IPV6 } from "../ethernet.ts";
import { IpProto } from "../ip.ts";
import * as ipv4 from "../ipv4.ts";
import * as ipv6 from "../ipv6.ts";
import type { Packet } from "../packet.ts";
import { networkLength } from "./writable.ts";

/**
 * Cuts off what follows the IP datagram: Ethernet padding (spec/conntrack C-053). Nothing is cut if the packet is
 * shorter than its header says, nor from IPv4 packets with total length 0.
 * @param etherType ETH_P_IP or ETH_P_IPV6
 * @returns 0; -EBADMSG or -ENOMEM for a malformed hop-by-hop header (jumbo payload, RFC 2675)
 */
export function trimToIpLength(packet: Packet, etherType: number): number {
  const { view } = packet.memory;
  const available = networkLength(packet);
  let length = available;
  if (etherType === ETH_P_IP) {
    if (available < ipv4.HEADER_LEN) return 0;
    length = ipv4.totalLength(view, packet.l3);
    if (length === 0) return 0;
  } else if (etherType === ETH_P_IPV6) {
    if (available < ipv6.HEADER_LEN) return 0;
    length = ipv6.payloadLength(view, packet.l3);
    if (ipv6.nextHeader(view, packet.l3) === IpProto.HOPOPTS) {
      const jumbo = jumboLength(packet);
      if (jumbo < 0) return jumbo;
      if (jumbo > 0) length = jumbo;
    }
    length += ipv6.HEADER_LEN;
  }
  if (length < available) packet.len -= available - length;
  return 0;
}

/** Hop-by-hop option types: padding of one byte, and the jumbo payload length. */
const TLV_PAD1 = 0;

const TLV_JUMBO = 194;

/** The jumbo payload length of a hop-by-hop header, 0 if it has none, or a negative errno if it is malformed. */
function jumboLength(packet: Packet): number {
  const { view } = packet.memory;
  const { l3 } = packet;
  const available = networkLength(packet);
  let off = ipv6.HEADER_LEN;
  if (available < off + 8) return -ENOMEM;
  let left = ipv6.extensionLength(view, l3 + off, IpProto.HOPOPTS);
  if (available < off + left) return -ENOMEM;
  off += 2;
  left -= 2;
  let result = 0;
  while (left > 0) {
    if (view.getUint8(l3 + off) === TLV_PAD1) {
      off++;
      left--;
      continue;
    }
    if (left < 2) return -EBADMSG;
    const length = view.getUint8(l3 + off + 1) + 2;
    if (length > left) return -EBADMSG;
    if (view.getUint8(l3 + off) === TLV_JUMBO) {
      if (length !== 6 || (off & 3) !== 2) return -EBADMSG;
      const jumbo = view.getUint32(l3 + off + 2);
      if (jumbo <= 0xffff || ipv6.payloadLength(view, l3) !== 0) return -EBADMSG;
      if (jumbo > available - ipv6.HEADER_LEN) return -EBADMSG;
      result = jumbo;
    }
    off += length;
    left -= length;
  }
  return result;
}
