import { beforeEach, describe, expect, it } from "vitest";
import { T } from "../../src/conntrack/layout.ts";
import { SeededRandom } from "../../src/core/random.ts";
import { Ctnetlink } from "../../src/kernel/ctnetlink/ctnetlink.ts";
import { nest, parseTuple, putTuple } from "../../src/kernel/ctnetlink/tuple.ts";
import { NetlinkBus } from "../../src/netlink/bus.ts";
import { PairSocket } from "../../src/netlink/pair.ts";
import { AttributeReader } from "../../src/netlink/reader.ts";
import { type AttributeSet, type AttributeTable, type Definitions, decode } from "../../src/netlink/schema/index.ts";
import { MessageWriter } from "../../src/netlink/writer.ts";
import {
  connectionAttributes,
  countersAttributes,
  timeoutAttributes,
  timeoutDataAttributes,
} from "../../src/schema/ctnetlink.ts";
import { extendedAck } from "../../src/schema/genetlink.ts";
import * as errno from "../../src/uapi/errno.ts";
import {
  NETLINK_CAP_ACK,
  NETLINK_EXT_ACK,
  NETLINK_NETFILTER,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_DUMP_FILTERED,
  NLM_F_ECHO,
  NLM_F_EXCL,
  NLM_F_MULTI,
  NLM_F_REPLACE,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
} from "../../src/uapi/netlink.ts";
import * as nf from "../../src/uapi/nfnetlink.ts";
import { AF_INET, AF_INET6 } from "../../src/uapi/socket.ts";
import { addressWords, CtLab } from "../support/conntrack.ts";
import { ethernet, frame, icmp, ipv4, ipv6, tcp, udp } from "../support/frames.ts";

const CT = nf.NFNL_SUBSYS_CTNETLINK << 8;
const EXP = nf.NFNL_SUBSYS_CTNETLINK_EXP << 8;
const TIMEOUT = nf.NFNL_SUBSYS_CTNETLINK_TIMEOUT << 8;
const GET = CT | nf.IPCTNL_MSG_CT_GET;
const DELETE = CT | nf.IPCTNL_MSG_CT_DELETE;
const NEW = CT | nf.IPCTNL_MSG_CT_NEW;

interface Message {
  type: number;
  flags: number;
  seq: number;
  portId: number;
  family: number;
  version: number;
  resId: number;
  view: DataView;
}

let lab: CtLab;
let bus: NetlinkBus;
let socket: PairSocket;

beforeEach(() => {
  lab = new CtLab({ events: 2 });
  bus = new NetlinkBus(new SeededRandom(3));
  new Ctnetlink(bus, lab.conntrack, () => lab.clock.realtime());
  socket = new PairSocket(bus, NETLINK_NETFILTER);
});

function receive(from = socket): { messages: Message[]; error: number } {
  const messages: Message[] = [];
  let error = -1;
  for (let datagram = from.receive(); datagram !== null; datagram = from.receive()) {
    const all = new DataView(datagram.buffer, datagram.byteOffset, datagram.length);
    for (let at = 0; at + 16 <= datagram.length; ) {
      const size = all.getUint32(at, true);
      const type = all.getUint16(at + 4, true);
      if (type === NLMSG_ERROR || type === NLMSG_DONE) error = 0 - all.getInt32(at + 16, true);
      else {
        messages.push({
          type,
          flags: all.getUint16(at + 6, true),
          seq: all.getUint32(at + 8, true),
          portId: all.getUint32(at + 12, true),
          family: all.getUint8(at + 16),
          version: all.getUint8(at + 17),
          resId: all.getUint16(at + 18),
          view: new DataView(datagram.buffer, datagram.byteOffset + at + 20, size - 20),
        });
      }
      at += (size + 3) & ~3;
    }
  }
  return { messages, error };
}

function request(
  type: number,
  flags: number,
  put: (writer: MessageWriter) => void = () => {},
  family = 0,
  version = 0,
  via = socket,
): { messages: Message[]; error: number } {
  const writer = new MessageWriter();
  const at = writer.beginMessage(type, NLM_F_REQUEST | flags, 42, 0);
  writer.rawU32(family | (version << 8));
  put(writer);
  writer.endMessage(at);
  via.send(writer.finish());
  return receive(via);
}

const tuple = (src: string, sport: number, dst: string, dport: number, proto = 17, zone = 0): Int32Array => {
  const words = new Int32Array(T.WORDS);
  words.set(addressWords(src), T.SRC);
  words.set(addressWords(dst), T.DST);
  words[T.PORTS] = (sport << 16) | dport;
  words[T.META] = (zone << 16) | (proto << 8) | (src.includes(":") ? AF_INET6 : AF_INET);
  return words;
};
const A_B = tuple("10.0.0.1", 1000, "10.0.0.2", 2000);
const B_A = tuple("10.0.0.2", 2000, "10.0.0.1", 1000);
const put =
  (type: number, words: Int32Array) =>
  (writer: MessageWriter): void =>
    putTuple(writer, type, words, 0);
const all =
  (...parts: ((writer: MessageWriter) => void)[]) =>
  (writer: MessageWriter): void => {
    for (const part of parts) part(writer);
  };
const be32 =
  (type: number, value: number) =>
  (writer: MessageWriter): void =>
    writer.be32(type, value);
const be16 =
  (type: number, value: number) =>
  (writer: MessageWriter): void =>
    writer.be16(type, value);

const types = (message: Message): number[] => {
  const reader = new AttributeReader(message.view, 0, message.view.byteLength);
  const found: number[] = [];
  while (reader.next()) found.push(reader.type);
  return found;
};
const attributes = (message: Message): AttributeTable => parsed(connectionAttributes, message);
function parsed<D extends Definitions>(set: AttributeSet<D>, { view }: Message): AttributeTable {
  return set.parse(set.table(), view, 0, view.byteLength, 0, undefined);
}

