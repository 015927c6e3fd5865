import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { E, T } from "../../src/conntrack/layout.ts";
import { sameTuple } from "../../src/conntrack/table.ts";
import { IPS_CONFIRMED } from "../../src/uapi/nfnetlink.ts";
import { CtLab, type Nat, verifyFrame } from "../support/conntrack.ts";
import { ethernet, frame, hex, icmp, icmpv6, ipv4, ipv6, type Layer, sctp, tcp, udp } from "../support/frames.ts";

const address4 = fc
  .tuple(fc.integer({ min: 1, max: 250 }), fc.integer({ min: 1, max: 250 }))
  .map(([a, b]) => `10.7.${a}.${b}`);
const address6 = fc.integer({ min: 1, max: 0xffff }).map((n) => `fd07::${n.toString(16)}`);
const port = fc.integer({ min: 1, max: 65535 });
const proto = fc.constantFrom("udp", "tcp", "icmp", "sctp", "udp0");
const payload = fc.uint8Array({ maxLength: 64 });

interface Talk {
  v6: boolean;
  kind: string;
  client: string;
  server: string;
  sport: number;
  dport: number;
  data: Uint8Array;
}

const talk = fc
  .record({
    v6: fc.boolean(),
    kind: proto,
    sport: port,
    dport: port,
    data: payload,
    a4: address4,
    b4: address4,
    a6: address6,
    b6: address6,
  })
  .filter((t) => (t.v6 ? t.a6 !== t.b6 : t.a4 !== t.b4))
  .map(
    (t): Talk => ({
      v6: t.v6,
      kind: t.v6 && t.kind === "udp0" ? "udp" : t.kind,
      client: t.v6 ? t.a6 : t.a4,
      server: t.v6 ? t.b6 : t.b4,
      sport: t.sport,
      dport: t.dport,
      data: t.data,
    }),
  );

/** A packet between two ends; `answer` for the direction back. */
function packet(t: Talk, src: string, sport: number, dst: string, dport: number, answer: boolean): Uint8Array {
  const network: Layer = t.v6 ? ipv6({ src, dst }) : ipv4({ src, dst });
  let transport: Layer;
  if (t.kind === "udp") transport = udp({ src: sport, dst: dport });
  else if (t.kind === "udp0") transport = udp({ src: sport, dst: dport, checksum: 0 });
  else if (t.kind === "tcp")
    transport = tcp({
      src: sport,
      dst: dport,
      flags: answer ? 0x12 : 2,
      seq: answer ? 900 : 100,
      ack: answer ? 101 : 0,
    });
  else if (t.kind === "sctp") transport = sctp({ src: sport, dst: dport, tag: answer ? 7 : 0 });
  else {
    const rest = ((answer ? dport : sport) << 16) >>> 0;
    transport = t.v6 ? icmpv6({ type: answer ? 129 : 128, rest }) : icmp({ type: answer ? 0 : 8, rest });
  }
  const chunk = answer
    ? [2, 0, 0, 20, 0, 0, 0, 9, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]
    : [1, 0, 0, 20, 0, 0, 0, 7, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1];
  const body = t.kind === "sctp" ? Uint8Array.from(chunk) : t.kind === "tcp" ? new Uint8Array(0) : t.data;
  return frame(ethernet(), network, transport, body);
}

const range = (v6: boolean): fc.Arbitrary<Nat> =>
  fc
    .record({
      dst: fc.boolean(),
      low: fc.integer({ min: 1, max: 100 }),
      spread: fc.integer({ min: 0, max: 50 }),
      ports: fc.option(fc.tuple(port, fc.integer({ min: 0, max: 300 })), { nil: undefined }),
      persistent: fc.boolean(),
      random: fc.boolean(),
    })
    .map((r) => {
      const low = v6 ? `fd99::${r.low.toString(16)}` : `192.0.2.${r.low}`;
      const high = v6 ? `fd99::${(r.low + r.spread).toString(16)}` : `192.0.2.${r.low + r.spread}`;
      const nat: Nat = r.dst ? { dst: low, dstMax: high } : { src: low, srcMax: high };
      if (r.ports !== undefined) {
        nat.port = r.ports[0];
        nat.portMax = Math.min(65535, r.ports[0] + r.ports[1]);
      }
      nat.persistent = r.persistent;
      nat.random = r.random;
      return nat;
    });

/** Addresses and ports of the bytes as the other end sees them. */
function ends(bytes: Uint8Array, t: Talk): { src: string; sport: number; dst: string; dport: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = (at: number): string =>
    t.v6
      ? Array.from({ length: 8 }, (_, i) => view.getUint16(at + i * 2).toString(16)).join(":")
      : Array.from({ length: 4 }, (_, i) => bytes[at + i]).join(".");
  const l4 = t.v6 ? 54 : 34;
  const id = view.getUint16(l4 + 4);
  return {
    src: text(t.v6 ? 22 : 26),
    dst: text(t.v6 ? 38 : 30),
    sport: t.kind === "icmp" ? id : view.getUint16(l4),
    dport: t.kind === "icmp" ? id : view.getUint16(l4 + 2),
  };
}

