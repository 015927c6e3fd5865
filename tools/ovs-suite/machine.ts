import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Suite, Test } from "./suite.ts";

/** How a test ended; `none`: no word of it, for it hung or the machine ended before it. */
export type Ending = "ok" | "failed" | "skipped" | "none";

/** The result of one test. */
export interface Result {
  readonly test: Test;
  readonly ending: Ending;
  /** The line of the suite that failed or skipped, such as `system-traffic.at:41`. */
  readonly where: string;
  readonly seconds: number;
  /** Where what it left behind lies. */
  readonly remains: string;
}

/** What came of the tests that shared one machine. */
export interface Batch {
  readonly results: readonly Result[];
  /** Tests that were not begun because one before them hung. */
  readonly left: readonly Test[];
  /** What nokmod said that it should not have had to say. */
  readonly faults: readonly string[];
}

/** A test is given up after so many seconds: longer than it waits for thirty pings without an answer. */
const PATIENCE = 420;
/** nokmod's log holds this line, and nothing else if all is well. */
const READY = /^\S+ info: nokmod is ready: /;

/**
 * Runs tests one after another on a machine of their own: new network, mount and process namespaces with one nokmod,
 * started before the first test and asked to end after the last. So every test but the first finds the datapath as the
 * ones before it left it, as with the module.
 *
 * @param parent directory for everything that the tests write
 * @param root of the repository
 */
export async function runBatch(
  suite: Suite,
  tests: readonly Test[],
  parent: string,
  root: string,
  seen: (result: Result) => void,
): Promise<Batch> {
  const directory = join(parent, String(tests[0].number));
  const tools = join(root, "tools/ovs-suite");
  suite.prepare(directory, join(tools, "bin"));
  const child = spawn(
    "unshare",
    [
      ...["--net", "--mount", "--pid", "--fork", "--kill-child", join(tools, "machine"), directory],
      ...["bash", suite.program, "-C", directory, ...tests.map((test) => String(test.number))],
    ],
    {
      cwd: directory,
      stdio: ["ignore", "pipe", "ignore"],
      env: {
        ...process.env,
        NOKMOD: join(root, "dist/cli/main.js"),
        NOKMOD_SOCKET: join(directory, "nokmod.sock"),
        PYTHONPATH: join(tools, "python"),
        LC_ALL: "C.UTF-8",
      },
    },
  );
  const results: Result[] = [];
  let since = Date.now();
  const wait = (): NodeJS.Timeout => setTimeout(() => child.kill("SIGKILL"), PATIENCE * 1000);
  let patience = wait();
  for await (const line of createInterface({ input: child.stdout })) {
    const parsed = parseResult(line);
    const test = tests.find(({ number }) => number === parsed?.number);
    if (parsed === undefined || test === undefined) continue;
    clearTimeout(patience);
    patience = wait();
    const seconds = (Date.now() - since) / 1000;
    since = Date.now();
    const { ending, where } = parsed;
    const result = { test, ending, where, seconds, remains: suite.remains(directory, test.number) };
    results.push(result);
    seen(result);
  }
  clearTimeout(patience);
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  const [hung, ...left] = tests.filter((test) => !results.some((result) => result.test === test));
  if (hung !== undefined) {
    const seconds = (Date.now() - since) / 1000;
    const remains = suite.remains(directory, hung.number);
    const result: Result = { test: hung, ending: "none", where: "", seconds, remains };
    results.push(result);
    seen(result);
  }
  const log = join(directory, "nokmod.log");
  const said = existsSync(log) ? readFileSync(log, "utf8").split("\n") : ["nokmod did not start"];
  const faults = said.filter((line) => line !== "" && !READY.test(line));
  if (child.exitCode === LOST) faults.push("nokmod ended before the tests did");
  return { results, left, faults };
}

/** Exit status by which `machine` says that nokmod was gone. */
const LOST = 99;

/** A line of the suite's output that tells a result: `  3: title   FAILED (system-traffic.at:41)`. */
export function parseResult(line: string): { number: number; ending: Ending; where: string } | undefined {
  const parts = /^ *(\d+): .* (ok|FAILED|skipped)(?: +\((.*)\))? *$/.exec(line);
  if (parts === null) return undefined;
  const ending = parts[2] === "ok" ? "ok" : parts[2] === "skipped" ? "skipped" : "failed";
  return { number: Number(parts[1]), ending, where: parts[3] ?? "" };
}