const commitUdp = (zone = 0, mark = 0, sport = 1000): void => {
  lab.send(frame(ethernet(), ipv4(), udp({ src: sport })), { commit: true, zone, mark: mark === 0 ? undefined : mark });
};

describe("transport", () => {
  it("N-003: nfgenmsg of answers: family, version 0, res_id 0", () => {
    commitUdp();
    const [message] = request(GET, NLM_F_DUMP).messages;
    expect([message.family, message.version, message.resId]).toEqual([AF_INET, 0, 0]);
  });

  it("N-004: every request takes CAP_NET_ADMIN", () => {
    const poor = new PairSocket(bus, NETLINK_NETFILTER, { privileged: false });
    expect(request(GET, NLM_F_DUMP, undefined, 0, 0, poor).error).toBe(errno.EPERM);
  });

  it("N-008: an attribute of 0 bytes is too short: ERANGE, and nothing is deleted", () => {
    commitUdp();
    const numbers = [
      nf.CTA_STATUS,
      nf.CTA_TIMEOUT,
      nf.CTA_MARK,
      nf.CTA_ID,
      nf.CTA_MARK_MASK,
      nf.CTA_STATUS_MASK,
      nf.CTA_ZONE,
    ];
    for (const command of [nf.IPCTNL_MSG_CT_NEW, nf.IPCTNL_MSG_CT_GET, nf.IPCTNL_MSG_CT_DELETE]) {
      for (const type of numbers) {
        const empty = (writer: MessageWriter): void => {
          putTuple(writer, nf.CTA_TUPLE_ORIG, A_B, 0);
          writer.flag(type);
        };
        expect(request(CT | command, NLM_F_ACK, empty, AF_INET).error, `command ${command}, type ${type}`).toBe(
          errno.ERANGE,
        );
      }
    }
    expect(lab.conntrack.count).toBe(1);
  });

  it("N-008, N-027: an address or port of 0 bytes in a tuple is ERANGE", () => {
    for (const [family, outer, type] of [
      [AF_INET, nf.CTA_TUPLE_IP, nf.CTA_IP_V4_SRC],
      [AF_INET, nf.CTA_TUPLE_IP, nf.CTA_IP_V4_DST],
      [AF_INET6, nf.CTA_TUPLE_IP, nf.CTA_IP_V6_SRC],
      [AF_INET6, nf.CTA_TUPLE_IP, nf.CTA_IP_V6_DST],
      [AF_INET, nf.CTA_TUPLE_PROTO, nf.CTA_PROTO_NUM],
      [AF_INET, nf.CTA_TUPLE_PROTO, nf.CTA_PROTO_SRC_PORT],
    ]) {
      const put = (writer: MessageWriter): void => {
        const tuple = nest(writer, nf.CTA_TUPLE_ORIG);
        if (outer === nf.CTA_TUPLE_PROTO) {
          const ip = nest(writer, nf.CTA_TUPLE_IP);
          writer.be32(nf.CTA_IP_V4_SRC, 1);
          writer.be32(nf.CTA_IP_V4_DST, 2);
          writer.endNest(ip);
        }
        const inner = nest(writer, outer);
        writer.flag(type);
        writer.endNest(inner);
        writer.endNest(tuple);
      };
      expect(request(GET, NLM_F_ACK, put, family).error, `nest ${outer}, type ${type}`).toBe(errno.ERANGE);
    }
  });

  it("N-008: the extended ack names the attribute and its rule; inside a nest there is none", () => {
    const extended = new PairSocket(bus, NETLINK_NETFILTER);
    extended.setOption(NETLINK_EXT_ACK, true);
    extended.setOption(NETLINK_CAP_ACK, true);
    const answer = (put: (writer: MessageWriter) => void): Uint8Array => {
      const writer = new MessageWriter();
      const at = writer.beginMessage(GET, NLM_F_REQUEST | NLM_F_ACK, 1, 0);
      writer.rawU32(AF_INET);
      put(writer);
      writer.endMessage(at);
      extended.send(writer.finish());
      return extended.receive() ?? new Uint8Array(0);
    };
    const told = decode(extendedAck, answer((writer) => writer.flag(nf.CTA_STATUS)).subarray(36));
    expect(told).toMatchObject({ MSG: "Attribute failed policy validation", OFFS: 20, POLICY: { TYPE: 4 } });
    const inNest = answer((writer) => {
      const tuple = nest(writer, nf.CTA_TUPLE_ORIG);
      writer.u8(nf.CTA_TUPLE_ZONE, 1);
      writer.endNest(tuple);
    });
    expect(inNest).toHaveLength(36);
  });

  it("N-005: a message without nfgenmsg is accepted silently", () => {
    const writer = new MessageWriter();
    const at = writer.beginMessage(GET, NLM_F_REQUEST | NLM_F_ACK, 1, 0);
    writer.endMessage(at);
    socket.send(writer.finish());
    expect(receive().error).toBe(0);
  });

  it("N-006, N-007: unknown subsystems and messages give EINVAL", () => {
    expect(request(3 << 8, NLM_F_ACK).error).toBe(errno.EINVAL);
    expect(request(CT | nf.IPCTNL_MSG_MAX, NLM_F_ACK).error).toBe(errno.EINVAL);
    expect(request(EXP | nf.IPCTNL_MSG_EXP_MAX, NLM_F_ACK).error).toBe(errno.EINVAL);
    expect(request(TIMEOUT | nf.IPCTNL_MSG_TIMEOUT_MAX, NLM_F_ACK).error).toBe(errno.EINVAL);
  });

  it("N-008: too short gives ERANGE, unknown is ignored", () => {
    expect(request(GET, NLM_F_DUMP, be16(nf.CTA_MARK, 1)).error).toBe(errno.ERANGE);
    expect(request(GET, NLM_F_DUMP, be16(200, 1)).error).toBe(0);
  });

  it("N-009: one bit of NLM_F_DUMP is enough", () => {
    commitUdp();
    expect(request(GET, 0x100).messages).toHaveLength(1);
    expect(request(GET, 0x200).messages).toHaveLength(1);
  });

  it("N-016: joining takes CAP_NET_ADMIN", () => {
    const poor = new PairSocket(bus, NETLINK_NETFILTER, { privileged: false });
    expect(() => poor.join(nf.NFNLGRP_CONNTRACK_NEW)).toThrowError(expect.objectContaining({ errno: errno.EPERM }));
    expect(() => socket.join(nf.NFNLGRP_MAX + 1)).toThrowError();
  });
});

