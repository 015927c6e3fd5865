import { EINPROGRESS, EINVAL, ENOMEM } from "../../uapi/errno.ts";
import { IpProto } from "../ip.ts";
import * as ipv6 from "../ipv6.ts";
import type { Packet } from "../packet.ts";
import { combinedEcn, joinFragments } from "./join.ts";
import { DUPLICATE, FragmentColumn, NONE, QueueColumn } from "./layout.ts";
import type { FragmentTable } from "./table.ts";

/** Result of the walks over extension headers: one object for the module, so that no packet allocates one. */
const walked = new ipv6.Ipv6Walk();

/**
 * Takes an IPv6 fragment (nf_ct_frag6_gather). Packets without fragment header, first fragments without the whole
 * header chain (RFC 8200 section 4.5) and fragments that end off a multiple of 8 pass as they are, with mru 0, as in
 * the kernel. An atomic fragment loses its fragment header at once (spec/conntrack C-072).
 * Precondition: the packet was trimmed to the IP length.
 * @returns as reassembleIpv4(); -EINPROGRESS also for an exact duplicate
 */
export function reassembleIpv6(table: FragmentTable, packet: Packet, zone: number): number {
  const { view } = table.memory;
  const { l3 } = packet;
  table.expire();
  const end = packet.off + packet.len;
  if (!ipv6.isValid(view, l3, end - l3)) return table.failed(EINVAL);
  if (ipv6.payloadLength(view, l3) === 0 || !findFragmentHeader(view, l3, end)) return passed(packet);
  const { offset: fragmentAt, nextHeaderAt } = walked;
  if (chainTruncated(view, fragmentAt, end)) return passed(packet);
  table.stats.requests++;
  if (fragmentAt + ipv6.FRAG_LEN > end) return table.failed(ENOMEM);
  if (table.held[1] > table.limits[1].high) return table.failed(ENOMEM);
  const { wanted } = table;
  for (let i = 0; i < 8; i++) wanted[i] = view.getInt32(l3 + ipv6.SRC + 4 * i);
  const local = wanted[4] >>> 24 === 0xff || wanted[4] >>> 22 === 0x3fa;
  const queue = table.find(1, zone, view.getInt32(fragmentAt + ipv6.FRAG_ID), local ? packet.inPort : 0);
  if (queue === NONE) return table.failed(ENOMEM);
  const error = queueIpv6(table, queue, packet, fragmentAt, nextHeaderAt);
  return error === 0 || error === -EINPROGRESS ? error : table.failed(-error);
}

/** Puts a fragment into its queue. @returns 0 when the packet is whole or passes, or a negative errno */
function queueIpv6(
  table: FragmentTable,
  queue: number,
  packet: Packet,
  fragmentAt: number,
  nextHeaderAt: number,
): number {
  const { view } = table.memory;
  const { l3 } = packet;
  const { queues } = table;
  const q = queue * QueueColumn.WORDS;
  const payload = ipv6.payloadLength(view, l3);
  const word = view.getUint16(fragmentAt + ipv6.FRAG_OFFSET);
  const offset = word & ipv6.FRAG_OFFSET_MASK;
  const data = fragmentAt + ipv6.FRAG_LEN;
  const end = offset + payload - (data - l3 - ipv6.HEADER_LEN);
  if (end > 0xffff || end < 0) return -EINVAL;
  if ((word & ipv6.FRAG_MF) === 0) {
    if (!table.endsHere(q, end)) return -EINVAL;
  } else {
    if ((end & 7) !== 0) {
      table.remove(queue);
      return passed(packet);
    }
    if (!table.reaches(q, end)) return -EINVAL;
  }
  // Nothing of the fragment, or less than its header says: never to be completed.
  if (end <= offset) return -EINVAL;
  const length = Math.min(packet.off + packet.len - data, end - offset);

  const row = table.insert(queue, offset, end, length);
  if (row === DUPLICATE) return -EINPROGRESS;
  if (row < 0) {
    table.stats.overlaps++;
    table.remove(queue);
    return -EINVAL;
  }
  if (!table.keep(row, packet, data, packet.csum, 1)) {
    table.remove(queue);
    return -ENOMEM;
  }
  queues[q + QueueColumn.ECN] |= 1 << (ipv6.trafficClass(view, l3) & 3);
  if (payload > queues[q + QueueColumn.MAX_SIZE]) queues[q + QueueColumn.MAX_SIZE] = payload;
  if (offset === 0) {
    queues[q + QueueColumn.NEXT_HEADER_AT] = nextHeaderAt - l3;
    queues[q + QueueColumn.FRAGMENT_AT] = fragmentAt - l3;
  }
  if (!table.complete(q)) return -EINPROGRESS;
  return assembleIpv6(table, queue, packet);
}

