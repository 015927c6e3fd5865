import { EINVAL, ENOMEM } from "../../uapi/errno.ts";
import * as ethernet from "../ethernet.ts";
import { ETH_P_TEB, isMpls } from "../ethernet.ts";
import { LSE_LEN } from "../mpls.ts";
import type { Packet } from "../packet.ts";
import { ensureWritable, networkLength, networkOffset } from "./writable.ts";

/**
 * push_mpls and add_mpls (spec/actions ): a label stack entry behind the first `macLen` bytes, which are
 * the L2 header, or before the packet (macLen 0), which then has none.
 * @param lse used as it is
 * @returns -EINVAL for an ethertype that is not MPLS
 */
export function pushMpls(packet: Packet, lse: number, etherType: number, macLen: number): number {
  if (!isMpls(etherType)) return -EINVAL;
  if (!ensureWritable(packet, LSE_LEN)) return -ENOMEM;
  const { view, bytes } = packet.memory;
  const from = packet.off;
  packet.off -= LSE_LEN;
  packet.len += LSE_LEN;
  if (macLen !== 0) bytes.copyWithin(packet.off, from, from + macLen);
  packet.l3 = packet.off + macLen;
  view.setInt32(packet.l3, lse);
  if (macLen >= ethernet.HEADER_LEN) ethernet.setType(view, packet.off, etherType);
  packet.protocol = etherType;
  if (macLen === 0) packet.macNone = true;
  return 0;
}

/**
 * pop_mpls (spec/actions ): removes the top label; nothing happens to a packet that is not MPLS.
 * @param etherType what the packet is afterwards; ETH_P_TEB makes the inner frame the packet
 */
export function popMpls(packet: Packet, etherType: number): number {
  if (!isMpls(packet.protocol)) return 0;
  const macLen = networkOffset(packet);
  if (packet.len < macLen + LSE_LEN || !ensureWritable(packet)) return -ENOMEM;
  const { view, bytes } = packet.memory;
  const from = packet.off;
  packet.off += LSE_LEN;
  packet.len -= LSE_LEN;
  bytes.copyWithin(packet.off, from, from + macLen);
  packet.l3 = packet.off + macLen;
  // The type field stands right before the label stack, behind any tags.
  if (!packet.macNone && macLen >= ethernet.HEADER_LEN) view.setUint16(packet.l3 - 2, etherType);
  packet.protocol = etherType;
  if (etherType === ETH_P_TEB) packet.macNone = false;
  return 0;
}

/**
 * Masked write of the top label stack entry (spec/actions A-180). The new entry is at packet.l3.
 * @returns -ENOMEM if it is cut off, -EINVAL if the packet is not MPLS
 */
export function setMpls(packet: Packet, lse: number, mask: number): number {
  if (networkLength(packet) < LSE_LEN) return -ENOMEM;
  if (!isMpls(packet.protocol)) return -EINVAL;
  if (!ensureWritable(packet)) return -ENOMEM;
  const { view } = packet.memory;
  view.setInt32(packet.l3, (view.getInt32(packet.l3) & ~mask) | (lse & mask));
  return 0;
}
