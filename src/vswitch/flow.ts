/**
 * The flow in OpenFlow's terms: one fixed block of bytes in network byte order, the same for packet, match and mask.
 * Every field is right-aligned in its bytes, so a field is (offset, size, shift, bits) and a subfield is a bit range.
 *
 * The block is laid out in the four stages of the staged lookup: metadata, L2, L3, L4. A stage that already fails to
 * match spares the later fields from being consulted.
 */

/** Byte offsets of the fields in a flow. */
export const enum FlowAt {
  // stage 0: metadata
  REGS = 0, // 16 × u32
  METADATA = 64,
  SKB_PRIORITY = 72,
  PKT_MARK = 76,
  DP_HASH = 80,
  RECIRC_ID = 84,
  /** OpenFlow port number. */
  IN_PORT = 88,
  CT_STATE = 92,
  CT_MARK = 96,
  CT_LABEL = 100,
  CT_ZONE = 116,
  CT_NW_PROTO = 118,
  /** 1 where the packet starts with an Ethernet header. */
  IS_ETH = 119,
  // stage 1: L2
  DL_DST = 120,
  DL_SRC = 126,
  DL_TYPE = 132,
  // two bytes of padding
  VLAN0_TPID = 136,
  VLAN0_TCI = 138,
  VLAN1_TPID = 140,
  VLAN1_TCI = 142,
  MPLS = 144, // 3 × u32
  // stage 2: L3
  NW_SRC = 156,
  NW_DST = 160,
  CT_NW_SRC = 164,
  CT_NW_DST = 168,
  IPV6_SRC = 172,
  IPV6_DST = 188,
  CT_IPV6_SRC = 204,
  CT_IPV6_DST = 220,
  IPV6_LABEL = 236,
  NW_FRAG = 240,
  /** DSCP in the upper six bits, ECN in the lower two. */
  NW_TOS = 241,
  NW_TTL = 242,
  /** IP protocol, or the ARP operation. */
  NW_PROTO = 243,
  // stage 3: L4, with ARP's and ND's addresses
  ND_TARGET = 244,
  /** ARP source hardware address, or the ND source link-layer address. */
  ARP_SHA = 260,
  ARP_THA = 266,
  TCP_FLAGS = 272,
  // two bytes of padding
  /** Also ICMP type, in the low byte. */
  TP_SRC = 276,
  /** Also ICMP code, in the low byte. */
  TP_DST = 278,
  CT_TP_SRC = 280,
  CT_TP_DST = 282,
  /** Always zero. */
  PAD4 = 284,
  SIZE = 288,
}

const FLOW_SIZE: number = FlowAt.SIZE;
export const FLOW_WORDS: number = FlowAt.SIZE / 4;

/** First word of each stage, and the end. */
export const STAGE_WORDS: readonly number[] = [
  0,
  FlowAt.DL_DST / 4,
  FlowAt.NW_SRC / 4,
  FlowAt.ND_TARGET / 4,
  FlowAt.SIZE / 4,
];

/** Values of NW_FRAG: a set of bits, so that "any fragment" and "not a later one" are masks. */
export const FLOW_NW_FRAG_ANY = 1;
export const FLOW_NW_FRAG_LATER = 2;

/** Set in the TCI of a tag that is present, in the bit of the CFI, as in the datapath's keys. */
export const VLAN_CFI = 0x1000;

export const ETH_TYPE_IP = 0x0800;
export const ETH_TYPE_ARP = 0x0806;
export const ETH_TYPE_RARP = 0x8035;
export const ETH_TYPE_VLAN_8021Q = 0x8100;
export const ETH_TYPE_VLAN_8021AD = 0x88a8;
export const ETH_TYPE_IPV6 = 0x86dd;
export const ETH_TYPE_MPLS = 0x8847;
export const ETH_TYPE_MPLS_MCAST = 0x8848;
/** dl_type of a frame without an Ethernet type (802.2 LLC). */
export const ETH_TYPE_NONE = 0x05ff;

/** OpenFlow's reserved port numbers (OFPP_*). */
export const OFPP_IN_PORT = 0xfff8;
export const OFPP_TABLE = 0xfff9;
export const OFPP_NORMAL = 0xfffa;
export const OFPP_FLOOD = 0xfffb;
export const OFPP_ALL = 0xfffc;
export const OFPP_CONTROLLER = 0xfffd;
/** The local port. */
export const OFPP_LOCAL = 0xfffe;
export const OFPP_NONE = 0xffff;

