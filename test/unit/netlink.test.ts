import { describe, expect, it } from "vitest";
import { Errno } from "../../src/core/errors.ts";
import { SeededRandom } from "../../src/core/random.ts";
import { NetlinkBus } from "../../src/netlink/bus.ts";
import type { BusSocket, NetlinkProtocol } from "../../src/netlink/bus-socket.ts";
import type { Dump } from "../../src/netlink/dump.ts";
import type { NetlinkMessage } from "../../src/netlink/message.ts";
import { PairSocket } from "../../src/netlink/pair.ts";
import { MessageWriter } from "../../src/netlink/writer.ts";
import { EBUSY, EINVAL, EIO, ENOBUFS, ENODEV, ENOPROTOOPT, EPERM } from "../../src/uapi/errno.ts";
import * as nl from "../../src/uapi/netlink.ts";
import { messagesIn } from "../support/kernel.ts";

const PROTOCOL = 16;
const ECHO = 100;
const FAIL = 101;
const DUMP = 102;
const FAULT = 103;

/** A protocol with a few message types; records what it executed. */
class Toy implements NetlinkProtocol {
  readonly groups = 32;
  privileged = false;
  executed: number[] = [];
  records = 3;
  recordSize = 100;
  ended = 0;
  failDump = 0;

  handle(message: NetlinkMessage, socket: BusSocket): Dump | undefined {
    this.executed.push(message.seq);
    switch (message.type) {
      case ECHO:
        socket.send(message.bytes.slice(message.start, message.end));
        return undefined;
      case FAIL:
        message.extack.offset = 16;
        throw new Errno(EINVAL, "no good");
      case FAULT:
        throw new TypeError("a bug");
      case DUMP:
        return this.dump(message.seq, socket.portId);
      default:
        return undefined;
    }
  }

  private dump(seq: number, portId: number): Dump {
    let next = 0;
    return {
      fill: (writer, room) => {
        if (this.failDump !== 0) return -this.failDump;
        for (; next < this.records; next++) {
          const at = writer.beginMessage(DUMP, nl.NLM_F_MULTI, seq, portId);
          writer.raw(1, new Uint8Array(this.recordSize - 20));
          writer.endMessage(at);
          if (writer.length > room) {
            writer.cancel(at);
            break;
          }
        }
        return writer.length;
      },
      done: () => this.ended++,
    };
  }
}

function setUp() {
  const bus = new NetlinkBus(new SeededRandom(1));
  const toy = new Toy();
  bus.register(PROTOCOL, toy);
  const faults: unknown[] = [];
  bus.onFault = (error) => faults.push(error);
  const open = (options: { privileged?: boolean; portId?: number } = {}) => new PairSocket(bus, PROTOCOL, options);
  return { bus, toy, faults, open };
}

function message(type: number, flags: number, seq: number, body = new Uint8Array(0)): Uint8Array {
  const writer = new MessageWriter();
  const at = writer.beginMessage(type, flags, seq, 0);
  writer.bytes.set(body, writer.reserve(body.length));
  writer.endMessage(at);
  return writer.finish();
}

function drain(socket: PairSocket) {
  const all = [];
  for (let datagram = socket.receive(); datagram !== null; datagram = socket.receive())
    all.push(...messagesIn(datagram));
  return all;
}

const REQUEST = nl.NLM_F_REQUEST;
const ACK = nl.NLM_F_ACK;

