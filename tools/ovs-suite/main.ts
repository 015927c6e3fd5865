import { mkdirSync, writeFileSync } from "node:fs";
import { cpus, release } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { runElsewhere } from "./elsewhere.ts";
import { Expected, type Outcome } from "./expected.ts";
import { runBatch } from "./machine.ts";
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
    again: { type: "boolean", default: false },
    elsewhere: { type: "string" },
    markdown: { type: "string" },
    json: { type: "string" },
    directory: { type: "string", default: join(cache, "results") },
    list: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
if (options.help) {
  console.log(`usage: npm run test:ovs -- [NUMBER | FROM-TO | WORD …] [options]

Runs OVS's own suite for the kernel datapath (Debian's openvswitch-source) on nokmod and compares the results with
tools/ovs-suite/expected.json. WORD chooses tests by title or keyword. Fails when a test ends otherwise than the list says.

  --quick                leave out the tests whose set-up this kernel can't do
  --again                run what ends otherwise than the list says once more by itself, and say so: a busy machine
                         makes tests with real time in them fail
  --elsewhere PROGRAM    run those in another kernel: PROGRAM takes a shell script and runs it there as root, with this
                         machine's files and without openvswitch.ko (User-Mode Linux, a virtual machine)
  --jobs N               machines at a time
  --markdown FILE        write the table
  --json FILE            write the results
  --directory DIRECTORY  where the tests work and what those that fail leave is kept
                         (${join(cache, "results")})
  --list                 tell what would be run`);
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
const away = options.elsewhere === undefined ? [] : chosen.filter((test) => !expected.of(test).possible);
const here = chosen.filter((test) => !away.includes(test));
const [single, sociable] = [true, false].map((alone) => here.filter((test) => expected.alone(test) === alone));
const batches = single.map((test) => [test]);
for (let at = 0; at < sociable.length; at += BATCH) batches.push(sociable.slice(at, at + BATCH));
const outcomes: Outcome[] = [];
const faults: string[] = [];
await runHere(batches, Number(options.jobs));
if (options.again) {
  const unexpected = outcomes.filter(({ agrees }) => !agrees);
  for (const { test, ending, where } of unexpected) {
    console.log(`  once more: ${test.number} ${test.title}, which was ${ending} ${where}`);
    outcomes.splice(
      outcomes.findIndex((outcome) => outcome.test === test),
      1,
    );
  }
  await runHere(
    unexpected.map(({ test }) => [test]),
    1,
  );
}
if (options.elsewhere !== undefined && away.length > 0) {
  const other = await runElsewhere(options.elsewhere, away, directory, root);
  outcomes.push(...other.outcomes);
  faults.push(...other.faults);
}
outcomes.sort((a, b) => a.test.number - b.test.number);

const wrong = outcomes.filter(({ agrees }) => !agrees);
console.log(`\n${summary(outcomes)}`);
for (const { test, ending, where, remains } of wrong) {
  console.log(`  ${test.number} ${test.title}: ${ending} ${where}\n      ${remains}`);
}
for (const fault of new Set(faults)) console.log(`  nokmod: ${fault}`);
if (options.json !== undefined) writeFileSync(resolve(options.json), JSON.stringify({ outcomes, faults }));
if (options.markdown !== undefined) writeFileSync(resolve(options.markdown), page(outcomes, suite.version));
process.exitCode = wrong.length + faults.length === 0 ? 0 : 1;

/** Runs tests in this kernel, each batch in a machine of its own, some at a time. */
async function runHere(batches: Test[][], jobs: number): Promise<void> {
  const workers = Array.from({ length: jobs }, async () => {
    for (let batch = batches.shift(); batch !== undefined; batch = batches.shift()) {
      const done = await runBatch(suite, batch, directory, root, (result) => {
        const outcome: Outcome = { ...result, ...expected.judge(result), kernel: release() };
        outcomes.push(outcome);
        show(outcome);
      });
      if (done.left.length > 0) batches.push([...done.left]);
      faults.push(...done.faults);
    }
  });
  await Promise.all(workers);
}

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
function show({ test, ending, where, seconds, agrees, reason }: Outcome): void {
  const mark = agrees ? " " : "!";
  const why = ending === "ok" ? "" : agrees ? reason : where;
  console.log(
    `${mark} ${String(test.number).padStart(3)}  ${ending.padEnd(7)} ${seconds.toFixed(0).padStart(3)} s  ${test.title}${why && `  (${why})`}`,
  );
}
