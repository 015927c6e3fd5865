import { describe, expect, it } from "vitest";
import { Errno } from "../../src/core/errors.ts";
import {
  extractUserspace,
  KEY_LENGTHS,
  parseKey,
  parseMatch,
  parseMetadata,
  parseTunnel,
  putKey,
  putMask,
  putTunnel,
} from "../../src/flow/codec.ts";
import { K, NO_PORT, newKey } from "../../src/flow/key.ts";
import { MetadataKey } from "../../src/flow/parse/packet-key.ts";
import { MessageWriter } from "../../src/netlink/writer.ts";
import { Packet } from "../../src/packet/packet.ts";
import { payloadLengthOk } from "../../src/schema/lengths.ts";
import { EINVAL } from "../../src/uapi/errno.ts";
import {
  arp,
  bytesOf,
  concat,
  ethernet,
  frame,
  hex,
  icmpv6,
  ipv4,
  ipv6,
  nd,
  nsh,
  tcp,
  udp,
  unhex,
  vlan,
} from "../support/frames.ts";
import { attribute, attributes, keyOf, sharedMemory } from "../support/key-cases.ts";

const ETHERNET = attribute(4, unhex("010203040506 0a0b0c0d0e0f"));
const type = (value: number): Uint8Array => attribute(6, bytesOf(value >> 8, value & 0xff));
const ANY = new Uint8Array(0);

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

function parse(keyBytes: Uint8Array, maskBytes: Uint8Array | null = ANY): { key: Int32Array; mask: Int32Array } {
  const all = concat(keyBytes, maskBytes ?? ANY);
  const key = newKey().fill(-1);
  const mask = newKey().fill(-1);
  parseMatch(viewOf(all), 0, keyBytes.length, maskBytes === null ? -1 : keyBytes.length, all.length, key, mask);
  return { key, mask };
}

