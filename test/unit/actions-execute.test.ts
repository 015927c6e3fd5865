import { beforeEach, describe, expect, it } from "vitest";
import { ActionExecutor } from "../../src/datapath/actions/execute.ts";
import { dpHash } from "../../src/flow/hash.ts";
import { K } from "../../src/flow/key.ts";
import { PacketMemory } from "../../src/packet/memory.ts";
import { Csum, CtRef, Gso, type Packet } from "../../src/packet/packet.ts";
import { EINPROGRESS, EINVAL, ENETDOWN, ENOMEM } from "../../src/uapi/errno.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import { frameOf, type HostEvent, RecordingHost } from "../support/action-host.ts";
import * as a from "../support/actions.ts";
import { concat, ethernet, frame, hex, ip4, ipv4, mac, tcp, udp, unhex } from "../support/frames.ts";

const UDP = frame(ethernet(), ipv4(), udp({ src: 2000, dst: 53 }), "payload!");
const TCP = frame(ethernet(), ipv4(), tcp({ src: 1000, dst: 80 }), "hello, world");
const MAC_X = mac("0e:00:00:00:00:01");
const MAC_Y = mac("0e:00:00:00:00:02");
const edit = () => a.setEthernet(MAC_X, MAC_Y);

let memory: PacketMemory;
let host: RecordingHost;
let executor: ActionExecutor;

beforeEach(() => {
  memory = new PacketMemory();
  host = new RecordingHost(memory);
  executor = new ActionExecutor(host, memory);
});

function run(bytes: Uint8Array, ...actions: Uint8Array[]): { error: number; packet: Packet; key: Int32Array } {
  const { packet, key } = a.receive(memory, bytes);
  const program = a.compile(key, ...actions);
  const error = executor.execute(packet, key, program);
  return { error, packet, key };
}

const kinds = () => host.events.map((event) => event.kind);
const outputs = () => host.events.filter((event): event is HostEvent & { kind: "output" } => event.kind === "output");
const ports = () => outputs().map((event) => event.port);

describe("order and copies", () => {
  it("A-112, A-113: each output sends the packet as it is then, whatever comes later", () => {
    run(UDP, a.output(1), edit(), a.output(2), a.pushVlan(5), a.output(3), a.popVlan(), a.setUdp(1, 2), a.output(4));
    const frames = outputs().map((event) => event.frame());
    expect(ports()).toEqual([1, 2, 3, 4]);
    expect(frames[0]).toBe(hex(UDP));
    expect(frames[1]).toBe(hex(concat(MAC_Y, MAC_X, UDP.subarray(12))));
    expect(frames[2]).toBe(hex(concat(MAC_Y, MAC_X, unhex("81000005"), UDP.subarray(12))));
    expect(frames[3].slice(68, 76)).toBe("00010002");
    // Of the copies none disturbed an earlier one.
    expect(frames[1].slice(68, 76)).toBe("07d00035");
  });

  it("A-113: outputs with nothing changed between them share one frame", () => {
    run(UDP, ...[1, 2, 3, 4].map(a.output));
    const before = memory.scratch(0);
    expect(outputs().map((event) => event.frame())).toEqual(Array(4).fill(hex(UDP)));
    run(UDP, a.output(1), edit(), a.output(2));
    expect(memory.scratch(0)).toBeGreaterThan(before);
  });

  it("A-113: a change before the first output is made in place", () => {
    const { packet } = run(UDP, edit(), a.setUdp(7, 8), a.pushMpls(0x1140), a.output(2));
    // Only the received frame itself took scratch memory.
    expect(packet.off).toBeLessThan(256);
  });

  it("A-114, A-036: an empty list does nothing and succeeds", () => {
    const { error } = run(UDP);
    expect(error).toBe(0);
    expect(host.events).toEqual([]);
  });

  it("A-115, A-071: an action that fails ends the list with its errno", () => {
    const { error } = run(UDP, a.output(1), a.set(ovs.OVS_KEY_ATTR_CT_MARK, a.le32(1)), a.output(2));
    expect(error).toBe(-EINVAL);
    expect(ports()).toEqual([1]);
  });

  it("A-116: a failing clone that is not last ends the outer list too", () => {
    const { error } = run(UDP, a.clone(edit(), a.set(ovs.OVS_KEY_ATTR_CT_MARK, a.le32(1))), a.output(2));
    expect(error).toBe(-EINVAL);
    expect(ports()).toEqual([]);
  });

  it("A-230, A-231: DROP ends the packet, its list succeeds", () => {
    expect(run(UDP, a.output(1), a.drop(3)).error).toBe(0);
    expect(ports()).toEqual([1]);
  });
});

