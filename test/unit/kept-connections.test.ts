import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { KeptConnections } from "../../src/conntrack/kept-connections.ts";
import { E, Slot, T } from "../../src/conntrack/layout.ts";
import { KEPT_HEADER_BYTES, type KeptMemory } from "../../src/conntrack/table.ts";
import { ENOSPC } from "../../src/uapi/errno.ts";
import { IPS_CONFIRMED, IPS_DYING } from "../../src/uapi/nfnetlink.ts";
import { type Ct, CtLab, type Flight } from "../support/conntrack.ts";
import { ethernet, frame, ipv4, ipv6, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN, tcp, udp } from "../support/frames.ts";

/** Memory that a test looks into. */
class Memory implements KeptMemory {
  length = 0;
  /** errno of extend() beyond `room` bytes. */
  room = Number.POSITIVE_INFINITY;
  removed = false;

  constructor(readonly buffer = new ArrayBuffer(KEPT_HEADER_BYTES + (8 << 20))) {}

  extend(bytes: number): number {
    this.length += bytes;
    return this.length > this.room ? ENOSPC : 0;
  }

  close(remove: boolean): void {
    this.removed = remove;
  }

  /** The memory as a process finds it that is started after this one was killed now. */
  copy(): Memory {
    const memory = new Memory(this.buffer.slice(0));
    memory.length = this.length;
    return memory;
  }
}

interface Kept {
  readonly lab: CtLab;
  readonly connections: KeptConnections;
  readonly result: ReturnType<KeptConnections["restore"]>;
}

const BOOT = "0f3c6c1e-0000-4000-8000-000000000001";

/** Connection tracking in kept memory. @param elapsed milliseconds after that of the labs before */
function keep(memory: KeptMemory, elapsed = 0, boot = BOOT, prepare?: (lab: CtLab) => void): Kept {
  const lab = new CtLab({ acct: true });
  lab.clock.advance(elapsed);
  prepare?.(lab);
  const connections = new KeptConnections(lab.conntrack, memory, boot);
  return { lab, connections, result: connections.restore() };
}

const A = "10.1.1.1";
const B = "10.1.1.2";
const NATTED: Ct = { zone: 1, commit: true, nat: { src: "10.1.1.240" } };
const there = (flags: number, seq: number, ack = 0, text = "", src = 1000) =>
  frame(ethernet(), ipv4({ src: A, dst: B }), tcp({ src, dst: 80, flags, seq, ack }), text);
const back = (flags: number, seq: number, ack = 0, text = "", dst = 1000) =>
  frame(ethernet(), ipv4({ src: B, dst: "10.1.1.240" }), tcp({ src: 80, dst, flags, seq, ack }), text);
const datagram = (src: number) => frame(ethernet(), ipv4({ src: A, dst: B }), udp({ src, dst: 53 }), "x");
const datagram6 = (src: number) =>
  frame(ethernet(), ipv6({ src: "fd00::1", dst: "fd00::2" }), udp({ src, dst: 53 }), "x");
const REPLY: Ct = { zone: 1, nat: {} };

/** An established connection with NAT. */
function establish({ lab }: Kept): void {
  lab.send(there(TCP_SYN, 100), NATTED);
  lab.send(back(TCP_SYN | TCP_ACK, 900, 101), REPLY);
  lab.send(there(TCP_ACK, 101, 901), NATTED);
}

/** What packets and clients can see of all live connections: everything but hashes, links and numbers of slots. */
function recordsOf(lab: CtLab): number[][] {
  const hidden = new Set<number>([E.ORIG + T.HASH, E.ORIG + T.NEXT, E.REPLY + T.HASH, E.REPLY + T.NEXT]);
  for (const word of [E.SRC_NEXT, E.SRC_PREVIOUS, E.GENERATION]) hidden.add(word);
  return lab.slots
    .map((slot) => Array.from({ length: E.WORDS }, (_, word) => (hidden.has(word) ? 0 : lab.word(slot, word))))
    .sort((a, b) => a[E.ORIG + T.PORTS] - b[E.ORIG + T.PORTS]);
}

