import fc from "fast-check";
import { beforeEach, describe, expect, it } from "vitest";
import { ManualClock } from "../../src/core/clock.ts";
import { SeededRandom } from "../../src/core/random.ts";
import { checksum, diff16, diff32, diff128, sum, update } from "../../src/packet/checksum.ts";
import { crc32c } from "../../src/packet/crc32c.ts";
import { ETH_P_IP, ETH_P_IPV6, ETH_P_MPLS_UC, ETH_P_NSH } from "../../src/packet/ethernet.ts";
import { fragment } from "../../src/packet/fragment.ts";
import { gsoFrameLength, segment } from "../../src/packet/gso.ts";
import { IpProto } from "../../src/packet/ip.ts";
import * as ipv4Header from "../../src/packet/ipv4.ts";
import * as ipv6Header from "../../src/packet/ipv6.ts";
import { completePartial, pseudoV4, pseudoV6, setPartial, verifyL4 } from "../../src/packet/l4-checksum.ts";
import { PacketMemory } from "../../src/packet/memory.ts";
import { Gso, Packet } from "../../src/packet/packet.ts";
import { Reassembler } from "../../src/packet/reassembly/index.ts";
import * as sctpHeader from "../../src/packet/sctp.ts";
import { verifyIpv4 } from "../support/checksums.ts";
import * as edit from "../support/edit.ts";
import {
  ethernet,
  extension,
  fragmentIpv4,
  fragmentIpv6,
  frame,
  icmpv6,
  ipv4,
  ipv6,
  fragment as ipv6Fragment,
  mpls,
  sctp,
  sctpChunk,
  tcp,
  udp,
  vlan,
} from "../support/frames.ts";

const memory = new PacketMemory();
const { view } = memory;
beforeEach(() => memory.resetScratch());

function load(bytes: Uint8Array, l3: number, l4: number, around = 0xa5): Packet {
  const base = memory.scratch(128 + bytes.length + 192);
  memory.bytes.fill(around, base, base + 128 + bytes.length + 192);
  memory.bytes.set(bytes, base + 128);
  const packet = new Packet(memory);
  packet.reset(base + 128, bytes.length, base, base + 128 + bytes.length);
  if (bytes.length >= 14) packet.protocol = (bytes[12] << 8) | bytes[13];
  packet.l3 = packet.off + l3;
  packet.l4 = packet.off + l4;
  return packet;
}
const bytesOf = (packet: Packet): Uint8Array => memory.bytes.slice(packet.off, packet.off + packet.len);
const dataView = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
const u32 = fc.integer({ min: 0, max: 0xffffffff });
const u16 = fc.integer({ min: 0, max: 0xffff });

/** The sum as RFC 1071 words it. */
function naiveSum(bytes: Uint8Array): number {
  let total = 0;
  for (let i = 0; i < bytes.length; i += 2) total += (bytes[i] << 8) | (bytes[i + 1] ?? 0);
  while (total > 0xffff) total = Math.floor(total / 0x10000) + (total % 0x10000);
  return total;
}

