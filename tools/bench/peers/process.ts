import { type ChildProcess, spawnSync } from "node:child_process";
import { once } from "node:events";

/** Ends a child and waits for it. */
export async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), 5000);
  await ended;
  clearTimeout(timer);
}

/** Waits until `ready()` holds. @throws Error after `seconds` */
export async function until(what: string, ready: () => boolean, seconds = 20): Promise<void> {
  const limit = performance.now() + seconds * 1000;
  while (!ready()) {
    if (performance.now() > limit) throw new Error(`${what} took more than ${seconds} s`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Whether a program is installed. */
export function installed(program: string): boolean {
  return (
    spawnSync("sh", ["-c", `command -v ${program}`], { env: { PATH: `${process.env.PATH}:/usr/sbin:/sbin` } })
      .status === 0
  );
}
