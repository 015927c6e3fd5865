import * as icmp from "../packet/icmp.ts";
import * as icmpv6 from "../packet/icmpv6.ts";
import { IpProto } from "../packet/ip.ts";
import * as ipv4 from "../packet/ipv4.ts";
import * as ipv6 from "../packet/ipv6.ts";
import { CtRef, type Packet } from "../packet/packet.ts";
import { IP_CT_RELATED, IP_CT_RELATED_REPLY } from "../uapi/nfnetlink.ts";
import { AF_INET } from "../uapi/socket.ts";
import { checksumValid } from "./header-check.ts";
import { E, T } from "./layout.ts";
import { addGreSource } from "./packet-tuple.ts";
import type { ConntrackState } from "./state.ts";
import { findTransport, invert, newTuple, Transport, tupleOf } from "./tuple.ts";

const embedded = new Transport();
const tuple = newTuple();
const inverse = newTuple();

/**
 * Finds the connection that an ICMP error is about, and the ICMPv6 messages that are not tracked (spec/conntrack C-320
 * to C-324, C-112).
 * @returns true if the packet is done: its entry is set when the error belongs to one, else it is invalid or untracked;
 * false if it is to be tracked as a message of its own
 */
export function trackIcmpError(
  ct: ConntrackState,
  packet: Packet,
  proto: number,
  l4: number,
  family: number,
  zone: number,
): boolean {
  const { view } = packet.memory;
  const end = packet.off + packet.len;
  const v4 = family === AF_INET;
  // ICMP in IPv6 and the reverse: the tracker refuses it later.
  if (v4 !== (proto === IpProto.ICMP)) return false;
  if (l4 + icmp.HEADER_LEN > end || !checksumValid(ct.options, packet, family, proto)) return invalid(ct);
  const type = view.getUint8(l4);
  let inside = l4 + icmp.BODY;
  if (v4) {
    if (type > icmp.IcmpType.ADDRESSREPLY) return invalid(ct);
    if (!icmp.isError(type)) return false;
  } else {
    if (isUntracked(type)) {
      packet.ct = CtRef.UNTRACKED;
      return true;
    }
    if (type === icmpv6.Icmpv6Type.REDIRECT) {
      inside = redirectedHeader(view, packet.l3, l4, end);
      if (inside < 0) return invalid(ct);
      if (inside === 0) return false;
    } else if (!icmpv6.isError(type)) return false;
  }

  if (!findTransport(view, inside, end, family, embedded)) return invalid(ct);
  if (!tupleOf(view, inside, end, family, embedded.proto, embedded.offset, zone, tuple)) return invalid(ct);
  if (embedded.proto === IpProto.GRE) addGreSource(ct.greKeys, view, embedded.offset, end, tuple);
  if (!invert(tuple, 0, inverse, 0)) return invalid(ct);
  const link = ct.findLive(inverse);
  if (link < 0) return invalid(ct);
  // The error must be addressed to the sender of the embedded packet (spec/conntrack C-248).
  const { words } = ct.table;
  const at = (link >> 1) * E.WORDS + ((link & 1) << E.DIR_SHIFT);
  const destination = packet.l3 + (v4 ? ipv4.DST : ipv6.DST);
  for (let i = 0; i < (v4 ? 1 : 4); i++) {
    if (view.getInt32(destination + i * 4) !== words[at + T.DST + i]) return invalid(ct);
  }
  packet.ct = link >> 1;
  packet.ctInfo = (link & 1) === 0 ? IP_CT_RELATED : IP_CT_RELATED_REPLY;
  return true;
}

function invalid(ct: ConntrackState): boolean {
  ct.stats.error++;
  return true;
}

/** Neighbour discovery and multicast listener messages belong to no connection (spec/conntrack C-112). */
function isUntracked(type: number): boolean {
  switch (type) {
    case icmpv6.Icmpv6Type.MGM_QUERY:
    case icmpv6.Icmpv6Type.MGM_REPORT:
    case icmpv6.Icmpv6Type.MGM_REDUCTION:
    case icmpv6.Icmpv6Type.ROUTER_SOLICITATION:
    case icmpv6.Icmpv6Type.ROUTER_ADVERTISEMENT:
    case icmpv6.Icmpv6Type.NEIGHBOUR_SOLICITATION:
    case icmpv6.Icmpv6Type.NEIGHBOUR_ADVERTISEMENT:
    case icmpv6.Icmpv6Type.MLD2_REPORT:
    case icmpv6.Icmpv6Type.MRDISC_ADVERTISEMENT:
    case icmpv6.Icmpv6Type.MRDISC_SOLICITATION:
      return true;
    default:
      return false;
  }
}

const ND_OPT_REDIRECT_HDR = 4;
const REDIRECT_LEN = 40;

/** Offset of the redirected packet in an ICMPv6 redirect (RFC 4861 section 4.5); 0 = it has none, -1 = not valid. */
function redirectedHeader(view: DataView, l3: number, l4: number, end: number): number {
  if (l4 + REDIRECT_LEN > end) return -1;
  if (icmpv6.code(view, l4) !== 0) return 0;
  if (ipv6.hopLimit(view, l3) !== 255 || (view.getUint16(l3 + ipv6.SRC) & 0xffc0) !== 0xfe80) return -1;
  const option = l4 + REDIRECT_LEN;
  if (option + 2 > end || view.getUint8(option + 1) === 0) return -1;
  return view.getUint8(option) === ND_OPT_REDIRECT_HDR ? option + 8 : 0;
}
