import { describe, expect, it } from "vitest";
import { share } from "../../src/packet/edit/writable.ts";
import { completePartial, pseudoV4, setPartial } from "../../src/packet/l4-checksum.ts";
import { IPS_ASSURED, IPS_CONFIRMED, IPS_SEEN_REPLY } from "../../src/uapi/nfnetlink.ts";
import { CtLab, verifyFrame } from "../support/conntrack.ts";
import {
  ethernet,
  fragmentIpv4,
  fragmentIpv6,
  frame,
  hex,
  icmp,
  icmpv6,
  ipv4,
  ipv6,
  nd,
  tcp,
  udp,
} from "../support/frames.ts";

const A = "10.1.1.1";
const B = "10.1.2.2";
const there = (payload = "hello", src = 1000, dst = 2000): Uint8Array =>
  frame(ethernet(), ipv4({ src: A, dst: B }), udp({ src, dst }), payload);
const back = (payload = "world", src = 2000, dst = 1000): Uint8Array =>
  frame(ethernet(), ipv4({ src: B, dst: A }), udp({ src, dst }), payload);

describe("lookup and commit", () => {
  it("C-122: a lookup of an unknown connection leaves nothing behind", () => {
    const lab = new CtLab();
    const flight = lab.apply(lab.receive(there()), {});
    expect(flight.state).toBe("new|trk");
    expect(lab.conntrack.count).toBe(1);
    lab.end();
    expect(lab.conntrack.count).toBe(0);
    expect(lab.entries).toEqual([]);
    expect(lab.events).toEqual([]);
  });

  it("C-145, C-148, C-149: commit puts both tuples in, the timeout starts, NEW is told", () => {
    const lab = new CtLab();
    const flight = lab.apply(lab.receive(there()), { commit: true });
    expect(flight.error).toBe(0);
    expect(flight.state).toBe("new|trk");
    lab.end();
    expect(lab.entries).toEqual(["17 10.1.1.1:1000>10.1.2.2:2000 10.1.2.2:2000>10.1.1.1:1000"]);
    expect(lab.left()).toBe(30);
    expect(lab.events).toEqual(["NEW 17 10.1.1.1:1000>10.1.2.2:2000 10.1.2.2:2000>10.1.1.1:1000"]);
    expect(lab.status(lab.slots[0]) & IPS_CONFIRMED).toBe(IPS_CONFIRMED);
  });

  it("C-107, C-110, C-373: new until a reply was seen, then est; the reply is est|rpl, never new|rpl", () => {
    const lab = new CtLab();
    lab.send(there(), { commit: true });
    expect(lab.send(there()).state).toBe("new|trk");
    const reply = lab.send(back());
    expect(reply.ctState).toBe(0x2a);
    expect(lab.send(there()).state).toBe("est|trk");
    expect(lab.status(lab.slots[0]) & IPS_SEEN_REPLY).toBe(IPS_SEEN_REPLY);
  });

  it("C-254: an expired entry is absent, and told as DESTROY", () => {
    const lab = new CtLab();
    lab.send(there(), { commit: true });
    lab.clock.advance(29_999);
    expect(lab.entries).toHaveLength(1);
    lab.clock.advance(1);
    expect(lab.entries).toHaveLength(0);
    expect(lab.send(back()).state).toBe("new|trk");
    lab.conntrack.gc();
    expect(lab.events.map((line) => line.split(" ")[0])).toEqual(["NEW", "DESTROY"]);
    expect(lab.conntrack.count).toBe(0);
  });

  it("C-313, C-314: UDP is a stream two seconds after its beginning", () => {
    const lab = new CtLab();
    lab.send(there(), { commit: true });
    lab.send(back());
    expect(lab.left()).toBe(30);
    lab.clock.advance(2000);
    lab.send(there());
    expect(lab.left()).toBe(30);
    lab.clock.advance(1);
    lab.send(there());
    expect(lab.left()).toBe(120);
    expect(lab.status(lab.slots[0]) & IPS_ASSURED).toBe(IPS_ASSURED);
  });

  it("C-115, C-361, C-362: zones are apart", () => {
    const lab = new CtLab();
    lab.send(there(), { commit: true, zone: 65535 });
    expect(lab.send(back(), { zone: 1 }).state).toBe("new|trk");
    const reply = lab.send(back(), { zone: 65535 });
    expect(reply.state).toBe("est|rpl|trk");
    expect(reply.zone).toBe(65535);
  });
});