describe("walking a datagram", () => {
  it("F-291: several messages are executed in order, each acknowledged by itself", () => {
    const { open, toy } = setUp();
    const socket = open();
    socket.send(
      new Uint8Array(
        Buffer.concat([
          message(ECHO, REQUEST | ACK, 1),
          message(FAIL, REQUEST, 2),
          message(200, REQUEST, 3),
          message(200, REQUEST | ACK, 4),
        ]),
      ),
    );
    expect(toy.executed).toEqual([1, 2, 3, 4]);
    expect(drain(socket).map((reply) => [reply.type, reply.seq, reply.errno])).toEqual([
      [ECHO, 1, 0],
      [nl.NLMSG_ERROR, 1, 0],
      [nl.NLMSG_ERROR, 2, EINVAL],
      [nl.NLMSG_ERROR, 4, 0],
    ]);
  });

  it("messages of odd length are padded to 4, the last may do without", () => {
    const { open, toy } = setUp();
    const odd = message(200, REQUEST, 1, new Uint8Array(1));
    const socket = open();
    socket.send(new Uint8Array(Buffer.concat([odd, new Uint8Array(3), message(200, REQUEST, 2, new Uint8Array(2))])));
    expect(toy.executed).toEqual([1, 2]);
  });

  it.each([
    ["shorter than a header", 15],
    ["longer than the datagram", 400],
    ["zero", 0],
  ])("nlmsg_len %s ends the walk in silence", (_name, length) => {
    const { open, toy } = setUp();
    const socket = open();
    const bytes = message(200, REQUEST | ACK, 1);
    new DataView(bytes.buffer).setUint32(0, length, true);
    socket.send(bytes);
    expect(toy.executed).toEqual([]);
    expect(drain(socket)).toEqual([]);
  });

  it("what is no request, and control messages, are acknowledged if that is asked for and not executed", () => {
    const { open, toy } = setUp();
    const socket = open();
    for (const one of [
      message(ECHO, ACK, 1),
      message(nl.NLMSG_NOOP, REQUEST | ACK, 2),
      message(nl.NLMSG_NOOP, REQUEST, 3),
    ])
      socket.send(one);
    expect(toy.executed).toEqual([]);
    expect(drain(socket).map((reply) => [reply.seq, reply.errno])).toEqual([
      [1, 0],
      [2, 0],
    ]);
  });

  it("a fault of a handler is an EIO for its client and reported", () => {
    const { open, faults } = setUp();
    const socket = open();
    socket.send(message(FAULT, REQUEST, 1));
    expect(drain(socket)[0].errno).toBe(EIO);
    expect(faults).toHaveLength(1);
  });

  it("N-004: where a protocol needs privilege, the first message is refused and the rest dropped", () => {
    const { open, toy } = setUp();
    toy.privileged = true;
    const socket = open({ privileged: false });
    socket.send(new Uint8Array(Buffer.concat([message(200, REQUEST, 1), message(200, REQUEST | ACK, 2)])));
    expect(toy.executed).toEqual([]);
    expect(drain(socket).map((reply) => [reply.seq, reply.errno])).toEqual([[1, EPERM]]);
  });
});

describe("acknowledgements", () => {
  const body = Uint8Array.of(1, 2, 3, 4, 5);

  it("F-051, F-053: of a success carries the request's header, capped", () => {
    const { open } = setUp();
    const socket = open();
    socket.send(message(200, REQUEST | ACK, 9, body));
    const [reply] = drain(socket);
    expect(reply.bytes.length).toBe(36);
    expect(reply.flags).toBe(nl.NLM_F_CAPPED);
    expect(reply.pid).toBe(socket.portId);
    expect(reply.view.getUint32(20, true)).toBe(21);
  });

  it("F-052, F-053: of an error carries the whole request, padded; no TLVs without EXT_ACK", () => {
    const { open } = setUp();
    const socket = open();
    socket.send(message(FAIL, REQUEST, 9, body));
    const [reply] = drain(socket);
    expect(reply.flags).toBe(0);
    expect(reply.bytes.length).toBe(16 + 4 + 24);
    expect([...reply.bytes.slice(36, 44)]).toEqual([1, 2, 3, 4, 5, 0, 0, 0]);
  });

  it("F-050: with EXT_ACK the text and the offset follow", () => {
    const { open } = setUp();
    const socket = open();
    socket.setOption(nl.NETLINK_EXT_ACK, true);
    socket.send(message(FAIL, REQUEST, 9, body));
    const [reply] = drain(socket);
    expect(reply.flags).toBe(nl.NLM_F_ACK_TLVS);
    expect(Buffer.from(reply.bytes.slice(44)).toString("hex")).toBe(
      `0c000100${Buffer.from("no good\0").toString("hex")}0800020010000000`,
    );
  });

  it("F-053: with CAP_ACK an error carries the header alone", () => {
    const { open } = setUp();
    const socket = open();
    socket.setOption(nl.NETLINK_CAP_ACK, true);
    socket.send(message(FAIL, REQUEST, 9, body));
    const [reply] = drain(socket);
    expect(reply.flags).toBe(nl.NLM_F_CAPPED);
    expect(reply.bytes.length).toBe(36);
  });

  it("an offset outside the payload is left out", () => {
    const { open } = setUp();
    const socket = open();
    socket.setOption(nl.NETLINK_EXT_ACK, true);
    socket.send(message(FAIL, REQUEST, 9));
    expect(drain(socket)[0].bytes.length).toBe(36 + 12);
  });
});

