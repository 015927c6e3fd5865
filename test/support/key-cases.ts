/**
 * Questions about flow keys, asked of the reference once (test/reference) and of nokmod in every run. The lists are
 * deterministic; the answers are in test/fixtures.
 */

import { SeededRandom } from "../../src/core/random.ts";
import { putKey } from "../../src/flow/codec.ts";
import { extractKey } from "../../src/flow/extract/extract.ts";
import { newKey } from "../../src/flow/key.ts";
import { AttributeReader } from "../../src/netlink/reader.ts";
import { MessageWriter } from "../../src/netlink/writer.ts";
import { PacketMemory } from "../../src/packet/memory.ts";
import { Packet } from "../../src/packet/packet.ts";
import {
  arp,
  bytesOf,
  concat,
  ethernet,
  extension,
  fragment,
  frame,
  icmp,
  icmpv6,
  ipv4,
  ipv6,
  type Layer,
  mac,
  mpls,
  nd,
  ndOption,
  nsh,
  sctp,
  sctpChunk,
  snap,
  TCP_SYN,
  tcp,
  udp,
  unhex,
  vlan,
} from "./frames.ts";

export interface FrameCase {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** Content of a KEY attribute, and of a MASK attribute; null for none. */
export interface MatchCase {
  readonly name: string;
  readonly key: Uint8Array;
  readonly mask: Uint8Array | null;
}

const SLL = mac("02:11:22:33:44:55");
const TLL = mac("02:66:77:88:99:aa");
const options = (...parts: Uint8Array[]): Uint8Array => concat(...parts);

/** Right frames of every kind; each is also cut off at every length. */
export function frames(): FrameCase[] {
  const list: FrameCase[] = [];
  const add = (name: string, ...layers: (Layer | Uint8Array | string)[]): void => {
    list.push({ name, bytes: frame(...layers) });
  };
  const eth = ethernet();
  const v4 = ipv4({ tos: 0xb9, ttl: 17 });
  const v6 = ipv6({ tclass: 0xa5, label: 0xabcde, hopLimit: 9 });
  add("ipv4 udp", eth, v4, udp(), "payload");
  add("ipv4 tcp with options", eth, v4, tcp({ flags: 0xfff, options: bytesOf(2, 4, 5, 0xb4) }), "x");
  add("ipv4 icmp", eth, v4, icmp({ type: 3, code: 4 }), "payload");
  add("ipv4 sctp", eth, v4, sctp(), sctpChunk(1));
  add("ipv4 with options, udp", eth, ipv4({ options: bytesOf(148, 4, 0, 0, 1, 1, 1, 0) }), udp());
  add("ipv6 udp", eth, v6, udp(), "payload");
  add("ipv6 tcp", eth, v6, tcp({ flags: TCP_SYN }), "x");
  add("ipv6 icmpv6 echo", eth, v6, icmpv6(), "payload");
  add("ipv6 sctp", eth, v6, sctp(), sctpChunk(1));
  add("ipv6 neighbour solicitation", eth, v6, nd({ sll: "02:11:22:33:44:55" }));
  add("ipv6 neighbour advertisement", eth, v6, nd({ type: 136, sll: "02:11:22:33:44:55", tll: "02:66:77:88:99:aa" }));
  add("ipv6 all extensions", eth, v6, extension(0), extension(60), extension(43), fragment(), extension(51), udp());
  add("ipv6 first fragment", eth, v6, fragment({ mf: true }), udp(), "12345678");
  add("arp", eth, arp({ op: 2, tha: "02:00:00:00:00:0b" }));
  add("rarp", eth, arp({ rarp: true, op: 3 }));
  add("mpls 1", eth, mpls({ label: 5, tc: 3 }), v4, udp());
  add("mpls 5", eth, mpls(), mpls({ label: 2 }), mpls({ label: 3 }), mpls({ label: 4 }), mpls({ label: 5 }), v4);
  add("nsh md1", eth, nsh({ flags: 3, ttl: 0x2a, context: Uint8Array.from({ length: 16 }, (_, i) => i + 1) }), v4);
  add("vlan ipv4 udp", eth, vlan({ vid: 100, pcp: 5, dei: 1 }), v4, udp(), "payload");
  add("vlan 802.1ad and 802.1Q, ipv6 tcp", eth, vlan({ vid: 7, tpid: 0x88a8 }), vlan({ vid: 9, dei: 1 }), v6, tcp());
  add("three vlans", eth, vlan({ vid: 1 }), vlan({ vid: 2 }), vlan({ vid: 3 }), v4, udp());
  add("snap ipv4", ethernet({ type: 100 }), snap(), v4, udp());
  add("vlan snap ipv4", eth, vlan({ vid: 4, type: 100 }), snap(), v4, udp());
  return list;
}

/** Frames that have something odd about them. */
export function oddFrames(): FrameCase[] {
  const list: FrameCase[] = [];
  const add = (name: string, ...layers: (Layer | Uint8Array | string)[]): void => {
    list.push({ name, bytes: frame(...layers) });
  };
  const eth = ethernet();
  const v4 = ipv4();
  const v6 = ipv6();
  const rest = "0123456789abcdef0123456789abcdef0123456789";

  for (const type of [0, 1, 4, 0x5ff, 0x600, 0x88cc, 0x9100, 0x9200, 0xffff, 0x6558, 0x86dd, 0x0800])
    add(`ethertype ${type.toString(16)}`, ethernet({ type }), rest);
  add("llc stp", ethernet({ type: 38 }), bytesOf(0x42, 0x42, 3), rest);
  add("snap dsap", ethernet({ type: 100 }), snap({ dsap: 0xab, type: 0x800 }), rest);
  add("snap ssap", ethernet({ type: 100 }), snap({ ssap: 0xab, type: 0x800 }), rest);
  add("snap oui", ethernet({ type: 100 }), snap({ oui: 0x000001, type: 0x800 }), rest);
  add("snap oui high", ethernet({ type: 100 }), snap({ oui: 0x100000, type: 0x800 }), rest);
  for (const type of [0x5ff, 0x600, 0x806, 0x8100, 0x8847, 0x86dd])
    add(`snap type ${type.toString(16)}`, ethernet({ type: 100 }), snap({ type }), rest);
  add("snap control byte", ethernet({ type: 8 }), bytesOf(0xaa, 0xaa, 0, 0, 0, 0, 8, 0), rest);

  add("priority tag", eth, vlan({ vid: 0, pcp: 6 }), v4, udp());
  add("tag all zero", eth, vlan({ tci: 0 }), v4, udp());
  add("tag all ones", eth, vlan({ tci: 0xffff }), v4, udp());
  add("vlan then 9100", eth, vlan(), vlan({ tpid: 0x9100 }), v4);
  add("9100 then vlan", eth, vlan({ tpid: 0x9100 }), vlan(), v4);
  add("vlan unknown type", eth, vlan({ type: 0x1234 }), rest);
  add("qinq llc", eth, vlan(), vlan({ type: 50 }), rest);
  add("qinq arp", eth, vlan({ tpid: 0x88a8 }), vlan({ vid: 2, tpid: 0x88a8 }), arp());
  add("qinq 802.1Q outer, 802.1ad inner", eth, vlan({ vid: 3 }), vlan({ vid: 2, tpid: 0x88a8 }), v4, icmp());
  add("four vlans", eth, vlan(), vlan(), vlan(), vlan(), v4);
  add("vlan mpls", eth, vlan(), mpls(), v4);
  add("vlan nsh", eth, vlan(), nsh(), v4);

  for (const ihl of [0, 1, 4, 6, 15]) add(`ipv4 ihl ${ihl}`, eth, ipv4({ ihl }), udp(), rest);
  add("ipv4 ihl beyond end", eth, ipv4({ ihl: 15 }), udp());
  for (const version of [0, 6, 15]) add(`ipv4 version ${version}`, eth, ipv4({ version }), udp());
  add("ipv4 bad checksum", eth, ipv4({ checksum: 0 }), udp());
  add("ipv4 total length short", eth, ipv4({ totalLength: 20 }), udp());
  add("ipv4 total length long", eth, ipv4({ totalLength: 1000 }), udp());
  add("ipv4 df", eth, ipv4({ df: true }), udp());
  add("ipv4 evil bit", eth, unhex("45000020000080004011000001020304050607080001000200080000"), rest);
  add("ipv4 first fragment", eth, ipv4({ mf: true }), udp(), rest);
  add("ipv4 middle fragment", eth, ipv4({ mf: true, offset: 8 }), udp(), rest);
  add("ipv4 last fragment", eth, ipv4({ offset: 65528 }), tcp(), rest);
  add("ipv4 df and offset", eth, ipv4({ df: true, offset: 16 }), icmp(), rest);
  add("ipv4 later fragment too short for l4", eth, ipv4({ offset: 8, proto: 6 }), "ab");
  for (const proto of [0, 2, 4, 33, 41, 43, 44, 47, 50, 51, 58, 59, 60, 89, 103, 115, 136, 255])
    add(`ipv4 proto ${proto}`, eth, ipv4({ proto }), rest);
  for (const dataOffset of [0, 4, 5, 6, 15])
    add(`tcp data offset ${dataOffset}`, eth, v4, tcp({ dataOffset, flags: 0x812 }));
  for (const flags of [0, 1, 0x100, 0x200, 0x400, 0x800, 0x1ff]) add(`tcp flags ${flags}`, eth, v4, tcp({ flags }));
  add("udp length short", eth, v4, udp({ length: 4 }), rest);
  add("udp length long", eth, v4, udp({ length: 4000 }), rest);
  add("udp port zero", eth, v4, udp({ src: 0, dst: 0, checksum: 0 }));
  add("udp ports high", eth, v4, udp({ src: 65535, dst: 32768 }));
  for (const type of [0, 8, 13, 255]) add(`icmp type ${type}`, eth, v4, icmp({ type, code: 255 - type }));
  add("icmp error", eth, v4, icmp({ type: 11 }), frame(ipv4(), udp()));

  add("ipv6 version 4", eth, unhex("400000000008113f"), new Uint8Array(32), udp());
  add("ipv6 payload length short", eth, ipv6({ payloadLength: 0 }), udp(), rest);
  add("ipv6 payload length long", eth, ipv6({ payloadLength: 9000 }), udp(), rest);
  for (const nextHeader of [0, 1, 2, 4, 33, 41, 43, 44, 47, 50, 51, 59, 60, 89, 135, 136, 139, 140, 253, 255])
    add(`ipv6 next header ${nextHeader}`, eth, ipv6({ nextHeader }), rest);
  add("ipv6 flow label", eth, ipv6({ label: 0xfffff, tclass: 0xff }), tcp());
  for (const offset of [0, 8, 65528])
    for (const mf of [false, true]) {
      add(`ipv6 fragment at ${offset} more ${mf}`, eth, v6, fragment({ offset, mf }), udp(), rest);
      add(
        `ipv6 fragment at ${offset} more ${mf} behind dst opts`,
        eth,
        v6,
        extension(60),
        fragment({ offset, mf }),
        tcp(),
      );
      for (const type of [0, 43, 51, 60])
        add(
          `ipv6 fragment at ${offset} more ${mf}, extension ${type}`,
          eth,
          v6,
          fragment({ offset, mf }),
          extension(type),
          udp(),
        );
      add(
        `ipv6 fragment at ${offset} more ${mf}, fragment`,
        eth,
        v6,
        fragment({ offset, mf }),
        fragment({ offset: 8 }),
        udp(),
      );
      add(`ipv6 fragment at ${offset} more ${mf}, none`, eth, v6, fragment({ offset, mf, nextHeader: 59 }), rest);
      add(
        `ipv6 fragment at ${offset} more ${mf}, nd`,
        eth,
        v6,
        fragment({ offset, mf }),
        nd({ sll: "02:11:22:33:44:55" }),
      );
    }
  add("ipv6 fragment reserved byte", eth, v6, fragment({ reserved: 7 }), udp(), rest);
  add("ipv6 fragment reserved bits", eth, v6, bytesOf(17, 0, 0, 6, 0, 0, 0, 1), udp());
  add("ipv6 fragment nothing behind", eth, v6, fragment({ nextHeader: 17 }));
  // Every sequence of up to three extension headers shows the order bits.
  const kinds = [0, 43, 44, 51, 60, 50, 59];
  const ext = (type: number): Layer => (type === 44 ? fragment() : extension(type));
  const sequences: number[][] = [];
  for (const a of kinds) for (const b of kinds) sequences.push([a, b]);
  for (const a of kinds) for (const b of kinds) for (const c of kinds) sequences.push([a, b, c]);
  sequences.push([60, 60, 60, 60], [0, 60, 43, 44, 51, 60], [0, 60, 43, 44, 51, 50, 60], [60, 60, 0, 43, 44, 51]);
  sequences.push(
    [0, 0, 43, 43, 44, 44, 51, 51, 60, 60, 60],
    [60, 43, 60, 43],
    [60, 60, 44],
    [60, 60, 43],
    [60, 60, 51],
  );
  for (const sequence of sequences)
    add(`ipv6 extensions ${sequence.join(" ")}`, eth, v6, ...sequence.map(ext), udp(), "ab");
  for (const length of [0, 1, 2, 10, 255])
    for (const type of [0, 43, 51, 60])
      add(`ipv6 extension ${type} length ${length}`, eth, v6, extension(type, { length }), udp(), rest, rest);

  for (const type of [133, 134, 135, 136, 137])
    for (const code of [0, 1, 255])
      add(`icmpv6 type ${type} code ${code}`, eth, v6, nd({ type, code, sll: "02:11:22:33:44:55" }));
  const ndWith = (name: string, opts: Uint8Array): void => add(`nd ${name}`, eth, v6, nd({ options: opts }));
  ndWith("no options", options());
  ndWith("sll", options(ndOption(1, SLL)));
  ndWith("tll", options(ndOption(2, TLL)));
  ndWith("sll tll", options(ndOption(1, SLL), ndOption(2, TLL)));
  ndWith("sll twice", options(ndOption(1, SLL), ndOption(1, SLL)));
  ndWith("tll twice", options(ndOption(2, SLL), ndOption(1, TLL), ndOption(2, TLL)));
  ndWith("sll zero then sll", options(ndOption(1, new Uint8Array(6)), ndOption(1, SLL)));
  ndWith("sll then zero sll", options(ndOption(1, SLL), ndOption(1, new Uint8Array(6))));
  ndWith("tll zero then tll", options(ndOption(2, new Uint8Array(6)), ndOption(2, TLL), ndOption(1, SLL)));
  ndWith("sll low bytes only, twice", options(ndOption(1, bytesOf(0, 0, 0, 0, 0, 1)), ndOption(1, SLL)));
  ndWith("tll high bytes only, twice", options(ndOption(2, bytesOf(1, 0, 0, 0, 0, 0)), ndOption(2, TLL)));
  ndWith("length zero", options(ndOption(1, SLL), ndOption(2, TLL, 0), ndOption(2, TLL)));
  ndWith("length beyond end", options(ndOption(1, SLL), ndOption(2, TLL, 2)));
  ndWith("length two", options(ndOption(1, concat(SLL, new Uint8Array(8))), ndOption(2, TLL)));
  ndWith("unknown option", options(ndOption(14, SLL), ndOption(2, TLL)));
  ndWith("tail of seven", options(ndOption(1, SLL), new Uint8Array(7)));

  for (const op of [0, 1, 2, 255, 256, 257, 65535]) add(`arp op ${op}`, eth, arp({ op }));
  add("arp hrd", eth, arp({ hrd: 6 }));
  add("arp pro", eth, arp({ pro: 0x86dd }));
  add("arp hln", eth, arp({ hln: 8 }));
  add("arp pln", eth, arp({ pln: 16 }));
  add("arp padded", eth, arp(), new Uint8Array(18));

  add("mpls multicast", eth, mpls({ etherType: 0x8848 }), v4);
  add("mpls no bottom", eth, mpls({ s: 0 }), mpls({ s: 0, label: 2 }));
  add("mpls no bottom, odd tail", eth, mpls({ s: 0 }), "abc");
  add("mpls bottom then label", eth, mpls({ s: 1 }), mpls({ label: 2 }));
  for (const count of [2, 3, 4, 8])
    add(`mpls depth ${count}`, eth, ...Array.from({ length: count }, (_, i) => mpls({ label: 100 + i, ttl: i })), v4);
  for (const count of [3, 4, 9])
    add(`mpls depth ${count} no bottom`, eth, ...Array.from({ length: count }, (_, i) => mpls({ label: 9 + i, s: 0 })));

  add("nsh version 1", eth, nsh({ version: 1 }), v4);
  add("nsh reserved bit", eth, nsh({ flags: 1 }), v4);
  add("nsh oam", eth, nsh({ flags: 2, ttl: 0 }), v4);
  for (const length of [0, 1, 2, 5, 6, 7, 63]) add(`nsh md1 length ${length}`, eth, nsh({ length }), v4, udp(), rest);
  for (const length of [0, 1, 2, 3, 6, 7, 63])
    add(`nsh md2 length ${length}`, eth, nsh({ length, mdtype: 2 }), v4, udp(), rest);
  add("nsh md2 bare", eth, nsh({ mdtype: 2, context: new Uint8Array(0) }), v4);
  for (const mdtype of [0, 3, 15, 16, 17, 255]) add(`nsh md ${mdtype}`, eth, nsh({ mdtype }), v4);

  const random = new SeededRandom(1);
  const types = [0x0800, 0x86dd, 0x0806, 0x8847, 0x894f, 0x8100, 0x88a8, 100];
  for (let i = 0; i < 200; i++) {
    const bytes = Uint8Array.from({ length: 14 + (random.u32() % 90) }, () => random.u32() & 0xff);
    const type = types[i % types.length];
    bytes[12] = type >> 8;
    bytes[13] = type;
    // Likely first bytes, so that parsing gets past them.
    if (type === 0x0800 && bytes.length > 24) {
      bytes[14] = 0x45;
      bytes[20] &= 0x20;
      bytes[21] = 0;
      bytes[23] = [1, 6, 17, 132][i % 4];
    }
    if (type === 0x86dd && bytes.length > 22) bytes[20] = [0, 6, 17, 43, 44, 51, 58, 60, 132][random.u32() % 9];
    if (type === 0x894f && bytes.length > 20) {
      bytes[14] &= 0x3f;
      bytes[16] = 1 + (i & 1);
    }
    list.push({ name: `random ${i}`, bytes });
  }
  const whole = frames();
  for (let i = 0; i < 200; i++) {
    const bytes = whole[i % whole.length].bytes.slice();
    for (let flips = 1 + (random.u32() % 3); flips > 0; flips--)
      bytes[12 + (random.u32() % (bytes.length - 12))] ^= 1 << (random.u32() % 8);
    list.push({ name: `${whole[i % whole.length].name}, flipped ${i}`, bytes });
  }
  return list;
}

/** All frames that are asked about: odd ones whole, right ones at every length from 14 bytes on. */
export function extractionCases(): FrameCase[] {
  const list = oddFrames();
  for (const { name, bytes } of frames())
    for (let length = 14; length <= bytes.length; length++)
      list.push({ name: `${name}, ${length} bytes`, bytes: bytes.subarray(0, length) });
  return list;
}

/** One netlink attribute, padded. */
export function attribute(type: number, ...payload: Uint8Array[]): Uint8Array {
  const body = concat(...payload);
  const writer = new MessageWriter(4 + body.length);
  writer.raw(type, body);
  return writer.finish();
}

/** Attributes of one level as [type, payload]. */
export function attributes(bytes: Uint8Array): [type: number, payload: Uint8Array][] {
  const reader = new AttributeReader(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), 0, bytes.length);
  const list: [number, Uint8Array][] = [];
  while (reader.next()) list.push([reader.type, reader.bytes().slice()]);
  return list;
}

