import { TYPE } from "./ethernet.ts";
import type { Packet } from "./packet.ts";
import { TAG_LEN } from "./vlan.ts";

/** Length in bytes of the frame on the wire: an out-of-band VLAN tag counts. */
export function wireLength(packet: Packet): number {
  return packet.vlanTpid === 0 ? packet.len : packet.len + TAG_LEN;
}

/**
 * Copies the frame as it is on the wire, an out-of-band VLAN tag in its place behind the addresses. The packet stays as
 * it is; materializeVlan() of edit/vlan.ts changes it instead.
 * @param to room for wireLength(packet) bytes from `at` on
 */
export function copyWireFrame(packet: Packet, to: Uint8Array, at: number): void {
  const { off, len, vlanTpid, vlanTci } = packet;
  const { bytes } = packet.memory;
  if (vlanTpid === 0) {
    to.set(bytes.subarray(off, off + len), at);
    return;
  }
  to.set(bytes.subarray(off, off + TYPE), at);
  to[at + TYPE] = vlanTpid >> 8;
  to[at + TYPE + 1] = vlanTpid;
  to[at + TYPE + 2] = vlanTci >> 8;
  to[at + TYPE + 3] = vlanTci;
  to.set(bytes.subarray(off + TYPE, off + len), at + TYPE + TAG_LEN);
}
