import { beforeEach, describe, expect, it } from "vitest";
import {
  ETH_P_8021AD,
  ETH_P_8021Q,
  ETH_P_ARP,
  ETH_P_IP,
  ETH_P_IPV6,
  ETH_P_MPLS_UC,
  ETH_P_NSH,
  ETH_P_TEB,
} from "../../src/packet/ethernet.ts";
import { IpProto } from "../../src/packet/ip.ts";
import * as ipv4Header from "../../src/packet/ipv4.ts";
import * as ipv6Header from "../../src/packet/ipv6.ts";
import { completePartial, pseudoV4, setPartial, verifyL4 } from "../../src/packet/l4-checksum.ts";
import { HEADROOM, PacketMemory } from "../../src/packet/memory.ts";
import { Packet } from "../../src/packet/packet.ts";
import * as sctpHeader from "../../src/packet/sctp.ts";
import { EAFNOSUPPORT, EBADMSG, EHOSTUNREACH, EINVAL, ENOMEM, EPROTO } from "../../src/uapi/errno.ts";
import { verifyIpv4 } from "../support/checksums.ts";
import * as edit from "../support/edit.ts";
import {
  ethernet,
  extension,
  fragmentIpv4,
  fragmentIpv6,
  frame,
  hex,
  icmpv6,
  ipv4,
  ipv6,
  sctp,
  sctpChunk,
  tcp,
  udp,
  vlan,
} from "../support/frames.ts";

const memory = new PacketMemory();
const { view } = memory;
beforeEach(() => memory.resetScratch());

/** A packet with room around it; 0xa5 where nothing was written. */
function load(bytes: Uint8Array, l4 = 34, headroom = HEADROOM): Packet {
  const base = memory.scratch(headroom + bytes.length + 64);
  memory.bytes.fill(0xa5, base, base + headroom + bytes.length + 64);
  memory.bytes.set(bytes, base + headroom);
  const packet = new Packet(memory);
  packet.reset(base + headroom, bytes.length, base, base + headroom + bytes.length);
  packet.protocol = (bytes[12] << 8) | bytes[13];
  packet.l3 = packet.off + 14;
  packet.l4 = packet.off + l4;
  return packet;
}
const hexOf = (packet: Packet): string => hex(memory.bytes.slice(packet.off, packet.off + packet.len));
const MACS = "02000000000b02000000000a";
const udp4 = frame(ethernet(), ipv4(), udp(), "payload");
const rest = hex(udp4).slice(28);

describe("room", () => {
  it("writes in place while the bytes are ours and the headroom suffices", () => {
    const packet = load(udp4);
    const { off } = packet;
    expect(edit.ensureWritable(packet, HEADROOM)).toBe(true);
    expect(packet.off).toBe(off);
  });
  it("moves a shared packet, and leaves the shared bytes as they were", () => {
    const packet = load(udp4);
    const { off } = packet;
    edit.share(packet);
    expect(edit.isWritable(packet)).toBe(false);
    expect(edit.setEthernet(packet, 0, 0, 0, -1, -1, -1)).toBe(0);
    expect(hex(memory.bytes.slice(off, off + udp4.length))).toBe(hex(udp4));
    expect(hexOf(packet)).toBe(`${"00".repeat(12)}0800${rest}`);
    expect([packet.l3 - packet.off, packet.l4 - packet.off]).toEqual([14, 34]);
    expect(edit.isWritable(packet)).toBe(true);
  });
  it("moves a packet without headroom", () => {
    const packet = load(udp4, 34, 0);
    expect(edit.pushMpls(packet, 0x64140, ETH_P_MPLS_UC, 14)).toBe(0);
    expect(hexOf(packet)).toBe(`${MACS}884700064140${rest}`);
  });
  it("ENOMEM when scratch memory is used up", () => {
    const packet = load(udp4);
    edit.share(packet);
    while (memory.scratch(1 << 20) >= 0);
    while (memory.scratch(64) >= 0);
    expect(edit.ensureWritable(packet)).toBe(false);
    expect(edit.pushMpls(packet, 1, ETH_P_MPLS_UC, 14)).toBe(-ENOMEM);
    expect(edit.prepareIpv4(packet)).toBe(-ENOMEM);
  });
});

