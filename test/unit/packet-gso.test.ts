import { describe, expect, it } from "vitest";
import { SeededRandom } from "../../src/core/random.ts";
import { gsoFrameLength, isPlainGso, segment } from "../../src/packet/gso.ts";
import { PacketMemory } from "../../src/packet/memory.ts";
import { Csum, Gso, Packet } from "../../src/packet/packet.ts";
import { EINVAL, EPROTONOSUPPORT } from "../../src/uapi/errno.ts";
import {
  checksum,
  concat,
  ethernet,
  frame,
  hex,
  ipv4,
  ipv6,
  type Layer,
  nsh,
  sum,
  u16,
  udp,
  unhex,
} from "../support/frames.ts";
import { type GsoVector, gsoVectors } from "./packet-gso.vectors.ts";

const memory = new PacketMemory();

/** A packet in scratch memory with room around it, as a device would hand it over. */
function load(hex: string, protocol: number): Packet {
  memory.resetScratch();
  const bytes = Buffer.from(hex, "hex");
  const base = memory.scratch(128 + bytes.length + 64);
  memory.bytes.fill(0xa5, base, base + 128 + bytes.length + 64);
  memory.bytes.set(bytes, base + 128);
  const packet = new Packet(memory);
  packet.reset(base + 128, bytes.length, base, base + 128 + bytes.length);
  packet.protocol = protocol;
  packet.l3 = packet.off + 14;
  return packet;
}

function loadVector(vector: GsoVector): Packet {
  const packet = load(vector.frame, Number.parseInt(vector.frame.slice(24, 28), 16));
  packet.gsoType = vector.gsoType;
  packet.gsoSize = vector.gsoSize;
  packet.csum = Csum.PARTIAL;
  packet.csumStart = packet.off + vector.csumStart;
  packet.csumOffset = vector.csumOffset;
  packet.l4 = packet.csumStart;
  return packet;
}

const ipv4Outer = (id: number, proto?: number): Layer =>
  ipv4({ src: "172.16.0.1", dst: "172.16.0.2", id, proto, df: true });
const ipv6Outer = (_id: number, nextHeader?: number): Layer => ipv6({ src: "fd00:a::1", dst: "fd00:a::2", nextHeader });

/** A GSO packet that ends with the frame of a vector, behind the headers of a tunnel. */
function loadTunnel(bytes: Uint8Array, vector: GsoVector): Packet {
  const packet = load(hex(bytes), (bytes[12] << 8) | bytes[13]);
  packet.gsoType = vector.gsoType;
  packet.gsoSize = vector.gsoSize;
  packet.csum = Csum.PARTIAL;
  packet.csumStart = packet.off + bytes.length - vector.frame.length / 2 + vector.csumStart;
  packet.csumOffset = vector.csumOffset;
  packet.l4 = packet.off + (bytes[12] === 0x08 ? 34 : 54);
  return packet;
}

/**
 * Checks that each segment is what the tunnel makes of a segment of the kernel's.
 * @param wrap a frame of the tunnel, whose IPv4 id is `id`; `whole`: of a GSO packet, whose checksums are not complete yet
 */
function checkTunnel(wrap: (inner: Uint8Array, id: number, whole: boolean) => Uint8Array): void {
  let checked = 0;
  for (const vector of gsoVectors) {
    if (!vector.name.startsWith("TCP") || vector.name.includes("vlan")) continue;
    const packet = loadTunnel(wrap(unhex(vector.frame), 0xffff, true), vector);
    const wanted = vector.out.map((part, i) => hex(wrap(unhex(part), (0xffff + i) & 0xffff, false)));
    expect(gsoFrameLength(packet)).toBe(wanted[0].length / 2);
    expect(segments(packet)).toEqual(wanted);
    checked++;
  }
  expect(checked).toBe(4);
}

const random = new SeededRandom(1);

const hexOf = (packet: Packet): string =>
  Buffer.from(memory.bytes.subarray(packet.off, packet.off + packet.len)).toString("hex");

function segments(packet: Packet): string[] {
  const out: string[] = [];
  const error = segment(
    packet,
    new Packet(memory),
    (part) => {
      out.push(hexOf(part));
      return 0;
    },
    random,
  );
  expect(error).toBe(0);
  return out;
}

/** The identification of an IPv6 fragment is random: out with it. */
const withoutIdentification = (name: string, frame: string): string =>
  name === "UFO v6" ? `${frame.slice(0, 116)}????????${frame.slice(124)}` : frame;

