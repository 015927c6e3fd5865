import { Errno } from "../core/errors.ts";
import { AttributeReader } from "../netlink/reader.ts";
import {
  ETH_P_802_2,
  ETH_P_802_3_MIN,
  ETH_P_ARP,
  ETH_P_IP,
  ETH_P_IPV6,
  ETH_P_NSH,
  ETH_P_RARP,
  isMpls,
  isVlan,
} from "../packet/ethernet.ts";
import { IpProto } from "../packet/ip.ts";
import type { Packet } from "../packet/packet.ts";
import { EINVAL } from "../uapi/errno.ts";
import {
  OVS_FRAG_TYPE_LATER,
  OVS_KEY_ATTR_ARP,
  OVS_KEY_ATTR_CT_LABELS,
  OVS_KEY_ATTR_CT_MARK,
  OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4,
  OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6,
  OVS_KEY_ATTR_CT_STATE,
  OVS_KEY_ATTR_CT_ZONE,
  OVS_KEY_ATTR_DP_HASH,
  OVS_KEY_ATTR_ENCAP,
  OVS_KEY_ATTR_ETHERNET,
  OVS_KEY_ATTR_ETHERTYPE,
  OVS_KEY_ATTR_ICMP,
  OVS_KEY_ATTR_ICMPV6,
  OVS_KEY_ATTR_IN_PORT,
  OVS_KEY_ATTR_IPV4,
  OVS_KEY_ATTR_IPV6,
  OVS_KEY_ATTR_IPV6_EXTHDRS,
  OVS_KEY_ATTR_MPLS,
  OVS_KEY_ATTR_ND,
  OVS_KEY_ATTR_NSH,
  OVS_KEY_ATTR_PRIORITY,
  OVS_KEY_ATTR_RECIRC_ID,
  OVS_KEY_ATTR_SCTP,
  OVS_KEY_ATTR_SKB_MARK,
  OVS_KEY_ATTR_TCP,
  OVS_KEY_ATTR_TCP_FLAGS,
  OVS_KEY_ATTR_TUNNEL,
  OVS_KEY_ATTR_UDP,
  OVS_KEY_ATTR_UNSPEC,
  OVS_KEY_ATTR_VLAN,
} from "../uapi/openvswitch.ts";
import { AttrLength, attrLengthOk, KEY_LENGTHS, NSH_KEY_LENGTHS, TUNNEL_KEY_LENGTHS } from "./attrs.ts";
import { extractHeaders, isNd } from "./extract.ts";
import { K, NO_PORT } from "./key.ts";
import { Field, MaskRange } from "./mask-range.ts";
import { nshFromAttributes, parseTunnel } from "./tunnel.ts";

const MAC_PROTO_ETHERNET = 1;
/** Conntrack state bits that a key may hold (spec/keys K-099). */
const CT_SUPPORTED = 0xff;
const VLAN_PRESENT = 0x1000;
const MAX_FRAG = OVS_FRAG_TYPE_LATER;
const MPLS_DEPTH = 3;
const ND_SOLICIT = 135;
const ND_ADVERT = 136;
const INVALID = (): Errno => new Errno(EINVAL);

/** Attribute sets are bit masks by number; IPV6_EXTHDRS (32) takes bit 0, for UNSPEC never gets into a set. */
const bit = (type: number): number => 1 << (type & 31);

const ALWAYS_MASKABLE = bit(OVS_KEY_ATTR_TUNNEL) | bit(OVS_KEY_ATTR_IN_PORT) | bit(OVS_KEY_ATTR_ETHERTYPE);
/** Mask attributes that need their prerequisite matched exactly (spec/keys K-054). */
const CONDITIONAL =
  bit(OVS_KEY_ATTR_IPV4) |
  bit(OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4) |
  bit(OVS_KEY_ATTR_IPV6) |
  bit(OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6) |
  bit(OVS_KEY_ATTR_TCP) |
  bit(OVS_KEY_ATTR_TCP_FLAGS) |
  bit(OVS_KEY_ATTR_UDP) |
  bit(OVS_KEY_ATTR_SCTP) |
  bit(OVS_KEY_ATTR_ICMP) |
  bit(OVS_KEY_ATTR_ICMPV6) |
  bit(OVS_KEY_ATTR_ARP) |
  bit(OVS_KEY_ATTR_ND) |
  bit(OVS_KEY_ATTR_MPLS) |
  bit(OVS_KEY_ATTR_NSH);