describe("Ethernet", () => {
  it("A-183: masked write of both addresses", () => {
    const packet = load(udp4);
    edit.setEthernet(packet, 0x11223344, 0x55667788, 0x99aabbcc, -1, 0xffff0000 | 0, 0x000000ff);
    expect(hexOf(packet).slice(0, 24)).toBe("112233445566" + "0200000000cc");
  });
  it("A-200: too short is ENOMEM", () => {
    const packet = load(udp4);
    packet.len = 13;
    expect(edit.setEthernet(packet, 0, 0, 0, 0, 0, 0)).toBe(-ENOMEM);
  });
  it("A-182, A-181: pop_eth and push_eth", () => {
    const packet = load(udp4);
    expect(edit.popEth(packet)).toBe(0);
    expect([hexOf(packet), packet.macNone, packet.l3 - packet.off]).toEqual([rest, true, 0]);
    expect(edit.popEth(packet)).toBe(-EPROTO);
    expect(edit.pushEth(packet, 0x02000000, 0x000c0200, 0x0000000d)).toBe(0);
    expect(hexOf(packet)).toBe(`02000000000c02000000000d0800${rest}`);
    expect([packet.macNone, packet.l3 - packet.off, packet.l4 - packet.off]).toEqual([false, 14, 34]);
    expect(edit.pushEth(packet, 0, 0, 0)).toBe(-EPROTO);
  });
  it("A-181, A-182: EPROTO for tagged packets", () => {
    const tagged = load(udp4);
    tagged.vlanTpid = ETH_P_8021Q;
    expect(edit.popEth(tagged)).toBe(-EPROTO);
    const inside = load(frame(ethernet(), vlan(), ipv4(), udp()));
    expect(edit.popEth(inside)).toBe(-EPROTO);
    const bare = load(udp4);
    edit.popEth(bare);
    bare.vlanTpid = ETH_P_8021Q;
    expect(edit.pushEth(bare, 0, 0, 0)).toBe(-EPROTO);
  });
});

describe("VLAN", () => {
  it("A-170: the first tag stands beside the frame", () => {
    const packet = load(udp4);
    expect(edit.pushVlan(packet, ETH_P_8021Q, 0x2005)).toBe(0);
    expect([hexOf(packet), packet.vlanTpid, packet.vlanTci]).toEqual([hex(udp4), ETH_P_8021Q, 0x2005]);
    expect(packet.protocol).toBe(ETH_P_IP);
  });
  it("A-171: the second moves the first into the frame", () => {
    const packet = load(udp4);
    edit.pushVlan(packet, ETH_P_8021Q, 5);
    edit.pushVlan(packet, ETH_P_8021AD, 6);
    expect([hexOf(packet), packet.vlanTpid, packet.vlanTci]).toEqual([`${MACS}810000050800${rest}`, ETH_P_8021AD, 6]);
    expect([packet.protocol, packet.l3 - packet.off, packet.l4 - packet.off]).toEqual([ETH_P_8021Q, 14, 38]);
  });
  it("A-172, A-174: pop moves the inner tag out, then restores the protocol", () => {
    const packet = load(udp4);
    edit.pushVlan(packet, ETH_P_8021Q, 5);
    edit.pushVlan(packet, ETH_P_8021AD, 6);
    expect(edit.popVlan(packet)).toBe(0);
    expect([hexOf(packet), packet.vlanTpid, packet.vlanTci]).toEqual([hex(udp4), ETH_P_8021Q, 5]);
    expect([packet.protocol, packet.l3 - packet.off, packet.l4 - packet.off]).toEqual([ETH_P_IP, 14, 34]);
    expect(edit.popVlan(packet)).toBe(0);
    expect([hexOf(packet), packet.vlanTpid]).toEqual([hex(udp4), 0]);
  });
  it("A-172: a tag that came in the frame is popped from there", () => {
    const packet = load(frame(ethernet(), vlan({ vid: 9 }), vlan({ vid: 10 }), ipv4(), udp(), "payload"), 42);
    packet.l3 = packet.off + 18;
    expect(edit.popVlan(packet)).toBe(0);
    expect([hexOf(packet), packet.vlanTpid, packet.vlanTci]).toEqual([hex(udp4), ETH_P_8021Q, 10]);
    expect([packet.protocol, packet.l3 - packet.off]).toEqual([ETH_P_IP, 14]);
  });
  it("A-173: pop of an untagged packet does nothing", () => {
    const packet = load(udp4);
    expect(edit.popVlan(packet)).toBe(0);
    expect(hexOf(packet)).toBe(hex(udp4));
  });
  it("A-174: an 802.2 payload behind the tag", () => {
    const packet = load(frame(ethernet(), vlan({ type: 8 }), Uint8Array.from([0xaa, 0xaa, 3, 0, 0, 0, 0, 0])));
    edit.popVlan(packet);
    expect(packet.protocol).toBe(0x0004);
  });
  it("a truncated tag is ENOMEM, a short frame EINVAL", () => {
    const packet = load(frame(ethernet(), vlan(), ipv4(), udp()));
    packet.len = 17;
    expect(edit.popVlan(packet)).toBe(-ENOMEM);
    const short = load(udp4);
    short.len = 12;
    edit.pushVlan(short, ETH_P_8021Q, 1);
    expect(edit.pushVlan(short, ETH_P_8021Q, 1)).toBe(-EINVAL);
  });
  it("materializeVlan puts the tag into the frame and keeps l3", () => {
    const packet = load(udp4);
    edit.pushVlan(packet, ETH_P_8021Q, 5);
    expect(edit.materializeVlan(packet)).toBe(0);
    expect([hexOf(packet), packet.vlanTpid]).toEqual([`${MACS}810000050800${rest}`, 0]);
    expect([packet.protocol, packet.l3 - packet.off]).toEqual([ETH_P_8021Q, 18]);
  });
});