describe("nested lists", () => {
  it("A-131: what a clone changes is invisible outside, bytes and key", () => {
    run(UDP, a.clone(edit(), a.pushVlan(9), a.setMark(7), a.output(1)), a.output(2), a.userspace(5));
    expect(outputs().map((event) => event.frame())).toEqual([
      hex(concat(MAC_Y, MAC_X, unhex("81000009"), UDP.subarray(12))),
      hex(UDP),
    ]);
    const upcall = host.events.at(-1) as HostEvent & { kind: "upcall" };
    expect(upcall.key).not.toContain(hex(MAC_X));
    expect(upcall.key).not.toContain("08000f0007000000");
  });

  it("A-131: a clone that only outputs, and a change afterwards, do not disturb each other", () => {
    run(UDP, a.clone(a.output(1)), edit(), a.output(2));
    expect(outputs()[0].frame()).toBe(hex(UDP));
    expect(outputs()[1].frame()).toBe(hex(concat(MAC_Y, MAC_X, UDP.subarray(12))));
  });

  it("A-129: a clone that is last has the packet itself", () => {
    const { packet, key } = run(UDP, a.output(1), a.clone(edit(), a.output(2)));
    expect(key[K.ETH_DST] >>> 0).toBe(0x0e000000);
    expect(frameOf(packet)).toBe(outputs()[1].frame());
  });

  it("A-210: an empty clone has no effect", () => {
    run(UDP, a.clone(), a.output(1));
    expect(kinds()).toEqual(["output"]);
  });

  it("A-204, A-205: probability 2^32 - 1 is always, 0 is never", () => {
    for (let i = 0; i < 50; i++) run(UDP, a.sample(0xffffffff, a.output(1)), a.sample(0, a.output(2)), a.output(3));
    expect(ports().filter((port) => port === 1)).toHaveLength(50);
    expect(ports().filter((port) => port === 2)).toHaveLength(0);
  });

  it("A-206: else a random number up to the probability takes it", () => {
    const draws = [5, 6, 7, 0xffffffff, 0];
    host.random.u32 = () => draws.shift() as number;
    for (let i = 0; i < 5; i++) run(UDP, a.sample(6, a.output(i)), a.clone());
    expect(ports()).toEqual([0, 1, 4]);
  });

  it("A-207: a sample that is last and not taken consumes the packet", () => {
    expect(run(UDP, a.sample(0, a.output(1))).error).toBe(0);
    expect(host.events).toEqual([]);
  });

  it("A-209, A-246: psample sees the probability of the sample around it", () => {
    run(
      UDP,
      a.psample(1, Uint8Array.of(1)),
      a.sample(0xffffffff, a.psample(2, Uint8Array.of(2, 3))),
      a.psample(3, new Uint8Array(0)),
    );
    expect(host.events).toEqual([
      { kind: "psample", group: 1, cookie: "01", probability: 0 },
      { kind: "psample", group: 2, cookie: "0203", probability: 0xffffffff },
      { kind: "psample", group: 3, cookie: "", probability: 0 },
    ]);
  });

  it("A-211, A-213: check_pkt_len compares the frame without a tag beside it; equal is not greater", () => {
    const branch = (length: number) => a.checkPktLen(length, a.output(1), a.output(2));
    run(UDP, a.pushVlan(5), branch(UDP.length), branch(UDP.length - 1), branch(UDP.length + 1), a.clone());
    expect(ports()).toEqual([2, 1, 2]);
  });

  it("A-212: check_pkt_len looks at the segments of a GSO packet", () => {
    const { packet, key } = a.receive(memory, frame(ethernet(), ipv4(), tcp(), "x".repeat(3000)));
    packet.gsoType = Gso.TCPV4;
    packet.gsoSize = 1000;
    const header = 14 + 20 + 20;
    const list = [header + 999, header + 1000].map((n) => a.checkPktLen(n, a.output(1), a.output(2)));
    executor.execute(packet, key, a.compile(key, ...list, a.clone()));
    expect(ports()).toEqual([1, 2]);
  });

  it("A-212: check_pkt_len of a GSO packet cut short in its TCP header does not depend on the bytes behind it", () => {
    const branches = [0x50, 0xf0].map((next) => {
      host.events.length = 0;
      const { packet, key } = a.receive(memory, frame(ethernet(), ipv4(), tcp()).subarray(0, 44));
      memory.bytes.fill(next, packet.off + packet.len, packet.off + packet.len + 16);
      packet.gsoType = Gso.TCPV4;
      packet.gsoSize = 4;
      executor.execute(packet, key, a.compile(key, a.checkPktLen(40, a.output(1), a.output(2)), a.clone()));
      return ports();
    });
    expect(branches).toEqual([[2], [2]]);
  });

  it("A-214: an empty branch has no effect on the outer list", () => {
    run(UDP, a.checkPktLen(1, new Uint8Array(0), a.output(1)), a.output(2));
    expect(ports()).toEqual([2]);
  });

  it("A-215, A-216, A-217: dec_ttl counts down, and an expired packet takes the exception list as its last", () => {
    const ttl = (value: number) => frame(ethernet(), ipv4({ ttl: value }), udp(), "x");
    const { key } = run(ttl(3), a.decTtl(a.output(1)), a.decTtl(a.output(2)), a.output(3));
    expect(ports()).toEqual([3]);
    expect((key[K.IP] >>> 8) & 0xff).toBe(1);
    host.events.length = 0;
    expect(run(ttl(1), a.decTtl(a.output(1)), a.output(2)).error).toBe(0);
    expect(ports()).toEqual([1]);
    host.events.length = 0;
    expect(run(ttl(0), a.decTtl(), a.output(2)).error).toBe(0);
    expect(ports()).toEqual([]);
  });
});

