import { ETH_P_802_3_MIN } from "../../packet/ethernet.ts";
import {
  OVS_KEY_ATTR_CT_LABELS,
  OVS_KEY_ATTR_CT_MARK,
  OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4,
  OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6,
  OVS_KEY_ATTR_CT_STATE,
  OVS_KEY_ATTR_CT_ZONE,
  OVS_KEY_ATTR_DP_HASH,
  OVS_KEY_ATTR_ETHERNET,
  OVS_KEY_ATTR_ETHERTYPE,
  OVS_KEY_ATTR_IN_PORT,
  OVS_KEY_ATTR_PRIORITY,
  OVS_KEY_ATTR_RECIRC_ID,
  OVS_KEY_ATTR_SKB_MARK,
  OVS_KEY_ATTR_TUNNEL,
} from "../../uapi/openvswitch.ts";
import { K, NO_PORT } from "../key.ts";
import { MaskField, type MaskRange } from "../mask-range.ts";
import { parseTunnel } from "../tunnel.ts";
import { type FlowAttributes, invalid, loadWords } from "./attribute-set.ts";
import { CT_SUPPORTED } from "./exact-mask.ts";

const MAC_PROTO_ETHERNET = 1;

/**
 * Metadata attributes, and the ethertype of a packet without Ethernet header (metadata_from_nlattrs).
 * @param words the key, or the mask when `key` is given
 */
export function parseMetadataAttrs(
  set: FlowAttributes,
  words: Int32Array,
  key: Int32Array | undefined,
  range: MaskRange | undefined,
): void {
  const isMask = key !== undefined;
  const { view } = set;
  if (set.take(OVS_KEY_ATTR_DP_HASH)) {
    words[K.DP_HASH] = set.u32(OVS_KEY_ATTR_DP_HASH);
    range?.add(MaskField.DP_HASH, 4);
  }
  if (set.take(OVS_KEY_ATTR_RECIRC_ID)) {
    words[K.RECIRC_ID] = set.u32(OVS_KEY_ATTR_RECIRC_ID);
    range?.add(MaskField.RECIRC_ID, 4);
  }
  if (set.take(OVS_KEY_ATTR_PRIORITY)) {
    words[K.PRIORITY] = set.u32(OVS_KEY_ATTR_PRIORITY);
    range?.add(MaskField.PRIORITY, 4);
  }
  if (set.take(OVS_KEY_ATTR_IN_PORT)) {
    const port = set.u32(OVS_KEY_ATTR_IN_PORT) >>> 0;
    if (!isMask && port >= NO_PORT) throw invalid();
    words[K.IN_PORT] = isMask ? 0xffff : port;
    range?.add(MaskField.IN_PORT, 2);
  } else if (!isMask) {
    words[K.IN_PORT] = NO_PORT;
  }
  if (set.take(OVS_KEY_ATTR_SKB_MARK)) {
    words[K.SKB_MARK] = set.u32(OVS_KEY_ATTR_SKB_MARK);
    range?.add(MaskField.SKB_MARK, 4);
  }
  if (set.take(OVS_KEY_ATTR_TUNNEL)) {
    const at = set.offset(OVS_KEY_ATTR_TUNNEL);
    parseTunnel(view, at, at + set.length(OVS_KEY_ATTR_TUNNEL), words, isMask, key ?? words, range);
  }
  if (set.take(OVS_KEY_ATTR_CT_STATE)) {
    const state = set.u32(OVS_KEY_ATTR_CT_STATE);
    if ((state & ~CT_SUPPORTED) !== 0) throw invalid();
    words[K.CT] |= state;
    range?.add(MaskField.CT_STATE, 1);
  }
  if (set.take(OVS_KEY_ATTR_CT_ZONE)) {
    words[K.CT] |= set.u16(OVS_KEY_ATTR_CT_ZONE) << 16;
    range?.add(MaskField.CT_ZONE, 2);
  }
  if (set.take(OVS_KEY_ATTR_CT_MARK)) {
    words[K.CT_MARK] = set.u32(OVS_KEY_ATTR_CT_MARK);
    range?.add(MaskField.CT_MARK, 4);
  }
  if (set.take(OVS_KEY_ATTR_CT_LABELS)) {
    loadWords(set, OVS_KEY_ATTR_CT_LABELS, words, K.CT_LABELS, 4);
    range?.add(MaskField.CT_LABELS, 16);
  }
  if (set.take(OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4)) {
    loadWords(set, OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4, words, K.CT_ORIG4_SRC, 3);
    origTuple(set, OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4, 8, words);
    range?.add(MaskField.L3 + 8, 8);
    range?.add(MaskField.CT_ORIG_TP, 4);
    range?.add(MaskField.CT_ORIG_PROTO, 1);
  }
  if (set.take(OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6)) {
    loadWords(set, OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6, words, K.CT_ORIG6_SRC, 9);
    origTuple(set, OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6, 32, words);
    range?.add(MaskField.IPV6_ND, 32);
    range?.add(MaskField.CT_ORIG_TP, 4);
    range?.add(MaskField.CT_ORIG_PROTO, 1);
  }
  const l3 = !set.has(OVS_KEY_ATTR_ETHERNET) && set.has(OVS_KEY_ATTR_ETHERTYPE);
  words[K.ETH_TYPE] |= isMask ? 0xff : l3 ? 0 : MAC_PROTO_ETHERNET;
  range?.add(MaskField.MAC_PROTO, 1);
  if (l3) parseEtherType(set, words, isMask, range);
}

/** Ports and protocol of an original tuple; the ports stand at `offset`, the protocol behind them. */
function origTuple(set: FlowAttributes, type: number, offset: number, words: Int32Array): void {
  const at = set.offset(type) + offset;
  set.origPorts = set.view.getInt32(at);
  words[K.CT] = (words[K.CT] & ~0xff00) | (set.view.getUint8(at + 4) << 8);
}

/** Takes ETHERTYPE (spec/keys K-045 to K-047, K-055). */
export function parseEtherType(
  set: FlowAttributes,
  words: Int32Array,
  isMask: boolean,
  range: MaskRange | undefined,
): void {
  set.take(OVS_KEY_ATTR_ETHERTYPE);
  const type = isMask ? 0xffff : set.be16(OVS_KEY_ATTR_ETHERTYPE);
  if (type < ETH_P_802_3_MIN) throw invalid();
  words[K.ETH_TYPE] = (type << 16) | (words[K.ETH_TYPE] & 0xffff);
  range?.add(MaskField.ETH_TYPE, 2);
}