describe("MPLS", () => {
  it("A-175: push replaces the ethertype; the entry is used as it is", () => {
    const packet = load(udp4);
    expect(edit.pushMpls(packet, 0x12345678, ETH_P_MPLS_UC, 14)).toBe(0);
    expect(hexOf(packet)).toBe(`${MACS}884712345678${rest}`);
    expect([packet.protocol, packet.l3 - packet.off, packet.macNone]).toEqual([ETH_P_MPLS_UC, 14, false]);
    expect(packet.l4 - packet.off).toBe(38);
    expect(edit.pushMpls(packet, 0x9abcdef0, 0x8848, 14)).toBe(0);
    expect(hexOf(packet)).toBe(`${MACS}88489abcdef012345678${rest}`);
  });
  it("A-175: other ethertypes are EINVAL", () => {
    expect(edit.pushMpls(load(udp4), 0, ETH_P_IP, 14)).toBe(-EINVAL);
  });
  it("A-177: pop sets the ethertype it is told, without looking", () => {
    const packet = load(udp4);
    edit.pushMpls(packet, 1, ETH_P_MPLS_UC, 14);
    edit.pushMpls(packet, 2, ETH_P_MPLS_UC, 14);
    expect(edit.popMpls(packet, ETH_P_MPLS_UC)).toBe(0);
    expect(hexOf(packet)).toBe(`${MACS}884700000001${rest}`);
    expect(edit.popMpls(packet, ETH_P_ARP)).toBe(0);
    expect(hexOf(packet)).toBe(`${MACS}0806${rest}`);
    expect(edit.popMpls(packet, ETH_P_IP)).toBe(0);
    expect([hexOf(packet), packet.protocol]).toEqual([`${MACS}0806${rest}`, ETH_P_ARP]);
  });
  it("A-177: the ethertype behind a tag is the one that changes", () => {
    const packet = load(
      frame(ethernet(), vlan({ vid: 5, type: ETH_P_MPLS_UC }), Uint8Array.from([0, 6, 0x41, 0x40, 1, 2])),
    );
    packet.l3 = packet.off + 18;
    packet.protocol = ETH_P_MPLS_UC;
    expect(edit.popMpls(packet, ETH_P_IP)).toBe(0);
    expect(hexOf(packet)).toBe(`${MACS}8100000508000102`);
  });
  it("A-179, A-178: add_mpls before the Ethernet header, and back with TEB", () => {
    const packet = load(udp4);
    expect(edit.pushMpls(packet, 0x64140, ETH_P_MPLS_UC, 0)).toBe(0);
    expect([hexOf(packet), packet.macNone, packet.l3 - packet.off]).toEqual([`00064140${hex(udp4)}`, true, 0]);
    expect(edit.popMpls(packet, ETH_P_TEB)).toBe(0);
    expect([hexOf(packet), packet.macNone, packet.protocol]).toEqual([hex(udp4), false, ETH_P_TEB]);
  });
  it("A-180: masked write of the top entry", () => {
    const packet = load(udp4);
    expect(edit.setMpls(packet, 0, -1)).toBe(-EINVAL);
    edit.pushMpls(packet, 0x12345678, ETH_P_MPLS_UC, 14);
    expect(edit.setMpls(packet, 0xabcde0ff | 0, 0xfffff0ff | 0)).toBe(0);
    expect(hexOf(packet).slice(28, 36)).toBe("abcde6ff");
    packet.len = 17;
    expect(edit.setMpls(packet, 0, -1)).toBe(-ENOMEM);
    expect(edit.popMpls(packet, ETH_P_IP)).toBe(-ENOMEM);
  });
});

