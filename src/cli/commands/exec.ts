import { spawn } from "node:child_process";
import { once } from "node:events";
import { constants } from "node:os";
import { resolve } from "node:path";
import type { NokmodError } from "../../core/errors.ts";
import { ProgramKind, programKind } from "../../exec/elf.ts";
import { checkSocketPath, preloadEnvironment } from "../../exec/preload.ts";
import { seccompSupervisor } from "../../exec/seccomp.ts";
import { defaultSocketPath } from "../../netlink/transport.ts";

/** Options of `nokmod exec`. */
export interface ExecOptions {
  readonly socket?: string;
  /** Start it under the seccomp supervisor instead of with the preload library. Default: if it is static or written in Go. */
  readonly seccomp?: boolean;
}

/** Exit codes of a shell: the command was found but would not start; it was not found. */
const CANNOT_START = 126;
const NOT_FOUND = 127;

/** Signals that are sent to this process to reach the command. */
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
 * `nokmod exec -- COMMAND`: runs a program that speaks to the kernel's openvswitch and conntrack, unmodified, on nokmod.
 * Ends as the command ends: with its exit code, or by its signal.
 */
export async function exec(command: readonly string[], options: ExecOptions): Promise<void> {
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
    process.exitCode = CANNOT_START;
    process.stderr.write(`nokmod exec: ${(error as NokmodError).message}\n`);
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
    const { code } = cause as NodeJS.ErrnoException;
    process.exitCode = code === "ENOENT" ? NOT_FOUND : CANNOT_START;
    const why = code === "ENOENT" ? "command not found" : (cause as Error).message;
    process.stderr.write(`nokmod exec: ${file}: ${why}\n`);
  } finally {
    for (const signal of FORWARDED) process.off(signal, forward);
  }
}
