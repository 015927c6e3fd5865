/** The functions of src/packet/edit, and a question that only tests ask. */

import type { Packet } from "../../src/packet/packet.ts";

export * from "../../src/packet/edit/ethernet.ts";
export * from "../../src/packet/edit/ipv4.ts";
export * from "../../src/packet/edit/ipv6.ts";
export * from "../../src/packet/edit/mpls.ts";
export * from "../../src/packet/edit/nsh.ts";
export * from "../../src/packet/edit/transport.ts";
export * from "../../src/packet/edit/trim.ts";
export * from "../../src/packet/edit/ttl.ts";
export * from "../../src/packet/edit/vlan.ts";
export * from "../../src/packet/edit/writable.ts";

/** True if the packet's bytes may be changed where they are. */
export function isWritable(packet: Packet): boolean {
  return packet.off + packet.len <= packet.end;
}
