import { EINVAL, ENOMEM } from "../../uapi/errno.ts";
import * as ethernet from "../ethernet.ts";
import { ETH_P_802_2, isVlan } from "../ethernet.ts";
import type { Packet } from "../packet.ts";
import { TAG_LEN } from "../vlan.ts";
import { ensureWritable } from "./writable.ts";

/** ETH_P_802_3: the kernel's name for raw IPX over 802.3. */
const ETH_P_802_3 = 0x0001;

/**
 * push_vlan (spec/actions ): the tag goes beside the frame; one that was there moves into it.
 * @param tci without the "present" bit 0x1000
 * @param shift take the network header to start four bytes earlier then, behind the type in front of the inner tag, as
 * Linux does from 6.12 on: what is set in the IP header afterwards is written there
 */
export function pushVlan(packet: Packet, tpid: number, tci: number, shift = true): number {
  if (packet.vlanTpid !== 0) {
    const error = insertVlanTag(packet);
    if (error !== 0) return error;
    packet.protocol = packet.vlanTpid;
    if (shift && packet.l3 !== 0) packet.l3 -= TAG_LEN;
  }
  packet.vlanTpid = tpid;
  packet.vlanTci = tci;
  return 0;
}

/**
 * Moves the out-of-band tag's bytes into the frame; the out-of-band fields, protocol and l3 are left to the caller.
 * @returns -EINVAL if the frame is shorter than an Ethernet header, -ENOMEM
 */
function insertVlanTag(packet: Packet): number {
  if (packet.len < ethernet.HEADER_LEN) return -EINVAL;
  if (!ensureWritable(packet, TAG_LEN)) return -ENOMEM;
  const { view, bytes } = packet.memory;
  const from = packet.off;
  const to = from - TAG_LEN;
  bytes.copyWithin(to, from, from + ethernet.TYPE);
  view.setUint16(to + ethernet.TYPE, packet.vlanTpid);
  view.setUint16(to + ethernet.TYPE + 2, packet.vlanTci);
  packet.off = to;
  packet.len += TAG_LEN;
  return 0;
}

/**
 * Moves the out-of-band tag into the frame, for a device or a reader that has no place for it beside; l3 keeps pointing
 * at the same header. Does nothing without a tag.
 */
export function materializeVlan(packet: Packet): number {
  if (packet.vlanTpid === 0) return 0;
  const error = insertVlanTag(packet);
  if (error !== 0) return error;
  packet.protocol = packet.vlanTpid;
  packet.vlanTpid = 0;
  packet.vlanTci = 0;
  return 0;
}

/**
 * pop_vlan (spec/actions ): the outermost tag goes; a tag that stands in the frame behind it moves beside
 * the frame.
 */
export function popVlan(packet: Packet): number {
  if (packet.vlanTpid !== 0) {
    packet.vlanTpid = 0;
    packet.vlanTci = 0;
  } else {
    if (!isVlan(packet.protocol)) return 0;
    const tci = removeVlanTag(packet);
    if (tci < 0) return tci;
  }
  if (!isVlan(packet.protocol)) return 0;
  const tpid = packet.protocol;
  const tci = removeVlanTag(packet);
  if (tci < 0) return tci;
  packet.vlanTpid = tpid;
  packet.vlanTci = tci;
  return 0;
}

/** Takes the tag behind the addresses out of the frame. @returns its tci, or -ENOMEM */
function removeVlanTag(packet: Packet): number {
  if (packet.len < ethernet.HEADER_LEN + TAG_LEN || !ensureWritable(packet)) return -ENOMEM;
  const { view, bytes } = packet.memory;
  const from = packet.off;
  const tci = view.getUint16(from + ethernet.HEADER_LEN);
  bytes.copyWithin(from + TAG_LEN, from, from + ethernet.TYPE);
  packet.off = from + TAG_LEN;
  packet.len -= TAG_LEN;
  packet.protocol = frameProtocol(packet);
  const l3 = packet.off + ethernet.HEADER_LEN;
  if (packet.l3 < l3) packet.l3 = l3;
  return tci;
}

/** What the kernel takes the frame's protocol for, from the field behind the addresses. */
function frameProtocol(packet: Packet): number {
  const { view } = packet.memory;
  const type = ethernet.type(view, packet.off);
  if (type >= ethernet.ETH_P_802_3_MIN) return type;
  const raw = packet.len >= ethernet.HEADER_LEN + 2 && view.getUint16(packet.off + ethernet.HEADER_LEN) === 0xffff;
  return raw ? ETH_P_802_3 : ETH_P_802_2;
}
