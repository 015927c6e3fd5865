import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, release, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { internalFigures } from "./internal.ts";
import { hasModule, KernelModule } from "./peers/module.ts";
import { Nokmod, OvsOnNokmod } from "./peers/nokmod.ts";
import { OvsNetdev } from "./peers/ovs.ts";
import type { Peer } from "./peers/peer.ts";
import { installed } from "./peers/process.ts";
import { CForwarder, LinuxBridge } from "./peers/simple.ts";
import { REFERENCE, runReference } from "./reference.ts";
import { drawing, type Machine, merged, type Report, Results, tables } from "./report.ts";
import { type Scenario, scenarios } from "./scenarios.ts";
import { compileTools, type Tools, testbed } from "./traffic.ts";

const root = join(dirname(fileURLToPath(import.meta.url)), "../../..");
// This program lies elsewhere than the addon expects.
process.env.NOKMOD_NATIVE ??= join(root, "build/Release/nokmod_native.node");

const { values: options } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    seconds: { type: "string", default: "2" },
    only: { type: "string" },
    peers: { type: "string" },
    before: { type: "string" },
    output: { type: "string", default: join(root, "docs/bench") },
    help: { type: "boolean", default: false },
  },
});
if (options.help) {
  console.log(`usage: npm run bench -- [--rounds N] [--seconds N] [--only id,id] [--peers name,name] [--output DIRECTORY]
                             [--before CHECKOUT]

scenarios: ${scenarios.map((s) => s.id).join(" ")} inside
--before names a checkout of another commit, built: it is two more peers, "nokmod before" and "ovs-vswitchd on nokmod before".
A run of some of them leaves the others in the files as they were.
NOKMOD_REFERENCE names a program that runs a shell script in a kernel with the real openvswitch.ko (User-Mode Linux): it
then is one more peer.`);
  process.exit(0);
}

const rounds = Number(options.rounds);
const seconds = Number(options.seconds);
const wanted = (list: string | undefined, name: string): boolean => list?.split(",").includes(name) ?? true;
const chosen = scenarios.filter((scenario) => wanted(options.only, scenario.id));
const scratch = mkdtempSync(join(tmpdir(), "nokmod-bench-"));
const tools = compileTools(join(root, "tools/bench"), scratch);
const program = join(root, "dist/cli/main.js");
const before = options.before === undefined ? undefined : join(options.before, "dist/cli/main.js");
const peers: Peer[] = [
  new Nokmod(program),
  ...(before === undefined ? [] : [new Nokmod(before, "nokmod before")]),
  ...(installed("ovs-vswitchd") ? [new OvsNetdev(false), new OvsNetdev(true), new OvsOnNokmod(program)] : []),
  ...(before !== undefined && installed("ovs-vswitchd")
    ? [new OvsOnNokmod(before, "ovs-vswitchd on nokmod before")]
    : []),
  new LinuxBridge(),
  new CForwarder(tools.forwarder),
  ...(hasModule() ? [new KernelModule()] : []),
].filter((peer) => wanted(options.peers, peer.name));
if (!installed("ovs-vswitchd")) console.error("ovs-vswitchd is not installed (Debian: openvswitch-switch): left out");

const results = new Results();

/** Shows how far it is, where somebody looks. */
function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}

/** Starts a peer on a testbed of its own, and measures. */
async function measure(scenario: Scenario, peer: Peer, tools: Tools): Promise<void> {
  const bed = await testbed(peer.needsChecksums !== true);
  try {
    const running = await peer.start({ namespace: bed.middle, left: "sl", right: "sr" }, scenario.policy);
    try {
      const found = await scenario.run(bed, tools, seconds, running);
      scenario.metrics.forEach((metric, i) => {
        if (i < found.length) results.add(metric, peer.name, found[i]);
      });
    } finally {
      await running.stop();
    }
  } finally {
    await bed.close();
  }
}

for (let round = 1; round <= rounds; round++) {
  for (const scenario of chosen) {
    for (const peer of peers) {
      if (!peer.policies.includes(scenario.policy)) continue;
      progress(`round ${round} of ${rounds}: ${scenario.id}, ${peer.name}`);
      try {
        await measure(scenario, peer, tools);
      } catch (error) {
        console.error(`\n${scenario.id} ${peer.name}: ${error instanceof Error ? error.message : error}`);
      }
    }
  }
}
rmSync(scratch, { recursive: true, force: true });

const names = peers.map((peer) => peer.name);
const metrics = chosen.flatMap((scenario) => scenario.metrics);
const runner = process.env.NOKMOD_REFERENCE;
if (runner !== undefined && wanted(options.peers, REFERENCE)) {
  progress(REFERENCE);
  const only = chosen.filter(({ policy }) => new KernelModule().policies.some((own) => own === policy));
  try {
    const reference = runReference(runner, fileURLToPath(import.meta.url), {
      rounds,
      seconds,
      only: only.map((scenario) => scenario.id),
    });
    names.push(REFERENCE);
    for (const { cells, ...metric } of reference.results)
      for (const cell of cells) for (const value of cell.values) results.add(metric, REFERENCE, value);
  } catch (error) {
    console.error(`\n${error instanceof Error ? error.message : error}`);
  }
}
const inside = wanted(options.only, "inside") && names.includes("nokmod");
if (inside) progress("without devices");
const measured: Report = {
  machine: machine(),
  rounds,
  seconds,
  peers: names,
  results: metrics.map((metric) => ({ ...metric, cells: results.cells(metric, names) })),
  figures: inside ? internalFigures() : [],
};
const file = join(options.output, "bench.json");
const whole = options.only === undefined && options.peers === undefined;
const report =
  whole || !existsSync(file) ? measured : merged(JSON.parse(readFileSync(file, "utf8")), measured, scenarios);
progress("");
console.log(tables(measured));
mkdirSync(options.output, { recursive: true });
writeFileSync(file, `${JSON.stringify(report, null, 2)}\n`);
writeFileSync(join(options.output, "bench.svg"), drawing(report));
writeFileSync(join(options.output, "bench.md"), `${tables(report)}\n`);
const page = join(options.output, "../performance.md");
if (existsSync(page)) {
  const between = /(<!-- bench -->\n)[\s\S]*(<!-- \/bench -->)/;
  const table = `\n${tables(report)}\n\n`;
  writeFileSync(
    page,
    readFileSync(page, "utf8").replace(between, (_all, start, end) => start + table + end),
  );
}

function machine(): Machine {
  const ovs = spawnSync("ovs-vswitchd", ["--version"], {
    encoding: "utf8",
    env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
  });
  return {
    processors: cpus().length,
    model: cpus()[0]?.model ?? "",
    kernel: release(),
    node: process.version,
    ovs: ovs.stdout?.split("\n")[0] ?? "",
    date: new Date().toISOString().slice(0, 10),
  };
}
