/**
 * Whatever bytes a client sends, the kernel side answers each request as the protocol says, nobody else notices, and no
 * fault of its own comes to light.
 */
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, it } from "vitest";
import { PacketMemory } from "../../src/packet/memory.ts";
import { MemoryPorts } from "../../src/port/memory/ports.ts";
import { NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR } from "../../src/uapi/netlink.ts";
import { messagesIn, type TestClient, TestKernel } from "../support/kernel.ts";

const RUNS = 420;
const MESSAGES = 250;

const FAMILIES = ["ovs_datapath", "ovs_vport", "ovs_flow", "ovs_packet", "ovs_meter", "ovs_ct_limit"];
const DATAPATH = 50;

const recording = JSON.parse(readFileSync(new URL("../fixtures/vswitchd-6.12.json", import.meta.url), "utf8")) as {
  families: Record<string, number>;
  transactions: { request: string }[];
};

/** Requests that are valid, split into messages, with this kernel's family numbers and datapath. */
const VALID: Uint8Array[] = recording.transactions.flatMap(({ request }) => {
  const bytes = new Uint8Array(Buffer.from(request, "hex"));
  return messagesIn(bytes).map((message) => {
    const { view } = message;
    const name = Object.entries(recording.families).find(([, id]) => id === message.type)?.[0];
    view.setUint16(4, name === undefined ? 16 : 19 + FAMILIES.indexOf(name), true);
    if (name !== undefined && message.bytes.length >= 24 && view.getInt32(20, true) !== 0)
      view.setInt32(20, DATAPATH, true);
    return message.bytes;
  });
});

function attribute(type: number, payload: Uint8Array, lie: number): Uint8Array {
  const bytes = new Uint8Array(4 + ((payload.length + 3) & ~3));
  const view = new DataView(bytes.buffer);
  view.setUint16(0, Math.max(0, 4 + payload.length + lie), true);
  view.setUint16(2, type, true);
  bytes.set(payload, 4);
  return bytes;
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

const number = (value: number): Uint8Array => new Uint8Array(new Uint32Array([value]).buffer);
const leaf = fc.oneof(
  { weight: 3, arbitrary: fc.uint8Array({ maxLength: 24 }) },
  { weight: 3, arbitrary: fc.nat(8).map(number) },
  { weight: 1, arbitrary: fc.integer().map(number) },
  {
    weight: 1,
    arbitrary: fc.constantFrom("dp", "p1", "p2", "eth1", "eth2", "br%d", "").map((name) => Buffer.from(`${name}\0`)),
  },
  { weight: 1, arbitrary: fc.constant(new Uint8Array(0)) },
);
const typeNumber = fc.oneof({ weight: 8, arbitrary: fc.nat(33) }, { weight: 1, arbitrary: fc.nat(0xffff) });
const lie = fc.oneof(
  { weight: 12, arbitrary: fc.constant(0) },
  { weight: 1, arbitrary: fc.integer({ min: -9, max: 40 }) },
);
const nest = (inner: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Uint8Array> =>
  fc
    .array(
      fc.tuple(typeNumber, inner, lie).map((parts) => attribute(...parts)),
      { maxLength: 4 },
    )
    .map(join);
const payload = fc.oneof(
  { weight: 3, arbitrary: leaf },
  { weight: 1, arbitrary: nest(leaf) },
  { weight: 1, arbitrary: nest(nest(leaf)) },
);
const attributes = fc
  .array(
    fc.tuple(fc.oneof({ weight: 9, arbitrary: fc.nat(13) }, typeNumber), payload, lie).map((p) => attribute(...p)),
    { maxLength: 6 },
  )
  .map(join);

/** Built from parts that all make some sense. */
const structured = fc
  .record({
    type: fc.oneof(
      { weight: 12, arbitrary: fc.integer({ min: 16, max: 25 }) },
      { weight: 1, arbitrary: fc.nat(0xffff) },
    ),
    flags: fc.oneof(fc.constantFrom(0, 8, 0x300, 0x400, 0x200), fc.nat(0xffff)),
    cmd: fc.oneof({ weight: 9, arbitrary: fc.nat(5) }, { weight: 1, arbitrary: fc.nat(255) }),
    version: fc.nat(3),
    reserved: fc.constantFrom(0, 0, 0, 1),
    ifindex: fc.constantFrom(DATAPATH, DATAPATH, DATAPATH, 0, -1, 77),
    body: attributes,
  })
  .map(({ type, flags, cmd, version, reserved, ifindex, body }) => {
    const bytes = new Uint8Array(24 + body.length);
    const view = new DataView(bytes.buffer);
    view.setUint16(4, type, true);
    view.setUint16(6, flags, true);
    view.setUint8(16, cmd);
    view.setUint8(17, version);
    view.setUint16(18, reserved, true);
    view.setInt32(20, ifindex, true);
    bytes.set(body, 24);
    return bytes;
  });

/** A valid request with bytes changed, cut off or added. */
const mutated = fc
  .record({
    base: fc.nat(VALID.length - 1),
    changes: fc.array(fc.tuple(fc.nat(0xffff), fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 4, 8, 255))), {
      maxLength: 4,
    }),
    cut: fc.oneof({ weight: 5, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(30) }),
    more: fc.oneof(
      { weight: 5, arbitrary: fc.constant(new Uint8Array(0)) },
      { weight: 1, arbitrary: fc.uint8Array({ maxLength: 9 }) },
    ),
  })
  .map(({ base, changes, cut, more }) => {
    const from = VALID[base];
    const bytes = join([from.subarray(0, Math.max(20, from.length - cut)), more]);
    for (const [at, value] of changes) bytes[16 + (at % (bytes.length - 16))] = value;
    return bytes;
  });

