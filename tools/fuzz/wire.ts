import { type ChildProcess, execFileSync, fork, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { connect, OvsClient } from "../../src/client/index.ts";

const REGISTER = new URL("../../test/support/register-ts.mjs", import.meta.url).href;
const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const SANITIZED = here("../../build-asan/Release/nokmod_native.node");
/** Seconds of one round of clients. */
const ROUND = 10;
/** Bytes that the server may grow by from its second round on; a sanitizer keeps what was freed for a while. */
const GROWTH = 512 << 20;
/** Descriptors that may be open beside those at the start: a mailbox or two that the collector has not seen yet. */
const SPARE = 16;

/** What hostile clients have done. */
export interface WireCounts {
  rounds: number;
  records: number;
  words: number;
  connections: number;
  sanitized: boolean;
}

interface State {
  readonly memory: number;
  readonly descriptors: number;
  readonly connections: number;
}

/**
 * Lets hostile clients (hostile.py, two at a time, one of them as nobody when we are root) loose on a server in a process of its
 * own, with the sanitizers of tools/asan where that has been built, for so many seconds.
 * @returns what was wrong, undefined if nothing
 */
export async function fuzzWire(seed: number, seconds: number, counts: WireCounts): Promise<string | undefined> {
  const directory = mkdtempSync(join(tmpdir(), "nokmod-fuzz-"));
  chmodSync(directory, 0o755);
  const reports = mkdtempSync(join(tmpdir(), "nokmod-fuzz-reports-"));
  const path = join(directory, "nokmod.sock");
  // A checkout below a private folder is not readable for nobody.
  const program = join(directory, "hostile.py");
  copyFileSync(here("hostile.py"), program);
  chmodSync(program, 0o755);
  counts.sanitized = existsSync(SANITIZED);
  const faults: string[] = [];
  let state: State | undefined;
  const server = fork(here("server.ts"), [path], {
    execArgv: ["--expose-gc", "--import", REGISTER],
    env: { ...process.env, ...(counts.sanitized ? sanitizers(reports) : {}) },
  });
  server.on("message", (message: { fault?: string } & State) => {
    if (message.fault !== undefined) faults.push(message.fault);
    else state = message;
  });
  try {
    await heard(server, 60_000);
    let first: State | undefined;
    const descriptors = await ask(server, () => state);
    const end = performance.now() + seconds * 1000;
    for (let round = 0; performance.now() < end; round++) {
      const time = Math.min(ROUND, Math.max(1, (end - performance.now()) / 1000));
      await Promise.all([
        client(program, path, seed + 2 * round, time, 0, counts),
        client(program, path, seed + 2 * round + 1, time, 65534, counts),
      ]);
      counts.rounds++;
      if (faults.length > 0) return faults[0];
      if (server.exitCode !== null || server.signalCode !== null)
        return `the server ended: ${server.signalCode ?? server.exitCode}\n${reported(reports)}`;
      serve(path);
      state = await settled(server, () => state, descriptors.descriptors);
      first ??= state;
      if (state.descriptors > descriptors.descriptors + SPARE)
        return `${state.descriptors} descriptors after ${counts.rounds} rounds, ${descriptors.descriptors} at the start`;
      if (state.memory > first.memory + GROWTH) return `memory grows: ${first.memory} bytes, then ${state.memory}`;
    }
    const [text] = [reported(reports)];
    return text === "" ? undefined : text;
  } catch (error) {
    return `${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n${reported(reports)}`;
  } finally {
    if (server.connected) server.send("end");
    await Promise.race([once(server, "exit"), new Promise((resolve) => setTimeout(resolve, 10_000))]);
    server.kill("SIGKILL");
    rmSync(directory, { recursive: true, force: true });
    rmSync(reports, { recursive: true, force: true });
  }
}

/** The environment of a process with the sanitizers of tools/asan. */
function sanitizers(reports: string): NodeJS.ProcessEnv {
  return {
    NOKMOD_NATIVE: SANITIZED,
    LD_PRELOAD: execFileSync("g++", ["-print-file-name=libasan.so"], { encoding: "utf8" }).trim(),
    ASAN_OPTIONS: `detect_leaks=0:log_path=${reports}/asan:allocator_may_return_null=1:quarantine_size_mb=16`,
    UBSAN_OPTIONS: `print_stacktrace=1:log_path=${reports}/ubsan`,
  };
}

const reported = (reports: string): string =>
  readdirSync(reports)
    .map((name) => readFileSync(join(reports, name), "utf8"))
    .join("\n");

/** The child's next message. */
async function heard(child: ChildProcess, timeout: number): Promise<void> {
  const ended = new AbortController();
  try {
    await Promise.race([
      once(child, "message", { signal: ended.signal }),
      once(child, "exit", { signal: ended.signal }).then(() => {
        throw new Error("the server has ended");
      }),
      new Promise((_, reject) => {
        const timer = setTimeout(() => reject(new Error(`the server is silent for ${timeout} ms`)), timeout);
        ended.signal.addEventListener("abort", () => clearTimeout(timer));
      }),
    ]);
  } finally {
    ended.abort();
  }
}

async function ask(server: ChildProcess, state: () => State | undefined): Promise<State> {
  server.send("state");
  await heard(server, 30_000);
  const seen = state();
  if (seen === undefined) throw new Error("the server tells nothing of itself");
  return seen;
}

/** The server's state once the clients that have ended are gone from it, or after 5 s. */
async function settled(server: ChildProcess, state: () => State | undefined, wanted: number): Promise<State> {
  let seen = await ask(server, state);
  for (let i = 0; i < 50 && (seen.connections > 0 || seen.descriptors > wanted); i++) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    seen = await ask(server, state);
  }
  return seen;
}

/** A client that does no harm is served. @throws Error */
function serve(path: string): void {
  const client = new OvsClient(connect(path));
  try {
    client.datapaths();
  } finally {
    client.close();
  }
}

/** Runs hostile.py, at `program`, as a user, if we may choose. */
async function client(
  program: string,
  path: string,
  seed: number,
  seconds: number,
  uid: number,
  counts: WireCounts,
): Promise<void> {
  const root = process.getuid?.() === 0;
  const child = spawn("python3", [program, path, String(seed), String(seconds)], {
    stdio: ["ignore", "pipe", "inherit"],
    ...(root ? { uid, gid: uid } : {}),
  });
  let text = "";
  child.stdout.on("data", (part) => {
    text += part;
  });
  const [code] = await once(child, "close");
  if (code !== 0) throw new Error(`hostile.py ended with ${code}`);
  const done = JSON.parse(text) as Record<"records" | "words" | "connections", number>;
  for (const name of ["records", "words", "connections"] as const) counts[name] += done[name];
}
