import { type ChildProcess, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { messagesOf } from "../../src/client/message.ts";
import { Requester } from "../../src/client/requester.ts";
import { type Client, connect, type SeqpacketSocket } from "../../src/client/seqpacket.ts";
import { Errno, NokmodError } from "../../src/core/errors.ts";
import { preloadEnvironment } from "../../src/exec/preload.ts";
import { native } from "../../src/native/addon.ts";
import { MessageWriter } from "../../src/netlink/writer.ts";
import {
  EADDRINUSE,
  EBADF,
  EINVAL,
  EMSGSIZE,
  ENOBUFS,
  ENODATA,
  ENOENT,
  EOPNOTSUPP,
  EPERM,
  EPROTO,
  EPROTONOSUPPORT,
} from "../../src/uapi/errno.ts";
import { NETLINK_EXT_ACK, NETLINK_GENERIC, NLM_F_ACK, NLM_F_REQUEST } from "../../src/uapi/netlink.ts";
import { forkScript, message, TemporaryDirectory } from "../support/child.ts";
import { Echo } from "../support/echo-protocol.ts";

const PYTHON = "/usr/bin/python3";
const CLIENT = fileURLToPath(new URL("../support/mailbox-client.py", import.meta.url));
const directory = new TemporaryDirectory();
const path = directory.file("run/nokmod.sock");
let server: ChildProcess;
let client: Client;
const open: SeqpacketSocket[] = [];

beforeAll(async () => {
  server = forkScript("./echo-server.ts", [path]);
  expect(await message(server)).toBe("ready");
  client = connect(path);
});

afterEach(() => {
  for (const socket of open.splice(0)) socket.close();
});

afterAll(async () => {
  client.close();
  const exit = once(server, "exit");
  server.send("stop");
  await exit;
  const left = existsSync(path);
  directory.dispose();
  expect(left).toBe(false);
});

interface Stats {
  connections: number;
  requests: number;
  posted: number;
  malformed: number;
  sockets: number;
  memory: number;
}

async function stats(): Promise<Stats> {
  const answer = message<Stats>(server);
  server.send("stats");
  return answer;
}

function openSocket(portId = 0): SeqpacketSocket {
  const socket = client.open(NETLINK_GENERIC, { portId });
  open.push(socket);
  return socket;
}

function datagram(type: number, seq: number, flags: number, ...payload: number[]): Uint8Array {
  const writer = new MessageWriter();
  const at = writer.beginMessage(type, flags | NLM_F_REQUEST, seq, 0);
  for (const value of payload) writer.rawU32(value);
  writer.endMessage(at);
  return writer.finish();
}

function receiveAll(socket: SeqpacketSocket): Uint8Array[] {
  const all: Uint8Array[] = [];
  for (let next = socket.receive(); next !== null; next = socket.receive()) all.push(next);
  return all;
}

function errnoOf(action: () => unknown): number {
  try {
    action();
  } catch (error) {
    if (error instanceof Errno) return error.errno;
    throw error;
  }
  return 0;
}

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof NokmodError) return error.code;
    throw error;
  }
  return "";
}

function u32(bytes: Uint8Array, at: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(at, true);
}

describe("a netlink socket in another process", () => {
  it("F-291: is synchronous: all answers to a datagram of several requests wait when send() returns", () => {
    const socket = openSocket();
    const three = Buffer.concat([
      datagram(Echo.Echo, 1, 0, 7),
      datagram(99, 2, 0),
      datagram(Echo.Echo, 3, NLM_F_ACK, 9),
    ]);
    socket.send(three);
    const seqs = receiveAll(socket).map((bytes) => u32(bytes, 8));
    expect(seqs).toEqual([1, 2, 3, 3]);
  });

  it("F-050, F-052: an error brings its extended ack to a requester that asked for it", () => {
    const requester = new Requester(openSocket());
    expect(() => requester.request(99, 0, () => {})).toThrow(expect.objectContaining({ errno: EOPNOTSUPP }));
  });

  it("answers 10 000 requests, each its own", () => {
    const requester = new Requester(openSocket());
    for (let i = 0; i < 10_000; i++) {
      const [reply] = requester.request(Echo.Echo, 0, (writer) => writer.rawU32(i));
      if (reply.view.getUint32(reply.payload, true) !== i) expect.fail(`request ${i} got another's answer`);
    }
  });

  it("carries the largest attribute both ways, and refuses one that no socket takes", () => {
    const requester = new Requester(openSocket());
    const big = new Uint8Array(65_528).fill(0xa5);
    const [reply] = requester.request(Echo.Echo, 0, (writer) => writer.raw(1, big));
    expect(reply.end - reply.payload).toBe(4 + big.length);
    expect(errnoOf(() => requester.socket.send(new Uint8Array(8 << 20)))).toBe(EMSGSIZE);
    expect(errnoOf(() => requester.socket.send(new Uint8Array(0)))).toBe(ENODATA);
    expect(requester.request(Echo.Echo, 0, (writer) => writer.rawU32(1))).toHaveLength(1);
  });
});

