import { describe, expect, it } from "vitest";
import { Errno } from "../../src/core/errors.ts";
import { ExtAck } from "../../src/netlink/extack.ts";
import * as s from "../../src/netlink/schema/index.ts";
import { toJson, toText } from "../../src/netlink/schema/index.ts";
import { MessageWriter } from "../../src/netlink/writer.ts";
import { actionAttributes, flowAttributes, keyAttributes } from "../../src/schema/openvswitch.ts";
import { EINVAL, ERANGE } from "../../src/uapi/errno.ts";
import { MessageDecoder } from "../support/decode.ts";

const inner = s.attributeSet("inner", { A: s.u32(1), B: s.u8(2) });
const set = s.attributeSet("test", {
  NUMBER: s.u32(1),
  SMALL: s.u16(2),
  NAME: s.nulString(3, 7),
  FLAG: s.flag(4),
  NEST: s.nested(5, () => inner, true),
  LOOSE: s.nested(6, () => inner),
  BYTES: s.binary(7, 4),
  AT_LEAST: s.unspec(8, 3),
  SIGNED: s.s32(9, { min: 0 }),
  RANGE: s.u32(10, { min: 1, max: 9 }),
  LONG: s.u64(11),
  TEXT: s.string(12, 3),
  LIST: s.list(13, s.u16(0), 1),
  SIZED: s.binary(14, 0, { min: 2, max: 3 }),
});
const table = set.table();
const BASE = 8;

/** Parses one attribute with that payload, after 8 bytes of something else. */
function check(type: number, payload: number[], strict = false): { errno: number; extack: ExtAck } {
  const writer = new MessageWriter();
  writer.reserve(BASE);
  writer.raw(type, Uint8Array.from(payload));
  const extack = new ExtAck();
  try {
    set.parse(table, writer.view, BASE, writer.length, 0, extack, strict);
    return { errno: 0, extack };
  } catch (error) {
    if (!(error instanceof Errno)) throw error;
    return { errno: error.errno, extack };
  }
}

const errno = (type: number, ...payload: number[]): number => check(type, payload).errno;
const strictErrno = (type: number, ...payload: number[]): number => check(type, payload, true).errno;

describe("liberal validation", () => {
  it("F-037: unknown attributes are ignored", () => expect(errno(99, 1)).toBe(0));
  it("F-039, F-040, F-041: integers may be too long, not too short", () => {
    expect(errno(1, 1, 2, 3)).toBe(ERANGE);
    expect(errno(1, 1, 2, 3, 4)).toBe(0);
    expect(errno(1, 1, 2, 3, 4, 5)).toBe(0);
    expect(errno(2, 1)).toBe(ERANGE);
    expect(errno(11, 1, 2, 3, 4)).toBe(ERANGE);
    expect(errno(9, 1)).toBe(ERANGE);
  });
  it("F-042: a flag has no payload", () => {
    expect(errno(4)).toBe(0);
    expect(errno(4, 1)).toBe(ERANGE);
  });
  it("F-043, F-044, F-045: NUL strings", () => {
    const letters = (n: number) => Array.from({ length: n }, () => 97);
    expect(errno(3, ...letters(7), 0)).toBe(0);
    expect(errno(3, ...letters(8), 0)).toBe(EINVAL);
    expect(errno(3, ...letters(7))).toBe(EINVAL);
    expect(errno(3)).toBe(EINVAL);
    expect(errno(3, 97, 0, ...letters(7))).toBe(ERANGE);
    expect(errno(3, 97, 0, ...letters(5), 0)).toBe(0);
  });
  it("strings need no NUL", () => {
    expect(errno(12, 97, 98, 99)).toBe(0);
    expect(errno(12, 97, 98, 99, 0)).toBe(0);
    expect(errno(12, 97, 98, 99, 100)).toBe(ERANGE);
    expect(errno(12)).toBe(ERANGE);
  });
  it("F-046: nests of 1 to 3 bytes are refused, empty ones not", () => {
    expect(errno(6)).toBe(0);
    expect(errno(6, 1, 2, 3)).toBe(ERANGE);
    expect(errno(6, 5, 0, 1, 0, 1)).toBe(0);
    expect(errno(5, 5, 0, 1, 0, 1)).toBe(ERANGE);
  });
  it("F-047: minimum and maximum lengths", () => {
    expect(errno(8, 1, 2)).toBe(ERANGE);
    expect(errno(8, 1, 2, 3)).toBe(0);
    expect(errno(7, 1, 2, 3, 4)).toBe(0);
    expect(errno(7, 1, 2, 3, 4, 5)).toBe(ERANGE);
    expect(errno(14, 1)).toBe(ERANGE);
    expect(errno(14, 1, 2, 3, 4)).toBe(ERANGE);
  });
  it("F-078, F-080: ranges", () => {
    expect(errno(9, 255, 255, 255, 255)).toBe(ERANGE);
    expect(errno(10, 0, 0, 0, 0)).toBe(ERANGE);
    expect(errno(10, 9, 0, 0, 0)).toBe(0);
    expect(errno(10, 10, 0, 0, 0)).toBe(ERANGE);
  });
  it("F-038: the nested bit is ignored", () => {
    const writer = new MessageWriter();
    writer.u32(1 | 0x8000, 5);
    expect(set.parse(table, writer.view, 0, writer.length, 0, undefined).u32(1)).toBe(5);
  });
  it("F-048: the last of several wins", () => {
    const writer = new MessageWriter();
    writer.u32(1, 5);
    writer.u32(1, 6);
    expect(set.parse(table, writer.view, 0, writer.length, 0, undefined).u32(1)).toBe(6);
  });
  it("F-049: trailing bytes are a warning", () => {
    const writer = new MessageWriter();
    writer.u32(1, 5);
    writer.reserve(3);
    const extack = new ExtAck();
    set.parse(table, writer.view, 0, writer.length, 0, extack);
    expect(extack.message).toBe("bytes leftover after parsing attributes");
    expect(extack.has(0)).toBe(true);
  });
  it("absent attributes stay absent from one message to the next", () => {
    check(1, [1, 2, 3, 4]);
    check(2, [1, 2]);
    expect(table.has(1)).toBe(false);
    expect(table.has(2)).toBe(true);
  });
  it("F-050: says what was wrong, where, and what the rule is", () => {
    const { extack } = check(10, [10, 0, 0, 0]);
    expect(extack.message).toBe("integer out of range");
    expect(extack.offset).toBe(BASE);
    const writer = new MessageWriter();
    extack.put(writer, ERANGE, 100);
    const policy = "24000480 0c0004000100000000000000 0c0005000900000000000000 0800010004000000";
    expect(Buffer.from(writer.finish()).toString("hex")).toContain(policy.replaceAll(" ", ""));
  });
});

