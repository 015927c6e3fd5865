/** Network namespaces for demonstrations and tests: made with unshare(1), entered with nsenter(1). */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readlinkSync } from "node:fs";
import { NokmodError } from "../core/errors.ts";

/** A command in a namespace failed, or could not be started. */
class CommandError extends NokmodError {
  constructor(
    readonly command: readonly string[],
    readonly status: number | null,
    readonly output: string,
  ) {
    super("ERR_COMMAND", `${command.join(" ")}: ${output.trim() || `exit status ${status}`}`);
  }
}

/** What a command printed and how it ended. @internal */
export interface CommandResult {
  status: number | null;
  stdout: string;
  stderr: string;
}

/**
 * A network namespace without a name, held by a child process that reads a pipe of this one. The kernel removes it with
 * its devices when this process ends, kill -9 included.
 */
export class Namespace {
  private constructor(private readonly holder: ChildProcess) {}

  /** @throws CommandError without the permission to make one */
  static async create(): Promise<Namespace> {
    const holder = spawn("unshare", ["--net", "--", "sh", "-c", "echo ready; exec cat"], {
      stdio: ["pipe", "pipe", "pipe"],
      env: { ...process.env, PATH: searchPath },
    });
    const { stdout, stderr } = holder;
    if (stdout === null || stderr === null) throw new CommandError(["unshare", "--net"], null, "no pipes");
    let complaint = "";
    stderr.on("data", (chunk) => {
      complaint += chunk;
    });
    const ready = await Promise.race([
      once(stdout, "data").then(() => true),
      once(holder, "exit").then(() => false),
      once(holder, "error").then(([error]) => {
        complaint = String(error);
        return false;
      }),
    ]);
    if (!ready) throw new CommandError(["unshare", "--net"], holder.exitCode, complaint);
    holder.unref();
    const namespace = new Namespace(holder);
    namespace.run("ip", "link", "set", "lo", "up");
    return namespace;
  }

  /** Process id to name the namespace by, as in `ip link set X netns PID`. */
  get pid(): number {
    return this.holder.pid as number;
  }

  /** Path of the namespace, for setns. */
  get path(): string {
    return `/proc/${this.pid}/ns/net`;
  }

  /** `net:[inode]` */
  get id(): string {
    return readlinkSync(this.path);
  }

  /** Runs a command inside and waits for it. @throws CommandError if it fails */
  run(...command: string[]): string {
    const result = this.try(...command);
    if (result.status !== 0) throw new CommandError(command, result.status, result.stderr || result.stdout);
    return result.stdout;
  }

  /** Runs a command inside and waits for it; a failure is no error. */
  try(...command: string[]): CommandResult {
    const { status, stdout, stderr, error } = spawnSync("nsenter", [`--net=${this.path}`, "--", ...command], {
      encoding: "utf8",
      timeout: 60_000,
      env: { ...process.env, PATH: searchPath },
      maxBuffer: 64 << 20,
    });
    return { status, stdout: stdout ?? "", stderr: error === undefined ? stderr : String(error) };
  }

  /** Runs a command inside without blocking this process, which may be the one that switches its packets. */
  async execute(...command: string[]): Promise<CommandResult> {
    const child = this.start(...command);
    let stdout = "";
    let stderr = "";
    child.stdout?.on("data", (chunk) => {
      stdout += chunk;
    });
    child.stderr?.on("data", (chunk) => {
      stderr += chunk;
    });
    const status = await new Promise<number | null>((resolve) => {
      child.on("error", (error) => {
        stderr += String(error);
        resolve(null);
      });
      child.on("close", resolve);
    });
    return { status, stdout, stderr };
  }

  /** Starts a command inside; the caller ends it. */
  start(...command: string[]): ChildProcess {
    return spawn("nsenter", [`--net=${this.path}`, "--", ...command], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, PATH: searchPath },
    });
  }

  /** start() with a standard input: for programs that end when that does, also after a kill -9 of this process. */
  startInteractive(...command: string[]): ChildProcess {
    return spawn("nsenter", [`--net=${this.path}`, "--", ...command], {
      stdio: ["pipe", "pipe", "pipe"],
      env: { ...process.env, PATH: searchPath },
    });
  }

  /** Ends the holder: the kernel removes the namespace with its devices once no process is in it. */
  async close(): Promise<void> {
    if (this.holder.exitCode !== null || this.holder.signalCode !== null) return;
    const ended = once(this.holder, "exit");
    this.holder.ref();
    this.holder.stdin?.end();
    await ended;
  }
}

/** With /usr/sbin, where Debian keeps ip and which PATH may lack. */
const searchPath = `${process.env.PATH ?? ""}:/usr/sbin:/sbin`;
