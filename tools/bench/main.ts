import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, release, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { chart, format, type Group } from "./chart.ts";
import { CForwarder, installed, LinuxBridge, Nokmod, OvsNetdev, type Peer, type Policy } from "./peers.ts";
import {
  compileTools,
  latency,
  median,
  processorTime,
  type Testbed,
  type Tools,
  tcpRate,
  testbed,
  udpRate,
} from "./traffic.ts";

/** One thing that is measured, on every peer that can do its policy. */
interface Scenario {
  readonly id: string;
  readonly title: string;
  readonly unit: string;
  readonly policy: Policy;
  /** Lower is better. */
  readonly lower?: boolean;
  /** Peers that take part; default: all that know the policy. */
  readonly only?: readonly string[];
  run(bed: Testbed, tools: Tools, seconds: number): Promise<number>;
}

const root = join(dirname(fileURLToPath(import.meta.url)), "../../..");

const scenarios: readonly Scenario[] = [
  ...[1, 1000, 50_000].map(
    (flows): Scenario => ({
      id: `udp-${flows}`,
      title: `60-byte UDP, ${format(flows)} flow${flows === 1 ? "" : "s"}, plain output`,
      unit: "packets/s",
      policy: "plain",
      run: (bed, tools, seconds) => udpRate(bed, tools, { flows, seconds, burst: 8 }),
    }),
  ),
  {
    id: "udp-nat",
    title: "60-byte UDP, 1,000 established connections, ct(commit,nat)",
    unit: "packets/s",
    policy: "nat",
    run: (bed, tools, seconds) => udpRate(bed, tools, { flows: 1000, seconds, burst: 8, establish: true }),
  },
  {
    id: "tcp",
    title: "one TCP stream, offloads on, plain output",
    unit: "Gbit/s",
    policy: "plain",
    run: (bed, _tools, seconds) => tcpRate(bed, seconds),
  },
  {
    id: "tcp-nat",
    title: "one TCP stream, offloads on, ct(commit,nat)",
    unit: "Gbit/s",
    policy: "nat",
    run: (bed, _tools, seconds) => tcpRate(bed, seconds),
  },
  {
    id: "new",
    title: "new UDP connections through ct(commit)",
    unit: "connections/s",
    policy: "commit",
    run: (bed, tools) => udpRate(bed, tools, { flows: 4_000_000, seconds: 1 }),
  },
  {
    id: "p50",
    title: "ping -i 0.002, p50",
    unit: "µs",
    policy: "plain",
    lower: true,
    run: async (bed) => (await latency(bed, 1000)).p50,
  },
  {
    id: "p99",
    title: "ping -i 0.002, p99",
    unit: "µs",
    policy: "plain",
    lower: true,
    run: async (bed) => (await latency(bed, 1000)).p99,
  },
];

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    seconds: { type: "string", default: "2" },
    only: { type: "string" },
    peers: { type: "string" },
    output: { type: "string", default: join(root, "docs/bench") },
    help: { type: "boolean", default: false },
  },
});
if (values.help) {
  console.log(
    "usage: npm run bench -- [--rounds N] [--seconds N] [--only id,id] [--peers name,name] [--output DIRECTORY]",
  );
  console.log(`scenarios: ${scenarios.map((s) => s.id).join(" ")}`);
  process.exit(0);
}

const rounds = Number(values.rounds);
const seconds = Number(values.seconds);
const scratch = mkdtempSync(join(tmpdir(), "nokmod-bench-"));
const tools = compileTools(join(root, "tools/bench"), scratch);
const peers: Peer[] = [
  new Nokmod(join(root, "dist/cli/main.js")),
  ...(installed("ovs-vswitchd") ? [new OvsNetdev(false), new OvsNetdev(true)] : []),
  new LinuxBridge(),
  new CForwarder(tools.forwarder),
].filter((peer) => values.peers === undefined || values.peers.split(",").includes(peer.name));
if (!installed("ovs-vswitchd")) console.error("ovs-vswitchd is not installed (Debian: openvswitch-switch): left out");
const chosen = scenarios.filter(
  (scenario) => values.only === undefined || values.only.split(",").includes(scenario.id),
);

