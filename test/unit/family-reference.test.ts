/**
 * Requests that the real module (Linux 6.12) was asked one after the other, and its answers byte for byte: errors with
 * their extended acks, policies, replies. The same requests, in the same order, are put to nokmod.
 */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { nlctrl } from "../../src/schema/genetlink.ts";
import { NETLINK_CAP_ACK, NETLINK_EXT_ACK } from "../../src/uapi/netlink.ts";
import { comparable, setFor } from "../support/compare.ts";
import { messagesIn, type Reply, TestKernel } from "../support/kernel.ts";
import { rowsOfCases } from "../support/rows.ts";

interface Case {
  name: string;
  request: string;
  replies: string[];
}

const recorded = JSON.parse(
  readFileSync(new URL("../fixtures/netlink-answers-6.12.json", import.meta.url), "utf8"),
) as { families: Record<string, number>; ifindex: number; cases: Case[] };

const unhex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "hex"));

const rowsOf = new Map(rowsOfCases("netlink-answers-6.12"));

describe("as Linux 6.12 answers", () => {
  it("every case that rows are claimed for is in the recording", () => {
    const names = new Set(recorded.cases.map(({ name }) => name));
    expect([...rowsOf.keys()].filter((name) => !names.has(name))).toEqual([]);
  });

  const test = new TestKernel({ kernel: "6.12", processors: 1, tcSkbExt: true });
  test.ports.addDevice("lo", { loopback: true, ifindex: 1000 });
  // What ovs-dpctl had set before.
  test.conntrack.limits.setDefault(10);
  test.conntrack.limits.set(1, 3);
  const plain = test.client();
  plain.socket.setOption(NETLINK_EXT_ACK, true);
  const capped = test.client();
  capped.socket.setOption(NETLINK_EXT_ACK, true);
  capped.socket.setOption(NETLINK_CAP_ACK, true);
  const bare = test.client();
  let ifindex = 0;

  const families = new Map(Object.entries(recorded.families).map(([name, id]) => [id, name]));
  families.set(16, "nlctrl");

  for (const { name, request, replies } of recorded.cases) {
    const rows = rowsOf.get(name);
    it(rows === undefined ? name : `${rows}: ${name}`, () => {
      const client = name.startsWith("cap ack") ? capped : name.startsWith("no ext") ? bare : plain;
      const bytes = unhex(request);
      translate(bytes, test, families, ifindex);
      client.socket.send(bytes);
      const actual = client.drain();
      const expected = replies.flatMap((reply) => messagesIn(unhex(reply)));
      if (ifindex === 0) ifindex = actual[0].ifindex;
      const theirs = (id: number): string => families.get(id) ?? "";
      const ours = (id: number): string => test.kernel.genl.byId(id)?.name ?? "";
      // The recorded machine has other families, too.
      const common = (reply: Reply): boolean => name !== "ctrl dump" || reply.cmd < 0 || isOurs(reply);
      const known = expected.filter(common);
      expect(actual.filter(common).map((reply) => comparable(reply, ours, setFor))).toEqual(
        known.map((reply) => comparable(reply, theirs, setFor)),
      );
      expect(test.faults).toEqual([]);
    });
  }
});

function isOurs(reply: Reply): boolean {
  const { FAMILY_NAME = "" } = nlctrl.decode(reply.view, 20, reply.bytes.length);
  return FAMILY_NAME === "nlctrl" || FAMILY_NAME in recorded.families;
}

/** Puts this kernel's numbers into a recorded request. */
function translate(bytes: Uint8Array, test: TestKernel, families: Map<number, string>, ifindex: number): void {
  const view = new DataView(bytes.buffer);
  for (let at = 0; at + 16 <= bytes.length; at += Math.max((view.getUint32(at, true) + 3) & ~3, 16)) {
    const name = families.get(view.getUint16(at + 4, true));
    if (name === undefined) continue;
    if (name === "nlctrl") {
      // CTRL_ATTR_FAMILY_ID of a family that has another number here.
      if (bytes.length >= 26 && view.getUint16(20, true) === 6 && view.getUint16(22, true) === 1) {
        const wanted = families.get(view.getUint16(24, true));
        if (wanted !== undefined && wanted !== "nlctrl") view.setUint16(24, test.family(wanted), true);
      }
      continue;
    }
    view.setUint16(at + 4, test.family(name), true);
    if (at + 24 <= bytes.length && view.getInt32(at + 20, true) === recorded.ifindex)
      view.setInt32(at + 20, ifindex, true);
  }
}
