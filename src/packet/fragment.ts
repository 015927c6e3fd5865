import type { Random } from "../core/random.ts";
import { E2BIG, EINVAL, EMSGSIZE, ENOMEM, EPROTONOSUPPORT } from "../uapi/errno.ts";
import { ETH_P_IP, ETH_P_IPV6, isMpls } from "./ethernet.ts";
import { IpProto } from "./ip.ts";
import * as ipv4 from "./ipv4.ts";
import * as ipv6 from "./ipv6.ts";
import { completePartial } from "./l4-checksum.ts";
import { HEADROOM } from "./memory.ts";
import { isBottom, LSE_LEN, lse } from "./mpls.ts";
import { Csum, type Packet } from "./packet.ts";
import { beginPart } from "./part.ts";

/**
 * Fragmentation of what reassembly put together, at output (spec/actions ): the pieces the kernel's
 * ovs_fragment makes through ip_do_fragment and ip6_fragment. IPv4 options stand in full in every fragment, whether
 * marked "copied" or not: the module has emptied the control block that would tell where they are.
 */

/**
 * Longest L2 header, labels included, that is replicated: a tagged Ethernet header and three labels
 * (spec/actions A-148).
 */
const MAX_L2_LEN = 30;
/** Smallest MTU of IPv6 (RFC 8200 section 5). */
const IPV6_MIN_MTU = 1280;

/**
 * Cuts the packet into fragments no longer than min(mru, mtu), each with the whole L2 header, and calls `each` with
 * every one in order. The boundaries of packet.fragList are kept if they still fit. The
 * fragments lie in scratch memory.
 * @param etherType ethertype of the flow key: of the inner packet if labels were pushed since the key was extracted
 * @param mru largest fragment received, with its IP header; above 0
 * @param mtu of the device that the fragments go to
 * @param random gives the identification of IPv6 fragments (spec/actions A-154)
 * @param out the object that is pointed at each fragment in turn; not the packet itself
 * @returns 0; the first nonzero value that `each` returned; -E2BIG for an L2 header too long; -EPROTONOSUPPORT for a
 * type that cannot be fragmented; -EINVAL for a malformed packet; -EMSGSIZE if the MTU is too small; -ENOMEM. Nothing
 * is to be sent then.
 */
export function fragment(
  packet: Packet,
  etherType: number,
  mru: number,
  mtu: number,
  random: Random,
  out: Packet,
  each: (part: Packet) => number,
): number {
  const l3 = networkHeader(packet);
  if (l3 < 0) return -EINVAL;
  if (l3 - packet.off > MAX_L2_LEN) return -E2BIG;
  if (etherType === ETH_P_IP) return fragmentIpv4(packet, l3, Math.min(mru, mtu), out, each);
  if (etherType === ETH_P_IPV6) return fragmentIpv6(packet, l3, mru, mtu, random, out, each);
  return -EPROTONOSUPPORT;
}

/** Offset of the IP header: packet.l3, or the end of the MPLS label stack there; -1 if the stack has no end within the packet. */
function networkHeader(packet: Packet): number {
  let off = packet.l3;
  if (!isMpls(packet.protocol)) return off;
  const { view } = packet.memory;
  const end = packet.off + packet.len;
  for (;;) {
    if (off + LSE_LEN > end) return -1;
    const entry = lse(view, off);
    off += LSE_LEN;
    if (isBottom(entry)) return off;
  }
}

/**
 * Whether the original fragments' boundaries can be kept: they cover the payload, each but the last ends on a multiple of
 * 8, and none is longer than `room`.
 */
function keepsBoundaries(packet: Packet, payload: number, room: number): boolean {
  const list = packet.fragList;
  if (list === 0) return false;
  const { view } = packet.memory;
  const count = view.getUint16(list);
  let total = 0;
  for (let i = 1; i <= count; i++) {
    const length = view.getUint16(list + 2 * i);
    if (length > room || ((length & 7) !== 0 && i < count)) return false;
    total += length;
  }
  return count > 1 && total === payload;
}

/** Payload bytes of the next fragment. `index` counts from 1; list 0 = cut to `room`. */
function nextLength(view: DataView, list: number, index: number, room: number, left: number): number {
  if (list !== 0) return view.getUint16(list + 2 * index);
  return left > room ? room & ~7 : left;
}

