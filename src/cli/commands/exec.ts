import { spawn } from "node:child_process";
import { once } from "node:events";
import { constants } from "node:os";
import { resolve } from "node:path";
import type { Command } from "commander";
import { NokmodError, systemErrorCode } from "../../core/errors.ts";
import { ProgramKind, programKind } from "../../exec/elf.ts";
import { checkSocketPath, preloadEnvironment } from "../../exec/preload.ts";
import { seccompSupervisor } from "../../exec/seccomp.ts";
import { defaultSocketPath } from "../../netlink/transport.ts";
import { socketOption } from "../options.ts";

/** Adds `nokmod exec`. */
export function addExec(program: Command): void {
  program
    .command("exec <command...>")
    .description("run an unmodified program, such as ovs-vswitchd, ovs-dpctl or conntrack, on nokmod")
    .usage("[options] -- <command...>")
    .addOption(socketOption())
    .option("--seccomp", "run it under the seccomp supervisor (default for static programs and those written in Go)")
    .option("--no-seccomp", "run it with the preload library, even if it is static")
    .action(exec);
}

/** Options of `nokmod exec`. */
interface ExecOptions {
  readonly socket?: string;
  /** Start the program under the seccomp supervisor, not with the preload library. Default: if it is static or written in Go. */
  readonly seccomp?: boolean;
}

/** Exit codes of a shell: the command was found but would not start; it was not found. */
const CANNOT_START = 126;
const NOT_FOUND = 127;

/** Signals that this process passes on to the command. */
const FORWARDED: readonly NodeJS.Signals[] = [
  "SIGINT",
  "SIGTERM",
  "SIGHUP",
  "SIGQUIT",
  "SIGUSR1",
  "SIGUSR2",
  "SIGCONT",
];

/**
 * Runs an unmodified program so that its openvswitch and conntrack sockets are nokmod's. Ends as the program ends: with its
 * exit code, or by its signal.
 */
async function exec(command: readonly string[], options: ExecOptions): Promise<void> {
  const kind = programKind(command);
  if (kind === ProgramKind.Foreign) {
    process.stderr.write(
      `nokmod exec: ${command[0]} is for another architecture: its netlink sockets are the kernel's\n`,
    );
  }
  const held = options.seccomp ?? kind === ProgramKind.Static;
  // Absolute: the program may change its directory.
  let socket: string;
  try {
    socket = checkSocketPath(resolve(options.socket ?? defaultSocketPath()));
  } catch (error) {
    if (!(error instanceof NokmodError)) throw error;
    process.exitCode = CANNOT_START;
    process.stderr.write(`nokmod exec: ${error.message}\n`);
    return;
  }
  const env = held ? { ...process.env, NOKMOD_SOCKET: socket } : preloadEnvironment(socket);
  const [file, ...args] = held ? [seccompSupervisor(), ...command] : command;
  const child = spawn(file, args, { stdio: "inherit", env });
  const forward = (signal: NodeJS.Signals): void => void child.kill(signal);
  for (const signal of FORWARDED) process.on(signal, forward);
  try {
    const [code, signal] = (await once(child, "exit")) as [number | null, NodeJS.Signals | null];
    if (signal === null) {
      process.exitCode = code ?? 1;
      return;
    }
    process.exitCode = 128 + constants.signals[signal];
    // Our own listeners would keep the signal from ending this process as it ended the command.
    for (const name of FORWARDED) process.removeAllListeners(name);
    process.kill(process.pid, signal);
  } catch (cause) {
    const code = systemErrorCode(cause);
    if (code === undefined) throw cause;
    process.exitCode = code === "ENOENT" ? NOT_FOUND : CANNOT_START;
    const why = code === "ENOENT" ? "command not found" : (cause as Error).message;
    process.stderr.write(`nokmod exec: ${file}: ${why}\n`);
  } finally {
    for (const signal of FORWARDED) process.off(signal, forward);
  }
}
