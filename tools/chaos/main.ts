import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { SeededRandom } from "../../src/core/random.ts";
import { DISTURBANCES, pause, type Scene } from "./disturbances.ts";
import { ChaosLab, type Usage } from "./lab.ts";
import { type Outage, Stream } from "./stream.ts";

const root = join(dirname(fileURLToPath(import.meta.url)), "../../..");
// This program lies elsewhere than the addon and the library expect.
process.env.NOKMOD_NATIVE ??= join(root, "build/Release/nokmod_native.node");
process.env.NOKMOD_PRELOAD ??= join(root, "build/Release/libnokmod-preload.so");

const { values: options } = parseArgs({
  options: {
    minutes: { type: "string", default: "3" },
    kills: { type: "string" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    only: { type: "string" },
    heal: { type: "string", default: "1000" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
if (options.help) {
  console.log(`usage: npm run chaos -- [--minutes N] [--kills N] [--seed N] [--only name,name] [--heal MS] [--json]

Runs nokmod and ovs-vswitchd under traffic, and disturbs them: ${Object.keys(DISTURBANCES).join(" ")}.
Ends after so many minutes, or so many kills of nokmod. Fails when a packet of an established flow is lost outside of an outage,
when traffic needs longer than --heal milliseconds after a new nokmod is ready, when memory or descriptors grow, when devices are
left, or when nokmod's log has a line that is not meant to be there. Needs root; touches nothing outside of its own namespaces.`);
  process.exit(0);
}

/** Lines that the disturbances are meant to cause. */
const MEANT = [
  /info: nokmod is ready/,
  /info: state file .* is written again, after \d+ failures?$/,
  /No space left on device|ENOSPC/,
  /lines? (?:is|are|were|was) (?:missing|lost)/,
  /EMFILE|too many open files|no descriptor/i,
  /device p3|port p3|link p3/,
];
const INTERVAL = 10;
/** How much more a process may hold at the end than after its first minute. */
const MEMORY_ROOM = 24 * 1024;
const DESCRIPTOR_ROOM = 8;

const limit = performance.now() + Number(options.minutes) * 60_000;
const kills = options.kills === undefined ? Number.POSITIVE_INFINITY : Number(options.kills);
const random = new SeededRandom(Number(options.seed));
const chosen = Object.entries(DISTURBANCES).filter(([name]) => options.only?.split(",").includes(name) ?? true);
if (chosen.length === 0) {
  console.error(`--only ${options.only}: there are ${Object.keys(DISTURBANCES).join(", ")}`);
  process.exit(2);
}
const raffle = chosen.flatMap(([name, { weight }]) => Array.from({ length: weight }, () => name));

const lab = await ChaosLab.create(join(root, "dist/cli/main.js"), 3);
const devices = lab.devices();
const stream = await Stream.start(lab.hosts[0], lab.hosts[1], lab.address(2), 7777, INTERVAL);
const scene: Scene = { lab, stream, random, healed: [] };
const outages: Outage[] = [];
const counts: Record<string, number> = {};
const faults: string[] = [];
const usages: Usage[] = [];
/** What began when, in milliseconds since 1970. */
const begun: { readonly name: string; readonly time: number }[] = [];
await pause(1000);

let rounds = 0;
while (performance.now() < limit && scene.healed.length < kills) {
  const name = raffle[random.u32() % raffle.length];
  begun.push({ name, time: Date.now() });
  try {
    const outage = await DISTURBANCES[name].act(scene);
    if (outage !== undefined) outages.push(outage);
  } catch (error) {
    faults.push(`${name}: ${(error as Error).message}`);
    break;
  }
  counts[name] = (counts[name] ?? 0) + 1;
  rounds++;
  await pause(random.u32() % 300);
  usages.push(lab.usage());
  if (!options.json && process.stderr.isTTY) {
    process.stderr.write(`\r${rounds} disturbances, ${scene.healed.length} kills of nokmod, last ${name}        `);
  }
}
await pause(500);
await stream.stop();
if (!options.json && process.stderr.isTTY) process.stderr.write("\r\x1b[K");

const lost = stream.lost(outages);
const losses = new Map<string, number[]>();
for (const time of lost) {
  const during = begun.findLast((one) => one.time <= time);
  const where = during === undefined ? "the start" : `${during.name} at ${new Date(during.time).toISOString()}`;
  const after = Math.round(time - (during?.time ?? time));
  losses.set(where, [...(losses.get(where) ?? []), after]);
}
for (const [where, times] of losses) {
  const span = `${times[0]} to ${times.at(-1)} ms after ${where}`;
  faults.push(`${times.length} packets of an established flow were lost without an outage, ${span}`);
}
const healed = [...scene.healed].sort((a, b) => a - b);
const slow = healed.filter((ms) => ms > Number(options.heal)).length;
if (slow > 0) faults.push(`traffic needed more than ${options.heal} ms after ${slow} of ${healed.length} kills`);
const strange = lab.log().filter((line) => !MEANT.some((pattern) => pattern.test(line)));
for (const line of strange.slice(0, 20)) faults.push(`in the log: ${line}`);
const early = usages.slice(0, Math.max(1, usages.length >> 2));
const late = usages.slice(-Math.max(1, usages.length >> 2));
const median = (of: readonly Usage[], what: keyof Usage): number =>
  of.map((usage) => usage[what]).sort((a, b) => a - b)[of.length >> 1] ?? 0;
const grown = {
  memory: median(late, "memory") - median(early, "memory"),
  descriptors: median(late, "descriptors") - median(early, "descriptors"),
};
if (grown.memory > MEMORY_ROOM) faults.push(`memory grew by ${grown.memory} KB`);
if (grown.descriptors > DESCRIPTOR_ROOM) faults.push(`descriptors grew by ${grown.descriptors}`);
await lab.stop();
const left = lab.devices().filter((name) => !devices.includes(name));
if (left.length > 0) faults.push(`devices were left: ${left.join(" ")}`);
await lab.close();

const at = (share: number): number =>
  Math.round(healed[Math.min(healed.length - 1, Math.floor(healed.length * share))] ?? 0);
const report = {
  seed: Number(options.seed),
  disturbances: counts,
  kills: healed.length,
  packets: stream.answers.length,
  healedMs: { p50: at(0.5), p99: at(0.99), max: at(1) },
  grownKB: grown.memory,
  grownDescriptors: grown.descriptors,
  faults,
};
if (options.json) console.log(JSON.stringify(report, undefined, 2));
else {
  console.log(
    `seed ${report.seed}; ${rounds} disturbances: ${Object.entries(counts)
      .map(([n, c]) => `${n} ${c}`)
      .join(", ")}`,
  );
  console.log(
    `${report.kills} kills of nokmod, traffic again after ${at(0.5)} ms (p50), ${at(0.99)} (p99), ${at(1)} (max); ` +
      `${report.packets} packets there and back, ${lost.length} lost outside of outages; ` +
      `memory ${grown.memory >= 0 ? "+" : ""}${grown.memory} KB, descriptors ${grown.descriptors >= 0 ? "+" : ""}${grown.descriptors}`,
  );
  for (const fault of faults) console.log(`  fault: ${fault}`);
  console.log(faults.length === 0 ? "no fault" : `${faults.length} faults`);
}
process.exitCode = faults.length === 0 ? 0 : 1;
