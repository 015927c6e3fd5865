import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { formatActions, formatKey } from "../../src/client/format/index.ts";
import { ManualClock } from "../../src/core/clock.ts";
import { SeededRandom } from "../../src/core/random.ts";
import { type MemoryPort, MemoryPorts } from "../../src/port/memory/ports.ts";
import { Nokmod } from "../../src/runtime/nokmod.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import { type FlowEvent, manualScheduler, VSwitch, type VSwitchOptions } from "../../src/vswitch/index.ts";
import {
  arp,
  ethernet,
  frame,
  icmp,
  ipv4,
  ipv6,
  MAC_A,
  MAC_B,
  nd,
  TCP_ACK,
  TCP_SYN,
  tcp,
  udp,
  vlan,
} from "../support/frames.ts";

/** A bridge over a module in memory: ports p1, p2, p3. */
let nokmod: Nokmod;
let ports: MemoryPorts;
let clock: ManualClock;
let bridge: VSwitch;
let p1: MemoryPort;
let p2: MemoryPort;
let p3: MemoryPort;
let faults: unknown[];

function start(options: Partial<VSwitchOptions> = {}): void {
  bridge = new VSwitch({
    opener: nokmod,
    name: "br0",
    clock,
    scheduler: manualScheduler,
    ports: ["p1", "p2", "p3"],
    ...options,
  });
  bridge.onFault = (what, error) => faults.push(`${what}: ${error}`);
}

beforeEach(() => {
  clock = new ManualClock();
  ports = new MemoryPorts();
  p1 = ports.addDevice("p1");
  p2 = ports.addDevice("p2");
  p3 = ports.addDevice("p3");
  faults = [];
  nokmod = new Nokmod({ ports, clock, random: new SeededRandom(1), tickInterval: 0 });
  nokmod.kernel.bus.onFault = (error) => faults.push(error);
});

afterEach(() => {
  bridge?.close();
  nokmod.close();
  expect(faults).toEqual([]);
});