describe("recirculation", () => {
  it("A-119, A-121: a recirculated copy has its own key, the original goes on", () => {
    run(UDP, a.recirc(7), edit(), a.output(2), a.recirc(8));
    expect(kinds()).toEqual(["recirculate", "output", "recirculate"]);
    const [first, , second] = host.events as (HostEvent & { kind: "recirculate" })[];
    expect([first.id, second.id]).toEqual([7, 8]);
    expect(first.frame).toBe(hex(UDP));
    expect(second.frame).toBe(hex(concat(MAC_Y, MAC_X, UDP.subarray(12))));
  });

  it("A-119: what the recirculated copy changes does not reach the original", () => {
    host.onRecirculate = (packet, key) => {
      executor.execute(packet, key, a.compile(key, edit(), a.setMark(9), a.output(1)));
    };
    const { key } = run(UDP, a.recirc(7), a.output(2));
    expect(outputs()[0].frame()).toBe(hex(concat(MAC_Y, MAC_X, UDP.subarray(12))));
    expect(outputs()[1].frame()).toBe(hex(UDP));
    expect(key[K.SKB_MARK]).toBe(0);
    expect(key[K.RECIRC_ID]).toBe(0);
  });

  it("A-123, K-291: re-extraction that fails before recirc drops the packet with its errno", () => {
    host.updateKey = () => -EINVAL;
    expect(run(UDP, a.pushMpls(0x1140), a.recirc(1)).error).toBe(-EINVAL);
    expect(kinds()).toEqual([]);
  });

  it("A-124, A-236: the sixth execution within each other fails with ENETDOWN", () => {
    const errors: number[] = [];
    let nested = 0;
    // A device that loops back within an output.
    host.output = (packet, key) => {
      if (nested++ < 10) errors.push(executor.execute(packet, key, a.compile(key, a.output(1))));
    };
    run(UDP, a.output(1));
    expect(errors).toEqual([-ENETDOWN, 0, 0, 0, 0]);
    expect(host.drops).toEqual(["OVS_DROP_RECURSION_LIMIT"]);
    expect(run(UDP, a.output(1)).error).toBe(0);
  });

  it("A-125, A-128: below the third level recirculation waits until the top list has ended", () => {
    let depth = 0;
    host.onRecirculate = (packet, key) => {
      depth++;
      const id = key[K.RECIRC_ID];
      if (id < 6) executor.execute(packet, key, a.compile(key, a.recirc(id + 1), a.output(id)));
      depth--;
    };
    run(UDP, a.recirc(1), a.output(99));
    const order = host.events.map((event) =>
      event.kind === "recirculate" ? `recirc ${event.id}` : event.kind === "output" ? `out ${event.port}` : "",
    );
    // Levels: top 1, recirc 1 at 2, recirc 2 at 3, recirc 3 at 4 which defers recirc 4.
    expect(order).toEqual([
      "recirc 1",
      "recirc 2",
      "recirc 3",
      "out 3",
      "out 2",
      "out 1",
      "out 99",
      "recirc 4",
      "recirc 5",
      "recirc 6",
      "out 5",
      "out 4",
    ]);
    expect(depth).toBe(0);
  });

  it("A-126, A-127, A-237: nine deferrals per packet, the tenth is dropped and nothing else", () => {
    const deep = (actions: Uint8Array) =>
      a.clone(edit(), a.clone(edit(), a.clone(edit(), actions, a.output(50)), a.output(51)), a.output(52));
    const list = Array.from({ length: 12 }, (_, i) => a.recirc(i));
    expect(run(UDP, deep(concat(...list)), a.output(53)).error).toBe(0);
    const ids = host.events.flatMap((event) => (event.kind === "recirculate" ? [event.id] : []));
    expect(ids).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
    expect(ports()).toEqual([50, 51, 52, 53]);
    expect(host.drops).toEqual(Array(3).fill("OVS_DROP_DEFERRED_LIMIT"));
    // The queue is empty again for the next packet.
    host.events.length = 0;
    run(UDP, deep(a.recirc(77)), a.output(53));
    expect(host.events.filter((event) => event.kind === "recirculate")).toHaveLength(1);
  });

  it("A-128: a deferred list runs with the packet and key of the moment it was deferred", () => {
    const four = a.clone(
      edit(),
      a.clone(
        edit(),
        a.clone(edit(), a.clone(a.setMark(5), a.output(1), a.userspace(9)), a.setUdp(1, 2), a.output(2)),
        a.output(3),
      ),
      a.output(4),
    );
    run(UDP, four, a.setUdp(3, 4), a.output(5));
    expect(ports()).toEqual([2, 3, 4, 5, 1]);
    expect(outputs()[4].frame()).toBe(hex(concat(MAC_Y, MAC_X, UDP.subarray(12))));
    const upcall = host.events.at(-1) as HostEvent & { kind: "upcall" };
    expect(upcall.key).toContain("08000f0005000000");
  });

  it("an error of the host leaves the executor as it was", () => {
    host.output = () => {
      throw new Error("device");
    };
    expect(() => run(UDP, a.clone(edit(), a.output(1)), a.output(2))).toThrow("device");
    host.output = () => {};
    for (let i = 0; i < 10; i++) expect(run(UDP, a.output(1)).error).toBe(0);
    // Nor does a later packet find what an earlier one deferred.
    host.events.length = 0;
    host.output = () => {
      throw new Error("device");
    };
    const end = a.setMark(1);
    const four = a.clone(edit(), a.clone(edit(), a.clone(edit(), a.recirc(7), a.output(1)), end), end);
    expect(() => run(UDP, four, a.output(2))).toThrow("device");
    host.output = () => {};
    run(UDP, a.output(1));
    expect(kinds()).toEqual([]);
  });
});

