import { replace16 } from "../packet/checksum.ts";
import { ETH_P_IP, ETH_P_IPV6 } from "../packet/ethernet.ts";
import * as ipv4 from "../packet/ipv4.ts";
import * as ipv6 from "../packet/ipv6.ts";

/** Explicit congestion notification through tunnels (RFC 6040), as net/inet_ecn.h has it. */

const ECN_MASK = 3;
const NOT_ECT = 0;
const ECT_1 = 1;
const ECT_0 = 2;
const CE = 3;

/** Traffic class of the IP header at `l3`, 0 for other types and for a header that is not within `end`. */
export function dsfield(view: DataView, etherType: number, l3: number, end: number): number {
  if (etherType === ETH_P_IP && l3 + ipv4.HEADER_LEN <= end) return ipv4.tos(view, l3);
  if (etherType === ETH_P_IPV6 && l3 + ipv6.HEADER_LEN <= end) return ipv6.trafficClass(view, l3);
  return 0;
}

/** The outer TOS for an inner one: the inner ECN field, but congestion marks stay inside (INET_ECN_encapsulate). */
export function encapsulate(tos: number, inner: number): number {
  return (tos & ~ECN_MASK) | ((inner & ECN_MASK) === CE ? ECT_0 : inner & ECN_MASK);
}

/**
 * Brings the outer header's mark into the inner one (IP_ECN_decapsulate); the inner header must be writable.
 * @returns false if the packet must be dropped: congestion was marked, and the inner transport does not know of that
 */
export function decapsulate(view: DataView, outerTos: number, etherType: number, l3: number, end: number): boolean {
  const known =
    (etherType === ETH_P_IP && l3 + ipv4.HEADER_LEN <= end) ||
    (etherType === ETH_P_IPV6 && l3 + ipv6.HEADER_LEN <= end);
  if (!known) return true;
  const outer = outerTos & ECN_MASK;
  const inner = dsfield(view, etherType, l3, end) & ECN_MASK;
  if (inner === NOT_ECT) return outer !== CE;
  if (outer === CE && inner !== CE) setEcn(view, etherType, l3, CE);
  else if (outer === ECT_1 && inner === ECT_0) setEcn(view, etherType, l3, ECT_1);
  return true;
}

function setEcn(view: DataView, etherType: number, l3: number, value: number): void {
  if (etherType === ETH_P_IP) {
    const before = view.getUint16(l3);
    const after = (before & ~ECN_MASK) | value;
    view.setUint16(l3, after);
    replace16(view, l3 + ipv4.CHECKSUM, before, after);
  } else {
    ipv6.setTrafficClass(view, l3, (ipv6.trafficClass(view, l3) & ~ECN_MASK) | value);
  }
}
