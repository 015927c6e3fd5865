import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Report } from "./report.ts";

/** The results of a run inside another kernel, where the peer is the real module. */
export const REFERENCE = "openvswitch.ko in UML";

/**
 * Runs this benchmark with the peer openvswitch.ko where a kernel has that module, such as User-Mode Linux.
 * @param runner a program that is given the path of a shell script, boots that kernel on this machine's file system and
 *   runs the script in it as root
 */
export function runReference(
  runner: string,
  program: string,
  options: { rounds: number; seconds: number; only: readonly string[] },
): Report {
  const directory = mkdtempSync(join(tmpdir(), "nokmod-bench-reference-"));
  const script = join(directory, "script");
  const command = [
    ...[process.execPath, program, "--peers=openvswitch.ko", `--output=${directory}`],
    ...[`--rounds=${options.rounds}`, `--seconds=${options.seconds}`, `--only=${options.only.join(",")}`],
  ];
  try {
    // The other kernel may pass the environment on: once is enough. Sockets need a file system of its own.
    writeFileSync(
      script,
      `#!/bin/sh\nunset NOKMOD_REFERENCE\nexport TMPDIR=/run\nexec ${command.map(quote).join(" ")} 2>&1\n`,
      {
        mode: 0o755,
      },
    );
    const result = spawnSync(runner, [script], {
      encoding: "utf8",
      timeout: 900_000,
      env: { ...process.env, TIMEOUT: "840" },
    });
    if (result.error !== undefined) throw result.error;
    return readReport(directory, `${result.stdout}\n${result.stderr}`);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function readReport(directory: string, output: string): Report {
  try {
    return JSON.parse(readFileSync(join(directory, "bench.json"), "utf8")) as Report;
  } catch (cause) {
    throw new Error(`the reference gave no results: ${output.trim().slice(-2000)}`, { cause });
  }
}

const quote = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`;