export const joined = (list: readonly (readonly [type: number, payload: Uint8Array])[]): Uint8Array =>
  concat(...list.map(([type, payload]) => attribute(type, payload)));

/** The KEY that a frame gives. */
export function keyOf(bytes: Uint8Array, inPort = 1): Uint8Array {
  const memory = sharedMemory();
  memory.bytes.set(bytes, 256);
  const packet = new Packet(memory);
  packet.reset(256, bytes.length, 0, 4096);
  packet.inPort = inPort;
  const key = newKey();
  if (extractKey(packet, key) !== 0) throw new Error("no key");
  const writer = new MessageWriter();
  putKey(writer, key);
  return writer.finish();
}

let memory: PacketMemory | undefined;
export function sharedMemory(): PacketMemory {
  memory ??= new PacketMemory();
  return memory;
}

/** A tunnel attribute's content from [type, payload hex] pairs. */
const tunnel = (...list: [number, string][]): Uint8Array =>
  attribute(16, joined(list.map(([type, text]) => [type, unhex(text)] as const)));

/** KEY and MASK pairs: right ones, and each with one thing wrong. */
export function matchCases(): MatchCase[] {
  const list: MatchCase[] = [];
  const add = (name: string, key: Uint8Array, mask: Uint8Array | null): void => {
    list.push({ name, key, mask });
  };
  const ones = (payload: Uint8Array): Uint8Array => new Uint8Array(payload.length).fill(0xff);

  for (const { name, bytes } of frames()) {
    const key = keyOf(bytes);
    const parts = attributes(key);
    add(`${name}: no mask`, key, null);
    add(`${name}: empty mask`, key, new Uint8Array(0));
    add(`${name}: key as mask`, key, key);
    for (let i = 0; i < parts.length; i++) {
      const [type, payload] = parts[i];
      const without = parts.filter((_, j) => j !== i);
      add(`${name}: without ${type}`, joined(without), null);
      add(`${name}: without ${type} but masked`, joined(without), new Uint8Array(0));
      add(`${name}: ${type} twice`, joined([...parts, parts[i]]), null);
      add(`${name}: ${type} longer`, joined([...without, [type, concat(payload, bytesOf(0, 0, 0, 1))]]), null);
      add(
        `${name}: ${type} shorter`,
        joined([...without, [type, payload.subarray(0, Math.max(0, payload.length - 1))]]),
        null,
      );
      add(`${name}: ${type} empty`, joined([...without, [type, new Uint8Array(0)]]), null);
      add(`${name}: ${type} all ones`, joined([...without, [type, ones(payload)]]), new Uint8Array(0));
      add(`${name}: ${type} all zero`, joined([...without, [type, new Uint8Array(payload.length)]]), new Uint8Array(0));
      add(`${name}: ${type} mask alone`, key, attribute(type, ones(payload)));
      add(
        `${name}: ${type} and ethertype mask`,
        key,
        concat(attribute(type, ones(payload)), attribute(6, bytesOf(255, 255))),
      );
      add(
        `${name}: all but ${type} mask`,
        key,
        joined(without.map(([t, p]) => [t, t === 22 ? bytesOf(255, 0, 0, 0) : ones(p)])),
      );
    }
    add(`${name}: reversed`, joined([...parts].reverse()), null);
    add(`${name}: trailing bytes`, concat(key, bytesOf(1, 2)), null);
    add(`${name}: trailing zeros`, concat(key, bytesOf(0, 0, 0, 0)), null);
  }

  const udpKey = keyOf(frame(ethernet(), ipv4(), udp()));
  const key6 = keyOf(frame(ethernet(), ipv6(), udp()));
  const type = (value: string): Uint8Array => attribute(6, unhex(value));
  const eth = attribute(4, unhex("010203040506070809101112"));
  const bare = concat(eth, type("1234"));
  for (let attr = 0; attr <= 40; attr++)
    for (const size of [0, 1, 2, 4, 8, 12, 16, 24, 28, 40]) {
      add(`attribute ${attr} of ${size} bytes`, concat(bare, attribute(attr, new Uint8Array(size))), new Uint8Array(0));
      add(
        `mask attribute ${attr} of ${size} bytes`,
        bare,
        concat(type("ffff"), attribute(attr, new Uint8Array(size).fill(1))),
      );
      add(`zero mask attribute ${attr} of ${size} bytes`, bare, attribute(attr, new Uint8Array(size)));
    }
  add("nothing", new Uint8Array(0), null);
  add("metadata only", unhex("0800030001000000"), null);
  add("ethernet only", eth, null);
  add("ethernet only, type masked", eth, type("ffff"));
  add("ethertype only", type("0806"), null);
  for (const value of ["0000", "0004", "05ff", "0600", "1234", "8100", "88a8"]) {
    add(`ethertype ${value} alone`, type(value), null);
    add(`ethernet and ethertype ${value}`, concat(eth, type(value)), null);
    add(`ethertype ${value} alone, empty mask`, type(value), new Uint8Array(0));
  }
  for (const mask of ["0000", "0001", "ff00", "ffff"]) add(`ethertype mask ${mask}`, bare, type(mask));
  for (const port of ["00000000", "01000000", "feff0000", "ffff0000", "00000100", "ffffffff"]) {
    add(`in_port ${port}`, concat(bare, attribute(3, unhex(port))), null);
    add(`in_port mask ${port}`, concat(bare, unhex("0800030007000000")), attribute(3, unhex(port)));
    add(`in_port mask ${port} without key`, bare, attribute(3, unhex(port)));
  }
  for (const state of ["00000000", "ff000000", "00010000", "00000080", "21000000"]) {
    add(`ct_state ${state}`, concat(bare, attribute(22, unhex(state))), null);
    add(`ct_state mask ${state}`, concat(bare, unhex("0800160000000000")), attribute(22, unhex(state)));
  }
  add("nested flag", concat(bare, unhex("0800038001000000")), null);
  add("net byte order flag", concat(bare, unhex("0800034001000000")), null);
  add("mask duplicate of zero", bare, concat(attribute(6, bytesOf(0, 0)), type("ffff")));
  add("mask duplicate", bare, concat(type("ffff"), type("ffff")));
  add("mask zero duplicate of non-zero", bare, concat(type("ffff"), type("0000")));
  add("mask trailing bytes", bare, concat(type("ffff"), bytesOf(1)));
  add("mask for ethernet without key", type("1234"), attribute(4, new Uint8Array(12).fill(0xff)));

  // IPv4 and IPv6 fields
  const withPart = (key: Uint8Array, attr: number, change: (payload: Uint8Array) => void): Uint8Array =>
    joined(
      attributes(key).map(([t, payload]) => {
        if (t === attr) change(payload);
        return [t, payload] as const;
      }),
    );
  for (const frag of [0, 1, 2, 3, 255]) {
    for (const [attr, at, key] of [
      [7, 11, udpKey],
      [8, 39, key6],
    ] as const) {
      const changed = withPart(key, attr, (payload) => payload.fill(frag, at, at + 1));
      add(`attribute ${attr} frag ${frag}`, changed, new Uint8Array(0));
      add(`attribute ${attr} frag ${frag} no mask`, changed, null);
      add(`attribute ${attr} frag ${frag} without udp`, joined(attributes(changed).filter(([t]) => t !== 10)), null);
      add(
        `attribute ${attr} frag mask ${frag}`,
        key,
        concat(type("ffff"), attribute(attr, withFill(attr === 7 ? 12 : 40, at, frag))),
      );
    }
  }
  add(
    "flow label of 21 bits",
    withPart(key6, 8, (payload) => payload.fill(0x1f, 33, 34)),
    null,
  );
  for (const protoMask of [0, 1, 0x7f, 0xff])
    for (const attr of [10, 9, 11, 12, 17, 18]) {
      const mask = concat(
        type("ffff"),
        attribute(7, withFill(12, 8, protoMask)),
        attribute(attr, new Uint8Array(attr === 11 || attr === 12 || attr === 18 ? 2 : 4).fill(0xff)),
      );
      add(`proto mask ${protoMask}, mask of ${attr}`, udpKey, mask);
    }
  const icmpKey = keyOf(frame(ethernet(), ipv4(), icmp()));
  add(
    "icmp mask with proto exact",
    icmpKey,
    concat(type("ffff"), attribute(7, withFill(12, 8, 0xff)), attribute(11, bytesOf(0xff, 0))),
  );
  const ndKey = keyOf(frame(ethernet(), ipv6(), nd({ sll: "02:11:22:33:44:55" })));
  for (const typeMask of [0, 0x7f, 0xff])
    for (const code of [0, 0xff])
      add(
        `nd mask, icmpv6 mask ${typeMask} ${code}`,
        ndKey,
        concat(
          type("ffff"),
          attribute(8, withFill(40, 36, 0xff)),
          attribute(12, bytesOf(typeMask, code)),
          attribute(14, new Uint8Array(28).fill(0xff)),
        ),
      );
  const tuple4 = attribute(26, unhex("0a0000010a00000203e807d011000000"));
  const tuple6 = attribute(27, new Uint8Array(36).fill(0xfd), unhex("11000000"));
  const tuple4Mask = attribute(26, new Uint8Array(16).fill(0xff));
  const tuple6Mask = attribute(27, new Uint8Array(40).fill(0xff));
  for (const [name, key] of [
    ["udp4", udpKey],
    ["udp6", key6],
    ["nd", ndKey],
    ["bare", bare],
    ["arp", keyOf(frame(ethernet(), arp()))],
  ] as const)
    for (const [which, tuple, mask] of [
      ["4", tuple4, tuple4Mask],
      ["6", tuple6, tuple6Mask],
    ] as const) {
      add(`orig tuple ${which} on ${name}, no mask`, concat(key, tuple), null);
      add(`orig tuple ${which} on ${name}, empty mask`, concat(key, tuple), new Uint8Array(0));
      add(`orig tuple ${which} on ${name}, masked`, concat(key, tuple), concat(type("ffff"), mask));
      add(`orig tuple ${which} on ${name}, masked without type`, concat(key, tuple), mask);
      add(`orig tuple ${which} mask only on ${name}`, key, concat(type("ffff"), mask));
    }
  for (const op of ["00ff", "0100", "ffff"]) {
    const arpKey = withPart(keyOf(frame(ethernet(), arp())), 13, (payload) => payload.set(unhex(op), 8));
    add(`arp op ${op}`, arpKey, null);
    add(
      `arp op mask ${op}`,
      keyOf(frame(ethernet(), arp())),
      concat(type("ffff"), attribute(13, withFillBytes(24, 8, unhex(op)))),
    );
  }
  for (const size of [0, 3, 4, 6, 8, 12, 16])
    for (const keyLabels of [1, 2, 3]) {
      const mplsKey = concat(eth, type("8847"), attribute(21, new Uint8Array(4 * keyLabels).fill(7)));
      add(
        `mpls ${keyLabels}, mask of ${size} bytes`,
        mplsKey,
        concat(type("ffff"), attribute(21, new Uint8Array(size).fill(0xf0))),
      );
      add(`mpls key of ${size} bytes`, concat(eth, type("8848"), attribute(21, new Uint8Array(size).fill(7))), null);
    }

  // VLANs
  const tagged = (tpid: string, tci: string, ...inner: Uint8Array[]): Uint8Array =>
    concat(eth, type(tpid), attribute(5, unhex(tci)), attribute(1, ...inner));
  const level = (tpid: string, tci: string, ...inner: Uint8Array[]): Uint8Array =>
    concat(type(tpid), attribute(5, unhex(tci)), attribute(1, ...inner));
  const keys: [string, Uint8Array][] = [
    ["vlan", tagged("8100", "1005", type("1234"))],
    ["vlan 88a8", tagged("88a8", "f005", type("1234"))],
    ["vlan 9100", tagged("9100", "1005", type("1234"))],
    ["no cfi", tagged("8100", "0005", type("1234"))],
    ["tci zero, encap full", tagged("8100", "0000", type("1234"))],
    ["tci zero, encap empty", tagged("8100", "0000")],
    ["tci, encap empty", tagged("8100", "1005")],
    ["tci, encap with other things", tagged("8100", "1005", type("1234"), unhex("0800030001000000"))],
    ["802.2 inside", tagged("8100", "1005", unhex("0800030001000000"))],
    ["qinq", tagged("88a8", "1005", level("8100", "1006", type("1234")))],
    ["qinq inner no cfi", tagged("88a8", "1005", level("8100", "0006", type("1234")))],
    ["qinq inner truncated", tagged("88a8", "1005", level("8100", "0000"))],
    ["qinq inner empty", tagged("88a8", "1005", level("8100", "1006"))],
    ["three tags", tagged("88a8", "1005", level("8100", "1006", level("8100", "1007", type("1234"))))],
    ["three tags, last a type", tagged("88a8", "1005", level("8100", "1006", type("8100")))],
    ["vlan without encap", concat(eth, type("8100"), attribute(5, unhex("1005")))],
    ["vlan without tci", concat(eth, type("8100"), attribute(1, type("1234")))],
    ["vlan without ethernet", level("8100", "1005", type("1234"))],
    ["ethernet inside", concat(type("8100"), attribute(5, unhex("1005")), attribute(1, eth, type("1234")))],
    ["ethernet twice", tagged("8100", "1005", eth, type("1234"))],
    ["vlan attribute on untagged", concat(eth, type("1234"), attribute(5, unhex("1005")))],
    ["encap on untagged", concat(eth, type("1234"), attribute(1, type("1234")))],
    ["encap trailing", tagged("8100", "1005", type("1234"), bytesOf(9))],
    ["encap zero type", tagged("8100", "1005", type("0000"))],
  ];
  const masks: [string, Uint8Array | null][] = [
    ["none", null],
    ["empty", new Uint8Array(0)],
    ["type", type("ffff")],
    ["full", concat(eth, level("ffff", "ffff", type("ffff")))],
    ["cfi only", level("ffff", "1000", type("ffff"))],
    ["vid and cfi", level("ffff", "1fff", type("ffff"))],
    ["no cfi", level("ffff", "0fff", type("ffff"))],
    ["tpid partial", level("ff00", "ffff", type("ffff"))],
    ["encap alone", attribute(1, type("ffff"))],
    ["encap and type", concat(type("ffff"), attribute(1, type("ffff")))],
    ["encap empty", level("ffff", "ffff")],
    ["encap zeros", level("ffff", "ffff", new Uint8Array(8))],
    ["vlan alone", attribute(5, unhex("ffff"))],
    ["qinq full", level("ffff", "ffff", level("ffff", "ffff", type("ffff")))],
    ["qinq inner vid", level("ffff", "1000", level("ffff", "1fff", type("ffff")))],
    ["qinq inner no vlan", level("ffff", "1fff", type("ffff"), attribute(1, type("ffff")))],
    ["qinq inner no type", level("ffff", "1fff", attribute(5, unhex("1fff")), attribute(1, type("ffff")))],
    ["qinq inner no cfi", level("ffff", "1fff", level("ffff", "0fff", type("ffff")))],
    ["three levels", level("ffff", "ffff", level("ffff", "ffff", level("ffff", "ffff", type("ffff"))))],
  ];
  for (const [keyName, key] of keys)
    for (const [maskName, mask] of masks) add(`vlan: ${keyName}; mask ${maskName}`, key, mask);

  // Tunnels
  const dst: [number, string] = [2, "0a000001"];
  const ttl: [number, string] = [4, "40"];
  const tunnels: [string, Uint8Array][] = [
    ["v4", tunnel([0, "0000000000000064"], [1, "0a000002"], dst, [3, "10"], ttl, [9, "1234"], [10, "12b5"])],
    ["v4 flags", tunnel([0, "0000000000000000"], dst, ttl, [5, ""], [6, ""], [7, ""])],
    ["v4 bare", tunnel(dst, ttl)],
    ["v4 ttl zero", tunnel(dst, [4, "00"])],
    ["v4 no ttl", tunnel(dst)],
    ["v4 no dst", tunnel([1, "0a000001"], ttl)],
    ["v4 dst zero", tunnel([2, "00000000"], ttl)],
    ["v6", tunnel([12, "fd".repeat(16)], [13, "fe".repeat(16)], ttl, [3, "01"])],
    ["v6 dst only", tunnel([13, "fe".repeat(16)], ttl)],
    ["v6 dst zero", tunnel([13, "00".repeat(16)], ttl)],
    ["v6 src only", tunnel([12, "fe".repeat(16)], ttl)],
    ["v6 no ttl", tunnel([13, "fe".repeat(16)])],
    ["mixed", tunnel(dst, [12, "fd".repeat(16)], ttl)],
    ["no address", tunnel(ttl)],
    ["empty", tunnel()],
    ["id only", tunnel([0, "0000000000000064"])],
    ["bridge", tunnel([16, ""])],
    ["bridge id", tunnel([0, "0000000000000064"], [16, ""])],
    ["bridge ttl zero", tunnel([4, "00"], [16, ""])],
    ["bridge ttl", tunnel(ttl, [16, ""])],
    ["bridge tos", tunnel([3, "01"], [16, ""])],
    ["bridge dst", tunnel(dst, [16, ""])],
    ["bridge flag", tunnel([6, ""], [16, ""])],
    ["bridge port", tunnel([9, "0001"], [16, ""])],
    ["bridge opts", tunnel([8, "01020304"], [16, ""])],
    ["bridge v6", tunnel([13, "fe".repeat(16)], [16, ""])],
    ["geneve", tunnel(dst, ttl, [8, "0102800111223344"])],
    ["geneve 3 bytes", tunnel(dst, ttl, [8, "010203"])],
    ["geneve empty", tunnel(dst, ttl, [8, ""])],
    ["geneve 252", tunnel(dst, ttl, [8, "01".repeat(252)])],
    ["geneve 256", tunnel(dst, ttl, [8, "01".repeat(256)])],
    ["vxlan", tunnel(dst, ttl, [11, "0800010004030201"])],
    ["vxlan empty", tunnel(dst, ttl, [11, ""])],
    ["vxlan twice", tunnel(dst, ttl, [11, "08000100040302010800010005050505"])],
    ["vxlan short", tunnel(dst, ttl, [11, "0600010004030000"])],
    ["vxlan unknown", tunnel(dst, ttl, [11, "0800020004030201"])],
    ["vxlan unspec", tunnel(dst, ttl, [11, "04000000"])],
    ["vxlan trailing", tunnel(dst, ttl, [11, "080001000403020100"])],
    ["erspan", tunnel(dst, ttl, [15, "0100000011223344aabbccdd"])],
    ["erspan odd", tunnel(dst, ttl, [15, "01020304050607"])],
    ["erspan 255", tunnel(dst, ttl, [15, "ab".repeat(255)])],
    ["erspan 256", tunnel(dst, ttl, [15, "ab".repeat(256)])],
    ["two options", tunnel(dst, ttl, [8, "01020304"], [11, "0800010004030201"])],
    ["geneve twice", tunnel(dst, ttl, [8, "01020304"], [8, "01020304"])],
    ["pad", tunnel(dst, ttl, [14, ""])],
    ["pad long", tunnel(dst, ttl, [14, "00000000"])],
    ["unknown 17", tunnel(dst, ttl, [17, ""])],
    ["id short", tunnel(dst, ttl, [0, "00000064"])],
    ["ttl long", tunnel(dst, [4, "4000"])],
    ["flag long", tunnel(dst, ttl, [5, "01"])],
    ["duplicates", tunnel(dst, [2, "0a000009"], ttl, [4, "41"], [0, "0000000000000001"], [0, "0000000000000002"])],
    [
      "trailing",
      attribute(
        16,
        joined([
          [2, unhex("0a000001")],
          [4, bytesOf(64)],
        ]),
        bytesOf(1),
      ),
    ],
  ];
  const tunnelMasks: [string, Uint8Array | null][] = [
    ["none", null],
    ["empty", new Uint8Array(0)],
    [
      "full",
      tunnel(
        [0, "f".repeat(16)],
        [1, "ffffffff"],
        [2, "ffffffff"],
        [3, "ff"],
        [4, "ff"],
        [5, ""],
        [6, ""],
        [7, ""],
        [9, "ffff"],
        [10, "ffff"],
      ),
    ],
    ["full 6", tunnel([0, "f".repeat(16)], [12, "f".repeat(32)], [13, "f".repeat(32)], [3, "ff"], [4, "ff"])],
    ["mixed", tunnel([2, "ffffffff"], [13, "f".repeat(32)])],
    ["nothing inside", tunnel()],
    ["id", tunnel([0, "00000000ffffffff"])],
    ["id zero", tunnel([0, "0000000000000000"])],
    ["geneve 8", tunnel([8, "ffffffffffff0000"])],
    ["geneve 4", tunnel([8, "ffffffff"])],
    ["vxlan", tunnel([11, "08000100ffff0000"])],
    ["erspan 12", tunnel([15, "f".repeat(24)])],
    ["erspan 7", tunnel([15, "f".repeat(14)])],
    ["bridge", tunnel([16, ""])],
  ];
  tunnels.push(["absent", new Uint8Array(0)]);
  for (const [name, part] of tunnels)
    for (const [maskName, mask] of tunnelMasks)
      add(`tunnel: ${name}; mask ${maskName}`, concat(bare, part), mask === null ? null : concat(type("ffff"), mask));

  // NSH
  const nshKey = (...parts: Uint8Array[]): Uint8Array => concat(eth, type("894f"), attribute(28, ...parts));
  const base = (mdtype: string): Uint8Array => attribute(1, unhex(`02 3f ${mdtype} 03 000001ff`));
  const md1 = attribute(2, unhex("000102030405060708090a0b0c0d0e0f"));
  const nshKeys: [string, Uint8Array][] = [
    ["md1", nshKey(base("01"), md1)],
    ["md1 first", nshKey(md1, base("01"))],
    ["base only", nshKey(base("01"))],
    ["md2 type, md1", nshKey(base("02"), md1)],
    ["md2 type", nshKey(base("02"))],
    ["md2", nshKey(base("02"), attribute(3, bytesOf(1, 2, 3, 4)))],
    ["md1 without base", nshKey(md1)],
    ["empty", nshKey()],
    ["base short", nshKey(attribute(1, bytesOf(1, 2, 3, 4)))],
    ["md1 short", nshKey(base("01"), attribute(2, bytesOf(1, 2, 3, 4)))],
    ["unknown", nshKey(base("01"), attribute(4, bytesOf(1)))],
    ["unspec", nshKey(base("01"), attribute(0))],
    ["trailing", nshKey(base("01"), bytesOf(1, 2, 3))],
    ["twice", nshKey(base("01"), base("02"))],
  ];
  const nshMasks: [string, Uint8Array | null][] = [
    ["none", null],
    ["empty", new Uint8Array(0)],
    ["base", concat(type("ffff"), attribute(28, attribute(1, new Uint8Array(8).fill(0xff))))],
    ["md1", concat(type("ffff"), attribute(28, attribute(2, new Uint8Array(16).fill(0x0f))))],
    ["md2", concat(type("ffff"), attribute(28, attribute(3, new Uint8Array(4).fill(0x0f))))],
    ["without type", attribute(28, attribute(1, new Uint8Array(8).fill(0xff)))],
  ];
  for (const [name, key] of nshKeys)
    for (const [maskName, mask] of nshMasks) add(`nsh: ${name}; mask ${maskName}`, key, mask);
  return list;
}

