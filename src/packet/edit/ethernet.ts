import { ENOMEM, EPROTO } from "../../uapi/errno.ts";
import * as ethernet from "../ethernet.ts";
import { isVlan } from "../ethernet.ts";
import type { Packet } from "../packet.ts";
import { ensureWritable, networkOffset } from "./writable.ts";

/**
 * Masked write of both addresses (spec/actions A-183). The words are those of the flow key: destination 0-3,
 * destination 4-5 and source 0-1, source 2-5. Value bits outside of the mask are ignored.
 * @returns 0, or -ENOMEM if the packet is shorter than an Ethernet header or memory is used up
 */
export function setEthernet(
  packet: Packet,
  value0: number,
  value1: number,
  value2: number,
  mask0: number,
  mask1: number,
  mask2: number,
): number {
  if (packet.len < ethernet.HEADER_LEN || !ensureWritable(packet)) return -ENOMEM;
  const { view } = packet.memory;
  const { off } = packet;
  view.setInt32(off, (view.getInt32(off) & ~mask0) | (value0 & mask0));
  view.setInt32(off + 4, (view.getInt32(off + 4) & ~mask1) | (value1 & mask1));
  view.setInt32(off + 8, (view.getInt32(off + 8) & ~mask2) | (value2 & mask2));
  return 0;
}

/**
 * push_eth (spec/actions A-181): a header with the given addresses (as words of the flow key) and the packet's
 * protocol.
 * @returns -EPROTO if the packet has an L2 header or a tag
 */
export function pushEth(packet: Packet, word0: number, word1: number, word2: number): number {
  if (networkOffset(packet) !== 0 || packet.vlanTpid !== 0) return -EPROTO;
  if (!ensureWritable(packet, ethernet.HEADER_LEN)) return -ENOMEM;
  const { view } = packet.memory;
  const l3 = packet.off;
  packet.off -= ethernet.HEADER_LEN;
  packet.len += ethernet.HEADER_LEN;
  packet.l3 = l3;
  view.setInt32(packet.off, word0);
  view.setInt32(packet.off + 4, word1);
  view.setInt32(packet.off + 8, word2);
  view.setUint16(packet.off + ethernet.TYPE, packet.protocol);
  packet.macNone = false;
  return 0;
}

/**
 * pop_eth (spec/actions A-182).
 * @returns -EPROTO if the packet has a VLAN tag, in or out of the frame, or is too short
 */
export function popEth(packet: Packet): number {
  if (
    packet.len < ethernet.HEADER_LEN ||
    packet.vlanTpid !== 0 ||
    isVlan(packet.protocol) ||
    networkOffset(packet) < ethernet.HEADER_LEN
  ) {
    return -EPROTO;
  }
  packet.off += ethernet.HEADER_LEN;
  packet.len -= ethernet.HEADER_LEN;
  packet.macNone = true;
  return 0;
}