describe("NAT of IPv4", () => {
  it("C-397: source translation and back", () => {
    const lab = new CtLab();
    const out = lab.send(there(), { commit: true, zone: 1, nat: { src: "192.0.2.1" } });
    expect(out.state).toBe("new|trk|snat");
    expect(out.addresses).toBe("192.0.2.1:1000>10.1.2.2:2000");
    verifyFrame(out.bytes);
    const reply = frame(ethernet(), ipv4({ src: B, dst: "192.0.2.1" }), udp({ src: 2000, dst: 1000 }), "world");
    const restored = lab.send(reply, { zone: 1, nat: {} });
    expect(restored.state).toBe("est|rpl|trk|dnat");
    expect(restored.addresses).toBe("10.1.2.2:2000>10.1.1.1:1000");
    verifyFrame(restored.bytes);
    expect(lab.entries).toEqual(["17 10.1.1.1:1000>10.1.2.2:2000 10.1.2.2:2000>192.0.2.1:1000 zone=1"]);
  });

  it("destination translation sets snat too by the null binding (C-165)", () => {
    const lab = new CtLab();
    const out = lab.send(there(), { commit: true, nat: { dst: "192.0.2.9", port: 80 } });
    expect(out.state).toBe("new|trk|snat|dnat");
    expect(out.addresses).toBe("10.1.1.1:1000>192.0.2.9:80");
    verifyFrame(out.bytes);
  });

  it("ICMP echo keeps its connection by id (C-178, C-325)", () => {
    const lab = new CtLab();
    const echo = frame(ethernet(), ipv4({ src: A, dst: B }), icmp({ type: 8, rest: 0x12340001 }), "ping");
    const out = lab.send(echo, { commit: true, nat: { src: "192.0.2.1" } });
    expect(out.addresses).toBe("192.0.2.1>10.1.2.2");
    verifyFrame(out.bytes);
    const answer = frame(ethernet(), ipv4({ src: B, dst: "192.0.2.1" }), icmp({ type: 0, rest: 0x12340001 }), "ping");
    const restored = lab.send(answer, { nat: {} });
    expect(restored.state).toBe("est|rpl|trk|dnat");
    expect(restored.addresses).toBe("10.1.2.2>10.1.1.1");
    verifyFrame(restored.bytes);
  });

  it("C-399: an ICMP error for a translated flow is restored inside and out", () => {
    const lab = new CtLab();
    const out = lab.send(there(), { commit: true, nat: { src: "192.0.2.1", port: 5000 } });
    const inside = out.bytes.slice(14);
    const error = frame(
      ethernet(),
      ipv4({ src: "10.9.9.9", dst: "192.0.2.1" }),
      icmp({ type: 3, code: 3, rest: 0 }),
      inside,
    );
    const restored = lab.send(error, { nat: {} });
    expect(restored.state).toBe("rel|rpl|trk|dnat");
    expect(restored.addresses).toBe("10.9.9.9>10.1.1.1");
    verifyFrame(restored.bytes);
    expect(restored.bytes.slice(42)).toEqual(there().slice(14));
  });
});

describe("IPv6", () => {
  it("source translation and back", () => {
    const lab = new CtLab();
    const out = lab.send(frame(ethernet(), ipv6({ src: "fd00::1", dst: "fd01::2" }), udp(), "hi"), {
      commit: true,
      nat: { src: "fd02::7" },
    });
    expect(out.addresses).toBe("fd02:0:0:0:0:0:0:7:1000>fd01:0:0:0:0:0:0:2:2000");
    verifyFrame(out.bytes);
    const restored = lab.send(
      frame(ethernet(), ipv6({ src: "fd01::2", dst: "fd02::7" }), udp({ src: 2000, dst: 1000 }), "hi"),
      { nat: {} },
    );
    expect(restored.state).toBe("est|rpl|trk|dnat");
    verifyFrame(restored.bytes);
  });

  it("C-112: neighbour discovery is not tracked", () => {
    const lab = new CtLab();
    const flight = lab.send(frame(ethernet(), ipv6(), nd({ sll: "02:00:00:00:00:01" })), { commit: true, zone: 3 });
    expect(flight.ctState).toBe(0x30);
    expect(flight.zone).toBe(3);
    expect(lab.entries).toEqual([]);
  });

  it("C-323: echo", () => {
    const lab = new CtLab();
    lab.send(frame(ethernet(), ipv6(), icmpv6({ type: 128 }), "x"), { commit: true });
    const reply = lab.send(frame(ethernet(), ipv6({ src: "fd00::2", dst: "fd00::1" }), icmpv6({ type: 129 }), "x"));
    expect(reply.state).toBe("est|rpl|trk");
  });
});