function refuses(keyBytes: Uint8Array, maskBytes: Uint8Array | null = ANY): void {
  let thrown: unknown;
  try {
    parse(keyBytes, maskBytes);
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(Errno);
  expect((thrown as Errno).errno).toBe(EINVAL);
}

function put(key: Int32Array): Uint8Array {
  const writer = new MessageWriter(8);
  putKey(writer, key);
  return writer.finish();
}

const types = (bytes: Uint8Array): number[] => attributes(bytes).map(([attr]) => attr);

describe("parsing a key", () => {
  it("K-034…K-036: unknown types and wrong lengths are refused", () => {
    const base = concat(ETHERNET, type(0x1234));
    parse(base);
    refuses(concat(base, attribute(33)));
    for (const [attr, length] of KEY_LENGTHS.entries()) {
      if (length <= 0 || attr === 4 || attr === 6) continue;
      refuses(concat(base, attribute(attr, new Uint8Array(length + 1))));
      refuses(concat(base, attribute(attr, new Uint8Array(length - 1))));
    }
    expect(payloadLengthOk(KEY_LENGTHS, 1, 77) && payloadLengthOk(KEY_LENGTHS, 21, 3)).toBe(true);
  });

  it("K-030…K-032: user space's own attributes are refused", () => {
    for (const attr of [29, 30, 31])
      for (const length of [0, 4, 8]) refuses(concat(ETHERNET, type(0x1234), attribute(attr, new Uint8Array(length))));
  });

  it("K-037, K-039, K-043: duplicates, trailing bytes, leftovers", () => {
    const base = concat(ETHERNET, type(0x1234));
    refuses(concat(base, type(0x1234)));
    refuses(concat(base, bytesOf(0)));
    refuses(concat(base, attribute(5, bytesOf(0x10, 1))));
  });

  it("K-044…K-047: what the ethertype may be", () => {
    refuses(attribute(3, bytesOf(1, 0, 0, 0)));
    expect(parse(ETHERNET).key[K.ETH_TYPE]).toBe(0x00040001);
    expect(parse(type(0x1234)).key[K.ETH_TYPE]).toBe(0x12340000);
    refuses(type(0x05ff));
  });

  it("K-005: the source MAC comes first", () => {
    expect([...parse(ETHERNET).key.subarray(K.ETH_DST, K.ETH_TYPE)]).toEqual([0x0a0b0c0d, 0x0e0f0102, 0x03040506]);
  });

  it("K-076…K-088: needs what its protocols have", () => {
    for (const bytes of [
      frame(ethernet(), ipv4(), tcp()),
      frame(ethernet(), ipv6(), nd()),
      frame(ethernet(), nsh(), ipv4()),
    ]) {
      const key = keyOf(bytes);
      parse(key);
      for (const [attr] of attributes(key)) {
        if (![7, 8, 9, 12, 14, 18, 28].includes(attr)) continue;
        refuses(
          concat(
            ...attributes(key)
              .filter(([t]) => t !== attr)
              .map(([t, payload]) => attribute(t, payload)),
          ),
        );
      }
    }
  });

  it("K-094, K-095: port numbers", () => {
    expect(parse(ETHERNET).key[K.IN_PORT]).toBe(NO_PORT);
    expect(parse(concat(ETHERNET, attribute(3, bytesOf(0xfe, 0xff, 0, 0)))).key[K.IN_PORT]).toBe(0xfffe);
    refuses(concat(ETHERNET, attribute(3, bytesOf(0xff, 0xff, 0, 0))));
  });

  it("K-099: unsupported ct_state bits", () => {
    expect(parse(concat(ETHERNET, attribute(22, bytesOf(0xff, 0, 0, 0)))).key[K.CT]).toBe(0xff);
    refuses(concat(ETHERNET, attribute(22, bytesOf(0, 1, 0, 0))));
  });

  it("K-112…K-117: tags", () => {
    const tagged = keyOf(frame(ethernet(), vlan({ vid: 5 }), ipv4(), udp()));
    expect(parse(tagged).key[K.VLAN]).toBe(0x10058100);
    const encap = attribute(1, type(0x1234));
    refuses(concat(ETHERNET, type(0x8100), encap));
    refuses(concat(ETHERNET, type(0x8100), attribute(5, bytesOf(0x10, 5))));
    refuses(concat(ETHERNET, type(0x8100), attribute(5, bytesOf(0x00, 5)), encap));
    refuses(concat(ETHERNET, type(0x8100), attribute(5, bytesOf(0, 0)), encap));
    expect(parse(concat(ETHERNET, type(0x8100), attribute(5, bytesOf(0, 0)), attribute(1))).key[K.VLAN]).toBe(0x8100);
  });

  it("K-174, K-175, K-195: values that no packet has", () => {
    const change = (bytes: Uint8Array, attr: number, at: number, value: number): Uint8Array =>
      concat(
        ...attributes(keyOf(bytes)).map(([t, payload]) => {
          if (t === attr) payload[at] = value;
          return attribute(t, payload);
        }),
      );
    refuses(change(frame(ethernet(), ipv4(), udp()), 7, 11, 3));
    refuses(change(frame(ethernet(), ipv6(), udp()), 8, 39, 3));
    refuses(change(frame(ethernet(), ipv6(), udp()), 8, 33, 0x10));
    refuses(change(frame(ethernet(), arp()), 13, 8, 1));
  });
});

describe("parsing a mask", () => {
  const udpKey = keyOf(frame(ethernet(), ipv4(), udp()));

  it("K-049: without MASK all that is given is exact", () => {
    const { mask } = parse(concat(ETHERNET, type(0x1234), attribute(15, bytesOf(1, 2, 3, 4))), null);
    const exact = [...mask.keys()].filter((word) => mask[word] !== 0);
    expect(exact).toEqual([K.SKB_MARK, K.ETH_DST, K.ETH_MID, K.ETH_SRC, K.ETH_TYPE, K.VLAN, K.CVLAN]);
    expect(mask[K.ETH_TYPE] >>> 0).toBe(0xffff00ff);
  });

  it("K-051: ct_state is exact in the bits there are", () => {
    expect(parse(concat(ETHERNET, attribute(22, bytesOf(0x21, 0, 0, 0))), null).mask[K.CT]).toBe(0xff);
  });

  it("K-052, K-059, K-060, K-061: an empty MASK leaves tags and mac_proto", () => {
    const { mask } = parse(udpKey, ANY);
    expect([...mask.keys()].filter((word) => mask[word] !== 0)).toEqual([K.ETH_TYPE, K.VLAN, K.CVLAN]);
    expect([mask[K.ETH_TYPE], mask[K.VLAN] >>> 0, mask[K.CVLAN] >>> 0]).toEqual([0xff, 0xffff0000, 0xffff0000]);
  });

  it("K-053: no attribute that the key lacks, but TUNNEL, IN_PORT and ETHERTYPE", () => {
    refuses(type(0x1234), ETHERNET);
    parse(ETHERNET, concat(type(1), attribute(3, bytesOf(1, 0, 0, 0))));
    expect(parse(type(0x1234), attribute(16, attribute(4, bytesOf(255)))).mask[K.TUN_PROTO]).toBe(0xff00);
  });

  it("K-055, K-057: ethertype and in_port are exact or nothing", () => {
    const { mask } = parse(udpKey, concat(type(1), attribute(3, bytesOf(1, 0, 0, 0))));
    expect([mask[K.ETH_TYPE] >>> 16, mask[K.IN_PORT]]).toEqual([0xffff, 0xffff]);
  });

  it("K-062, K-067: prerequisites", () => {
    const proto = attribute(7, concat(new Uint8Array(8), bytesOf(255, 0, 0, 0)));
    const ports = attribute(10, bytesOf(255, 255, 0, 0));
    refuses(udpKey, proto);
    refuses(udpKey, concat(type(0xffff), ports));
    refuses(udpKey, concat(type(0xffff), attribute(7, concat(new Uint8Array(8), bytesOf(254, 0, 0, 0))), ports));
    expect(parse(udpKey, concat(type(0xffff), proto, ports)).mask[K.TP]).toBe(0xffff0000 | 0);
  });

  it("K-041: zeros are as good as absent", () => {
    parse(type(0x1234), attribute(4, new Uint8Array(12)));
  });

  it("K-118…K-122: masks of tags", () => {
    const tagged = keyOf(frame(ethernet(), vlan({ vid: 5 }), ipv4(), udp()));
    const mask = (tci: number, tpid = 0xffff): Uint8Array =>
      concat(type(tpid), attribute(5, bytesOf(tci >> 8, tci & 0xff)), attribute(1, type(0xffff)));
    expect(parse(tagged, mask(0x1000)).mask[K.VLAN]).toBe(0x1000ffff);
    expect(parse(tagged, ANY).mask[K.VLAN] >>> 0).toBe(0xffff0000);
    refuses(tagged, mask(0x0fff));
    refuses(tagged, mask(0xffff, 0xff00));
    refuses(udpKey, mask(0xffff));
  });

  it("K-074: tells masks of other ranges apart", () => {
    const v6 = keyOf(frame(ethernet(), ipv6(), udp()));
    const masks = [
      [udpKey, concat(type(0xffff), attribute(7, concat(new Uint8Array(8), bytesOf(255, 0, 0, 0))))],
      [v6, concat(type(0xffff), attribute(8, concat(new Uint8Array(36), bytesOf(255, 0, 0, 0))))],
    ].map(([key, mask]) => {
      const all = concat(key, mask);
      const words = newKey();
      return { range: parseMatch(viewOf(all), 0, key.length, key.length, all.length, newKey(), words), words };
    });
    expect(masks[0].words).toEqual(masks[1].words);
    expect(masks[0].range).not.toBe(masks[1].range);
  });
});

describe("output", () => {
  it("K-251…K-263: stands in the module's order", () => {
    expect(types(keyOf(frame(ethernet(), ipv4(), tcp())))).toEqual([20, 19, 2, 3, 15, 22, 23, 24, 25, 4, 6, 7, 9, 18]);
    const v6 = parse(
      concat(
        keyOf(frame(ethernet(), ipv6(), nd())),
        attribute(16, attribute(2, bytesOf(1, 2, 3, 4)), attribute(4, bytesOf(9))),
      ),
    ).key;
    expect(types(put(v6))).toEqual([20, 19, 2, 16, 3, 15, 22, 23, 24, 25, 4, 6, 8, 32, 12, 14]);
  });

  it("K-097, K-258: leaves out what there is not, and shows original tuples of the packet's family", () => {
    const { key } = parse(
      concat(
        keyOf(frame(ethernet(), ipv4(), udp())).subarray(32),
        attribute(26, unhex("01020304 05060708 0035 1000 11 000000")),
      ),
    );
    expect(types(put(key))).toEqual([20, 19, 2, 15, 22, 23, 24, 25, 26, 4, 6, 7, 10]);
    expect(hex(attributes(put(key))[8][1])).toBe("010203040506070800351000" + "11000000");
  });

  it("K-190: shows ND for both types whatever the code", () => {
    expect(types(keyOf(frame(ethernet(), ipv6(), icmpv6({ type: 136, code: 3 })))).slice(-2)).toEqual([12, 14]);
  });

  it("K-129: shows a tag cut short as one without values", () => {
    const key = attributes(keyOf(frame(ethernet(), vlan(), "").subarray(0, 16)));
    expect(key.slice(-3).map(([attr, payload]) => [attr, hex(payload)])).toEqual([
      [6, "0000"],
      [5, "0000"],
      [1, ""],
    ]);
  });

  it("K-096, K-204, K-250, K-264: masks", () => {
    const { key, mask } = parse(keyOf(frame(ethernet(), vlan(), ipv4(), udp())), attribute(3, bytesOf(9, 0, 0, 0)));
    const writer = new MessageWriter();
    putMask(
      writer,
      key.map((word, i) => word & mask[i]),
      mask,
    );
    const shown = new Map(attributes(writer.finish()).map(([attr, payload]) => [attr, hex(payload)]));
    expect([shown.get(16), shown.get(3), shown.get(6), shown.get(5)]).toEqual([
      "0500040000000000",
      "ffffffff",
      "ffff",
      "ffff",
    ]);
  });

  it("makes no garbage: one writer serves again and again without growing", () => {
    const { key } = parse(keyOf(frame(ethernet(), vlan(), vlan(), ipv6(), nd())));
    const writer = new MessageWriter(2048);
    const { bytes } = writer;
    for (let i = 0; i < 10; i++) {
      writer.reset();
      putKey(writer, key);
    }
    expect(writer.bytes).toBe(bytes);
  });
});

describe("tunnels", () => {
  const content = (...list: [number, string][]): Uint8Array =>
    concat(...list.map(([attr, text]) => attribute(attr, unhex(text))));
  const tunnelOf = (bytes: Uint8Array, words = newKey()): Int32Array => {
    parseTunnel(viewOf(bytes), 0, bytes.length, words);
    return words;
  };

  it("K-216…K-223, K-247, K-249: parse and put; the ID needs no padding", () => {
    const bytes = content(
      [0, "0102030405060708"],
      [1, "0a000001"],
      [2, "0a000002"],
      [3, "04"],
      [4, "40"],
      [5, ""],
      [6, ""],
      [9, "0001"],
      [10, "12b5"],
      [7, ""],
      [8, "0102800111223344"],
    );
    const words = tunnelOf(bytes);
    const writer = new MessageWriter();
    putTunnel(writer, words, words, false);
    expect(hex(writer.finish())).toBe(hex(bytes));
  });

  it("K-238, K-241, K-242: a mask makes the family exact, also that there is no tunnel, and with options their length", () => {
    const flow = concat(ETHERNET, type(0x1234));
    const masked = (key: Uint8Array, mask: Uint8Array | null) =>
      parse(concat(flow, key), mask === null ? ANY : concat(type(0xffff), attribute(16, mask)));
    const geneve = content([2, "0a000001"], [4, "40"], [8, "0102800111223344"]);
    const key = attribute(16, geneve);
    expect(masked(key, null).mask[K.TUN_PROTO]).toBe(0);
    // An empty one counts as zero, so as none.
    const empty = content([4, "00"]);
    expect(masked(key, content()).mask[K.TUN_PROTO]).toBe(0);
    expect(masked(key, empty).mask[K.TUN_PROTO]).toBe(0xff00);
    expect(masked(key, content([8, "ffffffff00000000"])).mask[K.TUN_PROTO]).toBe(0xffff);
    expect(masked(key, empty).key[K.TUN_PROTO]).toBe((2 << 8) | 8);
    const none = masked(ANY, empty);
    expect([none.key[K.TUN_PROTO], none.mask[K.TUN_PROTO]]).toEqual([0, 0xff00]);
  });

  it("K-229: says which options there were; two blocks are refused", () => {
    const bytes = content([2, "0a000002"], [4, "40"], [11, "0800010001020304"]);
    expect(parseTunnel(viewOf(bytes), 0, bytes.length, newKey())).toBe(11);
    expect(() => tunnelOf(concat(bytes, content([8, "01020304"])))).toThrow(Errno);
  });

  it("K-235, K-247: INFO_BRIDGE is an ID at most", () => {
    const bytes = content([0, "0000000000000009"], [16, ""]);
    const words = tunnelOf(bytes);
    const writer = new MessageWriter();
    putTunnel(writer, words, words, true);
    expect(hex(writer.finish())).toBe(hex(bytes));
    expect(() => tunnelOf(content([4, "01"], [16, ""]))).toThrow(Errno);
  });
});

describe("EXECUTE", () => {
  const memory = sharedMemory();
  function execute(
    keyBytes: Uint8Array,
    bytes: Uint8Array,
  ): { error: number; packet: Packet; key: Int32Array; tuples: number } {
    memory.bytes.set(bytes, 1024);
    const packet = new Packet(memory);
    packet.reset(1024, bytes.length, 0, 4096);
    const key = newKey().fill(-1);
    const tuples = parseMetadata(viewOf(keyBytes), 0, keyBytes.length, packet, key);
    return { tuples, error: extractUserspace(packet, key, tuples), packet, key };
  }

  it("K-107…K-109: takes metadata from the key and the rest from the packet", () => {
    const metadata = concat(
      attribute(3, bytesOf(5, 0, 0, 0)),
      attribute(2, bytesOf(6, 0, 0, 0)),
      attribute(15, bytesOf(7, 0, 0, 0)),
      attribute(20, bytesOf(8, 0, 0, 0)),
    );
    const { packet, key } = execute(
      concat(metadata, keyOf(frame(ethernet(), ipv6(), udp())).subarray(84)),
      frame(ethernet(), ipv4(), udp()),
    );
    expect([packet.inPort, packet.priority, packet.mark, key[K.RECIRC_ID], key[K.CT]]).toEqual([5, 6, 7, 8, 0]);
    expect([key[K.ETH_TYPE], key[K.IPV4_SRC]]).toEqual([0x08000001, 0x0a000001]);
  });

  it("K-110: ETHERTYPE without ETHERNET makes an L3 packet", () => {
    const { error, packet, key } = execute(type(0x0800), frame(ipv4(), udp()));
    expect([error, packet.macNone, packet.l3, key[K.ETH_TYPE], key[K.TP]]).toEqual([
      0,
      true,
      1024,
      0x08000000,
      (1000 << 16) | 2000,
    ]);
    expect(execute(type(0x8100), frame(ipv4(), udp())).error).toBe(-EINVAL);
  });

  it("K-104, K-105: original tuples must fit the packet", () => {
    const four = attribute(26, new Uint8Array(16).fill(1));
    const six = attribute(27, new Uint8Array(40).fill(1));
    const good = execute(four, frame(ethernet(), ipv4(), udp()));
    expect([good.error, good.tuples, good.key[K.CT_ORIG4_TP]]).toEqual([0, MetadataKey.ORIG_TUPLE_IPV4, 0x01010101]);
    expect(execute(four, frame(ethernet(), ipv6(), udp())).error).toBe(-EINVAL);
    expect(execute(six, frame(ethernet(), ipv6(), udp())).error).toBe(0);
    expect(execute(six, frame(ethernet(), ipv6(), nd())).error).toBe(-EINVAL);
    expect(execute(six, frame(ethernet(), ipv6(), nd({ code: 1 }))).error).toBe(0);
  });
});

describe("GET and DEL", () => {
  it("K-090: the same rules hold for a key alone", () => {
    const bytes = keyOf(frame(ethernet(), ipv4(), udp()));
    const key = newKey().fill(-1);
    parseKey(viewOf(bytes), 0, bytes.length, key);
    expect(hex(put(key))).toBe(hex(bytes));
    expect(() => parseKey(viewOf(bytes), 0, bytes.length - 8, key)).toThrow(Errno);
  });
});
