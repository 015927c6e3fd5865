import { describe, expect, it } from "vitest";
import { ManualClock } from "../../src/core/clock.ts";
import { SeededRandom } from "../../src/core/random.ts";
import { pushMpls } from "../../src/packet/edit/mpls.ts";
import { pushVlan } from "../../src/packet/edit/vlan.ts";
import { share } from "../../src/packet/edit/writable.ts";
import { ETH_P_8021Q, ETH_P_ARP, ETH_P_IP, ETH_P_IPV6, ETH_P_MPLS_UC } from "../../src/packet/ethernet.ts";
import { fragment } from "../../src/packet/fragment.ts";
import { PacketMemory } from "../../src/packet/memory.ts";
import { Csum, Gso, Packet } from "../../src/packet/packet.ts";
import { Reassembler } from "../../src/packet/reassembly.ts";
import { E2BIG, EINPROGRESS, EINVAL, EMSGSIZE, ENOMEM, EPROTONOSUPPORT } from "../../src/uapi/errno.ts";

/** The numbers below were seen on the real module (Linux 6.12): ct(zone=1),2 on hand-made fragments. */

const memory = new PacketMemory();

/** Payload byte i is i & 0xff, from 0 in every fragment. */
const payload = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => i & 0xff);

interface V4 {
  off?: number;
  mf?: boolean;
  data: number;
  id?: number;
  options?: string;
  df?: boolean;
  tos?: number;
  proto?: number;
  src?: number;
}

/** An IPv4 fragment behind an Ethernet header whose source ends in `mac`. */
function v4(mac: number, o: V4): Uint8Array {
  const options = Buffer.from(o.options ?? "", "hex");
  const length = 20 + options.length;
  const bytes = new Uint8Array(14 + length + o.data);
  const view = new DataView(bytes.buffer);
  bytes.set([2, 0, 0, 0, 0, 0xff, 2, 0, 0, 0, 0, mac, 8, 0]);
  view.setUint8(14, 0x40 | (length >> 2));
  view.setUint8(15, o.tos ?? 0);
  view.setUint16(16, length + o.data);
  view.setUint16(18, o.id ?? 1);
  view.setUint16(20, (o.df ? 0x4000 : 0) | (o.mf ? 0x2000 : 0) | ((o.off ?? 0) >> 3));
  view.setUint8(22, 64);
  view.setUint8(23, o.proto ?? 253);
  view.setUint32(26, o.src ?? 0x0a000001);
  view.setUint32(30, 0x0a000002);
  bytes.set(options, 34);
  view.setUint16(24, headerSum(bytes, 14, length) ^ 0xffff);
  bytes.set(payload(o.data), 14 + length);
  return bytes;
}

interface V6 {
  off?: number;
  mf?: boolean;
  data: number;
  id?: number;
  tc?: number;
  proto?: number;
  hopByHop?: boolean;
  dst?: number;
}

function v6(mac: number, o: V6): Uint8Array {
  const extra = o.hopByHop ? 8 : 0;
  const bytes = new Uint8Array(14 + 40 + extra + 8 + o.data);
  const view = new DataView(bytes.buffer);
  bytes.set([2, 0, 0, 0, 0, 0xff, 2, 0, 0, 0, 0, mac, 0x86, 0xdd]);
  view.setUint32(14, 0x60000000 | ((o.tc ?? 0) << 20));
  view.setUint16(18, extra + 8 + o.data);
  view.setUint8(20, o.hopByHop ? 0 : 44);
  view.setUint8(21, 64);
  view.setUint8(22, 0xfd);
  view.setUint8(37, 1);
  view.setUint8(38, o.dst ?? 0xfd);
  view.setUint8(53, 2);
  if (o.hopByHop) bytes.set([44, 0, 1, 4, 0, 0, 0, 0], 54);
  const at = 54 + extra;
  view.setUint8(at, o.proto ?? 253);
  view.setUint16(at + 2, (o.off ?? 0) | (o.mf ? 1 : 0));
  view.setUint32(at + 4, o.id ?? 1);
  bytes.set(payload(o.data), at + 8);
  return bytes;
}