describe("TCP", () => {
  it("C-273 to C-283: a connection opens and closes", () => {
    const lab = new CtLab();
    const to = (o: object, payload = ""): Uint8Array => frame(ethernet(), ipv4({ src: A, dst: B }), tcp(o), payload);
    const from = (o: object, payload = ""): Uint8Array =>
      frame(ethernet(), ipv4({ src: B, dst: A }), tcp({ src: 2000, dst: 1000, ...o }), payload);
    expect(lab.send(to({ flags: 2, seq: 100 }), { commit: true }).state).toBe("new|trk");
    expect(lab.left()).toBe(120);
    expect(lab.send(from({ flags: 0x12, seq: 500, ack: 101 })).state).toBe("est|rpl|trk");
    expect(lab.left()).toBe(60);
    expect(lab.send(to({ flags: 0x10, seq: 101, ack: 501 })).state).toBe("est|trk");
    expect(lab.left()).toBe(432000);
    expect(lab.status(lab.slots[0]) & IPS_ASSURED).toBe(IPS_ASSURED);
    lab.send(to({ flags: 0x11, seq: 101, ack: 501 }));
    expect(lab.left()).toBe(120);
    lab.send(from({ flags: 0x10, seq: 501, ack: 102 }));
    expect(lab.left()).toBe(60);
    lab.send(from({ flags: 0x11, seq: 501, ack: 102 }));
    expect(lab.left()).toBe(30);
    lab.send(to({ flags: 0x10, seq: 102, ack: 502 }));
    expect(lab.left()).toBe(120);
  });
});