describe("checksums", () => {
  it("the sum is that of RFC 1071, for any offset and length", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(3), (bytes, start) => {
        const off = Math.min(start, bytes.length);
        expect(sum(dataView(bytes), off, bytes.length - off)).toBe(naiveSum(bytes.subarray(off)));
      }),
    );
    const large = new Uint8Array(65535).fill(0xff);
    expect(sum(dataView(large), 0, large.length)).toBe(naiveSum(large));
  });
  it("a sum may be cut at any even place", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 2, maxLength: 200 }), fc.nat(99), (bytes, half) => {
        const at = Math.min(half * 2, bytes.length & ~1);
        const whole = sum(dataView(bytes), 0, bytes.length);
        expect(sum(dataView(bytes), at, bytes.length - at, sum(dataView(bytes), 0, at))).toBe(whole);
      }),
    );
  });
  it("incremental update = full recomputation, for 16, 32 and 128 bits", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 40, maxLength: 40 }),
        fc.array(u32, { minLength: 4, maxLength: 4 }),
        fc.nat(9),
        fc.constantFrom(16, 32, 128),
        (bytes, words, place, width) => {
          // Word 0 is the checksum field; a sum of all zeros is the one case where two values mean the same.
          const v = dataView(bytes);
          bytes[39] |= 1;
          const to = Int32Array.from(words);
          v.setUint16(0, 0);
          const before = checksum(v, 0, 40);
          const at = 4 + 2 * place;
          let diff = 0;
          if (width === 16) {
            diff = diff16(v.getUint16(at), words[0] & 0xffff);
            v.setUint16(at, words[0] & 0xffff);
          } else if (width === 32) {
            diff = diff32(v.getInt32(at), words[0]);
            v.setUint32(at, words[0]);
          } else {
            diff = diff128(v, at, to);
            for (let i = 0; i < 4; i++) v.setInt32(at + 4 * i, to[i]);
          }
          v.setUint16(0, update(before, diff));
          expect(sum(v, 0, 40)).toBe(0xffff);
        },
      ),
    );
  });
  it("CRC32c is that of the polynomial, bit by bit", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), fc.nat(9), (bytes, start) => {
        const off = Math.min(start, bytes.length);
        let register = -1;
        for (const byte of bytes.subarray(off)) {
          register ^= byte;
          for (let i = 0; i < 8; i++) register = register & 1 ? (register >>> 1) ^ 0x82f63b78 : register >>> 1;
        }
        expect(crc32c(dataView(bytes), off, bytes.length - off, -1) >>> 0).toBe(register >>> 0);
      }),
    );
  });
  it("edits keep checksums right: full, partial, in any order", () => {
    const edits = fc.array(fc.record({ kind: fc.nat(5), a: u32, b: u16 }), { maxLength: 8 });
    fc.assert(
      fc.property(edits, fc.boolean(), fc.boolean(), fc.boolean(), (list, v6, isTcp, partial) => {
        memory.resetScratch();
        const bytes = frame(ethernet(), v6 ? ipv6() : ipv4(), isTcp ? tcp() : udp(), "some bytes");
        const packet = load(bytes, 14, v6 ? 54 : 34);
        const proto = isTcp ? IpProto.TCP : IpProto.UDP;
        const etherType = v6 ? ETH_P_IPV6 : ETH_P_IP;
        const at = isTcp ? 16 : 6;
        if (partial) {
          const pseudo = v6 ? pseudoV6 : pseudoV4;
          view.setUint16(packet.l4 + at, pseudo(view, packet.l3, proto, packet.off + packet.len - packet.l4));
          setPartial(packet, packet.l4, at);
        }
        for (const { kind, a, b } of list) {
          const address = Int32Array.from([a, b, a ^ b, 5]);
          if (kind < 2) {
            if (v6) {
              edit.setIpv6Addr(packet, kind ? ipv6Header.SRC : ipv6Header.DST, address, 0, proto);
            } else {
              edit.setIpv4Addr(packet, kind ? ipv4Header.SRC : ipv4Header.DST, a);
            }
          } else if (kind === 2) {
            if (isTcp) edit.setTcpPorts(packet, a & 0xffff, b);
            else edit.setUdpPorts(packet, a & 0xffff, b);
          } else if (kind === 3 && !v6) {
            edit.setIpv4Tos(packet, a & 0xff, b & 0xff);
          } else if (kind === 4 && !v6) {
            edit.setIpv4Ttl(packet, a & 0xff, b & 0xff);
          } else {
            edit.share(packet);
            edit.ensureWritable(packet, 4);
          }
        }
        expect(completePartial(packet)).toBe(true);
        expect(verifyL4(packet, etherType, proto)).toBe(true);
        if (!v6) expect(verifyIpv4(view, packet.l3)).toBe(true);
      }),
    );
  });
});

describe("push and pop", () => {
  it("pops undo pushes", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(2), { maxLength: 6 }), fc.boolean(), (pushes, tight) => {
        memory.resetScratch();
        const bytes = frame(ethernet(), ipv4(), udp(), "payload");
        const packet = load(bytes, 14, 34);
        if (tight) packet.head = packet.off;
        const protocols: number[] = [];
        const done: number[] = [];
        for (const kind of pushes) {
          // A tag that stands in the frame would end up within the label stack.
          if (kind === 0 && done.some((k) => k === 1)) continue;
          protocols.push(packet.protocol);
          done.push(kind);
          if (kind === 0) expect(edit.pushMpls(packet, 0x64140, ETH_P_MPLS_UC, edit.networkOffset(packet))).toBe(0);
          else if (kind === 1) expect(edit.pushVlan(packet, 0x8100, 5)).toBe(0);
          else edit.share(packet);
        }
        while (done.length > 0) {
          const kind = done.pop();
          const protocol = protocols.pop() as number;
          if (kind === 0) expect(edit.popMpls(packet, protocol)).toBe(0);
          else if (kind === 1) expect(edit.popVlan(packet)).toBe(0);
        }
        expect(bytesOf(packet)).toEqual(bytes);
        expect([packet.protocol, packet.l3 - packet.off, packet.l4 - packet.off, packet.vlanTpid]).toEqual([
          ETH_P_IP,
          14,
          34,
          0,
        ]);
      }),
    );
  });
});