/**
 * The attributes of one key or mask: which there are and where. Positions of a level stay when the next level is read,
 * as the module leaves them.
 */
class AttributeSet {
  present = 0;
  private readonly at = new Int32Array(KEY_LENGTHS.length);
  private readonly size = new Int32Array(KEY_LENGTHS.length);
  /** UNSPEC, which has no bit, was among them: never an error in EXECUTE, always one in a flow's key. */
  unspec = false;
  /** Ports of the original tuple, sport << 16 | dport: one field for both families. */
  origPorts = 0;
  /** Attributes seen at all, in this key or mask or the one before. */
  private seen = 0;

  constructor(public view: DataView) {}

  /** For another message. */
  reset(view: DataView): this {
    this.view = view;
    this.present = 0;
    this.at.fill(0);
    this.size.fill(0);
    this.unspec = false;
    this.origPorts = 0;
    this.seen = 0;
    return this;
  }

  has(type: number): boolean {
    return (this.present & bit(type)) !== 0;
  }
  /** Takes an attribute out of the set; false when it is not in it. */
  take(type: number): boolean {
    if (!this.has(type)) return false;
    this.present &= ~bit(type);
    return true;
  }
  offset(type: number): number {
    return this.at[type];
  }
  length(type: number): number {
    return this.size[type];
  }
  u32(type: number): number {
    return this.view.getInt32(this.at[type], true);
  }
  u16(type: number): number {
    return this.view.getUint16(this.at[type], true);
  }
  be16(type: number): number {
    return this.view.getUint16(this.at[type]);
  }
  /** As be16(), 0 when no level had this attribute. */
  lastBe16(type: number): number {
    return (this.seen & bit(type)) === 0 ? 0 : this.be16(type);
  }

  /**
   * Adds the attributes of one level (spec/keys K-034 to K-042).
   * @param isMask attributes of nothing but zeros count as absent
   */
  read(start: number, end: number, isMask: boolean): void {
    const reader = new AttributeReader(this.view, start, end);
    while (reader.next()) {
      const { type, offset, length } = reader;
      if (!attrLengthOk(KEY_LENGTHS, type, length)) throw INVALID();
      if (type === OVS_KEY_ATTR_UNSPEC) {
        if (!isMask && this.unspec) throw INVALID();
        this.unspec = !isMask;
        continue;
      }
      if (this.has(type)) throw INVALID();
      if (isMask && isZero(this.view, offset, length)) continue;
      this.present |= bit(type);
      this.seen |= bit(type);
      this.at[type] = offset;
      this.size[type] = length;
    }
    if (reader.rest > 0) throw INVALID();
  }
}

/** One message is parsed at a time. */
const scratchSet = new AttributeSet(new DataView(new ArrayBuffer(0)));

function isZero(view: DataView, offset: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (view.getUint8(offset + i) !== 0) return false;
  return true;
}

/**
 * Parses a flow's KEY and MASK (ovs_nla_get_match; spec/keys sections 2, 3, 4, 6, 13, 14). Both arrays are cleared
 * first. The key is not masked.
 * @param maskStart position of the content of MASK, or -1 without MASK attribute: every field given is matched exactly
 * @returns the byte range that the mask covers, as an opaque number: two masks are the same mask only if words and
 * range are (K-074)
 * @throws Errno EINVAL
 */
