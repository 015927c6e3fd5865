import { describe, expect, it } from "vitest";
import { kernelProfile } from "../../src/core/kernel-profile.ts";
import { ProgramCache } from "../../src/datapath/actions/cache.ts";
import { ActionExecutor } from "../../src/datapath/actions/execute.ts";
import { Fact, newFacts, readFacts } from "../../src/datapath/actions/facts.ts";
import { ACTION_KINDS } from "../../src/datapath/actions/kinds/index.ts";
import { Op, type Program } from "../../src/datapath/actions/program.ts";
import { K, newKey } from "../../src/flow/key.ts";
import { PacketMemory } from "../../src/packet/memory.ts";
import { actionAttributes } from "../../src/schema/openvswitch.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import { RecordingHost } from "../support/action-host.ts";
import * as a from "../support/actions.ts";
import { concat, ethernet, frame, ipv4, ipv6, mpls, nsh, sctp, tcp, u16, u32, udp, unhex } from "../support/frames.ts";

/** Packets that the examples run on. */
const UDP = frame(ethernet(), ipv4(), udp());
const MPLS = frame(ethernet(), mpls({ label: 1 }), ipv4());
const set = (type: number, length: number) => a.setMasked(type, new Uint8Array(length), new Uint8Array(length));
const tunnel = concat(
  a.attr(ovs.OVS_TUNNEL_KEY_ATTR_IPV4_DST, u32(0x0a000001)),
  a.attr(ovs.OVS_TUNNEL_KEY_ATTR_TTL, Uint8Array.of(64)),
);
const nshHeader = concat(
  a.attr(ovs.OVS_NSH_KEY_ATTR_BASE, unhex("003f010300000100")),
  a.attr(ovs.OVS_NSH_KEY_ATTR_MD1, new Uint8Array(16)),
);

/** Lists with an action of each kind, and of each instruction that it may become, by OVS_ACTION_ATTR_*. */
const EXAMPLES: Readonly<Record<number, readonly (readonly [frame: Uint8Array, ...actions: Uint8Array[]])[]>> = {
  [ovs.OVS_ACTION_ATTR_OUTPUT]: [[UDP, a.output(1)]],
  [ovs.OVS_ACTION_ATTR_USERSPACE]: [[UDP, a.userspace(7)]],
  [ovs.OVS_ACTION_ATTR_SET]: [
    [UDP, a.setMark(5)],
    [UDP, a.set(ovs.OVS_KEY_ATTR_PRIORITY, a.le32(5))],
    [UDP, a.setUdp(1, 2)],
    [UDP, a.set(ovs.OVS_KEY_ATTR_TUNNEL, tunnel)],
  ],
  [ovs.OVS_ACTION_ATTR_SET_MASKED]: [
    [UDP, set(ovs.OVS_KEY_ATTR_ETHERNET, 12)],
    [UDP, set(ovs.OVS_KEY_ATTR_IPV4, 12)],
    [frame(ethernet(), ipv6(), udp()), set(ovs.OVS_KEY_ATTR_IPV6, 40)],
    [frame(ethernet(), ipv4(), tcp()), set(ovs.OVS_KEY_ATTR_TCP, 4)],
    [frame(ethernet(), ipv4(), sctp()), set(ovs.OVS_KEY_ATTR_SCTP, 4)],
    [MPLS, set(ovs.OVS_KEY_ATTR_MPLS, 4)],
    [UDP, set(ovs.OVS_KEY_ATTR_CT_MARK, 4)],
  ],
  [ovs.OVS_ACTION_ATTR_PUSH_VLAN]: [[UDP, a.pushVlan(5)]],
  [ovs.OVS_ACTION_ATTR_POP_VLAN]: [[UDP, a.popVlan()]],
  [ovs.OVS_ACTION_ATTR_SAMPLE]: [[UDP, a.sample(-1, a.output(1))]],
  [ovs.OVS_ACTION_ATTR_RECIRC]: [[UDP, a.recirc(3)]],
  [ovs.OVS_ACTION_ATTR_HASH]: [[UDP, a.hash(3)]],
  [ovs.OVS_ACTION_ATTR_PUSH_MPLS]: [[UDP, a.pushMpls(0x1140)]],
  [ovs.OVS_ACTION_ATTR_ADD_MPLS]: [[UDP, a.attr(ovs.OVS_ACTION_ATTR_ADD_MPLS, u32(0x1140), u16(0x8847), u16(0))]],
  [ovs.OVS_ACTION_ATTR_POP_MPLS]: [[MPLS, a.attr(ovs.OVS_ACTION_ATTR_POP_MPLS, u16(0x0800))]],
  [ovs.OVS_ACTION_ATTR_CT]: [[UDP, a.ct()]],
  [ovs.OVS_ACTION_ATTR_CT_CLEAR]: [[UDP, a.ctClear()]],
  [ovs.OVS_ACTION_ATTR_TRUNC]: [[UDP, a.trunc(20)]],
  [ovs.OVS_ACTION_ATTR_PUSH_ETH]: [
    [UDP, a.attr(ovs.OVS_ACTION_ATTR_POP_ETH), a.attr(ovs.OVS_ACTION_ATTR_PUSH_ETH, new Uint8Array(12))],
  ],
  [ovs.OVS_ACTION_ATTR_POP_ETH]: [[UDP, a.attr(ovs.OVS_ACTION_ATTR_POP_ETH)]],
  [ovs.OVS_ACTION_ATTR_PUSH_NSH]: [
    [UDP, a.attr(ovs.OVS_ACTION_ATTR_PUSH_NSH, a.attr(ovs.OVS_KEY_ATTR_NSH, nshHeader))],
  ],
  [ovs.OVS_ACTION_ATTR_POP_NSH]: [
    [frame(ethernet(), nsh(), UDP), a.attr(ovs.OVS_ACTION_ATTR_POP_ETH), a.attr(ovs.OVS_ACTION_ATTR_POP_NSH)],
  ],
  [ovs.OVS_ACTION_ATTR_METER]: [[UDP, a.meter(1)]],
  [ovs.OVS_ACTION_ATTR_CLONE]: [[UDP, a.clone(a.output(1))]],
  [ovs.OVS_ACTION_ATTR_CHECK_PKT_LEN]: [[UDP, a.checkPktLen(100, a.output(1), a.output(2))]],
  [ovs.OVS_ACTION_ATTR_DEC_TTL]: [[UDP, a.decTtl()]],
  [ovs.OVS_ACTION_ATTR_DROP]: [[UDP, a.drop(0)]],
  [ovs.OVS_ACTION_ATTR_PSAMPLE]: [[UDP, a.psample(1, Uint8Array.of(1))]],
};

