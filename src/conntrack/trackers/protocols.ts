import * as icmp from "../../packet/icmp.ts";
import * as icmpv6 from "../../packet/icmpv6.ts";
import { IpProto } from "../../packet/ip.ts";
import { IPCT_ASSURED, IPS_ASSURED, IPS_CONFIRMED, IPS_SEEN_REPLY, IPS_UNTRACKED } from "../../uapi/nfnetlink.ts";
import { AF_INET, AF_INET6 } from "../../uapi/socket.ts";
import { E, T } from "../layout.ts";
import { IPPROTO_DCCP, REPLIED, TIMEOUT, UNREPLIED } from "../options.ts";
import { trackDccp } from "./dccp.ts";
import { trackSctp } from "./sctp.ts";
import { type Tracked, Verdict } from "./verdict.ts";

/** A UDP flow that lives longer than this with answers is a stream (spec/conntrack C-314). */
const STREAM_AFTER = 2000;
/** The bit is NAT_CLASH in the kernel, under an older name in the header. */
const IPS_NAT_CLASH = IPS_UNTRACKED;

/**
 * Tracks a packet of any protocol but TCP and UDP (spec/conntrack sections 17 and 17b). Precondition: headerValid. HOT
 * PATH: nine scalar parameters, because an object for them would be allocated for every packet.
 * @param length bytes from l4 to the end of the packet
 */
export function trackOther(
  words: Int32Array,
  entry: number,
  direction: number,
  proto: number,
  view: DataView,
  l4: number,
  length: number,
  timeouts: Int32Array,
  result: Tracked,
): Verdict {
  switch (proto) {
    case IpProto.UDPLITE:
    case IpProto.GRE:
      return trackReplied(words, entry, timeouts, result);
    case IpProto.ICMP: {
      // Every packet of a connection must be of a type that may begin one (spec/conntrack C-319).
      const type = (words[entry + T.PORTS] >>> 8) & 0xff;
      if ((words[entry + T.META] & 0xff) !== AF_INET) return Verdict.INVALID;
      if (!isIcmpQuery(type)) return Verdict.INVALID;
      result.timeout = timeouts[TIMEOUT];
      return Verdict.ACCEPT;
    }
    case IpProto.ICMPV6: {
      const type = (words[entry + T.PORTS] >>> 8) & 0xff;
      if ((words[entry + T.META] & 0xff) !== AF_INET6) return Verdict.INVALID;
      if ((words[entry + E.STATUS] & IPS_CONFIRMED) === 0 && !isIcmpv6Query(type)) return Verdict.INVALID;
      result.timeout = timeouts[TIMEOUT];
      return Verdict.ACCEPT;
    }
    case IpProto.SCTP:
      return trackSctp(words, entry, direction, view, l4, length, timeouts, result);
    case IPPROTO_DCCP:
      return trackDccp(words, entry, direction, view, l4, timeouts, result);
    default:
      result.timeout = timeouts[TIMEOUT];
      return Verdict.ACCEPT;
  }
}

/** ICMP types that may begin a connection (spec/conntrack C-319). */
function isIcmpQuery(type: number): boolean {
  return (
    type === icmp.IcmpType.ECHO ||
    type === icmp.IcmpType.TIMESTAMP ||
    type === icmp.IcmpType.INFO_REQUEST ||
    type === icmp.IcmpType.ADDRESS
  );
}

/** ICMPv6 types that may begin a connection. */
function isIcmpv6Query(type: number): boolean {
  return type === icmpv6.Icmpv6Type.ECHO_REQUEST || type === icmpv6.Icmpv6Type.NI_QUERY;
}

/** UDP (spec/conntrack C-313, C-314). HOT PATH. */
export function trackUdp(
  words: Int32Array,
  entry: number,
  timeouts: Int32Array,
  now: number,
  result: Tracked,
): Verdict {
  const status = words[entry + E.STATUS];
  if ((status & IPS_CONFIRMED) === 0) words[entry + E.STREAM] = now + STREAM_AFTER;
  if ((status & IPS_SEEN_REPLY) === 0 || ((now - words[entry + E.STREAM]) | 0) <= 0) {
    result.timeout = timeouts[UNREPLIED];
    return Verdict.ACCEPT;
  }
  result.timeout = timeouts[REPLIED];
  if ((status & (IPS_ASSURED | IPS_NAT_CLASH)) === 0) {
    words[entry + E.STATUS] = status | IPS_ASSURED;
    result.events |= 1 << IPCT_ASSURED;
  }
  return Verdict.ACCEPT;
}

/** UDPLite and GRE: assured with the first packet after an answer (spec/conntrack C-317, C-332). */
function trackReplied(words: Int32Array, entry: number, timeouts: Int32Array, result: Tracked): Verdict {
  const status = words[entry + E.STATUS];
  if ((status & IPS_SEEN_REPLY) === 0) {
    result.timeout = timeouts[UNREPLIED];
    return Verdict.ACCEPT;
  }
  result.timeout = timeouts[REPLIED];
  if ((status & (IPS_ASSURED | IPS_NAT_CLASH)) === 0) {
    words[entry + E.STATUS] = status | IPS_ASSURED;
    result.events |= 1 << IPCT_ASSURED;
  }
  return Verdict.ACCEPT;
}

/** Protocols for which two entries of one connection may be merged (spec/conntrack C-266). */
export function allowsClash(proto: number): boolean {
  return (
    proto !== IpProto.TCP &&
    proto !== IpProto.ICMP &&
    proto !== IpProto.ICMPV6 &&
    proto !== IpProto.SCTP &&
    proto !== IPPROTO_DCCP
  );
}