describe("strict validation", () => {
  it("refuses what liberal validation lets pass", () => {
    expect(strictErrno(1, 1, 2, 3, 4)).toBe(0);
    expect(strictErrno(1, 1, 2, 3, 4, 5)).toBe(EINVAL);
    expect(strictErrno(99, 1)).toBe(EINVAL);
    expect(strictErrno(8, 1, 2, 3)).toBe(EINVAL);
    expect(check(99, [1], true).extack.message).toBe("Unknown attribute type");
    expect(check(6, [], true).extack.message).toBe("NLA_F_NESTED is missing");
    expect(check(1 | 0x8000, [1, 2, 3, 4], true).extack.message).toBe("NLA_F_NESTED not expected");
    expect(strictErrno(6 | 0x8000)).toBe(0);
  });
});

describe("decoding and encoding", () => {
  it("gives back what was written", () => {
    const values = {
      NUMBER: 4_000_000_000,
      SMALL: 65535,
      NAME: "eth0",
      FLAG: true,
      NEST: { A: 1, B: 2 },
      LONG: 2 ** 53 - 1,
      SIGNED: -5,
      LIST: [1, 2, 3],
      BYTES: Uint8Array.of(1, 2),
    };
    const writer = new MessageWriter();
    set.encode(writer, values);
    expect(set.decode(writer.view, 0, writer.length)).toEqual(values);
  });

  it("shows what it does not know, and what is too short, as bytes", () => {
    const writer = new MessageWriter();
    writer.u8(1, 7);
    writer.u8(77, 8);
    expect(set.decode(writer.view, 0, writer.length)).toEqual({ NUMBER: Uint8Array.of(7), "#77": Uint8Array.of(8) });
  });

  it("keys and actions as text and JSON", () => {
    const writer = new MessageWriter();
    keyAttributes.encode(writer, {
      IN_PORT: 1,
      ETHERNET: { src: "02:00:00:00:00:01", dst: "ff:ff:ff:ff:ff:ff" },
      ETHERTYPE: 0x86dd,
      IPV6: { src: "fe80::1", dst: "::", label: 5, proto: 17, tclass: 0, hlimit: 64, frag: 0 },
    });
    const value = keyAttributes.decode(writer.view, 0, writer.length);
    expect(toText(value)).toBe(
      "IN_PORT=1, ETHERNET(src=02:00:00:00:00:01, dst=ff:ff:ff:ff:ff:ff), ETHERTYPE=34525, " +
        "IPV6(src=fe80::1, dst=::, label=5, proto=17, tclass=0, hlimit=64, frag=0)",
    );
    writer.reset();
    actionAttributes.encode(writer, [
      { CT: { COMMIT: true, ZONE: 1, NAT: { SRC: true } } },
      { CLONE: [{ OUTPUT: 2 }, { OUTPUT: 3 }] },
      { POP_VLAN: true },
      { OUTPUT: 2 },
    ]);
    const actions = actionAttributes.decode(writer.view, 0, writer.length);
    expect(toText(actions)).toBe("[CT(COMMIT, ZONE=1, NAT(SRC)), CLONE[OUTPUT=2, OUTPUT=3], POP_VLAN, OUTPUT=2]");
    expect(JSON.stringify(toJson(actions))).toContain('{"CLONE":[{"OUTPUT":2},{"OUTPUT":3}]}');
  });

  it("a message of nothing but nests does not take the stack down", () => {
    const depth = 16_000;
    const bytes = new Uint8Array(depth * 4);
    const view = new DataView(bytes.buffer);
    for (let i = 0; i < depth; i++) {
      view.setUint16(i * 4, (depth - i) * 4, true);
      view.setUint16(i * 4 + 2, 20, true);
    }
    expect(() => actionAttributes.decode(view, 0, bytes.length)).not.toThrow();
  });

  it("IPv6 addresses both ways", () => {
    for (const address of ["::", "::1", "fe80::", "2001:db8::1:0:0:1", "1:2:3:4:5:6:7:8", "::ffff:0:1"]) {
      const writer = new MessageWriter();
      keyAttributes.encode(writer, { ND: { target: address, sll: "00:00:00:00:00:00", tll: "00:00:00:00:00:00" } });
      expect(keyAttributes.decode(writer.view, 0, writer.length).ND?.target).toBe(address);
    }
  });

  it("whole messages, with families learned from the controller", () => {
    const decoder = new MessageDecoder();
    const writer = new MessageWriter();
    let at = writer.beginMessage(16, 0, 1, 7);
    writer.genl(1, 2);
    writer.string(2, "ovs_flow");
    writer.u16(1, 33);
    writer.endMessage(at);
    at = writer.beginMessage(33, 0x405, 2, 7);
    writer.genl(1, 1);
    writer.rawU32(5);
    flowAttributes.encode(writer, { KEY: { IN_PORT: 3 }, ACTIONS: [{ OUTPUT: 4 }] });
    writer.endMessage(at);
    at = writer.beginMessage(2, 0x300, 2, 7);
    writer.rawU32(-22);
    writer.reserve(16);
    writer.string(1, "no good");
    writer.endMessage(at);
    expect(decoder.decode(writer.finish())).toEqual([
      {
        type: "nlctrl",
        command: "NEWFAMILY",
        flags: [],
        seq: 1,
        pid: 7,
        attributes: { FAMILY_NAME: "ovs_flow", FAMILY_ID: 33 },
      },
      {
        type: "ovs_flow",
        command: "NEW",
        flags: ["REQUEST", "ACK", "CREATE"],
        seq: 2,
        pid: 7,
        ifindex: 5,
        attributes: { KEY: { IN_PORT: 3 }, ACTIONS: [{ OUTPUT: 4 }] },
      },
      {
        type: "error",
        command: "",
        flags: ["CAPPED", "ACK_TLVS"],
        seq: 2,
        pid: 7,
        errno: 22,
        attributes: { MSG: "no good" },
      },
    ]);
  });
});

