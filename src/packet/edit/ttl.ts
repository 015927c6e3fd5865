import { EHOSTUNREACH } from "../../uapi/errno.ts";
import { ETH_P_IP, ETH_P_IPV6 } from "../ethernet.ts";
import * as ipv4 from "../ipv4.ts";
import * as ipv6 from "../ipv6.ts";
import type { Packet } from "../packet.ts";
import { prepareIpv4, setIpv4Ttl } from "./ipv4.ts";
import { prepareIpv6 } from "./ipv6.ts";

/**
 * dec_ttl: lowers TTL or hop limit by one, by packet.protocol; other packets pass unchanged (spec/actions section 10).
 * @returns -EHOSTUNREACH if it is 1 or 0 (unchanged then), -ENOMEM if the header is cut off
 */
export function decTtl(packet: Packet): number {
  const { view } = packet.memory;
  if (packet.protocol === ETH_P_IPV6) {
    const error = prepareIpv6(packet);
    if (error !== 0) return error;
    const hops = ipv6.hopLimit(view, packet.l3);
    if (hops <= 1) return -EHOSTUNREACH;
    view.setUint8(packet.l3 + ipv6.HOP_LIMIT, hops - 1);
  } else if (packet.protocol === ETH_P_IP) {
    const error = prepareIpv4(packet);
    if (error !== 0) return error;
    const ttl = ipv4.ttl(view, packet.l3);
    if (ttl <= 1) return -EHOSTUNREACH;
    setIpv4Ttl(packet, ttl - 1, 0xff);
  }
  return 0;
}