export function parseMatch(
  view: DataView,
  keyStart: number,
  keyEnd: number,
  maskStart: number,
  maskEnd: number,
  key: Int32Array,
  mask: Int32Array,
): number {
  key.fill(0);
  mask.fill(0);
  const set = scratchSet.reset(view);
  const keyAttrs = readKey(set, keyStart, keyEnd, key);

  const range = new MaskRange();
  let start = maskStart;
  let end = maskEnd;
  if (start < 0) {
    set.view = exactMask(view, keyStart, keyEnd);
    start = 0;
    end = keyEnd - keyStart;
    if (key[K.TUN_PROTO] !== 0) {
      // Tunnel fields that were not given are zero and are matched as such.
      mask.fill(-1, K.TUN_ID, K.TUN_OPTS);
      range.addTunnel();
    }
  }
  set.present = 0;
  set.read(start, end, true);
  mask[K.VLAN] = 0xffff0000;
  mask[K.CVLAN] = 0xffff0000;
  range.add(Field.VLAN + 2, 2);
  range.add(Field.CVLAN + 2, 2);
  if (descendMask(set, key, mask, false, range) && key[K.VLAN] >>> 16 !== 0) descendMask(set, key, mask, true, range);
  const maskAttrs = set.present;
  fields(set, mask, key, range);
  validate(key, keyAttrs, mask, maskAttrs);
  return range.value;
}

/**
 * Parses the KEY of a request that names a flow by it (GET, DEL): the key alone, unmasked.
 * @throws Errno EINVAL
 */
export function parseKey(view: DataView, start: number, end: number, key: Int32Array): void {
  key.fill(0);
  const set = scratchSet.reset(view);
  validate(key, readKey(set, start, end, key), undefined, 0);
}

/** Reads a KEY with its VLAN levels; returns the set of attributes behind the tags. */
function readKey(set: AttributeSet, start: number, end: number, key: Int32Array): number {
  set.read(start, end, false);
  if (descendKey(set, key, K.VLAN) && key[K.VLAN] >>> 16 !== 0) descendKey(set, key, K.CVLAN);
  const attrs = set.present;
  fields(set, key, undefined, undefined);
  if (set.origPorts !== 0) {
    // A tuple of the other family still gives its ports and protocol, which have a place of their own in the module.
    const type = key[K.ETH_TYPE] >>> 16;
    if (type === ETH_P_IP) key[K.CT_ORIG4_TP] = set.origPorts;
    else if (type === ETH_P_IPV6) key[K.CT_ORIG6_TP] = set.origPorts;
  }
  return attrs;
}

/**
 * A copy of KEY in which every payload bit is set, but those of ct_state that cannot be matched (spec/keys K-049,
 * K-051).
 */
function exactMask(view: DataView, start: number, end: number): DataView {
  const bytes = new Uint8Array(view.buffer, view.byteOffset + start, end - start).slice();
  const copy = new DataView(bytes.buffer);
  setBits(copy, 0, bytes.length, 0);
  return copy;
}

const LEVEL_KEY = 0;
const LEVEL_TUNNEL = 1;
const LEVEL_NSH = 2;
const LEVEL_OTHER = 3;

function setBits(view: DataView, start: number, end: number, level: number): void {
  const lengths = level === LEVEL_KEY ? KEY_LENGTHS : level === LEVEL_TUNNEL ? TUNNEL_KEY_LENGTHS : NSH_KEY_LENGTHS;
  const reader = new AttributeReader(view, start, end);
  while (reader.next()) {
    const { type, offset, length } = reader;
    if (level !== LEVEL_OTHER && lengths[type] === AttrLength.NESTED) {
      const inner =
        level === LEVEL_TUNNEL
          ? LEVEL_OTHER
          : type === OVS_KEY_ATTR_TUNNEL
            ? LEVEL_TUNNEL
            : type === OVS_KEY_ATTR_NSH
              ? LEVEL_NSH
              : LEVEL_KEY;
      setBits(view, offset, offset + length, inner);
    } else {
      for (let i = 0; i < length; i++) view.setUint8(offset + i, 0xff);
      if (level === LEVEL_KEY && type === OVS_KEY_ATTR_CT_STATE) view.setUint32(offset, CT_SUPPORTED, true);
    }
  }
}

/**
 * Takes the tag of this level out of the set and reads the level behind it (spec/keys K-112 to K-117).
 * @param word K.VLAN or K.CVLAN
 * @returns false when there is no tag
 */
