import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { E, Ext, Slot, T } from "../../src/conntrack/layout.ts";
import { IPS_CONFIRMED } from "../../src/uapi/nfnetlink.ts";
import { type Ct, CtLab } from "../support/conntrack.ts";
import { ethernet, frame, icmp, ipv4, tcp, udp } from "../support/frames.ts";

/** What must hold of the table after every batch. */
function checkTable(lab: CtLab): void {
  const { table } = lab.conntrack;
  const { words } = table;
  let used = 0;
  const references = new Map<number, number>();
  for (let slot = 0; slot < table.top; slot++) {
    const entry = slot * E.WORDS;
    const state = words[entry + E.SLOT];
    const master = words[entry + E.MASTER];
    if (state === Slot.FREE) continue;
    if (state === Slot.USED) {
      used++;
      expect(words[entry + E.STATUS] & IPS_CONFIRMED).toBe(IPS_CONFIRMED);
      for (const at of [entry, entry + E.REPLY]) {
        const tuple = words.slice(at, at + T.WORDS);
        expect(table.hash(tuple, 0)).toBe(words[at + T.HASH]);
        expect(table.find(tuple, words[at + T.HASH]) >> 1).toBe(slot);
      }
      // In the chain by source exactly if it says so.
      let found = false;
      for (let next = table.sourceHead(words, entry); next !== 0; next = words[(next - 1) * E.WORDS + E.SRC_NEXT]) {
        if (next - 1 === slot) found = true;
      }
      expect(found).toBe((words[entry + E.EXT] & Ext.BY_SOURCE) !== 0);
      if (master !== 0) references.set(master - 1, (references.get(master - 1) ?? 0) + 1);
    } else expect(words[entry + E.REFERENCES]).toBeGreaterThan(0);
  }
  expect(used).toBe(table.count);
  for (const [master, count] of references) expect(words[master * E.WORDS + E.REFERENCES]).toBe(count);
}

const host = fc.integer({ min: 1, max: 4 }).map((n) => `10.0.0.${n}`);
const small = fc.integer({ min: 1, max: 4 });

const bytes = fc.oneof(
  fc
    .record({ a: host, b: host, p: small, q: small })
    .map(({ a, b, p, q }) => frame(ethernet(), ipv4({ src: a, dst: b }), udp({ src: p, dst: q }))),
  fc
    .record({ a: host, b: host, p: small, f: fc.constantFrom(2, 0x12, 0x10, 0x11, 4, 0x14), s: small, k: small })
    .map(({ a, b, p, f, s, k }) =>
      frame(ethernet(), ipv4({ src: a, dst: b }), tcp({ src: p, dst: 9, flags: f, seq: s, ack: k })),
    ),
  fc
    .record({ a: host, b: host, t: fc.constantFrom(0, 8) })
    .map(({ a, b, t }) => frame(ethernet(), ipv4({ src: a, dst: b }), icmp({ type: t }))),
  fc
    .record({ a: host, b: host })
    .map(({ a, b }) => frame(ethernet(), ipv4({ src: a, dst: b }), udp({ src: 2, dst: 69 }), "\0\x01file\0octet\0")),
);
const action: fc.Arbitrary<Ct> = fc.record({
  zone: fc.integer({ min: 0, max: 1 }),
  commit: fc.boolean(),
  force: fc.constantFrom(false, false, true),
  helper: fc.constantFrom(undefined, undefined, "tftp"),
  nat: fc.constantFrom(
    undefined,
    {},
    { src: "10.0.0.3" },
    { dst: "10.0.0.2" },
    { src: "10.0.0.1", srcMax: "10.0.0.9", port: 1, portMax: 3 },
  ),
});
const operation = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({
      kind: fc.constant("packet" as const),
      bytes,
      actions: fc.array(action, { minLength: 1, maxLength: 3 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("wait" as const), ms: fc.constantFrom(1, 2001, 31_000, 130_000) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("delete" as const), index: fc.nat(20) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("gc" as const) }) },
);

describe("the table of connections", () => {
  it("stays whole under any sequence of packets, deletions, expiry and collection, also when it is full", () => {
    fc.assert(
      fc.property(
        fc.array(operation, { maxLength: 80 }),
        fc.constantFrom(6, 4096),
        fc.integer(),
        (operations, max, seed) => {
          const lab = new CtLab({ max }, seed | 1);
          for (const o of operations) {
            if (o.kind === "packet") {
              const flight = lab.receive(o.bytes);
              for (const one of o.actions) {
                lab.apply(flight, one);
                if (flight.error !== 0) break;
              }
              lab.end();
            } else if (o.kind === "wait") lab.clock.advance(o.ms);
            else if (o.kind === "gc") lab.conntrack.gc();
            else {
              const slots = lab.slots;
              if (slots.length > 0) lab.conntrack.destroy(slots[o.index % slots.length], 1, false);
              lab.end();
            }
            checkTable(lab);
            expect(lab.conntrack.count).toBeLessThanOrEqual(max);
          }
          lab.clock.advance(500_000_000);
          lab.conntrack.gc();
          lab.conntrack.gc();
          expect(lab.conntrack.count).toBe(0);
          expect(lab.conntrack.expectations.count).toBe(0);
          for (let slot = 0; slot < lab.conntrack.table.top; slot++) {
            expect(lab.conntrack.table.words[slot * E.WORDS + E.SLOT]).toBe(Slot.FREE);
          }
          // NEW comes before DESTROY, and both come once for each connection.
          const balance = lab.events.reduce(
            (sum, line) => sum + (line.startsWith("NEW") ? 1 : line.startsWith("DESTROY") ? -1 : 0),
            0,
          );
          expect(balance).toBe(0);
        },
      ),
      { numRuns: 250 },
    );
  });

  it("garbage packets never throw, and leave nothing but an errno", () => {
    const lab = new CtLab();
    fc.assert(
      fc.property(
        bytes,
        fc.array(fc.tuple(fc.nat(80), fc.nat(255)), { maxLength: 6 }),
        fc.nat(60),
        action,
        (whole, changes, cut, one) => {
          const broken = whole.slice(0, Math.max(34, whole.length - cut));
          for (const [at, value] of changes) if (at >= 14 && at < broken.length) broken[at] = value;
          lab.memory.resetScratch();
          const flight = lab.receive(broken);
          // A flow whose key is IPv4 sends IPv4 packets here only.
          lab.conntrack.endBatch();
          lab.apply(flight, one);
          lab.end();
          expect(flight.error).toBeLessThanOrEqual(0);
        },
      ),
      { numRuns: 2000 },
    );
    checkTable(lab);
  });
});