describe("the table", () => {
  const flow = (port: number): Uint8Array => frame(ethernet(), ipv4({ src: A, dst: B }), udp({ src: port, dst: 1 }));
  const established = (lab: CtLab, port: number): void => {
    const to = (flags: number, seq: number, ack: number): Uint8Array =>
      frame(ethernet(), ipv4({ src: A, dst: B }), tcp({ src: port, dst: 1, flags, seq, ack }));
    lab.send(to(2, 1, 0), { commit: true });
    lab.send(frame(ethernet(), ipv4({ src: B, dst: A }), tcp({ src: 1, dst: port, flags: 0x12, seq: 1, ack: 2 })));
    lab.send(to(0x10, 2, 2));
  };

  it("C-123, C-258, C-259: a full table evicts what is not assured, and refuses when all is", () => {
    // One bucket range covers all of so small a table.
    const lab = new CtLab({ max: 8 });
    for (let port = 1; port <= 8; port++) established(lab, port);
    expect(lab.conntrack.count).toBe(8);
    expect(lab.send(flow(100)).error).toBe(-22);
    expect(lab.conntrack.stats.drop).toBe(1);
    expect(lab.conntrack.count).toBe(8);

    const open = new CtLab({ max: 512 });
    for (let port = 1; port <= 512; port++) open.send(flow(port), { commit: true });
    let refused = 0;
    for (let port = 1000; port < 1100; port++) if (open.send(flow(port), { commit: true }).error !== 0) refused++;
    expect(open.conntrack.stats.earlyDrop).toBeGreaterThanOrEqual(100 - refused);
    expect(open.conntrack.count).toBeLessThanOrEqual(512);
    expect(open.conntrack.stats.earlyDrop).toBeGreaterThan(50);
  });

  it("C-259: once a packet was refused, the collector takes what closes or is not assured from a table 95 % full", () => {
    const lab = new CtLab({ max: 200 });
    for (let port = 1; port <= 198; port++) established(lab, port);
    lab.send(flow(1), { commit: true });
    lab.send(frame(ethernet(), ipv4({ src: A, dst: B }), tcp({ src: 3, dst: 1, flags: 0x11, seq: 2, ack: 2 })));
    lab.conntrack.gc();
    expect(lab.conntrack.count).toBe(199);
    // Buckets far from that of the UDP flow are full of assured connections.
    for (let port = 1000; lab.conntrack.stats.drop === 0; port++) lab.send(flow(port), { commit: true });
    lab.conntrack.gc();
    expect(lab.conntrack.count).toBe(197);
    expect(lab.entries.every((line) => line.startsWith("6 "))).toBe(true);
    expect(lab.entries.some((line) => line.includes(":3>"))).toBe(false);
    expect(lab.send(flow(100), { commit: true }).error).toBe(0);
    // The round is over: no more than that.
    lab.conntrack.gc();
    expect(lab.conntrack.count).toBe(198);
  });

  it("C-257: the count includes unconfirmed entries, until their packet is gone", () => {
    const lab = new CtLab();
    lab.apply(lab.receive(flow(1)));
    lab.apply(lab.receive(flow(2)));
    expect(lab.conntrack.count).toBe(2);
    lab.end();
    expect(lab.conntrack.count).toBe(0);
  });

  it("C-260: endBatch collects what has expired within ten seconds of batches", () => {
    const lab = new CtLab();
    for (let port = 1; port <= 300; port++) lab.send(flow(port), { commit: true });
    lab.clock.advance(30_000);
    for (let i = 0; i < 1000; i++) {
      lab.clock.advance(10);
      lab.end();
    }
    expect(lab.conntrack.count).toBe(0);
    expect(lab.events.filter((line) => line.startsWith("DESTROY"))).toHaveLength(300);
  });

  it("C-262: a changed timeout counts from the next refresh", () => {
    const lab = new CtLab();
    lab.send(flow(1), { commit: true });
    lab.conntrack.timeouts.udp[1] = 5000;
    expect(lab.left()).toBe(30);
    lab.send(flow(1));
    expect(lab.left()).toBe(5);
  });

  it("a higher limit keeps every connection where packets find it", () => {
    const lab = new CtLab({ max: 100 });
    for (let port = 1; port <= 100; port++) lab.send(flow(port), { commit: true, nat: { src: "192.0.2.1" } });
    lab.conntrack.setMax(100_000);
    for (let port = 1; port <= 100; port++) {
      const answer = frame(ethernet(), ipv4({ src: B, dst: "192.0.2.1" }), udp({ src: 1, dst: port }));
      expect(lab.send(answer, { nat: {} }).addresses).toBe(`10.1.2.2:1>10.1.1.1:${port}`);
    }
    expect(lab.send(flow(101), { commit: true }).error).toBe(0);
  });

  it("the memory of a connection, hash tables included, is at most 400 bytes", () => {
    expect(new CtLab({ max: 262144 }).conntrack.table.bytesPerConnection).toBeLessThanOrEqual(400);
  });

  it("a slot of a deleted connection is not used again while its batch lasts", () => {
    const lab = new CtLab();
    lab.send(there(), { commit: true });
    const first = lab.apply(lab.receive(there()));
    lab.conntrack.destroy(first.packet.ct, 0, false);
    const second = lab.apply(lab.receive(flow(9)), { commit: true });
    expect(second.packet.ct).not.toBe(first.packet.ct);
    expect(lab.apply(first, { commit: true, mark: 5 }).error).toBe(0);
    lab.end();
    expect(lab.entries).toEqual(["17 10.1.1.1:9>10.1.2.2:1 10.1.2.2:1>10.1.1.1:9"]);
  });
});

describe("fragments", () => {
  it("C-063, C-065, C-067: the whole datagram is tracked, in each zone for itself", () => {
    const lab = new CtLab();
    const whole = there("x".repeat(3000));
    const pieces = fragmentIpv4(whole, 1400);
    for (const zone of [1, 2]) {
      const flights = pieces.map((piece) => lab.send(piece, { zone, commit: true }));
      expect(flights.map((flight) => flight.error)).toEqual([-115, -115, 0]);
      expect(hex(flights[2].bytes.slice(34))).toBe(hex(whole.slice(34)));
      expect(flights[2].packet.mru).toBe(1420);
    }
    expect(lab.entries).toHaveLength(2);
  });

  it("IPv6 likewise", () => {
    const lab = new CtLab();
    const whole = frame(ethernet(), ipv6(), udp(), "y".repeat(3000));
    const flights = fragmentIpv6(whole, 1400).map((piece) =>
      lab.send(piece, { commit: true, nat: { src: "fd09::1" } }),
    );
    expect(flights.map((flight) => flight.error)).toEqual([-115, -115, 0]);
    verifyFrame(flights[2].bytes);
    expect(flights[2].addresses).toBe("fd09:0:0:0:0:0:0:1:1000>fd00:0:0:0:0:0:0:2:2000");
  });
});

