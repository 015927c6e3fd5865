import { describe, expect, it } from "vitest";
import { extractHeaders, extractKey } from "../../src/flow/extract/extract.ts";
import { K, newKey } from "../../src/flow/key.ts";
import { PacketMemory } from "../../src/packet/memory.ts";
import { Csum, Gso, Packet } from "../../src/packet/packet.ts";
import { EINVAL } from "../../src/uapi/errno.ts";
import {
  arp,
  concat,
  ethernet,
  extension,
  fragment,
  frame,
  hex,
  icmp,
  ipv4,
  ipv6,
  mac,
  mpls,
  nd,
  ndOption,
  nsh,
  snap,
  TCP_SYN,
  tcp,
  udp,
  vlan,
} from "../support/frames.ts";

const memory = new PacketMemory();

/** The frame in the arena, between bytes that are not its own. */
function packetOf(bytes: Uint8Array): Packet {
  memory.bytes.fill(0xa5, 0, 4096);
  memory.bytes.set(bytes, 1024);
  const packet = new Packet(memory);
  packet.reset(1024, bytes.length, 896, 4096);
  return packet;
}

function extracted(bytes: Uint8Array): { packet: Packet; key: Int32Array } {
  const packet = packetOf(bytes);
  // A key array is used over and over: nothing of the packet before may be left.
  const key = newKey().fill(-1, 0, K.PACKET_WORDS);
  expect(extractKey(packet, key)).toBe(0);
  return { packet, key };
}

const ip = (proto: number, tos: number, ttl: number, frag: number): number =>
  (proto << 24) | (tos << 16) | (ttl << 8) | frag;
const bytesAt = (packet: Packet): string => hex(memory.bytes.subarray(packet.off, packet.off + packet.len));

describe("metadata", () => {
  it("K-091, K-092, K-093, K-098, K-268: comes from the packet; nothing is tracked", () => {
    const packet = packetOf(frame(ethernet(), ipv4(), udp()));
    packet.inPort = 7;
    packet.priority = -2;
    packet.mark = 0x1234;
    const key = newKey().fill(-1);
    expect(extractKey(packet, key)).toBe(0);
    expect([...key.subarray(0, 11)]).toEqual([0, 0, 7, -2, 0x1234, 0, 0, 0, 0, 0, 0]);
    expect(key.subarray(K.TUN_PROTO).every((word) => word === 0)).toBe(true);
  });

  it("K-279: stays when the headers are read anew, with the original tuple", () => {
    const { packet, key } = extracted(frame(ethernet(), ipv4(), udp()));
    key[K.RECIRC_ID] = 5;
    key[K.CT] = (9 << 16) | (17 << 8) | 0x21;
    key[K.CT_MARK] = 77;
    key[K.CT_ORIG4_SRC] = 1;
    key[K.CT_ORIG4_DST] = 2;
    key[K.CT_ORIG4_TP] = 3;
    const before = key.slice();
    expect(extractHeaders(packet, key)).toBe(0);
    expect(key).toEqual(before);
  });

  it("K-275, K-279: the original tuple of IPv6 stays, but not under ND fields", () => {
    for (const [layers, kept] of [
      [udp(), 8],
      [nd(), 0],
    ] as const) {
      const { packet, key } = extracted(frame(ethernet(), ipv6(), layers));
      key[K.CT] = 17 << 8;
      key[K.CT_ORIG6_TP] = 8;
      expect(extractHeaders(packet, key)).toBe(0);
      expect(key[K.CT_ORIG6_TP]).toBe(kept);
    }
  });
});