describe("U-050: GSO packets are cut as the kernel cuts them", () => {
  for (const vector of gsoVectors) {
    it(vector.name, () => {
      const before = vector.frame;
      const packet = loadVector(vector);
      const got = segments(packet).map((frame) => withoutIdentification(vector.name, frame));
      expect(got).toEqual(vector.out.map((frame) => withoutIdentification(vector.name, frame)));
      expect(hexOf(packet)).toBe(before);
    });
  }

  it("carries metadata, and leaves neither GSO nor checksum state", () => {
    const packet = loadVector(gsoVectors[1]);
    packet.vlanTpid = 0x8100;
    packet.vlanTci = 5;
    packet.mark = 7;
    const part = new Packet(memory);
    segment(packet, part, () => 0, random);
    expect([part.vlanTpid, part.vlanTci, part.mark]).toEqual([0x8100, 5, 7]);
    expect([part.csum, part.gsoType, part.gsoSize, part.csumStart]).toEqual([Csum.NONE, Gso.NONE, 0, 0]);
    expect([part.l3, part.l4]).toEqual([part.off + 14, part.off + 34]);
  });

  it("replicates labels before the IP header", () => {
    const [vector] = gsoVectors;
    const plain = segments(loadVector(vector));
    const label = (frame: string): string => `${frame.slice(0, 24)}884700064040000651ff${frame.slice(28)}`;
    const packet = load(label(vector.frame), 0x8847);
    packet.gsoType = vector.gsoType;
    packet.gsoSize = vector.gsoSize;
    packet.csum = Csum.PARTIAL;
    packet.csumStart = packet.off + vector.csumStart + 8;
    packet.csumOffset = vector.csumOffset;
    // Bottom of stack in the second label only.
    expect(segments(packet)).toEqual(plain.map((frame) => label(frame)));
  });

  it.each([0, undefined])("cuts inside a VXLAN tunnel of the sender's, UDP checksum %s", (udpChecksum) => {
    const vxlan = unhex("0800000000000500");
    for (const outer of [ipv4Outer, ipv6Outer]) {
      checkTunnel((inner, id, whole) => {
        const checksum = whole && udpChecksum === undefined ? 0x1234 : udpChecksum;
        return frame(ethernet(), outer(id), udp({ src: 40000, dst: 4789, checksum }), vxlan, inner);
      });
    }
  });

  it.each(["0000", "2000", "8000", "a000"])("cuts inside a GRE tunnel of the sender's, flags %s", (flags) => {
    const header = (type: string): Uint8Array =>
      unhex(
        flags + type + (flags >= "8000" ? "00000000" : "") + (flags === "2000" || flags === "a000" ? "00000007" : ""),
      );
    for (const outer of [ipv4Outer, ipv6Outer]) {
      checkTunnel((inner, id, whole) => {
        const gre = concat(header("6558"), inner);
        if (flags >= "8000") gre.set(u16(whole ? 0x1234 : checksum(sum(gre))), 4);
        return frame(ethernet(), outer(id, 47), gre);
      });
      checkTunnel((inner, id, whole) => {
        const gre = concat(header(hex(inner.subarray(12, 14))), inner.subarray(14));
        if (flags >= "8000") gre.set(u16(whole ? 0x1234 : checksum(sum(gre))), 4);
        return frame(ethernet(), outer(id, 47), gre);
      });
    }
  });

  it("cuts inside an IP tunnel of the sender's", () => {
    for (const outer of [ipv4Outer, ipv6Outer]) {
      checkTunnel((inner, id) => frame(ethernet(), outer(id, inner[12] === 0x08 ? 4 : 41), inner.subarray(14)));
    }
  });

  it("refuses a tunnel in which it finds no TCP header where the checksum begins", () => {
    const [vector] = gsoVectors;
    const inner = unhex(vector.frame);
    const whole = frame(ethernet(), ipv4Outer(1), udp({ dst: 4789 }), unhex("0800000000000500"), inner);
    const at = whole.length - inner.length;
    // Version, header length, protocol, total length.
    for (const [offset, value] of [
      [14, 0x65],
      [14, 0x46],
      [23, 17],
      [17, 0xff],
    ]) {
      const broken = whole.slice();
      broken[at + offset] = value;
      expect(isPlainGso(loadTunnel(broken, vector))).toBe(true);
      expect(segment(loadTunnel(broken, vector), new Packet(memory), () => 0, random)).toBe(-EINVAL);
    }
    expect(isPlainGso(loadTunnel(whole, vector))).toBe(false);
  });

  it("leaves to the kernel what virtio_net_hdr describes: all but tunnels and NSH", () => {
    for (const vector of gsoVectors) expect(isPlainGso(loadVector(vector)), vector.name).toBe(true);
    const [, vector] = gsoVectors;
    const inner = unhex(vector.frame);
    const packet = loadTunnel(frame(ethernet(), nsh({ np: 3 }), inner), vector);
    expect(isPlainGso(packet)).toBe(false);
    expect(segments(packet)).toEqual(vector.out.map((part) => hex(frame(ethernet(), nsh({ np: 3 }), unhex(part)))));
  });

  it("returns what the callback says and stops there", () => {
    let calls = 0;
    const result = segment(loadVector(gsoVectors[0]), new Packet(memory), () => (++calls === 2 ? -7 : 0), random);
    expect([result, calls]).toEqual([-7, 2]);
  });

  it("refuses what cannot be cut", () => {
    const out = new Packet(memory);
    const none = (): number => 0;
    const tooShort = loadVector(gsoVectors[1]);
    tooShort.gsoSize = 230;
    expect(segment(tooShort, out, none, random)).toBe(-EINVAL);
    const elsewhere = loadVector(gsoVectors[1]);
    elsewhere.csumStart += 4;
    expect(segment(elsewhere, out, none, random)).toBe(-EINVAL);
    const wrongType = loadVector(gsoVectors[1]);
    wrongType.gsoType = Gso.UDP_L4;
    expect(segment(wrongType, out, none, random)).toBe(-EINVAL);
    const arp = loadVector(gsoVectors[1]);
    arp.protocol = 0x0806;
    expect(segment(arp, out, none, random)).toBe(-EPROTONOSUPPORT);
    const cut = loadVector(gsoVectors[1]);
    cut.len = 40;
    expect(segment(cut, out, none, random)).toBe(-EINVAL);
  });

  it("knows the longest frame it would make", () => {
    for (const vector of gsoVectors) {
      if (vector.gsoType === Gso.UDP) continue;
      const longest = Math.max(...vector.out.map((frame) => frame.length / 2));
      expect(gsoFrameLength(loadVector(vector)), vector.name).toBe(longest);
    }
  });
});
