import { describe, expect, it } from "vitest";
import { AddResult, type Expectation } from "../../src/conntrack/expect.ts";
import { builtinHelpers } from "../../src/conntrack/helpers/builtin.ts";
import { expectationOf, type Helper } from "../../src/conntrack/helpers/helper.ts";
import { parseDecimal, tcpPayload, text } from "../../src/conntrack/helpers/payload.ts";
import { E, Ext, T } from "../../src/conntrack/layout.ts";
import { IpProto } from "../../src/packet/ip.ts";
import { Nokmod } from "../../src/runtime/nokmod.ts";
import { MemoryPorts } from "../../src/testing/index.ts";
import { EBUSY, EINVAL, ENOENT } from "../../src/uapi/errno.ts";
import { IP_CT_ESTABLISHED_REPLY, IPS_HELPER } from "../../src/uapi/nfnetlink.ts";
import { AF_INET, AF_INET6 } from "../../src/uapi/socket.ts";
import { type Ct, CtLab } from "../support/conntrack.ts";
import { concat, ethernet, frame, ipv4, TCP_ACK, TCP_PSH, TCP_SYN, tcp, udp } from "../support/frames.ts";

const A = "10.0.0.1";
const B = "10.0.0.2";
const bytes = (value: string): Uint8Array => Uint8Array.from(value, (char) => char.charCodeAt(0));

/** A TCP connection of host A to B whose sides say things. */
class Dialogue {
  private readonly seq = [100, 900];
  constructor(
    readonly lab: CtLab,
    readonly port: number,
    readonly action: Ct,
    readonly client = 4000,
  ) {
    this.send(0, TCP_SYN);
    this.send(1, TCP_SYN | TCP_ACK);
    this.send(0, TCP_ACK);
  }
  send(side: 0 | 1, flags: number, payload = "") {
    const ends = side === 0 ? { src: A, dst: B } : { src: B, dst: A };
    const ports = side === 0 ? { src: this.client, dst: this.port } : { src: this.port, dst: this.client };
    const segment = tcp({ ...ports, flags, seq: this.seq[side], ack: this.seq[1 - side], window: 60000 });
    this.seq[side] += payload.length + ((flags & TCP_SYN) !== 0 ? 1 : 0);
    return this.lab.send(frame(ethernet(), ipv4(ends), segment, bytes(payload)), this.action);
  }
  say(side: 0 | 1, payload: string) {
    return this.send(side, TCP_PSH | TCP_ACK, payload);
  }
}

const rrq = (port: number, src = A): Uint8Array =>
  frame(ethernet(), ipv4({ src, dst: B }), udp({ src: port, dst: 69 }), bytes("\0\x01file\0octet\0"));

describe("which helpers there are", () => {
  it("C-018, C-019, C-218: known by name, protocol and family, case as it is", () => {
    const { conntrack } = new CtLab();
    const check = (name: string, proto: number, family = AF_INET): number =>
      conntrack.checkHelper(name, family, proto, false);
    for (const { name, proto, families } of builtinHelpers) {
      expect(check(name, proto)).toBe(0);
      expect(check(name, proto, AF_INET6)).toBe(families === undefined ? 0 : -EINVAL);
      expect(check(name, 0)).toBe(-EINVAL);
      const other = name === name.toUpperCase() ? name.toLowerCase() : name.toUpperCase();
      expect(check(other, proto)).toBe(-EINVAL);
    }
    expect(check("ftp", IpProto.UDP)).toBe(-EINVAL);
    expect(check("sip", IpProto.TCP)).toBe(0);
    expect(check("h323", IpProto.TCP)).toBe(-EINVAL);
    expect(check("H.245", IpProto.TCP)).toBe(-EINVAL);
    const names = [
      "H.245",
      "Q.931",
      "RAS",
      "amanda",
      "ftp",
      "irc",
      "netbios-ns",
      "pptp",
      "sane",
      "sip",
      "sip",
      "snmp",
      "snmp_trap",
      "tftp",
    ];
    expect(builtinHelpers.map(({ name }) => name).sort()).toEqual(names);
  });

  it("C-020: NAT beside a helper that has no module for it", () => {
    const { conntrack } = new CtLab();
    const check = (name: string, proto: number): number => conntrack.checkHelper(name, AF_INET, proto, true);
    for (const name of ["ftp", "irc", "sip"]) expect(check(name, IpProto.TCP)).toBe(0);
    for (const name of ["tftp", "amanda", "sip"]) expect(check(name, IpProto.UDP)).toBe(0);
    for (const name of ["pptp", "sane", "Q.931"]) expect(check(name, IpProto.TCP)).toBe(-ENOENT);
    for (const name of ["snmp", "netbios-ns", "RAS"]) expect(check(name, IpProto.UDP)).toBe(-ENOENT);
  });
});