describe("link layer", () => {
  it("K-005, K-133: MACs and ethertype", () => {
    const { packet, key } = extracted(
      frame(ethernet({ dst: "01:02:03:04:05:06", src: "07:08:09:0a:0b:0c", type: 0x88cc })),
    );
    expect([...key.subarray(K.ETH_DST, K.ETH_TYPE + 1)]).toEqual([0x01020304, 0x05060708, 0x090a0b0c, 0x88cc0001 | 0]);
    expect([packet.l3, packet.l4, packet.protocol]).toEqual([1024 + 14, 0, 0x88cc]);
  });

  it("K-132: less than an Ethernet header is dropped", () => {
    const bytes = frame(ethernet({ type: 0x0800 }));
    for (let length = 0; length < 14; length++)
      expect(extractKey(packetOf(bytes.subarray(0, length)), newKey())).toBe(-EINVAL);
  });

  it("K-127: moves the outer tag out of band", () => {
    const { packet, key } = extracted(frame(ethernet(), vlan({ vid: 5, pcp: 3, dei: 1 }), ipv4(), udp(), "x"));
    expect([packet.vlanTpid, packet.vlanTci, packet.off, packet.len]).toEqual([0x8100, 0x7005, 1028, 43]);
    expect(bytesAt(packet)).toBe(hex(frame(ethernet(), ipv4(), udp(), "x")));
    expect([packet.l3, packet.l4, packet.protocol]).toEqual([1024 + 18, 1024 + 38, 0x0800]);
    expect(key[K.VLAN]).toBe(0x70058100);
    expect(key[K.CVLAN]).toBe(0);
  });

  it("K-127: leaves csumStart where the bytes are", () => {
    const packet = packetOf(frame(ethernet(), vlan(), ipv4(), udp()));
    packet.csum = Csum.PARTIAL;
    packet.csumStart = 1024 + 38;
    packet.csumOffset = 6;
    expect(extractKey(packet, newKey())).toBe(0);
    expect(packet.csumStart).toBe(packet.l4);
  });

  it("K-113, K-126: two tags, the first out of band; DEI is not seen", () => {
    const { packet, key } = extracted(
      frame(ethernet(), vlan({ vid: 5, tpid: 0x88a8 }), vlan({ vid: 6 }), ipv4(), udp()),
    );
    expect(key[K.VLAN] >>> 0).toBe(0x100588a8);
    expect(key[K.CVLAN] >>> 0).toBe(0x10068100);
    expect(key[K.ETH_TYPE] >>> 16).toBe(0x0800);
    // What follows the out-of-band tag is a tag.
    expect([packet.protocol, packet.l3 - packet.off]).toEqual([0x8100, 18]);
  });

  it("takes a tag that the device gave out of band, and only the next one from the frame", () => {
    const packet = packetOf(frame(ethernet(), vlan({ vid: 6 }), ipv4(), udp()));
    packet.vlanTpid = 0x8100;
    packet.vlanTci = 0xf005;
    const key = newKey();
    expect(extractKey(packet, key)).toBe(0);
    expect(packet.off).toBe(1024);
    expect([key[K.VLAN] >>> 0, key[K.CVLAN] >>> 0, packet.protocol]).toEqual([0xf0058100, 0x10068100, 0x8100]);
  });

  it("K-128: a tag cut short is an ethertype", () => {
    const whole = frame(ethernet(), vlan(), "");
    for (const length of [14, 15, 16, 17]) {
      const { packet, key } = extracted(whole.subarray(0, length));
      expect([key[K.VLAN], key[K.ETH_TYPE] >>> 16, packet.vlanTpid]).toEqual([0, 0x8100, 0]);
    }
    expect(extracted(whole).key[K.VLAN]).toBe(0x10018100);
  });

  it("K-124: the third of three tags is an ethertype", () => {
    const { key } = extracted(frame(ethernet(), vlan(), vlan({ vid: 2 }), vlan({ vid: 3 }), ipv4(), udp()));
    expect([key[K.CVLAN] >>> 16, key[K.ETH_TYPE] >>> 16, key[K.IP]]).toEqual([0x1002, 0x8100, 0]);
  });

  it("does not change shared bytes when headers are read anew", () => {
    const packet = packetOf(frame(ethernet(), vlan(), ipv4(), udp()));
    const before = hex(memory.bytes.subarray(1024, 1100));
    expect(extractHeaders(packet, newKey())).toBe(0);
    expect(packet.vlanTpid).toBe(0x8100);
    expect(hex(memory.bytes.subarray(1024, 1100))).toBe(before);
    expect(bytesAt(packet)).toBe(hex(frame(ethernet(), ipv4(), udp())));
    expect(packet.l3).toBe(packet.off + 14);
  });

  it("K-134…K-136: SNAP", () => {
    const { packet, key } = extracted(frame(ethernet({ type: 100 }), snap(), ipv4(), udp()));
    expect([key[K.ETH_TYPE] >>> 16, packet.protocol, packet.l3 - packet.off]).toEqual([0x0800, 0x0800, 22]);
    const other = extracted(frame(ethernet({ type: 100 }), snap({ oui: 1 }), ipv4(), udp()));
    expect([other.key[K.ETH_TYPE] >>> 16, other.packet.protocol, other.packet.l3 - other.packet.off]).toEqual([
      4, 4, 14,
    ]);
    expect(extracted(frame(ethernet({ type: 7 }), "1234567")).key[K.ETH_TYPE] >>> 16).toBe(4);
  });

  it("K-139, K-140, K-130: packets without Ethernet header", () => {
    const packet = packetOf(frame(ipv4(), udp()));
    packet.macNone = true;
    packet.protocol = 0x0800;
    const key = newKey().fill(-1);
    expect(extractKey(packet, key)).toBe(0);
    expect([...key.subarray(K.ETH_DST, K.CVLAN + 1)]).toEqual([0, 0, 0, 0x08000000, 0, 0]);
    expect([packet.l3, packet.l4, key[K.TP]]).toEqual([1024, 1044, (1000 << 16) | 2000]);
    packet.protocol = 0x8100;
    expect(extractKey(packet, key)).toBe(-EINVAL);

    const teb = packetOf(frame(ethernet(), ipv4(), udp()));
    teb.macNone = true;
    teb.protocol = 0x6558;
    expect(extractKey(teb, key)).toBe(0);
    expect([teb.macNone, key[K.ETH_TYPE]]).toEqual([false, 0x08000001]);
  });
});

