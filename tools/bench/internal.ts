import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { OvsClient } from "../../src/client/index.ts";
import { CtAction } from "../../src/conntrack/action.ts";
import { Conntrack } from "../../src/conntrack/conntrack.ts";
import { type Clock, ManualClock, systemClock } from "../../src/core/clock.ts";
import { SeededRandom } from "../../src/core/random.ts";
import type { Program } from "../../src/datapath/actions/program.ts";
import { FlowTable } from "../../src/datapath/flow-table.ts";
import { extractKey } from "../../src/flow/extract/extract.ts";
import { PacketHasher } from "../../src/flow/hash.ts";
import { K, newKey } from "../../src/flow/key.ts";
import { MessageWriter } from "../../src/netlink/writer.ts";
import { PacketMemory } from "../../src/packet/memory.ts";
import { Packet } from "../../src/packet/packet.ts";
import { MemoryPorts } from "../../src/port/memory/ports.ts";
import { Nokmod } from "../../src/runtime/nokmod.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import { format } from "./chart.ts";
import { fill } from "./fill.ts";

/** A figure of what goes on inside one process, without devices. */
export interface Figure {
  readonly title: string;
  readonly value: number;
  readonly unit: string;
}

/** Where test frames are written: the pool of the arena, which nothing else uses here. */
const FRAME = 40 << 20;

/** Writes a 60-byte UDP frame: source 10.0.0.0 + n / 50000, port 10000 + n % 50000. */
function writeFrame(memory: PacketMemory, n: number): void {
  const { view } = memory;
  memory.bytes.fill(0, FRAME, FRAME + 60);
  view.setUint8(FRAME, 2);
  view.setUint8(FRAME + 6, 2);
  view.setUint16(FRAME + 12, 0x0800);
  view.setUint16(FRAME + 14, 0x4500);
  view.setUint16(FRAME + 16, 46);
  view.setUint8(FRAME + 22, 64);
  view.setUint8(FRAME + 23, 17);
  view.setUint32(FRAME + 26, 0x0a000000 + Math.floor(n / 50_000));
  view.setUint32(FRAME + 30, 0x0a800001);
  view.setUint16(FRAME + 34, 10_000 + (n % 50_000));
  view.setUint16(FRAME + 36, 9);
  view.setUint16(FRAME + 38, 26);
}

/** Bytes that the process holds: typed arrays and heap, after garbage collection where the process allows it. */
function footprint(): number {
  globalThis.gc?.();
  const { arrayBuffers, heapUsed } = process.memoryUsage();
  return arrayBuffers + heapUsed;
}

/** Time to look a packet up, in nanoseconds, when `count` masks must be tried before the one that matches. */
function lookupCost(count: number): Figure {
  const memory = new PacketMemory();
  const packet = new Packet(memory);
  const table = new FlowTable();
  const key = newKey();
  const program = {} as Program;
  // Masks differ in how much of the source address they look at; only the last one's flow matches.
  for (let i = 0; i < count; i++) {
    const mask = newKey();
    mask[K.ETH_TYPE] = -1;
    mask[K.IPV4_DST] = -1;
    mask[K.SKB_MARK] = i + 1;
    const match = newKey();
    match[K.ETH_TYPE] = (0x0800 << 16) | 1;
    match[K.IPV4_DST] = 0x0a800001;
    match[K.SKB_MARK] = i === count - 1 ? 0 : i + 1;
    table.insert(match, mask, undefined, program);
  }
  table.resizeMaskCache(0);
  writeFrame(memory, 1);
  packet.reset(FRAME, 60, FRAME - 64, FRAME + 128);
  extractKey(packet, key);
  const hash = new PacketHasher(1).ofKey(key) | 0;
  const rounds = Math.max(20_000, 2_000_000 / count);
  let found = 0;
  const run = (): number => {
    const start = performance.now();
    for (let i = 0; i < rounds; i++) if (table.lookup(key, hash) >= 0) found++;
    return ((performance.now() - start) / rounds) * 1e6;
  };
  run();
  const cost = Math.min(run(), run(), run());
  if (found === 0) throw new Error("the flow was not found");
  return { title: `lookup through ${count} mask${count === 1 ? "" : "s"}, caches off`, value: cost, unit: "ns" };
}

/** Connection tracking with `count` connections in it. */
class Tracked {
  readonly memory = new PacketMemory();
  readonly conntrack: Conntrack;
  private readonly packet = new Packet(this.memory);
  private readonly key = newKey();
  private readonly action = new CtAction();

  constructor(
    readonly count: number,
    clock: Clock,
  ) {
    this.conntrack = new Conntrack({
      clock,
      random: new SeededRandom(1),
      memory: this.memory,
      options: { max: count, buckets: count },
    });
    this.action.commit = true;
    this.action.zone = 1;
    for (let i = 0; i < count; i++) {
      const error = this.send(i);
      if (error !== 0) throw new Error(`commit of connection ${i} gave ${error}`);
      if ((i & 255) === 255) this.end();
    }
    this.end();
    if (this.conntrack.count < count * 0.99) throw new Error(`only ${this.conntrack.count} connections`);
  }

  /** A packet of a connection from the wire to the end of ct. */
  send(i: number): number {
    this.receive(i);
    return this.conntrack.execute(this.packet, this.key, this.action);
  }