function descendKey(set: AttributeSet, key: Int32Array, word: number): boolean {
  if (!set.has(OVS_KEY_ATTR_ETHERNET) || !set.has(OVS_KEY_ATTR_ETHERTYPE)) return false;
  const tpid = set.be16(OVS_KEY_ATTR_ETHERTYPE);
  if (!isVlan(tpid)) return false;
  if (!set.has(OVS_KEY_ATTR_VLAN) || !set.has(OVS_KEY_ATTR_ENCAP)) throw INVALID();
  const tci = set.be16(OVS_KEY_ATTR_VLAN);
  // A TCI of 0 with nothing behind it is a tag cut short.
  if ((tci & VLAN_PRESENT) === 0 && (tci !== 0 || set.length(OVS_KEY_ATTR_ENCAP) !== 0)) throw INVALID();
  key[word] = (tci << 16) | tpid;
  descend(set, false);
  return true;
}

/** The same for a mask (spec/keys K-118 to K-121). */
function descendMask(set: AttributeSet, key: Int32Array, mask: Int32Array, inner: boolean, range: MaskRange): boolean {
  if (!set.has(OVS_KEY_ATTR_ENCAP)) return false;
  const word = inner ? K.CVLAN : K.VLAN;
  if (((key[word] >>> 16) & VLAN_PRESENT) === 0) throw INVALID();
  const tci = set.lastBe16(OVS_KEY_ATTR_VLAN);
  const tpid = set.lastBe16(OVS_KEY_ATTR_ETHERTYPE);
  if (tpid !== 0xffff || (tci & VLAN_PRESENT) === 0) throw INVALID();
  mask[word] = (tci << 16) | tpid;
  range.add(inner ? Field.CVLAN : Field.VLAN, 4);
  descend(set, true);
  return true;
}

function descend(set: AttributeSet, isMask: boolean): void {
  set.present &= ~(bit(OVS_KEY_ATTR_ENCAP) | bit(OVS_KEY_ATTR_VLAN) | bit(OVS_KEY_ATTR_ETHERTYPE));
  const start = set.offset(OVS_KEY_ATTR_ENCAP);
  set.read(start, start + set.length(OVS_KEY_ATTR_ENCAP), isMask);
}

/**
 * Metadata attributes, and the ethertype of a packet without Ethernet header (metadata_from_nlattrs).
 * @param words the key, or the mask when `key` is given
 */