interface Sent {
  readonly bytes: Uint8Array;
  /** Added to nlmsg_len: short and over-long messages. */
  readonly lie: number;
  readonly request: boolean;
  readonly ack: boolean;
}

const message: fc.Arbitrary<Sent> = fc.record({
  bytes: fc.oneof(
    { weight: 5, arbitrary: structured },
    { weight: 6, arbitrary: mutated },
    { weight: 1, arbitrary: fc.uint8Array({ minLength: 16, maxLength: 60 }) },
  ),
  lie: fc.oneof({ weight: 20, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.integer({ min: -40, max: 40 }) }),
  request: fc.oneof({ weight: 20, arbitrary: fc.constant(true) }, { weight: 1, arbitrary: fc.boolean() }),
  ack: fc.boolean(),
});

let seq = 0;

/** Sends one message by itself and holds the answer to the rules of netlink_rcv_skb(). */
function check(client: TestClient, { bytes, lie: off, request, ack }: Sent): void {
  const datagram = bytes.slice();
  const view = new DataView(datagram.buffer);
  const length = Math.max(0, datagram.length + off);
  seq++;
  view.setUint32(0, length, true);
  let flags = view.getUint16(6, true) & ~(NLM_F_REQUEST | NLM_F_ACK);
  if (request) flags |= NLM_F_REQUEST;
  if (ack) flags |= NLM_F_ACK;
  view.setUint16(6, flags, true);
  view.setUint32(8, seq, true);
  const type = view.getUint16(4, true);

  client.socket.send(datagram);
  const answers = client.drain();
  const errors = answers.filter((answer) => answer.type === NLMSG_ERROR);
  const dones = answers.filter((answer) => answer.type === NLMSG_DONE);
  for (const answer of answers) if (answer.seq !== seq) throw new Error(`answer to ${answer.seq}, not ${seq}`);
  if (length < 16 || length > datagram.length) {
    // Not a message: silence. What is left over is not one either.
    if (answers.length !== 0) throw new Error("an answer to no message");
    return;
  }
  if (!request || type < 16) {
    if (answers.length !== (ack ? 1 : 0)) throw new Error("control messages are acknowledged and no more");
    return;
  }
  if (errors.length + dones.length > 1) throw new Error("more than one end");
  if (dones.length === 1) {
    if ((flags & NLM_F_DUMP) !== NLM_F_DUMP) throw new Error("a dump that was not asked for");
    return;
  }
  if (ack && errors.length !== 1) throw new Error("no ACK");
  if (!ack && errors.length === 1 && errors[0].errno === 0) throw new Error("an ACK that was not asked for");
  if (errors[0] !== undefined && (errors[0].errno < 0 || errors[0].errno > 133)) throw new Error("no errno");
}

it(`F-022 to F-056, F-291: ${RUNS * MESSAGES} generated messages are answered by the rules and disturb nobody`, {
  timeout: 120_000,
}, () => {
  const memory = new PacketMemory();
  let sent = 0;
  fc.assert(
    fc.property(fc.array(message, { minLength: MESSAGES, maxLength: MESSAGES }), (messages) => {
      const test = new TestKernel({ ports: new MemoryPorts(memory) });
      const owner = test.client();
      const bystander = test.client();
      const listener = test.client({ privileged: false });
      for (const family of FAMILIES.slice(0, 3)) listener.socket.join(test.group(family));
      test.device("eth1");
      test.device("eth2");
      const attributesOf = { attributes: setUp };
      owner.ack({ family: "ovs_datapath", cmd: 1, ...attributesOf });
      listener.drain();
      for (const one of messages) {
        check(owner, one);
        sent++;
        // Messages that hit remove the datapath now and then; those that follow are to find one.
        if (test.kernel.datapaths.byIfindex(DATAPATH) === undefined) {
          for (const datapath of [...test.kernel.datapaths.list]) test.kernel.datapaths.destroy(datapath);
          owner.ack({ family: "ovs_datapath", cmd: 1, ...attributesOf });
        }
      }
      if (test.faults.length !== 0) throw test.faults[0];
      // Others: no stray datagram, and still served.
      if (bystander.drain().length !== 0) throw new Error("a bystander got something");
      for (const notice of listener.drain()) {
        if (notice.type < 16 || (notice.flags !== 0 && notice.pid !== 0)) throw new Error("not a notification");
      }
      if (bystander.errno({ family: "nlctrl", cmd: 3, attributes: (w) => w.string(2, "ovs_flow") }) !== 0)
        throw new Error("a bystander is not served");
      test.kernel.shutdown();
    }),
    { numRuns: RUNS, seed: 1 },
  );
  expect(sent).toBeGreaterThanOrEqual(RUNS * MESSAGES);
});

function setUp(writer: import("../../src/netlink/writer.ts").MessageWriter): void {
  writer.string(1, "dp");
  writer.u32(2, 0);
  writer.u32(9, DATAPATH);
}