function headerSum(bytes: Uint8Array, off: number, length: number): number {
  let sum = 0;
  for (let i = off; i < off + length; i += 2) sum += (bytes[i] << 8) | bytes[i + 1];
  while (sum > 0xffff) sum = (sum >>> 16) + (sum & 0xffff);
  return sum;
}

function load(bytes: Uint8Array): Packet {
  const base = memory.scratch(bytes.length + 64);
  memory.bytes.fill(0xa5, base, base + bytes.length + 64);
  memory.bytes.set(bytes, base + 32);
  const packet = new Packet(memory);
  packet.reset(base + 32, bytes.length, base, base + 32 + bytes.length);
  packet.protocol = (bytes[12] << 8) | bytes[13];
  packet.l3 = packet.off + 14;
  return packet;
}

const bytesOf = (packet: Packet): Uint8Array => memory.bytes.slice(packet.off, packet.off + packet.len);

class Bench {
  readonly clock = new ManualClock();
  readonly reassembler = new Reassembler(memory, this.clock);
  result = 0;
  zone = 1;

  constructor() {
    memory.resetScratch();
  }

  /** Feeds frames; returns the datagram that came out of the last one, if any. */
  feed(...frames: Uint8Array[]): Packet | undefined {
    let packet: Packet | undefined;
    for (const bytes of frames) {
      packet = load(bytes);
      const family = packet.protocol === ETH_P_IP ? "ipv4" : "ipv6";
      this.result = this.reassembler[family](packet, this.zone);
    }
    return this.result === 0 ? packet : undefined;
  }

  /** Feeds frames and refragments what comes out, to a port of MTU 1500. */
  through(...frames: Uint8Array[]): string[] {
    const packet = this.feed(...frames);
    return packet === undefined ? [] : describeParts(cut(packet));
  }
}

/** Fragments of a packet, as bytes. */
function cut(packet: Packet, mtu = 1500, etherType = packet.protocol, mru = packet.mru): Uint8Array[] {
  const out: Uint8Array[] = [];
  const error = fragment(packet, etherType, mru, mtu, new SeededRandom(3), new Packet(memory), (part) => {
    out.push(bytesOf(part));
    return 0;
  });
  expect(error).toBe(0);
  return out;
}

/** "mac off+data [mf] …" of each fragment; checks lengths and header checksum on the way. */
function describeParts(parts: Uint8Array[]): string[] {
  return parts.map((bytes) => {
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    if (view.getUint16(12) === ETH_P_IPV6) {
      expect(view.getUint16(18)).toBe(bytes.length - 54);
      let at = 54;
      let next = bytes[20];
      let extra = "";
      while (next === 0) {
        extra += " hbh";
        next = bytes[at];
        at += 8;
      }
      const tc = (view.getUint16(14) >> 4) & 0xff;
      if (next !== 44) return `mac${bytes[11]} whole ${bytes.length - at} nh${next}`;
      const word = view.getUint16(at + 2);
      const more = (word & 1) !== 0 ? " mf" : "";
      return `mac${bytes[11]} ${word & 0xfff8}+${bytes.length - at - 8}${more}${tc ? ` tc${tc}` : ""}${extra}`;
    }
    const length = (bytes[14] & 15) * 4;
    expect(view.getUint16(16)).toBe(bytes.length - 14);
    expect(headerSum(bytes, 14, length)).toBe(0xffff);
    const word = view.getUint16(20);
    const flags = `${word & 0x2000 ? " mf" : ""}${word & 0x4000 ? " df" : ""}`;
    const options = length > 20 ? ` ${Buffer.from(bytes.subarray(34, 14 + length)).toString("hex")}` : "";
    const tos = bytes[15] ? ` tos${bytes[15]}` : "";
    return `mac${bytes[11]} ${(word & 0x1fff) * 8}+${bytes.length - 14 - length}${flags}${tos}${options}`;
  });
}