describe("GET", () => {
  it("N-011, N-061: either tuple finds the entry; one answer, flagged MULTI", () => {
    commitUdp(7);
    for (const [type, words] of [
      [nf.CTA_TUPLE_ORIG, A_B],
      [nf.CTA_TUPLE_REPLY, B_A],
      [nf.CTA_TUPLE_ORIG, B_A],
    ] as const) {
      const answer = request(GET, NLM_F_ACK, all(put(type, words), be16(nf.CTA_ZONE, 7)), AF_INET);
      expect(answer.error).toBe(0);
      expect(answer.messages).toHaveLength(1);
      expect(answer.messages[0]).toMatchObject({ type: NEW, flags: NLM_F_MULTI, seq: 42, portId: socket.portId });
    }
  });

  it("N-041, N-053, N-054: the attributes of a record, in order; no ZONE for zone 0", () => {
    commitUdp();
    const head = [nf.CTA_TUPLE_ORIG, nf.CTA_TUPLE_REPLY];
    const tail = [nf.CTA_STATUS, nf.CTA_MARK, nf.CTA_ID, nf.CTA_USE, nf.CTA_TIMEOUT];
    expect(types(request(GET, NLM_F_DUMP).messages[0])).toEqual([...head, ...tail]);
    lab.send(frame(ethernet(), ipv4(), tcp({ flags: 2 })), { commit: true, zone: 5, labels: [1, 0, 0, 0] });
    const record = request(GET, NLM_F_DUMP, be16(nf.CTA_ZONE, 5)).messages[0];
    expect(types(record)).toEqual([...head, nf.CTA_ZONE, ...tail, nf.CTA_PROTOINFO, nf.CTA_LABELS]);
  });

  it("N-044, N-058: counters and timestamp exist if they were on when the entry was made", () => {
    commitUdp();
    lab.conntrack.options.acct = true;
    lab.conntrack.options.timestamp = true;
    commitUdp(0, 0, 1001);
    const records = request(GET, NLM_F_DUMP).messages.map(types);
    expect(records.filter((list) => list.includes(nf.CTA_COUNTERS_ORIG))).toHaveLength(1);
    expect(records.filter((list) => list.includes(nf.CTA_TIMESTAMP))).toHaveLength(1);
  });

  it("N-021: CTRZERO resets the counters after reading them", () => {
    lab.conntrack.options.acct = true;
    commitUdp();
    const packets = (type: number): number => {
      const [message] = request(type, NLM_F_DUMP).messages;
      const counters = attributes(message).nested(nf.CTA_COUNTERS_ORIG, countersAttributes);
      return (
        counters.be32(nf.CTA_COUNTERS_PACKETS) * 2 ** 32 + new DataView(counters.bytes(1).slice().buffer).getUint32(4)
      );
    };
    expect(packets(CT | nf.IPCTNL_MSG_CT_GET_CTRZERO)).toBe(1);
    expect(packets(GET)).toBe(0);
  });

  it("N-062, N-063, N-064, N-065: what is missing, and what is not there", () => {
    expect(request(GET, NLM_F_ACK, undefined, AF_INET).error).toBe(errno.EINVAL);
    expect(request(GET, NLM_F_ACK, put(nf.CTA_TUPLE_ORIG, A_B), AF_INET).error).toBe(errno.ENOENT);
    expect(request(GET, NLM_F_ACK, put(nf.CTA_TUPLE_ORIG, A_B), 1).error).toBe(errno.EOPNOTSUPP);
    const partial = (build: (writer: MessageWriter) => void) => (writer: MessageWriter) => {
      const outer = nest(writer, nf.CTA_TUPLE_ORIG);
      build(writer);
      writer.endNest(outer);
    };
    const ip = (writer: MessageWriter): void => {
      const inner = nest(writer, nf.CTA_TUPLE_IP);
      writer.be32(nf.CTA_IP_V4_SRC, 1);
      writer.be32(nf.CTA_IP_V4_DST, 2);
      writer.endNest(inner);
    };
    const proto =
      (number: number, ...rest: number[]) =>
      (writer: MessageWriter) => {
        ip(writer);
        const inner = nest(writer, nf.CTA_TUPLE_PROTO);
        writer.u8(nf.CTA_PROTO_NUM, number);
        for (const type of rest) writer.be16(type, 1);
        writer.endNest(inner);
      };
    expect(
      request(
        GET,
        NLM_F_ACK,
        partial(() => {}),
        AF_INET,
      ).error,
    ).toBe(errno.EINVAL);
    expect(request(GET, NLM_F_ACK, partial(ip), AF_INET).error).toBe(errno.EINVAL);
    expect(request(GET, NLM_F_ACK, partial(proto(17, nf.CTA_PROTO_SRC_PORT)), AF_INET).error).toBe(errno.EINVAL);
    expect(request(GET, NLM_F_ACK, partial(proto(1, nf.CTA_PROTO_ICMP_ID)), AF_INET).error).toBe(errno.EINVAL);
    expect(request(GET, NLM_F_ACK, partial(proto(89)), AF_INET).error).toBe(errno.ENOENT);
  });

  it("N-013, N-067, N-068, N-069, N-070, N-071, N-072: filters of a dump", () => {
    commitUdp(0, 0x11);
    commitUdp(1, 0x21, 1001);
    lab.send(frame(ethernet(), ipv6(), udp()), { commit: true, zone: 1 });
    const count = (body?: (writer: MessageWriter) => void, family = 0): number => {
      const { messages, error } = request(GET, NLM_F_DUMP, body, family);
      expect(error).toBe(0);
      const filtered = body !== undefined || family !== 0;
      for (const message of messages) {
        expect(message.flags).toBe(filtered ? NLM_F_MULTI | NLM_F_DUMP_FILTERED : NLM_F_MULTI);
      }
      return messages.length;
    };
    expect(count()).toBe(3);
    expect(count(undefined, AF_INET6)).toBe(1);
    expect(count(be32(nf.CTA_MARK, 0x11))).toBe(1);
    expect(count(all(be32(nf.CTA_MARK, 1), be32(nf.CTA_MARK_MASK, 1)))).toBe(2);
    expect(count(be16(nf.CTA_ZONE, 1))).toBe(2);
    expect(count(be32(nf.CTA_STATUS, nf.IPS_CONFIRMED))).toBe(3);
    expect(count(all(be32(nf.CTA_STATUS, 0), be32(nf.CTA_STATUS_MASK, nf.IPS_SEEN_REPLY)))).toBe(3);
    expect(count(be32(nf.CTA_STATUS, nf.IPS_ASSURED))).toBe(0);
    // Looked at only when something else asks for a filter.
    expect(request(GET, NLM_F_DUMP, be32(nf.CTA_MARK_MASK, 1)).error).toBe(0);
    expect(request(GET, NLM_F_DUMP, be32(nf.CTA_MARK_MASK, 1), AF_INET).error).toBe(errno.EINVAL);
    expect(request(GET, NLM_F_DUMP, be32(nf.CTA_STATUS_MASK, 1), AF_INET).error).toBe(errno.EINVAL);
    expect(request(GET, NLM_F_DUMP, be32(nf.CTA_STATUS, 0)).error).toBe(errno.EINVAL);
  });

  it("N-073: a dump filtered by parts of a tuple", () => {
    commitUdp();
    commitUdp(0, 0, 1001);
    lab.send(frame(ethernet(), ipv4({ src: "10.0.0.9" }), udp()), { commit: true });
    const filter = (flags: number) => (writer: MessageWriter) => {
      const inner = nest(writer, nf.CTA_FILTER);
      writer.u32(nf.CTA_FILTER_ORIG_FLAGS, flags);
      writer.endNest(inner);
    };
    const body = (flags: number) => all(put(nf.CTA_TUPLE_ORIG, A_B), filter(flags));
    expect(request(GET, NLM_F_DUMP, body(1), AF_INET).messages).toHaveLength(2);
    expect(request(GET, NLM_F_DUMP, body(2), AF_INET).messages).toHaveLength(3);
    expect(request(GET, NLM_F_DUMP, body(8 | 16), AF_INET).messages).toHaveLength(2);
    expect(request(GET, NLM_F_DUMP, body(1 | 8 | 16), AF_INET).messages).toHaveLength(1);
    expect(request(GET, NLM_F_DUMP, body(16), AF_INET).error).toBe(errno.EINVAL);
    expect(request(GET, NLM_F_DUMP, body(1 << 12), AF_INET).error).toBe(errno.EINVAL);
    expect(request(GET, NLM_F_DUMP, body(1)).error).toBe(errno.EOPNOTSUPP);
    expect(request(GET, NLM_F_DUMP, filter(1), AF_INET).error).toBe(errno.EINVAL);
  });

  it("N-012, N-075: a dump of many entries lists each once, also when others come and go meanwhile", () => {
    for (let port = 1; port <= 500; port++) commitUdp(0, 0, port);
    const writer = new MessageWriter();
    const at = writer.beginMessage(GET, NLM_F_REQUEST | NLM_F_DUMP, 1, 0);
    writer.rawU32(0);
    writer.endMessage(at);
    socket.send(writer.finish());
    const first = socket.receive();
    expect(first).not.toBeNull();
    for (let port = 501; port <= 520; port++) commitUdp(0, 0, port);
    for (const slot of lab.slots.slice(490, 500)) lab.conntrack.destroy(slot, 0, false);
    lab.end();
    const ports: number[] = [];
    const { messages } = receive();
    for (const message of [...parse(first as Uint8Array), ...messages]) {
      ports.push(parseTuple(attributes(message), nf.CTA_TUPLE_ORIG, AF_INET, 0)[T.PORTS] >>> 16);
    }
    expect(new Set(ports).size).toBe(ports.length);
    for (let port = 1; port <= 490; port++) expect(ports).toContain(port);
  });

  it("N-024, N-025, N-076, N-077: dying, unconfirmed and expired entries are in no list", () => {
    commitUdp();
    lab.apply(lab.receive(frame(ethernet(), ipv4(), udp({ src: 5 }))));
    expect(request(GET, NLM_F_DUMP).messages).toHaveLength(1);
    lab.end();
    lab.clock.advance(30_000);
    expect(request(GET, NLM_F_DUMP).messages).toHaveLength(0);
    for (const command of [nf.IPCTNL_MSG_CT_GET_DYING, nf.IPCTNL_MSG_CT_GET_UNCONFIRMED]) {
      expect(request(CT | command, NLM_F_DUMP)).toEqual({ messages: [], error: 0 });
      expect(request(CT | command, NLM_F_ACK).error).toBe(errno.EOPNOTSUPP);
    }
  });
});

