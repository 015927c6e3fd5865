// biome-ignore-all lint/style/useLiteralEnumMembers: the numbers' one place is where they are imported from
import {
  ETH_P_802_2,
  ETH_P_802_3_MIN,
  ETH_P_8021AD,
  ETH_P_8021Q,
  ETH_P_ARP,
  ETH_P_IP,
  ETH_P_IPV6,
  ETH_P_MPLS_MC,
  ETH_P_MPLS_UC,
  ETH_P_NSH,
  ETH_P_RARP,
  ETH_P_TEB,
} from "../../packet/ethernet.ts";
import { OVS_FRAG_TYPE_FIRST, OVS_FRAG_TYPE_LATER, OVS_FRAG_TYPE_NONE } from "../../uapi/openvswitch.ts";

/*
 * Numbers that extraction uses, as const enums, which the compiler writes out: each reference to a module's constant is two
 * more instructions of bytecode, and V8 stops inlining by the bytes of bytecode.
 */

/** Ethertypes. */
export const enum EtherType {
  IP = ETH_P_IP,
  ARP = ETH_P_ARP,
  TEB = ETH_P_TEB,
  RARP = ETH_P_RARP,
  VLAN = ETH_P_8021Q,
  IPV6 = ETH_P_IPV6,
  MPLS_UC = ETH_P_MPLS_UC,
  MPLS_MC = ETH_P_MPLS_MC,
  VLAN_AD = ETH_P_8021AD,
  NSH = ETH_P_NSH,
  LLC = ETH_P_802_2,
  /** Smallest value that is a type and not a length. */
  MIN = ETH_P_802_3_MIN,
}

/** OVS_FRAG_TYPE_*, the low byte of key[K.IP]. */
export const enum Frag {
  NONE = OVS_FRAG_TYPE_NONE,
  FIRST = OVS_FRAG_TYPE_FIRST,
  LATER = OVS_FRAG_TYPE_LATER,
}

/** Lengths of headers in bytes. */
export const enum Len {
  ETHERNET = 14,
  VLAN = 4,
  /** LLC with SNAP: DSAP, SSAP, control, OUI[3], type. */
  SNAP = 8,
  ARP = 28,
  IPV4 = 20,
  IPV6 = 40,
  TCP = 20,
  UDP = 8,
  SCTP = 12,
  ICMP = 8,
  /** Neighbour solicitation or advertisement without options. */
  ND = 24,
  NSH = 8,
  NSH_MD1 = 24,
}

/** Bits of header fields. */
export const enum Bits {
  MAC_PROTO_ETHERNET = 1,
  /** Of a key's TCI: there is a tag. On the wire it is DEI. */
  VLAN_PRESENT = 0x1000,
  IPV4_MORE_FRAGMENTS = 0x2000,
  IPV4_OFFSET = 0x1fff,
  IPV6_OFFSET = 0xfff8,
  MPLS_BOTTOM = 0x100,
}

/** First 8 bytes of ARP for Ethernet and IPv4: hardware type 1, protocol 0x0800, lengths 6 and 4. */
export const enum ArpStart {
  TYPES = 0x00010800,
  LENGTHS = 0x0604,
}

/** ICMPv6 types (RFC 4861). */
export const enum Nd {
  SOLICIT = 135,
  ADVERT = 136,
}

/** Labels that a key holds. */
export const MPLS_DEPTH = 3;

/** OFPIEH12_* bits of IPV6_EXTHDRS (spec/keys K-176 to K-179). */
export const enum Exthdr {
  NONEXT = 0x001,
  ESP = 0x002,
  AUTH = 0x004,
  DEST = 0x008,
  FRAG = 0x010,
  ROUTER = 0x020,
  HOP = 0x040,
  UNREP = 0x080,
  UNSEQ = 0x100,
}
