import { diff16 } from "../../packet/checksum.ts";
import { ensureWritable } from "../../packet/edit/writable.ts";
import { IpProto } from "../../packet/ip.ts";
import * as ipv4 from "../../packet/ipv4.ts";
import * as ipv6 from "../../packet/ipv6.ts";
import { pseudoV4, pseudoV6, setPartial, updateL4 } from "../../packet/l4-checksum.ts";
import { HEADROOM } from "../../packet/memory.ts";
import { Csum, type Packet } from "../../packet/packet.ts";
import * as tcp from "../../packet/tcp.ts";
import * as udp from "../../packet/udp.ts";
import { AddResult, type Expectation } from "../expect.ts";
import { E } from "../layout.ts";
import { setSeqAdjust } from "../seqadj.ts";
import type { HelperContext } from "./helper.ts";

/** Payloads of packets for helpers: their offset, their text, and replacing a piece of them. */

/** Absolute offset of the payload behind a TCP header; -1 if the header is cut off or nothing follows it. */
export function tcpPayload(packet: Packet, l4: number): number {
  const end = packet.off + packet.len;
  if (l4 + tcp.HEADER_LEN > end) return -1;
  const at = l4 + tcp.headerLength(packet.memory.view, l4);
  return at < end ? at : -1;
}

/** The same behind a UDP header. */
export function udpPayload(packet: Packet, l4: number): number {
  const at = l4 + udp.HEADER_LEN;
  return at < packet.off + packet.len ? at : -1;
}

/** Bytes from `start` to the packet's end, or `limit` of them, as a string of one character a byte. */
export function text(packet: Packet, start: number, limit = Number.POSITIVE_INFINITY): string {
  const { bytes } = packet.memory;
  const length = Math.min(packet.off + packet.len - start, limit);
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, length).toString("latin1");
}

/**
 * Replaces `length` bytes at `offset` of the payload and repairs lengths and checksums (spec/conntrack C-378); the
 * transport checksum is left to be completed, as in the kernel. A UDP packet without checksum stays without.
 * @param offset from the beginning of the payload
 * @returns false if there is no room: the packet is as it was
 */
export function replace(
  packet: Packet,
  l4: number,
  proto: number,
  offset: number,
  length: number,
  by: string,
): boolean {
  const extra = by.length - length;
  if (packet.off + packet.len + extra - packet.l3 > 0xffff) return false;
  packet.l4 = l4;
  if (packet.off + packet.len + extra > packet.end) {
    if (!packet.unshare(HEADROOM, Math.max(extra, 0))) return false;
  } else if (!ensureWritable(packet)) return false;
  const { view, bytes } = packet.memory;
  const header = packet.l4;
  const isTcp = proto === IpProto.TCP;
  const at = header + (isTcp ? tcp.headerLength(view, header) : udp.HEADER_LEN) + offset;
  const oldLength = packet.off + packet.len - header;
  bytes.copyWithin(at + by.length, at + length, packet.off + packet.len);
  for (let i = 0; i < by.length; i++) bytes[at + i] = by.charCodeAt(i);
  packet.len += extra;
  const { l3 } = packet;
  const newLength = oldLength + extra;
  const v4 = ipv4.version(view, l3) === 4;
  if (v4) {
    ipv4.setTotalLength(view, l3, packet.off + packet.len - l3);
    ipv4.fillChecksum(view, l3);
  } else ipv6.setPayloadLength(view, l3, packet.off + packet.len - l3 - ipv6.HEADER_LEN);
  const field = header + (isTcp ? tcp.CHECKSUM : udp.CHECKSUM);
  if (!isTcp) {
    view.setUint16(header + udp.LENGTH, newLength);
    if (view.getUint16(field) === 0 && packet.csum !== Csum.PARTIAL) return true;
  }
  if (packet.csum === Csum.PARTIAL) updateL4(packet, field, diff16(oldLength, newLength), true);
  else {
    const sum = v4 ? pseudoV4(view, l3, proto, newLength) : pseudoV6(view, l3, proto, newLength);
    view.setUint16(field, sum);
    setPartial(packet, header, isTcp ? tcp.CHECKSUM : udp.CHECKSUM);
  }
  return true;
}

/**
 * replace() in a TCP segment, whose connection's sequence numbers follow the change of length (spec/conntrack C-216).
 * The packet may move in memory: read packet.l4 afterwards.
 * @param direction of the segment, 0 original, 1 reply
 */
export function replaceInStream(
  context: HelperContext,
  packet: Packet,
  l4: number,
  slot: number,
  direction: number,
  offset: number,
  length: number,
  by: string,
): boolean {
  if (!replace(packet, l4, IpProto.TCP, offset, length, by)) return false;
  const seq = packet.memory.view.getInt32(packet.l4 + tcp.SEQ);
  setSeqAdjust(context.table.words, slot * E.WORDS, direction, seq, by.length - length);
  return true;
}

/** Random ports tried for an expectation whose own is taken (spec/conntrack C-225). */
const MAX_ATTEMPTS = 128;

/** Adds an expectation at `first` or, if that is taken, at random ports above. @returns the port, 0 = none */
export function addAtFreePort(context: HelperContext, expectation: Expectation, first: number): number {
  const range = 0xffff - first;
  let port = first;
  for (let attempts = Math.min(range, MAX_ATTEMPTS); ; attempts--) {
    expectation.setPort(port);
    const result = context.expectations.add(expectation, context.now);
    if (result === AddResult.OK) return port;
    if (result !== AddResult.BUSY || attempts <= 0) return 0;
    port = first + (context.random.u32() % range);
  }
}

/** The decimal number at `at`, modulo 2^32, as simple_strtoul() of the kernel reads it; sets `digitsEnd`. */
export function parseDecimal(source: string, at: number): number {
  let value = 0;
  let i = at;
  for (; i < source.length; i++) {
    const digit = source.charCodeAt(i) - 48;
    if (!(digit >= 0 && digit <= 9)) break;
    value = (Math.imul(value, 10) + digit) | 0;
  }
  digitsEnd = i;
  return value >>> 0;
}

/** End of the digits that parseDecimal() has read. */
export let digitsEnd = 0;