describe("segmentation", () => {
  it("segments join to the payload, and every one verifies", () => {
    const options = fc.record({
      v6: fc.boolean(),
      isTcp: fc.boolean(),
      partial: fc.boolean(),
      size: fc.integer({ min: 1, max: 300 }),
      data: fc.uint8Array({ minLength: 2, maxLength: 1000 }),
    });
    fc.assert(
      fc.property(options, ({ v6, isTcp, partial, size, data }) => {
        fc.pre(data.length > size);
        memory.resetScratch();
        const bytes = frame(ethernet(), v6 ? ipv6() : ipv4(), isTcp ? tcp({ seq: 0xffffff00 }) : udp(), data);
        const l4 = v6 ? 54 : 34;
        const packet = load(bytes, 14, l4);
        const proto = isTcp ? IpProto.TCP : IpProto.UDP;
        const etherType = v6 ? ETH_P_IPV6 : ETH_P_IP;
        packet.gsoType = isTcp ? (v6 ? Gso.TCPV6 : Gso.TCPV4) : Gso.UDP_L4;
        packet.gsoSize = size;
        if (partial) {
          const pseudo = v6 ? pseudoV6 : pseudoV4;
          const at = isTcp ? 16 : 6;
          view.setUint16(packet.l4 + at, pseudo(view, packet.l3, proto, bytes.length - l4));
          setPartial(packet, packet.l4, at);
        }
        const header = l4 + (isTcp ? 20 : 8);
        const joined: number[] = [];
        const longest = gsoFrameLength(packet);
        const error = segment(
          packet,
          new Packet(memory),
          (part) => {
            expect(verifyL4(part, etherType, proto)).toBe(true);
            expect(part.len).toBeLessThanOrEqual(longest);
            const payload = bytesOf(part).subarray(header);
            if (isTcp) expect(view.getUint32(part.l4 + 4)).toBe((view.getUint32(packet.l4 + 4) + joined.length) >>> 0);
            joined.push(...payload);
            return 0;
          },
          new SeededRandom(9),
        );
        expect(error).toBe(0);
        expect(Uint8Array.from(joined)).toEqual(data);
      }),
    );
  });
});

