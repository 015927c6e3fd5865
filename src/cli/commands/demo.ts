import { spawn } from "node:child_process";
import type { Command } from "commander";
import { NokmodError } from "../../core/errors.ts";
import { walkThrough } from "../demo/walk-through.ts";

/** Environment variable that is set in the process which already has a namespace of its own. */
const INSIDE = "NOKMOD_DEMO_INSIDE";

/** Adds `nokmod demo`. */
export function addDemo(program: Command): void {
  program.command("demo").description("NAT between two network namespaces, shown step by step").action(demo);
}

/**
 * Shows NAT between two network namespaces. Runs itself again in a network namespace of its own (as root) or in
 * a user and network namespace (anybody else, where the kernel allows it), so the machine's devices are never touched.
 * @throws NokmodError ERR_DEMO
 */
async function demo(): Promise<void> {
  if (process.env[INSIDE] !== undefined) {
    await walkThrough();
    return;
  }
  const user = process.getuid?.() === 0 ? [] : ["--user", "--map-root-user"];
  const child = spawn(
    "unshare",
    [...user, "--net", "--", process.execPath, ...process.execArgv, ...process.argv.slice(1)],
    { stdio: "inherit", env: { ...process.env, [INSIDE]: "1" } },
  );
  const status = await new Promise<number | string>((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("exit", (code, signal) => resolve(code ?? signal ?? "?"));
  });
  if (status !== 0) {
    const hint = user.length > 0 ? "; without root the kernel must allow user namespaces" : "";
    throw new NokmodError("ERR_DEMO", `the walk-through did not come to its end (${status})${hint}`);
  }
}