describe("IPv4 reassembly", () => {
  it("C-061, C-064: queues until the last piece is there, in any order", () => {
    const bench = new Bench();
    expect(bench.feed(v4(3, { off: 1000, data: 200 }))).toBeUndefined();
    expect(bench.result).toBe(-EINPROGRESS);
    expect(bench.feed(v4(1, { mf: true, data: 600 }))).toBeUndefined();
    const packet = bench.feed(v4(2, { off: 600, mf: true, data: 400 }));
    expect(packet?.len).toBe(14 + 20 + 1200);
    expect(packet?.l4).toBe((packet as Packet).l3 + 20);
    expect(bytesOf(packet as Packet).subarray(34)).toEqual(
      Uint8Array.from([...payload(600), ...payload(400), ...payload(200)]),
    );
    expect(bench.reassembler.stats).toMatchObject({ requests: 3, ok: 1, fails: 0, queues: 0 });
  });
  it("C-064: L2 header, tag, mark and protocol are the first fragment's, input port the completing one's", () => {
    const bench = new Bench();
    const first = load(v4(1, { mf: true, data: 600 }));
    first.mark = 11;
    first.vlanTpid = ETH_P_8021Q;
    first.vlanTci = 7;
    first.inPort = 1;
    expect(bench.reassembler.ipv4(first, 1)).toBe(-EINPROGRESS);
    const last = load(v4(2, { off: 600, data: 400 }));
    last.mark = 22;
    last.inPort = 2;
    last.hash = 99;
    last.gsoType = Gso.UDP;
    expect(bench.reassembler.ipv4(last, 1)).toBe(0);
    expect([last.mark, last.vlanTpid, last.vlanTci, last.inPort]).toEqual([11, ETH_P_8021Q, 7, 2]);
    expect(bytesOf(last)[11]).toBe(1);
    expect([last.hash, last.hashFlags, last.gsoType]).toEqual([0, 0, Gso.NONE]);
  });
  it("C-062, C-063: zones, ids, protocols and addresses have queues of their own", () => {
    const bench = new Bench();
    bench.feed(v4(1, { mf: true, data: 600 }));
    bench.zone = 2;
    expect(bench.feed(v4(1, { off: 600, data: 8 }))).toBeUndefined();
    bench.zone = 1;
    expect(bench.feed(v4(1, { off: 600, data: 8, id: 2 }))).toBeUndefined();
    expect(bench.feed(v4(1, { off: 600, data: 8, proto: 17 }))).toBeUndefined();
    expect(bench.feed(v4(1, { off: 600, data: 8, src: 5 }))).toBeUndefined();
    expect(bench.reassembler.stats.queues).toBe(5);
    expect(bench.feed(v4(1, { off: 600, data: 8 }))).toBeDefined();
  });
  it("C-066: MRU is the largest fragment, with its header; hash cleared; may be fragmented again", () => {
    const packet = new Bench().feed(v4(1, { mf: true, data: 600 }), v4(2, { off: 600, data: 700 }));
    expect(packet?.mru).toBe(720);
    expect(packet?.ignoreDf).toBe(true);
  });
  it("C-068: DF is kept if the largest fragment had it, else lost", () => {
    const df = (packet: Packet | undefined): number => memory.view.getUint16((packet as Packet).l3 + 6);
    expect(df(new Bench().feed(v4(1, { mf: true, data: 600, df: true }), v4(1, { off: 600, data: 8 })))).toBe(0x4000);
    expect(df(new Bench().feed(v4(1, { mf: true, data: 600 }), v4(1, { off: 600, data: 8, df: true })))).toBe(0);
  });
  it("C-069: an overlap drops the whole queue", () => {
    const bench = new Bench();
    bench.feed(v4(1, { mf: true, data: 600 }), v4(4, { off: 400, mf: true, data: 600 }));
    expect(bench.result).toBe(-EINVAL);
    expect(bench.reassembler.stats).toMatchObject({ queues: 0, overlaps: 1 });
    expect(bench.through(v4(2, { off: 600, data: 400 }))).toEqual([]);
    expect(bench.through(v4(1, { mf: true, data: 600 }))).toEqual(["mac1 0+600 mf", "mac1 600+400"]);
  });
  it("C-069: contradictory ends and empty fragments drop the queue", () => {
    const bench = new Bench();
    bench.feed(v4(1, { off: 800, data: 400 }), v4(1, { off: 400, data: 400 }));
    expect([bench.result, bench.reassembler.stats.queues]).toEqual([-EINVAL, 0]);
    bench.feed(v4(1, { off: 800, data: 400 }), v4(1, { off: 1200, mf: true, data: 8 }));
    expect([bench.result, bench.reassembler.stats.queues]).toEqual([-EINVAL, 0]);
    bench.feed(v4(1, { off: 800, mf: true, data: 0 }));
    expect([bench.result, bench.reassembler.stats.queues]).toEqual([-EINVAL, 0]);
  });
  it("C-069: a fragment across two runs is an overlap, not a duplicate", () => {
    const bench = new Bench();
    bench.feed(v4(1, { off: 800, mf: true, data: 400 }), v4(1, { off: 400, mf: true, data: 400 }));
    bench.feed(v4(9, { off: 400, mf: true, data: 800 }));
    expect([bench.result, bench.reassembler.stats.queues]).toEqual([-EINVAL, 0]);
  });
  it("C-074: a duplicate is dropped, the queue kept", () => {
    const bench = new Bench();
    bench.feed(v4(1, { mf: true, data: 600 }), v4(4, { mf: true, data: 600 }));
    expect([bench.result, bench.reassembler.stats.queues]).toEqual([-EINVAL, 1]);
    expect(bench.through(v4(2, { off: 600, data: 400 }))).toEqual(["mac1 0+600 mf", "mac1 600+400"]);
  });
  it("a middle fragment is cut to a multiple of 8", () => {
    expect(new Bench().through(v4(1, { mf: true, data: 603 }), v4(2, { off: 600, data: 400 }))).toEqual([
      "mac1 0+600 mf",
      "mac1 600+400",
    ]);
  });
  it("RFC 3168: ECN of the fragments is combined", () => {
    const ecn = (a: number, b: number): string[] =>
      new Bench().through(v4(1, { mf: true, data: 600, tos: a }), v4(1, { off: 600, data: 400, tos: b }));
    expect(ecn(1, 3)).toEqual(["mac1 0+600 mf tos3", "mac1 600+400 tos3"]);
    expect(ecn(1, 2)).toEqual(["mac1 0+600 mf tos1", "mac1 600+400 tos1"]);
    expect(ecn(0, 3)).toEqual([]);
  });
  it("C-070: a queue dies after 30 s", () => {
    const bench = new Bench();
    bench.feed(v4(1, { mf: true, data: 600 }));
    bench.clock.advance(29_999);
    bench.reassembler.expire();
    expect(bench.reassembler.stats.queues).toBe(1);
    bench.clock.advance(1);
    expect(bench.feed(v4(1, { off: 600, data: 8 }))).toBeUndefined();
    expect(bench.reassembler.stats).toMatchObject({ queues: 1, timeouts: 1 });
  });
  it("C-070: above 4 MiB no fragment is taken, and memory comes back", () => {
    const bench = new Bench();
    let taken = 0;
    for (; taken < 10_000; taken++) {
      memory.resetScratch();
      bench.feed(v4(1, { mf: true, data: 1480, id: taken, src: taken }));
      if (bench.result !== -EINPROGRESS) break;
    }
    expect(bench.result).toBe(-ENOMEM);
    expect(taken).toBeGreaterThan(1000);
    expect(taken).toBeLessThan(3000);
    bench.feed(v4(1, { off: 1480, data: 8, id: 3, src: 3 }));
    expect(bench.result).toBe(-ENOMEM);
    bench.clock.advance(30_000);
    bench.reassembler.expire();
    expect(bench.reassembler.stats.queues).toBe(0);
    bench.feed(v4(1, { mf: true, data: 1480 }));
    expect(bench.result).toBe(-EINPROGRESS);
    bench.reassembler.close();
    expect(bench.reassembler.stats.queues).toBe(0);
  });
  it("more than 64 other fragments of the source in between make a queue start anew", () => {
    const flood = (count: number): string[] => {
      const bench = new Bench();
      bench.feed(v4(1, { mf: true, data: 600 }));
      for (let i = 0; i < count; i++) bench.feed(v4(1, { mf: true, data: 600, id: 100 + i }));
      return bench.through(v4(1, { off: 600, data: 8 }));
    };
    expect(flood(63)).toHaveLength(2);
    expect(flood(64)).toHaveLength(0);
  });
  it("longer than 65535 bytes is refused", () => {
    const bench = new Bench();
    const frames: Uint8Array[] = [];
    for (let off = 0; off < 65528; off += 1480) {
      frames.push(v4(1, { off, mf: off + 1480 < 65528, data: Math.min(1480, 65528 - off) }));
    }
    bench.feed(...frames);
    expect([bench.result, bench.reassembler.stats.queues]).toEqual([-E2BIG, 0]);
  });
  it("checksum state survives only if all fragments share it", () => {
    const states = (a: Csum, b: Csum): number => {
      const bench = new Bench();
      const first = load(v4(1, { mf: true, data: 600 }));
      first.csum = a;
      bench.reassembler.ipv4(first, 1);
      const last = load(v4(1, { off: 600, data: 8 }));
      last.csum = b;
      expect(bench.reassembler.ipv4(last, 1)).toBe(0);
      return last.csum;
    };
    expect(states(Csum.UNNECESSARY, Csum.UNNECESSARY)).toBe(Csum.UNNECESSARY);
    expect(states(Csum.UNNECESSARY, Csum.NONE)).toBe(Csum.NONE);
  });
  it("refuses a header that is none", () => {
    const bench = new Bench();
    const packet = load(v4(1, { mf: true, data: 8 }));
    packet.len = 30;
    expect(bench.reassembler.ipv4(packet, 1)).toBe(-EINVAL);
  });
});