describe("lists with numbers and counts", () => {
  const lists = s.attributeSet("lists", {
    BY_NUMBER: s.numberedList(
      1,
      s.nested(0, () => inner),
    ),
    POINTS: s.countedStructs(2, { place: "u16", pad: "pad2", count: "u32" }),
    FIXED: s.struct(3, { first: "u8", pad: "pad1", second: "be16" }),
  });

  it("a numbered list keeps the numbers of its entries, and marks them as nests", () => {
    const bytes = s.encode(lists, {
      BY_NUMBER: [
        [7, { B: 1 }],
        [3, {}],
      ],
    });
    expect([...bytes]).toEqual([20, 0, 1, 0, 12, 0, 7, 0x80, 5, 0, 2, 0, 1, 0, 0, 0, 4, 0, 3, 0x80]);
    expect(s.decode(lists, bytes)).toEqual({
      BY_NUMBER: [
        [7, { B: 1 }],
        [3, {}],
      ],
    });
  });

  it("counted structs carry their number, and reading stops where the payload ends", () => {
    const bytes = s.encode(lists, { POINTS: [{ place: 1, count: 2 }] });
    expect([...bytes]).toEqual([16, 0, 2, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]);
    bytes[4] = 200;
    expect(s.decode(lists, bytes)).toEqual({ POINTS: [{ place: 1, count: 2 }] });
    bytes[4] = 0;
    expect(s.decode(lists, bytes)).toEqual({ POINTS: [] });
  });

  it("a struct says where its fields lie", () => {
    expect(lists.definitions.FIXED.fields).toEqual({ first: { offset: 0, size: 1 }, second: { offset: 2, size: 2 } });
  });

  it("entries() takes no more than it is given, firstOfEach() the first of an attribute that is repeated", () => {
    const writer = new MessageWriter();
    const nest = writer.nest(1);
    for (const value of [5, 6]) writer.raw(2, Uint8Array.of(8, 0, 1, 0, value, 0, 0, 0));
    writer.endNest(nest);
    const found = lists.parse(lists.table(), writer.view, 0, writer.length, 0, undefined);
    expect(found.entries(1, inner, 2).map((entry) => entry.u32(1))).toEqual([5, 6]);
    expect(() => found.entries(1, inner, 1)).toThrow(expect.objectContaining({ errno: EINVAL }));
    expect(found.firstOfEach(1, lists).nested(2, inner).u32(1)).toBe(5);
  });
});
