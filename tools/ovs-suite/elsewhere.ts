import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Outcome } from "./expected.ts";
import type { Test } from "./suite.ts";

/** In a kernel that has just started, ovs-vswitchd 3.1 takes the machine for one without processors: it waits so long. */
const SETTLED = 12;

/**
 * Runs tests in another kernel.
 *
 * @param program takes the path of a shell script and runs it there as root, with the files of this machine
 * @param directory what failed tests leave is brought here
 * @throws Error when it did not come to any results
 */
export async function runElsewhere(
  program: string,
  tests: readonly Test[],
  directory: string,
  root: string,
): Promise<{ outcomes: Outcome[]; faults: string[] }> {
  const script = join(directory, "elsewhere.sh");
  const json = join(directory, "elsewhere.json");
  // Sockets and devices need a file system of that kernel's own: /run.
  const work = "/run/nokmod-suite";
  rmSync(json, { force: true });
  writeFileSync(
    script,
    `#!/bin/bash
export HOME='${process.env.HOME}' XDG_CACHE_HOME='${process.env.XDG_CACHE_HOME ?? ""}'
[ -n "$XDG_CACHE_HOME" ] || unset XDG_CACHE_HOME
while [ "$(cut -d. -f1 /proc/uptime)" -lt ${SETTLED} ]; do sleep 1; done
cd '${root}'
'${process.execPath}' '${process.argv[1]}' --directory ${work} --json '${json}' ${tests.map((t) => t.number).join(" ")}
tar -C ${work} -cf - . 2>/dev/null | tar -C '${directory}' -xf - 2>/dev/null
exit 0
`,
  );
  chmodSync(script, 0o755);
  const child = spawn(program, [script], { stdio: ["ignore", "inherit", "inherit"] });
  await once(child, "exit");
  if (!existsSync(json)) throw new Error(`${program} brought no results`);
  const { outcomes, faults } = JSON.parse(readFileSync(json, "utf8")) as { outcomes: Outcome[]; faults: string[] };
  const moved = (path: string): string => path.replace(work, directory);
  return { outcomes: outcomes.map((outcome) => ({ ...outcome, remains: moved(outcome.remains) })), faults };
}
