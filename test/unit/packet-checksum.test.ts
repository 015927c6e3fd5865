import { describe, expect, it } from "vitest";
import { checksum, diff16, diff32, fold, replace16, replace32, sum, update } from "../../src/packet/checksum.ts";
import { crc32c } from "../../src/packet/crc32c.ts";
import { share } from "../../src/packet/edit/writable.ts";
import { ETH_P_IP, ETH_P_IPV6 } from "../../src/packet/ethernet.ts";
import { IpProto } from "../../src/packet/ip.ts";
import * as ipv4Header from "../../src/packet/ipv4.ts";
import { completePartial, pseudoV4, setPartial, updateL4, updateUdp, verifyL4 } from "../../src/packet/l4-checksum.ts";
import { PacketMemory } from "../../src/packet/memory.ts";
import { Csum, Packet } from "../../src/packet/packet.ts";
import * as sctpHeader from "../../src/packet/sctp.ts";
import { fillL4, verifyIpv4 } from "../support/checksums.ts";
import { bytesOf, ethernet, frame, icmp, icmpv6, ipv4, ipv6, sctp, sctpChunk, tcp, udp } from "../support/frames.ts";

const view = (hex: string): DataView => {
  const bytes = Buffer.from(hex, "hex");
  return new DataView(Uint8Array.from(bytes).buffer);
};

describe("one's complement sums", () => {
  it("RFC 1071 section 3: the worked example", () => {
    expect(sum(view("0001f203f4f5f6f7"), 0, 8)).toBe(0xddf2);
    expect(checksum(view("0001f203f4f5f6f7"), 0, 8)).toBe(0x220d);
  });
  it("an odd last byte counts as the high half", () => {
    expect(sum(view("0102ff"), 0, 3)).toBe(fold(0x0102 + 0xff00));
    expect(sum(view("aa0102ff"), 1, 3)).toBe(fold(0x0102 + 0xff00));
  });
  it("nothing, and going on from a sum", () => {
    expect(sum(view("ff"), 0, 0)).toBe(0);
    expect(sum(view("0001"), 0, 2, 0x7fffffff)).toBe(fold(0x7fffffff + 1));
  });
  it("an IPv4 header (a well known example)", () => {
    const header = view("45000073000040004011b861c0a80001c0a800c7");
    expect(verifyIpv4(header, 0)).toBe(true);
    ipv4Header.fillChecksum(header, 0);
    expect(header.getUint16(10)).toBe(0xb861);
  });
  it("RFC 1624 section 4: the example that RFC 1141 gets wrong", () => {
    expect(update(0xdd2f, diff16(0x5555, 0x3285))).toBe(0x0000);
  });
  it("an update never yields 0xffff, as in the kernel", () => {
    expect(update(0xffff, diff16(7, 7))).toBe(0);
    expect(update(0x0000, diff32(7, 7))).toBe(0);
    expect(update(0xffff, diff32(0xffffffff, 0))).toBe(0);
  });
  it("updates fields in place", () => {
    const header = view("45000073000040004011b861c0a80001c0a800c7");
    replace32(header, 10, header.getUint32(12), 0x0a000001);
    header.setUint32(12, 0x0a000001);
    replace16(header, 10, header.getUint16(4), 0xbeef);
    header.setUint16(4, 0xbeef);
    expect(verifyIpv4(header, 0)).toBe(true);
  });
});