describe("a helper of one's own", () => {
  /** The example of docs/helpers.md. */
  const open: Helper = {
    name: "open",
    proto: IpProto.TCP,
    policies: [{ maxExpected: 2, timeout: 60_000 }],
    help(context, packet, l4, _family, slot, ctInfo) {
      if (ctInfo !== IP_CT_ESTABLISHED_REPLY) return true;
      const data = tcpPayload(packet, l4);
      if (data < 0) return true;
      const payload = text(packet, data);
      if (!payload.startsWith("OPEN ")) return true;
      const port = parseDecimal(payload, 5) & 0xffff;
      if (port === 0) return true;
      const { words } = context.table;
      const entry = slot * E.WORDS;
      const expectation = expectationOf(context, slot, IpProto.TCP)
        .from(words, entry + T.SRC)
        .to(words, entry + T.DST, port);
      return context.expectations.add(expectation, context.now) === AddResult.OK;
    },
  };
  const syn = (dst: number): Uint8Array =>
    frame(ethernet(), ipv4({ src: A, dst: B }), tcp({ src: 9, dst, flags: TCP_SYN }));

  it("expects what it announces; mark and labels are the master's", () => {
    const lab = new CtLab();
    lab.conntrack.registerHelper(open);
    const dialogue = new Dialogue(lab, 77, { commit: true, helper: "open", mark: 5, labels: [0, 0, 0, 6] });
    dialogue.say(1, "OPEN 1234\n");
    const child = lab.send(syn(1234), { commit: true });
    expect([child.state, child.mark, child.labels]).toEqual(["new|rel|trk", 5, [0, 0, 0, 6]]);
    expect(lab.send(syn(1235), { commit: true }).state).toBe("new|trk");
    expect(lab.conntrack.expectations.count).toBe(0);
  });

  it("C-224: no more than its policy allows, the oldest goes; none outlives its time", () => {
    const lab = new CtLab();
    lab.conntrack.registerHelper(open);
    const dialogue = new Dialogue(lab, 77, { commit: true, helper: "open" });
    for (const port of [1, 2, 3]) dialogue.say(1, `OPEN ${port}\n`);
    expect([...lab.conntrack.expectations.values()].map(({ port }) => port)).toEqual([2, 3]);
    lab.clock.advance(60_001);
    expect(lab.send(syn(2), { commit: true }).state).toBe("new|trk");
    lab.conntrack.gc();
    expect(lab.conntrack.expectations.count).toBe(0);
  });

  it("is made known to a nokmod", () => {
    const nokmod = new Nokmod({ ports: new MemoryPorts(), helpers: [open], tickInterval: 0 });
    expect(nokmod.conntrack.checkHelper("open", AF_INET, IpProto.TCP, false)).toBe(0);
    nokmod.close();
  });

  it("is refused where the kernel refuses it", () => {
    const { conntrack } = new CtLab();
    const register = (change: Partial<Helper>): number => {
      try {
        conntrack.registerHelper({ ...open, ...change });
        return 0;
      } catch (error) {
        return (error as { errno: number }).errno;
      }
    };
    expect(register({ name: "ftp" })).toBe(EBUSY);
    expect(register({ name: "irc", families: [AF_INET] })).toBe(EBUSY);
    expect(register({ name: "irc", families: [AF_INET6] })).toBe(0);
    expect(register({ name: "sixteen-letters." })).toBe(EINVAL);
    expect(register({ policies: [] })).toBe(EINVAL);
    expect(register({ policies: [{ maxExpected: 256, timeout: 1 }] })).toBe(EINVAL);
    expect(register({})).toBe(0);
    let last = 0;
    for (let i = 0; i < 300 && last === 0; i++) last = register({ name: `more${i}` });
    expect(last).toBe(EINVAL);
  });
});