/** `size` zero bytes but for one. */
function withFill(size: number, at: number, value: number): Uint8Array {
  return withFillBytes(size, at, bytesOf(value));
}

function withFillBytes(size: number, at: number, values: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(size);
  bytes.set(values, at);
  return bytes;
}

export interface ExecuteCase {
  readonly name: string;
  readonly key: Uint8Array;
  readonly frame: Uint8Array;
}

/** OVS_PACKET_ATTR_KEY of EXECUTE with a packet (spec/keys K-104 to K-111). */
export function executeCases(): ExecuteCase[] {
  const list: ExecuteCase[] = [];
  const packets: [string, Uint8Array][] = [
    ["udp4", frame(ethernet(), ipv4(), udp())],
    ["udp6", frame(ethernet(), ipv6(), udp())],
    ["nd", frame(ethernet(), ipv6(), nd({ sll: "02:11:22:33:44:55" }))],
    ["nd code 1", frame(ethernet(), ipv6(), nd({ code: 1 }))],
    ["arp", frame(ethernet(), arp())],
    ["vlan", frame(ethernet(), vlan(), ipv4(), udp())],
    ["l3 udp4", frame(ipv4(), udp(), "12345678")],
    ["l3 udp6", frame(ipv6(), udp(), "12345678")],
  ];
  const port = unhex("0800030001000000");
  const keys: [string, Uint8Array][] = [
    ["port", port],
    ["nothing", new Uint8Array(0)],
    ["all metadata", concat(port, unhex("0800130011000000 0800140022000000 0800020033000000 08000f0044000000"))],
    [
      "ct",
      concat(
        port,
        unhex("08001600a5000000 0600170034120000 0800180078563412"),
        attribute(
          25,
          Uint8Array.from({ length: 16 }, (_, i) => i),
        ),
      ),
    ],
    ["ct_state unsupported", concat(port, unhex("0800160000010000"))],
    ["orig tuple 4", concat(port, attribute(26, unhex("0a0000010a00000203e807d011000000")))],
    [
      "orig tuple 6",
      concat(
        port,
        attribute(
          27,
          Uint8Array.from({ length: 36 }, (_, i) => i),
          unhex("11000000"),
        ),
      ),
    ],
    ["both tuples", concat(port, attribute(26, new Uint8Array(16).fill(1)), attribute(27, new Uint8Array(40).fill(1)))],
    [
      "tunnel",
      concat(
        port,
        attribute(16, attribute(0, new Uint8Array(8)), attribute(2, bytesOf(10, 0, 0, 1)), attribute(4, bytesOf(64))),
      ),
    ],
    ["tunnel bad", concat(port, attribute(16, attribute(4, bytesOf(64))))],
    ["port out of range", unhex("08000300ffff0000")],
    ["header keys ignored", concat(port, keyOf(frame(ethernet(), arp())).subarray(8 * 4))],
    ["length wrong", concat(port, attribute(7, new Uint8Array(11)))],
    ["twice", concat(port, port)],
    ["trailing", concat(port, bytesOf(1))],
    ["unknown", concat(port, attribute(33))],
    ["unspec", concat(port, attribute(0))],
    ["packet type", concat(port, attribute(29, new Uint8Array(4)))],
    ["ethertype 0800", concat(port, attribute(6, bytesOf(8, 0)))],
    ["ethertype 86dd", concat(port, attribute(6, bytesOf(0x86, 0xdd)))],
    ["ethertype 8100", concat(port, attribute(6, bytesOf(0x81, 0)))],
    ["ethertype 0004", concat(port, attribute(6, bytesOf(0, 4)))],
    ["ethertype 894f", concat(port, attribute(6, bytesOf(0x89, 0x4f)))],
    ["ethertype and ethernet", concat(port, attribute(4, new Uint8Array(12)), attribute(6, bytesOf(0x81, 0)))],
    [
      "l3 with tuple",
      concat(port, attribute(6, bytesOf(8, 0)), attribute(26, unhex("0a0000010a00000203e807d011000000"))),
    ],
  ];
  for (const [packetName, bytes] of packets)
    for (const [keyName, key] of keys) list.push({ name: `${packetName}; ${keyName}`, key, frame: bytes });
  return list;
}

