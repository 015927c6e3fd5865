import type { Packet } from "../packet.ts";
import { reassembleIpv4 } from "./ipv4.ts";
import { reassembleIpv6 } from "./ipv6.ts";
import { FragmentTable } from "./table.ts";

/**
 * Reassembly of IP fragments before connection tracking (spec/conntrack section 4): what the kernel's ip_defrag and
 * nf_ct_frag6_gather do for the users "conntrack, zone n".
 *
 * Queues and fragments are rows of two Int32Arrays; the bytes wait in buffers of the arena. A queue holds its fragments
 * in order of offset. As in the kernel, neighbours that came in order make a *run*: a fragment that lies within one run
 * is a duplicate, one that touches a run otherwise is an overlap.
 */

/** Fragment queues of one conntrack instance. One per network namespace, as in the kernel. */
export class Reassembler extends FragmentTable {
  /** Takes an IPv4 fragment: see reassembleIpv4(). */
  ipv4(packet: Packet, zone: number): number {
    return reassembleIpv4(this, packet, zone);
  }

  /** Takes an IPv6 fragment: see reassembleIpv6(). */
  ipv6(packet: Packet, zone: number): number {
    return reassembleIpv6(this, packet, zone);
  }
}
