import { describe, expect, it } from "vitest";
import { Errno } from "../../src/core/errors.ts";
import { kernelProfile } from "../../src/core/kernel-profile.ts";
import { ProgramCache } from "../../src/datapath/actions/cache.ts";
import { dumpActions, Op, type Program } from "../../src/datapath/actions/program.ts";
import { K, newKey } from "../../src/flow/key.ts";
import { MessageWriter } from "../../src/netlink/writer.ts";
import { EINVAL, EMSGSIZE, ENOENT, EOVERFLOW, ERANGE } from "../../src/uapi/errno.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import * as a from "../support/actions.ts";
import { validateActions } from "../support/actions.ts";
import { concat, hex, ip4, unhex } from "../support/frames.ts";

/** A key of IPv4 UDP over Ethernet. */
function udpKey(): Int32Array {
  const key = newKey();
  key[K.ETH_TYPE] = (0x0800 << 16) | 1;
  key[K.IP] = 17 << 24;
  return key;
}

const mpls = (labels: number): Int32Array => {
  const key = newKey();
  key[K.ETH_TYPE] = (0x8847 << 16) | 1;
  key[K.MPLS_LABELS] = (1 << labels) - 1;
  return key;
};

function dump(program: Program): string {
  const writer = new MessageWriter();
  dumpActions(program, writer);
  return hex(writer.finish());
}

function errno(key: Int32Array, ...actions: Uint8Array[]): number {
  try {
    a.compile(key, ...actions);
    return 0;
  } catch (error) {
    if (error instanceof Errno) return error.errno;
    throw error;
  }
}

describe("compiled programs", () => {
  it("a list of one OUTPUT is told by soleOutput, every other list is not", () => {
    const key = udpKey();
    expect(a.compile(key, a.output(7)).soleOutput).toBe(7);
    expect(a.compile(key, a.output(0)).soleOutput).toBe(0);
    expect(a.compile(key, a.output(7), a.output(8)).soleOutput).toBe(-1);
    expect(a.compile(key, a.setMark(1), a.output(7)).soleOutput).toBe(-1);
    expect(a.compile(key).soleOutput).toBe(-1);
    expect(a.compile(key, a.clone(a.output(1))).soleOutput).toBe(-1);
  });

  it("A-036, A-111: an empty list is valid, empty, and dumps to nothing", () => {
    const program = a.compile(udpKey());
    expect([program.empty, dump(program)]).toEqual([true, ""]);
    expect(a.compile(udpKey(), a.output(1)).empty).toBe(false);
  });

  it("straight-line code: an output needs two words, and a consuming last action no end", () => {
    expect([...a.compile(udpKey(), a.output(3), a.output(4)).code]).toEqual([Op.OUTPUT, 3, Op.OUTPUT_LAST, 4]);
    expect([...a.compile(udpKey(), a.ctClear()).code]).toEqual([Op.CT_CLEAR, Op.END]);
  });

  it("A-084: an unmasked set is compiled with a mask of all ones and dumped as SET", () => {
    const program = a.compile(udpKey(), a.setMark(5));
    expect([...program.code]).toEqual([Op.SET_MARK, 5, -1, Op.END]);
    expect(dump(program)).toBe(hex(a.setMark(5)));
  });
});