/** How many operands each instruction has, by the kinds that emit it, and END, which the compiler adds. */
const OPERANDS = new Map<number, number>([[Op.END, 0]]);
for (const kind of ACTION_KINDS)
  for (const [op, count] of Object.entries(kind?.operands ?? {})) {
    const before = OPERANDS.get(Number(op));
    if (before !== undefined && before !== count) throw new Error(`instruction ${op} has ${before} and ${count}`);
    OPERANDS.set(Number(op), count);
  }

/** Positions of the instructions of a program. @throws if one is unknown or cut short */
function positions({ code }: Program): number[] {
  const found: number[] = [];
  let at = 0;
  while (at < code.length) {
    const count = OPERANDS.get(code[at]);
    if (count === undefined) throw new Error(`no kind emits instruction ${code[at]} at ${at}`);
    found.push(at);
    at += 1 + count;
  }
  if (at !== code.length) throw new Error(`the program ends at ${code.length}, its last instruction at ${at}`);
  return found;
}

/** A program whose code may be read only as far as its instructions go, in order: the reads tell what interpret() takes. */
function guarded(program: Program): { program: Program; reads: Set<number> } {
  const reads = new Set<number>();
  let left = 1000;
  const code = new Proxy(program.code, {
    get(target, name) {
      if (!/^\d+$/.test(String(name))) return Reflect.get(target, name, target);
      if (--left < 0 || Number(name) >= target.length) throw new Error(`interpret() reads word ${String(name)}`);
      reads.add(Number(name));
      return target[Number(name)];
    },
  });
  return { program: Object.assign(Object.create(Object.getPrototypeOf(program)), program, { code }), reads };
}

