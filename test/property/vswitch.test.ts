import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatActions } from "../../src/client/format/index.ts";
import { ManualClock } from "../../src/core/clock.ts";
import { MessageWriter } from "../../src/netlink/writer.ts";
import { FLOW_WORDS, Flow, FlowAt, type Match } from "../../src/vswitch/flow.ts";
import { Classifier, executeWithHelp } from "../../src/vswitch/index.ts";
import { MacTable } from "../../src/vswitch/mac-table.ts";
import { readKey, writeKey, writeMask } from "../../src/vswitch/odp/key.ts";
import { OfpError } from "../../src/vswitch/ofctl/errors.ts";
import { formatOfpFlow } from "../../src/vswitch/ofctl/format/flow.ts";
import { parseOfpFlow, parseOfpMatch } from "../../src/vswitch/ofctl/parse/flow.ts";
import { RecircTable } from "../../src/vswitch/recirc.ts";
import { FlowTables, OfpRule } from "../../src/vswitch/tables.ts";
import type { XPort } from "../../src/vswitch/xlate/context.ts";
import { xlate } from "../../src/vswitch/xlate/xlate.ts";

// Few values, so that rules and packets meet.
const address = fc
  .tuple(fc.constantFrom(10, 11), fc.constantFrom(0, 1), fc.constantFrom(0, 128), fc.constantFrom(1, 2, 3))
  .map((a) => a.join("."));
const prefix = fc.constantFrom(1, 7, 8, 9, 16, 17, 24, 31, 32);
const port = fc.constantFrom(22, 53, 80, 81, 8080);
const match = fc
  .record({
    inPort: fc.option(fc.constantFrom(1, 2), { nil: undefined }),
    proto: fc.constantFrom("", "ip", "tcp", "udp", "arp"),
    src: fc.option(fc.tuple(address, prefix), { nil: undefined }),
    dst: fc.option(fc.tuple(address, prefix), { nil: undefined }),
    tpSrc: fc.option(port, { nil: undefined }),
    tpDst: fc.option(fc.tuple(port, fc.constantFrom(0xffff, 0xfff0, 0xff00, 0x000f)), { nil: undefined }),
    mac: fc.option(fc.constantFrom(1, 2), { nil: undefined }),
    vlan: fc.option(fc.constantFrom("dl_vlan=5", "vlan_tci=0", "dl_vlan_pcp=1"), { nil: undefined }),
    ct: fc.option(fc.constantFrom("+trk", "-trk", "+trk+est", "+new-est"), { nil: undefined }),
    reg: fc.option(fc.constantFrom(0, 1), { nil: undefined }),
  })
  .map((m) => {
    const out: string[] = [];
    if (m.inPort) out.push(`in_port=${m.inPort}`);
    if (m.proto) out.push(m.proto);
    if (m.mac) out.push(`dl_dst=00:00:00:00:00:0${m.mac}`);
    if (m.vlan) out.push(m.vlan);
    if (m.ct) out.push(`ct_state=${m.ct}`);
    if (m.reg !== undefined) out.push(`reg0=${m.reg}`);
    const ip = m.proto !== "" && m.proto !== "arp";
    if (ip && m.src) out.push(`nw_src=${m.src.join("/")}`);
    if (ip && m.dst) out.push(`nw_dst=${m.dst.join("/")}`);
    const l4 = m.proto === "tcp" || m.proto === "udp";
    if (l4 && m.tpSrc) out.push(`tp_src=${m.tpSrc}`);
    if (l4 && m.tpDst) out.push(`tp_dst=${m.tpDst[0]}/${m.tpDst[1]}`);
    return out.join(",");
  });