  /** The same without ct. */
  receive(i: number): void {
    writeFrame(this.memory, i);
    this.packet.reset(FRAME, 60, FRAME - 64, FRAME + 128);
    extractKey(this.packet, this.key);
  }

  end(): void {
    this.conntrack.endBatch();
    this.memory.resetScratch();
  }
}

/** Bytes a connection, and what a commit costs, at a million of them. */
function connections(count: number): Figure[] {
  const before = footprint();
  const start = performance.now();
  const tracked = new Tracked(count, systemClock);
  const seconds = (performance.now() - start) / 1000;
  const bytes = (footprint() - before) / count;
  return [
    { title: `memory of ${count.toLocaleString("en-US")} connections`, value: bytes, unit: "bytes each" },
    { title: "new connections, without devices", value: tracked.count / seconds, unit: "a second" },
  ];
}

/** What ct costs a packet of a connection chosen at random among `count`, in nanoseconds. */
function trackingCost(count: number): Figure {
  const tracked = new Tracked(count, systemClock);
  const rounds = 1_000_000;
  const run = (step: (i: number) => void): number => {
    let i = 1;
    const start = performance.now();
    for (let round = 0; round < rounds; round++) {
      i = (Math.imul(i, 1_103_515_245) + 12_345) & 0x7fff_ffff;
      step(i % count);
      if ((round & 255) === 255) tracked.end();
    }
    return ((performance.now() - start) / rounds) * 1e6;
  };
  const cost = (): number => run((i) => tracked.send(i)) - run((i) => tracked.receive(i));
  cost();
  const value = Math.min(cost(), cost(), cost());
  return { title: `ct of a packet, ${count.toLocaleString("en-US")} connections`, value, unit: "ns" };
}

/** The longest time that collecting `count` connections, expired all at once, keeps the thread. */
function expiry(count: number): Figure[] {
  const longest = (collect: (tracked: Tracked, clock: ManualClock) => void): number => {
    const clock = new ManualClock();
    const tracked = new Tracked(count, clock);
    clock.advance(31_000);
    let worst = 0;
    while (tracked.conntrack.count > 0) {
      const start = performance.now();
      collect(tracked, clock);
      worst = Math.max(worst, performance.now() - start);
    }
    return worst;
  };
  const what = `${count.toLocaleString("en-US")} connections expire`;
  return [
    { title: `${what}, longest pause by the timer`, value: longest((tracked) => tracked.conntrack.tick()), unit: "ms" },
    {
      title: `${what}, longest pause between packets`,
      value: longest((tracked, clock) => {
        clock.advance(10);
        tracked.end();
      }),
      unit: "ms",
    },
  ];
}

/** Bytes a flow, and the longest time that a dump of all flows keeps the thread. */
function flows(count: number): Figure[] {
  const ports = new MemoryPorts();
  ports.addDevice("left");
  const nokmod = new Nokmod({ ports, tickInterval: 0 });
  const client = new OvsClient(nokmod);
  const dp = client.createDatapath("dp0").ifindex;
  const before = footprint();
  fill(client, dp, count);
  const bytes = (footprint() - before) / count;
  // The dump as another process pulls it: datagram by datagram, the thread free in between.
  const socket = nokmod.open(16);
  const writer = new MessageWriter();
  const at = writer.beginMessage(client.families.flow.id, 0x301, 1, 0);
  writer.genl(ovs.OVS_FLOW_CMD_GET, 1);
  writer.rawU32(dp);
  writer.endMessage(at);
  let longest = 0;
  let total = 0;
  let records = 0;
  let last = performance.now();
  socket.send(writer.finish());
  for (;;) {
    const datagram = socket.receive();
    const now = performance.now();
    longest = Math.max(longest, now - last);
    total += now - last;
    last = now;
    if (datagram === null) break;
    const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.byteLength);
    let done = false;
    for (let offset = 0; offset + 16 <= datagram.length; offset += (view.getUint32(offset, true) + 3) & ~3) {
      if (view.getUint16(offset + 4, true) === 3) done = true;
      else records++;
    }
    last = performance.now();
    if (done) break;
  }
  if (records !== count) throw new Error(`the dump told of ${records} flows`);
  nokmod.close();
  return [
    { title: `memory of ${count.toLocaleString("en-US")} flows`, value: bytes, unit: "bytes each" },
    { title: `dump of ${count.toLocaleString("en-US")} flows, whole`, value: total, unit: "ms" },
    { title: "the same, longest time it keeps the thread", value: longest, unit: "ms" },
  ];
}

/** Measures everything that needs no devices, in a process of its own. @throws Error if that fails */
export function internalFigures(): Figure[] {
  const program = fileURLToPath(import.meta.url);
  const result = spawnSync(process.execPath, ["--expose-gc", program, "--json"], {
    encoding: "utf8",
    timeout: 120_000,
  });
  if (result.status !== 0) throw new Error(`figures without devices: ${result.error ?? result.stderr}`);
  return JSON.parse(result.stdout) as Figure[];
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const figures = [
    ...[1, 16, 64, 256].map(lookupCost),
    ...[10, 10_000, 1_000_000].map(trackingCost),
    ...connections(1_000_000),
    ...expiry(1_000_000),
    ...flows(200_000),
  ];
  if (process.argv.includes("--json")) console.log(JSON.stringify(figures));
  else for (const { title, value, unit } of figures) console.log(`${title}: ${format(value)} ${unit}`);
}