describe("fragments", () => {
  it("fragment, shuffle, repeat, reassemble = identity; and again the same fragments", () => {
    const options = fc.record({
      v6: fc.boolean(),
      size: fc.integer({ min: 1, max: 40 }),
      data: fc.uint8Array({ minLength: 17, maxLength: 1500 }),
      order: fc.infiniteStream(u32),
      repeats: fc.array(u16, { maxLength: 5 }),
    });
    fc.assert(
      fc.property(options, ({ v6, size, data, order, repeats }) => {
        fc.pre(data.length > size * 8);
        memory.resetScratch();
        const whole = frame(ethernet(), v6 ? ipv6({ nextHeader: 253 }) : ipv4({ proto: 253 }), data);
        const pieces = v6 ? fragmentIpv6(whole, size * 8, 7) : fragmentIpv4(whole, size * 8);
        const queue = pieces
          .map((bytes) => ({ bytes, rank: order.next().value }))
          .sort((a, b) => a.rank - b.rank)
          .map(({ bytes }) => bytes);
        // Duplicates of what came already, anywhere before the piece that completes it.
        for (const at of repeats) {
          const where = 1 + (at % (queue.length - 1));
          queue.splice(where, 0, queue[at % where]);
        }
        const reassembler = new Reassembler(memory, new ManualClock());
        let packet = new Packet(memory);
        queue.forEach((bytes, i) => {
          packet = load(bytes, 14, 34);
          const result = v6 ? reassembler.ipv6(packet, 1) : reassembler.ipv4(packet, 1);
          if (i + 1 === queue.length) expect(result).toBe(0);
          else expect(result).toBeLessThan(0);
        });
        expect(bytesOf(packet)).toEqual(whole);
        expect(reassembler.stats.queues).toBe(0);
        const again: Uint8Array[] = [];
        fragment(packet, packet.protocol, packet.mru, 1500, new SeededRandom(5), new Packet(memory), (part) => {
          again.push(bytesOf(part));
          return 0;
        });
        for (const bytes of v6 ? [...again, ...pieces] : []) dataView(bytes).setUint32(58, 0);
        expect(again).toEqual(pieces);
      }),
    );
  });
  it("cut fragments cover the payload, in multiples of eight, within the MTU", () => {
    fc.assert(
      fc.property(
        fc.boolean(),
        fc.integer({ min: 28, max: 1500 }),
        fc.integer({ min: 1, max: 4000 }),
        (v6, mru, size) => {
          memory.resetScratch();
          const data = Uint8Array.from({ length: size }, (_, i) => i & 0xff);
          const bytes = frame(ethernet(), v6 ? ipv6({ nextHeader: 253 }) : ipv4({ proto: 253 }), data);
          const packet = load(bytes, 14, v6 ? 54 : 34);
          packet.ignoreDf = true;
          const limit = v6 ? Math.max(mru, 1280) : mru;
          const joined: number[] = [];
          let last = false;
          const error = fragment(
            packet,
            packet.protocol,
            mru,
            1500,
            new SeededRandom(1),
            new Packet(memory),
            (part) => {
              expect(part.len - 14).toBeLessThanOrEqual(limit);
              expect(last).toBe(false);
              const word = view.getUint16(part.l3 + (v6 ? 42 : 6));
              last = (word & (v6 ? 1 : 0x2000)) === 0;
              expect(v6 ? word & 0xfff8 : (word & 0x1fff) << 3).toBe(joined.length);
              joined.push(...bytesOf(part).subarray(v6 ? 62 : 34));
              return 0;
            },
          );
          expect(error).toBe(0);
          expect(last).toBe(true);
          expect(Uint8Array.from(joined)).toEqual(data);
        },
      ),
    );
  });
  it("memory and queues come back, whatever arrives", () => {
    const piece = fc.record({
      v6: fc.boolean(),
      off: fc.nat(20),
      length: fc.nat(100),
      mf: fc.boolean(),
      id: fc.nat(2),
      tos: fc.constantFrom(0, 0, 0, 1, 3),
    });
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 60 }), (list) => {
        const clock = new ManualClock();
        const reassembler = new Reassembler(memory, clock);
        for (const { v6, off, length, mf, id, tos } of list) {
          memory.resetScratch();
          const whole = frame(
            ethernet(),
            v6 ? ipv6({ nextHeader: 253, tclass: tos }) : ipv4({ proto: 253, tos, id }),
            new Uint8Array(length),
          );
          const bytes = v6 ? (fragmentIpv6(whole, 4096, id)[0] ?? whole) : whole;
          const word = v6 ? (off << 3) | (mf ? 1 : 0) : off | (mf ? 0x2000 : 0);
          if (bytes.length >= 62 || !v6) dataView(bytes).setUint16(v6 ? 56 : 20, word);
          const packet = load(bytes, 14, 34);
          const result = v6 ? reassembler.ipv6(packet, 1) : reassembler.ipv4(packet, 1);
          expect(result).toBeLessThanOrEqual(0);
          expect(bytesOf(packet).length).toBe(packet.len);
        }
        clock.advance(60_000);
        reassembler.expire();
        expect(reassembler.stats.queues).toBe(0);
        const buffers: number[] = [];
        for (let at = memory.alloc(100); at >= 0; at = memory.alloc(100)) buffers.push(at);
        for (const at of buffers) memory.free(at);
        expect(buffers.length).toBe(8192 + 128);
        expect(new Set(buffers).size).toBe(buffers.length);
      }),
      { numRuns: 20 },
    );
  });
});