function* parse(datagram: Uint8Array): Generator<Message> {
  const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.length);
  for (let at = 0; at + 16 <= datagram.length; ) {
    const size = view.getUint32(at, true);
    const inner = new DataView(datagram.buffer, datagram.byteOffset + at + 20, size - 20);
    yield { type: 0, flags: 0, seq: 0, portId: 0, family: 0, version: 0, resId: 0, view: inner };
    at += (size + 3) & ~3;
  }
}

describe("DELETE", () => {
  it("N-080: by tuple, zone and id", () => {
    commitUdp(7);
    const id = attributes(request(GET, NLM_F_DUMP).messages[0]).be32(nf.CTA_ID);
    const body = (zone: number, extra: number) =>
      all(put(nf.CTA_TUPLE_ORIG, A_B), be16(nf.CTA_ZONE, zone), be32(nf.CTA_ID, extra));
    expect(request(DELETE, NLM_F_ACK, body(6, id), AF_INET).error).toBe(errno.ENOENT);
    expect(request(DELETE, NLM_F_ACK, body(7, id ^ 1), AF_INET).error).toBe(errno.ENOENT);
    expect(request(DELETE, NLM_F_ACK, body(7, id), AF_INET).error).toBe(0);
    expect(lab.conntrack.count).toBe(0);
    expect(request(DELETE, NLM_F_ACK, body(7, id), AF_INET).error).toBe(errno.ENOENT);
  });

  it("N-081, N-082, N-083, N-084: flush of all, of a family, by mark, by zone", () => {
    const fill = (): void => {
      commitUdp();
      commitUdp(1, 5, 1001);
      lab.send(frame(ethernet(), ipv6(), udp()), { commit: true });
    };
    expect(request(DELETE, NLM_F_ACK).error).toBe(0);
    fill();
    request(DELETE, NLM_F_ACK, undefined, AF_INET6, 0);
    expect(lab.conntrack.count).toBe(0);
    fill();
    request(DELETE, NLM_F_ACK, undefined, AF_INET6, 1);
    expect(lab.conntrack.count).toBe(2);
    request(DELETE, NLM_F_ACK, be32(nf.CTA_MARK, 5));
    expect(lab.conntrack.count).toBe(1);
    fill();
    request(DELETE, NLM_F_ACK, be16(nf.CTA_ZONE, 1));
    expect(lab.entries.some((line) => line.includes("zone=1"))).toBe(false);
    expect(lab.conntrack.count).toBe(2);
  });

  it("C-263, C-387: packets afterwards begin a new connection", () => {
    commitUdp();
    request(DELETE, NLM_F_ACK);
    expect(
      lab.send(frame(ethernet(), ipv4({ src: "10.0.0.2", dst: "10.0.0.1" }), udp({ src: 2000, dst: 1000 }))).state,
    ).toBe("new|trk");
  });
});

