import { describe, expect, it } from "vitest";
import { E } from "../../src/conntrack/layout.ts";
import { SeededRandom } from "../../src/core/random.ts";
import { IPS_ASSURED, TCP_CONNTRACK_CLOSE, TCP_CONNTRACK_ESTABLISHED } from "../../src/uapi/nfnetlink.ts";
import { CtLab, verifyFrame } from "../support/conntrack.ts";
import {
  ethernet,
  fragmentIpv4,
  fragmentIpv6,
  frame,
  icmp,
  icmpv6,
  ipv4,
  ipv6,
  type Layer,
  tcp,
  udp,
} from "../support/frames.ts";

const A = "10.1.1.1";
const B = "10.1.2.2";
const SYN = 2;
const ACK = 0x10;
const RST = 4;

const to = (o: object, src = A): Uint8Array =>
  frame(ethernet(), ipv4({ src, dst: B }), tcp({ src: 1000, dst: 80, ...o }));
const from = (o: object, dst = A): Uint8Array =>
  frame(ethernet(), ipv4({ src: B, dst }), tcp({ src: 80, dst: 1000, ...o }));

/** An established, assured connection from A to B. */
function establish(lab: CtLab, src = A): void {
  lab.send(to({ flags: SYN, seq: 100 }, src), { commit: true });
  lab.send(from({ flags: SYN | ACK, seq: 500, ack: 101 }, src));
  lab.send(to({ flags: ACK, seq: 101, ack: 501 }, src));
}

const state = (lab: CtLab, slot = lab.slots[0]): number => lab.word(slot, E.PROTO + 10) & 0xff;

describe("a SYN flood", () => {
  it("C-123, C-258: at the limit it pushes out its own, never what is established; the table does not grow", () => {
    const lab = new CtLab({ max: 1000 });
    for (let i = 0; i < 300; i++) establish(lab, `10.2.${i >> 8}.${i & 255}`);
    const { table } = lab.conntrack;
    const bytes = table.words.byteLength;
    let refused = 0;
    for (let i = 0; i < 20_000; i++) {
      const src = `172.16.${(i >> 8) & 255}.${i & 255}`;
      if (lab.send(to({ flags: SYN, seq: i, src: i & 0xffff }, src), { commit: true }).error !== 0) refused++;
      expect(lab.conntrack.count).toBeLessThanOrEqual(1000);
    }
    const { earlyDrop, drop } = lab.conntrack.stats;
    expect(drop).toBe(refused);
    expect(earlyDrop).toBeGreaterThan(10_000);
    expect(lab.slots.filter((slot) => (lab.status(slot) & IPS_ASSURED) !== 0)).toHaveLength(300);
    expect(lab.send(to({ flags: ACK, seq: 101, ack: 501 }, "10.2.0.7")).state).toBe("est|trk");
    expect(table.words.byteLength).toBe(bytes);
    // It is over two minutes after its last packet.
    lab.clock.advance(120_000);
    lab.conntrack.gc();
    expect(lab.conntrack.count).toBe(300);
  });

  it("C-257: SYNs that nobody commits leave nothing at all", () => {
    const lab = new CtLab({ max: 64 });
    for (let i = 0; i < 5000; i++) lab.send(to({ flags: SYN, src: i + 1 }));
    expect(lab.conntrack.count).toBe(0);
    expect(lab.conntrack.table.top).toBeLessThan(10);
  });
});