describe("expectations", () => {
  it("C-234: a flood fills the table, no more; what cannot be expected is dropped, others go on", () => {
    const lab = new CtLab({ max: 4096, buckets: 4096 });
    const { expectations } = lab.conntrack;
    expect(expectations.max).toBe(64);
    let dropped = 0;
    for (let port = 1; port <= 1000; port++) {
      if (lab.send(rrq(port), { commit: true, helper: "tftp" }).error !== 0) dropped++;
    }
    expect(expectations.count).toBe(64);
    expect(dropped).toBe(1000 - 64);
    // Those that were dropped are not in the table either.
    expect(lab.conntrack.count).toBe(64);
    expect(lab.send(frame(ethernet(), ipv4(), udp()), { commit: true }).error).toBe(0);
    lab.clock.advance(300_001);
    lab.conntrack.gc();
    expect(expectations.count).toBe(0);
    expect(lab.send(rrq(2000), { commit: true, helper: "tftp" }).error).toBe(0);
  });

  it("one master that announces without end keeps no more than its policy says", () => {
    const lab = new CtLab();
    const dialogue = new Dialogue(lab, 6667, { commit: true, helper: "irc" });
    for (let port = 1; port <= 500; port++) {
      expect(dialogue.say(0, `PRIVMSG you :\x01DCC SEND f 167772161 ${port} 9\x01\r\n`).error).toBe(0);
    }
    expect(lab.conntrack.expectations.count).toBe(8);
    expect(lab.conntrack.expectations.created).toBe(500);
    lab.conntrack.destroy(lab.slots[0], 0, false);
    expect(lab.conntrack.expectations.count).toBe(0);
  });

  it("given up: matches nothing, and goes when it is come across", () => {
    const lab = new CtLab();
    lab.send(rrq(1000), { commit: true, helper: "tftp" });
    const { expectations } = lab.conntrack;
    const [expectation] = expectations.values();
    expectations.giveUp(expectation);
    expect(expectations.find(expectation.tuple, lab.conntrack.now)).toBeUndefined();
    expect(expectations.count).toBe(1);
    const answer = frame(ethernet(), ipv4({ src: B, dst: A }), udp({ src: 5000, dst: 1000 }));
    expect(lab.send(answer, { commit: true }).state).toBe("new|trk");
    expect(expectations.count).toBe(0);
  });

  it("N-122: of a pair, both that must go are told before either that comes", () => {
    const lab = new CtLab();
    const { conntrack } = lab;
    const { expectations } = conntrack;
    const told: string[] = [];
    expectations.listener = {
      expectation: ({ port }, isNew) => void told.push(`${isNew ? "new" : "gone"} ${port}`),
    };
    conntrack.registerHelper({
      name: "pairs",
      proto: IpProto.UDP,
      policies: [{ maxExpected: 3, timeout: 1000 }],
      help: () => true,
    });
    lab.send(rrq(1000), { commit: true, helper: "pairs" });
    const [slot] = lab.slots;
    const { words } = conntrack.table;
    const make = (port: number): Expectation =>
      expectationOf(conntrack, slot, IpProto.UDP)
        .from(words, slot * E.WORDS + T.SRC)
        .to(words, slot * E.WORDS + T.DST, port);
    expectations.addPair(make(2), make(3), conntrack.now);
    expectations.addPair(make(4), make(5), conntrack.now);
    expectations.addPair(make(4), make(5), conntrack.now);
    expect(told).toEqual(["new 2", "new 3", "gone 2", "new 4", "new 5", "gone 4", "gone 5", "new 4", "new 5"]);
    expect(expectations.of(slot).map(({ port }) => port)).toEqual([3, 4, 5]);
  });

  it("a pair is added as a whole or not at all; equal ones of two masters are told apart from clashes", () => {
    const lab = new CtLab();
    lab.send(rrq(1000), { commit: true, helper: "tftp" });
    lab.send(rrq(1001), { commit: true, helper: "tftp" });
    const { conntrack } = lab;
    const { expectations, now } = conntrack;
    for (const one of [...expectations.values()]) expectations.remove(one, 0, false);
    const [first, second] = lab.slots;
    const { words } = conntrack.table;
    const make = (slot: number, port: number): Expectation =>
      expectationOf(conntrack, slot, IpProto.UDP)
        .from(words, slot * E.WORDS + T.SRC)
        .to(words, slot * E.WORDS + T.DST, port);
    expect(expectations.add(make(first, 7), now)).toBe(AddResult.OK);
    expect(expectations.add(make(second, 7), now)).toBe(AddResult.BUSY);
    expect(expectations.add(make(second, 7), now, 0, false, true)).toBe(AddResult.ALREADY);
    expect(expectations.addPair(make(second, 6), make(second, 7), now)).toBe(AddResult.ALREADY);
    expect(expectations.count).toBe(1);
    words[second * E.WORDS + E.STATUS] &= ~IPS_HELPER;
    words[second * E.WORDS + E.EXT] &= ~Ext.HELPER_MASK;
    expect(expectations.add(make(second, 9), now)).toBe(AddResult.NO_HELPER);
  });
});

