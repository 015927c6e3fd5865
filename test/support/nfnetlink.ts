import { T } from "../../src/conntrack/layout.ts";
import type { KernelProfile } from "../../src/core/kernel-profile.ts";
import { SeededRandom } from "../../src/core/random.ts";
import { Ctnetlink } from "../../src/kernel/ctnetlink/ctnetlink.ts";
import { putTuple } from "../../src/kernel/ctnetlink/tuple.ts";
import { NetlinkBus } from "../../src/netlink/bus.ts";
import { PairSocket } from "../../src/netlink/pair.ts";
import { AttributeReader } from "../../src/netlink/reader.ts";
import { MessageWriter } from "../../src/netlink/writer.ts";
import { NETLINK_NETFILTER, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR } from "../../src/uapi/netlink.ts";
import { AF_INET6 } from "../../src/uapi/socket.ts";
import { addressWords, CtLab } from "./conntrack.ts";
import { hex } from "./frames.ts";

/** A message of the netfilter family as bytes tell it. */
export interface NfMessage {
  type: number;
  flags: number;
  seq: number;
  portId: number;
  /** struct nfgenmsg. */
  family: number;
  version: number;
  resId: number;
  /** Attributes by type: payload in hexadecimal, and the type with its flags. */
  attributes: Map<number, { hex: string; raw: number }>;
}

export type Put = (writer: MessageWriter) => void;

/** Connection tracking with ctnetlink on a bus, and a socket that asks it. */
export class NfLab {
  readonly lab: CtLab;
  readonly bus = new NetlinkBus(new SeededRandom(3));
  readonly socket: PairSocket;

  constructor(kernel?: KernelProfile, options: ConstructorParameters<typeof CtLab>[0] = {}) {
    this.lab = new CtLab({ events: 2, ...options });
    new Ctnetlink(this.bus, this.lab.conntrack, () => this.lab.clock.realtime(), kernel);
    this.socket = new PairSocket(this.bus, NETLINK_NETFILTER);
  }

  /** A socket that has joined groups. */
  listen(...groups: number[]): PairSocket {
    const socket = new PairSocket(this.bus, NETLINK_NETFILTER);
    for (const group of groups) socket.join(group);
    return socket;
  }

  /** Sends a request. @returns answers; errno of the acknowledgment or the end, -1 without */
  request(
    type: number,
    flags: number,
    put: Put = () => {},
    family = 0,
    version = 0,
    via = this.socket,
  ): { messages: NfMessage[]; error: number } {
    const writer = new MessageWriter();
    const at = writer.beginMessage(type, NLM_F_REQUEST | flags, 42, 0);
    writer.rawU32(family | (version << 8));
    put(writer);
    writer.endMessage(at);
    via.send(writer.finish());
    return receive(via);
  }
}

/** All that has come to a socket. */
export function receive(from: PairSocket): { messages: NfMessage[]; error: number; errors: number[] } {
  const messages: NfMessage[] = [];
  const errors: number[] = [];
  for (let datagram = from.receive(); datagram !== null; datagram = from.receive()) {
    const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.length);
    for (let at = 0; at + 16 <= datagram.length; ) {
      const size = view.getUint32(at, true);
      const type = view.getUint16(at + 4, true);
      if (type === NLMSG_ERROR || type === NLMSG_DONE) errors.push(0 - view.getInt32(at + 16, true));
      else {
        const attributes: NfMessage["attributes"] = new Map();
        const reader = new AttributeReader(view, at + 20, at + size);
        while (reader.next()) attributes.set(reader.type, { hex: hex(reader.bytes()), raw: reader.rawType });
        messages.push({
          type,
          flags: view.getUint16(at + 6, true),
          seq: view.getUint32(at + 8, true),
          portId: view.getUint32(at + 12, true),
          family: view.getUint8(at + 16),
          version: view.getUint8(at + 17),
          resId: view.getUint16(at + 18),
          attributes,
        });
      }
      at += (size + 3) & ~3;
    }
  }
  return { messages, error: errors.at(-1) ?? -1, errors };
}

/** A tuple outside the table; ICMP: `sport` is the id, `dport` type << 8 | code. */
export function tuple(src: string, sport: number, dst: string, dport: number, proto = 17, zone = 0): Int32Array {
  const words = new Int32Array(T.WORDS);
  words.set(addressWords(src), T.SRC);
  words.set(addressWords(dst), T.DST);
  words[T.PORTS] = (sport << 16) | dport;
  words[T.META] = (zone << 16) | (proto << 8) | (src.includes(":") ? AF_INET6 : 2);
  return words;
}

/** Parts of a request. */
export const put =
  (type: number, words: Int32Array): Put =>
  (writer) =>
    putTuple(writer, type, words, 0);
export const all =
  (...parts: Put[]): Put =>
  (writer) => {
    for (const part of parts) part(writer);
  };
export const be32 =
  (type: number, value: number): Put =>
  (writer) =>
    writer.be32(type, value);
export const be16 =
  (type: number, value: number): Put =>
  (writer) =>
    writer.be16(type, value);
export const text =
  (type: number, value: string): Put =>
  (writer) =>
    writer.string(type, value);
