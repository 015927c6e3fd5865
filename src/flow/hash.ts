import { jhash1word } from "../core/jhash.ts";
import { ETH_P_IP, ETH_P_IPV6 } from "../packet/ethernet.ts";
import { IpProto } from "../packet/ip.ts";
import type { Packet } from "../packet/packet.ts";
import { K } from "./key.ts";

/** Bits of Packet.hashFlags (bits 32 and 33 of OVS_PACKET_ATTR_HASH, spec/upcalls). */
export const HASH_SOFTWARE = 1;
export const HASH_L4 = 2;
/**
 * Packet.hashFlags of a hash that EXECUTE gave with neither of those bits: upcalls show it, whoever uses it computes it
 * anew (spec/upcalls U-061, U-062).
 */
export const HASH_RAW = 4;

/** One round of mixing for the packet hash: cheaper than lookup3, and nothing outside compares its values. */
function mix(h: number, word: number): number {
  h = Math.imul(h ^ word, 0x9e3779b1);
  return h ^ (h >>> 15);
}

function avalanche(h: number): number {
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  h = (h ^ (h >>> 16)) >>> 0;
  return h === 0 ? 1 : h;
}

/** Ports of a TCP, UDP or SCTP key in an order that both directions share; 0 for anything else and for fragments. */
function symmetricPorts(key: Int32Array): number {
  const ip = key[K.IP];
  const proto = ip >>> 24;
  if ((ip & 0xff) !== 0 || (proto !== IpProto.TCP && proto !== IpProto.UDP && proto !== IpProto.SCTP)) return 0;
  const ports = key[K.TP];
  const swapped = (ports << 16) | (ports >>> 16);
  return ports >>> 0 < swapped >>> 0 ? ports : swapped;
}

/** Hash of protocol, addresses and ports; the two directions of a connection give the same value. */
function symmetric(key: Int32Array, start: number): number {
  const type = key[K.ETH_TYPE] >>> 16;
  let h = mix(start, type);
  if (type === ETH_P_IP) {
    const src = key[K.IPV4_SRC];
    const dst = key[K.IPV4_DST];
    h = mix(h, key[K.IP] >>> 24);
    h = mix(h, src ^ dst);
    h = mix(h, (src + dst) | 0);
    return mix(h, symmetricPorts(key));
  }
  if (type === ETH_P_IPV6) {
    h = mix(h, key[K.IP] >>> 24);
    for (let i = 0; i < 4; i++) {
      const src = key[K.IPV6_SRC + i];
      const dst = key[K.IPV6_DST + i];
      h = mix(h, src ^ dst);
      h = mix(h, (src + dst) | 0);
    }
    return mix(h, symmetricPorts(key));
  }
  return h;
}

/**
 * The packet hash of one nokmod: values depend on the key and on a seed, which is random in each run as it is random in
 * each boot (spec/keys K-284).
 */
export class PacketHasher {
  /** @param seed 32 bits */
  constructor(private readonly seed: number) {
    this.seed = seed | 0;
  }

  /**
   * The packet hash from its key (skb_get_hash): symmetric over the two directions of a connection, never 0. It covers
   * what the kernel's flow dissector does: VLAN tag, addresses, ports, flow label; MPLS label stack.
   * @returns an unsigned 32-bit number
   */
  ofKey(key: Int32Array): number {
    let h = symmetric(key, this.seed);
    if (key[K.VLAN] !== 0) h = mix(h, key[K.VLAN]);
    const type = key[K.ETH_TYPE] >>> 16;
    if (type === ETH_P_IPV6) h = mix(h, key[K.IPV6_LABEL]);
    else if (type !== ETH_P_IP) h = mix(h, key[K.MPLS_LSE] ^ key[K.IP]);
    return avalanche(h);
  }

  /**
   * The packet's hash, computed from the key when it is not known yet (skb_get_hash). Its flags are left for the upcall
   * that shows them. HOT PATH.
   * @returns a signed 32-bit number: V8 keeps it as a small integer
   */
  ofPacket(packet: Packet, key: Int32Array): number {
    const { hash, hashFlags } = packet;
    if (hash !== 0 ? hashFlags !== HASH_RAW : (hashFlags & (HASH_SOFTWARE | HASH_L4)) !== 0) return hash | 0;
    packet.hash = this.ofKey(key) | 0;
    packet.hashFlags = 0;
    return packet.hash;
  }

  /**
   * The hash of OVS_HASH_ALG_SYM_L4 before it meets the basis (spec/keys K-280): protocol, addresses and ports alone, so
   * that it does not depend on VLAN or flow label.
   * @returns an unsigned 32-bit number, never 0
   */
  symmetricL4(key: Int32Array): number {
    return avalanche(symmetric(key, this.seed));
  }
}

/** HASH_SOFTWARE, and HASH_L4 when the packet hash of this key covers ports or a flow label. */
export function skbHashFlags(key: Int32Array): number {
  const label = key[K.ETH_TYPE] >>> 16 === ETH_P_IPV6 ? key[K.IPV6_LABEL] : 0;
  return symmetricPorts(key) !== 0 || label !== 0 ? HASH_SOFTWARE | HASH_L4 : HASH_SOFTWARE;
}

/** dp_hash of the hash action: 0 stands for "not computed" and becomes 1 (spec/keys K-280). */
export function dpHash(hash: number, basis: number): number {
  return jhash1word(hash, basis) || 1;
}