describe("NEW", () => {
  const both = all(put(nf.CTA_TUPLE_ORIG, A_B), put(nf.CTA_TUPLE_REPLY, B_A));
  const timeout = be32(nf.CTA_TIMEOUT, 100);
  const create = NLM_F_CREATE | NLM_F_ACK;

  it("N-089, N-090, N-091: what a new entry needs", () => {
    expect(request(NEW, NLM_F_ACK, both, AF_INET).error).toBe(errno.ENOENT);
    expect(request(NEW, create, put(nf.CTA_TUPLE_ORIG, A_B), AF_INET).error).toBe(errno.EINVAL);
    const other = tuple("10.0.0.2", 2000, "10.0.0.1", 1000, 6);
    expect(
      request(NEW, create, all(put(nf.CTA_TUPLE_ORIG, A_B), put(nf.CTA_TUPLE_REPLY, other), timeout), AF_INET).error,
    ).toBe(errno.EINVAL);
    expect(request(NEW, create, both, AF_INET).error).toBe(errno.EINVAL);
    expect(lab.conntrack.count).toBe(0);
    expect(request(NEW, create, all(both, timeout), AF_INET).error).toBe(0);
    expect(lab.left()).toBe(100);
    expect(
      lab.send(frame(ethernet(), ipv4({ src: "10.0.0.2", dst: "10.0.0.1" }), udp({ src: 2000, dst: 1000 }))).state,
    ).toBe("est|rpl|trk");
  });

  it("N-092: an unknown helper; a known one is kept", () => {
    const help = (name: string) => (writer: MessageWriter) => {
      const inner = nest(writer, nf.CTA_HELP);
      writer.string(nf.CTA_HELP_NAME, name);
      writer.endNest(inner);
    };
    expect(request(NEW, create, all(both, timeout, help("nosuch")), AF_INET).error).toBe(errno.EOPNOTSUPP);
    expect(request(NEW, create, all(both, timeout, help("ftp")), AF_INET).error).toBe(errno.EOPNOTSUPP);
    expect(request(NEW, create, all(both, timeout, help("tftp")), AF_INET).error).toBe(0);
    expect(types(request(GET, NLM_F_DUMP).messages[0])).toContain(nf.CTA_HELP);
  });

  it("N-093, N-094, N-095: clash, unknown master, EXCL", () => {
    expect(request(NEW, create, all(both, timeout), AF_INET).error).toBe(0);
    expect(request(NEW, create | NLM_F_EXCL, all(both, timeout), AF_INET).error).toBe(errno.EEXIST);
    const clash = all(
      put(nf.CTA_TUPLE_ORIG, tuple("10.0.0.7", 1, "10.0.0.2", 2000)),
      put(nf.CTA_TUPLE_REPLY, B_A),
      timeout,
    );
    expect(request(NEW, create, clash, AF_INET).error).toBe(errno.EEXIST);
    const fresh = all(
      put(nf.CTA_TUPLE_ORIG, tuple("10.0.0.7", 1, "10.0.0.8", 2)),
      put(nf.CTA_TUPLE_REPLY, tuple("10.0.0.8", 2, "10.0.0.7", 1)),
      timeout,
    );
    const master = put(nf.CTA_TUPLE_MASTER, tuple("10.0.0.66", 1, "10.0.0.2", 2));
    expect(request(NEW, create, all(fresh, master), AF_INET).error).toBe(errno.ENOENT);
    expect(request(NEW, create, all(fresh, put(nf.CTA_TUPLE_MASTER, A_B)), AF_INET).error).toBe(0);
    expect(
      types(request(GET, NLM_F_ACK, put(nf.CTA_TUPLE_ORIG, tuple("10.0.0.7", 1, "10.0.0.8", 2)), AF_INET).messages[0]),
    ).toContain(nf.CTA_TUPLE_MASTER);
  });

  it("N-034: NAT of a new entry", () => {
    const nat = (writer: MessageWriter): void => {
      const inner = nest(writer, nf.CTA_NAT_SRC);
      writer.be32(nf.CTA_NAT_V4_MINIP, 0xc0000201);
      writer.endNest(inner);
    };
    expect(request(NEW, create, all(both, timeout, nat), AF_INET).error).toBe(0);
    const out = lab.send(frame(ethernet(), ipv4(), udp()), { nat: { src: "" } });
    expect(lab.entries[0]).toContain("10.0.0.2:2000>192.0.2.1:1000");
    expect(out.addresses).toBe("192.0.2.1:1000>10.0.0.2:2000");
  });

  it("N-096, N-098, C-368: what may be updated", () => {
    commitUdp();
    const update = (...parts: ((writer: MessageWriter) => void)[]): number =>
      request(NEW, NLM_F_ACK, all(put(nf.CTA_TUPLE_ORIG, A_B), ...parts), AF_INET).error;
    expect(update(timeout)).toBe(0);
    expect(lab.left()).toBe(100);
    expect(update(be32(nf.CTA_MARK, 0x1234))).toBe(0);
    expect(update(be32(nf.CTA_MARK, 0xff), be32(nf.CTA_MARK_MASK, 0xff))).toBe(0);
    expect(lab.entries[0]).toContain(`mark=${0x12ff}`);
    const labels = (writer: MessageWriter): void =>
      writer.raw(nf.CTA_LABELS, Uint8Array.of(1, 2, 3, 4, ...new Array(12).fill(0)));
    expect(update(labels)).toBe(0);
    expect(lab.send(frame(ethernet(), ipv4(), udp())).labels[0]).toBe(0x01020304);
    const status = (bits: number) => be32(nf.CTA_STATUS, bits);
    expect(update(status(nf.IPS_CONFIRMED | nf.IPS_SEEN_REPLY | nf.IPS_ASSURED))).toBe(0);
    expect(lab.send(frame(ethernet(), ipv4(), udp())).state).toBe("est|trk");
    expect(update(status(nf.IPS_CONFIRMED))).toBe(errno.EBUSY);
    expect(update(status(nf.IPS_SEEN_REPLY | nf.IPS_ASSURED))).toBe(errno.EBUSY);
    expect(update(status(nf.IPS_CONFIRMED | nf.IPS_SEEN_REPLY | nf.IPS_ASSURED | nf.IPS_DYING))).toBe(errno.EBUSY);
    expect(update(status(nf.IPS_CONFIRMED | nf.IPS_SEEN_REPLY | nf.IPS_ASSURED | nf.IPS_FIXED_TIMEOUT))).toBe(0);
    expect(update(timeout)).toBe(errno.EPERM);
  });

  it("N-097: no translation and no master later on", () => {
    commitUdp();
    for (const type of [nf.CTA_NAT_SRC, nf.CTA_NAT_DST, nf.CTA_TUPLE_MASTER]) {
      expect(request(NEW, NLM_F_ACK, all(put(nf.CTA_TUPLE_ORIG, A_B), put(type, A_B)), AF_INET).error).toBe(
        errno.EOPNOTSUPP,
      );
    }
  });

  it("a TCP state that does not exist is refused, not looked up", () => {
    const info = (writer: MessageWriter): void => {
      const outer = nest(writer, nf.CTA_PROTOINFO);
      const inner = nest(writer, nf.CTA_PROTOINFO_TCP);
      writer.u8(nf.CTA_PROTOINFO_TCP_STATE, 77);
      writer.endNest(inner);
      writer.endNest(outer);
    };
    const tuples = all(
      put(nf.CTA_TUPLE_ORIG, tuple("10.0.0.1", 1, "10.0.0.2", 2, 6)),
      put(nf.CTA_TUPLE_REPLY, tuple("10.0.0.2", 2, "10.0.0.1", 1, 6)),
    );
    expect(request(NEW, create, all(tuples, timeout, info), AF_INET).error).toBe(errno.ERANGE);
    expect(lab.conntrack.count).toBe(0);
  });
});