const packet = fc
  .record({
    inPort: fc.constantFrom(1, 2),
    proto: fc.constantFrom("tcp", "udp", "arp", "icmp"),
    src: address,
    dst: address,
    tpSrc: port,
    tpDst: port,
    mac: fc.constantFrom(1, 2, 3),
    vlan: fc.constantFrom(0, 0x1005, 0x3005, 0x1006),
    ct: fc.constantFrom(0, 0x20, 0x21, 0x22),
    frag: fc.constantFrom(0, 0, 0, 1, 3),
    ttl: fc.constantFrom(1, 64),
  })
  .map((p) => {
    const flow = new Flow();
    const put = (at: number, text: string) => flow.bytes.set(text.split(".").map(Number), at);
    flow.put8(FlowAt.IS_ETH, 1);
    flow.put32(FlowAt.IN_PORT, p.inPort);
    flow.put16(FlowAt.DL_TYPE, p.proto === "arp" ? 0x0806 : 0x0800);
    flow.put8(FlowAt.DL_DST + 5, p.mac);
    flow.put8(FlowAt.DL_SRC + 5, 9);
    if (p.vlan) {
      flow.put16(FlowAt.VLAN0_TPID, 0x8100);
      flow.put16(FlowAt.VLAN0_TCI, p.vlan);
    }
    put(FlowAt.NW_SRC, p.src);
    put(FlowAt.NW_DST, p.dst);
    flow.put8(FlowAt.NW_PROTO, { tcp: 6, udp: 17, icmp: 1, arp: 1 }[p.proto] ?? 0);
    if (p.proto !== "arp") {
      flow.put32(FlowAt.CT_STATE, p.ct);
      flow.put8(FlowAt.NW_FRAG, p.frag);
      flow.put8(FlowAt.NW_TTL, p.ttl);
      if (p.frag !== 3) {
        flow.put16(FlowAt.TP_SRC, p.proto === "icmp" ? 8 : p.tpSrc);
        flow.put16(FlowAt.TP_DST, p.proto === "icmp" ? 0 : p.tpDst);
      }
    }
    return flow;
  });

interface Numbered {
  readonly match: Match;
  readonly priority: number;
  readonly text: string;
}

function naive(rules: readonly Numbered[], flow: Flow): Numbered | null {
  let best: Numbered | null = null;
  for (const rule of rules) {
    const { key, mask } = rule.match;
    let hit = true;
    for (let i = 0; i < FLOW_WORDS; i++) if ((flow.words[i] ^ key.words[i]) & mask.words[i]) hit = false;
    if (hit && (best === null || rule.priority > best.priority)) best = rule;
  }
  return best;
}

/** Whether `other` is in the megaflow that `flow` was given. */
function covered(flow: Flow, wildcards: Flow, other: Flow): boolean {
  // The datapath matches the presence of tags always (spec/keys K-060).
  if (flow.vlanCount !== other.vlanCount) return false;
  for (let i = 0; i < FLOW_WORDS; i++) if ((flow.words[i] ^ other.words[i]) & wildcards.words[i]) return false;
  return true;
}

const RUNS = { numRuns: 300 };

describe("classifier", () => {
  const rules = fc.array(match, { minLength: 1, maxLength: 14 }).map((texts) =>
    // One priority each: between equal ones OpenFlow promises nothing.
    texts.map((text, i): Numbered => ({ match: parseOfpMatch(text), priority: (i * 7919) % 101, text })),
  );

  it("finds what a walk over all rules finds, and every packet of the megaflow finds the same", () => {
    fc.assert(
      fc.property(rules, fc.array(packet, { minLength: 2, maxLength: 12 }), fc.nat(), (list, packets, removed) => {
        const classifier = new Classifier<Numbered>();
        const kept = list.filter((_, i) => i !== removed % (list.length + 3));
        for (const rule of list) classifier.insert(rule);
        for (const rule of list) if (!kept.includes(rule)) expect(classifier.remove(rule)).toBe(true);
        const present = [...classifier];
        for (const flow of packets) {
          const wildcards = new Flow();
          const found = classifier.lookup(flow, wildcards);
          expect(found?.text).toBe(naive(present, flow)?.text);
          for (const other of packets) {
            if (covered(flow, wildcards, other)) expect(naive(present, other)?.text).toBe(found?.text);
          }
        }
      }),
      RUNS,
    );
  });
});