/** Makes the datagram of a complete queue and removes the queue. @returns 0 or -EINPROGRESS */
function assembleIpv6(table: FragmentTable, queue: number, packet: Packet): number {
  const { view } = table.memory;
  const q = queue * QueueColumn.WORDS;
  const { queues } = table;
  const ecn = combinedEcn(queues[q + QueueColumn.ECN]);
  const fragmentAt = queues[q + QueueColumn.FRAGMENT_AT];
  const nextHeaderAt = queues[q + QueueColumn.NEXT_HEADER_AT];
  const payload = fragmentAt - ipv6.HEADER_LEN + queues[q + QueueColumn.LEN];
  const mru = ipv6.HEADER_LEN + queues[q + QueueColumn.MAX_SIZE];
  const first =
    table.fragments[queues[q + QueueColumn.HEAD] * FragmentColumn.WORDS + FragmentColumn.DATA] - ipv6.FRAG_LEN;
  const nextHeader = view.getUint8(first);
  // A failure from here on is not returned: the fragments belong to the queue, the packet counts as queued.
  const ok = ecn >= 0 && payload <= 0xffff && joinFragments(table, queue, packet, ipv6.FRAG_LEN);
  table.remove(queue);
  if (!ok) {
    table.stats.fails++;
    return -EINPROGRESS;
  }
  const { l3 } = packet;
  view.setUint8(l3 + nextHeaderAt, nextHeader);
  ipv6.setPayloadLength(view, l3, payload);
  if (ecn > 0) ipv6.setTrafficClass(view, l3, ipv6.trafficClass(view, l3) | ecn);
  ipv6.walk(view, l3, packet.off + packet.len, walked);
  packet.l4 = walked.offset;
  packet.mru = mru;
  table.stats.ok++;
  return 0;
}

/**
 * Walks to the fragment header; walked.offset is that header, nextHeaderAt the byte that names it.
 * @returns false if there is none or the chain is cut off
 */
function findFragmentHeader(view: DataView, l3: number, end: number): boolean {
  let at = l3 + ipv6.NEXT_HEADER;
  let off = l3 + ipv6.HEADER_LEN;
  let proto = view.getUint8(at);
  while (proto !== IpProto.FRAGMENT) {
    if (!ipv6.isExtension(proto) || proto === IpProto.NONE || off + 2 > end) return false;
    const length = ipv6.extensionLength(view, off, proto);
    at = off;
    proto = view.getUint8(off);
    off += length;
  }
  walked.offset = off;
  walked.nextHeaderAt = at;
  return off <= end;
}

/** True for a first fragment that ends before the upper-layer header does (ipv6frag_thdr_truncated). */
function chainTruncated(view: DataView, fragmentAt: number, end: number): boolean {
  let proto: number = IpProto.FRAGMENT;
  let off = fragmentAt;
  while (ipv6.isExtension(proto)) {
    if (proto === IpProto.NONE || off + 2 > end) return false;
    if (proto === IpProto.FRAGMENT) {
      if (off + 4 > end) return false;
      if ((view.getUint16(off + ipv6.FRAG_OFFSET) & ipv6.FRAG_OFFSET_MASK) !== 0) return false;
    }
    const length = ipv6.extensionLength(view, off, proto);
    proto = view.getUint8(off);
    off += length;
  }
  let need = 1;
  if (proto === IpProto.TCP) need = 20;
  else if (proto === IpProto.UDP || proto === IpProto.ICMPV6) need = 8;
  return off + need > end;
}

/** Marks a packet that passes as it is. @returns 0 */
function passed(packet: Packet): number {
  packet.mru = 0;
  packet.hash = 0;
  packet.hashFlags = 0;
  packet.ignoreDf = true;
  return 0;
}