describe("events", () => {
  it("N-110, N-111: without a listener an entry gets no event cache, and no events ever", () => {
    commitUdp();
    socket.join(nf.NFNLGRP_CONNTRACK_DESTROY);
    socket.join(nf.NFNLGRP_CONNTRACK_UPDATE);
    commitUdp(0, 9);
    request(DELETE, NLM_F_ACK);
    expect(receive().messages).toEqual([]);
    commitUdp();
    request(DELETE, 0);
    const other = new PairSocket(bus, NETLINK_NETFILTER);
    other.join(nf.NFNLGRP_CONNTRACK_DESTROY);
    commitUdp();
    request(DELETE, NLM_F_ACK);
    expect(receive(other).messages).toHaveLength(1);
    other.close();
    socket.leave(nf.NFNLGRP_CONNTRACK_DESTROY);
    socket.leave(nf.NFNLGRP_CONNTRACK_UPDATE);
    commitUdp();
    socket.join(nf.NFNLGRP_CONNTRACK_DESTROY);
    request(DELETE, 0);
    expect(receive().messages).toEqual([]);
  });

  it("N-086, N-099, N-103: the requester's port id stands in what it caused; ECHO sends it a copy", () => {
    const listener = new PairSocket(bus, NETLINK_NETFILTER);
    listener.join(nf.NFNLGRP_CONNTRACK_DESTROY);
    commitUdp();
    expect(request(DELETE, NLM_F_ACK).messages).toEqual([]);
    expect(receive(listener).messages[0]).toMatchObject({ type: DELETE, flags: 0, seq: 0, portId: socket.portId });
    commitUdp();
    expect(request(DELETE, NLM_F_ACK | NLM_F_ECHO).messages).toHaveLength(1);
    commitUdp();
    lab.clock.advance(40_000);
    lab.conntrack.gc();
    expect(receive(listener).messages.at(-1)).toMatchObject({ type: DELETE, portId: 0 });
  });

  it("N-114: NEW precedes UPDATE precedes DESTROY", () => {
    for (const group of [1, 2, 3]) socket.join(group);
    commitUdp();
    commitUdp(0, 3);
    lab.send(frame(ethernet(), ipv4({ src: "10.0.0.2", dst: "10.0.0.1" }), udp({ src: 2000, dst: 1000 })));
    lab.conntrack.destroy(lab.slots[0], 0, false);
    const order = receive().messages.map(({ type, flags }) =>
      type === DELETE ? "DESTROY" : flags === 0x600 ? "NEW" : "UPDATE",
    );
    expect(order).toEqual(["NEW", "UPDATE", "UPDATE", "DESTROY"]);
  });

  it("N-113: a reader that does not read gets ENOBUFS, others lose nothing", () => {
    const slow = new PairSocket(bus, NETLINK_NETFILTER);
    slow.join(nf.NFNLGRP_CONNTRACK_NEW);
    slow.setReceiveBuffer(1000);
    socket.join(nf.NFNLGRP_CONNTRACK_NEW);
    for (let port = 1; port <= 50; port++) commitUdp(0, 0, port);
    expect(receive().messages).toHaveLength(50);
    expect(() => slow.receive()).toThrowError(expect.objectContaining({ errno: errno.ENOBUFS }));
  });
});

