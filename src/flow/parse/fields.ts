import { ETH_P_802_2 } from "../../packet/ethernet.ts";
import {
  OVS_FRAG_TYPE_LATER,
  OVS_KEY_ATTR_ARP,
  OVS_KEY_ATTR_ETHERNET,
  OVS_KEY_ATTR_ETHERTYPE,
  OVS_KEY_ATTR_ICMP,
  OVS_KEY_ATTR_ICMPV6,
  OVS_KEY_ATTR_IPV4,
  OVS_KEY_ATTR_IPV6,
  OVS_KEY_ATTR_IPV6_EXTHDRS,
  OVS_KEY_ATTR_MPLS,
  OVS_KEY_ATTR_ND,
  OVS_KEY_ATTR_NSH,
  OVS_KEY_ATTR_SCTP,
  OVS_KEY_ATTR_TCP,
  OVS_KEY_ATTR_TCP_FLAGS,
  OVS_KEY_ATTR_UDP,
  OVS_KEY_ATTR_VLAN,
} from "../../uapi/openvswitch.ts";
import { K } from "../key.ts";
import { MaskField, type MaskRange } from "../mask-range.ts";
import { nshFromAttributes } from "../tunnel.ts";
import { type FlowAttributes, invalid, loadWords } from "./attribute-set.ts";
import { parseEtherType, parseMetadataAttrs } from "./metadata.ts";

/** Largest OVS_FRAG_TYPE_*. */
const MAX_FRAG = OVS_FRAG_TYPE_LATER;
const MPLS_DEPTH = 3;

/**
 * All attributes of a key, or of a mask when `key` is given; whatever is left over in the end is an error
 * (spec/keys K-043).
 */
export function parseFields(
  set: FlowAttributes,
  words: Int32Array,
  key: Int32Array | undefined,
  range: MaskRange | undefined,
): void {
  const isMask = key !== undefined;
  const { view } = set;
  parseMetadataAttrs(set, words, key, range);

  if (set.take(OVS_KEY_ATTR_ETHERNET)) {
    const at = set.offset(OVS_KEY_ATTR_ETHERNET);
    // On the wire the source comes first.
    words[K.ETH_DST] = view.getInt32(at + 6);
    words[K.ETH_MID] = (view.getUint16(at + 10) << 16) | view.getUint16(at);
    words[K.ETH_SRC] = view.getInt32(at + 2);
    range?.add(MaskField.ETH_SRC, 12);
    if (set.has(OVS_KEY_ATTR_VLAN)) throw invalid();
    if (set.has(OVS_KEY_ATTR_ETHERTYPE)) parseEtherType(set, words, isMask, range);
    else if (!isMask) words[K.ETH_TYPE] |= ETH_P_802_2 << 16;
  } else if ((key ?? words)[K.ETH_TYPE] >>> 16 === 0) {
    throw invalid();
  }

  if (set.take(OVS_KEY_ATTR_IPV4)) {
    loadWords(set, OVS_KEY_ATTR_IPV4, words, K.IPV4_SRC, 2);
    loadWords(set, OVS_KEY_ATTR_IPV4, words, K.IP, 1, 8);
    if (!isMask && (words[K.IP] & 0xff) > MAX_FRAG) throw invalid();
    range?.add(MaskField.IP, 4);
    range?.add(MaskField.L3, 8);
  }
  if (set.take(OVS_KEY_ATTR_IPV6)) {
    loadWords(set, OVS_KEY_ATTR_IPV6, words, K.IPV6_SRC, 9);
    loadWords(set, OVS_KEY_ATTR_IPV6, words, K.IP, 1, 36);
    if (!isMask && ((words[K.IP] & 0xff) > MAX_FRAG || words[K.IPV6_LABEL] >>> 20 !== 0)) throw invalid();
    range?.add(MaskField.IP, 4);
    range?.add(MaskField.L3, 36);
  }
  if (set.take(OVS_KEY_ATTR_IPV6_EXTHDRS)) {
    words[K.IPV6_EXTHDRS] = set.u16(OVS_KEY_ATTR_IPV6_EXTHDRS);
    range?.add(MaskField.IPV6_EXTHDRS, 2);
  }
  if (set.take(OVS_KEY_ATTR_ARP)) {
    const at = set.offset(OVS_KEY_ATTR_ARP);
    const op = view.getUint16(at + 8);
    if (!isMask && op > 0xff) throw invalid();
    words[K.ARP_SIP] = view.getInt32(at);
    words[K.ARP_TIP] = view.getInt32(at + 4);
    words[K.IP] = (op << 24) | (words[K.IP] & 0xffffff);
    words[K.ARP_SHA] = view.getInt32(at + 10);
    words[K.ARP_MID] = view.getInt32(at + 14);
    words[K.ARP_THA] = view.getInt32(at + 18);
    range?.add(MaskField.L3, 20);
    range?.add(MaskField.IP, 1);
  }
  if (set.take(OVS_KEY_ATTR_NSH)) {
    const at = set.offset(OVS_KEY_ATTR_NSH);
    nshFromAttributes(view, at, at + set.length(OVS_KEY_ATTR_NSH), words, isMask, range);
  }
  if (set.take(OVS_KEY_ATTR_MPLS)) {
    const length = set.length(OVS_KEY_ATTR_MPLS);
    if (length === 0 || length % 4 !== 0 || length > 4 * MPLS_DEPTH) throw invalid();
    loadWords(set, OVS_KEY_ATTR_MPLS, words, K.MPLS_LSE, length / 4);
    words[K.MPLS_LABELS] = (1 << (length / 4)) - 1;
    range?.add(MaskField.L3, 4 + length);
  }
  if (set.take(OVS_KEY_ATTR_TCP)) ports(set, OVS_KEY_ATTR_TCP, words, range);
  if (set.take(OVS_KEY_ATTR_TCP_FLAGS)) {
    words[K.TCP_FLAGS] = set.be16(OVS_KEY_ATTR_TCP_FLAGS);
    range?.add(MaskField.TCP_FLAGS, 2);
  }
  if (set.take(OVS_KEY_ATTR_UDP)) ports(set, OVS_KEY_ATTR_UDP, words, range);
  if (set.take(OVS_KEY_ATTR_SCTP)) ports(set, OVS_KEY_ATTR_SCTP, words, range);
  if (set.take(OVS_KEY_ATTR_ICMP)) icmp(set, OVS_KEY_ATTR_ICMP, words, range);
  if (set.take(OVS_KEY_ATTR_ICMPV6)) icmp(set, OVS_KEY_ATTR_ICMPV6, words, range);
  if (set.take(OVS_KEY_ATTR_ND)) {
    loadWords(set, OVS_KEY_ATTR_ND, words, K.ND_TARGET, 7);
    range?.add(MaskField.IPV6_ND, 28);
  }
  if (set.present !== 0 || set.unspec) throw invalid();
}

function ports(set: FlowAttributes, type: number, words: Int32Array, range: MaskRange | undefined): void {
  loadWords(set, type, words, K.TP, 1);
  range?.add(MaskField.TP, 4);
}

function icmp(set: FlowAttributes, type: number, words: Int32Array, range: MaskRange | undefined): void {
  const typeAndCode = set.be16(type);
  words[K.TP] = ((typeAndCode >>> 8) << 16) | (typeAndCode & 0xff);
  range?.add(MaskField.TP, 4);
}
