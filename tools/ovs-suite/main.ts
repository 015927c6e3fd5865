import { mkdirSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Expected } from "./expected.ts";
import { type Result, runBatch } from "./machine.ts";
import { page, summary } from "./report.ts";
import { cache, Suite, type Test } from "./suite.ts";

const root = join(dirname(fileURLToPath(import.meta.url)), "../../..");

/** Tests that share a machine: enough to see what one leaves to the next, few enough to share out evenly. */
const BATCH = 8;

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: "boolean", default: false },
    jobs: { type: "string", default: String(Math.max(1, Math.min(4, cpus().length))) },
    markdown: { type: "string" },
    directory: { type: "string", default: join(cache, "results") },
    list: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
if (options.help) {
  console.log(`usage: npm run test:ovs -- [NUMBER | FROM-TO | WORD …] [--quick] [--jobs N] [--markdown FILE] [--directory DIRECTORY] [--list]

Runs OVS's own suite for the kernel datapath (Debian's openvswitch-source) on nokmod and compares the results with
tools/ovs-suite/expected.json. WORD chooses tests by title or keyword. --quick leaves out those whose set-up this kernel
can't do. Fails when a test ends otherwise than the list says. What failed tests leave behind is kept in DIRECTORY, by
default ${join(cache, "results")}.`);
  process.exit(0);
}

const suite = new Suite();
const expected = new Expected(join(root, "tools/ovs-suite/expected.json"));
const chosen = suite.tests.filter(isChosen);
if (options.list) {
  for (const test of chosen) {
    const { endings, reason } = expected.of(test);
    console.log(`${String(test.number).padStart(3)}  ${test.title}${endings[0] === "ok" ? "" : `  (${reason})`}`);
  }
  process.exit(0);
}
if (chosen.length === 0) {
  console.error("no such test");
  process.exit(2);
}

const directory = resolve(options.directory);
mkdirSync(directory, { recursive: true });
const [single, sociable] = [true, false].map((alone) => chosen.filter((test) => expected.alone(test) === alone));
const batches = single.map((test) => [test]);
for (let at = 0; at < sociable.length; at += BATCH) batches.push(sociable.slice(at, at + BATCH));
const results: Result[] = [];
const faults: string[] = [];
const workers = Array.from({ length: Number(options.jobs) }, async () => {
  for (let batch = batches.shift(); batch !== undefined; batch = batches.shift()) {
    const done = await runBatch(suite, batch, directory, root, show);
    results.push(...done.results);
    if (done.left.length > 0) batches.push([...done.left]);
    faults.push(...done.faults);
  }
});
await Promise.all(workers);
results.sort((a, b) => a.test.number - b.test.number);

const wrong = results.filter((result) => !expected.agrees(result));
console.log(`\n${summary(results, expected)}`);
for (const result of wrong) {
  console.log(
    `  ${result.test.number} ${result.test.title}: ${result.ending} at ${result.where}\n      ${result.remains}`,
  );
}
for (const fault of new Set(faults)) console.log(`  nokmod: ${fault}`);
if (options.markdown !== undefined) {
  writeFileSync(resolve(options.markdown), page(results, expected, suite.version));
}
process.exitCode = wrong.length + faults.length === 0 ? 0 : 1;

/** Whether the command line asks for a test. */
function isChosen(test: Test): boolean {
  if (options.quick && expected.of(test).endings[0] !== "ok") return false;
  if (positionals.length === 0) return true;
  return positionals.some((word) => {
    const range = /^(\d+)(?:-(\d+))?$/.exec(word);
    if (range !== null) return test.number >= Number(range[1]) && test.number <= Number(range[2] ?? range[1]);
    return test.title.toLowerCase().includes(word.toLowerCase()) || test.keywords.includes(word);
  });
}

/** A line of the table, as soon as a test has ended. */
function show(result: Result): void {
  const { test, ending, where, seconds } = result;
  const { reason } = expected.of(test);
  const mark = expected.agrees(result) ? " " : "!";
  const why = ending === "ok" ? "" : reason || where;
  console.log(
    `${mark} ${String(test.number).padStart(3)}  ${ending.padEnd(7)} ${seconds.toFixed(0).padStart(3)} s  ${test.title}${why && `  (${why})`}`,
  );
}