describe("what an action leaves on the packet", () => {
  it("A-194, K-278: a changed address drops hash and connection, an unchanged one keeps them", () => {
    const value = (src: string) => concat(ip4(src), ip4("0.0.0.0"), new Uint8Array(4));
    const mask = concat(new Uint8Array(4).fill(255), new Uint8Array(8));
    for (const [src, kept] of [
      ["10.9.9.9", false],
      [undefined, true],
    ] as const) {
      const { packet, key } = a.receive(memory, UDP);
      const own = hex(UDP.subarray(26, 30));
      packet.hash = 77;
      packet.hashFlags = 3;
      packet.ct = 5;
      key[K.CT] = 0x22;
      const list = src === undefined ? concat(unhex(own), new Uint8Array(8)) : value(src);
      executor.execute(packet, key, a.compile(key, a.setMasked(ovs.OVS_KEY_ATTR_IPV4, list, mask)));
      expect([packet.hash, packet.hashFlags, packet.ct]).toEqual(kept ? [77, 3, 5] : [0, 0, CtRef.NONE]);
      expect(key[K.CT]).toBe(0x22);
    }
  });

  it("A-195, A-196: tcp ports always drop the hash, the connection only when they change", () => {
    for (const [dst, ref] of [
      [80, 5],
      [81, CtRef.NONE],
    ]) {
      const { packet, key } = a.receive(memory, TCP);
      packet.hash = 77;
      packet.ct = 5;
      const ports = Uint8Array.of(1000 >> 8, 1000 & 255, 0, dst);
      executor.execute(packet, key, a.compile(key, a.set(ovs.OVS_KEY_ATTR_TCP, ports)));
      expect([packet.hash, packet.ct]).toEqual([0, ref]);
    }
  });

  it("A-198: udp ports of a packet with partial checksum drop the connection even unchanged", () => {
    const { packet, key } = a.receive(memory, UDP);
    packet.ct = 5;
    packet.csum = Csum.PARTIAL;
    packet.csumStart = packet.l4;
    packet.csumOffset = 6;
    executor.execute(packet, key, a.compile(key, a.setUdp(2000, 53)));
    expect(packet.ct).toBe(CtRef.NONE);
  });

  it("A-200: a header that is cut off gives ENOMEM", () => {
    const { packet, key } = a.receive(memory, UDP);
    const program = a.compile(key, a.setUdp(1, 2));
    packet.len = packet.l4 + 7 - packet.off;
    expect(executor.execute(packet, key, program)).toBe(-ENOMEM);
  });

  it("A-201: mark and priority are masked writes to packet and key", () => {
    const { packet, key } = a.receive(memory, UDP);
    packet.mark = 0xf0f0f0f0;
    packet.priority = 0xff;
    const list = [
      a.setMasked(ovs.OVS_KEY_ATTR_SKB_MARK, a.le32(0x0a), a.le32(0xff)),
      a.setMasked(ovs.OVS_KEY_ATTR_PRIORITY, a.le32(0x100), a.le32(0xff00)),
    ];
    executor.execute(packet, key, a.compile(key, ...list));
    expect([packet.mark, packet.priority]).toEqual([0xf0f0f00a, 0x1ff]);
    expect([key[K.SKB_MARK] >>> 0, key[K.PRIORITY]]).toEqual([0xf0f0f00a, 0x1ff]);
  });

  it("A-219, K-280: hash writes dp_hash of the packet hash and nothing else", () => {
    const { packet, key } = a.receive(memory, UDP);
    const before = key.slice();
    const skb = host.hasher.ofKey(key);
    executor.execute(packet, key, a.compile(key, a.hash(7), a.output(1)));
    expect(key[K.DP_HASH] >>> 0).toBe(dpHash(skb, 7));
    expect(packet.hash >>> 0).toBe(skb);
    expect(outputs()[0].frame()).toBe(hex(UDP));
    before[K.DP_HASH] = key[K.DP_HASH];
    expect(key).toEqual(before);
  });

  it("A-219: a hash that the packet has is used as it is", () => {
    const { packet, key } = a.receive(memory, UDP);
    packet.hash = 0x12345678;
    executor.execute(packet, key, a.compile(key, a.hash(7)));
    expect(key[K.DP_HASH] >>> 0).toBe(dpHash(0x12345678, 7));
  });

  it("A-220, A-049: the symmetric algorithm gives both directions one value and leaves the packet hash", () => {
    const back = frame(ethernet(), ipv4({ src: "10.0.0.2", dst: "10.0.0.1" }), udp({ src: 53, dst: 2000 }), "payload!");
    const there = frame(ethernet(), ipv4({ src: "10.0.0.1", dst: "10.0.0.2" }), udp({ src: 2000, dst: 53 }), "x");
    const first = run(there, a.hash(3, 1));
    const second = run(back, a.hash(3, 1));
    expect(first.key[K.DP_HASH]).toBe(second.key[K.DP_HASH]);
    expect(first.key[K.DP_HASH] >>> 0).toBe(dpHash(host.hasher.symmetricL4(first.key), 3));
    expect(first.packet.hash).toBe(0);
  });

  it("A-221, A-223: a meter that drops ends its list with success, in a clone only the clone", () => {
    host.dropping.add(5);
    expect(run(UDP, a.meter(5), a.output(1)).error).toBe(0);
    expect(ports()).toEqual([]);
    run(UDP, a.clone(a.meter(5), a.output(1)), a.meter(6), a.output(2));
    expect(ports()).toEqual([2]);
  });

  it("A-202, A-229: set tunnel stays on the packet for all outputs that follow", () => {
    const tunnel = a.attr(ovs.OVS_KEY_ATTR_TUNNEL, a.attr(2, ip4("1.2.3.4")), a.attr(4, Uint8Array.of(64)));
    const { packet } = run(UDP, a.output(1), a.attr(ovs.OVS_ACTION_ATTR_SET, tunnel), a.output(2), a.output(3));
    expect(outputs().map((event) => event.tunnel)).toEqual([false, true, true]);
    expect(packet.egressTunnel?.[K.TUN_DST]).toBe(0x01020304);
  });

  it("A-159, A-160: trunc holds for one output or upcall", () => {
    run(
      UDP,
      a.trunc(20),
      a.output(1),
      a.output(2),
      a.trunc(9999),
      a.output(3),
      a.trunc(20),
      a.userspace(5),
      a.output(4),
    );
    expect(outputs().map((event) => event.frame().length / 2)).toEqual([20, UDP.length, UDP.length, UDP.length]);
  });

  it("A-132: trunc goes with a clone, and an output inside does not end it outside", () => {
    run(UDP, a.trunc(20), a.clone(edit(), a.output(1), a.output(2)), a.output(3), a.output(4));
    expect(outputs().map((event) => event.frame().length / 2)).toEqual([20, UDP.length, 20, UDP.length]);
  });
});

