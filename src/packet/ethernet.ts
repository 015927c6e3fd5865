/**
 * Ethernet II and 802.3 frames.
 *
 * ```
 *  0                   6                   12        14
 * +-------------------+-------------------+---------+- - -
 * | destination       | source            | type    |
 * +-------------------+-------------------+---------+- - -
 * ```
 * A type below 0x0600 is the length of an 802.2 frame.
 */
export const SRC = 6;
export const TYPE = 12;
export const HEADER_LEN = 14;

/** Ethertypes, as ETH_P_* of linux/if_ether.h. */
export const ETH_P_IP = 0x0800;
export const ETH_P_ARP = 0x0806;
export const ETH_P_TEB = 0x6558;
export const ETH_P_RARP = 0x8035;
export const ETH_P_8021Q = 0x8100;
export const ETH_P_IPV6 = 0x86dd;
export const ETH_P_MPLS_UC = 0x8847;
export const ETH_P_MPLS_MC = 0x8848;
export const ETH_P_8021AD = 0x88a8;
export const ETH_P_NSH = 0x894f;
/** What the kernel calls an 802.2 frame in skb->protocol. */
export const ETH_P_802_2 = 0x0004;
/** Smallest value that is a type and not a length. */
export const ETH_P_802_3_MIN = 0x0600;

/** The type field. */
export function type(view: DataView, off: number): number {
  return view.getUint16(off + TYPE);
}
export function setType(view: DataView, off: number, value: number): void {
  view.setUint16(off + TYPE, value);
}

/** True for the two tag protocols, 802.1Q and 802.1ad (eth_type_vlan). */
export function isVlan(etherType: number): boolean {
  return etherType === ETH_P_8021Q || etherType === ETH_P_8021AD;
}

/** True for unicast and multicast MPLS. */
export function isMpls(etherType: number): boolean {
  return etherType === ETH_P_MPLS_UC || etherType === ETH_P_MPLS_MC;
}
