import { describe, expect, it } from "vitest";
import { Errno } from "../../src/core/errors.ts";
import { RecordSender } from "../../src/server/record-sender.ts";
import { SendQueue } from "../../src/server/send-queue.ts";
import type { ServerSocket } from "../../src/server/server-socket.ts";
import { EINVAL, EIO } from "../../src/uapi/errno.ts";

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** A socket whose messages are one byte each: `seen` gets them. 0xff throws an Errno, 0xfe something else. */
function byteSocket(name: string, seen: string[], sender?: RecordSender): ServerSocket {
  const socket: Pick<ServerSocket, "host" | "send"> = {
    host: {} as ServerSocket["host"],
    send(bytes, start, end, _receiveLength, mayContinue) {
      let at = start;
      while (at < end) {
        const byte = bytes[at++];
        if (byte === 0xff) throw new Errno(EINVAL);
        if (byte === 0xfe) throw new TypeError("a fault");
        seen.push(`${name}${byte}${sender === undefined ? "" : sender.privileged ? "+" : "-"}`);
        if (!mayContinue()) break;
      }
      return at;
    },
  };
  return socket as ServerSocket;
}

describe("SendQueue", () => {
  const privileged = new RecordSender(() => {
    throw new Error("not asked for");
  });

  /** A queue that executes one message in each slice. */
  function oneByOne(onFault: (error: unknown) => void = () => {}): SendQueue {
    return new SendQueue(privileged, onFault, 0);
  }

  it("a datagram that fits a slice is executed at once; no copy waits", () => {
    const seen: string[] = [];
    const queue = new SendQueue(privileged, () => {}, Number.POSITIVE_INFINITY);
    const socket = byteSocket("a", seen);
    expect(queue.send(socket, Uint8Array.of(9, 1, 2, 3, 9), 1, 4, 0, () => seen.push("late"))).toBe(0);
    expect(seen).toEqual(["a1", "a2", "a3"]);
    expect(queue.isBusy(socket)).toBe(false);
  });

  it("long ones take turns; each is answered after its last message; the lent bytes may change", async () => {
    const seen: string[] = [];
    const queue = oneByOne();
    const [a, b] = [byteSocket("a", seen), byteSocket("b", seen)];
    const input = Uint8Array.of(1, 2, 3, 4);
    expect(queue.send(a, input, 0, 4, 0, (errno) => seen.push(`a done ${errno}`))).toBeUndefined();
    input.set([5, 6, 7, 8]);
    expect(queue.send(b, input, 0, 3, 0, (errno) => seen.push(`b done ${errno}`))).toBeUndefined();
    input.fill(0);
    expect(seen).toEqual(["a1", "b5"]);
    while (queue.isBusy(a) || queue.isBusy(b)) await turn();
    expect(seen).toEqual(["a1", "b5", "a2", "b6", "a3", "b7", "b done 0", "a4", "a done 0"]);
  });

  it("others have the event loop between two slices", async () => {
    const seen: string[] = [];
    const queue = oneByOne();
    queue.send(byteSocket("a", seen), Uint8Array.of(1, 2, 3), 0, 3, 0, () => seen.push("done"));
    await turn();
    seen.push("another");
    await turn();
    expect(seen).toEqual(["a1", "a2", "another", "a3", "done"]);
  });

  it("two datagrams to one socket keep their order", async () => {
    const seen: string[] = [];
    const queue = oneByOne();
    const a = byteSocket("a", seen);
    queue.send(a, Uint8Array.of(1, 2), 0, 2, 0, () => seen.push("first"));
    expect(queue.send(a, Uint8Array.of(3), 0, 1, 0, () => seen.push("second"))).toBeUndefined();
    while (queue.isBusy(a)) await turn();
    expect(seen).toEqual(["a1", "a2", "first", "a3", "second"]);
  });

  it("an errno ends a datagram, early or late; anything else is EIO and told", async () => {
    const faults: unknown[] = [];
    const queue = oneByOne((error) => faults.push(error));
    const a = byteSocket("a", []);
    expect(queue.send(a, Uint8Array.of(0xff, 1), 0, 2, 0, () => {})).toBe(EINVAL);
    expect(queue.send(a, Uint8Array.of(0xfe, 1), 0, 2, 0, () => {})).toBe(EIO);
    expect(faults).toEqual([new TypeError("a fault")]);
    const late: number[] = [];
    queue.send(a, Uint8Array.of(1, 0xff, 2), 0, 3, 0, (errno) => late.push(errno));
    while (queue.isBusy(a)) await turn();
    expect(late).toEqual([EINVAL]);
  });

  it("what the sender was when it sent holds to the end; afterwards nobody is privileged", async () => {
    let asked = 0;
    const sender = new RecordSender(() => ({ senderPrivileged: () => ++asked === 1 }) as never);
    const queue = new SendQueue(sender, () => {}, 0);
    const seen: string[] = [];
    const [a, b] = [byteSocket("a", seen, sender), byteSocket("b", seen, sender)];
    sender.begin(true);
    queue.send(a, Uint8Array.of(1, 2), 0, 2, 0, () => {});
    sender.begin(false);
    queue.send(b, Uint8Array.of(1, 2), 0, 2, 0, () => {});
    sender.end();
    while (queue.isBusy(a) || queue.isBusy(b)) await turn();
    expect(seen).toEqual(["a1+", "b1-", "a2+", "b2-"]);
    expect(asked).toBe(1);
    expect(sender.privileged).toBe(false);
  });

  it("whenIdle() waits for all of a socket's; finish() executes everything now", async () => {
    const seen: string[] = [];
    const queue = oneByOne();
    const a = byteSocket("a", seen);
    queue.whenIdle(a, () => seen.push("idle"));
    queue.send(a, Uint8Array.of(1, 2), 0, 2, 0, () => seen.push("first"));
    queue.send(a, Uint8Array.of(3, 4), 0, 2, 0, () => seen.push("second"));
    queue.whenIdle(a, () => seen.push("closed"));
    queue.finish();
    expect(seen).toEqual(["idle", "a1", "a2", "first", "a3", "a4", "second", "closed"]);
    await turn();
    expect(seen.length).toBe(8);
  });
});
