import { ensureWritable } from "../packet/edit/writable.ts";
import { IpProto } from "../packet/ip.ts";
import type { Packet } from "../packet/packet.ts";
import { EINVAL, ENOMEM } from "../uapi/errno.ts";
import {
  IP_CT_IS_REPLY,
  IP_CT_NEW,
  IP_CT_RELATED,
  IP_CT_RELATED_REPLY,
  IPS_DST_NAT,
  IPS_DST_NAT_DONE,
  IPS_NAT_MASK,
  IPS_SRC_NAT,
  IPS_SRC_NAT_DONE,
} from "../uapi/nfnetlink.ts";
import { AF_INET } from "../uapi/socket.ts";
import type { NatAction } from "./action.ts";
import { natToKey } from "./ct-key.ts";
import { E, T } from "./layout.ts";
import { Manip, manipIcmpError, manipPacket, statusBit } from "./manip.ts";
import { NatRange } from "./nat-range.ts";
import type { ConntrackState } from "./state.ts";
import { findTransport, protoOf, Transport } from "./tuple.ts";

const transport = new Transport();
const range = new NatRange();

/**
 * Applies the nat part of an action to a packet whose entry is known (spec/conntrack section 9).
 * @returns 0, or -EINVAL or -ENOMEM to drop the packet
 */
export function translate(
  ct: ConntrackState,
  packet: Packet,
  key: Int32Array,
  nat: NatAction,
  commit: boolean,
): number {
  const { words } = ct.table;
  const entry = packet.ct * E.WORDS;
  const { ctInfo } = packet;
  const direction = ctInfo >= IP_CT_IS_REPLY ? 1 : 0;
  let status = words[entry + E.STATUS];
  let manip: Manip;
  if (ctInfo !== IP_CT_NEW && (status & IPS_NAT_MASK) !== 0 && (ctInfo !== IP_CT_RELATED || commit)) {
    // As the connection was translated before (spec/conntrack C-156, C-157).
    manip = ((status & IPS_SRC_NAT) !== 0) === (direction === 0) ? Manip.SRC : Manip.DST;
  } else if (nat.type === 1) manip = Manip.SRC;
  else if (nat.type === 2) manip = Manip.DST;
  else return 0;

  let error = applyManip(ct, packet, nat, manip);
  if (error !== 0) return error;
  let done = 1 << manip;
  status = words[entry + E.STATUS];
  if ((status & IPS_DST_NAT) !== 0) {
    if ((status & IPS_SRC_NAT) !== 0) {
      const other = manip === Manip.SRC ? Manip.DST : Manip.SRC;
      error = applyManip(ct, packet, nat, other);
      if (error !== 0) return error;
      done |= 1 << other;
    } else if (direction === 0) {
      // A translated destination may collide with another connection: then the source port changes
      // (spec/conntrack C-165).
      error = applyManip(ct, packet, undefined, Manip.SRC);
      if (error !== 0) return error;
      done |= 1 << Manip.SRC;
    }
  }
  natToKey(packet, key, done);
  return 0;
}

/** Applies one manip to a packet: sets the mapping up if the connection is new, then rewrites the packet. */
function applyManip(ct: ConntrackState, packet: Packet, nat: NatAction | undefined, manip: Manip): number {
  const { words } = ct.table;
  const slot = packet.ct;
  const entry = slot * E.WORDS;
  const { ctInfo } = packet;
  const direction = ctInfo >= IP_CT_IS_REPLY ? 1 : 0;
  const family = words[entry + T.META] & 0xff;
  if (ctInfo === IP_CT_RELATED || ctInfo === IP_CT_RELATED_REPLY) {
    const { view } = packet.memory;
    const found = findTransport(view, packet.l3, packet.off + packet.len, family, transport);
    if (found && transport.proto === (family === AF_INET ? IpProto.ICMP : IpProto.ICMPV6)) {
      const l4 = transport.offset - packet.l3;
      if (!ensureWritable(packet)) return -ENOMEM;
      return manipIcmpError(packet, packet.l3 + l4, family, words, entry, direction, manip) ? 0 : -EINVAL;
    }
  }
  if (ctInfo === IP_CT_NEW || ctInfo === IP_CT_RELATED || ctInfo === IP_CT_RELATED_REPLY) {
    const done = manip === Manip.SRC ? IPS_SRC_NAT_DONE : IPS_DST_NAT_DONE;
    if ((words[entry + E.STATUS] & done) === 0) {
      if (nat?.hasIp === true) ct.mapper.setup(slot, range.set(nat), manip);
      else ct.mapper.setupNull(slot, manip);
    }
  }
  if ((words[entry + E.STATUS] & statusBit(manip, direction)) === 0) return 0;
  if (!ensureWritable(packet)) return -ENOMEM;
  const other = entry + ((1 - direction) << E.DIR_SHIFT);
  return manipPacket(packet, packet.l3, family, words, other, manip, protoOf(words, entry)) ? 0 : -EINVAL;
}