/** Results by scenario and peer, one value a round. */
const results = new Map<string, Map<string, number[]>>();
/** Processor share of an idle peer. */
const idle = new Map<string, number>();

const steps = chosen.length * peers.length * rounds;
let step = 0;
for (let round = 0; round < rounds; round++) {
  for (const scenario of chosen) {
    for (const peer of peers) {
      step++;
      if (!peer.policies.includes(scenario.policy)) continue;
      if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${step}/${steps} ${scenario.id} ${peer.name}`);
      const bed = await testbed(peer.needsChecksums !== true);
      try {
        const running = await peer.start({ namespace: bed.middle, left: "sl", right: "sr" }, scenario.policy);
        try {
          const value = await scenario.run(bed, tools, seconds);
          const byPeer = results.get(scenario.id) ?? new Map<string, number[]>();
          results.set(scenario.id, byPeer);
          byPeer.set(peer.name, [...(byPeer.get(peer.name) ?? []), value]);
          if (running.pids.length > 0 && !idle.has(peer.name)) {
            await new Promise((resolve) => setTimeout(resolve, 1000));
            const before = running.pids.reduce((sum, pid) => sum + processorTime(pid), 0);
            await new Promise((resolve) => setTimeout(resolve, 2000));
            idle.set(peer.name, (running.pids.reduce((sum, pid) => sum + processorTime(pid), 0) - before) / 2);
          }
        } finally {
          await running.stop();
        }
      } catch (error) {
        console.error(`\n${scenario.id} ${peer.name}: ${error instanceof Error ? error.message : error}`);
      } finally {
        await bed.close();
      }
    }
  }
}
if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
rmSync(scratch, { recursive: true, force: true });

const table = chosen.map((scenario) => {
  const byPeer = results.get(scenario.id) ?? new Map<string, number[]>();
  const own = byPeer.get("nokmod");
  return {
    scenario,
    cells: peers.map((peer) => {
      const values = byPeer.get(peer.name);
      if (values === undefined) return undefined;
      // Ratios are taken round by round, so that a machine whose speed drifts does not spoil them.
      const ratio =
        own === undefined || peer.name === "nokmod"
          ? undefined
          : median(values.slice(0, own.length).map((value, i) => own[i] / value));
      return { peer: peer.name, median: median(values), values, ratio };
    }),
  };
});

const heading = ["", ...peers.map((peer) => peer.name)];
const lines = [heading, heading.map((_, i) => (i === 0 ? "---" : "---:"))];
for (const { scenario, cells } of table) {
  lines.push([
    `${scenario.title}, ${scenario.unit}`,
    ...cells.map((cell) => {
      if (cell === undefined) return "–";
      return cell.ratio === undefined
        ? `**${format(cell.median)}**`
        : `${format(cell.median)} (${format(cell.ratio)}×)`;
    }),
  ]);
}
lines.push([
  "idle, processor share",
  ...peers.map((peer) => {
    const share = idle.get(peer.name);
    return share === undefined ? "–" : `${(share * 100).toFixed(1)} %`;
  }),
]);
const text = lines.map((row) => `| ${row.join(" | ")} |`).join("\n");
console.log(text);

mkdirSync(values.output, { recursive: true });
const machine = { processors: cpus().length, model: cpus()[0]?.model, kernel: release(), node: process.version };
writeFileSync(
  join(values.output, "bench.json"),
  `${JSON.stringify({ machine, rounds, seconds, results: table.map((row) => ({ id: row.scenario.id, title: row.scenario.title, unit: row.scenario.unit, peers: row.cells.filter((cell) => cell !== undefined) })), idle: Object.fromEntries(idle) }, null, 2)}\n`,
);
const groups: Group[] = table.map(({ scenario, cells }) => ({
  title: scenario.title,
  unit: scenario.lower ? `${scenario.unit}, less is better` : scenario.unit,
  bars: cells.filter((cell) => cell !== undefined).map((cell) => ({ peer: cell.peer, value: cell.median })),
}));
writeFileSync(join(values.output, "bench.svg"), chart(groups));
writeFileSync(join(values.output, "bench.md"), `${text}\n`);
