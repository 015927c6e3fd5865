import { describe, expect, it } from "vitest";
import { SeededRandom } from "../../src/core/random.ts";
import { gsoFrameLength, segment } from "../../src/packet/gso.ts";
import { PacketMemory } from "../../src/packet/memory.ts";
import { Csum, Gso, Packet } from "../../src/packet/packet.ts";
import { EINVAL, EPROTONOSUPPORT } from "../../src/uapi/errno.ts";
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
