import { K } from "../flow/key.ts";
import type { Packet } from "../packet/packet.ts";
import { OVS_CS_F_NAT_MASK } from "../uapi/openvswitch.ts";
import type { CtAction } from "./action.ts";
import { E } from "./layout.ts";
import { readTuple } from "./packet-tuple.ts";
import type { ConntrackState } from "./state.ts";
import { infoOf } from "./track.ts";
import { invert, newTuple, setZone, tupleZone } from "./tuple.ts";

const tuple = newTuple();
const inverse = newTuple();

/** Looks the packet's tuple up without tracking (spec/conntrack C-080, C-081). Sets the packet's entry. */
export function findExisting(ct: ConntrackState, packet: Packet, key: Int32Array, action: CtAction): boolean {
  if (!readTuple(ct.greKeys, packet, action.family, action.zone, tuple)) return false;
  let link: number;
  if ((key[K.CT] & OVS_CS_F_NAT_MASK) !== 0) {
    // A translated packet has the inverse of its replies' tuple.
    if (!invert(tuple, 0, inverse, 0)) return false;
    link = ct.findLive(inverse);
    if (link < 0) link = findInReplyZones(ct, action.zone);
    if (link >= 0) link ^= 1;
  } else link = ct.findLive(tuple);
  if (link < 0) return false;
  packet.ct = link >> 1;
  packet.ctInfo = infoOf(ct.table.words, link);
  return true;
}

/** Looks `inverse` up in the zones where connections from this zone have their replies. */
function findInReplyZones(ct: ConntrackState, zone: number): number {
  const replyZones = ct.replyZones.of(zone);
  if (replyZones === undefined) return -1;
  for (const replyZone of replyZones) {
    setZone(inverse, 0, replyZone);
    const link = ct.findLive(inverse);
    if (link >= 0 && tupleZone(ct.table.words, (link >> 1) * E.WORDS) === zone) return link;
  }
  return -1;
}