describe("port exhaustion", () => {
  const go = (lab: CtLab, i: number, nat: object, layer?: Layer): number =>
    lab.send(frame(ethernet(), ipv4({ src: `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`, dst: B }), layer ?? udp()), {
      commit: true,
      nat: { src: "192.0.2.1", ...nat },
    }).error;

  it("C-196, C-197: a range of ten gives ten connections to a server, and the eleventh is dropped", () => {
    const lab = new CtLab();
    const errors = Array.from({ length: 30 }, (_, i) => go(lab, i, { port: 5000, portMax: 5009 }));
    expect(errors.filter((error) => error === 0)).toHaveLength(10);
    expect(new Set(errors.slice(10))).toEqual(new Set([-22]));
    expect(lab.conntrack.stats.insertFailed).toBe(20);
    expect(lab.conntrack.count).toBe(10);
    const ports = lab.entries.map((line) => Number(line.split(":").at(-1)));
    expect(ports.sort()).toEqual([5000, 5001, 5002, 5003, 5004, 5005, 5006, 5007, 5008, 5009]);
    // Another server's ports are others.
    const other = frame(ethernet(), ipv4({ src: "10.9.9.9", dst: "10.1.2.3" }), udp());
    expect(lab.send(other, { commit: true, nat: { src: "192.0.2.1", port: 5000, portMax: 5009 } }).error).toBe(0);
  });

  it("C-195, C-196: the search gives up after 128 + 64 + 32 + 16 ports, from a random one at each halving", () => {
    const lab = new CtLab({ max: 8192 });
    // All of 20000 to 22047 taken by one client each.
    for (let i = 0; i < 2048; i++) expect(go(lab, i, { port: 20_000 + i })).toBe(0);
    const { conntrack } = lab;
    let looked = 0;
    const find = conntrack.findLive.bind(conntrack);
    conntrack.findLive = (tuple) => {
      looked++;
      return find(tuple);
    };
    expect(go(lab, 5000, { port: 20_000, portMax: 22_047 })).toBe(-22);
    // One more for the port that the client came with, which lies outside.
    expect(looked).toBe(128 + 64 + 32 + 16 + 8);
    looked = 0;
    expect(go(lab, 5001, { port: 20_000, portMax: 20_127 })).toBe(-22);
    expect(looked).toBe(128);
  });

  it("C-200: ICMP ids run out as ports do", () => {
    const lab = new CtLab();
    const echo = icmp({ type: 8, rest: 0x00070001 });
    const errors = Array.from({ length: 6 }, (_, i) => go(lab, i, { port: 10, portMax: 13 }, echo));
    expect(errors).toEqual([0, 0, 0, 0, -22, -22]);
  });
});

describe("a spoofed RST", () => {
  it("C-300, C-301: only the exact next number closes; others inside the window do not, those below are invalid", () => {
    const outcome = (seq: number): [string, boolean] => {
      const lab = new CtLab();
      establish(lab);
      // Assured and established, ct makes the entry liberal; the rules for RST stand.
      const flight = lab.send(from({ flags: RST, seq }));
      return [flight.state, state(lab) === TCP_CONNTRACK_CLOSE];
    };
    expect(outcome(501)).toEqual(["est|rpl|trk", true]);
    expect(outcome(502)).toEqual(["est|rpl|trk", false]);
    expect(outcome(30_000)).toEqual(["est|rpl|trk", false]);
    expect(outcome(500)).toEqual(["inv|trk", false]);
    expect(outcome(0x9000_0000)).toEqual(["inv|trk", false]);
  });

  it("C-301, C-307: ten thousand guesses do not close the connection; its life is that of one with data unacknowledged", () => {
    const lab = new CtLab();
    establish(lab);
    const random = new SeededRandom(3);
    for (let i = 0; i < 10_000; i++) {
      const seq = random.u32();
      if (seq !== 501) lab.send(from({ flags: RST, seq }));
    }
    expect(state(lab)).toBe(TCP_CONNTRACK_ESTABLISHED);
    lab.send(from({ flags: ACK, seq: 501, ack: 101 }));
    lab.send(to({ flags: ACK, seq: 101, ack: 501 }));
    expect(lab.left()).toBe(300);
  });
});