function metadata(
  set: AttributeSet,
  words: Int32Array,
  key: Int32Array | undefined,
  range: MaskRange | undefined,
): void {
  const isMask = key !== undefined;
  const { view } = set;
  if (set.take(OVS_KEY_ATTR_DP_HASH)) {
    words[K.DP_HASH] = set.u32(OVS_KEY_ATTR_DP_HASH);
    range?.add(Field.DP_HASH, 4);
  }
  if (set.take(OVS_KEY_ATTR_RECIRC_ID)) {
    words[K.RECIRC_ID] = set.u32(OVS_KEY_ATTR_RECIRC_ID);
    range?.add(Field.RECIRC_ID, 4);
  }
  if (set.take(OVS_KEY_ATTR_PRIORITY)) {
    words[K.PRIORITY] = set.u32(OVS_KEY_ATTR_PRIORITY);
    range?.add(Field.PRIORITY, 4);
  }
  if (set.take(OVS_KEY_ATTR_IN_PORT)) {
    const port = set.u32(OVS_KEY_ATTR_IN_PORT) >>> 0;
    if (!isMask && port >= NO_PORT) throw INVALID();
    words[K.IN_PORT] = isMask ? 0xffff : port;
    range?.add(Field.IN_PORT, 2);
  } else if (!isMask) {
    words[K.IN_PORT] = NO_PORT;
  }
  if (set.take(OVS_KEY_ATTR_SKB_MARK)) {
    words[K.SKB_MARK] = set.u32(OVS_KEY_ATTR_SKB_MARK);
    range?.add(Field.SKB_MARK, 4);
  }
  if (set.take(OVS_KEY_ATTR_TUNNEL)) {
    const at = set.offset(OVS_KEY_ATTR_TUNNEL);
    parseTunnel(view, at, at + set.length(OVS_KEY_ATTR_TUNNEL), words, isMask, key ?? words, range);
  }
  if (set.take(OVS_KEY_ATTR_CT_STATE)) {
    const state = set.u32(OVS_KEY_ATTR_CT_STATE);
    if ((state & ~CT_SUPPORTED) !== 0) throw INVALID();
    words[K.CT] |= state;
    range?.add(Field.CT_STATE, 1);
  }
  if (set.take(OVS_KEY_ATTR_CT_ZONE)) {
    words[K.CT] |= set.u16(OVS_KEY_ATTR_CT_ZONE) << 16;
    range?.add(Field.CT_ZONE, 2);
  }
  if (set.take(OVS_KEY_ATTR_CT_MARK)) {
    words[K.CT_MARK] = set.u32(OVS_KEY_ATTR_CT_MARK);
    range?.add(Field.CT_MARK, 4);
  }
  if (set.take(OVS_KEY_ATTR_CT_LABELS)) {
    load(set, OVS_KEY_ATTR_CT_LABELS, words, K.CT_LABELS, 4);
    range?.add(Field.CT_LABELS, 16);
  }
  if (set.take(OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4)) {
    load(set, OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4, words, K.CT_ORIG4_SRC, 3);
    origTuple(set, OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4, 8, words);
    range?.add(Field.L3 + 8, 8);
    range?.add(Field.CT_ORIG_TP, 4);
    range?.add(Field.CT_ORIG_PROTO, 1);
  }
  if (set.take(OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6)) {
    load(set, OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6, words, K.CT_ORIG6_SRC, 9);
    origTuple(set, OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6, 32, words);
    range?.add(Field.IPV6_ND, 32);
    range?.add(Field.CT_ORIG_TP, 4);
    range?.add(Field.CT_ORIG_PROTO, 1);
  }
  const l3 = !set.has(OVS_KEY_ATTR_ETHERNET) && set.has(OVS_KEY_ATTR_ETHERTYPE);
  words[K.ETH_TYPE] |= isMask ? 0xff : l3 ? 0 : MAC_PROTO_ETHERNET;
  range?.add(Field.MAC_PROTO, 1);
  if (l3) etherType(set, words, isMask, range);
}

/** Ports and protocol of an original tuple; the ports stand at `offset`, the protocol behind them. */
function origTuple(set: AttributeSet, type: number, offset: number, words: Int32Array): void {
  const at = set.offset(type) + offset;
  set.origPorts = set.view.getInt32(at);
  words[K.CT] = (words[K.CT] & ~0xff00) | (set.view.getUint8(at + 4) << 8);
}

/** Copies `count` big-endian words of an attribute. */
function load(set: AttributeSet, type: number, words: Int32Array, to: number, count: number, from = 0): void {
  const at = set.offset(type) + from;
  for (let i = 0; i < count; i++) words[to + i] = set.view.getInt32(at + 4 * i);
}

/** Takes ETHERTYPE (spec/keys K-045 to K-047, K-055). */
function etherType(set: AttributeSet, words: Int32Array, isMask: boolean, range: MaskRange | undefined): void {
  set.take(OVS_KEY_ATTR_ETHERTYPE);
  const type = isMask ? 0xffff : set.be16(OVS_KEY_ATTR_ETHERTYPE);
  if (type < ETH_P_802_3_MIN) throw INVALID();
  words[K.ETH_TYPE] = (type << 16) | (words[K.ETH_TYPE] & 0xffff);
  range?.add(Field.ETH_TYPE, 2);
}

/**
 * All attributes of a key, or of a mask when `key` is given; whatever is left over in the end is an error
 * (spec/keys K-043).
 */