describe("NSH", () => {
  const header = Uint8Array.from([0x0f, 0xc6, 1, 0xee, 0, 0, 1, 255, ...new Uint8Array(16)]);
  it("A-184: next protocol is 3 with an L2 header, else from the ethertype", () => {
    const packet = load(udp4);
    expect(edit.pushNsh(packet, header)).toBe(0);
    expect(hexOf(packet)).toBe(`0fc60103000001ff${"00".repeat(16)}${hex(udp4)}`);
    expect([packet.protocol, packet.macNone, packet.l3 - packet.off]).toEqual([ETH_P_NSH, true, 0]);
    for (const [etherType, next] of [
      [ETH_P_IP, 1],
      [ETH_P_IPV6, 2],
      [ETH_P_NSH, 4],
      [ETH_P_MPLS_UC, 5],
    ]) {
      const bare = load(udp4);
      edit.popEth(bare);
      bare.protocol = etherType;
      expect(edit.pushNsh(bare, header)).toBe(0);
      expect(memory.bytes[bare.off + 3]).toBe(next);
    }
  });
  it("A-184: what NSH cannot carry is EAFNOSUPPORT", () => {
    const packet = load(udp4);
    edit.popEth(packet);
    packet.protocol = ETH_P_ARP;
    expect(edit.pushNsh(packet, header)).toBe(-EAFNOSUPPORT);
  });
  it("A-185: pop by the length field; protocol from next protocol", () => {
    const packet = load(udp4);
    edit.pushNsh(packet, header);
    expect(edit.popNsh(packet)).toBe(0);
    expect([hexOf(packet), packet.protocol, packet.macNone]).toEqual([hex(udp4), ETH_P_TEB, false]);
    const bare = load(udp4);
    edit.popEth(bare);
    edit.pushNsh(bare, header);
    expect(edit.popNsh(bare)).toBe(0);
    expect([hexOf(bare), bare.protocol, bare.macNone]).toEqual([rest, ETH_P_IP, true]);
  });
  it("A-185: malformed headers", () => {
    const pop = (bytes: number[]): number => {
      const packet = load(Uint8Array.from(bytes));
      return edit.popNsh(packet);
    };
    expect(pop([0, 1, 1, 3, 0, 0, 0, 0])).toBe(-EINVAL);
    expect(pop([0, 6, 1, 3, 0, 0, 0, 0])).toBe(-ENOMEM);
    expect(pop([0, 2, 1, 9, 0, 0, 0, 0])).toBe(-EAFNOSUPPORT);
    expect(pop([0, 2, 1])).toBe(-ENOMEM);
  });
});

const valid4 = (packet: Packet, proto: number): boolean =>
  verifyIpv4(view, packet.l3) && verifyL4(packet, ETH_P_IP, proto);

