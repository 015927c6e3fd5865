import { HEADROOM } from "../memory.ts";
import type { Packet } from "../packet.ts";

/**
 * Declares the packet's bytes shared: whoever got them (a queued output, another reference) keeps them as they are, and
 * the next change moves the packet to room of its own.
 */
export function share(packet: Packet): void {
  packet.head = packet.off;
  packet.end = packet.off;
}

/**
 * Makes the packet's bytes writable, with `headroom` bytes before them: copies them to scratch memory if they are shared
 * or the room does not suffice. Offsets held by the caller are stale afterwards; those in the packet are not.
 * @returns false when scratch memory is used up: the packet is to be dropped with ENOMEM
 */
export function ensureWritable(packet: Packet, headroom = 0): boolean {
  if (packet.off + packet.len <= packet.end && packet.off - packet.head >= headroom) return true;
  return packet.unshare(HEADROOM, 0);
}

/** Bytes from the network header to the end; negative if the packet ends before it. */
export function networkLength(packet: Packet): number {
  return packet.off + packet.len - packet.l3;
}

/** Bytes from the transport header to the end, -1 if there is none. */
export function transportLength(packet: Packet): number {
  return packet.l4 === 0 ? -1 : packet.off + packet.len - packet.l4;
}

/** Offset of the network header in the packet: the length of the L2 header (skb->mac_len). */
export function networkOffset(packet: Packet): number {
  return packet.l3 === 0 ? 0 : packet.l3 - packet.off;
}
