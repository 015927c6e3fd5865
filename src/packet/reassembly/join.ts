import { HEADROOM } from "../memory.ts";
import { Csum, CtRef, Gso, type Packet } from "../packet.ts";
import { FragmentColumn, NONE, QueueColumn } from "./layout.ts";
import type { FragmentTable } from "./table.ts";

/**
 * Puts all fragments together in scratch memory and points the packet there. The list of fragment lengths lies behind.
 * @param queue row of a complete queue; stays as it is
 * @param skip bytes right before the first payload that are left out: the fragment header
 * @returns false when scratch memory is used up
 */
export function joinFragments(table: FragmentTable, queue: number, packet: Packet, skip: number): boolean {
  const { queues, fragments, memory } = table;
  const { view, bytes } = memory;
  const q = queue * QueueColumn.WORDS;
  const first = queues[q + QueueColumn.HEAD];
  const f = first * FragmentColumn.WORDS;
  const frame = fragments[f + FragmentColumn.BUFFER];
  const prefix = fragments[f + FragmentColumn.DATA] - frame - skip;
  const length = prefix + queues[q + QueueColumn.LEN];
  const count = queues[q + QueueColumn.COUNT];
  const base = memory.scratch(HEADROOM + length + 2 + 2 * (count + 1));
  if (base < 0) return false;
  const off = base + HEADROOM;
  const list = (off + length + 1) & ~1;
  bytes.copyWithin(off, frame, frame + prefix);
  let to = off + prefix;
  let csum = fragments[f + FragmentColumn.CSUM];
  let index = 0;
  for (let row = first; row !== NONE; row = fragments[row * FragmentColumn.WORDS + FragmentColumn.NEXT]) {
    const at = row * FragmentColumn.WORDS;
    const size = fragments[at + FragmentColumn.LEN];
    bytes.copyWithin(to, fragments[at + FragmentColumn.DATA], fragments[at + FragmentColumn.DATA] + size);
    to += size;
    index++;
    view.setUint16(list + 2 * index, size);
    if (fragments[at + FragmentColumn.CSUM] !== csum) csum = Csum.NONE;
  }
  view.setUint16(list, index);

  packet.off = off;
  packet.len = length;
  packet.head = base;
  packet.end = off + length;
  packet.l3 = off + fragments[f + FragmentColumn.L3];
  packet.l4 = 0;
  if (table.lastRow !== first) {
    packet.mark = fragments[f + FragmentColumn.MARK];
    packet.priority = fragments[f + FragmentColumn.PRIORITY];
    packet.vlanTci = fragments[f + FragmentColumn.VLAN_TCI];
    packet.vlanTpid = fragments[f + FragmentColumn.VLAN_TPID];
    packet.protocol = fragments[f + FragmentColumn.PROTOCOL];
    packet.macNone = fragments[f + FragmentColumn.MAC_NONE] !== 0;
    packet.ct = CtRef.NONE;
    packet.ctInfo = 0;
  }
  packet.csum = csum;
  packet.csumStart = csum === Csum.PARTIAL ? off + fragments[f + FragmentColumn.CSUM_START] - skip : 0;
  packet.csumOffset = csum === Csum.PARTIAL ? fragments[f + FragmentColumn.CSUM_OFFSET] : 0;
  packet.gsoType = Gso.NONE;
  packet.gsoSize = 0;
  packet.hash = 0;
  packet.hashFlags = 0;
  packet.ignoreDf = true;
  packet.fragList = list;
  return true;
}

/**
 * Combines the ECN fields of fragments (RFC 3168 section 5.3): CE if any has CE, not to be mixed with not-ECT.
 * @param seen bit 1 << ecn for every value seen
 * @returns bits to set, -1 = the datagram is to be dropped
 */
export function combinedEcn(seen: number): number {
  if ((seen & 1) !== 0 && (seen & ~1) !== 0) return -1;
  return (seen & 8) !== 0 && (seen & 6) !== 0 ? 3 : 0;
}