describe("IPv4", () => {
  const layers = { tcp: [tcp(), IpProto.TCP], udp: [udp(), IpProto.UDP] } as const;
  for (const [name, [layer, proto]] of Object.entries(layers)) {
    it(`A-187: ${name} addresses with both checksums`, () => {
      const packet = load(frame(ethernet(), ipv4(), layer, "odd"));
      expect(edit.prepareIpv4(packet)).toBe(0);
      expect(edit.setIpv4Addr(packet, ipv4Header.SRC, 0xc0a80101)).toBe(true);
      expect(edit.setIpv4Addr(packet, ipv4Header.DST, 0xffffffff)).toBe(true);
      expect(edit.setIpv4Addr(packet, ipv4Header.DST, -1)).toBe(false);
      expect(ipv4Header.src(view, packet.l3)).toBe(0xc0a80101);
      expect(valid4(packet, proto)).toBe(true);
    });
  }
  it("A-187: UDP without checksum stays without", () => {
    const packet = load(frame(ethernet(), ipv4(), udp({ checksum: 0 }), "odd"));
    edit.setIpv4Addr(packet, ipv4Header.SRC, 1);
    expect(view.getUint16(packet.l4 + 6)).toBe(0);
  });
  it("A-188: later fragments keep their bytes", () => {
    const [, later] = fragmentIpv4(frame(ethernet(), ipv4({ proto: 6 }), "x".repeat(60)), 24);
    const packet = load(later);
    const before = hexOf(packet).slice(68);
    edit.setIpv4Addr(packet, ipv4Header.SRC, 1);
    expect(hexOf(packet).slice(68)).toBe(before);
    expect(verifyIpv4(view, packet.l3)).toBe(true);
  });
  it("A-189: a transport header cut short keeps its bytes", () => {
    for (const [layer, length] of [
      [tcp(), 19],
      [udp(), 7],
    ] as const) {
      const packet = load(frame(ethernet(), ipv4(), layer));
      packet.len = 34 + length;
      const before = hexOf(packet).slice(68);
      edit.setIpv4Addr(packet, ipv4Header.SRC, 1);
      expect(hexOf(packet).slice(68)).toBe(before);
    }
  });
  it("A-163: a partial checksum stays completable", () => {
    const packet = load(frame(ethernet(), ipv4(), tcp(), "odd"));
    view.setUint16(packet.l4 + 16, pseudoV4(view, packet.l3, IpProto.TCP, packet.len - 34));
    setPartial(packet, packet.l4, 16);
    edit.setIpv4Addr(packet, ipv4Header.SRC, 0xc0a80101);
    edit.setTcpPorts(packet, 7, 8);
    expect(completePartial(packet)).toBe(true);
    expect(valid4(packet, IpProto.TCP)).toBe(true);
  });
  it("A-190, A-191: masked tos and ttl, ttl 0 allowed", () => {
    const packet = load(frame(ethernet(), ipv4({ tos: 0xff, ttl: 0x81 }), udp(), "x"));
    edit.setIpv4Tos(packet, 0x05, 0x0f);
    edit.setIpv4Ttl(packet, 0, 0x80);
    expect([ipv4Header.tos(view, packet.l3), ipv4Header.ttl(view, packet.l3)]).toEqual([0xf5, 1]);
    edit.setIpv4Ttl(packet, 0, 0xff);
    expect(ipv4Header.ttl(view, packet.l3)).toBe(0);
    expect(verifyIpv4(view, packet.l3)).toBe(true);
  });
  it("A-200: too short is ENOMEM", () => {
    const packet = load(udp4);
    packet.len = 33;
    expect(edit.prepareIpv4(packet)).toBe(-ENOMEM);
    expect(edit.prepareTransport(packet, 8)).toBe(-ENOMEM);
  });
  it("dec_ttl stops at 1", () => {
    const packet = load(frame(ethernet(), ipv4({ ttl: 2 }), udp(), "x"));
    expect(edit.decTtl(packet)).toBe(0);
    expect(verifyIpv4(view, packet.l3)).toBe(true);
    expect(edit.decTtl(packet)).toBe(-EHOSTUNREACH);
    expect(ipv4Header.ttl(view, packet.l3)).toBe(1);
    packet.protocol = ETH_P_ARP;
    expect(edit.decTtl(packet)).toBe(0);
  });
});

