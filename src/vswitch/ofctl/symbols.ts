/** Words and values that parsing and printing share. */
import { bigintToBytes } from "../bigint.ts";
import type { OfpField } from "../fields.ts";
import {
  ETH_TYPE_ARP,
  ETH_TYPE_IP,
  ETH_TYPE_IPV6,
  ETH_TYPE_MPLS,
  ETH_TYPE_MPLS_MCAST,
  ETH_TYPE_RARP,
} from "../flow.ts";

/** An own property of a table; not an inherited one such as `constructor`. */
export const entry = <T>(table: Readonly<Record<string, T>>, name: string): T | undefined =>
  Object.hasOwn(table, name) ? table[name] : undefined;

/** Names of OVS_CS_F_* bits, from bit 0 on. */
export const ctStates = ["new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat"];
/** Names of TCP flag bits, from bit 0 on. */
export const tcpFlags = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns"];

/** Values of ip_frag (FLOW_NW_FRAG_* bits) and their masks. */
export const fragments: Readonly<Record<string, { value: number; mask: number }>> = {
  no: { value: 0, mask: 3 },
  yes: { value: 1, mask: 1 },
  first: { value: 1, mask: 3 },
  later: { value: 3, mask: 3 },
  not_later: { value: 0, mask: 2 },
};

/** Words for a dl_type, and an nw_proto. */
export const protocols: Readonly<Record<string, readonly [number, number?]>> = {
  ip: [ETH_TYPE_IP],
  ipv4: [ETH_TYPE_IP],
  ipv6: [ETH_TYPE_IPV6],
  ip6: [ETH_TYPE_IPV6],
  icmp: [ETH_TYPE_IP, 1],
  icmp6: [ETH_TYPE_IPV6, 58],
  tcp: [ETH_TYPE_IP, 6],
  tcp6: [ETH_TYPE_IPV6, 6],
  udp: [ETH_TYPE_IP, 17],
  udp6: [ETH_TYPE_IPV6, 17],
  sctp: [ETH_TYPE_IP, 132],
  sctp6: [ETH_TYPE_IPV6, 132],
  arp: [ETH_TYPE_ARP],
  rarp: [ETH_TYPE_RARP],
  mpls: [ETH_TYPE_MPLS],
  mplsm: [ETH_TYPE_MPLS_MCAST],
};

/** A value and a mask: right-aligned big-endian numbers of ⌈width / 8⌉ bytes. */
export interface MaskedValue {
  readonly value: Uint8Array;
  readonly mask: Uint8Array;
}

/** The mask that matches every bit of a field. */
export function fullMask(field: OfpField): Uint8Array {
  // The two low bits of the byte are nw_ecn.
  if (field.name === "nw_tos") return Uint8Array.of(0xfc);
  return bigintToBytes((1n << BigInt(field.bits)) - 1n, (field.width + 7) >> 3);
}