describe("IPv4", () => {
  it("K-146…K-154, K-161: fields, fragments, ports, flags", () => {
    const { packet, key } = extracted(
      frame(ethernet(), ipv4({ tos: 0xb9, ttl: 3 }), tcp({ src: 80, dst: 65535, flags: 0xa00 | TCP_SYN })),
    );
    expect(key[K.IP]).toBe(ip(6, 0xb9, 3, 0));
    expect([key[K.IPV4_SRC], key[K.IPV4_DST]]).toEqual([0x0a000001, 0x0a000002]);
    expect([key[K.TP], key[K.TCP_FLAGS]]).toEqual([(80 << 16) | 65535, 0xa02]);
    expect(packet.l4).toBe(1024 + 34);

    const first = extracted(frame(ethernet(), ipv4({ mf: true }), udp(), "12345678"));
    expect([first.key[K.IP] & 0xff, first.key[K.TP]]).toEqual([1, (1000 << 16) | 2000]);
    const later = extracted(frame(ethernet(), ipv4({ offset: 8 }), udp(), "12345678"));
    expect([later.key[K.IP], later.key[K.TP], later.packet.l4]).toEqual([ip(17, 0, 64, 2), 0, 1024 + 34]);
  });

  it("K-142: an unreadable header is all zero", () => {
    for (const bytes of [
      frame(ethernet(), ipv4({ ihl: 4 }), udp()),
      frame(ethernet(), ipv4({ ihl: 15 }), udp()),
      frame(ethernet(), ipv4()).subarray(0, 33),
    ]) {
      const { packet, key } = extracted(bytes);
      expect(key.subarray(K.VLAN, K.WORDS).every((word) => word === 0)).toBe(true);
      expect([packet.l3, packet.l4]).toEqual([1024 + 14, 0]);
    }
  });

  it("K-150, K-184: a UFO super-packet is a first fragment", () => {
    for (const bytes of [frame(ethernet(), ipv4(), udp()), frame(ethernet(), ipv6(), udp())]) {
      const packet = packetOf(bytes);
      packet.gsoType = Gso.UDP;
      const key = newKey();
      extractKey(packet, key);
      expect([key[K.IP] & 0xff, key[K.TP]]).toEqual([1, (1000 << 16) | 2000]);
    }
  });

  it("K-153…K-157: incomplete transport headers give nothing", () => {
    for (const [layer, whole] of [
      [tcp(), 20],
      [udp(), 8],
      [icmp(), 8],
    ] as const) {
      const bytes = frame(ethernet(), ipv4(), layer);
      expect(extracted(bytes.subarray(0, 34 + whole - 1)).key[K.TP]).toBe(0);
      expect(extracted(bytes).key[K.TP]).not.toBe(0);
    }
  });
});