describe("IPv6", () => {
  const address = Int32Array.from([0xfd000000, 1, 2, 0xdeadbeef]);
  for (const [name, layer, proto] of [
    ["tcp", tcp(), IpProto.TCP],
    ["udp", udp(), IpProto.UDP],
    ["icmpv6", icmpv6(), IpProto.ICMPV6],
  ] as const) {
    it(`A-192: ${name} addresses with the transport checksum`, () => {
      const packet = load(frame(ethernet(), ipv6(), layer, "odd"), 54);
      expect(edit.prepareIpv6(packet)).toBe(0);
      expect(edit.setIpv6Addr(packet, ipv6Header.SRC, address, 0, proto)).toBe(true);
      expect(edit.setIpv6Addr(packet, ipv6Header.DST, address, 0, proto)).toBe(true);
      expect(edit.setIpv6Addr(packet, ipv6Header.DST, address, 0, proto)).toBe(false);
      expect(verifyL4(packet, ETH_P_IPV6, proto)).toBe(true);
    });
  }
  it("A-192: behind a routing header with segments left the destination is not covered", () => {
    const routed = (left: number): Packet => {
      const routing = extension(43, { body: Uint8Array.from([0, left, 0, 0, 0, 0]) });
      return load(frame(ethernet(), ipv6(), routing, udp(), "odd"), 62);
    };
    const field = (packet: Packet): number => view.getUint16(packet.l4 + 6);
    for (const [left, changes] of [
      [1, false],
      [0, true],
    ] as const) {
      const packet = routed(left);
      const before = field(packet);
      edit.setIpv6Addr(packet, ipv6Header.DST, address, 0, IpProto.UDP);
      expect(field(packet) !== before).toBe(changes);
      const source = routed(left);
      edit.setIpv6Addr(source, ipv6Header.SRC, address, 0, IpProto.UDP);
      expect(field(source)).not.toBe(before);
    }
  });
  it("later fragments (proto 44 in the key) keep their bytes", () => {
    const [, later] = fragmentIpv6(frame(ethernet(), ipv6({ nextHeader: 17 }), "x".repeat(60)), 24);
    const packet = load(later, 62);
    const before = hexOf(packet).slice(14 * 2 + 80);
    edit.setIpv6Addr(packet, ipv6Header.SRC, address, 0, IpProto.FRAGMENT);
    expect(hexOf(packet).slice(14 * 2 + 80)).toBe(before);
  });
  it("A-193: traffic class, label and hop limit are masked and apart", () => {
    const packet = load(frame(ethernet(), ipv6(), udp(), "x"), 54);
    view.setUint32(packet.l3, 0x6abcdef5);
    edit.setIpv6TrafficClass(packet, 0x05, 0x0f);
    edit.setIpv6FlowLabel(packet, 0x0ffff, 0x0ffff);
    expect(view.getUint32(packet.l3)).toBe(0x6a5cffff);
    view.setUint8(packet.l3 + 7, 0xf1);
    edit.setIpv6HopLimit(packet, 0x02, 0x0f);
    expect(ipv6Header.hopLimit(view, packet.l3)).toBe(0xf2);
  });
  it("dec_ttl on the hop limit", () => {
    const packet = load(frame(ethernet(), ipv6(), udp(), "x"), 54);
    view.setUint8(packet.l3 + 7, 2);
    expect([edit.decTtl(packet), edit.decTtl(packet)]).toEqual([0, -EHOSTUNREACH]);
    packet.len = 50;
    expect(edit.decTtl(packet)).toBe(-ENOMEM);
  });
});

