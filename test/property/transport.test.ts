import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { errorOf, messagesOf } from "../../src/client/message.ts";
import { SeededRandom } from "../../src/core/random.ts";
import { native } from "../../src/native/addon.ts";
import { NetlinkBus } from "../../src/netlink/bus.ts";
import { defaultSocketPath } from "../../src/netlink/transport.ts";
import { MessageWriter } from "../../src/netlink/writer.ts";
import { NetlinkServer } from "../../src/server/index.ts";
import { NETLINK_GENERIC, NLMSG_ERROR } from "../../src/uapi/netlink.ts";
import { TemporaryDirectory } from "../support/child.ts";
import { EchoProtocol } from "../support/echo-protocol.ts";

interface RawClient {
  receive(buffer: Uint8Array): number;
  /** With a timeout of 1 ms: sends and does not wait, for the server is in this thread. */
  request(header: Uint8Array, payload: Uint8Array | undefined, answer: Uint8Array, timeout: number): number;
  close(): void;
}
const { SeqpacketClient } = native<{ SeqpacketClient: new (path: string) => RawClient }>();

const directory = new TemporaryDirectory();
const bus = new NetlinkBus(new SeededRandom(7));
const faults: unknown[] = [];
bus.onFault = (error) => faults.push(error);
bus.register(NETLINK_GENERIC, new EchoProtocol());
const server = new NetlinkServer({ bus }, { path: directory.file("fuzz.sock"), random: new SeededRandom(3) });
afterAll(() => {
  server.close();
  directory.dispose();
});

const EAGAIN = 11;
const answer = new Uint8Array(65_536);

/** Sends a packet, lets the server work, and takes what came: lengths, 0 at the end of the connection. */
async function tell(client: RawClient, packet: Uint8Array): Promise<number[]> {
  const first = client.request(packet, undefined, answer, 1);
  const lengths: number[] = first === -EAGAIN ? [] : [first];
  // A connection is accepted in one turn of the loop and read in the next.
  for (let turn = 0; turn < 20 && lengths.length === 0; turn++) {
    await new Promise((resolve) => setImmediate(resolve));
    for (let length = client.receive(answer); length >= 0; length = client.receive(answer)) {
      lengths.push(length);
      if (length === 0) break;
    }
  }
  return lengths;
}

const words = (...values: number[]): Uint8Array => new Uint8Array(Uint32Array.from(values).buffer);
const hello = (kind: number): Uint8Array => words(0x314d4b4e, 1 | (kind << 16), NETLINK_GENERIC, 1, 0, 0, 4096, 0);

const anyPacket = fc.oneof(
  fc.uint8Array({ minLength: 1, maxLength: 200 }),
  // Requests that are nearly right: a known operation, small arguments.
  fc
    .tuple(fc.integer({ min: 0, max: 12 }), fc.array(fc.integer({ min: 0, max: 70 }), { maxLength: 12 }))
    .map(([op, rest]) => words(op, ...rest)),
);

describe("the transport's framing", () => {
  it("any sequence of packets on a fresh connection: every one is answered with 16 bytes or the connection ends", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyPacket, { minLength: 1, maxLength: 6 }), fc.boolean(), async (packets, greeted) => {
        const client = new SeqpacketClient(server.path);
        try {
          if (greeted) expect(await tell(client, hello(0))).toEqual([16]);
          for (const packet of packets) {
            const lengths = await tell(client, packet);
            expect([[16], [16, 0], [0], [-32]]).toContainEqual(lengths);
            if (lengths.at(-1) !== 16) break;
          }
        } finally {
          client.close();
        }
        expect(faults).toEqual([]);
      }),
      { numRuns: 100 },
    );
  });

  it("any requests for a socket of one's own: one answer each on the control channel", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.tuple(
            fc.integer({ min: 0, max: 12 }),
            fc.oneof(fc.integer({ min: 0, max: 70 }), fc.nat(0xffff_ffff)),
            fc.oneof(fc.integer({ min: 0, max: 2 }), fc.nat(0xffff_ffff)),
            fc.uint8Array({ maxLength: 100 }),
          ),
          { maxLength: 8 },
        ),
        async (requests) => {
          const data = new SeqpacketClient(server.path);
          const control = new SeqpacketClient(server.path);
          try {
            expect(await tell(data, hello(1))).toEqual([16]);
            const fields = new DataView(answer.buffer);
            const low = fields.getUint32(8, true);
            const high = fields.getUint32(12, true);
            await tell(control, hello(0));
            for (const [op, a, b, payload] of requests) {
              const packet = new Uint8Array(24 + payload.length);
              packet.set(words(op, low, high, a, b, 0));
              packet.set(payload, 24);
              expect(await tell(control, packet)).toEqual([16]);
            }
          } finally {
            data.close();
            control.close();
          }
          expect(faults).toEqual([]);
        },
      ),
      { numRuns: 60 },
    );
  });

  it("afterwards nothing is left open", async () => {
    await expect.poll(() => server.size).toBe(0);
  });
});

describe("datagrams", () => {
  const message = fc.tuple(fc.integer({ min: 16, max: 0xffff }), fc.nat(0xffff_ffff), fc.uint8Array({ maxLength: 40 }));

  it("messages written one after the other are read back as they were", () => {
    fc.assert(
      fc.property(fc.array(message, { maxLength: 8 }), (messages) => {
        const writer = new MessageWriter();
        for (const [type, seq, payload] of messages) {
          writer.reserve(-writer.length & 3);
          const at = writer.beginMessage(type, 0, seq, 0);
          writer.bytes.set(payload, writer.reserve(payload.length));
          writer.endMessage(at);
        }
        const read = [...messagesOf(writer.finish())].map(
          (one) => [one.type, one.seq, new Uint8Array(one.view.buffer, one.payload, one.end - one.payload)] as const,
        );
        expect(read).toEqual(messages);
      }),
    );
  });

  it("no bytes make the readers leave the datagram", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(300), (bytes, length) => {
        if (bytes.length >= 16) {
          const view = new DataView(bytes.buffer);
          view.setUint32(0, length, true);
          view.setUint16(4, NLMSG_ERROR, true);
        }
        for (const one of messagesOf(bytes)) {
          expect(one.end).toBeLessThanOrEqual(bytes.length);
          errorOf(one);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe("the default path", () => {
  it("is $NOKMOD_SOCKET, root's in /run, else the user's own", () => {
    expect(defaultSocketPath({ NOKMOD_SOCKET: "/x/y" }, 0)).toBe("/x/y");
    expect(defaultSocketPath({}, 0)).toBe("/run/nokmod/nokmod.sock");
    expect(defaultSocketPath({ XDG_RUNTIME_DIR: "/run/user/7" }, 7)).toBe("/run/user/7/nokmod.sock");
    expect(defaultSocketPath({}, 7)).toBe("/tmp/nokmod-7/nokmod.sock");
  });
});
