import { HEADROOM } from "./memory.ts";
import { Csum, Gso, type Packet } from "./packet.ts";

/**
 * Points `out` at new scratch room and fills in the first `prefix` bytes of the packet, `gap` bytes that the caller is to
 * write, and `length` bytes from `from`: how segments and fragments begin. Metadata is the packet's, except for checksum
 * and GSO state, of which a part has none.
 * @param out not the packet itself
 * @returns the offset of the new frame, or -1 when scratch memory is used up
 */
export function beginPart(
  packet: Packet,
  out: Packet,
  prefix: number,
  gap: number,
  from: number,
  length: number,
): number {
  const { memory } = packet;
  const size = prefix + gap + length;
  const base = memory.scratch(HEADROOM + size);
  if (base < 0) return -1;
  const at = base + HEADROOM;
  memory.bytes.copyWithin(at, packet.off, packet.off + prefix);
  memory.bytes.copyWithin(at + prefix + gap, from, from + length);
  out.copyFrom(packet);
  out.off = at;
  out.len = size;
  out.head = base;
  out.end = at + size;
  if (packet.l3 !== 0) out.l3 = at + packet.l3 - packet.off;
  out.csum = Csum.NONE;
  out.csumStart = 0;
  out.csumOffset = 0;
  out.gsoType = Gso.NONE;
  out.gsoSize = 0;
  out.fragList = 0;
  return at;
}
