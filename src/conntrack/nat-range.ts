import { jhash2 } from "../core/jhash.ts";
import { IpProto } from "../packet/ip.ts";
import { AF_INET } from "../uapi/socket.ts";
import type { NatAction } from "./action.ts";
import { T } from "./layout.ts";
import { Manip } from "./manip.ts";
import { IPPROTO_DCCP } from "./options.ts";

/** The addresses and ports that a connection may be mapped to: OVS_NAT_ATTR_* as nf_nat_range2 holds them. */
export class NatRange {
  mapIps = false;
  hasProto = false;
  /** PROTO_HASH or PROTO_RANDOM: the same to the kernel (spec/conntrack C-199). */
  random = false;
  persistent = false;
  readonly min = new Int32Array(4);
  readonly max = new Int32Array(4);
  protoMin = 0;
  protoMax = 0;

  /** Takes over an action's range. */
  set(action: NatAction): this {
    this.mapIps = action.hasIp;
    this.hasProto = action.hasProto;
    this.random = action.protoHash || action.protoRandom;
    this.persistent = action.persistent;
    for (let i = 0; i < 4; i++) {
      this.min[i] = action.ipMin[i];
      this.max[i] = action.ipMax[i];
    }
    this.protoMin = action.protoMin;
    this.protoMax = action.protoMax;
    return this;
  }

  /** One address, given by the four words at `at`. */
  setAddress(words: Int32Array, at: number): this {
    this.mapIps = true;
    this.hasProto = false;
    this.random = false;
    this.persistent = false;
    for (let i = 0; i < 4; i++) {
      this.min[i] = words[at + i];
      this.max[i] = words[at + i];
    }
    return this;
  }

  /** One port beside the address. */
  setPort(port: number): this {
    this.hasProto = true;
    this.protoMin = port;
    this.protoMax = port;
    return this;
  }
}

/** Whether source address and port lie in the range. */
export function inRange(tuple: Int32Array, range: NatRange): boolean {
  if (range.mapIps) {
    const words = (tuple[T.META] & 0xff) === AF_INET ? 1 : 4;
    if (compare(tuple, T.SRC, range.min, words) < 0 || compare(tuple, T.SRC, range.max, words) > 0) return false;
  }
  return !range.hasProto || portInRange(tuple, range, Manip.SRC);
}

function compare(a: Int32Array, at: number, b: Int32Array, words: number): number {
  for (let i = 0; i < words; i++) {
    const difference = (a[at + i] >>> 0) - (b[i] >>> 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

export function portInRange(tuple: Int32Array, range: NatRange, manip: Manip): boolean {
  const proto = (tuple[T.META] >>> 8) & 0xff;
  let port = manip === Manip.SRC ? tuple[T.PORTS] >>> 16 : tuple[T.PORTS] & 0xffff;
  switch (proto) {
    case IpProto.ICMP:
    case IpProto.ICMPV6:
      port = tuple[T.PORTS] >>> 16;
      break;
    case IpProto.TCP:
    case IpProto.UDP:
    case IpProto.UDPLITE:
    case IpProto.SCTP:
    case IpProto.GRE:
    case IPPROTO_DCCP:
      break;
    default:
      return true;
  }
  return port >= range.protoMin && port <= range.protoMax;
}

/** Source address of pickAddress(), as a little-endian machine reads it. */
const source = new Int32Array(4);

/**
 * Picks an address of the range: step 2 of the choice, always the same for a client (and server, unless persistent)
 * (spec/conntrack C-187 to C-189). Linux hashes with jhash2(), so the choice can be seen from outside.
 */
export function pickAddress(tuple: Int32Array, range: NatRange, manip: Manip): void {
  if (!range.mapIps) return;
  const to = manip === Manip.SRC ? T.SRC : T.DST;
  const { min, max, persistent } = range;
  if (min[0] === max[0] && min[1] === max[1] && min[2] === max[2] && min[3] === max[3]) {
    for (let i = 0; i < 4; i++) tuple[to + i] = min[i];
    return;
  }
  const last = (tuple[T.META] & 0xff) === AF_INET ? 0 : 3;
  const zone = tuple[T.META] >>> 16;
  for (let i = 0; i < 4; i++) source[i] = swap(tuple[T.SRC + i]);
  let j = jhash2(source, 0, 4, persistent ? 0 : swap(tuple[T.DST + last]) ^ zone);
  let full = false;
  for (let i = 0; i <= last; i++) {
    const low = full ? 0 : min[i];
    const size = full ? 0xffff_ffff : max[i] - min[i] + 1;
    tuple[to + i] = low + scale(j, size);
    if (tuple[to + i] !== max[i]) full = true;
    if (!persistent) j ^= swap(tuple[T.DST + i]);
  }
}

/** Exchanges the bytes of a word: network order as a little-endian machine reads it, and back. */
function swap(word: number): number {
  return ((word & 0xff) << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);
}

/** The upper 32 bits of the product of two unsigned numbers: maps a hash onto 0…size-1 (reciprocal_scale). */
function scale(hash: number, size: number): number {
  const high = hash >>> 16;
  const low = hash & 0xffff;
  const unsigned = size >>> 0;
  // high * size is below 2^48: exact.
  return Math.floor((high * unsigned + Math.floor((low * unsigned) / 0x10000)) / 0x10000);
}
