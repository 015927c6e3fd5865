import { checksum } from "../packet/checksum.ts";
import { ETH_P_IP, ETH_P_IPV6 } from "../packet/ethernet.ts";
import { IpProto } from "../packet/ip.ts";
import { pseudoV4, pseudoV6, verifyL4 } from "../packet/l4-checksum.ts";
import { Csum, type Packet } from "../packet/packet.ts";
import * as sctp from "../packet/sctp.ts";
import * as udp from "../packet/udp.ts";
import { AF_INET } from "../uapi/socket.ts";

import { type ConntrackOptions, IPPROTO_DCCP } from "./options.ts";
import { dccpCoverage, dccpHeaderValid } from "./trackers/dccp.ts";

/** Length, flag and checksum tests that a transport header must pass before its tracker sees it (spec/conntrack C-251). */

/** Verifies the transport checksum, once per packet, unless nf_conntrack_checksum is 0 (spec/conntrack C-058, C-059). */
export function checksumValid(options: ConntrackOptions, packet: Packet, family: number, proto: number): boolean {
  if (packet.csum !== Csum.NONE || !options.checksum) return true;
  if (!verifyL4(packet, family === AF_INET ? ETH_P_IP : ETH_P_IPV6, proto)) return false;
  packet.csum = Csum.UNNECESSARY;
  return true;
}

/** Verifies UDP's length, and its checksum unless that is 0 (spec/conntrack C-315, C-316). HOT PATH. */
export function udpValid(
  options: ConntrackOptions,
  packet: Packet,
  family: number,
  l4: number,
  length: number,
): boolean {
  if (length < udp.HEADER_LEN) return false;
  const { view } = packet.memory;
  const claimed = udp.length(view, l4);
  if (claimed > length || claimed < udp.HEADER_LEN) return false;
  return view.getUint16(l4 + udp.CHECKSUM) === 0 || checksumValid(options, packet, family, IpProto.UDP);
}

/** Verifies the headers of the protocols other than TCP and UDP (spec/conntrack sections 17, 17b). */
export function headerValid(
  options: ConntrackOptions,
  packet: Packet,
  family: number,
  proto: number,
  l4: number,
  length: number,
): boolean {
  const { view } = packet.memory;
  switch (proto) {
    case IpProto.UDPLITE: {
      if (length < udp.HEADER_LEN) return false;
      const covered = udp.udpliteCoverage(view, l4, length);
      if (covered < 0 || view.getUint16(l4 + udp.CHECKSUM) === 0) return false;
      // The kernel puts UDP's protocol number into the pseudo header (spec/conntrack C-317).
      return coverageValid(options, packet, family, IpProto.UDP, l4, length, covered);
    }
    case IpProto.SCTP:
      if (length < sctp.HEADER_LEN) return false;
      if (packet.csum !== Csum.NONE || !options.checksum) return true;
      if (sctp.checksum(view, l4) !== sctp.computeChecksum(view, l4, length)) return false;
      packet.csum = Csum.UNNECESSARY;
      return true;
    case IPPROTO_DCCP:
      if (!dccpHeaderValid(view, l4, length)) return false;
      return coverageValid(options, packet, family, IPPROTO_DCCP, l4, length, dccpCoverage(view, l4, length));
    default:
      return true;
  }
}

/** Verifies a checksum that covers the first `covered` bytes of the transport header and payload. */
function coverageValid(
  options: ConntrackOptions,
  packet: Packet,
  family: number,
  proto: number,
  l4: number,
  length: number,
  covered: number,
): boolean {
  if (packet.csum !== Csum.NONE || !options.checksum) return true;
  const { view } = packet.memory;
  const sum =
    family === AF_INET
      ? checksum(view, packet.l3, l4 - packet.l3 + covered, pseudoV4(view, packet.l3, proto, length))
      : checksum(view, l4, covered, pseudoV6(view, packet.l3, proto, length));
  return sum === 0;
}