describe("dumps", () => {
  it("F-033, F-034: records, then NLMSG_DONE by itself; no ACK", () => {
    const { open, toy } = setUp();
    const socket = open();
    socket.send(message(DUMP, REQUEST | ACK, 5));
    const first = socket.receive() as Uint8Array;
    expect(messagesIn(first)).toHaveLength(3);
    const last = messagesIn(socket.receive() as Uint8Array);
    expect(last.map((reply) => [reply.type, reply.flags, reply.seq, reply.errno, reply.bytes.length])).toEqual([
      [nl.NLMSG_DONE, nl.NLM_F_MULTI, 5, 0, 20],
    ]);
    expect(socket.receive()).toBeNull();
    expect(toy.ended).toBe(1);
  });

  it("F-265: datagrams are no larger than 3776 bytes, or what the reader has shown, at most 32 KiB", () => {
    const { bus, toy } = setUp();
    toy.records = 1000;
    const sizes = (receiveLength: number) => {
      const got: number[] = [];
      const handle = bus.open(PROTOCOL, {
        privileged: true,
        sink: { deliver: (datagram) => got.push(datagram.length) > 0, overrun: () => {} },
      });
      handle.receiveLength = receiveLength;
      handle.receive(message(DUMP, REQUEST, 1));
      while (handle.dumping) handle.pull();
      handle.close();
      return got;
    };
    expect(Math.max(...sizes(0))).toBe(3700);
    expect(Math.max(...sizes(5000))).toBe(5000);
    expect(Math.max(...sizes(1 << 20))).toBe(32400);
    expect(sizes(0).reduce((sum, size) => sum + size, 0)).toBe(100_020);
  });

  it("F-032: a second dump on the socket is EBUSY, another socket's is not", () => {
    const { open, toy } = setUp();
    toy.records = 2000;
    const socket = open();
    const other = open();
    socket.send(message(DUMP, REQUEST, 1));
    socket.send(message(DUMP, REQUEST, 2));
    other.send(message(DUMP, REQUEST, 3));
    const replies = drain(socket);
    expect(replies.filter((reply) => reply.errno === EBUSY).map((reply) => reply.seq)).toEqual([2]);
    expect(replies.filter((reply) => reply.type === DUMP)).toHaveLength(2000);
    expect(replies.at(-1)?.type).toBe(nl.NLMSG_DONE);
    expect(drain(other)).toHaveLength(2001);
    socket.send(message(DUMP, REQUEST, 4));
    expect(drain(socket)).toHaveLength(2001);
  });

  it("F-035: an error before any record stands in NLMSG_DONE", () => {
    const { open, toy } = setUp();
    toy.failDump = ENODEV;
    const socket = open();
    socket.send(message(DUMP, REQUEST, 1));
    expect(drain(socket).map((reply) => [reply.type, reply.errno])).toEqual([[nl.NLMSG_DONE, ENODEV]]);
  });

  it("a dump waits for its reader and survives what changes meanwhile", () => {
    const { open, toy } = setUp();
    toy.records = 2000;
    const socket = open();
    socket.send(message(DUMP, REQUEST, 1));
    let count = messagesIn(socket.receive() as Uint8Array).length;
    toy.records = 1000;
    for (const reply of drain(socket)) if (reply.type === DUMP) count++;
    expect(count).toBe(1000);
  });

  it("closing the socket ends the dump", () => {
    const { open, toy } = setUp();
    toy.records = 2000;
    const socket = open();
    socket.send(message(DUMP, REQUEST, 1));
    socket.close();
    expect(toy.ended).toBe(1);
  });
});