describe("CRC32c", () => {
  const crc = (bytes: Uint8Array): number =>
    ~crc32c(new DataView(bytes.buffer, bytes.byteOffset), 0, bytes.length, -1) >>> 0;
  it("RFC 3720 appendix B.4: test vectors", () => {
    expect(crc(new Uint8Array(32))).toBe(0x8a9136aa);
    expect(crc(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
    expect(crc(Uint8Array.from({ length: 32 }, (_, i) => i))).toBe(0x46dd794e);
    expect(crc(Uint8Array.from({ length: 32 }, (_, i) => 31 - i))).toBe(0x113fdb5c);
    expect(crc(new TextEncoder().encode("123456789"))).toBe(0xe3069283);
  });
});

const memory = new PacketMemory();

function load(bytes: Uint8Array, l4: number): Packet {
  memory.resetScratch();
  const base = memory.scratch(bytes.length + 256);
  memory.bytes.set(bytes, base + 128);
  const packet = new Packet(memory);
  packet.reset(base + 128, bytes.length, base, base + 128 + bytes.length);
  packet.protocol = (bytes[12] << 8) | bytes[13];
  packet.l3 = packet.off + 14;
  packet.l4 = packet.off + l4;
  return packet;
}

describe("transport checksums", () => {
  const cases: [string, Uint8Array, number, number, number][] = [
    ["TCP", frame(ethernet(), ipv4(), tcp(), "odd"), 34, IpProto.TCP, 16],
    ["UDP", frame(ethernet(), ipv4(), udp(), "odd"), 34, IpProto.UDP, 6],
    ["ICMP", frame(ethernet(), ipv4(), icmp(), "odd"), 34, IpProto.ICMP, 2],
    ["TCP over IPv6", frame(ethernet(), ipv6(), tcp(), "odd"), 54, IpProto.TCP, 16],
    ["UDP over IPv6", frame(ethernet(), ipv6(), udp(), "odd"), 54, IpProto.UDP, 6],
    ["ICMPv6", frame(ethernet(), ipv6(), icmpv6(), "odd"), 54, IpProto.ICMPV6, 2],
  ];
  for (const [name, bytes, l4, proto, at] of cases) {
    it(`C-058: ${name} is verified`, () => {
      const packet = load(bytes, l4);
      expect(verifyL4(packet, packet.protocol, proto)).toBe(true);
      memory.bytes[packet.off + packet.len - 1] ^= 1;
      expect(verifyL4(packet, packet.protocol, proto)).toBe(false);
      fillL4(packet, packet.protocol, proto, packet.len - l4, packet.l4 + at);
      expect(verifyL4(packet, packet.protocol, proto)).toBe(true);
    });
    it(`C-059: ${name} that is partial or verified by the device is taken on trust`, () => {
      const packet = load(bytes, l4);
      memory.bytes[packet.off + packet.len - 1] ^= 1;
      packet.csum = Csum.UNNECESSARY;
      expect(verifyL4(packet, packet.protocol, proto)).toBe(true);
      packet.csum = Csum.PARTIAL;
      expect(verifyL4(packet, packet.protocol, proto)).toBe(true);
    });
  }
  it("C-316: no UDP checksum is a right one, in IPv4 and in IPv6", () => {
    expect(verifyL4(load(frame(ethernet(), ipv4(), udp({ checksum: 0 }), "x"), 34), ETH_P_IP, IpProto.UDP)).toBe(true);
    expect(verifyL4(load(frame(ethernet(), ipv6(), udp({ checksum: 0 }), "x"), 54), ETH_P_IPV6, IpProto.UDP)).toBe(
      true,
    );
  });
  it("C-058: a bad IPv4 header checksum counts as a bad packet", () => {
    expect(verifyL4(load(frame(ethernet(), ipv4({ checksum: 1 }), tcp(), "x"), 34), ETH_P_IP, IpProto.TCP)).toBe(false);
  });
  it("UDPLite is summed over its coverage", () => {
    const bytes = frame(ethernet(), ipv4({ proto: IpProto.UDPLITE }), udp({ length: 8, checksum: 0 }), "uncovered");
    const packet = load(bytes, 34);
    const { view: arena } = memory;
    const pseudo = pseudoV4(arena, packet.l3, IpProto.UDPLITE, 17);
    arena.setUint16(packet.l4 + 6, checksum(arena, packet.l4, 8, pseudo));
    expect(verifyL4(packet, ETH_P_IP, IpProto.UDPLITE)).toBe(true);
    memory.bytes[packet.off + packet.len - 1] ^= 1;
    expect(verifyL4(packet, ETH_P_IP, IpProto.UDPLITE)).toBe(true);
    memory.bytes[packet.l4] ^= 1;
    expect(verifyL4(packet, ETH_P_IP, IpProto.UDPLITE)).toBe(false);
    arena.setUint16(packet.l4 + 4, 7);
    expect(verifyL4(packet, ETH_P_IP, IpProto.UDPLITE)).toBe(false);
  });
  it("a packet cut short is wrong, not read beyond its end", () => {
    const packet = load(frame(ethernet(), ipv4(), udp(), "odd"), 34);
    packet.len = 14 + 20 + 7;
    expect(verifyL4(packet, ETH_P_IP, IpProto.UDP)).toBe(false);
    packet.len = 14 + 20;
    expect(verifyL4(packet, ETH_P_IP, IpProto.TCP)).toBe(false);
  });
  it("SCTP: computes what stands in the packet", () => {
    const packet = load(frame(ethernet(), ipv4(), sctp(), sctpChunk(1, 0, new Uint8Array(16))), 34);
    const { view: arena } = memory;
    expect(sctpHeader.computeChecksum(arena, packet.l4, packet.len - 34)).toBe(sctpHeader.checksum(arena, packet.l4));
  });
});

describe("CHECKSUM_PARTIAL", () => {
  /** A TCP packet as a guest hands it over: the field holds the pseudo-header sum. */
  function partial(): Packet {
    const packet = load(frame(ethernet(), ipv4(), tcp(), "odd"), 34);
    const { view: arena } = memory;
    arena.setUint16(packet.l4 + 16, pseudoV4(arena, packet.l3, IpProto.TCP, packet.len - 34));
    setPartial(packet, packet.l4, 16);
    return packet;
  }
  it("A-163: completing gives the checksum that a full computation gives", () => {
    const packet = partial();
    expect(completePartial(packet)).toBe(true);
    expect(packet.csum).toBe(Csum.NONE);
    expect(verifyL4(packet, ETH_P_IP, IpProto.TCP)).toBe(true);
  });
  it("that of SCTP is CRC32c, and never a sum", () => {
    for (const field of [0, 0xffffffff]) {
      const packet = load(
        frame(ethernet(), ipv4(), sctp({ tag: 7, checksum: field }), sctpChunk(0, 3, bytesOf(1, 2, 3))),
        34,
      );
      const right = frame(ethernet(), ipv4(), sctp({ tag: 7 }), sctpChunk(0, 3, bytesOf(1, 2, 3)));
      setPartial(packet, packet.l4, 8);
      expect(completePartial(packet)).toBe(true);
      expect(memory.bytes.slice(packet.off, packet.off + packet.len)).toEqual(right);
    }
    const cut = load(frame(ethernet(), ipv4(), bytesOf(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)), 34);
    setPartial(cut, cut.l4, 8);
    expect(completePartial(cut)).toBe(false);
  });
  it("changes of the pseudo header go in with the opposite sign, others do not touch the field", () => {
    const packet = partial();
    const { view: arena } = memory;
    const address = arena.getUint32(packet.l3 + 12);
    updateL4(packet, packet.l4 + 16, diff32(address, 0xc0a80101), true);
    replace32(arena, packet.l3 + 10, address, 0xc0a80101);
    arena.setUint32(packet.l3 + 12, 0xc0a80101);
    const field = arena.getUint16(packet.l4 + 16);
    updateL4(packet, packet.l4 + 16, diff16(arena.getUint16(packet.l4), 99), false);
    arena.setUint16(packet.l4, 99);
    expect(arena.getUint16(packet.l4 + 16)).toBe(field);
    expect(completePartial(packet)).toBe(true);
    expect(verifyL4(packet, ETH_P_IP, IpProto.TCP)).toBe(true);
  });
  it("a field outside of the packet is refused", () => {
    const packet = partial();
    packet.csumOffset = packet.len;
    expect(completePartial(packet)).toBe(false);
    packet.csumOffset = 16;
    packet.csumStart = packet.off - 20;
    expect(completePartial(packet)).toBe(false);
  });
  it("a sum that comes out 0 is stored as 0xffff", () => {
    const packet = load(frame(ethernet(), ipv4({ proto: 17 }), new Uint8Array(8)), 34);
    memory.view.setUint32(packet.l4, 0xffff0000);
    setPartial(packet, packet.l4, 6);
    completePartial(packet);
    expect(memory.view.getUint16(packet.l4 + 6)).toBe(0xffff);
  });
  it("A-187: UDP checksum 0 stays 0, result 0 becomes 0xffff", () => {
    const none = load(frame(ethernet(), ipv4(), udp({ checksum: 0 }), "x"), 34);
    updateUdp(none, none.l4 + 6, diff16(1, 2), true);
    expect(memory.view.getUint16(none.l4 + 6)).toBe(0);
    const zero = load(frame(ethernet(), ipv4(), udp({ checksum: 5 }), "x"), 34);
    updateUdp(zero, zero.l4 + 6, diff16(0, 5), true);
    expect(memory.view.getUint16(zero.l4 + 6)).toBe(0xffff);
  });
  it("positions move along when the packet does", () => {
    const packet = partial();
    share(packet);
    expect(packet.unshare(64, 0)).toBe(true);
    expect(packet.csumStart).toBe(packet.off + 34);
    completePartial(packet);
    expect(verifyL4(packet, ETH_P_IP, IpProto.TCP)).toBe(true);
  });
});