describe("conntrack", () => {
  it("C-057, C-061: an error drops the packet, a waiting fragment ends the list with success", () => {
    host.ctResult = -EINVAL;
    expect(run(UDP, a.ct(), a.output(1)).error).toBe(-EINVAL);
    host.ctResult = -EINPROGRESS;
    expect(run(UDP, a.ct(), a.output(1)).error).toBe(0);
    expect(ports()).toEqual([]);
    host.ctResult = 0;
    expect(run(UDP, a.ct(a.attr(ovs.OVS_CT_ATTR_ZONE, a.le16(9))), a.output(1)).error).toBe(0);
    expect(host.events.filter((event) => event.kind === "ct").map((event) => event.zone)).toEqual([0, 0, 9]);
    expect(ports()).toEqual([1]);
  });

  it("C-052: a stale key is read again before ct", () => {
    let seen = -1;
    host.conntrack.execute = (_packet, key) => {
      seen = (key as Int32Array)[K.VLAN];
      return 0;
    };
    run(UDP, a.pushVlan(5), a.pushVlan(6), a.ct());
    expect((seen >>> 16) & 0xfff).toBe(6);
  });

  it("A-224: ct_clear reaches conntrack", () => {
    run(UDP, a.ctClear(), a.output(1));
    expect(kinds()).toEqual(["ct_clear", "output"]);
  });
});