/** Pairs of flows whose masks may or may not be the same mask (spec/keys K-074). */
export function maskPairs(): { name: string; flows: [key: Uint8Array, mask: Uint8Array | null][] }[] {
  const type = attribute(6, bytesOf(255, 255));
  const v4 = keyOf(frame(ethernet(), ipv4(), udp()));
  const v6 = keyOf(frame(ethernet(), ipv6(), udp()));
  const arpKey = keyOf(frame(ethernet(), arp({ op: 17 })));
  const tcpKey = keyOf(frame(ethernet(), ipv4(), tcp()));
  const proto4 = attribute(7, withFill(12, 8, 255));
  const proto6 = attribute(8, withFill(40, 36, 255));
  const type6 = attribute(6, bytesOf(0x12, 0x34));
  const full6: [number, string][] = [
    [0, "f".repeat(16)],
    [12, "f".repeat(32)],
    [13, "f".repeat(32)],
    [3, "ff"],
    [4, "ff"],
    [9, "ffff"],
    [10, "ffff"],
  ];
  const tunneled6 = tunnel(...full6);
  const tunneled = concat(v4, tunnel([2, "0a000001"], [4, "40"], [0, "0000000000000001"]));
  return [
    {
      name: "ipv4 proto, ipv6 proto",
      flows: [
        [v4, concat(type, proto4)],
        [v6, concat(type, proto6)],
      ],
    },
    {
      name: "ipv4 proto, arp op",
      flows: [
        [v4, concat(type, proto4)],
        [arpKey, concat(type, attribute(13, withFillBytes(24, 8, bytesOf(0, 255))))],
      ],
    },
    {
      name: "type, type",
      flows: [
        [v4, type],
        [v6, type],
      ],
    },
    {
      name: "udp src, tcp src",
      flows: [
        [v4, concat(type, proto4, attribute(10, bytesOf(255, 255, 0, 0)))],
        [tcpKey, concat(type, proto4, attribute(9, bytesOf(255, 255, 0, 0)))],
      ],
    },
    {
      name: "udp src, tcp src and flags",
      flows: [
        [v4, concat(type, proto4, attribute(10, bytesOf(255, 255, 0, 0)))],
        [tcpKey, concat(type, proto4, attribute(9, bytesOf(255, 255, 0, 0)), attribute(18, bytesOf(0, 2)))],
      ],
    },
    {
      name: "tunnel id zero bits, tunnel dst",
      flows: [
        [tunneled, concat(type, tunnel([0, "0000000000000000"]))],
        [v4, concat(type, tunnel())],
      ],
    },
    {
      name: "tunnel ttl, tunnel ttl",
      flows: [
        [tunneled, concat(type, tunnel([4, "ff"]))],
        [v4, concat(type, tunnel([4, "ff"]))],
      ],
    },
    {
      name: "tunnel tos zero, nothing",
      flows: [
        [tunneled, concat(type, tunnel([3, "00"]))],
        [v4, concat(type, tunnel())],
      ],
    },
    {
      name: "whole IPv6 tunnel without mask, with mask",
      flows: [
        [concat(tunneled6, type6, attribute(4, new Uint8Array(12).fill(1))), null],
        [
          concat(tunneled6, type6, attribute(4, new Uint8Array(12).fill(2))),
          concat(tunneled6, type, attribute(4, new Uint8Array(12).fill(0xff))),
        ],
      ],
    },
    {
      name: "ethernet, empty",
      flows: [
        [
          keyOf(frame(ethernet({ src: "02:00:00:00:00:0c" }), ipv6(), udp())),
          attribute(4, new Uint8Array(12).fill(0xff)),
        ],
        [v4, new Uint8Array(0)],
      ],
    },
    {
      name: "ct labels last bit, first bit",
      flows: [
        [v4, concat(type, attribute(25, withFill(16, 15, 1)))],
        [v6, concat(type, attribute(25, withFill(16, 0, 1)))],
      ],
    },
  ];
}