describe("IPv6 reassembly", () => {
  it("C-066: MRU is the largest fragment; the fragment header goes", () => {
    const packet = new Bench().feed(v6(2, { off: 600, data: 400 }), v6(1, { mf: true, data: 600 })) as Packet;
    expect(packet.mru).toBe(648);
    expect(packet.len).toBe(14 + 40 + 1000);
    expect(bytesOf(packet)[20]).toBe(253);
    expect(packet.l4).toBe(packet.l3 + 40);
    expect(describeParts(cut(packet))).toEqual(["mac1 0+600 mf", "mac1 600+400"]);
  });
  it("C-072: an atomic fragment passes at once, without its fragment header", () => {
    const packet = new Bench().feed(v6(1, { data: 600 })) as Packet;
    expect(describeParts([bytesOf(packet)])).toEqual(["mac1 whole 600 nh253"]);
    expect(packet.mru).toBe(648);
  });
  it("C-073: an overlap discards the queue (RFC 5722)", () => {
    const bench = new Bench();
    bench.feed(v6(1, { mf: true, data: 600 }), v6(1, { off: 400, mf: true, data: 600 }));
    expect([bench.result, bench.reassembler.stats.queues]).toEqual([-EINVAL, 0]);
    bench.feed(v6(1, { mf: true, data: 600 }));
    expect(bench.through(v6(2, { off: 600, data: 400 }))).toEqual(["mac1 0+600 mf", "mac1 600+400"]);
  });
  it("a duplicate counts as queued", () => {
    const bench = new Bench();
    bench.feed(v6(1, { mf: true, data: 600 }), v6(2, { mf: true, data: 600 }));
    expect(bench.result).toBe(-EINPROGRESS);
    expect(bench.through(v6(3, { off: 600, data: 400 }))).toEqual(["mac1 0+600 mf", "mac1 600+400"]);
  });
  it("a middle fragment off a multiple of 8 passes as it is", () => {
    const bench = new Bench();
    const frame = v6(1, { mf: true, data: 603 });
    const packet = bench.feed(frame) as Packet;
    expect(bytesOf(packet)).toEqual(frame);
    expect([packet.mru, bench.reassembler.stats.queues]).toEqual([0, 0]);
  });
  it("RFC 8200 section 4.5: a first fragment without the whole TCP header passes as it is", () => {
    const frame = v6(1, { mf: true, data: 16, proto: 6 });
    expect(bytesOf(new Bench().feed(frame) as Packet)).toEqual(frame);
    expect(new Bench().feed(v6(1, { mf: true, data: 24, proto: 6 }))).toBeUndefined();
  });
  it("a contradictory end drops only the fragment", () => {
    const bench = new Bench();
    bench.feed(v6(1, { off: 600, data: 400 }), v6(1, { off: 600, data: 408 }));
    expect([bench.result, bench.reassembler.stats.queues]).toEqual([-EINVAL, 1]);
  });
  it("ECN is combined; a bad mixture is consumed", () => {
    const ecn = (a: number, b: number): string[] =>
      new Bench().through(v6(1, { mf: true, data: 600, tc: a }), v6(1, { off: 600, data: 400, tc: b }));
    expect(ecn(1, 3)).toEqual(["mac1 0+600 mf tc3", "mac1 600+400 tc3"]);
    const bench = new Bench();
    bench.feed(v6(1, { mf: true, data: 600 }), v6(1, { off: 600, data: 400, tc: 3 }));
    expect([bench.result, bench.reassembler.stats.queues]).toEqual([-EINPROGRESS, 0]);
  });
  it("headers before the fragment header stay", () => {
    expect(
      new Bench().through(
        v6(1, { mf: true, data: 600, hopByHop: true }),
        v6(3, { off: 600, data: 400, hopByHop: true }),
      ),
    ).toEqual(["mac1 0+600 mf hbh", "mac1 600+400 hbh"]);
  });
  it("C-071: a queue dies after 60 s", () => {
    const bench = new Bench();
    bench.feed(v6(1, { mf: true, data: 600 }));
    bench.clock.advance(59_999);
    bench.reassembler.expire();
    expect(bench.reassembler.stats.queues).toBe(1);
    bench.clock.advance(1);
    bench.reassembler.expire();
    expect(bench.reassembler.stats.queues).toBe(0);
  });
  it("link-local and multicast destinations are told apart by input port", () => {
    const across = (dst: number): number => {
      const bench = new Bench();
      const first = load(v6(1, { mf: true, data: 600, dst }));
      first.inPort = 1;
      bench.reassembler.ipv6(first, 1);
      const last = load(v6(1, { off: 600, data: 8, dst }));
      last.inPort = 2;
      return bench.reassembler.ipv6(last, 1);
    };
    expect(across(0xfd)).toBe(0);
    expect(across(0xff)).toBe(-EINPROGRESS);
  });
  it("a fragment header cut short is ENOMEM", () => {
    const packet = load(v6(1, { off: 600, data: 0 }));
    packet.len -= 3;
    expect(new Bench().reassembler.ipv6(packet, 1)).toBe(-ENOMEM);
  });
  it("a packet without fragment header passes", () => {
    const frame = v6(1, { data: 8 });
    frame[20] = 59;
    expect(bytesOf(new Bench().feed(frame) as Packet)).toEqual(frame);
  });
});

