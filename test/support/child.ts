import { type ChildProcess, type ForkOptions, fork } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { forEveryUser, typescriptForEveryUser } from "./tree.ts";

const REGISTER = new URL("./register-ts.mjs", import.meta.url).href;

/** Options for a thread or process that is to run our TypeScript. */
export const TYPESCRIPT_ARGV = ["--import", REGISTER];

/** Starts a script of test/support as a process of its own, perhaps of another user. */
export function forkScript(name: string, args: readonly string[] = [], options: ForkOptions = {}): ChildProcess {
  const script = fileURLToPath(new URL(name, import.meta.url));
  if (options.uid === undefined) return fork(script, args, { execArgv: TYPESCRIPT_ARGV, ...options });
  return fork(forEveryUser(script), args, { execArgv: typescriptForEveryUser(), cwd: "/", ...options });
}

/** The next message that a child sends; fails when it ends instead. */
export async function message<T = unknown>(child: ChildProcess): Promise<T> {
  const ended = new AbortController();
  try {
    return await Promise.race([
      once(child, "message", { signal: ended.signal }).then(([value]) => value as T),
      once(child, "exit", { signal: ended.signal }).then(([code]) => {
        throw new Error(`the child ended with ${code}`);
      }),
    ]);
  } finally {
    ended.abort();
  }
}

/** A directory that every user may enter, and that dispose() removes. */
export class TemporaryDirectory {
  readonly path = mkdtempSync(join(tmpdir(), "nokmod-test-"));
  constructor() {
    chmodSync(this.path, 0o755);
  }
  file(name: string): string {
    return join(this.path, name);
  }
  dispose(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}
