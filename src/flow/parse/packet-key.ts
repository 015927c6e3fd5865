import { ETH_P_IP, ETH_P_IPV6 } from "../../packet/ethernet.ts";
import type { Packet } from "../../packet/packet.ts";
import { EINVAL } from "../../uapi/errno.ts";
import { OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4, OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6 } from "../../uapi/openvswitch.ts";
import { extractHeaders } from "../extract/extract.ts";
import { isNd } from "../extract/icmpv6.ts";
import { K } from "../key.ts";
import { scratchSet } from "./attribute-set.ts";
import { parseMetadataAttrs } from "./metadata.ts";

/** What parseMetadata() returns: original tuples that fit one kind of packet only. @internal */
export const enum MetadataKey {
  ORIG_TUPLE_IPV4 = 1,
  ORIG_TUPLE_IPV6 = 2,
}

/**
 * Parses OVS_PACKET_ATTR_KEY of EXECUTE (spec/keys K-107 to K-111): the metadata words of `key` (all others are
 * cleared), and inPort, priority, mark, macNone and protocol of the packet. Header attributes are read for length and
 * duplicates only. extractUserspace() completes the key.
 * @returns MetadataKey bits, for extractUserspace()
 * @throws Errno EINVAL
 */
export function parseMetadata(view: DataView, start: number, end: number, packet: Packet, key: Int32Array): number {
  key.fill(0);
  const set = scratchSet.reset(view);
  set.read(start, end, false);
  const tuples =
    (set.has(OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4) ? MetadataKey.ORIG_TUPLE_IPV4 : 0) |
    (set.has(OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6) ? MetadataKey.ORIG_TUPLE_IPV6 : 0);
  parseMetadataAttrs(set, key, undefined, undefined);
  packet.inPort = key[K.IN_PORT];
  packet.priority = key[K.PRIORITY];
  packet.mark = key[K.SKB_MARK];
  packet.macNone = (key[K.ETH_TYPE] & 0xff) === 0;
  packet.protocol = key[K.ETH_TYPE] >>> 16;
  return tuples;
}

/**
 * Reads the headers of an EXECUTE packet into a key that parseMetadata() began (ovs_flow_key_extract_userspace).
 * @param tuples what parseMetadata() returned
 * @returns 0, or -EINVAL: also when an original tuple was given that does not fit the packet (spec/keys K-104, K-105)
 */
export function extractUserspace(packet: Packet, key: Int32Array, tuples: number): number {
  const error = extractHeaders(packet, key);
  if (error !== 0) return error;
  const type = key[K.ETH_TYPE] >>> 16;
  if ((tuples & MetadataKey.ORIG_TUPLE_IPV4) !== 0 && type !== ETH_P_IP) return -EINVAL;
  if ((tuples & MetadataKey.ORIG_TUPLE_IPV6) !== 0 && (type !== ETH_P_IPV6 || isNd(key))) return -EINVAL;
  return 0;
}