function fragmentIpv4(packet: Packet, l3: number, mtu: number, out: Packet, each: (part: Packet) => number): number {
  const { view } = packet.memory;
  const available = packet.off + packet.len - l3;
  if (!ipv4.isValid(view, l3, available)) return -EINVAL;
  const headerLength = ipv4.headerLength(view, l3);
  const room = mtu - headerLength;
  if (room < 8) return -EMSGSIZE;
  if (packet.csum === Csum.PARTIAL && !completeShared(packet)) return -EINVAL;
  // Completing the checksum may have moved the packet.
  const start = networkHeader(packet);
  const { off } = packet;
  const prefix = start - off + headerLength;
  const flags = ipv4.frag(view, start);
  let left = available - headerLength;
  let from = start + headerLength;
  let offset = (flags & ipv4.OFFSET_MASK) << 3;
  const whole = (flags & (ipv4.MF | ipv4.OFFSET_MASK)) === 0;
  const list = whole && keepsBoundaries(packet, left, room) ? packet.fragList : 0;
  for (let index = 1; left > 0; index++) {
    const length = nextLength(view, list, index, room, left);
    const at = beginPart(packet, out, prefix, 0, from, length);
    if (at < 0) return -ENOMEM;
    left -= length;
    const header = at + start - off;
    out.l4 = header + headerLength;
    ipv4.setTotalLength(view, header, headerLength + length);
    // DF is lost here, as in the kernel (spec/actions A-151).
    ipv4.setFrag(view, header, (offset >> 3) | (left > 0 || (flags & ipv4.MF) !== 0 ? ipv4.MF : 0));
    ipv4.fillChecksum(view, header);
    const error = each(out);
    if (error !== 0) return error;
    from += length;
    offset += length;
  }
  return 0;
}

function fragmentIpv6(
  packet: Packet,
  l3: number,
  mru: number,
  mtu: number,
  random: Random,
  out: Packet,
  each: (part: Packet) => number,
): number {
  const { view } = packet.memory;
  const available = packet.off + packet.len - l3;
  if (!ipv6.isValid(view, l3, available)) return -EINVAL;
  if (!ipv6.findFragmentable(view, l3, packet.off + packet.len, splitPoint)) return -EINVAL;
  const headerLength = splitPoint.offset - l3;
  const nextHeaderAt = splitPoint.nextHeaderAt - l3;
  const nextHeader = splitPoint.proto;
  if ((!packet.ignoreDf && available > mtu) || mru > mtu) return -EMSGSIZE;
  const room = Math.max(mru, IPV6_MIN_MTU) - headerLength - ipv6.FRAG_LEN;
  if (room < 8) return -EMSGSIZE;
  if (packet.csum === Csum.PARTIAL && !completeShared(packet)) return -EINVAL;
  const start = networkHeader(packet);
  const { off } = packet;
  const prefix = start - off + headerLength;
  let identification = random.u32();
  while (identification === 0) identification = random.u32();
  let left = available - headerLength;
  let from = start + headerLength;
  let offset = 0;
  const list = keepsBoundaries(packet, left, room) ? packet.fragList : 0;
  for (let index = 1; left > 0; index++) {
    const length = nextLength(view, list, index, room, left);
    const at = beginPart(packet, out, prefix, ipv6.FRAG_LEN, from, length);
    if (at < 0) return -ENOMEM;
    left -= length;
    const header = at + start - off;
    const fragmentHeader = header + headerLength;
    out.l4 = fragmentHeader + ipv6.FRAG_LEN;
    view.setUint8(header + nextHeaderAt, IpProto.FRAGMENT);
    ipv6.setPayloadLength(view, header, headerLength - ipv6.HEADER_LEN + ipv6.FRAG_LEN + length);
    view.setUint16(fragmentHeader, nextHeader << 8);
    view.setUint16(fragmentHeader + ipv6.FRAG_OFFSET, offset | (left > 0 ? ipv6.FRAG_MF : 0));
    view.setUint32(fragmentHeader + ipv6.FRAG_ID, identification);
    const error = each(out);
    if (error !== 0) return error;
    from += length;
    offset += length;
  }
  return 0;
}

const splitPoint = new ipv6.Ipv6Walk();

/** Completes the checksum of a packet whose bytes may be shared. */
function completeShared(packet: Packet): boolean {
  return (packet.off + packet.len <= packet.end || packet.unshare(HEADROOM, 0)) && completePartial(packet);
}
