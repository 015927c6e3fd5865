import { describe, expect, it } from "vitest";
import { IPS_ASSURED, IPS_CONFIRMED, IPS_SEEN_REPLY } from "../../src/uapi/nfnetlink.ts";
import { CtLab, verifyFrame } from "../support/conntrack.ts";
import { ethernet, frame, icmp, icmpv6, ipv4, ipv6, nd, tcp, udp } from "../support/frames.ts";

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