describe("validation", () => {
  it("A-001, A-027, A-028, A-029: unknown types, wrong lengths and trailing bytes give EINVAL", () => {
    const key = udpKey();
    for (const bad of [
      a.attr(0),
      a.attr(26),
      a.attr(ovs.OVS_ACTION_ATTR_OUTPUT, new Uint8Array(8)),
      concat(a.output(1), Uint8Array.of(0)),
    ])
      expect(errno(key, bad), hex(bad)).toBe(EINVAL);
  });

  it("A-031: depth 16 is accepted, 17 gives EOVERFLOW", () => {
    let list = a.output(1);
    for (let i = 0; i < 16; i++) list = a.clone(list);
    expect(errno(udpKey(), list)).toBe(0);
    expect(errno(udpKey(), a.clone(list))).toBe(EOVERFLOW);
  });

  it("A-035: a nested list of more than 65535 bytes in the kernel's form gives EMSGSIZE", () => {
    const many = (n: number) => a.clone(...Array.from({ length: n }, () => a.ct()));
    expect(errno(udpKey(), many(399))).toBe(0);
    expect(errno(udpKey(), many(400))).toBe(EMSGSIZE);
  });

  it("A-033, A-034: nested lists change their own state, and start from the flow's Ethernet header", () => {
    const key = udpKey();
    const popEth = a.attr(ovs.OVS_ACTION_ATTR_POP_ETH);
    expect(errno(key, a.clone(popEth), popEth)).toBe(0);
    expect(errno(key, popEth, popEth)).toBe(EINVAL);
    expect(errno(key, popEth, a.clone(popEth))).toBe(0);
  });

  it("A-038: a wildcarded ethertype refuses L3 actions", () => {
    const key = newKey();
    key[K.ETH_TYPE] = 1;
    expect(errno(key, a.ct())).toBe(EINVAL);
    expect(errno(key, a.setUdp(1, 2))).toBe(EINVAL);
    expect(errno(key, a.pushMpls(0x1140))).toBe(EINVAL);
    expect(errno(key, a.pushVlan(5), a.output(1))).toBe(0);
  });

  it("A-042, A-043: USERSPACE without pid gives EINVAL, a short one ERANGE", () => {
    expect(errno(udpKey(), a.userspace(0))).toBe(EINVAL);
    expect(errno(udpKey(), a.attr(ovs.OVS_ACTION_ATTR_USERSPACE, a.attr(1, a.le16(5))))).toBe(ERANGE);
    expect(errno(udpKey(), a.userspace(5, a.attr(3, a.le16(5))))).toBe(ERANGE);
  });

  it("A-058, A-062, A-063: labels and tags are counted along the list", () => {
    const pop = (type: number) => a.attr(ovs.OVS_ACTION_ATTR_POP_MPLS, Uint8Array.of(type >> 8, type & 255));
    expect(errno(udpKey(), a.pushVlan(5), a.pushMpls(0x1140))).toBe(EINVAL);
    expect(errno(udpKey(), a.pushVlan(5), a.popVlan(), a.pushMpls(0x1140))).toBe(0);
    expect(errno(mpls(2), pop(0x8847), pop(0x0800))).toBe(0);
    expect(errno(mpls(1), pop(0x8847), pop(0x0800))).toBe(EINVAL);
    expect(errno(mpls(1), pop(0x6558))).toBe(EINVAL);
  });

  it("A-069, A-077: masked values must lie within the mask, proto and frag have none", () => {
    const set = (value: Uint8Array, mask: Uint8Array) =>
      errno(udpKey(), a.setMasked(ovs.OVS_KEY_ATTR_SKB_MARK, value, mask));
    expect(set(a.le32(1), a.le32(1))).toBe(0);
    expect(set(a.le32(3), a.le32(1))).toBe(EINVAL);
    const proto = concat(new Uint8Array(8), Uint8Array.of(1, 0, 0, 0));
    expect(errno(udpKey(), a.setMasked(ovs.OVS_KEY_ATTR_IPV4, new Uint8Array(12), proto))).toBe(EINVAL);
  });

  it("A-072: SET of NSH gives EINVAL", () => {
    const key = newKey();
    key[K.ETH_TYPE] = 0x894f << 16;
    expect(errno(key, a.set(ovs.OVS_KEY_ATTR_NSH, a.attr(1, new Uint8Array(8))))).toBe(EINVAL);
  });

  it("A-099: DROP must be the last of its list", () => {
    expect(errno(udpKey(), a.drop(0), a.output(1))).toBe(EINVAL);
    expect(errno(udpKey(), a.clone(a.drop(0)), a.output(1))).toBe(0);
  });

  it("A-100, A-101, A-102: PSAMPLE needs a group, a short cookie and the nested flag", () => {
    expect(errno(udpKey(), a.psample(1, new Uint8Array(16)))).toBe(0);
    expect(errno(udpKey(), a.psample(1, new Uint8Array(17)))).toBe(ERANGE);
    expect(errno(udpKey(), a.attr(ovs.OVS_ACTION_ATTR_PSAMPLE, a.attr(1, a.le32(1))))).toBe(EINVAL);
    expect(errno(udpKey(), a.attr(ovs.OVS_ACTION_ATTR_PSAMPLE | 0x8000))).toBe(EINVAL);
  });

  it("A-037, C-018, C-020: what checkHelper answers is the list's errno", () => {
    const bytes = a.ct(a.attr(ovs.OVS_CT_ATTR_COMMIT), a.attr(ovs.OVS_CT_ATTR_HELPER, unhex("66747000")));
    const asked: unknown[] = [];
    const context = {
      kernel: kernelProfile(),
      conntrack: {
        crossZoneNat: false,
        checkHelper: (...of: unknown[]) => {
          asked.push(of);
          return -ENOENT;
        },
      },
    };
    expect(() => validateActions(new DataView(bytes.buffer), 0, bytes.length, udpKey(), context)).toThrow(Errno);
    expect(asked).toEqual([["ftp", 2, 17, false]]);
  });

  it("C-010…C-016, C-038…C-044: a parsed ct action holds what was asked for", () => {
    const list = a.ct(
      a.attr(ovs.OVS_CT_ATTR_FORCE_COMMIT),
      a.attr(ovs.OVS_CT_ATTR_ZONE, a.le16(7)),
      a.attr(ovs.OVS_CT_ATTR_MARK, a.le32(0x80000001), a.le32(0xffffffff)),
      a.attr(ovs.OVS_CT_ATTR_LABELS, new Uint8Array(16).fill(1), new Uint8Array(16).fill(255)),
      a.attr(ovs.OVS_CT_ATTR_EVENTMASK, a.le32(3)),
      a.attr(ovs.OVS_CT_ATTR_TIMEOUT, unhex("616200")),
      a.attr(
        ovs.OVS_CT_ATTR_NAT,
        a.attr(ovs.OVS_NAT_ATTR_DST),
        a.attr(ovs.OVS_NAT_ATTR_IP_MIN, ip4("1.2.3.4")),
        a.attr(ovs.OVS_NAT_ATTR_PROTO_MAX, a.le16(99)),
        a.attr(ovs.OVS_NAT_ATTR_PERSISTENT),
      ),
    );
    const [ct] = a.compile(udpKey(), list).cts;
    expect(ct).toMatchObject({ family: 2, zone: 7, commit: true, force: true, hasMark: true, hasEventmask: true });
    expect([ct.mark >>> 0, ct.markMask >>> 0, ct.eventmask, ct.timeout]).toEqual([0x80000001, 0xffffffff, 3, "ab"]);
    expect([...ct.labels]).toEqual(Array(4).fill(0x01010101));
    expect(ct.nat).toMatchObject({ type: 2, hasIp: true, hasProto: true, protoMin: 0, protoMax: 99, persistent: true });
    expect(ct.nat?.ipMin[0]).toBe(0x01020304);
    expect(ct.nat?.ipMax[0]).toBe(0x01020304);
  });
});

