import { checksum } from "../../src/packet/checksum.ts";
import { ETH_P_IPV6 } from "../../src/packet/ethernet.ts";
import { IpProto } from "../../src/packet/ip.ts";
import * as ipv4 from "../../src/packet/ipv4.ts";
import { pseudoV4, pseudoV6 } from "../../src/packet/l4-checksum.ts";
import type { Packet } from "../../src/packet/packet.ts";

/** True if the checksum of the IPv4 header at `off` is right. */
export function verifyIpv4(view: DataView, off: number): boolean {
  return checksum(view, off, ipv4.headerLength(view, off)) === 0;
}

/**
 * Writes the transport checksum anew over `length` bytes from l4. The packet must not be partial.
 * @param at absolute offset of the field
 */
export function fillL4(packet: Packet, etherType: number, proto: number, length: number, at: number): void {
  const view = packet.memory.view;
  view.setUint16(at, 0);
  let initial = 0;
  if (etherType === ETH_P_IPV6) initial = pseudoV6(view, packet.l3, proto, length);
  else if (proto !== IpProto.ICMP) initial = pseudoV4(view, packet.l3, proto, length);
  const value = checksum(view, packet.l4, length, initial);
  view.setUint16(at, value === 0 && proto === IpProto.UDP ? 0xffff : value);
}