describe("port ids", () => {
  it("the first socket of a process gets its process id, the next one a number from the top half", () => {
    const first = openSocket();
    const second = openSocket();
    expect(first.portId).toBe(process.pid);
    expect(second.portId).toBeGreaterThanOrEqual(2 ** 31);
    expect(second.portId).toBeLessThan(2 ** 32 - 4096);
  });

  it("a wanted one is honoured, a taken one is EADDRINUSE, and close() frees it", async () => {
    const socket = openSocket(4711);
    expect(socket.portId).toBe(4711);
    expect(errnoOf(() => openSocket(4711))).toBe(EADDRINUSE);
    socket.close();
    await expect.poll(() => errnoOf(() => openSocket(4711))).toBe(0);
  });

  it("an unknown protocol is EPROTONOSUPPORT", () => {
    expect(errnoOf(() => client.open(31))).toBe(EPROTONOSUPPORT);
  });
});

describe("dumps", () => {
  it("F-034: never runs dry: 50 000 records arrive whole and in order over the default buffer", () => {
    const requester = new Requester(openSocket());
    let next = 0;
    for (const record of requester.dump(Echo.Dump, 0, (writer) => {
      writer.rawU32(50_000);
      writer.rawU32(120);
    })) {
      if (record.view.getUint32(record.payload, true) !== next++) expect.fail(`record ${next - 1} is out of order`);
    }
    expect(next).toBe(50_000);
  });

  it("other requests are answered while a dump is open, and a closed dump frees its socket", async () => {
    const dumping = new Requester(openSocket());
    const records = dumping.dump(Echo.Dump, 0, (writer) => {
      writer.rawU32(1_000_000);
      writer.rawU32(64);
    });
    expect(records.next().done).toBe(false);
    const other = new Requester(openSocket());
    expect(other.request(Echo.Echo, 0, (writer) => writer.rawU32(5))).toHaveLength(1);
    const { sockets } = await stats();
    dumping.socket.close();
    await expect.poll(async () => (await stats()).sockets).toBe(sockets - 1);
  });

  it("is pushed to a reader that only polls", async () => {
    const socket = openSocket();
    let records = 0;
    const done = new Promise<void>((resolve) => {
      socket.onReadable = () => {
        for (let bytes = socket.receive(); bytes !== null; bytes = socket.receive()) {
          for (const one of messagesOf(bytes)) {
            if (one.type === 3) resolve();
            else records++;
          }
        }
      };
    });
    socket.send(datagram(Echo.Dump, 1, 0x300, 5_000, 100));
    await done;
    expect(records).toBe(5_000);
  });
});