describe("kinds of actions", () => {
  it("there is one for each action of the schema, and an example of each", () => {
    const types = actionAttributes.byType.flatMap((attribute) => (attribute === undefined ? [] : [attribute.type]));
    expect(ACTION_KINDS.flatMap((kind) => (kind === undefined ? [] : [kind.type]))).toEqual(types);
    expect(Object.keys(EXAMPLES).map(Number)).toEqual(types);
  });

  for (const kind of ACTION_KINDS.filter((one) => one !== undefined)) {
    const name = actionAttributes.byType[kind.type]?.name;
    it(`${name}: interpret() takes the operands that compile() emits`, () => {
      const emitted = new Set<number>();
      for (const [bytes, ...actions] of EXAMPLES[kind.type]) {
        for (const more of [[], [a.output(4242)]]) {
          if (kind.type === ovs.OVS_ACTION_ATTR_DROP && more.length > 0) continue;
          const memory = new PacketMemory();
          const host = new RecordingHost(memory);
          const { packet, key } = a.receive(memory, bytes);
          const compiled = a.compile(key, ...actions, ...more);
          const at = positions(compiled);
          for (const position of at) emitted.add(compiled.code[position]);
          const { program, reads } = guarded(compiled);
          const error = new ActionExecutor(host, memory).execute(packet, key, program);
          const last = host.events.at(-1);
          const fails = at.some((position) => compiled.code[position] === Op.FAIL);
          expect(error !== 0).toBe(fails);
          // What follows the action is reached, at its place.
          if (more.length > 0 && !fails) expect(last).toMatchObject({ kind: "output", port: 4242 });
          // A nested list that is last ends the packet: no END is reached.
          if (!fails)
            for (const position of at) if (compiled.code[position] !== Op.END) expect(reads).toContain(position);
        }
      }
      for (const op of Object.keys(kind.operands).map(Number)) {
        const elsewhere = [ovs.OVS_ACTION_ATTR_SET, ovs.OVS_ACTION_ATTR_SET_MASKED].includes(kind.type);
        if (!elsewhere) expect(emitted).toContain(op);
      }
    });
  }
});

describe("facts of the key", () => {
  const word = (index: number, value: number) => (key: Int32Array) => {
    key[index] = value;
  };
  /** Pairs of keys that differ in one fact alone. */
  const PAIRS: Readonly<Record<number, readonly [(key: Int32Array) => void, (key: Int32Array) => void]>> = {
    [Fact.ETHER_TYPE]: [word(K.ETH_TYPE, 0x0800_0001), word(K.ETH_TYPE, 0x0806_0001)],
    [Fact.ETHERNET]: [word(K.ETH_TYPE, 0x0800_0001), word(K.ETH_TYPE, 0x0800_0000)],
    [Fact.TAGGED]: [word(K.VLAN, 0), word(K.VLAN, 0x1005_8100)],
    [Fact.IP_PROTO]: [word(K.IP, 6 << 24), word(K.IP, 17 << 24)],
    [Fact.FRAG]: [word(K.IP, 0), word(K.IP, 1)],
    [Fact.LABELS]: [mplsKey(1), mplsKey(3)],
    [Fact.NSH_NEXT]: [nshKey(1), nshKey(3)],
  };
  function mplsKey(labels: number) {
    return (key: Int32Array) => {
      key[K.ETH_TYPE] = (0x8847 << 16) | 1;
      key[K.MPLS_LABELS] = labels;
    };
  }
  function nshKey(next: number) {
    return (key: Int32Array) => {
      key[K.ETH_TYPE] = (0x894f << 16) | 1;
      key[K.NSH_BASE] = next;
    };
  }

  it("two keys that differ in a fact never share a program; keys with the same facts do", () => {
    const list = concat(a.output(1));
    const view = new DataView(list.buffer);
    for (let fact = 0; fact < Fact.COUNT; fact++) {
      const cache = new ProgramCache({
        kernel: kernelProfile(),
        conntrack: { checkHelper: () => 0, crossZoneNat: false },
      });
      const [first, second] = PAIRS[fact].map((change) => {
        const key = newKey();
        change(key);
        return key;
      });
      const different = [...readFacts(first, newFacts())].flatMap((value, i) =>
        value === readFacts(second, newFacts())[i] ? [] : [i],
      );
      expect(different).toEqual([fact]);
      const program = cache.compile(view, 0, list.length, first);
      const again = first.slice();
      again[K.SKB_MARK] = 1;
      expect(cache.compile(view, 0, list.length, again)).toBe(program);
      expect(cache.compile(view, 0, list.length, second)).not.toBe(program);
    }
  });
});