function fields(set: AttributeSet, words: Int32Array, key: Int32Array | undefined, range: MaskRange | undefined): void {
  const isMask = key !== undefined;
  const { view } = set;
  metadata(set, words, key, range);

  if (set.take(OVS_KEY_ATTR_ETHERNET)) {
    const at = set.offset(OVS_KEY_ATTR_ETHERNET);
    // On the wire the source comes first.
    words[K.ETH_DST] = view.getInt32(at + 6);
    words[K.ETH_MID] = (view.getUint16(at + 10) << 16) | view.getUint16(at);
    words[K.ETH_SRC] = view.getInt32(at + 2);
    range?.add(Field.ETH_SRC, 12);
    if (set.has(OVS_KEY_ATTR_VLAN)) throw INVALID();
    if (set.has(OVS_KEY_ATTR_ETHERTYPE)) etherType(set, words, isMask, range);
    else if (!isMask) words[K.ETH_TYPE] |= ETH_P_802_2 << 16;
  } else if ((key ?? words)[K.ETH_TYPE] >>> 16 === 0) {
    throw INVALID();
  }

  if (set.take(OVS_KEY_ATTR_IPV4)) {
    load(set, OVS_KEY_ATTR_IPV4, words, K.IPV4_SRC, 2);
    load(set, OVS_KEY_ATTR_IPV4, words, K.IP, 1, 8);
    if (!isMask && (words[K.IP] & 0xff) > MAX_FRAG) throw INVALID();
    range?.add(Field.IP, 4);
    range?.add(Field.L3, 8);
  }
  if (set.take(OVS_KEY_ATTR_IPV6)) {
    load(set, OVS_KEY_ATTR_IPV6, words, K.IPV6_SRC, 9);
    load(set, OVS_KEY_ATTR_IPV6, words, K.IP, 1, 36);
    if (!isMask && ((words[K.IP] & 0xff) > MAX_FRAG || words[K.IPV6_LABEL] >>> 20 !== 0)) throw INVALID();
    range?.add(Field.IP, 4);
    range?.add(Field.L3, 36);
  }
  if (set.take(OVS_KEY_ATTR_IPV6_EXTHDRS)) {
    words[K.IPV6_EXTHDRS] = set.u16(OVS_KEY_ATTR_IPV6_EXTHDRS);
    range?.add(Field.IPV6_EXTHDRS, 2);
  }
  if (set.take(OVS_KEY_ATTR_ARP)) {
    const at = set.offset(OVS_KEY_ATTR_ARP);
    const op = view.getUint16(at + 8);
    if (!isMask && op > 0xff) throw INVALID();
    words[K.ARP_SIP] = view.getInt32(at);
    words[K.ARP_TIP] = view.getInt32(at + 4);
    words[K.IP] = (op << 24) | (words[K.IP] & 0xffffff);
    words[K.ARP_SHA] = view.getInt32(at + 10);
    words[K.ARP_MID] = view.getInt32(at + 14);
    words[K.ARP_THA] = view.getInt32(at + 18);
    range?.add(Field.L3, 20);
    range?.add(Field.IP, 1);
  }
  if (set.take(OVS_KEY_ATTR_NSH)) {
    const at = set.offset(OVS_KEY_ATTR_NSH);
    nshFromAttributes(view, at, at + set.length(OVS_KEY_ATTR_NSH), words, isMask, range);
  }
  if (set.take(OVS_KEY_ATTR_MPLS)) {
    const length = set.length(OVS_KEY_ATTR_MPLS);
    if (length === 0 || length % 4 !== 0 || length > 4 * MPLS_DEPTH) throw INVALID();
    load(set, OVS_KEY_ATTR_MPLS, words, K.MPLS_LSE, length / 4);
    words[K.MPLS_LABELS] = (1 << (length / 4)) - 1;
    range?.add(Field.L3, 4 + length);
  }
  if (set.take(OVS_KEY_ATTR_TCP)) ports(set, OVS_KEY_ATTR_TCP, words, range);
  if (set.take(OVS_KEY_ATTR_TCP_FLAGS)) {
    words[K.TCP_FLAGS] = set.be16(OVS_KEY_ATTR_TCP_FLAGS);
    range?.add(Field.TCP_FLAGS, 2);
  }
  if (set.take(OVS_KEY_ATTR_UDP)) ports(set, OVS_KEY_ATTR_UDP, words, range);
  if (set.take(OVS_KEY_ATTR_SCTP)) ports(set, OVS_KEY_ATTR_SCTP, words, range);
  if (set.take(OVS_KEY_ATTR_ICMP)) icmp(set, OVS_KEY_ATTR_ICMP, words, range);
  if (set.take(OVS_KEY_ATTR_ICMPV6)) icmp(set, OVS_KEY_ATTR_ICMPV6, words, range);
  if (set.take(OVS_KEY_ATTR_ND)) {
    load(set, OVS_KEY_ATTR_ND, words, K.ND_TARGET, 7);
    range?.add(Field.IPV6_ND, 28);
  }
  if (set.present !== 0 || set.unspec) throw INVALID();
}