describe("back-pressure", () => {
  it("a reader that never reads loses its own messages, ENOBUFS tells it once, and nobody else notices", async () => {
    const deaf = openSocket();
    deaf.join(5);
    const listening = openSocket();
    listening.join(5);
    const sender = new Requester(openSocket());
    const heard: number[] = [];
    for (let round = 0; round < 20; round++) {
      sender.request(Echo.Multicast, 0, (writer) => {
        writer.rawU32(5);
        writer.rawU32(50);
        writer.rawU32(1500);
      });
      for (const bytes of receiveAll(listening)) heard.push(u32(bytes, 16));
    }
    expect(heard).toHaveLength(1000);
    let taken = 0;
    const drain = (): number =>
      errnoOf(() => {
        while (deaf.receive() !== null) taken++;
      });
    // What was queued comes first; the mark that something is missing follows as soon as the queue is empty.
    await expect.poll(drain).toBe(ENOBUFS);
    expect(taken).toBeGreaterThan(50);
    expect(taken).toBeLessThan(250);
    expect(deaf.receive()).toBeNull();
    // It hears again.
    sender.request(Echo.Multicast, 0, (writer) => {
      writer.rawU32(5);
      writer.rawU32(1);
      writer.rawU32(8);
    });
    expect(receiveAll(deaf)).toHaveLength(1);
  });

  it("a larger SO_RCVBUF holds more", () => {
    const deaf = openSocket();
    deaf.setReceiveBuffer(4 << 20);
    const sender = new Requester(openSocket());
    const [reply] = sender.request(Echo.Unicast, 0, (writer) => {
      writer.rawU32(deaf.portId);
      writer.rawU32(5000);
      writer.rawU32(1532);
    });
    const delivered = reply.view.getUint32(reply.payload, true);
    expect(delivered).toBeGreaterThan(3000);
    expect(delivered).toBeLessThan(4000);
  });

  it("lost messages do not make the server grow", async () => {
    const deaf = openSocket();
    const sender = new Requester(openSocket());
    const burst = (): void => {
      sender.request(Echo.Unicast, 0, (writer) => {
        writer.rawU32(deaf.portId);
        writer.rawU32(20_000);
        writer.rawU32(1500);
      });
    };
    burst();
    const before = (await stats()).memory;
    // 300 MB that nobody reads.
    for (let i = 0; i < 10; i++) burst();
    expect((await stats()).memory - before).toBeLessThan(128 << 20);
  });
});

describe("groups", () => {
  it("join() and leave() take effect at once; group 0 and one too high are EINVAL", () => {
    const member = openSocket();
    const sender = new Requester(openSocket());
    const multicast = (): void => {
      sender.request(Echo.Multicast, 0, (writer) => {
        writer.rawU32(33);
        writer.rawU32(1);
        writer.rawU32(4);
      });
    };
    multicast();
    expect(receiveAll(member)).toHaveLength(0);
    member.join(33);
    multicast();
    expect(receiveAll(member)).toHaveLength(1);
    member.leave(33);
    multicast();
    expect(receiveAll(member)).toHaveLength(0);
    expect(errnoOf(() => member.join(0))).toBe(EINVAL);
    expect(errnoOf(() => member.join(65))).toBe(EINVAL);
  });

  it("onReadable is called for what comes by itself", async () => {
    const member = openSocket();
    member.join(7);
    const readable = new Promise<number>((resolve) => {
      member.onReadable = () => resolve(receiveAll(member).length);
    });
    new Requester(openSocket()).request(Echo.Multicast, 0, (writer) => {
      writer.rawU32(7);
      writer.rawU32(3);
      writer.rawU32(4);
    });
    expect(await readable).toBeGreaterThan(0);
  });
});

/** Where there is one processor, both ends sleep. */
describe.skipIf(availableParallelism() === 1)("the mailbox", () => {
  const seed = Number(process.env.SEED ?? Math.trunc(Math.random() * 2 ** 31));

  it(`requests that follow closely are answered in place; nonsense in it harms nobody (seed ${seed})`, async () => {
    const before = await stats();
    const { stdout, stderr, status } = spawnSync(PYTHON, [CLIENT, path, String(server.pid), String(seed)], {
      encoding: "utf8",
      timeout: 50_000,
    });
    expect(status, stderr).toBe(0);
    const [FREE, AWAITED, ANSWERED] = [0, 3, 4];
    expect(JSON.parse(stdout)).toEqual({
      "descriptors unless asked for": 0,
      bytes: 65_536,
      sealed: true,
      "cut off": false,
      "looks at first": 0,
      answers: [[ANSWERED, EBADF]],
      "not posted": AWAITED,
      awaited: [0, FREE],
      "wrong lengths": [EBADF, EINVAL],
    });
    const after = await stats();
    expect(after.posted - before.posted).toBeGreaterThan(100);
    expect(after.malformed).toBeGreaterThan(before.malformed);
    const socket = openSocket();
    socket.send(datagram(Echo.Echo, 5, 0, 7));
    expect(receiveAll(socket)).toHaveLength(1);
  });

  it("programs under the library post theirs", async () => {
    const before = (await stats()).posted;
    // Nothing else in front of the C library: a sanitizer wants to be the first.
    const env = preloadEnvironment(path, {});
    const { stdout, stderr, status } = spawnSync(PYTHON, ["-c", ECHOES, String(server.pid), "20000"], {
      encoding: "utf8",
      env,
      timeout: 50_000,
    });
    expect(status, stderr).toBe(0);
    expect(stdout).toBe("20000 right\n");
    expect((await stats()).posted - before).toBeGreaterThan(0);
  });
});

