/**
 * The flow key (struct sw_flow_key) as 32-bit words of one Int32Array; a mask has the same layout. Byte strings
 * (MACs, IPv6 addresses, labels) are held big-endian word by word: byte 0 is the top byte of the first word.
 * Numbers of two or four bytes are held as numbers (host order of the value on the wire).
 *
 * Words from L3 on are a union, chosen by ETH_TYPE; extraction zeroes what it does not fill.
 */
export const enum K {
  RECIRC_ID = 0,
  DP_HASH = 1,
  /** Vport number; 0xffff = none. */
  IN_PORT = 2,
  PRIORITY = 3,
  SKB_MARK = 4,
  /** ct_zone << 16 | ct_orig_proto << 8 | ct_state */
  CT = 5,
  CT_MARK = 6,
  /** Four words. */
  CT_LABELS = 7,
  /** Destination MAC bytes 0-3. */
  ETH_DST = 11,
  /** Destination MAC bytes 4-5 << 16 | source MAC bytes 0-1. */
  ETH_MID = 12,
  /** Source MAC bytes 2-5. */
  ETH_SRC = 13,
  /** ethertype << 16 | mac_proto (0 NONE, 1 ETHERNET). 802.2 frames hold 0x0004. */
  ETH_TYPE = 14,
  /** Outer tag: (tci | 0x1000) << 16 | tpid; 0 = untagged. */
  VLAN = 15,
  /** Inner tag, likewise. */
  CVLAN = 16,
  /** proto << 24 | tos << 16 | ttl << 8 | frag. ARP: op << 24. */
  IP = 17,
  /** src << 16 | dst; ICMP: type << 16 | code. */
  TP = 18,
  /** 12 bits. */
  TCP_FLAGS = 19,

  IPV4_SRC = 20,
  IPV4_DST = 21,
  /** Original tuple of an IPv4 packet's connection (overlays ARP). */
  CT_ORIG4_SRC = 22,
  CT_ORIG4_DST = 23,
  /** sport << 16 | dport */
  CT_ORIG4_TP = 24,

  ARP_SIP = 20,
  ARP_TIP = 21,
  /** sha bytes 0-3. */
  ARP_SHA = 22,
  /** sha bytes 4-5 << 16 | tha bytes 0-1. */
  ARP_MID = 23,
  /** tha bytes 2-5. */
  ARP_THA = 24,

  /** Four words each. */
  IPV6_SRC = 20,
  IPV6_DST = 24,
  /** Low 20 bits. */
  IPV6_LABEL = 28,
  IPV6_EXTHDRS = 29,
  /** Four words; then sll bytes 0-3, sll 4-5 << 16 | tll 0-1, tll 2-5. */
  ND_TARGET = 30,
  ND_SLL = 34,
  ND_MID = 35,
  ND_TLL = 36,
  /** Original tuple of an IPv6 packet's connection (overlays ND): 4 + 4 words, sport << 16 | dport. */
  CT_ORIG6_SRC = 30,
  CT_ORIG6_DST = 34,
  CT_ORIG6_TP = 38,

  /** Three label stack entries, outermost first, then their number as a bitmap of (1 << n) - 1 (num_labels_mask). */
  MPLS_LSE = 20,
  MPLS_LABELS = 23,

  /** flags << 24 | ttl << 16 | mdtype << 8 | np; path header; four context words. */
  NSH_BASE = 20,
  NSH_PATH = 21,
  NSH_CONTEXT = 22,

  /** Address family of the tunnel (0 none, 2 AF_INET, 10 AF_INET6) << 8 | number of option bytes. */
  TUN_PROTO = 39,
  /** Two words, big-endian. */
  TUN_ID = 40,
  /** IPv4 in the first word, IPv6 in four. */
  TUN_SRC = 42,
  TUN_DST = 46,
  /** TunnelFlag bits << 16 | tos << 8 | ttl. */
  TUN_FLAGS = 50,
  /** src << 16 | dst */
  TUN_TP = 51,
  /** Up to 255 bytes of options, big-endian words, packed against the end as the kernel does is not needed: from the start. */
  TUN_OPTS = 52,

  /** Words that a packet without tunnel uses. */
  PACKET_WORDS = 39,
  WORDS = 116,
}

/** IN_PORT of a packet that came in by no port (DP_MAX_PORTS). */
export const NO_PORT = 0xffff;

/** Tunnel flags as the key holds them (K.TUN_FLAGS >> 16). */
export const enum TunnelFlag {
  KEY = 0x01,
  DONT_FRAGMENT = 0x02,
  CSUM = 0x04,
  OAM = 0x08,
  GENEVE_OPT = 0x10,
  VXLAN_OPT = 0x20,
  ERSPAN_OPT = 0x40,
}

/** A cleared key. */
export const newKey = (): Int32Array => new Int32Array(K.WORDS);

/** Whether two keys, or two masks, are the same (spec/families F-251). */
export function sameKey(a: Int32Array, b: Int32Array): boolean {
  for (let i = 0; i < K.WORDS; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Copies a key. Tunnel words are copied only when one of the two keys has any. */
export function copyKey(to: Int32Array, from: Int32Array): void {
  if (from[K.TUN_PROTO] !== 0 || to[K.TUN_PROTO] !== 0) {
    to.set(from);
    return;
  }
  for (let i = 0; i < K.PACKET_WORDS; i++) to[i] = from[i];
}