describe("fragmentation at output", () => {
  it("A-158: original boundaries are kept", () => {
    for (const sizes of [
      [1400, 600, 200],
      [600, 1400, 200],
      [8, 1],
    ]) {
      const starts = sizes.map((_, i) => sizes.slice(0, i).reduce((sum, size) => sum + size, 0));
      const more = (i: number): boolean => i + 1 < sizes.length;
      const frames = sizes.map((data, i) => v4(i, { off: starts[i], mf: more(i), data }));
      const expected = sizes.map((data, i) => `mac0 ${starts[i]}+${data}${more(i) ? " mf" : ""}`);
      expect(new Bench().through(...frames)).toEqual(expected);
      expect(new Bench().through(...frames.reverse())).toEqual(expected);
    }
  });
  it("A-158, A-150: cut anew to the MRU when the boundaries are lost", () => {
    const packet = new Bench().feed(
      v4(1, { mf: true, data: 600 }),
      v4(2, { off: 600, mf: true, data: 1400 }),
      v4(3, { off: 2000, data: 200 }),
    ) as Packet;
    packet.fragList = 0;
    expect(describeParts(cut(packet))).toEqual(["mac1 0+1400 mf", "mac1 1400+800"]);
  });
  it("A-158: boundaries of a changed payload are not kept", () => {
    const packet = new Bench().feed(v4(1, { mf: true, data: 600 }), v4(3, { off: 600, data: 200 })) as Packet;
    packet.len -= 8;
    expect(describeParts(cut(packet))).toEqual(["mac1 0+600 mf", "mac1 600+192"]);
    // Nor are lengths that no fragment can have.
    packet.len += 8;
    memory.view.setUint16(packet.fragList + 2, 596);
    memory.view.setUint16(packet.fragList + 4, 204);
    expect(describeParts(cut(packet))).toEqual(["mac1 0+600 mf", "mac1 600+200"]);
    const moved = new Bench().feed(v4(1, { mf: true, data: 600 }), v4(3, { off: 600, data: 200 })) as Packet;
    expect(moved.unshare(64, 0)).toBe(true);
    expect(describeParts(cut(moved))).toEqual(["mac1 0+600 mf", "mac1 600+200"]);
  });
  it("A-150: the device's MTU counts if it is smaller", () => {
    const packet = new Bench().feed(v4(1, { mf: true, data: 1400 }), v4(2, { off: 1400, data: 600 })) as Packet;
    expect(describeParts(cut(packet, 1000))).toEqual(["mac1 0+976 mf", "mac1 976+976 mf", "mac1 1952+48"]);
  });
  it("A-151: DF is cleared, id kept", () => {
    const packet = new Bench().feed(
      v4(1, { mf: true, data: 600, df: true, id: 0x1234 }),
      v4(2, { off: 600, data: 400, df: true, id: 0x1234 }),
    ) as Packet;
    const parts = cut(packet);
    expect(describeParts(parts)).toEqual(["mac1 0+600 mf", "mac1 600+400"]);
    expect(parts.map((part) => (part[18] << 8) | part[19])).toEqual([0x1234, 0x1234]);
  });
  it("A-152: every fragment has all options of the first, as the module does it", () => {
    const options = "0107070400000000820b01010101010101010100";
    for (const reverse of [false, true]) {
      const frames = [v4(1, { mf: true, data: 80, options }), v4(2, { off: 80, data: 40 })];
      if (reverse) frames.reverse();
      expect(new Bench().through(...frames)).toEqual([`mac1 0+80 mf ${options}`, `mac1 80+40 ${options}`]);
    }
  });
  it("A-153, A-154: IPv6 is cut to max(1280, MRU) with a new identification", () => {
    const packet = new Bench().feed(
      v6(1, { mf: true, data: 600, id: 77 }),
      v6(2, { off: 600, mf: true, data: 600, id: 77 }),
      v6(3, { off: 1200, data: 600, id: 77 }),
    ) as Packet;
    packet.fragList = 0;
    const parts = cut(packet);
    expect(describeParts(parts)).toEqual(["mac1 0+1232 mf", "mac1 1232+568"]);
    const ids = parts.map((part) => new DataView(part.buffer).getUint32(58));
    expect(ids[0]).toBe(ids[1]);
    expect(ids[0]).not.toBe(77);
  });
  it("A-153: too big without ignoreDf, or MRU above MTU", () => {
    const none = (): number => 0;
    const make = (): Packet =>
      new Bench().feed(v6(1, { mf: true, data: 1200 }), v6(2, { off: 1200, data: 600 })) as Packet;
    const out = new Packet(memory);
    const random = new SeededRandom(1);
    const strict = make();
    strict.ignoreDf = false;
    expect(fragment(strict, ETH_P_IPV6, 1248, 1500, random, out, none)).toBe(-EMSGSIZE);
    expect(fragment(make(), ETH_P_IPV6, 1501, 1500, random, out, none)).toBe(-EMSGSIZE);
    expect(fragment(make(), ETH_P_IPV6, 1248, 1500, random, out, none)).toBe(0);
  });
  it("A-148: an L2 header above 30 bytes is refused; A-149: so are other types", () => {
    const packet = new Bench().feed(v4(1, { mf: true, data: 600 }), v4(2, { off: 600, data: 600 })) as Packet;
    const none = (): number => 0;
    const out = new Packet(memory);
    const random = new SeededRandom(1);
    expect(fragment(packet, ETH_P_ARP, 620, 1500, random, out, none)).toBe(-EPROTONOSUPPORT);
    for (let i = 0; i < 4; i++) expect(pushMpls(packet, i === 0 ? 0x64140 : 0x64040, ETH_P_MPLS_UC, 14)).toBe(0);
    expect(fragment(packet, ETH_P_IP, 620, 1500, random, out, none)).toBe(0);
    expect(pushMpls(packet, 0x64040, ETH_P_MPLS_UC, 14)).toBe(0);
    expect(fragment(packet, ETH_P_IP, 620, 1500, random, out, none)).toBe(-E2BIG);
  });
  it("A-155, A-156: labels and tags are on every fragment", () => {
    const packet = new Bench().feed(v4(1, { mf: true, data: 600 }), v4(2, { off: 600, data: 400 })) as Packet;
    pushVlan(packet, ETH_P_8021Q, 5);
    pushMpls(packet, 0x00064140, ETH_P_MPLS_UC, 14);
    const tags: number[] = [];
    const out: string[] = [];
    fragment(packet, ETH_P_IP, packet.mru, 1500, new SeededRandom(1), new Packet(memory), (part) => {
      tags.push(part.vlanTpid, part.vlanTci);
      expect(part.l3).toBe(part.off + 14);
      out.push(Buffer.from(bytesOf(part).subarray(0, 22)).toString("hex"));
      return 0;
    });
    const head = "0200000000ff0200000000018847000641404500";
    expect(out).toEqual([`${head}026c`, `${head}01a4`]);
    expect(tags).toEqual([0x8100, 5, 0x8100, 5]);
  });
  it("a partial checksum is completed first, in a copy if the bytes are shared", () => {
    const packet = new Bench().feed(
      v4(1, { mf: true, data: 600, proto: 17 }),
      v4(2, { off: 600, data: 400, proto: 17 }),
    ) as Packet;
    packet.csum = Csum.PARTIAL;
    packet.csumStart = packet.l4;
    packet.csumOffset = 6;
    const before = bytesOf(packet);
    const { off } = packet;
    share(packet);
    const parts = cut(packet);
    expect(memory.bytes.slice(off, off + before.length)).toEqual(before);
    const whole = Uint8Array.from([...parts[0].subarray(34), ...parts[1].subarray(34)]);
    const expected = before.slice(34);
    const sum = headerSum(expected, 0, 1000) ^ 0xffff;
    expected[6] = sum >> 8;
    expected[7] = sum & 0xff;
    expect(whole).toEqual(expected);
  });
  it("-EMSGSIZE if not even eight bytes fit", () => {
    const packet = new Bench().feed(v4(1, { mf: true, data: 600 }), v4(2, { off: 600, data: 400 })) as Packet;
    expect(fragment(packet, ETH_P_IP, 27, 1500, new SeededRandom(1), new Packet(memory), () => 0)).toBe(-EMSGSIZE);
  });
});