describe("fragments", () => {
  it("C-070, C-071: first fragments that never end hold no more than the limit, and go when their time is up", () => {
    for (const v6 of [false, true]) {
      const lab = new CtLab();
      const { reassembly } = lab.conntrack;
      let taken = 0;
      for (let i = 0; i < 20_000; i++) {
        const piece = v6
          ? fragmentIpv6(
              frame(ethernet(), ipv6({ src: `fd00::${(i + 1).toString(16)}` }), udp(), "x".repeat(1500)),
              1000,
            )[0]
          : fragmentIpv4(
              frame(ethernet(), ipv4({ src: `10.${i >> 14}.${(i >> 7) & 127}.${i & 127}` }), udp(), "x".repeat(1500)),
              1000,
            )[0];
        const { error } = lab.send(piece, { zone: 1 });
        if (error === -115) taken++;
        else expect(error).toBe(-12);
        lab.memory.resetScratch();
      }
      // Each is counted with what the kernel's structures weigh.
      expect(taken * 1000).toBeLessThan(5 << 20);
      expect(taken).toBeGreaterThan(1000);
      expect(reassembly.stats.queues).toBe(taken);
      lab.clock.advance(v6 ? 60_000 : 30_000);
      reassembly.expire();
      expect(reassembly.stats.queues).toBe(0);
      const pieces = v6
        ? fragmentIpv6(frame(ethernet(), ipv6(), udp(), "x".repeat(1500)), 1000)
        : fragmentIpv4(frame(ethernet(), ipv4(), udp(), "x".repeat(1500)), 1000);
      expect(pieces.map((piece) => lab.send(piece).error)).toEqual([-115, 0]);
    }
  });

  it("C-069, C-073: an overlap takes the whole datagram with it (teardrop)", () => {
    for (const v6 of [false, true]) {
      const lab = new CtLab();
      const whole = v6
        ? frame(ethernet(), ipv6(), udp(), "y".repeat(2000))
        : frame(ethernet(), ipv4(), udp(), "y".repeat(2000));
      const pieces = v6 ? fragmentIpv6(whole, 1000) : fragmentIpv4(whole, 1000);
      const torn = pieces[1].slice();
      const view = new DataView(torn.buffer);
      if (v6) view.setUint16(56, view.getUint16(56) - 8);
      else {
        view.setUint16(20, view.getUint16(20) - 1);
        view.setUint16(24, view.getUint16(24) + 1);
      }
      expect(lab.send(pieces[0]).error).toBe(-115);
      expect(lab.send(torn).error).toBe(-22);
      expect(lab.conntrack.reassembly.stats.queues).toBe(0);
      expect(lab.send(pieces[1]).error).toBe(-115);
    }
  });

  it("C-061: a datagram longer than IP allows is dropped, and nothing of it stays (ping of death)", () => {
    const lab = new CtLab();
    const [first, ...rest] = fragmentIpv4(frame(ethernet(), ipv4(), icmp({ type: 8 }), "z".repeat(60_000)), 8000);
    const last = rest[rest.length - 1].slice();
    const view = new DataView(last.buffer);
    const moved = 0x1fff;
    const sum = view.getUint16(24) + view.getUint16(20) - moved;
    view.setUint16(20, moved);
    view.setUint16(24, (sum & 0xffff) + (sum >> 16));
    lab.send(first);
    const errors = [...rest.slice(0, -1), last].map((piece) => lab.send(piece).error);
    expect(errors.some((error) => error === 0)).toBe(false);
    lab.clock.advance(30_000);
    lab.conntrack.reassembly.expire();
    expect(lab.conntrack.reassembly.stats.queues).toBe(0);
    expect(lab.conntrack.count).toBe(0);
  });

  it("C-064, C-074: one byte at a time, backwards, each piece twice, it is still one datagram", () => {
    const lab = new CtLab();
    const whole = frame(ethernet(), ipv4(), udp(), "tiny fragments ".repeat(20));
    const pieces = fragmentIpv4(whole, 8).reverse();
    let done = 0;
    for (const piece of pieces) {
      const flight = lab.send(piece);
      if (flight.error === 0) {
        done++;
        verifyFrame(flight.bytes);
        expect(flight.bytes.slice(34)).toEqual(whole.slice(34));
      } else lab.send(piece);
    }
    expect(done).toBe(1);
  });
});