describe("ct_clear", () => {
  it("C-237, C-238: the key is emptied, and ct afterwards tracks again", () => {
    const lab = new CtLab();
    lab.send(there(), { commit: true, mark: 7, labels: [1, 2, 3, 4] });
    const flight = lab.apply(lab.receive(there()));
    lab.conntrack.clear(flight.packet, flight.key);
    expect([flight.ctState, flight.zone, flight.mark, ...flight.labels]).toEqual([0, 0, 0, 0, 0, 0, 0]);
    lab.apply(flight);
    expect(flight.state).toBe("new|trk");
    expect(flight.mark).toBe(7);
    lab.end();
  });
});

describe("partial checksums and GSO", () => {
  it("C-059, C-176: a partial checksum is trusted, and stays the pseudo header's sum", () => {
    const lab = new CtLab();
    const flight = lab.receive(frame(ethernet(), ipv4({ src: A, dst: B }), tcp({ flags: 2 })));
    const { packet } = flight;
    const { view } = packet.memory;
    setPartial(packet, packet.l4, 16);
    view.setUint16(packet.l4 + 16, pseudoV4(view, packet.l3, 6, 20));
    lab.apply(flight, { commit: true, nat: { src: "192.0.2.1", port: 5 } });
    expect(flight.state).toBe("new|trk|snat");
    expect(view.getUint16(packet.l4 + 16)).toBe(pseudoV4(view, packet.l3, 6, 20));
    completePartial(packet);
    verifyFrame(flight.bytes);
  });

  it("bytes that an output still needs are left alone", () => {
    const lab = new CtLab();
    const flight = lab.receive(there());
    const { off } = flight.packet;
    const before = hex(flight.bytes);
    share(flight.packet);
    lab.apply(flight, { commit: true, nat: { src: "192.0.2.1" } });
    expect(flight.addresses).toBe("192.0.2.1:1000>10.1.2.2:2000");
    expect(hex(lab.memory.bytes.slice(off, off + there().length))).toBe(before);
  });
});

describe("limits", () => {
  it("C-366, C-134: a deleted limit counts from the next commit; 0 is unlimited; a connection that goes makes room", () => {
    const lab = new CtLab();
    const { limits } = lab.conntrack;
    limits.set(5, 1);
    const go = (port: number): number =>
      lab.send(frame(ethernet(), ipv4(), udp({ src: port })), { zone: 5, commit: true }).error;
    expect([go(1), go(2), go(1)]).toEqual([0, -12, 0]);
    expect(limits.countOf(5)).toBe(1);
    lab.conntrack.destroy(lab.slots[0], 0, false);
    expect(limits.countOf(5)).toBe(0);
    expect(go(2)).toBe(0);
    limits.delete(5);
    expect(go(3)).toBe(0);
    limits.setDefault(1);
    limits.set(5, 0);
    expect(go(4)).toBe(0);
  });
});