/** Requests of 20 to 70,000 bytes, each with its own answer; not from the server's processor. */
const ECHOES = `
import os, socket, struct, sys
server, requests = int(sys.argv[1]), int(sys.argv[2])
processors = sorted(os.sched_getaffinity(0))
os.sched_setaffinity(server, processors[:1])
os.sched_setaffinity(0, processors[1:])
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
s.bind((0, 0))
right = 0
for i in range(requests):
    payload = struct.pack("II", 0, i) + bytes(70000 if i % 1000 == 0 else i % 3000 if i % 100 == 0 else 0)
    s.send(struct.pack("IHHII", 16 + len(payload), 16, 1, i, 0) + payload)
    answer = s.recv(131072, socket.MSG_DONTWAIT)
    right += answer[8:12] == struct.pack("I", i) and answer[16:] == payload
print(right, "right")
os.sched_setaffinity(server, processors)
`;

describe("bad input", () => {
  interface RawClient {
    request(header: Uint8Array, payload: Uint8Array | undefined, answer: Uint8Array, timeout: number): number;
    receive(buffer: Uint8Array): number;
    close(): void;
  }
  interface Addon {
    SeqpacketClient: new (path: string) => RawClient;
  }
  const dial = (): RawClient => new (native<Addon>().SeqpacketClient)(path);
  const words = (...values: number[]): Uint8Array => new Uint8Array(Uint32Array.from(values).buffer);
  const HELLO = (kind: number, version = 1): Uint8Array => words(0x314d4b4e, version | (kind << 16), 16, 1, 0, 0, 0, 0);
  const answer = new Uint8Array(16);
  const ask = (raw: RawClient, bytes: Uint8Array): number => {
    const length = raw.request(bytes, undefined, answer, 5000);
    return length === 16 ? u32(answer, 0) : length === 0 ? -1 : length;
  };

  it("a connection that starts with anything but a hello is answered EPROTO and closed", async () => {
    for (const bytes of [
      new Uint8Array(1),
      new Uint8Array(31),
      new Uint8Array(32).fill(255),
      new Uint8Array(100_000),
    ]) {
      const raw = dial();
      expect(ask(raw, bytes)).toBe(EPROTO);
      await expect.poll(() => raw.receive(answer)).toBe(0);
      raw.close();
    }
  });

  it("a hello of another version is EPROTONOSUPPORT, of another kind EPROTO", () => {
    const newer = dial();
    expect(ask(newer, HELLO(0, 2))).toBe(EPROTONOSUPPORT);
    newer.close();
    const other = dial();
    expect(ask(other, HELLO(2))).toBe(EPROTO);
    other.close();
  });

  it("short, over-long, unknown and strayed requests get an errno; the control channel lives on", () => {
    const raw = dial();
    expect(ask(raw, HELLO(0))).toBe(0);
    expect(ask(raw, new Uint8Array(23))).toBe(EINVAL);
    expect(ask(raw, words(1, 1, 2, 0, 0, 0))).toBe(EBADF);
    expect(ask(raw, words(8, 1, 2, 0, 0, 0))).toBe(ENOENT);
    const socket = openSocket() as unknown as { idLow: number; idHigh: number };
    expect(ask(raw, words(77, socket.idLow, socket.idHigh, 0, 0, 0))).toBe(EOPNOTSUPP);
    expect(ask(raw, words(1, socket.idLow, socket.idHigh + 1, 0, 0, 0))).toBe(EBADF);
    expect(ask(raw, words(6, socket.idLow, socket.idHigh, NETLINK_EXT_ACK, 1, 0))).toBe(0);
    raw.close();
  });

  it("what is written to a data channel is carried out, with no answer but the replies; garbage is nothing", () => {
    const raw = dial();
    expect(ask(raw, HELLO(1))).toBe(0);
    expect(raw.request(new Uint8Array(500).fill(7), undefined, answer, 50)).toBe(-11);
    const reply = new Uint8Array(64);
    expect(raw.request(datagram(Echo.Echo, 77, 0, 4711), undefined, reply, 5000)).toBe(20);
    expect([u32(reply, 8), u32(reply, 16)]).toEqual([77, 4711]);
    raw.close();
  });

  it("garbage datagrams leave the socket as it was", () => {
    const socket = openSocket();
    for (const bytes of [new Uint8Array(1), new Uint8Array(15).fill(255), new Uint8Array(4000).fill(255)])
      socket.send(bytes);
    receiveAll(socket);
    const requester = new Requester(socket);
    expect(requester.request(Echo.Echo, 0, (writer) => writer.rawU32(1))).toHaveLength(1);
  });
});

