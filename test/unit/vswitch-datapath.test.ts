import { readFileSync } from "node:fs";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { formatActions, formatKey } from "../../src/client/format/index.ts";
import { OvsClient } from "../../src/client/ovs/index.ts";
import { ManualClock } from "../../src/core/clock.ts";
import { Errno } from "../../src/core/errors.ts";
import { SeededRandom } from "../../src/core/random.ts";
import { MessageWriter } from "../../src/netlink/writer.ts";
import { MemoryPorts } from "../../src/port/memory/ports.ts";
import { Nokmod } from "../../src/runtime/nokmod.ts";
import { executeWithHelp } from "../../src/vswitch/execute.ts";
import { Flow, FlowAt } from "../../src/vswitch/flow.ts";
import { MacTable } from "../../src/vswitch/mac-table.ts";
import { writeKey, writeMask } from "../../src/vswitch/odp/key.ts";
import { parseOfpFlow, parseOfpMatch } from "../../src/vswitch/ofctl/parse/flow.ts";
import { RecircTable } from "../../src/vswitch/recirc.ts";
import { FlowTables, OfpRule } from "../../src/vswitch/tables.ts";
import type { XlateContext, XPort } from "../../src/vswitch/xlate/context.ts";
import { xlate } from "../../src/vswitch/xlate/xlate.ts";

/** Translations are put into a real datapath in memory: keys, masks and actions must be such that it takes them. */
let nokmod: Nokmod;
let client: OvsClient;
let datapath: number;

beforeAll(() => {
  nokmod = new Nokmod({
    ports: new MemoryPorts(),
    clock: new ManualClock(),
    random: new SeededRandom(1),
    tickInterval: 0,
  });
  client = new OvsClient(nokmod);
  datapath = client.createDatapath("dp0").ifindex;
});
afterAll(() => nokmod.close());
beforeEach(() => client.flushFlows(datapath));

function contextOf(flows: readonly string[], numbers: Readonly<Record<string, number>>): XlateContext {
  const clock = new ManualClock();
  const tables = new FlowTables();
  for (const flow of flows) tables.add(new OfpRule(parseOfpFlow(flow), 0));
  const ports = new Map<number, XPort>();
  for (const [name, datapathPort] of Object.entries(numbers)) {
    const port = name === "LOCAL" ? 0xfffe : Number(name);
    ports.set(port, { port, datapathPort, name });
  }
  return {
    tables,
    ports,
    macs: new MacTable(clock),
    recirc: new RecircTable(() => clock.monotonic()),
    upcallPid: () => 1,
    userdata: () => new Uint8Array(4),
  };
}

function flowOf(text: string): Flow {
  const flow = new Flow(parseOfpMatch(text).key);
  flow.put8(FlowAt.IS_ETH, 1);
  if (flow.u16(FlowAt.VLAN0_TCI)) flow.put16(FlowAt.VLAN0_TPID, 0x8100);
  return flow;
}

/** Translates a flow and puts it. @returns the actions, and what the datapath refused of them */
function put(context: XlateContext, flow: Flow): { actions: string; refused: string[]; recircIds: readonly number[] } {
  const result = xlate(context, flow);
  const key = new MessageWriter();
  const inPort = context.ports.get(flow.u32(FlowAt.IN_PORT))?.datapathPort ?? flow.u32(FlowAt.IN_PORT);
  writeKey(key, flow, inPort);
  const mask = new MessageWriter();
  writeMask(mask, flow, result.wildcards);
  const lists: Uint8Array[] = [];
  if (result.slow) executeWithHelp(new Uint8Array(128), result.actions, (_packet, actions) => lists.push(actions));
  else lists.push(result.actions);
  const refused: string[] = [];
  for (const actions of lists) {
    client.flushFlows(datapath);
    try {
      client.putFlow(datapath, { key: key.finish(), mask: mask.finish(), actions });
    } catch (error) {
      if (!(error instanceof Errno)) throw error;
      refused.push(`${error.message}: ${formatKey(key.finish(), mask.finish())} → ${formatActions(actions)}`);
    }
  }
  return { actions: formatActions(result.actions), refused, recircIds: result.recircIds };
}

const MPLS = { "1": 1, "2": 2 };

describe("push_mpls", () => {
  it.each([
    ["ip,actions=push_mpls:0x8847,2", "in_port=1,ip,nw_ttl=64", "label=0,tc=0,ttl=64,bos=1"],
    ["ipv6,actions=push_mpls:0x8847,set_mpls_label(100),2", "in_port=1,ipv6,nw_ttl=9", "label=100,tc=0,ttl=9,bos=1"],
    [
      "mpls,actions=push_mpls:0x8847,set_mpls_label(5),2",
      "in_port=1,mpls,mpls_label=9,mpls_bos=1,mpls_ttl=3",
      "label=5,tc=0,ttl=3,bos=0",
    ],
  ])("%s is taken by the datapath", (rule, packet, label) => {
    const { actions, refused } = put(contextOf([rule], MPLS), flowOf(packet));
    expect(refused).toEqual([]);
    expect(actions).toBe(`push_mpls(${label},eth_type=0x8847),2`);
  });

  it("puts a label onto a packet", () => {
    const ports = new MemoryPorts();
    const device = ports.addDevice("p2");
    const own = new Nokmod({ ports, clock: new ManualClock(), random: new SeededRandom(1), tickInterval: 0 });
    const client = new OvsClient(own);
    const { ifindex } = client.createDatapath("dp1");
    client.createVport(ifindex, { name: "p2", type: 1, portNo: 2 });
    const result = xlate(contextOf(["ip,actions=push_mpls:0x8847,set_mpls_label(77),2"], MPLS), flowOf("ip,nw_ttl=64"));
    const packet = new Uint8Array(60);
    packet.set([0x08, 0x00, 0x45], 12);
    packet.set([0, 46], 16);
    packet.set([64, 17], 22);
    client.execute(ifindex, { packet, key: new Uint8Array(0), actions: result.actions });
    const [sent] = device.takeSent();
    expect([...sent.subarray(12, 19)]).toEqual([0x88, 0x47, 0x00, 0x04, 0xd1, 0x40, 0x45]);
    own.close();
  });
});

interface Fixture {
  ports: Record<string, number>;
  cases: { name: string; flows: string[]; steps: { recirc: string | null; flow: string }[] }[];
}
const fixture = JSON.parse(
  readFileSync(new URL("../fixtures/xlate-ofproto-trace.json", import.meta.url), "utf8"),
) as Fixture;

/** What ofproto/trace writes and ovs-ofctl would not take. */
const plain = (text: string): string =>
  text
    .replace(/,vlan_tci1=0x0000/, "")
    .replace(/,nd_tll=00:00:00:00:00:00/, "")
    .replace(
      /(icmp_(?:type|code)=)0x([0-9a-f]+)\/0xff/g,
      (_, name: string, value: string) => name + Number.parseInt(value, 16),
    );

describe("the datapath takes every translation that was recorded from ofproto/trace", () => {
  it.each(fixture.cases)("$name", ({ flows, steps }) => {
    const context = contextOf(flows, fixture.ports);
    let latest: readonly number[] = [];
    for (const step of steps) {
      const flow = flowOf(plain(step.flow));
      if (step.recirc) flow.put32(FlowAt.RECIRC_ID, latest[0]);
      const { refused, recircIds } = put(context, flow);
      if (recircIds.length > 0) latest = recircIds;
      expect(refused).toEqual([]);
    }
  });
});