describe("ports", () => {
  it("A-195: TCP, with the checksum, and says whether one changed", () => {
    const packet = load(frame(ethernet(), ipv4(), tcp({ src: 1, dst: 2 }), "odd"));
    expect(edit.setTcpPorts(packet, 1, 2)).toBe(false);
    expect(edit.setTcpPorts(packet, 1, 65535)).toBe(true);
    expect(edit.setTcpPorts(packet, 9, 65535)).toBe(true);
    expect(view.getUint32(packet.l4)).toBe(0x0009ffff);
    expect(valid4(packet, IpProto.TCP)).toBe(true);
  });
  it("A-197: UDP with checksum", () => {
    const packet = load(frame(ethernet(), ipv4(), udp({ src: 1, dst: 2 }), "odd"));
    expect(edit.setUdpPorts(packet, 1, 2)).toBe(false);
    expect(edit.setUdpPorts(packet, 5, 6)).toBe(true);
    expect(valid4(packet, IpProto.UDP)).toBe(true);
  });
  it("A-197: a result of 0 becomes 0xffff", () => {
    const packet = load(frame(ethernet(), ipv4(), udp({ src: 0, dst: 2, checksum: 5 }), "odd"));
    edit.setUdpPorts(packet, 5, 2);
    expect(view.getUint16(packet.l4 + 6)).toBe(0xffff);
  });
  it("A-198: without a checksum, or with a partial one, the ports are just written", () => {
    const packet = load(frame(ethernet(), ipv4(), udp({ src: 1, dst: 2, checksum: 0 }), "odd"));
    expect(edit.setUdpPorts(packet, 1, 2)).toBe(true);
    edit.setUdpPorts(packet, 3, 4);
    expect(hexOf(packet).slice(68, 84)).toBe("00030004000b0000");
    const partial = load(frame(ethernet(), ipv4(), udp({ src: 1, dst: 2, checksum: 77 }), "odd"));
    setPartial(partial, partial.l4, 6);
    expect(edit.setUdpPorts(partial, 1, 9)).toBe(true);
    expect(view.getUint16(partial.l4 + 6)).toBe(77);
  });
  it("A-199: SCTP gets a new CRC, and keeps an error it had", () => {
    const bytes = frame(ethernet(), ipv4(), sctp(), sctpChunk(1, 0, new Uint8Array(16)));
    const packet = load(bytes);
    const right = (): number => sctpHeader.computeChecksum(view, packet.l4, packet.len - 34);
    edit.setSctpPorts(packet, 7, 8);
    expect(view.getUint32(packet.l4)).toBe(0x00070008);
    expect(sctpHeader.checksum(view, packet.l4)).toBe(right());
    sctpHeader.setChecksum(view, packet.l4, right() ^ 0x00ff00ff);
    edit.setSctpPorts(packet, 9, 10);
    expect((sctpHeader.checksum(view, packet.l4) ^ right()) >>> 0).toBe(0x00ff00ff);
  });
});

describe("C-053: trimming to the IP length", () => {
  const padded = (bytes: Uint8Array): Packet => load(frame(bytes, new Uint8Array(9)));
  it("cuts the padding of IPv4 and IPv6", () => {
    const four = padded(udp4);
    expect(edit.trimToIpLength(four, ETH_P_IP)).toBe(0);
    expect(hexOf(four)).toBe(hex(udp4));
    const udp6 = frame(ethernet(), ipv6(), udp(), "x");
    const six = padded(udp6);
    expect(edit.trimToIpLength(six, ETH_P_IPV6)).toBe(0);
    expect(hexOf(six)).toBe(hex(udp6));
  });
  it("leaves short packets and total length 0 alone", () => {
    const short = load(udp4);
    short.len -= 3;
    edit.trimToIpLength(short, ETH_P_IP);
    expect(short.len).toBe(udp4.length - 3);
    const zero = padded(udp4);
    view.setUint16(zero.l3 + 2, 0);
    edit.trimToIpLength(zero, ETH_P_IP);
    expect(zero.len).toBe(udp4.length + 9);
    const stump = load(udp4);
    stump.len = 20;
    expect([edit.trimToIpLength(stump, ETH_P_IP), stump.len]).toEqual([0, 20]);
  });
  it("takes hop-by-hop options, and refuses malformed ones", () => {
    const withOptions = (...options: number[]): Packet =>
      padded(frame(ethernet(), ipv6(), extension(0, { body: Uint8Array.from(options) }), udp(), "x"));
    const fine = withOptions(1, 4, 0, 0, 0, 0);
    const { len } = fine;
    expect(edit.trimToIpLength(fine, ETH_P_IPV6)).toBe(0);
    expect(fine.len).toBe(len - 9);
    expect(edit.trimToIpLength(withOptions(1, 5, 0, 0, 0, 0), ETH_P_IPV6)).toBe(-EBADMSG);
    expect(edit.trimToIpLength(withOptions(0, 0, 0, 0, 0, 1), ETH_P_IPV6)).toBe(-EBADMSG);
    // A jumbo length that 16 bits could say (RFC 2675 section 2).
    expect(edit.trimToIpLength(withOptions(194, 4, 0, 0, 0, 9), ETH_P_IPV6)).toBe(-EBADMSG);
    const cut = withOptions(1, 4, 0, 0, 0, 0);
    cut.len = 14 + 44;
    expect(edit.trimToIpLength(cut, ETH_P_IPV6)).toBe(-ENOMEM);
  });
});