describe("life and death", () => {
  it("a second server on the path is refused with ERR_ADDRESS_IN_USE, and the first serves on", async () => {
    const second = forkScript("./echo-server.ts", [path]);
    expect(await message(second)).toMatchObject({ error: { code: "ERR_ADDRESS_IN_USE" } });
    expect(new Requester(openSocket()).request(Echo.Echo, 0, (writer) => writer.rawU32(1))).toHaveLength(1);
  });

  it("the path of a killed server is taken over; its clients are told ERR_CONNECTION_LOST", async () => {
    const other = directory.file("other.sock");
    const first = forkScript("./echo-server.ts", [other]);
    expect(await message(first)).toBe("ready");
    const orphan = connect(other);
    const socket = orphan.open(NETLINK_GENERIC);
    const exit = once(first, "exit");
    first.kill("SIGKILL");
    await exit;
    expect(existsSync(other)).toBe(true);
    expect(codeOf(() => socket.receive())).toBe("ERR_CONNECTION_LOST");
    expect(codeOf(() => socket.send(datagram(Echo.Echo, 1, 0)))).toBe("ERR_CONNECTION_LOST");
    socket.close();
    const second = forkScript("./echo-server.ts", [other]);
    expect(await message(second)).toBe("ready");
    const again = connect(other);
    expect(again.open(NETLINK_GENERIC).portId).toBe(process.pid);
    again.close();
    const ended = once(second, "exit");
    second.send("stop");
    await ended;
  });

  it("no server is ERR_CONNECT; a path that is a file is left alone", async () => {
    expect(codeOf(() => connect(directory.file("nobody.sock")))).toBe("ERR_CONNECT");
    expect(codeOf(() => connect(`/tmp/${"x".repeat(200)}`))).toBe("ERR_CONNECT");
    const file = directory.file("file");
    writeFileSync(file, "mine");
    const child = forkScript("./echo-server.ts", [file]);
    expect(await message(child)).toMatchObject({ error: { code: "ERR_SOCKET_PATH" } });
    expect(existsSync(file)).toBe(true);
  });

  it("a client killed in the middle of a dump and of multicasts takes nothing with it", async () => {
    const before = (await stats()).sockets;
    const child = forkScript("./busy-client.ts", [path]);
    const portId = await message<number>(child);
    expect(errnoOf(() => openSocket(portId))).toBe(EADDRINUSE);
    const exit = once(child, "exit");
    child.kill("SIGKILL");
    await exit;
    await expect.poll(async () => (await stats()).sockets).toBe(before);
    expect(openSocket(portId).portId).toBe(portId);
  });

  it("F-027: a client without CAP_NET_ADMIN gets EPERM where privilege is asked for, and only there", async () => {
    const child = forkScript("./plain-client.ts", [path], { uid: 65534, gid: 65534 });
    expect(await message(child)).toEqual({ privileged: EPERM, echo: 0, force: EPERM });
    const requester = new Requester(openSocket());
    expect(errnoOf(() => requester.request(Echo.Privileged, 0, () => {}))).toBe(0);
  });
});