describe("the cache of programs", () => {
  const context = { kernel: kernelProfile(), conntrack: { checkHelper: () => 0, crossZoneNat: false } };
  const ask = (cache: ProgramCache, key: Int32Array, ...actions: Uint8Array[]) => {
    const bytes = concat(...actions);
    return cache.compile(new DataView(bytes.buffer), 0, bytes.length, key);
  };

  it("gives flows with the same actions one program, whatever else differs in their keys", () => {
    const cache = new ProgramCache(context);
    const first = ask(cache, udpKey(), a.ct(), a.recirc(5));
    for (let i = 0; i < 100; i++) {
      const key = udpKey();
      key[K.IPV4_SRC] = i * 0x01010101;
      key[K.TP] = i;
      key[K.IN_PORT] = i;
      expect(ask(cache, key, a.ct(), a.recirc(5))).toBe(first);
    }
    expect(ask(cache, udpKey(), a.ct(), a.recirc(6))).not.toBe(first);
  });

  it("does not give a program to a key under which the list is another or not valid", () => {
    const cache = new ProgramCache(context);
    const four = ask(cache, udpKey(), a.ct());
    const six = udpKey();
    six[K.ETH_TYPE] = (0x86dd << 16) | 1;
    expect(ask(cache, six, a.ct()).cts[0].family).toBe(10);
    expect(four.cts[0].family).toBe(2);
    ask(cache, udpKey(), a.setUdp(1, 2));
    const tcp = udpKey();
    tcp[K.IP] = 6 << 24;
    expect(() => ask(cache, tcp, a.setUdp(1, 2))).toThrow(Errno);
    const tagged = udpKey();
    tagged[K.VLAN] = (0x1005 << 16) | 0x8100;
    ask(cache, udpKey(), a.pushMpls(0x1140));
    expect(() => ask(cache, tagged, a.pushMpls(0x1140))).toThrow(Errno);
    const pops = concat(...[1, 2].map(() => a.attr(ovs.OVS_ACTION_ATTR_POP_MPLS, unhex("8847"))));
    ask(cache, mpls(3), pops);
    expect(() => ask(cache, mpls(1), pops)).toThrow(Errno);
  });

  it("does not remember errors", () => {
    const cache = new ProgramCache(context);
    const key = newKey();
    for (let i = 0; i < 2; i++) expect(() => ask(cache, key, a.ct())).toThrow(Errno);
  });
});