describe("IPv6", () => {
  it("K-172, K-173: addresses, label, traffic class", () => {
    const { packet, key } = extracted(frame(ethernet(), ipv6({ tclass: 0xa5, label: 0xabcde, hopLimit: 9 }), udp()));
    expect(key[K.IP]).toBe(ip(17, 0xa5, 9, 0));
    expect([key[K.IPV6_SRC] >>> 0, key[K.IPV6_DST + 3], key[K.IPV6_LABEL]]).toEqual([0xfd000000, 2, 0xabcde]);
    expect(packet.l4).toBe(1024 + 54);
  });

  it("K-166…K-170: fragments and extension headers", () => {
    const walked = extracted(frame(ethernet(), ipv6(), extension(0), extension(43), fragment({ mf: true }), udp()));
    expect([walked.key[K.IP] >>> 24, walked.key[K.IP] & 0xff, walked.key[K.IPV6_EXTHDRS]]).toEqual([17, 1, 0x70]);
    expect(walked.packet.l4).toBe(1024 + 54 + 24);
    const later = extracted(frame(ethernet(), ipv6(), fragment({ offset: 8 }), udp()));
    expect([later.key[K.IP] >>> 24, later.key[K.IP] & 0xff, later.key[K.TP]]).toEqual([44, 2, 0]);
  });

  it("K-165: a chain that breaks off gives protocol 59", () => {
    const { packet, key } = extracted(frame(ethernet(), ipv6(), extension(0, { length: 20 }), udp()));
    expect([key[K.IP] >>> 24, key[K.IPV6_DST + 3], packet.l4]).toEqual([59, 2, 0]);
  });

  it("K-187…K-189: link-layer options of neighbour discovery", () => {
    const { key } = extracted(frame(ethernet(), ipv6(), nd({ sll: "02:11:22:33:44:55", tll: "02:66:77:88:99:aa" })));
    expect(Array.from(key.subarray(K.ND_TARGET, K.ND_TLL + 1), (word) => (word >>> 0).toString(16))).toEqual([
      "fd000000",
      "0",
      "0",
      "2",
      "2112233",
      "44550266",
      "778899aa",
    ]);
    const twice = concat(ndOption(1, mac("02:11:22:33:44:55")), ndOption(1, mac("02:11:22:33:44:56")));
    const { key: bad } = extracted(frame(ethernet(), ipv6(), nd({ options: twice })));
    expect(bad.subarray(K.ND_TARGET).every((word) => word === 0)).toBe(true);
    expect(bad[K.TP]).toBe(135 << 16);
  });
});

describe("others", () => {
  it("K-192…K-196: ARP and RARP", () => {
    for (const rarp of [false, true]) {
      const { key } = extracted(frame(ethernet(), arp({ op: 2, tha: "02:00:00:00:00:0b", rarp })));
      expect([key[K.IP], key[K.ARP_SIP], key[K.ARP_TIP]]).toEqual([2 << 24, 0x0a000001, 0x0a000002]);
      expect([key[K.ARP_SHA], key[K.ARP_MID], key[K.ARP_THA]]).toEqual([0x02000000, 0x000a0200, 0x0000000b]);
    }
    expect(extracted(frame(ethernet(), arp({ op: 256 }))).key[K.IP]).toBe(0);
    expect(extracted(frame(ethernet(), arp({ hln: 7 }))).key[K.ARP_SIP]).toBe(0);
  });

  it("K-198, K-199: MPLS labels, none counted without a bottom", () => {
    const stack = [1, 2, 3, 4].map((label) => mpls({ label, ttl: 0 }));
    const { key } = extracted(frame(ethernet(), ...stack, ipv4()));
    expect([...key.subarray(K.MPLS_LSE, K.MPLS_LABELS + 1)]).toEqual([1 << 12, 2 << 12, 3 << 12, 7]);
    const open = extracted(frame(ethernet(), mpls({ label: 1, s: 0, ttl: 0 }))).key;
    expect([open[K.MPLS_LSE], open[K.MPLS_LABELS]]).toEqual([1 << 12, 0]);
  });

  it("walks a stack of 400 labels without bottom", () => {
    const stack = Array.from({ length: 400 }, () => mpls({ s: 0 }));
    expect(extracted(frame(ethernet(), ...stack)).key[K.MPLS_LABELS]).toBe(0);
  });

  it("K-205…K-209, K-215: NSH", () => {
    const { key } = extracted(
      frame(ethernet(), nsh({ flags: 3, ttl: 0x2a, path: 0x1234, np: 1, context: new Uint8Array(16).fill(7) })),
    );
    expect([...key.subarray(K.NSH_BASE, K.NSH_CONTEXT + 1)]).toEqual([0x032a0101, 0x1234, 0x07070707]);
    for (const bad of [nsh({ version: 1 }), nsh({ mdtype: 3 }), nsh({ length: 5 }), nsh({ length: 7 })])
      expect(extractKey(packetOf(frame(ethernet(), bad)), newKey())).toBe(-EINVAL);
    expect(extracted(frame(ethernet(), nsh({ mdtype: 2 }))).key[K.NSH_CONTEXT]).toBe(0);
  });
});