describe("port search", () => {
  const clash = (port: number, attempts: number, isTcp = false): number[] => {
    const lab = new CtLab();
    const ports: number[] = [];
    for (let i = 1; i <= attempts; i++) {
      const layer = isTcp ? tcp({ src: port, dst: 80, flags: 2 }) : udp({ src: port, dst: 80 });
      const out = lab.send(frame(ethernet(), ipv4({ src: `10.0.0.${i}`, dst: B }), layer), {
        commit: true,
        nat: { src: "192.0.2.1" },
      });
      if (out.error === 0) ports.push(Number(out.addresses.split(/[:>]/)[1]));
    }
    return ports;
  };

  it("C-191: a free port is kept", () => {
    expect(clash(4000, 1)).toEqual([4000]);
  });

  it("C-193: low ports stay low, reserved ones reserved, the others above 1023", () => {
    for (const [port, min, max] of [
      [100, 1, 511],
      [600, 600, 1023],
      [1024, 1024, 65535],
    ]) {
      const found = clash(port, 100);
      expect(new Set(found).size).toBe(found.length);
      expect(found).toHaveLength(100);
      for (const one of found) {
        expect(one).toBeGreaterThanOrEqual(min);
        expect(one).toBeLessThanOrEqual(max);
      }
    }
  });

  it("C-165, C-168, C-192: two servers translated to one: the destination's port stays, the source's gives way", () => {
    const lab = new CtLab();
    const go = (dst: string): number =>
      lab.send(frame(ethernet(), ipv4({ src: A, dst }), tcp({ flags: 2 })), { commit: true, nat: { dst: "192.0.2.1" } })
        .error;
    expect(go("10.9.0.1")).toBe(0);
    expect(go("10.9.0.2")).toBe(0);
    expect(lab.entries).toHaveLength(2);
    expect(lab.entries.every((line) => line.includes("192.0.2.1:2000>10.1.1.1:"))).toBe(true);
  });

  it("C-194, C-046: a reversed range is read the right way round", () => {
    const lab = new CtLab();
    for (let i = 1; i <= 3; i++) {
      const out = lab.send(frame(ethernet(), ipv4({ src: `10.0.0.${i}`, dst: B }), udp({ src: 9 })), {
        commit: true,
        nat: { src: "192.0.2.1", port: 32, portMax: 30 },
      });
      const port = Number(out.addresses.split(/[:>]/)[1]);
      expect(port).toBeGreaterThanOrEqual(30);
      expect(port).toBeLessThanOrEqual(32);
    }
  });

  it("C-199: random ports are not kept even if free", () => {
    const kept = Array.from({ length: 20 }, (_, seed) => {
      const lab = new CtLab({}, seed * 2 + 1);
      const out = lab.send(there(), { commit: true, nat: { src: "192.0.2.1", random: true } });
      return Number(out.addresses.split(/[:>]/)[1]);
    });
    expect(new Set(kept).size).toBeGreaterThan(15);
  });

  it("C-198: a closed connection gives way to a SYN whose numbers are beyond its own", () => {
    const lab = new CtLab();
    const nat = { src: "192.0.2.1", port: 7, portMax: 8 };
    const to = (host: number, o: object): Uint8Array =>
      frame(ethernet(), ipv4({ src: `10.0.0.${host}`, dst: B }), tcp({ src: 9, dst: 80, ...o }));
    const ports: number[] = [];
    for (const host of [1, 2]) {
      const out = lab.send(to(host, { flags: 2, seq: 100 }), { commit: true, nat });
      const port = Number(out.addresses.split(/[:>]/)[1]);
      ports.push(port);
      const from = (o: object): Uint8Array =>
        frame(ethernet(), ipv4({ src: B, dst: "192.0.2.1" }), tcp({ src: 80, dst: port, ...o }));
      lab.send(from({ flags: 0x12, seq: 500, ack: 101 }), { nat: {} });
      lab.send(to(host, { flags: 0x10, seq: 101, ack: 501 }), { nat: {} });
      lab.send(to(host, { flags: 4, seq: 101 }), { nat: {} });
    }
    expect(ports.sort()).toEqual([7, 8]);
    expect(lab.send(to(3, { flags: 2, seq: 50 }), { commit: true, nat }).error).toBe(-22);
    expect(lab.send(to(3, { flags: 2, seq: 5000 }), { commit: true, nat }).error).toBe(0);
    expect(lab.entries).toHaveLength(2);
  });
});