/** One flow or mask: the bytes, and the same memory as words and as a DataView. */
export class Flow {
  readonly bytes: Uint8Array;
  readonly words: Uint32Array;
  readonly view: DataView;

  constructor(source?: Flow) {
    this.bytes = new Uint8Array(FLOW_SIZE);
    this.words = new Uint32Array(this.bytes.buffer);
    this.view = new DataView(this.bytes.buffer);
    if (source) this.words.set(source.words);
  }

  clone(): Flow {
    return new Flow(this);
  }
  set(source: Flow): void {
    this.words.set(source.words);
  }
  u8(at: number): number {
    return this.bytes[at];
  }
  u16(at: number): number {
    return this.view.getUint16(at);
  }
  u32(at: number): number {
    return this.view.getUint32(at);
  }
  put8(at: number, value: number): void {
    this.bytes[at] = value;
  }
  put16(at: number, value: number): void {
    this.view.setUint16(at, value);
  }
  put32(at: number, value: number): void {
    this.view.setUint32(at, value >>> 0);
  }
  fill(at: number, size: number, value: number): void {
    this.bytes.fill(value, at, at + size);
  }
  equals(other: Flow): boolean {
    for (let i = 0; i < FLOW_WORDS; i++) if (this.words[i] !== other.words[i]) return false;
    return true;
  }
  /** True where no bit of `[at, at + size)` is set. */
  isZero(at: number, size: number): boolean {
    for (let i = at; i < at + size; i++) if (this.bytes[i] !== 0) return false;
    return true;
  }

  get isIp(): boolean {
    const type = this.u16(FlowAt.DL_TYPE);
    return type === ETH_TYPE_IP || type === ETH_TYPE_IPV6;
  }
  get isArp(): boolean {
    const type = this.u16(FlowAt.DL_TYPE);
    return type === ETH_TYPE_ARP || type === ETH_TYPE_RARP;
  }
  get isMpls(): boolean {
    return isMplsType(this.u16(FlowAt.DL_TYPE));
  }
  get isLaterFragment(): boolean {
    return (this.bytes[FlowAt.NW_FRAG] & FLOW_NW_FRAG_LATER) !== 0;
  }
  /** True where the packet has the ports of TP_SRC and TP_DST. */
  get hasL4(): boolean {
    return this.isIp && !this.isLaterFragment;
  }
  get vlanCount(): number {
    if (!(this.u16(FlowAt.VLAN0_TCI) & VLAN_CFI)) return 0;
    return this.u16(FlowAt.VLAN1_TCI) & VLAN_CFI ? 2 : 1;
  }
  /** True for a neighbour solicitation or advertisement. */
  get isNd(): boolean {
    if (this.u16(FlowAt.DL_TYPE) !== ETH_TYPE_IPV6 || this.bytes[FlowAt.NW_PROTO] !== 58 || this.isLaterFragment)
      return false;
    const type = this.u16(FlowAt.TP_SRC);
    return (type === 135 || type === 136) && this.u16(FlowAt.TP_DST) === 0;
  }
  get isIcmp(): boolean {
    const type = this.u16(FlowAt.DL_TYPE);
    const proto = this.bytes[FlowAt.NW_PROTO];
    return (type === ETH_TYPE_IP && proto === 1) || (type === ETH_TYPE_IPV6 && proto === 58);
  }

  /** Clears all ct_* fields. */
  clearConntrack(): void {
    this.fill(FlowAt.CT_STATE, FlowAt.CT_NW_PROTO + 1 - FlowAt.CT_STATE, 0);
    this.fill(FlowAt.CT_NW_SRC, 8, 0);
    this.fill(FlowAt.CT_IPV6_SRC, 32, 0);
    this.fill(FlowAt.CT_TP_SRC, 4, 0);
  }
}

export function isMplsType(type: number): boolean {
  return type === ETH_TYPE_MPLS || type === ETH_TYPE_MPLS_MCAST;
}
export function isVlanType(type: number): boolean {
  return type === ETH_TYPE_VLAN_8021Q || type === ETH_TYPE_VLAN_8021AD;
}

/** A match: only bits that are set in `mask` may be set in `key`. */
export class Match {
  readonly key: Flow;
  readonly mask: Flow;
  constructor(key: Flow = new Flow(), mask: Flow = new Flow()) {
    this.key = key;
    this.mask = mask;
  }
  equals(other: Match): boolean {
    return this.key.equals(other.key) && this.mask.equals(other.mask);
  }
}