describe("expectation floods", () => {
  it("C-224, C-234: one expectation a connection, and no more than the table holds", () => {
    const lab = new CtLab({ max: 8192, buckets: 256 });
    const rrq = (src: number): Uint8Array =>
      frame(ethernet(), ipv4({ src: A, dst: B }), udp({ src, dst: 69 }), "\0\x01f\0octet\0");
    for (let i = 0; i < 100; i++) lab.send(rrq(1), { commit: true, helper: "tftp" });
    expect(lab.conntrack.expectations.count).toBe(1);
    let dropped = 0;
    for (let i = 2; i < 2000; i++) if (lab.send(rrq(i), { commit: true, helper: "tftp" }).error !== 0) dropped++;
    expect(lab.conntrack.expectations.count).toBe(4);
    expect(dropped).toBe(1998 - 3);
    // What could not be expected was not committed either.
    expect(lab.conntrack.count).toBe(4);
  });
});

describe("ICMP errors that quote nothing", () => {
  it("C-247, C-249: cut anywhere, they are invalid, and no entry is made or touched", () => {
    const lab = new CtLab({ acct: true });
    const inner = frame(ethernet(), ipv4({ src: A, dst: B }), udp({ src: 1000, dst: 53 }), "x");
    lab.send(inner, { commit: true });
    const quoted = inner.slice(14);
    for (let length = 0; length < quoted.length; length++) {
      const error = frame(
        ethernet(),
        ipv4({ src: "10.9.9.9", dst: A }),
        icmp({ type: 3, code: 3, rest: 0 }),
        quoted.slice(0, length),
      );
      // Addresses, protocol and both ports must be there.
      expect(lab.send(error, { commit: true, nat: {} }).state, String(length)).toBe(
        length < 24 ? "inv|trk" : "rel|rpl|trk",
      );
    }
    expect(lab.conntrack.count).toBe(1);
    expect(lab.word(lab.slots[0], E.COUNTERS)).toBe(1);
  });

  it("C-323, C-324: the same for ICMPv6, with headers that lead nowhere", () => {
    const lab = new CtLab();
    const inner = frame(ethernet(), ipv6(), udp(), "x").slice(14);
    lab.send(frame(ethernet(), ipv6(), udp(), "x"), { commit: true });
    const error = (body: Uint8Array): Uint8Array =>
      frame(ethernet(), ipv6({ src: "fd09::9", dst: "fd00::1" }), icmpv6({ type: 1, code: 4, rest: 0 }), body);
    for (let length = 0; length < inner.length; length++) {
      const { state: bits } = lab.send(error(inner.slice(0, length)), { commit: true });
      expect(bits, String(length)).toBe(length < 44 ? "inv|trk" : "rel|rpl|trk");
    }
    const extended = new Uint8Array(48);
    extended.set(inner.slice(0, 40));
    extended[6] = 0;
    extended[41] = 255;
    expect(lab.send(error(extended)).state).toBe("inv|trk");
    expect(lab.conntrack.count).toBe(1);
  });

  it("C-248: an error sent to somebody else than the sender of what it quotes is invalid", () => {
    const lab = new CtLab();
    const inner = frame(ethernet(), ipv4({ src: A, dst: B }), udp(), "x");
    lab.send(inner, { commit: true });
    const error = frame(ethernet(), ipv4({ src: B, dst: "10.7.7.7" }), icmp({ type: 3, rest: 0 }), inner.slice(14));
    expect(lab.send(error).state).toBe("inv|trk");
  });

  it("random bytes behind an ICMP header, ten thousand times", () => {
    const lab = new CtLab();
    const random = new SeededRandom(9);
    for (let i = 0; i < 10_000; i++) {
      const body = Uint8Array.from({ length: random.u32() % 80 }, () => random.u32() & 255);
      const v6 = (i & 1) === 1;
      const message = v6
        ? frame(ethernet(), ipv6(), icmpv6({ type: random.u32() & 255, code: 0, rest: 0 }), body)
        : frame(ethernet(), ipv4(), icmp({ type: random.u32() & 31, code: 0, rest: 0 }), body);
      const { error, ctState } = lab.send(message, {
        zone: 5,
        commit: true,
        nat: { src: v6 ? "fd09::1" : "192.0.2.1" },
      });
      expect([0, -22]).toContain(error);
      expect(ctState & 0x20).toBe(0x20);
      lab.memory.resetScratch();
    }
    // Echo requests, and what else may begin a connection.
    expect(lab.conntrack.count).toBeLessThan(10);
  });
});