describe("userspace", () => {
  it("A-164, A-169, U-007: hands over pid and userdata and goes on", () => {
    run(UDP, a.userspace(5, a.attr(ovs.OVS_USERSPACE_ATTR_USERDATA, unhex("c0ffee"))), a.output(1));
    expect(host.events[0]).toMatchObject({ kind: "upcall", frame: hex(UDP), length: 0, userdata: "c0ffee" });
    expect(ports()).toEqual([1]);
  });

  it("A-168: with the ACTIONS flag it carries the whole list of its level", () => {
    const asking = a.userspace(5, a.attr(ovs.OVS_USERSPACE_ATTR_ACTIONS));
    const inner = concat(edit(), asking);
    run(UDP, a.setMark(1), asking, a.clone(inner), a.output(1));
    const lists = host.events.flatMap((event) => (event.kind === "upcall" ? [event.actions] : []));
    expect(lists).toEqual([hex(concat(a.setMark(1), asking, a.clone(inner), a.output(1))), hex(inner)]);
  });

  it("A-165, U-053: after trunc it shows the first bytes and the full length", () => {
    run(UDP, a.pushVlan(5), a.trunc(20), a.userspace(5), a.userspace(5));
    const [cut, whole] = host.events as (HostEvent & { kind: "upcall" })[];
    expect([cut.frame.length / 2, cut.length]).toEqual([20, UDP.length + 4]);
    expect([whole.frame.length / 2, whole.length]).toEqual([UDP.length + 4, 0]);
  });
});