describe("NAT", () => {
  it("C-176 to C-182: translation is undone by the way back, and every checksum is right", () => {
    fc.assert(
      fc.property(
        talk.chain((t) => fc.tuple(fc.constant(t), range(t.v6))),
        ([t, nat]) => {
          const lab = new CtLab();
          const first = packet(t, t.client, t.sport, t.server, t.dport, false);
          const out = lab.send(first, { commit: true, zone: 9, nat });
          expect(out.error).toBe(0);
          verifyFrame(out.bytes);
          const seen = ends(out.bytes, t);
          // The other end answers what it saw.
          const answer = packet(t, seen.dst, seen.dport, seen.src, seen.sport, true);
          const restored = lab.send(answer, { zone: 9, nat: {} });
          expect(restored.error).toBe(0);
          expect(restored.ctState & 0x2a).toBe(0x2a);
          verifyFrame(restored.bytes);
          expect(hex(restored.bytes)).toBe(hex(packet(t, t.server, t.dport, t.client, t.sport, true)));
          // And the next one of the first direction goes out as the first did.
          expect(hex(lab.send(first, { zone: 9, nat: {} }).bytes)).toBe(hex(out.bytes));
        },
      ),
      { numRuns: 400 },
    );
  });

  it("C-173: an ICMP error about a translated packet is translated back to the byte", () => {
    fc.assert(
      fc.property(
        talk.filter((t) => t.kind !== "sctp").chain((t) => fc.tuple(fc.constant(t), range(t.v6))),
        ([t, nat]) => {
          const lab = new CtLab();
          const first = packet(t, t.client, t.sport, t.server, t.dport, false);
          const out = lab.send(first, { commit: true, nat });
          const seen = ends(out.bytes, t);
          const error = (inside: Uint8Array, to: string, from = t.v6 ? "fd08::8" : "10.8.8.8"): Uint8Array =>
            t.v6
              ? frame(ethernet(), ipv6({ src: from, dst: to }), icmpv6({ type: 1, code: 4, rest: 0 }), inside.slice(14))
              : frame(ethernet(), ipv4({ src: from, dst: to }), icmp({ type: 3, code: 3, rest: 0 }), inside.slice(14));
          const restored = lab.send(error(out.bytes, seen.src), { nat: {} });
          expect(restored.error).toBe(0);
          verifyFrame(restored.bytes);
          // What was sent to a translated destination comes back from the destination that the sender knows.
          const from = nat.dst === undefined ? undefined : t.server;
          expect(hex(restored.bytes)).toBe(hex(error(first, t.client, from)));
        },
      ),
      { numRuns: 300 },
    );
  });

  it("C-202: no two confirmed entries share a reply tuple, however crowded the range", () => {
    fc.assert(
      fc.property(
        fc.integer(),
        fc.array(
          fc.tuple(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 6 }), fc.boolean(), fc.boolean()),
          {
            minLength: 1,
            maxLength: 120,
          },
        ),
        fc.integer({ min: 0, max: 8 }),
        (seed, connections, spread) => {
          const lab = new CtLab({}, seed | 1);
          for (const [host, sport, isTcp, dst] of connections) {
            const layer = isTcp ? tcp({ src: sport, dst: 80, flags: 2 }) : udp({ src: sport, dst: 53 });
            const bytes = frame(ethernet(), ipv4({ src: `10.0.0.${host}`, dst: "10.0.1.1" }), layer);
            const nat: Nat = dst
              ? { dst: "192.0.2.1", dstMax: "192.0.2.2" }
              : { src: "192.0.2.1", srcMax: "192.0.2.3", port: 1, portMax: 1 + spread };
            lab.send(bytes, { commit: true, nat });
          }
          const { words } = lab.conntrack.table;
          const slots = lab.slots;
          for (const a of slots) {
            for (const b of slots) {
              if (a >= b) continue;
              for (const [x, y] of [
                [E.REPLY, E.REPLY],
                [E.ORIG, E.ORIG],
              ]) {
                expect(sameTuple(words, a * E.WORDS + x, words, b * E.WORDS + y)).toBe(false);
              }
            }
            expect(words[a * E.WORDS + E.STATUS] & IPS_CONFIRMED).toBe(IPS_CONFIRMED);
            expect(words[a * E.WORDS + T.META] & 0xff).toBe(2);
          }
        },
      ),
      { numRuns: 100 },
    );
  });
});