describe("clashes", () => {
  // Two packets of one new connection in one batch: the second is tracked before the first is committed.
  const race = (layer: () => Uint8Array, nat?: { src: string }): { lab: CtLab; errors: number[] } => {
    const lab = new CtLab({ acct: true });
    const first = lab.apply(lab.receive(layer()));
    const second = lab.apply(lab.receive(layer()));
    const errors = [first, second].map((flight) => lab.apply(flight, { commit: true, nat }).error);
    lab.end();
    return { lab, errors };
  };

  it("C-147, C-266, C-267, C-270: UDP: the loser adopts the winner's entry", () => {
    const { lab, errors } = race(() => there());
    expect(errors).toEqual([0, 0]);
    expect(lab.conntrack.stats.clashResolve).toBe(1);
    expect(lab.entries).toHaveLength(1);
    expect(lab.word(lab.slots[0], 48)).toBe(2);
  });

  it("C-266: GRE and unknown protocols as UDP", () => {
    for (const proto of [47, 89]) {
      const { lab, errors } = race(() => frame(ethernet(), ipv4({ proto }), new Uint8Array(8)));
      expect(errors).toEqual([0, 0]);
      expect(lab.entries).toHaveLength(1);
    }
  });

  it("C-147, C-270: TCP: the loser is dropped", () => {
    const { lab, errors } = race(() => frame(ethernet(), ipv4(), tcp({ flags: 2 })));
    expect(errors).toEqual([0, -22]);
    expect(lab.conntrack.stats.insertFailed).toBe(1);
  });

  it("C-268: translated differently, the loser lives for a second, for answers only, and is in no list", () => {
    const lab = new CtLab();
    const first = lab.apply(lab.receive(there()));
    const second = lab.apply(lab.receive(there()));
    lab.apply(first, { commit: true, nat: { src: "192.0.2.1" } });
    lab.apply(second, { commit: true, nat: { src: "192.0.2.2" } });
    lab.end();
    expect([first.error, second.error]).toEqual([0, 0]);
    expect(lab.entries).toHaveLength(1);
    expect(lab.conntrack.count).toBe(2);
    const answer = frame(ethernet(), ipv4({ src: B, dst: "192.0.2.2" }), udp({ src: 2000, dst: 1000 }));
    expect(lab.send(answer, { nat: {} }).addresses).toBe("10.1.2.2:2000>10.1.1.1:1000");
    lab.clock.advance(1000);
    expect(lab.send(answer, { nat: {} }).state).toBe("new|trk");
    lab.conntrack.gc();
    expect(lab.conntrack.count).toBe(1);
  });
});

describe("key after ct", () => {
  it("C-105, C-109: new and rpl never stand together", () => {
    const lab = new CtLab();
    for (const bytes of [there(), back(), there(), back("x", 9, 9)]) {
      for (const commit of [false, true]) expect(lab.send(bytes, { commit }).ctState & 9).not.toBe(9);
    }
  });

  it("C-239: after an address was set, the entry is looked up by the new tuple", () => {
    const lab = new CtLab();
    lab.send(frame(ethernet(), ipv4({ src: "10.5.5.5", dst: B }), udp()), { commit: true, mark: 9 });
    const flight = lab.apply(lab.receive(there()));
    // What the set action does: the bytes change, the reference goes, the key's state stays.
    lab.memory.view.setUint32(flight.packet.l3 + 12, 0x0a050505);
    flight.packet.ct = -1;
    lab.apply(flight);
    expect(flight.packet.ct).toBe(lab.slots[0]);
    lab.end();
  });
});

describe("helpers", () => {
  it("C-018, C-019, C-218: names are found exactly, for their protocol", () => {
    const { conntrack } = new CtLab();
    expect(conntrack.checkHelper("ftp", 2, 6, false)).toBe(0);
    expect(conntrack.checkHelper("tftp", 10, 17, true)).toBe(0);
    for (const [name, proto] of [
      ["FTP", 6],
      ["ftp", 17],
      ["ftp", 0],
      ["nosuch", 6],
      ["", 6],
    ] as const) {
      expect(conntrack.checkHelper(name, 2, proto, false)).toBe(-22);
    }
  });

  it("C-234: a full table of expectations drops the packet that would make one more", () => {
    const lab = new CtLab({ buckets: 256 });
    expect(lab.conntrack.expectations.max).toBe(4);
    const rrq = (port: number): number =>
      lab.send(frame(ethernet(), ipv4(), udp({ src: port, dst: 69 }), "\0\x01f\0octet\0"), {
        commit: true,
        helper: "tftp",
      }).error;
    expect([1, 2, 3, 4, 5].map(rrq)).toEqual([0, 0, 0, 0, -22]);
    lab.clock.advance(300_000);
    lab.conntrack.gc();
    expect(lab.conntrack.expectations.count).toBe(0);
  });
});