describe("connections after a crash", () => {
  it("a TCP connection with NAT goes on: established, translated, with its window, counters and expiry", () => {
    const memory = new Memory();
    const before = keep(memory);
    establish(before);
    const { lab, result } = keep(memory.copy(), 5000);
    expect(result).toEqual({ restored: 1 });
    expect(lab.entries).toEqual(before.lab.entries);
    expect(lab.left()).toBe(before.lab.left() - 5);
    expect(lab.conntrack.count).toBe(1);
    const answer = lab.send(back(TCP_ACK, 901, 101, "hello"), REPLY);
    expect(answer.state).toBe("est|rpl|trk|dnat");
    expect(answer.addresses).toBe("10.1.1.2:80>10.1.1.1:1000");
    before.lab.clock.advance(5000);
    before.lab.send(back(TCP_ACK, 901, 101, "hello"), REPLY);
    expect(recordsOf(lab)).toEqual(recordsOf(before.lab));
    expect(lab.word(lab.slots[0], E.COUNTERS)).toBe(2);
  });

  it("mark, labels, IPv6, and new connections beside the old ones", () => {
    const memory = new Memory();
    const before = keep(memory);
    before.lab.send(datagram(1), { commit: true, mark: 7, labels: [1, 2, 3, 4] });
    before.lab.send(datagram6(2), { commit: true, zone: 9 });
    const after = keep(memory.copy());
    expect(after.result.restored).toBe(2);
    const flight = after.lab.send(datagram(1), {});
    expect([flight.state, flight.mark, flight.labels]).toEqual(["new|trk", 7, [1, 2, 3, 4]]);
    expect(after.lab.send(datagram6(2), { zone: 9 }).state).toBe("new|trk");
    after.lab.send(datagram(3), { commit: true });
    expect(after.lab.entries).toHaveLength(3);
    expect(new Set(after.lab.slots.map((slot) => after.lab.conntrack.idOf(slot))).size).toBe(3);
  });

  it("not those that had expired, were unconfirmed, or were being destroyed", () => {
    const memory = new Memory();
    const { lab } = keep(memory);
    lab.send(datagram(1), { commit: true });
    lab.clock.advance(20_000);
    lab.send(datagram(2), { commit: true });
    lab.send(datagram(3), { commit: true });
    // Killed between two packets of a batch.
    lab.apply(lab.receive(datagram(4)), {});
    const crashed = memory.copy();
    const words = new Int32Array(crashed.buffer, KEPT_HEADER_BYTES);
    words[lab.slots[2] * E.WORDS + E.STATUS] |= IPS_DYING;
    const after = keep(crashed, 20_000 + 15_000);
    expect(after.result.restored).toBe(1);
    expect(after.lab.entries).toEqual(["17 10.1.1.1:2>10.1.1.2:53 10.1.1.2:53>10.1.1.1:2"]);
    // Their slots are used again, the lowest first.
    for (const port of [5, 6, 7]) after.lab.send(datagram(port), { commit: true });
    expect(after.lab.slots).toEqual([0, 1, 2, 3]);
  });

  it("once more after a second crash", () => {
    const memory = new Memory();
    establish(keep(memory));
    const second = memory.copy();
    const { lab } = keep(second, 1000);
    lab.send(there(TCP_ACK, 101, 901, "hello"), NATTED);
    const third = keep(second.copy(), 2000);
    expect(third.result.restored).toBe(1);
    expect(third.lab.send(back(TCP_ACK, 901, 106), REPLY).state).toBe("est|rpl|trk|dnat");
  });

  it("count against the limit of their zone, and no more once they end", () => {
    const memory = new Memory();
    const limited = (lab: CtLab): void => lab.conntrack.limits.set(5, 2);
    const { lab } = keep(memory, 0, BOOT, limited);
    for (const port of [1, 2]) lab.send(datagram(port), { zone: 5, commit: true });
    const after = keep(memory.copy(), 0, BOOT, limited).lab;
    expect(after.conntrack.limits.countOf(5)).toBe(2);
    expect(after.send(datagram(3), { zone: 5, commit: true }).error).not.toBe(0);
    after.conntrack.destroy(after.slots[0], 0, false);
    expect(after.conntrack.limits.countOf(5)).toBe(1);
  });

  it("a child keeps its master; a child whose master had ended has none", () => {
    const memory = new Memory();
    const { lab } = keep(memory);
    for (const port of [1, 2, 3]) lab.send(datagram(port), { commit: true });
    const [master, child, orphan] = lab.slots;
    const { words } = lab.conntrack.table;
    words[child * E.WORDS + E.MASTER] = master + 1;
    words[orphan * E.WORDS + E.MASTER] = 99 + 1;
    const after = keep(memory.copy()).lab;
    expect(after.word(child, E.MASTER)).toBe(master + 1);
    expect(after.word(master, E.REFERENCES)).toBe(1);
    expect(after.word(orphan, E.MASTER)).toBe(0);
  });

  it("none from another boot, another layout, other helpers, a file of another kind, or one too old: with the reason", () => {
    const memory = new Memory();
    establish(keep(memory));
    const changed = (at: number, value: number): Memory => {
      const copy = memory.copy();
      new DataView(copy.buffer).setUint8(at, value);
      return copy;
    };
    const reasonOf = (kept: Kept): string | undefined => {
      expect(kept.result.restored).toBe(0);
      expect(kept.lab.entries).toEqual([]);
      // The table works, and the next process finds what is in it now.
      kept.lab.send(datagram(1), { commit: true });
      expect(kept.lab.entries).toHaveLength(1);
      return kept.result.unusable;
    };
    expect(reasonOf(keep(memory.copy(), 0, "another"))).toBe("the machine was booted since");
    expect(reasonOf(keep(changed(0, 1)))).toBe("it is not a file of connections");
    expect(reasonOf(keep(changed(8, 99)))).toBe("another version wrote it");
    expect(reasonOf(keep(changed(16, 1)))).toBe("the helpers are other ones");
    expect(reasonOf(keep(memory.copy(), 8 * 24 * 3600 * 1000))).toBe("it is too old");
    const copy = changed(8, 99);
    keep(copy).lab.send(datagram(1), { commit: true });
    expect(keep(copy.copy()).result).toEqual({ restored: 1 });
  });

  it("random bytes in the records: nothing is thrown, and what is restored can be found and destroyed", () => {
    const memory = new Memory();
    const { lab } = keep(memory);
    for (let port = 1; port <= 20; port++) lab.send(datagram(port), { commit: true, zone: port % 3 });
    const change = fc.record({ word: fc.nat(20 * E.WORDS - 1), value: fc.integer() });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 40 }), (changes) => {
        const copy = memory.copy();
        const words = new Int32Array(copy.buffer, KEPT_HEADER_BYTES);
        for (const { word, value } of changes) words[word] = value;
        const after = keep(copy).lab;
        const { conntrack } = after;
        for (const slot of after.slots) expect(conntrack.destroy(slot, 0, false)).toBe(true);
        conntrack.endBatch();
        after.clock.advance(1 << 30);
        conntrack.gc();
        expect(conntrack.count).toBe(0);
        for (let port = 1; port <= 30; port++) after.send(datagram(port), { commit: true });
        expect(after.entries).toHaveLength(30);
      }),
      { numRuns: 200 },
    );
  });

  it("a process that was killed anywhere in a conversation behaves as one that was not", () => {
    const flags = fc.constantFrom(TCP_SYN, TCP_SYN | TCP_ACK, TCP_ACK, TCP_ACK, TCP_ACK, TCP_FIN | TCP_ACK, TCP_RST);
    const step = fc.record({
      reply: fc.boolean(),
      flags,
      port: fc.integer({ min: 1000, max: 1003 }),
      seq: fc.nat(300),
      ack: fc.nat(300),
      text: fc.constantFrom("", "hello"),
      wait: fc.constantFrom(0, 0, 10, 1000, 70_000),
    });
    const play = (lab: CtLab, one: typeof step extends fc.Arbitrary<infer S> ? S : never): string => {
      lab.clock.advance(one.wait);
      const bytes = (one.reply ? back : there)(one.flags, 100 + one.seq, 100 + one.ack, one.text, one.port);
      const flight: Flight = lab.send(bytes, one.reply ? REPLY : NATTED);
      return `${flight.error} ${flight.state} ${flight.addresses}`;
    };
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), fc.array(step, { maxLength: 20 }), (first, second) => {
        const memory = new Memory();
        const { lab } = keep(memory);
        for (const one of first) play(lab, one);
        const after = keep(memory.copy(), lab.clock.monotonic() - new CtLab().clock.monotonic()).lab;
        for (const one of second) {
          expect(play(after, one)).toBe(play(lab, one));
          expect(recordsOf(after)).toEqual(recordsOf(lab));
        }
      }),
      { numRuns: 200 },
    );
  });
});

