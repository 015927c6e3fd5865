/**
 * What ovs-vswitchd 3.1.0 and ovs-dpctl asked the real module (Linux 6.12), and its answers: every feature probe, then
 * bridges, ports, meters, connection limits, flows and dumps. The same requests, in the same order, are put to nokmod.
 */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { type MemoryPort, MemoryPorts } from "../../src/port/memory/ports.ts";
import { datapathAttributes, vportAttributes } from "../../src/schema/openvswitch.ts";
import { comparable, setFor } from "../support/compare.ts";
import { messagesIn, type Reply, TestKernel } from "../support/kernel.ts";
import { rowsOfCases } from "../support/rows.ts";

interface Recording {
  families: Record<string, number>;
  transactions: { request: string; replies: string[] }[];
}

const recording = JSON.parse(
  readFileSync(new URL("../fixtures/vswitchd-6.12.json", import.meta.url), "utf8"),
) as Recording;

const unhex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "hex"));

const families = new Map(Object.entries(recording.families).map(([name, id]) => [id, name]));
families.set(16, "nlctrl");
const theirs = (id: number): string => families.get(id) ?? "";

/** Gives internal devices the ifindexes that they had on the recorded machine. */
class RecordedPorts extends MemoryPorts {
  private readonly known = new Map<string, number>();

  constructor() {
    super();
    for (const { replies } of recording.transactions)
      for (const reply of replies.flatMap((bytes) => messagesIn(unhex(bytes)))) this.learn(reply);
  }

  private learn(reply: Reply): void {
    const { view, bytes } = reply;
    if (theirs(reply.type) === "ovs_vport") {
      const { NAME, IFINDEX } = vportAttributes.decode(view, 24, bytes.length);
      if (NAME !== undefined && IFINDEX !== undefined) this.known.set(NAME, IFINDEX);
    } else if (theirs(reply.type) === "ovs_datapath") {
      const { NAME } = datapathAttributes.decode(view, 24, bytes.length);
      if (NAME !== undefined) this.known.set(NAME, reply.ifindex);
    }
  }

  override createInternal(name: string, ifindex: number): MemoryPort {
    return super.createInternal(name, this.known.get(name) ?? ifindex);
  }
}

/** Each transaction's replies as values: nokmod's and the recorded ones. */
function replay(): { faults: unknown[]; results: { request: string; actual: unknown[]; expected: unknown[] }[] } {
  const test = new TestKernel({ kernel: "6.12", processors: 1, ports: new RecordedPorts() });
  test.ports.addDevice("v0", { ifindex: 901 });
  test.ports.addDevice("v1", { ifindex: 902 });
  const client = test.client();
  const ours = (id: number): string => test.kernel.genl.byId(id)?.name ?? "";
  const results = recording.transactions.map(({ request: hex, replies }) => {
    const request = unhex(hex);
    const view = new DataView(request.buffer);
    for (let at = 0; at + 16 <= request.length; at += (view.getUint32(at, true) + 3) & ~3) {
      const name = theirs(view.getUint16(at + 4, true));
      if (name !== "nlctrl") view.setUint16(at + 4, test.family(name), true);
    }
    client.socket.send(request);
    return {
      request: hex,
      actual: client.drain().map((reply) => comparable(reply, ours, setFor)),
      expected: replies.flatMap((reply) => messagesIn(unhex(reply))).map((reply) => comparable(reply, theirs, setFor)),
    };
  });
  return { faults: test.faults, results };
}

const { faults, results } = replay();

it("F-125, F-126, F-323: answers ovs-vswitchd and ovs-dpctl as Linux 6.12 does", () => {
  for (const [i, { request, actual, expected }] of results.entries())
    expect(actual, `transaction ${i}: ${request}`).toEqual(expected);
  expect(faults).toEqual([]);
  expect(results.reduce((sum, { expected }) => sum + expected.length, 0)).toBeGreaterThan(150);
});

describe("the transactions that show a row", () => {
  const named = new Map(results.map((result, i) => [`transaction ${i}`, result]));
  for (const [name, rows] of rowsOfCases("vswitchd-6.12")) {
    it(`${rows}: ${name}`, () => {
      expect(named.has(name)).toBe(true);
      expect(named.get(name)?.actual).toEqual(named.get(name)?.expected);
    });
  }
});