function ports(set: AttributeSet, type: number, words: Int32Array, range: MaskRange | undefined): void {
  load(set, type, words, K.TP, 1);
  range?.add(Field.TP, 4);
}

function icmp(set: AttributeSet, type: number, words: Int32Array, range: MaskRange | undefined): void {
  const typeAndCode = set.be16(type);
  words[K.TP] = ((typeAndCode >>> 8) << 16) | (typeAndCode & 0xff);
  range?.add(Field.TP, 4);
}

/**
 * Whether the key has what its protocols need (section 4) and the mask only what they allow (spec/keys K-053, K-054).
 * @throws Errno EINVAL
 */
function validate(key: Int32Array, keyAttrs: number, mask: Int32Array | undefined, maskAttrs: number): void {
  let expected = 0;
  let allowed = (keyAttrs & ~CONDITIONAL) | ALWAYS_MASKABLE;
  const type = key[K.ETH_TYPE] >>> 16;
  const typeExact = mask !== undefined && mask[K.ETH_TYPE] >>> 16 === 0xffff;
  const ip = type === ETH_P_IP;
  const ipv6 = type === ETH_P_IPV6;
  let network = 0;
  if (type === ETH_P_ARP || type === ETH_P_RARP) network = bit(OVS_KEY_ATTR_ARP);
  else if (isMpls(type)) network = bit(OVS_KEY_ATTR_MPLS);
  else if (type === ETH_P_NSH) network = bit(OVS_KEY_ATTR_NSH);
  else if (ip) network = bit(OVS_KEY_ATTR_IPV4);
  else if (ipv6) network = bit(OVS_KEY_ATTR_IPV6);
  expected |= network;
  if (typeExact) {
    allowed |= network;
    if (ip) allowed |= bit(OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4);
    if (ipv6) allowed |= bit(OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6);
  }

  if ((ip || ipv6) && (key[K.IP] & 0xff) !== OVS_FRAG_TYPE_LATER) {
    const proto = key[K.IP] >>> 24;
    let transport = 0;
    if (proto === IpProto.UDP) transport = bit(OVS_KEY_ATTR_UDP);
    else if (proto === IpProto.TCP) transport = bit(OVS_KEY_ATTR_TCP) | bit(OVS_KEY_ATTR_TCP_FLAGS);
    else if (proto === IpProto.SCTP) transport = bit(OVS_KEY_ATTR_SCTP);
    else if (proto === IpProto.ICMP && ip) transport = bit(OVS_KEY_ATTR_ICMP);
    else if (proto === IpProto.ICMPV6 && ipv6) {
      transport = bit(OVS_KEY_ATTR_ICMPV6);
      const icmpType = key[K.TP] >>> 16;
      if (icmpType === ND_SOLICIT || icmpType === ND_ADVERT) {
        expected |= bit(OVS_KEY_ATTR_ND);
        // The original tuple lies where the ND fields do.
        allowed &= ~bit(OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6);
        if (mask !== undefined && mask[K.TP] >>> 16 === 0xff) allowed |= bit(OVS_KEY_ATTR_ND);
      }
    }
    expected |= transport;
    if (mask !== undefined && mask[K.IP] >>> 24 === 0xff) allowed |= transport;
  }
  if ((keyAttrs & expected) !== expected || (maskAttrs & ~allowed) !== 0) throw INVALID();
}

/** What parseMetadata() returns: original tuples that fit one kind of packet only. */
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
  metadata(set, key, undefined, undefined);
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