describe("a disk that is full", () => {
  it("is said with each step, and connections go on; those from before are kept", () => {
    const memory = new Memory();
    memory.room = KEPT_HEADER_BYTES + (4 << 20);
    const { lab } = keep(memory);
    lab.conntrack.setMax(20_000);
    const said: number[] = [];
    lab.conntrack.table.onNotKept = (errno) => said.push(errno);
    const inFile = Math.floor((4 << 20) / (E.WORDS * 4));
    for (let i = 0; i < inFile + 10; i++) {
      const bytes = frame(ethernet(), ipv4({ src: A, dst: B }), udp({ src: 1 + (i & 0x3fff), dst: i >> 14 }), "x");
      lab.send(bytes, { commit: true });
    }
    expect(lab.conntrack.count).toBe(inFile + 10);
    expect(said).toEqual([ENOSPC]);
    const crashed = memory.copy();
    crashed.length = memory.room;
    expect(keep(crashed, 0, BOOT, (after) => after.conntrack.setMax(20_000)).result.restored).toBe(inFile);
  });

  it("a limit that is raised leaves the table where it is", () => {
    const memory = new Memory();
    const kept = keep(memory);
    establish(kept);
    kept.lab.conntrack.setMax(15_000);
    expect(kept.lab.conntrack.table.words.buffer).toBe(memory.buffer);
    expect(kept.lab.send(back(TCP_ACK, 901, 101), REPLY).state).toBe("est|rpl|trk|dnat");
    kept.lab.send(datagram(9), { commit: true });
    expect(keep(memory.copy()).result.restored).toBe(2);
    const { words } = kept.lab.conntrack.table;
    expect(words[E.SLOT]).toBe(Slot.USED);
    expect(words[E.STATUS] & IPS_CONFIRMED).not.toBe(0);
  });
});