describe("expectations", () => {
  const rrq = frame(ethernet(), ipv4(), udp({ src: 1000, dst: 69 }), "\0\x01file\0octet\0");
  const expected = tuple("10.0.0.2", 0, "10.0.0.1", 1000);

  beforeEach(() => {
    lab.send(rrq, { commit: true, helper: "tftp" });
  });

  it("N-118, N-119: dumped, for one master, and by tuple", () => {
    const get = EXP | nf.IPCTNL_MSG_EXP_GET;
    expect(request(get, NLM_F_DUMP).messages).toHaveLength(1);
    expect(
      request(get, NLM_F_DUMP, put(nf.CTA_EXPECT_MASTER, tuple("10.0.0.1", 1000, "10.0.0.2", 69)), AF_INET).messages,
    ).toHaveLength(1);
    expect(request(get, NLM_F_DUMP, put(nf.CTA_EXPECT_MASTER, A_B), AF_INET).error).toBe(errno.ENOENT);
    expect(request(get, NLM_F_ACK, put(nf.CTA_EXPECT_TUPLE, expected), AF_INET).messages).toHaveLength(1);
    expect(request(get, NLM_F_ACK, put(nf.CTA_EXPECT_TUPLE, A_B), AF_INET).error).toBe(errno.ENOENT);
    expect(request(get, NLM_F_ACK, undefined, AF_INET).error).toBe(errno.EINVAL);
  });

  it("N-120: deleted by tuple, by helper, all", () => {
    const remove = EXP | nf.IPCTNL_MSG_EXP_DELETE;
    expect(request(remove, NLM_F_ACK, put(nf.CTA_EXPECT_TUPLE, A_B), AF_INET).error).toBe(errno.ENOENT);
    expect(request(remove, NLM_F_ACK, put(nf.CTA_EXPECT_TUPLE, expected), AF_INET).error).toBe(0);
    expect(lab.conntrack.expectations.count).toBe(0);
    lab.send(rrq, {});
    expect(lab.conntrack.expectations.count).toBe(1);
    request(remove, NLM_F_ACK, (writer) => writer.string(nf.CTA_EXPECT_HELP_NAME, "ftp"));
    expect(lab.conntrack.expectations.count).toBe(1);
    request(remove, NLM_F_ACK, (writer) => writer.string(nf.CTA_EXPECT_HELP_NAME, "tftp"));
    expect(lab.conntrack.expectations.count).toBe(0);
  });

  it("N-147: counts", () => {
    const [message] = request(EXP | nf.IPCTNL_MSG_EXP_GET_STATS_CPU, NLM_F_DUMP).messages;
    const values = attributes(message);
    expect([1, 2, 3].map((type) => new DataView(values.bytes(type).slice().buffer).getUint32(0))).toEqual([0, 1, 0]);
  });
});

