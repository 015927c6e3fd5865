import { K } from "../../flow/key.ts";
import { prepareIpv4, setIpv4Addr, setIpv4Tos, setIpv4Ttl } from "../../packet/edit/ipv4.ts";
import {
  prepareIpv6,
  setIpv6Addr,
  setIpv6FlowLabel,
  setIpv6HopLimit,
  setIpv6TrafficClass,
} from "../../packet/edit/ipv6.ts";
import { prepareTransport, setSctpPorts, setTcpPorts, setUdpPorts } from "../../packet/edit/transport.ts";
import * as ipv4 from "../../packet/ipv4.ts";
import * as ipv6 from "../../packet/ipv6.ts";
import { CtRef, type Packet } from "../../packet/packet.ts";
import * as sctp from "../../packet/sctp.ts";
import * as tcp from "../../packet/tcp.ts";
import * as udp from "../../packet/udp.ts";
import { SET_DST, SET_SRC } from "./program.ts";

/**
 * The set actions of IP and transport headers: the packet and its checksums, then the words of the key. All return 0 or
 * a negative errno. `code` and `pc` are the instruction, so that no operand is copied.
 */

/** The masked address of set ipv6. */
const address = new Int32Array(4);

/** Writes the TTL or hop limit into the key. */
export function setKeyTtl(key: Int32Array, ttl: number): void {
  key[K.IP] = (key[K.IP] & ~0xff00) | (ttl << 8);
}

/** Clears hash and connection of a packet that now belongs to another flow (spec/actions A-194). */
function forgetFlow(packet: Packet): void {
  packet.hash = 0;
  packet.hashFlags = 0;
  packet.ct = CtRef.NONE;
}

/** Runs set ipv4 (spec/actions ); the key gets what was written. */
export function setIpv4(packet: Packet, key: Int32Array, code: Int32Array, pc: number): number {
  const error = prepareIpv4(packet);
  if (error !== 0) return error;
  const { view } = packet.memory;
  const { l3 } = packet;
  const srcMask = code[pc + 2];
  if (srcMask !== 0) {
    const src = (view.getInt32(l3 + ipv4.SRC) & ~srcMask) | code[pc + 1];
    if (setIpv4Addr(packet, ipv4.SRC, src)) {
      forgetFlow(packet);
      key[K.IPV4_SRC] = src;
    }
  }
  const dstMask = code[pc + 4];
  if (dstMask !== 0) {
    const dst = (view.getInt32(l3 + ipv4.DST) & ~dstMask) | code[pc + 3];
    if (setIpv4Addr(packet, ipv4.DST, dst)) {
      forgetFlow(packet);
      key[K.IPV4_DST] = dst;
    }
  }
  const tosMask = code[pc + 6];
  if (tosMask !== 0) {
    setIpv4Tos(packet, code[pc + 5], tosMask);
    key[K.IP] = (key[K.IP] & ~0x00ff0000) | (ipv4.tos(view, l3) << 16);
  }
  const ttlMask = code[pc + 8];
  if (ttlMask !== 0) {
    setIpv4Ttl(packet, code[pc + 7], ttlMask);
    setKeyTtl(key, ipv4.ttl(view, l3));
  }
  return 0;
}

/** Runs set ipv6 (spec/actions ). */
export function setIpv6(packet: Packet, key: Int32Array, code: Int32Array, pc: number): number {
  const error = prepareIpv6(packet);
  if (error !== 0) return error;
  const flags = code[pc + 23];
  if ((flags & SET_SRC) !== 0) setIpv6Address(packet, key, code, pc + 1, ipv6.SRC, K.IPV6_SRC);
  if ((flags & SET_DST) !== 0) setIpv6Address(packet, key, code, pc + 9, ipv6.DST, K.IPV6_DST);
  const { view } = packet.memory;
  const classMask = code[pc + 18];
  if (classMask !== 0) {
    setIpv6TrafficClass(packet, code[pc + 17], classMask);
    key[K.IP] = (key[K.IP] & ~0x00ff0000) | (ipv6.trafficClass(view, packet.l3) << 16);
  }
  const labelMask = code[pc + 20];
  if (labelMask !== 0) {
    setIpv6FlowLabel(packet, code[pc + 19], labelMask);
    key[K.IPV6_LABEL] = ipv6.flowLabel(view, packet.l3);
  }
  const hopMask = code[pc + 22];
  if (hopMask !== 0) {
    setIpv6HopLimit(packet, code[pc + 21], hopMask);
    setKeyTtl(key, ipv6.hopLimit(view, packet.l3));
  }
  return 0;
}

/** Writes a masked IPv6 address: `at` is the index of its value in `code`, `field` its place in the header. */
function setIpv6Address(
  packet: Packet,
  key: Int32Array,
  code: Int32Array,
  at: number,
  field: number,
  keyIndex: number,
): void {
  const { view } = packet.memory;
  for (let i = 0; i < 4; i++)
    address[i] = (view.getInt32(packet.l3 + field + 4 * i) & ~code[at + 4 + i]) | code[at + i];
  if (!setIpv6Addr(packet, field, address, 0, key[K.IP] >>> 24)) return;
  forgetFlow(packet);
  for (let i = 0; i < 4; i++) key[keyIndex + i] = address[i];
}

/** Ports of the header at packet.l4 after a masked write, as src << 16 | dst. */
function maskedPorts(packet: Packet, value: number, mask: number): number {
  return (packet.memory.view.getInt32(packet.l4) & ~mask) | value;
}

/** Puts ports into the key, each only if it differs from what the packet had. */
function setKeyPorts(key: Int32Array, before: number, after: number): void {
  const changed = before ^ after;
  let mask = 0;
  if (changed >>> 16 !== 0) mask |= 0xffff0000;
  if ((changed & 0xffff) !== 0) mask |= 0xffff;
  key[K.TP] = (key[K.TP] & ~mask) | (after & mask);
}

/** Runs set tcp (spec/actions ). */
export function setTcp(packet: Packet, key: Int32Array, value: number, mask: number): number {
  const error = prepareTransport(packet, tcp.HEADER_LEN);
  if (error !== 0) return error;
  const before = packet.memory.view.getInt32(packet.l4);
  const after = maskedPorts(packet, value, mask);
  if (setTcpPorts(packet, after >>> 16, after & 0xffff)) {
    packet.ct = CtRef.NONE;
    setKeyPorts(key, before, after);
  }
  packet.hash = 0;
  packet.hashFlags = 0;
  return 0;
}

/** Runs set udp (spec/actions ). */
export function setUdp(packet: Packet, key: Int32Array, value: number, mask: number): number {
  const error = prepareTransport(packet, udp.HEADER_LEN);
  if (error !== 0) return error;
  const after = maskedPorts(packet, value, mask);
  if (setUdpPorts(packet, after >>> 16, after & 0xffff)) {
    packet.ct = CtRef.NONE;
    key[K.TP] = after;
  }
  packet.hash = 0;
  packet.hashFlags = 0;
  return 0;
}

/** Runs set sctp (spec/actions A-199). */
export function setSctp(packet: Packet, key: Int32Array, value: number, mask: number): number {
  const error = prepareTransport(packet, sctp.HEADER_LEN);
  if (error !== 0) return error;
  const after = maskedPorts(packet, value, mask);
  setSctpPorts(packet, after >>> 16, after & 0xffff);
  forgetFlow(packet);
  key[K.TP] = after;
  return 0;
}
