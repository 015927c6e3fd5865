/** `npm run fuzz`: throws generated messages, frames, clients and bytes at nokmod until the time is over. */
import { randomInt } from "node:crypto";
import { Command, InvalidArgumentError } from "commander";
import { writeCase } from "./case.ts";
import { TARGETS } from "./generator.ts";
import { type Counts, fuzzInProcess } from "./in-process.ts";
import { fuzzNative, hasFuzzer } from "./native.ts";
import { fuzzWire, type WireCounts } from "./wire.ts";

interface Options {
  readonly minutes: number;
  readonly seed: number;
  readonly only?: readonly string[];
  readonly native?: boolean;
}

const ALL = [...Object.keys(TARGETS), "wire", "native"];

function positive(text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new InvalidArgumentError("a positive number is wanted");
  return value;
}

function targets(text: string): string[] {
  const names = text.split(",");
  const unknown = names.find((name) => !ALL.includes(name));
  if (unknown !== undefined) throw new InvalidArgumentError(`there is no target ${unknown}: ${ALL.join(", ")}`);
  return names;
}

const program = new Command("fuzz")
  .description("Throws generated messages, frames, clients and bytes at nokmod, and says what it could not stand.")
  .option("--minutes <n>", "time for all targets together", positive, 1)
  .option("--seed <n>", "where the random numbers start; default: any", positive, randomInt(1, 2 ** 31))
  .option("--only <targets>", `some of ${ALL.join(", ")}, separated by commas`, targets)
  .option("--native", "install clang for the target native if it is missing (apt-get, as root)");

const options = program.parse().opts<Options>();
const chosen = options.only ?? ALL;
const each = (options.minutes * 60_000) / chosen.length;
console.log(`seed ${options.seed}`);
let status = 0;
for (const target of chosen) if (!(await run(target))) status = 1;
process.exitCode = status;

/** @returns false where something was found; it has been told */
async function run(target: string): Promise<boolean> {
  if (target === "wire") return wire();
  return target === "native" ? native() : inProcess(target);
}

function inProcess(target: string): boolean {
  const counts: Counts = { cases: 0, messages: 0, packets: 0 };
  const begin = performance.now();
  const found = fuzzInProcess(target, options.seed, begin + each, counts);
  const seconds = Math.round((performance.now() - begin) / 1000);
  console.log(
    `${target}: ${counts.messages} messages and ${counts.packets} packets in ${counts.cases} cases, ${seconds} s`,
  );
  if (found === undefined) return true;
  const file = `test/fuzz-corpus/${target}-${found.case.seed}.json`;
  writeCase(file, found.case, found.finding.message);
  console.error(`${target}: ${found.finding.stack}`);
  if (found.finding.cause instanceof Error) console.error(found.finding.cause.stack);
  console.error(`${target}: ${found.case.steps.length} steps in ${file}`);
  return false;
}

async function wire(): Promise<boolean> {
  const counts: WireCounts = { rounds: 0, records: 0, words: 0, connections: 0, sanitized: false };
  const found = await fuzzWire(options.seed, each / 1000, counts);
  console.log(
    `wire: ${counts.records} records of ${counts.connections} connections, ${counts.words} words of mailboxes, ` +
      `${counts.rounds} rounds, ${counts.sanitized ? "with" : "without (tools/asan builds them)"} sanitizers`,
  );
  if (found !== undefined) console.error(`wire: ${found}`);
  return found === undefined;
}

function native(): boolean {
  if (!hasFuzzer(options.native ?? false)) {
    console.log(
      "native: not done, for there is no clang: --native installs it (Debian's clang and libclang-rt-14-dev)",
    );
    return true;
  }
  const { runs, found } = fuzzNative(options.seed, each / 1000);
  const told = Object.entries(runs).map(([name, count]) => `${count} runs of ${name}`);
  console.log(`native: ${told.join(", ")}`);
  if (found !== undefined) console.error(`native: ${found}`);
  return found === undefined;
}
