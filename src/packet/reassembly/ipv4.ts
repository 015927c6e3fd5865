import { E2BIG, EINPROGRESS, EINVAL, ENOMEM } from "../../uapi/errno.ts";
import * as ipv4 from "../ipv4.ts";
import { Csum, type Packet } from "../packet.ts";
import { combinedEcn, joinFragments } from "./join.ts";
import { DUPLICATE, FragmentColumn, NONE, OVERLAP, QueueColumn } from "./layout.ts";
import type { FragmentTable } from "./table.ts";

/**
 * Takes an IPv4 fragment (ip_defrag). Precondition: the packet was trimmed to the IP length.
 * @returns 0: the packet is now the whole datagram, in scratch memory: headers, VLAN tag, mark and priority are those
 * of the fragment with offset 0, DF as spec/conntrack C-068 says, l3, l4, mru, ignoreDf and fragList are set, hash
 * and conntrack reference cleared. -EINPROGRESS: queued, the packet's bytes are no longer needed. Dropped: -EINVAL
 * (malformed, duplicate, overlap), -E2BIG (longer than 65535), -ENOMEM (limits)
 */
export function reassembleIpv4(table: FragmentTable, packet: Packet, zone: number): number {
  const { view } = table.memory;
  const { l3 } = packet;
  table.expire();
  table.stats.requests++;
  const end = packet.off + packet.len;
  if (!ipv4.isValid(view, l3, end - l3)) return table.failed(EINVAL);
  if (table.held[0] > table.limits[0].high) return table.failed(ENOMEM);
  const { wanted } = table;
  wanted.fill(0);
  wanted[0] = view.getInt32(l3 + ipv4.SRC);
  wanted[4] = view.getInt32(l3 + ipv4.DST);
  const queue = table.find(0, zone, ipv4.id(view, l3), ipv4.protocol(view, l3));
  if (queue === NONE) return table.failed(ENOMEM);
  if (table.tooFar(queue, wanted[0])) {
    table.stats.fails++;
    table.restart(queue);
  }
  const error = queueIpv4(table, queue, packet);
  return error === 0 || error === -EINPROGRESS ? error : table.failed(-error);
}

/** Puts a fragment into its queue. @returns 0 when the packet is whole, or a negative errno */
function queueIpv4(table: FragmentTable, queue: number, packet: Packet): number {
  const { view } = table.memory;
  const { l3 } = packet;
  const { queues } = table;
  const q = queue * QueueColumn.WORDS;
  const flags = ipv4.frag(view, l3);
  const offset = (flags & ipv4.OFFSET_MASK) << 3;
  const headerLength = ipv4.headerLength(view, l3);
  let end = offset + packet.off + packet.len - l3 - headerLength;
  let csum = packet.csum;
  if ((flags & ipv4.MF) === 0) {
    if (!table.endsHere(q, end)) return table.discard(queue);
  } else {
    if ((end & 7) !== 0) {
      end &= ~7;
      if (csum !== Csum.UNNECESSARY) csum = Csum.NONE;
    }
    if (!table.reaches(q, end)) return table.discard(queue);
  }
  if (end === offset) return table.discard(queue);

  const row = table.insert(queue, offset, end, end - offset);
  if (row === DUPLICATE) return -EINVAL;
  if (row === OVERLAP) table.stats.overlaps++;
  if (row < 0) return table.discard(queue);
  if (!table.keep(row, packet, l3 + headerLength, csum, 0)) {
    table.discard(queue);
    return -ENOMEM;
  }
  queues[q + QueueColumn.ECN] |= 1 << (ipv4.tos(view, l3) & 3);
  const size = end - offset + headerLength;
  if (size > queues[q + QueueColumn.MAX_SIZE]) queues[q + QueueColumn.MAX_SIZE] = size;
  if ((flags & ipv4.DF) !== 0 && size > queues[q + QueueColumn.MAX_DF_SIZE]) queues[q + QueueColumn.MAX_DF_SIZE] = size;
  if (!table.complete(q)) return -EINPROGRESS;
  return assembleIpv4(table, queue, packet);
}

/** Makes the datagram of a complete queue and removes the queue. @returns 0 or a negative errno */
function assembleIpv4(table: FragmentTable, queue: number, packet: Packet): number {
  const { view } = table.memory;
  const q = queue * QueueColumn.WORDS;
  const { queues } = table;
  const ecn = combinedEcn(queues[q + QueueColumn.ECN]);
  const first = queues[q + QueueColumn.HEAD] * FragmentColumn.WORDS;
  const headerLength =
    table.fragments[first + FragmentColumn.DATA] -
    table.fragments[first + FragmentColumn.BUFFER] -
    table.fragments[first + FragmentColumn.L3];
  const length = headerLength + queues[q + QueueColumn.LEN];
  const maxSize = queues[q + QueueColumn.MAX_SIZE];
  const keepDf = queues[q + QueueColumn.MAX_DF_SIZE] === maxSize;
  let error = 0;
  if (ecn < 0) error = -EINVAL;
  else if (length > 0xffff) error = -E2BIG;
  else if (!joinFragments(table, queue, packet, 0)) error = -ENOMEM;
  table.remove(queue);
  if (error !== 0) return error;

  const { l3 } = packet;
  packet.l4 = l3 + headerLength;
  ipv4.setTotalLength(view, l3, length);
  if (ecn > 0) view.setUint8(l3 + ipv4.TOS, ipv4.tos(view, l3) | ecn);
  ipv4.setFrag(view, l3, keepDf ? ipv4.DF : 0);
  ipv4.fillChecksum(view, l3);
  packet.mru = maxSize;
  table.stats.ok++;
  return 0;
}