describe("timeout policies", () => {
  const data =
    (...pairs: [number, number][]) =>
    (writer: MessageWriter): void => {
      const inner = nest(writer, nf.CTA_TIMEOUT_DATA);
      for (const [type, seconds] of pairs) writer.be32(type, seconds);
      writer.endNest(inner);
    };
  const policy = (name: string, proto: number, ...pairs: [number, number][]) =>
    all(
      (writer) => writer.string(nf.CTA_TIMEOUT_NAME, name),
      be16(nf.CTA_TIMEOUT_L3PROTO, 2),
      (writer) => writer.u8(nf.CTA_TIMEOUT_L4PROTO, proto),
      data(...pairs),
    );
  const put8 = TIMEOUT | nf.IPCTNL_MSG_TIMEOUT_NEW;
  const get8 = TIMEOUT | nf.IPCTNL_MSG_TIMEOUT_GET;

  it("N-130, N-131, N-132, N-133, N-134, N-135: made, replaced, refused", () => {
    expect(request(put8, NLM_F_ACK, data()).error).toBe(errno.EINVAL);
    expect(request(put8, NLM_F_ACK, policy("p", 17, [1, 5])).error).toBe(0);
    expect(request(put8, NLM_F_ACK, policy("p", 17, [1, 5])).error).toBe(errno.EBUSY);
    expect(request(put8, NLM_F_ACK | NLM_F_EXCL, policy("p", 17)).error).toBe(errno.EEXIST);
    expect(request(put8, NLM_F_ACK | NLM_F_REPLACE, policy("p", 6)).error).toBe(errno.EINVAL);
    expect(request(put8, NLM_F_ACK | NLM_F_REPLACE, policy("p", 17, [2, 9])).error).toBe(0);
    expect(request(put8, NLM_F_ACK, policy("q", 89)).error).toBe(errno.EOPNOTSUPP);
    const [message] = request(get8, NLM_F_DUMP).messages;
    expect(message.type).toBe(put8);
    const values = parsed(timeoutAttributes, message);
    expect(values.string(nf.CTA_TIMEOUT_NAME)).toBe("p");
    const inner = values.nested(nf.CTA_TIMEOUT_DATA, timeoutDataAttributes(17));
    expect([inner.be32(1), inner.be32(2)]).toEqual([30, 9]);
  });

  it("N-136, N-137, N-139, N-140: asked for and deleted", () => {
    const named = (name: string) => (writer: MessageWriter) => writer.string(nf.CTA_TIMEOUT_NAME, name);
    for (const name of ["b", "a", "c"]) request(put8, NLM_F_ACK, policy(name, 17));
    const names = request(get8, NLM_F_DUMP).messages.map((message) => parsed(timeoutAttributes, message).string(1));
    expect(names).toEqual(["b", "a", "c"]);
    expect(request(get8, NLM_F_ACK, named("a")).messages).toHaveLength(1);
    expect(request(get8, NLM_F_ACK, named("x")).error).toBe(errno.ENOENT);
    expect(request(get8, NLM_F_ACK).error).toBe(errno.EINVAL);
    const remove = TIMEOUT | nf.IPCTNL_MSG_TIMEOUT_DELETE;
    expect(request(remove, NLM_F_ACK, named("x")).error).toBe(errno.ENOENT);
    expect(request(remove, NLM_F_ACK, named("a")).error).toBe(0);
    expect(request(remove, NLM_F_ACK).error).toBe(0);
    expect(request(get8, NLM_F_DUMP).messages).toEqual([]);
  });

  it("C-335, C-369: an entry keeps its policy until that is deleted", () => {
    request(put8, NLM_F_ACK, policy("p", 17, [1, 5], [2, 6]));
    const bytes = frame(ethernet(), ipv4(), udp());
    lab.send(bytes, { commit: true, timeout: "p" });
    expect(lab.left()).toBe(5);
    request(put8, NLM_F_ACK | NLM_F_REPLACE, policy("p", 17, [1, 7]));
    lab.send(bytes);
    expect(lab.left()).toBe(7);
    request(TIMEOUT | nf.IPCTNL_MSG_TIMEOUT_DELETE, NLM_F_ACK);
    lab.send(bytes);
    expect(lab.left()).toBe(30);
  });

  it("N-126, N-141, N-142: defaults of the namespace", () => {
    const set = TIMEOUT | nf.IPCTNL_MSG_TIMEOUT_DEFAULT_SET;
    const get = TIMEOUT | nf.IPCTNL_MSG_TIMEOUT_DEFAULT_GET;
    const proto = (number: number) =>
      all(be16(nf.CTA_TIMEOUT_L3PROTO, 2), (writer: MessageWriter) => writer.u8(nf.CTA_TIMEOUT_L4PROTO, number));
    expect(request(set, NLM_F_ACK, proto(17)).error).toBe(errno.EINVAL);
    expect(request(set, NLM_F_ACK, all(proto(17), data([1, 11]))).error).toBe(0);
    lab.send(frame(ethernet(), ipv4(), udp()), { commit: true });
    expect(lab.left()).toBe(11);
    const [message] = request(get, NLM_F_ACK, proto(6)).messages;
    const inner = parsed(timeoutAttributes, message).nested(nf.CTA_TIMEOUT_DATA, timeoutDataAttributes(6));
    expect(Array.from({ length: 11 }, (_, i) => inner.be32(i + 1))).toEqual([
      120, 60, 432000, 120, 60, 30, 120, 10, 120, 300, 300,
    ]);
    expect(request(get, NLM_F_ACK, proto(89)).error).toBe(errno.EOPNOTSUPP);
  });
});

describe("statistics", () => {
  it("N-145, N-146: counters and totals", () => {
    commitUdp();
    lab.send(frame(ethernet(), ipv4(), icmp({ type: 0 })));
    const [cpu] = request(CT | nf.IPCTNL_MSG_CT_GET_STATS_CPU, NLM_F_DUMP).messages;
    expect(types(cpu)).toEqual([2, 4, 8, 9, 10, 11, 12, 13, 14, 15]);
    const [totals] = request(CT | nf.IPCTNL_MSG_CT_GET_STATS, NLM_F_ACK).messages;
    const values = attributes(totals);
    const number = (type: number): number => new DataView(values.bytes(type).slice().buffer).getUint32(0);
    expect([number(1), number(2)]).toEqual([1, 4096]);
  });
});