/** Upcalls are answered when the datapath has done its work: in microtasks. */
async function settle(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

async function send(port: MemoryPort, ...frames: Uint8Array[]): Promise<void> {
  for (const one of frames) port.inject(one);
  await settle();
}

const ip = (bytes: Uint8Array, at: number): string => bytes.subarray(at, at + 4).join(".");
/** Addresses of an untagged IPv4 frame. */
const addresses = (bytes: Uint8Array): [string, string] => [ip(bytes, 26), ip(bytes, 30)];

const datagram = (o: { src?: string; dst?: string; sport?: number; dport?: number; from?: string; to?: string } = {}) =>
  frame(
    ethernet({ src: o.from ?? MAC_A, dst: o.to ?? MAC_B }),
    ipv4({ src: o.src ?? "10.1.1.1", dst: o.dst ?? "10.1.1.2" }),
    udp({ src: o.sport ?? 1000, dst: o.dport ?? 53 }),
    "hello",
  );

describe("upcalls", () => {
  it("U-018, U-063, F-291: a miss is answered by FLOW_NEW and EXECUTE in one send; the next packet hits", async () => {
    start({ flows: ["in_port=1,actions=2"] });
    const put: FlowEvent[] = [];
    bridge.onFlowPut = (event) => put.push(event);
    await send(p1, datagram());
    expect(p2.takeSent()).toEqual([datagram()]);
    expect(put.map((e) => [formatKey(e.key, e.mask), formatActions(e.actions)])).toEqual([
      ["recirc_id(0),in_port(1),eth(),eth_type(0x0800),ipv4(frag=no)", "2"],
    ]);
    await send(p1, datagram({ sport: 1001 }));
    expect(p2.takeSent().length).toBe(1);
    expect(nokmod && bridge.client.datapath(bridge.datapath).stats).toMatchObject({
      hit: 1,
      missed: 1,
      lost: 0,
      flows: 1,
    });
    expect(bridge.statistics).toMatchObject({ upcalls: 1, flowsPut: 1, flowsFailed: 0 });
  });

  it("U-024, F-222: several packets of one flow that miss at once put one flow and all go out", async () => {
    start({ flows: ["in_port=1,actions=2"] });
    ports.batch(() => {
      p1.inject(datagram({ sport: 1 }));
      p1.inject(datagram({ sport: 2 }));
      p1.inject(datagram({ sport: 2 }));
    });
    await settle();
    expect(p2.takeSent().length).toBe(3);
    expect(bridge.statistics).toMatchObject({ upcalls: 3, flowsPut: 1, flowsFailed: 1 });
    expect(bridge.datapathFlows).toBe(1);
  });

  it("what the datapath refuses is counted and reported, once a second, with errno, flow and actions", async () => {
    // Lists of actions may nest 16 deep (spec/actions A-031).
    const deep = `${"clone(meter:1,".repeat(17)}2${")".repeat(17)}`;
    start({ flows: [`in_port=1,actions=${deep}`] });
    await send(p1, datagram());
    expect(p2.takeSent()).toEqual([]);
    expect(bridge.statistics).toMatchObject({ flowsPut: 0, flowsFailed: 1, flowsRefused: 1, executesRefused: 1 });
    expect(bridge.datapathFlows).toBe(0);
    expect(faults.length).toBe(1);
    expect(faults[0]).toMatch(
      /^flow put refused with errno 75: recirc_id\(0\),in_port\(1\),eth\(\),eth_type\(0x0800\),ipv4\(frag=no\), actions:clone\(meter\(1\),clone\(/,
    );
    clock.advance(999);
    await send(p1, datagram());
    expect(faults.length).toBe(1);
    clock.advance(1);
    await send(p1, datagram());
    expect(bridge.statistics).toMatchObject({ flowsRefused: 3, executesRefused: 3 });
    expect(faults.length).toBe(2);
    expect(faults[1]).toContain("flow put refused with errno 75 (and 3 more since the last report): ");
    faults = [];
  });

  it("an execute that the datapath refuses is reported as such", async () => {
    const deep = `${"clone(meter:1,".repeat(17)}2${")".repeat(17)}`;
    start({ flowLimit: 0, flows: [`in_port=1,actions=${deep}`] });
    await send(p1, datagram());
    expect(bridge.statistics).toMatchObject({ flowsFailed: 0, flowsRefused: 0, executesRefused: 1 });
    expect(faults.length).toBe(1);
    expect(faults[0]).toMatch(/^execute refused with errno 75: .*in_port\(1\),.*, actions:clone\(meter\(1\),clone\(/);
    faults = [];
  });

  it("drop: an empty table puts a flow without actions", async () => {
    start();
    await send(p1, datagram());
    expect(p2.takeSent()).toEqual([]);
    const [flow] = [...bridge.client.flows(bridge.datapath)];
    expect(flow.actions).toEqual(new Uint8Array(0));
  });

  it("U-025: each vport has a socket of its own", () => {
    start();
    const pids = bridge.client.vports(bridge.datapath).map((vport) => vport.upcallPids[0]);
    expect(new Set(pids).size).toBe(4);
    expect(pids).not.toContain(0);
  });

  it("U-027, F-126: with per-CPU dispatch the ports have no port id and the datapath a list", async () => {
    start({ dispatch: 2, flows: ["in_port=1,actions=2"] });
    expect(bridge.client.vports(bridge.datapath).map((vport) => vport.upcallPids[0])).toEqual([0, 0, 0, 0]);
    expect(bridge.client.datapath(bridge.datapath).perCpuPids?.length).toBe(2);
    await send(p1, datagram());
    expect(p2.takeSent()).toEqual([datagram()]);
  });

  it("F-126: a program that switches the datapath to per-CPU dispatch, as ovs-dpctl does, takes no upcall away", async () => {
    start({ flows: ["in_port=1,actions=controller(max_len=9,id=5),2"] });
    let seen = 0;
    bridge.onPacketIn = () => seen++;
    await send(p1, datagram());
    const { userFeatures } = bridge.client.datapath(bridge.datapath);
    expect(userFeatures & ovs.OVS_DP_F_DISPATCH_UPCALL_PER_CPU).toBe(0);
    bridge.client.setDatapath(bridge.datapath, {
      userFeatures: userFeatures | ovs.OVS_DP_F_DISPATCH_UPCALL_PER_CPU,
    });
    // By a flow that was put before, and by a miss.
    await send(p1, datagram());
    await send(p2, datagram());
    expect(seen).toBe(2);
    expect(bridge.statistics).toMatchObject({ upcalls: 4, flowsPut: 2 });
    expect(bridge.client.datapath(bridge.datapath).stats.lost).toBe(0);
  });

  it("U-008: controller: the packet comes with the flow's cookie, cut to max_len", async () => {
    start({ flows: ["cookie=0x77,in_port=1,actions=controller(max_len=20,id=5,userdata=01.02),2"] });
    const seen: unknown[] = [];
    bridge.onPacketIn = (packet) => seen.push(packet);
    await send(p1, datagram());
    const packet = datagram();
    const expected = {
      packet: packet.slice(0, 20),
      totalLength: packet.length,
      inPort: 1,
      reason: 1,
      id: 5,
      table: 0,
      cookie: 0x77n,
      userdata: Uint8Array.of(1, 2),
    };
    expect(seen).toEqual([expected]);
    expect(p2.takeSent()).toEqual([packet]);
    await send(p1, packet);
    expect(seen).toEqual([expected, expected]);
  });

  it("a bridge over a datapath that is there takes its ports over and leaves it behind", async () => {
    start();
    const again = new VSwitch({
      opener: nokmod,
      name: "br0",
      clock,
      scheduler: manualScheduler,
      flows: ["in_port=p1,actions=p2"],
    });
    expect(again.ports().map((port) => port.name)).toEqual(["br0", "p1", "p2", "p3"]);
    await send(p1, datagram());
    expect(p2.takeSent().length).toBe(1);
    again.close();
    expect(bridge.client.datapath("br0").ifindex).toBe(bridge.datapath);
  });
});

describe("the walk-through of NAT", () => {
  const rules = [
    "in_port=1,ip,action=ct(commit,zone=1,nat(src=10.1.1.240-10.1.1.255)),2",
    "in_port=2,ct_state=-trk,ip,action=ct(table=0,zone=1,nat)",
    "in_port=2,ct_state=+est,ct_zone=1,ip,action=1",
    "in_port=1,arp,action=2",
    // The pool's addresses are answered for, with port 1's own address.
    "priority=40000,in_port=2,arp,arp_op=1,arp_tpa=10.1.1.240/28,actions=move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[]," +
      `mod_dl_src:${MAC_A},load:2->NXM_OF_ARP_OP[],move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[],` +
      `set_field:${MAC_A}->arp_sha,push:NXM_OF_ARP_TPA[],move:NXM_OF_ARP_SPA[]->NXM_OF_ARP_TPA[],pop:NXM_OF_ARP_SPA[],in_port`,
    "in_port=2,arp,action=1",
  ];

  it("C-397: UDP goes out from a pool address and comes back to the sender", async () => {
    start({ flows: rules });
    await send(p1, datagram({ src: "10.1.1.1", dst: "10.1.1.2", sport: 1000, dport: 53 }));
    const [out] = p2.takeSent();
    const [source, destination] = addresses(out);
    expect(source).toMatch(/^10\.1\.1\.2(4\d|5[0-5])$/);
    expect(destination).toBe("10.1.1.2");
    const reply = datagram({ src: "10.1.1.2", dst: source, sport: 53, dport: 1000, from: MAC_B, to: MAC_A });
    await send(p2, reply);
    const [back] = p1.takeSent();
    expect(addresses(back)).toEqual(["10.1.1.2", "10.1.1.1"]);
    // The second packet each way needs no upcall.
    const before = bridge.statistics.upcalls;
    await send(p1, datagram());
    await send(p2, reply);
    expect([p1.takeSent().length, p2.takeSent().length]).toEqual([1, 1]);
    expect(bridge.statistics.upcalls).toBe(before);
    const flows = [...bridge.client.flows(bridge.datapath)];
    const texts = flows.map((f) => `${formatKey(f.key!, f.mask)} ${formatActions(f.actions!)}`).sort();
    expect(texts).toEqual([
      "recirc_id(0),in_port(1),eth(),eth_type(0x0800),ipv4(frag=no) ct(commit,zone=1,nat(src=10.1.1.240-10.1.1.255)),2",
      "recirc_id(0),in_port(2),ct_state(-trk),eth(),eth_type(0x0800),ipv4(frag=no) ct(zone=1,nat),recirc(0x1)",
      "recirc_id(0x1),in_port(2),ct_state(+est+trk),ct_zone(0x1),eth(),eth_type(0x0800),ipv4(frag=no) 1",
    ]);
  });

  it("a connection started from port 2 is refused", async () => {
    start({ flows: rules });
    const syn = frame(
      ethernet({ src: MAC_B, dst: MAC_A }),
      ipv4({ src: "10.1.1.2", dst: "10.1.1.1" }),
      tcp({ flags: TCP_SYN }),
    );
    await send(p2, syn);
    expect(p1.takeSent()).toEqual([]);
  });

  it("C-397: TCP and ping are translated both ways", async () => {
    start({ flows: rules });
    const to = { src: "10.1.1.1", dst: "10.1.1.2" };
    await send(p1, frame(ethernet(), ipv4(to), tcp({ src: 40000, dst: 80, flags: TCP_SYN, seq: 1 })));
    const [syn] = p2.takeSent();
    const [pool] = addresses(syn);
    const answer = { src: "10.1.1.2", dst: pool };
    await send(
      p2,
      frame(
        ethernet({ src: MAC_B, dst: MAC_A }),
        ipv4(answer),
        tcp({ src: 80, dst: 40000, flags: TCP_SYN | TCP_ACK, seq: 9, ack: 2 }),
      ),
    );
    expect(addresses(p1.takeSent()[0])).toEqual(["10.1.1.2", "10.1.1.1"]);
    await send(p1, frame(ethernet(), ipv4(to), icmp({ type: 8, rest: 0x00070001 }), "ping"));
    const [ping] = p2.takeSent();
    const [from] = addresses(ping);
    const id = (ping[38] << 8) | ping[39];
    await send(
      p2,
      frame(
        ethernet({ src: MAC_B, dst: MAC_A }),
        ipv4({ src: "10.1.1.2", dst: from }),
        icmp({ type: 0, rest: ((id << 16) | 1) >>> 0 }),
        "ping",
      ),
    );
    const [pong] = p1.takeSent();
    expect(addresses(pong)).toEqual(["10.1.1.2", "10.1.1.1"]);
    expect((pong[38] << 8) | pong[39]).toBe(7);
  });

  it("A-081, A-203: ARP for the pool is answered by rewriting in user space (the datapath cannot set ARP fields)", async () => {
    start({ flows: rules });
    const request = frame(
      ethernet({ src: MAC_B, dst: "ff:ff:ff:ff:ff:ff" }),
      arp({ op: 1, sha: MAC_B, sip: "10.1.1.2", tip: "10.1.1.245" }),
    );
    const reply = frame(
      ethernet({ src: MAC_A, dst: MAC_B }),
      arp({ op: 2, sha: MAC_A, sip: "10.1.1.245", tha: MAC_B, tip: "10.1.1.2" }),
    );
    await send(p2, request);
    expect(p2.takeSent()).toEqual([reply]);
    const [flow] = [...bridge.client.flows(bridge.datapath)];
    expect(formatActions(flow.actions!)).toMatch(/^userspace\(pid=\d+,/);
    // And again, now by the flow that sends every such packet up.
    await send(p2, request);
    expect(p2.takeSent()).toEqual([reply]);
    expect(bridge.statistics).toMatchObject({ upcalls: 2, flowsPut: 1 });
  });
});

describe("slow path", () => {
  it("a set of ICMP and ICMPv6 fields keeps the checksum right", async () => {
    start({
      flows: [
        "icmp,icmp_type=8,actions=set_field:0->icmp_type,in_port",
        "icmp6,icmp_type=135,icmp_code=0,actions=set_field:fd00::77->nd_target,2",
      ],
    });
    await send(p1, frame(ethernet(), ipv4(), icmp({ type: 8, rest: 0x00010002 }), "payload"));
    expect(p1.takeSent()).toEqual([frame(ethernet(), ipv4(), icmp({ type: 0, rest: 0x00010002 }), "payload")]);
    const solicit = (target: string) =>
      frame(ethernet(), ipv6({ src: "fd00::1", dst: "ff02::2", hopLimit: 255 }), nd({ target }));
    await send(p1, solicit("fd00::2"));
    expect(p2.takeSent()).toEqual([solicit("fd00::77")]);
  });
});

describe("revalidation", () => {
  it("a flow that is idle for more than ten seconds goes, one that is used stays", async () => {
    start({ flows: ["in_port=1,actions=2", "in_port=2,actions=1"] });
    const deleted: FlowEvent[] = [];
    bridge.onFlowDel = (event) => deleted.push(event);
    await send(p1, datagram());
    await send(p2, datagram());
    clock.advance(6000);
    await send(p1, datagram());
    clock.advance(5000);
    bridge.revalidate();
    expect(deleted.map((event) => [event.reason, formatKey(event.key, event.mask)])).toEqual([
      ["idle", "recirc_id(0),in_port(2),eth(),eth_type(0x0800),ipv4(frag=no)"],
    ]);
    expect(bridge.datapathFlows).toBe(1);
    expect([...bridge.client.flows(bridge.datapath)].length).toBe(1);
  });

  it("counters of OpenFlow flows: the packet that missed and those of the datapath flow", async () => {
    start({ flows: ["in_port=1,actions=resubmit(,1)", "table=1,ip,actions=2", "table=1,arp,actions=3"] });
    const packet = datagram();
    await send(p1, packet);
    await send(p1, packet, packet);
    clock.advance(2500);
    expect(bridge.dumpFlows()).toEqual([
      ` cookie=0x0, duration=2.500s, table=0, n_packets=3, n_bytes=${3 * packet.length}, idle_age=2, in_port=1 actions=resubmit(,1)`,
      ` cookie=0x0, duration=2.500s, table=1, n_packets=3, n_bytes=${3 * packet.length}, idle_age=2, ip actions=output:2`,
      " cookie=0x0, duration=2.500s, table=1, n_packets=0, n_bytes=0, idle_age=2, arp actions=output:3",
    ]);
    bridge.revalidate();
    expect(bridge.flows("table=1,ip")[0].packets).toBe(3);
  });

  it("F-235, F-348: a changed table changes actions in place, and removes flows whose masks have become too wide", async () => {
    start({ flows: ["in_port=1,actions=2"] });
    const events: [string, string, string][] = [];
    const note = (e: FlowEvent) => events.push([e.reason, formatKey(e.key, e.mask), formatActions(e.actions)]);
    bridge.onFlowPut = note;
    bridge.onFlowDel = note;
    await send(p1, datagram());
    bridge.addFlow("in_port=1,actions=3");
    bridge.revalidate();
    await send(p1, datagram());
    expect([p2.takeSent().length, p3.takeSent().length]).toEqual([1, 1]);
    bridge.addFlow("priority=60000,udp,udp_dst=53,actions=2");
    bridge.revalidate();
    expect(bridge.datapathFlows).toBe(0);
    await send(p1, datagram());
    expect([p2.takeSent().length, p3.takeSent().length]).toEqual([1, 0]);
    const wide = "recirc_id(0),in_port(1),eth(),eth_type(0x0800),ipv4(frag=no)";
    expect(events).toEqual([
      ["put", wide, "2"],
      ["changed", wide, "3"],
      ["stale", wide, "3"],
      ["put", "recirc_id(0),in_port(1),eth(),eth_type(0x0800),ipv4(proto=17,frag=no),udp(dst=53)", "2"],
    ]);
  });

  it("a datapath flow that somebody else deletes is forgotten, and one that somebody else puts is removed", async () => {
    start({ flows: ["in_port=1,actions=2"] });
    const reasons: string[] = [];
    bridge.onFlowDel = (event) => reasons.push(event.reason);
    await send(p1, datagram());
    const [flow] = [...bridge.client.flows(bridge.datapath)];
    bridge.client.flushFlows(bridge.datapath);
    bridge.revalidate();
    expect(reasons).toEqual(["gone"]);
    const key = flow.key!.slice();
    bridge.client.putFlow(bridge.datapath, { key, actions: new Uint8Array(0), ufid: new Uint8Array(16).fill(1) });
    await send(p2, datagram());
    bridge.revalidate();
    expect([...bridge.client.flows(bridge.datapath)].length).toBe(1);
  });

  it("idle and hard timeouts of OpenFlow flows", async () => {
    start({ flows: ["idle_timeout=5,in_port=1,actions=2", "hard_timeout=7,in_port=2,actions=1"] });
    await send(p1, datagram());
    clock.advance(4000);
    await send(p1, datagram());
    clock.advance(4000);
    expect(bridge.flows().map((rule) => rule.spec.idleTimeout)).toEqual([5]);
    clock.advance(2000);
    expect(bridge.flows()).toEqual([]);
  });

  it("over the flow limit packets are still sent, but no flows put", async () => {
    start({ flows: ["udp,actions=move:NXM_OF_UDP_SRC[]->NXM_NX_REG0[0..15],2"], flowLimit: 3 });
    for (let sport = 1; sport <= 6; sport++) await send(p1, datagram({ sport }));
    expect(p2.takeSent().length).toBe(6);
    expect(bridge.datapathFlows).toBe(3);
  });

  it("recirculation ids are given back when no flow names them any more", async () => {
    start({ flows: ["udp,actions=move:NXM_OF_UDP_SRC[]->NXM_NX_REG0[0..15],ct(table=1)", "table=1,ip,actions=2"] });
    for (let sport = 1; sport <= 5; sport++) await send(p1, datagram({ sport }));
    expect(p2.takeSent().length).toBe(5);
    const size = () => (bridge as unknown as { state: { recirc: { size: number } } }).state.recirc.size;
    expect(size()).toBe(5);
    clock.advance(11_000);
    bridge.revalidate();
    expect(bridge.datapathFlows).toBe(0);
    clock.advance(11_000);
    bridge.revalidate();
    expect(size()).toBe(0);
  });
});

describe("NORMAL", () => {
  const a = "02:00:00:00:00:01";
  const b = "02:00:00:00:00:02";

  it("floods what it does not know, then forwards, and follows an address that moves", async () => {
    start({ flows: ["actions=NORMAL"] });
    await send(p1, datagram({ from: a, to: b }));
    expect([p1, p2, p3].map((p) => p.takeSent().length)).toEqual([0, 1, 1]);
    bridge.revalidate();
    await send(p2, datagram({ from: b, to: a }));
    bridge.revalidate();
    expect([p1, p2, p3].map((p) => p.takeSent().length)).toEqual([1, 0, 0]);
    await send(p1, datagram({ from: a, to: b }));
    expect([p1, p2, p3].map((p) => p.takeSent().length)).toEqual([0, 1, 0]);
    // b moves to port 3.
    await send(p3, datagram({ from: b, to: a }));
    bridge.revalidate();
    p1.takeSent();
    await send(p1, datagram({ from: a, to: b }));
    expect([p1, p2, p3].map((p) => p.takeSent().length)).toEqual([0, 0, 1]);
    expect(bridge.learned().map((entry) => [entry.mac, entry.port])).toEqual([
      [b, 3],
      [a, 1],
    ]);
  });

  it("an address that is not seen for long is forgotten; traffic in the datapath keeps it", async () => {
    start({ flows: ["actions=NORMAL"], macAgingMs: 20_000 });
    await send(p1, datagram({ from: a, to: b }));
    for (let i = 0; i < 5; i++) {
      clock.advance(8000);
      await send(p1, datagram({ from: a, to: b }));
      bridge.revalidate();
    }
    expect(bridge.learned().length).toBe(1);
    clock.advance(21_000);
    bridge.revalidate();
    expect(bridge.learned()).toEqual([]);
  });

  it("access and trunk ports: tags come and go", async () => {
    start({
      flows: ["actions=NORMAL"],
      ports: [
        { name: "p1", tag: 10 },
        { name: "p2", trunks: [10, 20] },
        { name: "p3", tag: 20 },
      ],
    });
    const plain = datagram({ from: a, to: b });
    const tagged = (vid: number) =>
      frame(
        ethernet({ src: a, dst: b }),
        vlan({ vid }),
        ipv4({ src: "10.1.1.1", dst: "10.1.1.2" }),
        udp({ src: 1000, dst: 53 }),
        "hello",
      );
    await send(p1, plain);
    expect([p1, p2, p3].map((p) => p.takeSent())).toEqual([[], [tagged(10)], []]);
    await send(p2, tagged(20));
    expect(p3.takeSent()).toEqual([plain]);
    await send(p2, tagged(30));
    expect([p1, p2, p3].map((p) => p.takeSent().length)).toEqual([0, 0, 0]);
    await send(p3, tagged(20));
    expect([p1, p2, p3].map((p) => p.takeSent().length)).toEqual([0, 0, 0]);
  });
});

describe("ports", () => {
  it("F-191, F-192: a device that vanishes leaves the bridge, its flows and addresses go", async () => {
    start({ flows: ["actions=NORMAL"] });
    await send(p1, datagram());
    p2.remove();
    await settle();
    expect(bridge.ports().map((port) => port.name)).toEqual(["br0", "p1", "p3"]);
    bridge.revalidate();
    p3.takeSent();
    await send(p1, datagram());
    expect(p3.takeSent().length).toBe(1);
  });

  it("a port that somebody else attaches is taken in", async () => {
    start({ ports: ["p1"], flows: ["in_port=1,actions=FLOOD"] });
    bridge.client.createVport(bridge.datapath, { name: "p2", type: ovs.OVS_VPORT_TYPE_NETDEV, portNo: 7 });
    await settle();
    expect(bridge.ports().map((port) => [port.port, port.name])).toEqual([
      [0xfffe, "br0"],
      [1, "p1"],
      [7, "p2"],
    ]);
    await send(p1, datagram());
    expect(p2.takeSent().length).toBe(1);
  });

  it("F-148, F-155: a device that is not there, a number that is taken", () => {
    start({ ports: ["p1"] });
    expect(() => bridge.addPort("nosuch")).toThrow(expect.objectContaining({ errno: 19 }));
    expect(() => bridge.addPort({ name: "p2", port: 1 })).toThrow(expect.objectContaining({ errno: 16 }));
    expect(bridge.addPort({ name: "p2", port: 5 }).port).toBe(5);
    bridge.removePort("p2");
    expect(bridge.ports().length).toBe(2);
    expect(() => bridge.removePort("p2")).toThrow(expect.objectContaining({ errno: 19 }));
  });

  it("names of ports in flows", () => {
    start({ flows: ["in_port=p1,actions=p2,LOCAL"] });
    expect(bridge.dumpFlows("", { names: true, statistics: false })).toEqual(["in_port=p1 actions=output:p2,LOCAL"]);
    expect(bridge.dumpFlows("", { statistics: false })).toEqual(["in_port=1 actions=output:2,LOCAL"]);
    expect(() => bridge.addFlow("in_port=nosuch,actions=1")).toThrow(
      expect.objectContaining({ code: "ERR_OFP_SYNTAX" }),
    );
  });

  it("close() takes the datapath down, and every socket with it", () => {
    start();
    const { client, datapath } = bridge;
    const other = new VSwitch({ opener: nokmod, name: "br1", clock, scheduler: manualScheduler });
    bridge.close();
    expect(() => other.client.datapath(datapath)).toThrow(expect.objectContaining({ errno: 19 }));
    other.close();
    expect(client).toBeDefined();
  });
});

describe("tables", () => {
  it("delFlows: loose, strict, by cookie and by output port", () => {
    start({
      flows: [
        "cookie=1,priority=5,ip,nw_src=10.0.0.0/8,actions=1",
        "cookie=2,ip,actions=2",
        "table=3,arp,actions=3",
        "priority=9,ip,actions=1",
      ],
    });
    const left = () => bridge.dumpFlows("", { statistics: false }).length;
    expect(bridge.delFlows("ip", { strict: true })).toBe(1);
    expect(left()).toBe(3);
    expect(bridge.delFlows("cookie=1/-1")).toBe(1);
    expect(bridge.delFlows("out_port=2")).toBe(0);
    expect(bridge.delFlows("ip,out_port=1")).toBe(1);
    expect(bridge.delFlows("table=2")).toBe(0);
    expect(bridge.delFlows()).toBe(1);
    expect(left()).toBe(0);
  });

  it("trace tells the megaflow, the datapath actions and the rules", () => {
    start({ flows: ["in_port=1,ip,actions=dec_ttl,2"] });
    expect(bridge.trace("in_port=1,udp,nw_ttl=64,udp_dst=53")).toEqual({
      megaflow: "recirc_id=0,eth,udp,in_port=1,nw_ttl=64,nw_frag=no",
      actions: "set(ipv4(ttl=63)),2",
      rules: ["ip,in_port=1 actions=dec_ttl,output:2"],
      error: null,
    });
  });

  it("resubmits without end drop the packet", async () => {
    start({ flows: ["actions=2,resubmit(,0)"] });
    await send(p1, datagram());
    expect(p2.takeSent()).toEqual([]);
    expect(bridge.trace("in_port=1").error).toMatch(/64 deep/);
  });
});