describe("translation", () => {
  const actions = fc
    .array(
      fc.constantFrom(
        "2",
        "3",
        "in_port",
        "mod_dl_dst:00:00:00:00:00:07",
        "mod_nw_src:10.0.0.9",
        "mod_tp_dst:99",
        "dec_ttl",
        "mod_vlan_vid:7",
        "strip_vlan",
        "load:1->NXM_NX_REG0[]",
        "resubmit(,1)",
        "resubmit(2,1)",
        "normal",
        "clone(mod_dl_src:00:00:00:00:00:08,2)",
        "flood",
        "move:NXM_OF_ETH_SRC[0..15]->NXM_NX_REG0[16..31]",
      ),
      { maxLength: 5 },
    )
    .map((list) => list.join(",") || "drop");
  const table = fc.array(fc.tuple(match, actions, fc.constantFrom(0, 1)), { minLength: 1, maxLength: 8 });
  const ports = new Map<number, XPort>([1, 2, 3].map((n) => [n, { port: n, datapathPort: n, name: `p${n}` }]));

  it("every packet of a megaflow is given the same actions; mask and key are as the datapath takes them", () => {
    fc.assert(
      fc.property(table, fc.array(packet, { minLength: 2, maxLength: 10 }), (list, packets) => {
        const tables = new FlowTables();
        list.forEach(([m, a, t], i) => {
          const head = [`table=${t}`, `priority=${i + 1}`, m].filter((part) => part !== "").join(",");
          tables.add(new OfpRule(parseOfpFlow(`${head},actions=${a}`), 0));
        });
        const context = {
          tables,
          ports,
          macs: new MacTable(new ManualClock()),
          recirc: new RecircTable(() => 0),
          upcallPid: () => 1,
          userdata: () => new Uint8Array(4),
        };
        for (const flow of packets) {
          const result = xlate(context, flow);
          const text = formatActions(result.actions);
          for (const other of packets) {
            if (covered(flow, result.wildcards, other)) expect(formatActions(xlate(context, other).actions)).toBe(text);
          }
          const writer = new MessageWriter();
          writeKey(writer, flow, flow.u32(FlowAt.IN_PORT));
          const back = new Flow();
          expect(readKey(writer.finish(), back)).toBe(flow.u32(FlowAt.IN_PORT));
          back.put32(FlowAt.IN_PORT, flow.u32(FlowAt.IN_PORT));
          expect([...back.bytes]).toEqual([...flow.bytes]);
          writer.reset();
          writeMask(writer, flow, result.wildcards);
          expect(writer.length % 4).toBe(0);
        }
      }),
      RUNS,
    );
  });
});

describe("ovs-ofctl syntax", () => {
  const words = fc.constantFrom(
    ...'in_port ip tcp nw_src tp_dst reg0 ct_state ct_zone actions action output resubmit ct commit nat src exec load move set_field -> [] [0..7] NXM_NX_REG0 NXM_OF_IP_SRC 1 2 10.0.0.1 0x5 /8 / = : , ( ) ( ) , = : +trk -new controller normal drop clone " * table priority fe80::1 mod_dl_src 00:11:22:33:44:55 dec_ttl note 01.02'.split(
      " ",
    ),
  );

  it("garbage gives an OfpError that points into the text, and nothing else", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.array(words, { maxLength: 24 }).map((list) => list.join("")),
          fc.array(words, { maxLength: 12 }).map((list) => `ip,actions=${list.join("")}`),
          fc.string({ unit: "grapheme", maxLength: 60 }),
          fc.string({ maxLength: 40 }).map((text) => `actions=${text}`),
        ),
        (text) => {
          try {
            parseOfpFlow(text);
          } catch (error) {
            if (!(error instanceof OfpError)) throw error;
            expect(error.position).toBeLessThanOrEqual(text.length);
            expect(text.slice(error.position, error.position + error.token.length)).toBe(error.token);
          }
        },
      ),
      { numRuns: 3000 },
    );
  });

  it("what is written is read as the same", () => {
    fc.assert(
      fc.property(match, fc.nat(65535), (text, priority) => {
        const flow = parseOfpFlow(`priority=${priority},${text ? `${text},` : ""}actions=2`);
        const again = parseOfpFlow(formatOfpFlow(flow, null));
        expect(again.match.equals(flow.match)).toBe(true);
        expect(again.priority).toBe(priority);
      }),
      RUNS,
    );
  });
});

describe("execution with help", () => {
  it("takes any packet and any actions without reading or writing outside", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 120 }), fc.uint8Array({ maxLength: 80 }), (bytes, actions) => {
        const before = bytes.slice();
        executeWithHelp(bytes, actions, (out) => expect(out.length).toBe(bytes.length));
        expect(bytes).toEqual(before);
      }),
      RUNS,
    );
  });
});
