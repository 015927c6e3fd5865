import { describe, expect, it } from "vitest";
import { jhash1word, jhash2 } from "../../src/core/jhash.ts";
import { extractKey } from "../../src/flow/extract/extract.ts";
import { dpHash, HASH_L4, HASH_SOFTWARE, PacketHasher, skbHashFlags } from "../../src/flow/hash.ts";
import { K, newKey } from "../../src/flow/key.ts";
import { Packet } from "../../src/packet/packet.ts";
import { ethernet, frame, icmp, ipv4, ipv6, type Layer, mpls, tcp, udp, vlan } from "../support/frames.ts";
import { sharedMemory } from "../support/key-cases.ts";

function keyOf(...layers: Layer[]): Int32Array {
  const memory = sharedMemory();
  const bytes = frame(...layers);
  memory.bytes.set(bytes, 1024);
  const packet = new Packet(memory);
  packet.reset(1024, bytes.length, 0, 4096);
  const key = newKey();
  expect(extractKey(packet, key)).toBe(0);
  return key;
}

const hasher = new PacketHasher(0x6e6f6b6d);
const skbHash = (key: Int32Array): number => hasher.ofKey(key);
const symmetricL4Hash = (key: Int32Array): number => hasher.symmetricL4(key);
const eth = ethernet();
const there = ipv4({ src: "10.0.0.1", dst: "10.0.0.2" });
const back = ipv4({ src: "10.0.0.2", dst: "10.0.0.1" });

describe("jhash", () => {
  it("is the module's for one word (its answers: key-reference.test.ts) and hangs together for more", () => {
    expect(jhash1word(1, 0)).toBe(1923623579);
    const words = Int32Array.of(9, 1, -2, 3, 4, 5, 6, 7);
    expect(jhash2(words, 1, 1, 5)).toBe(jhash1word(1, 5));
    // jhash_2words(1, -2, 5) and jhash_3words(1, -2, 3, 5) of linux/jhash.h.
    expect(jhash2(words, 1, 2, 5)).toBe(3283019922);
    expect(jhash2(words, 1, 3, 5)).toBe(3929676033);
  });
  it("is lookup3's hashword() for longer keys", () => {
    // hashword({0, 0, 0, 0}, 4, 0) and hashword({1 … 7}, 7, 13) of lookup3.c with its length term 4 * n.
    expect(jhash2(new Int32Array(4), 0, 4, 0)).toBe(3136882572);
    expect(jhash2(Int32Array.of(1, 2, 3, 4, 5, 6, 7), 0, 7, 13)).toBe(317751706);
    expect(jhash2(new Int32Array(0), 0, 0, 0)).toBe(0xdeadbeef);
  });
});

describe("packet hash", () => {
  it("K-284: is the same for both directions and never 0", () => {
    expect(skbHash(keyOf(eth, there, udp({ src: 1, dst: 2 })))).toBe(
      skbHash(keyOf(eth, back, udp({ src: 2, dst: 1 }))),
    );
    const v6 = (src: string, dst: string): Layer => ipv6({ src, dst });
    expect(skbHash(keyOf(eth, v6("fd00::1", "fd00::2"), tcp({ src: 5, dst: 6 })))).toBe(
      skbHash(keyOf(eth, v6("fd00::2", "fd00::1"), tcp({ src: 6, dst: 5 }))),
    );
    expect(skbHash(newKey())).not.toBe(0);
  });
  it("differs where flows differ", () => {
    const hashes = [
      keyOf(eth, there, udp({ src: 1, dst: 2 })),
      keyOf(eth, there, udp({ src: 1, dst: 3 })),
      keyOf(eth, there, tcp({ src: 1, dst: 2 })),
      keyOf(eth, ipv4({ src: "10.0.0.1", dst: "10.0.0.3" }), udp({ src: 1, dst: 2 })),
      keyOf(eth, vlan({ vid: 1 }), there, udp({ src: 1, dst: 2 })),
      keyOf(eth, mpls({ label: 1 })),
      keyOf(eth, mpls({ label: 2 })),
    ].map(skbHash);
    expect(new Set(hashes).size).toBe(hashes.length);
  });
  it("spreads ports over the low bits", () => {
    const key = keyOf(eth, there, udp());
    const buckets = new Array(64).fill(0);
    for (let port = 0; port < 6400; port++) {
      key[K.TP] = (port << 16) | 53;
      buckets[skbHash(key) & 63]++;
    }
    expect(Math.max(...buckets)).toBeLessThan(150);
    expect(Math.min(...buckets)).toBeGreaterThan(60);
  });
  it("says whether it covers ports", () => {
    expect(skbHashFlags(keyOf(eth, there, udp()))).toBe(HASH_SOFTWARE | HASH_L4);
    expect(skbHashFlags(keyOf(eth, there, icmp()))).toBe(HASH_SOFTWARE);
    expect(skbHashFlags(keyOf(eth, ipv4({ mf: true }), udp()))).toBe(HASH_SOFTWARE);
    expect(skbHashFlags(keyOf(eth, ipv6({ label: 5 }), icmp()))).toBe(HASH_SOFTWARE | HASH_L4);
  });
  it("takes all fragments of a datagram for one flow", () => {
    const first = keyOf(eth, ipv4({ mf: true }), udp());
    const later = keyOf(eth, ipv4({ offset: 8 }), udp());
    expect(skbHash(first)).toBe(skbHash(later));
  });
  it("changes with the seed", () => {
    const key = keyOf(eth, there, udp());
    const before = skbHash(key);
    const other = new PacketHasher(1);
    expect(other.ofKey(key)).not.toBe(before);
    expect(skbHash(key)).toBe(before);
  });
  it("A-220: the symmetric L4 hash does not see tags or flow labels", () => {
    expect(symmetricL4Hash(keyOf(eth, vlan(), there, udp()))).toBe(symmetricL4Hash(keyOf(eth, there, udp())));
    expect(symmetricL4Hash(keyOf(eth, ipv6({ label: 1 }), udp()))).toBe(symmetricL4Hash(keyOf(eth, ipv6(), udp())));
  });
  it("K-280: dp_hash is never 0", () => {
    expect(dpHash(1, 0)).toBe(1923623579);
    for (let basis = 0; basis < 1000; basis++) expect(dpHash(basis, 7)).toBeGreaterThan(0);
  });
});