describe("before Linux 6.6", () => {
  const answer = frame(ethernet(), ipv4({ src: B, dst: A }), udp({ src: 5000, dst: 1000 }));

  it("C-119: an expected packet is told apart, not tracked; what clashes with it goes", () => {
    for (const expectationsTracked of [false, true]) {
      const lab = new CtLab({ expectationsTracked });
      const master = { commit: true, zone: 3, helper: "tftp", mark: 9, labels: [1, 2, 3, 4] };
      lab.send(answer, { commit: true, zone: 3 });
      expect(lab.send(rrq(1000), master).error).toBe(0);
      const flight = lab.send(answer, { zone: 3 });
      if (expectationsTracked) {
        expect([flight.state, lab.conntrack.count]).toEqual(["new|trk", 2]);
        continue;
      }
      expect([flight.state, flight.zone, flight.mark, flight.labels]).toEqual(["new|rel|trk", 3, 9, [1, 2, 3, 4]]);
      expect(flight.packet.ct).toBeLessThan(0);
      expect(lab.conntrack.count).toBe(1);
      expect(lab.conntrack.expectations.count).toBe(1);
      // Committed it is a connection like any other.
      expect(lab.send(answer, { commit: true, zone: 3 }).state).toBe("new|rel|trk");
      expect([lab.conntrack.count, lab.conntrack.expectations.count]).toEqual([2, 0]);
    }
  });
});

describe("PPTP", () => {
  const control = (type: number, size: number, ...head: number[]): string => {
    const body = new Uint8Array(size);
    for (const [i, value] of head.entries()) body.set([value >> 8, value & 255], i * 2);
    const header = [12 + size, 1, 0x1a2b, 0x3c4d, type, 0].flatMap((value) => [value >> 8, value & 255]);
    return String.fromCharCode(...header, ...body);
  };
  const gre = (src: string, dst: string, call: number): Uint8Array =>
    frame(
      ethernet(),
      ipv4({ src, dst, proto: 47 }),
      concat(bytes("\x30\x01\x88\x0b\0\x04"), Uint8Array.of(call >> 8, call & 255), bytes("\0\0\0\x01data")),
    );

  it("C-332: both directions of a call are one connection, which goes with the control connection", () => {
    const lab = new CtLab();
    const dialogue = new Dialogue(lab, 1723, { commit: true, helper: "pptp" });
    dialogue.say(0, control(1, 144, 0x100));
    dialogue.say(1, control(2, 144, 0x100, 0x0100));
    dialogue.say(0, control(7, 156, 0x11));
    dialogue.say(1, control(8, 20, 0x22, 0x11, 0x0100));
    expect(lab.conntrack.expectations.count).toBe(2);
    expect(lab.send(gre(A, B, 0x22), { commit: true }).state).toBe("new|rel|trk");
    expect(lab.send(gre(B, A, 0x11), { commit: true }).state).toBe("est|rel|rpl|trk");
    expect(lab.entries.filter((line) => line.startsWith("47 "))).toEqual([`47 ${A}:17>${B}:34 ${B}:34>${A}:17`]);
    expect(lab.conntrack.greKeys.size).toBe(2);
    // Another call id is another connection, which nobody expects.
    expect(lab.send(gre(A, B, 0x23), {}).state).toBe("new|trk");
    lab.conntrack.destroy(lab.slots[0], 0, false);
    lab.end();
    expect([lab.conntrack.count, lab.conntrack.greKeys.size]).toEqual([0, 0]);
  });
});