describe("fuzz: random bytes through every function", () => {
  /** All that can be seen of a packet. */
  const state = (packet: Packet): unknown[] => [
    Buffer.from(bytesOf(packet)).toString("hex"),
    packet.protocol,
    packet.l3 - packet.off,
    packet.l4 - packet.off,
    packet.vlanTpid,
    packet.vlanTci,
    packet.macNone,
    packet.csum,
    packet.mru,
  ];
  const random = (): SeededRandom => new SeededRandom(9);
  const parts = (run: (out: Packet, each: (part: Packet) => number) => number): unknown => {
    const seen: unknown[] = [];
    const result = run(new Packet(memory), (part) => {
      seen.push(state(part));
      return seen.length > 40 ? -1 : 0;
    });
    return [result, seen];
  };
  const walkResult = new ipv6Header.Ipv6Walk();
  const address = Int32Array.from([1, 2, 3, 4]);
  const functions: Record<string, (packet: Packet, a: number, b: number) => unknown> = {
    trimIpv4: (p) => edit.trimToIpLength(p, ETH_P_IP),
    trimIpv6: (p) => edit.trimToIpLength(p, ETH_P_IPV6),
    popVlan: (p) => edit.popVlan(p),
    pushVlan: (p, a) => [edit.pushVlan(p, 0x8100, a), edit.pushVlan(p, 0x88a8, a)],
    materializeVlan: (p, a) => [edit.pushVlan(p, 0x8100, a), edit.materializeVlan(p)],
    pushMpls: (p, a) => edit.pushMpls(p, a, ETH_P_MPLS_UC, Math.min(14, p.len)),
    popMpls: (p) => {
      p.protocol = ETH_P_MPLS_UC;
      return edit.popMpls(p, ETH_P_IP);
    },
    setMpls: (p, a, b) => {
      p.protocol = ETH_P_MPLS_UC;
      return edit.setMpls(p, a, b);
    },
    popEth: (p) => edit.popEth(p),
    popNsh: (p) => edit.popNsh(p),
    setEthernet: (p, a, b) => edit.setEthernet(p, a, b, a, b, a, b),
    setIpv4: (p, a, b) =>
      edit.prepareIpv4(p) === 0 && [
        edit.setIpv4Addr(p, ipv4Header.SRC, a),
        edit.setIpv4Addr(p, ipv4Header.DST, b),
        edit.setIpv4Tos(p, a & 255, b & 255),
        edit.setIpv4Ttl(p, a & 255, b & 255),
      ],
    setIpv6: (p, a) =>
      edit.prepareIpv6(p) === 0 && [
        edit.setIpv6Addr(p, ipv6Header.SRC, address, 0, a & 255),
        edit.setIpv6Addr(p, ipv6Header.DST, address, 0, a & 255),
      ],
    decTtl4: (p) => {
      p.protocol = ETH_P_IP;
      return edit.decTtl(p);
    },
    decTtl6: (p) => {
      p.protocol = ETH_P_IPV6;
      return edit.decTtl(p);
    },
    setTcp: (p, a, b) => edit.prepareTransport(p, 20) === 0 && edit.setTcpPorts(p, a & 0xffff, b & 0xffff),
    setUdp: (p, a, b) => edit.prepareTransport(p, 8) === 0 && edit.setUdpPorts(p, a & 0xffff, b & 0xffff),
    setSctp: (p, a, b) => edit.prepareTransport(p, 12) === 0 && edit.setSctpPorts(p, a & 0xffff, b & 0xffff),
    completePartial: (p, a, b) => {
      setPartial(p, p.off + (a % 80), b % 40);
      return completePartial(p);
    },
    walk: (p) => {
      if (p.off + p.len - p.l3 < 40) return false;
      const ok = ipv6Header.walk(view, p.l3, p.off + p.len, walkResult);
      return [ok, walkResult.proto, walkResult.offset - p.off, walkResult.later];
    },
    findFragmentable: (p) => {
      if (p.off + p.len - p.l3 < 40) return false;
      const ok = ipv6Header.findFragmentable(view, p.l3, p.off + p.len, walkResult);
      return ok && [walkResult.proto, walkResult.offset - p.off];
    },
    sctpChecksum: (p) => p.len >= 12 && sctpHeader.computeChecksum(view, p.off, p.len),
    reassemble4: (p) => new Reassembler(memory, new ManualClock()).ipv4(p, 1),
    reassemble6: (p) => new Reassembler(memory, new ManualClock()).ipv6(p, 1),
  };
  for (const proto of [1, 6, 17, 58, 132, 136]) {
    functions[`verify ${proto}`] = (p) => [verifyL4(p, ETH_P_IP, proto), verifyL4(p, ETH_P_IPV6, proto)];
  }
  for (const gsoType of [Gso.TCPV4, Gso.TCPV6, Gso.UDP, Gso.UDP_L4]) {
    functions[`segment ${gsoType}`] = (p, a, b) => {
      p.gsoType = gsoType;
      p.gsoSize = 1 + (a % 100);
      if (b & 1) setPartial(p, p.l4, gsoType === Gso.TCPV4 ? 16 : 6);
      return parts((out, each) => segment(p, out, each, random()));
    };
  }
  for (const etherType of [ETH_P_IP, ETH_P_IPV6]) {
    functions[`fragment ${etherType}`] = (p, a) => {
      p.ignoreDf = true;
      return parts((out, each) => fragment(p, etherType, 20 + (a % 1400), 1500, random(), out, each));
    };
  }

  /** Right frames of all kinds. */
  const routing = extension(43, { body: Uint8Array.from([0, 1, 0, 0, 0, 0]) });
  const nshHeader = Uint8Array.from([0, 2, 1, 1, 0, 0, 1, 255]);
  const frames = [
    frame(ethernet(), ipv4(), tcp(), "some bytes of payload"),
    frame(ethernet(), ipv4({ options: new Uint8Array(8) }), tcp({ options: new Uint8Array(12) }), "payload"),
    frame(ethernet(), ipv4(), udp(), "some bytes of payload"),
    frame(ethernet(), vlan(), ipv4(), udp(), "some bytes of payload"),
    frame(ethernet(), vlan(), vlan(), ipv6(), tcp(), "some bytes of payload"),
    frame(ethernet(), mpls(), ipv4(), tcp(), "some bytes of payload"),
    frame(ethernet({ type: ETH_P_NSH }), nshHeader, ipv4(), udp(), "some bytes of payload"),
    frame(ethernet(), ipv6(), udp(), "some bytes of payload"),
    frame(ethernet(), ipv6(), extension(0), routing, extension(60), tcp(), "some bytes of payload"),
    frame(ethernet(), ipv6(), extension(0), ipv6Fragment({ mf: true }), udp(), "payload....."),
    frame(ethernet(), ipv6(), ipv6Fragment({ offset: 8 }), "payload"),
    frame(ethernet(), ipv6(), extension(51), icmpv6(), "payload"),
    frame(ethernet(), ipv4(), sctp(), sctpChunk(1, 0, new Uint8Array(16))),
  ];
  /** One of them, cut somewhere, with some bytes changed, and what was cut off; or just random bytes. */
  const bytes = fc.oneof(
    {
      weight: 1,
      arbitrary: fc.uint8Array({ minLength: 1, maxLength: 160 }).map((input) => ({ input, tail: new Uint8Array(0) })),
    },
    {
      weight: 5,
      arbitrary: fc
        .tuple(fc.constantFrom(...frames), fc.nat(160), fc.boolean(), fc.array(fc.tuple(u16, u16), { maxLength: 2 }))
        .map(([right, length, whole, changes]) => {
          const input = whole ? right.slice() : right.slice(0, length + 1);
          for (const [at, value] of changes) input[at % input.length] = value & 0xff;
          return { input, tail: right.slice(input.length) };
        }),
    },
  );

  for (const [name, run] of Object.entries(functions)) {
    it(`${name}: neither throws nor depends on what lies around the packet`, () => {
      fc.assert(
        fc.property(
          bytes,
          u32,
          u32,
          fc.constantFrom(14, 18),
          fc.constantFrom(34, 54, 58),
          ({ input, tail }, a, b, l3, l4) => {
            const results: unknown[] = [];
            // What was cut off is the likeliest thing to be read by mistake.
            for (const around of [tail, new Uint8Array(64).fill(0xff)]) {
              memory.resetScratch();
              const packet = load(input, l3, l4, 0);
              memory.bytes.set(around, packet.end);
              const result = run(packet, a, b);
              expect(packet.off).toBeGreaterThanOrEqual(packet.head);
              expect(packet.len).toBeGreaterThanOrEqual(0);
              results.push([result, state(packet)]);
            }
            expect(results[0]).toEqual(results[1]);
          },
        ),
        { numRuns: 400 },
      );
    });
  }
});