describe("receive buffers", () => {
  it("U-033: what does not fit is lost and counted; ENOBUFS once; nobody else notices", () => {
    const { bus, open } = setUp();
    const slow = open();
    const quick = open();
    slow.setReceiveBuffer(100);
    for (const socket of [slow, quick]) socket.join(5);
    const datagram = message(200, 0, 0, new Uint8Array(44));
    for (let i = 0; i < 5; i++) expect(bus.multicast(PROTOCOL, 5, datagram)).toBe(0);
    expect(slow.drops).toBe(3);
    expect(bus.unicast(PROTOCOL, slow.portId, datagram)).toBe(-11);
    expect(quick.drops).toBe(0);
    expect(drain(quick)).toHaveLength(5);
    expect(() => slow.receive()).toThrow(expect.objectContaining({ errno: ENOBUFS }));
    expect(drain(slow)).toHaveLength(2);
    // Drained: it receives again, and is told of the next loss.
    for (let i = 0; i < 3; i++) bus.multicast(PROTOCOL, 5, datagram);
    expect(() => slow.receive()).toThrow(expect.objectContaining({ errno: ENOBUFS }));
  });

  it("a congested socket takes nothing until it is empty", () => {
    const { bus, open } = setUp();
    const slow = open();
    slow.setReceiveBuffer(100);
    const datagram = message(200, 0, 0, new Uint8Array(44));
    for (let i = 0; i < 3; i++) bus.unicast(PROTOCOL, slow.portId, datagram);
    expect(() => slow.receive()).toThrow();
    slow.receive();
    expect(bus.unicast(PROTOCOL, slow.portId, datagram)).toBe(-11);
    slow.receive();
    expect(bus.unicast(PROTOCOL, slow.portId, datagram)).toBe(0);
  });

  it("NO_ENOBUFS: losses are counted and not told", () => {
    const { bus, open } = setUp();
    const slow = open();
    slow.setReceiveBuffer(0);
    slow.setOption(nl.NETLINK_NO_ENOBUFS, true);
    for (let i = 0; i < 3; i++) bus.unicast(PROTOCOL, slow.portId, message(200, 0, 0));
    expect(slow.drops).toBe(2);
    expect(drain(slow)).toHaveLength(1);
  });

  it("BROADCAST_ERROR: the sender hears of a lost broadcast", () => {
    const { bus, open } = setUp();
    const slow = open();
    slow.setReceiveBuffer(0);
    slow.join(1);
    slow.setOption(nl.NETLINK_BROADCAST_ERROR, true);
    expect(bus.multicast(PROTOCOL, 1, message(200, 0, 0))).toBe(0);
    expect(bus.multicast(PROTOCOL, 1, message(200, 0, 0))).toBe(-ENOBUFS);
  });

  it("a reader is woken once, after what is happening is over", async () => {
    const { bus, open } = setUp();
    const socket = open();
    let woken = 0;
    socket.onReadable = () => woken++;
    bus.unicast(PROTOCOL, socket.portId, message(200, 0, 0));
    bus.unicast(PROTOCOL, socket.portId, message(200, 0, 0));
    expect(woken).toBe(0);
    await Promise.resolve();
    expect(woken).toBe(1);
  });
});

describe("port ids and groups", () => {
  it("the first socket gets the process id, the next negative numbers; a wanted one that is taken is refused", () => {
    const { open } = setUp();
    const first = open();
    expect(first.portId).toBe(process.pid);
    const more = [open(), open()].map((socket) => socket.portId);
    for (const portId of more) expect(portId).toBeGreaterThanOrEqual(0x8000_0000);
    for (const portId of more) expect(portId).toBeLessThan(0x1_0000_0000 - 4096);
    expect(new Set(more).size).toBe(2);
    expect(() => open({ portId: process.pid })).toThrow(expect.objectContaining({ errno: 98 }));
    first.close();
    expect(open({ portId: process.pid }).portId).toBe(process.pid);
  });

  it("U-032: unicast to nobody is ECONNREFUSED", () => {
    const { bus, open } = setUp();
    const socket = open();
    socket.close();
    expect(bus.unicast(PROTOCOL, socket.portId, message(200, 0, 0))).toBe(-111);
  });

  it("F-057, F-058, F-059, F-060: a notification goes to members; with echo the requester gets one copy", () => {
    const { bus, open } = setUp();
    const [requester, member, stranger] = [open(), open(), open()];
    requester.join(3);
    member.join(3);
    const counts = () => [requester, member, stranger].map((socket) => drain(socket).length);
    bus.notify(PROTOCOL, 3, message(200, 0, 0), requester.portId, false);
    expect(counts()).toEqual([1, 1, 0]);
    bus.notify(PROTOCOL, 3, message(200, 0, 0), requester.portId, true);
    expect(counts()).toEqual([1, 1, 0]);
    requester.leave(3);
    bus.notify(PROTOCOL, 3, message(200, 0, 0), requester.portId, true);
    expect(counts()).toEqual([1, 1, 0]);
    expect(bus.hasListeners(PROTOCOL, 3)).toBe(true);
    member.close();
    expect(bus.hasListeners(PROTOCOL, 3)).toBe(false);
  });

  it("F-071: set_err tells the members that they missed one", () => {
    const { bus, open } = setUp();
    const member = open();
    member.join(3);
    bus.setError(PROTOCOL, 3);
    expect(() => member.receive()).toThrow(expect.objectContaining({ errno: ENOBUFS }));
  });

  it("groups that do not exist, and unknown options, are refused", () => {
    const { open } = setUp();
    const socket = open();
    for (const group of [0, 33, -1, 1.5])
      expect(() => socket.join(group)).toThrow(expect.objectContaining({ errno: EINVAL }));
    expect(() => socket.setOption(77, true)).toThrow(expect.objectContaining({ errno: ENOPROTOOPT }));
    expect(() => new PairSocket(setUp().bus, 99)).toThrow(expect.objectContaining({ errno: 93 }));
  });

  it("a closed socket takes no more", () => {
    const { open } = setUp();
    const socket = open();
    socket.close();
    socket.close();
    expect(() => socket.send(message(200, REQUEST, 1))).toThrow();
  });
});
