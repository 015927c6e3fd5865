import { spawn } from "node:child_process";
import { closeSync, openSync, writeSync } from "node:fs";
import type { Readable } from "node:stream";
import { NokmodError } from "../core/errors.ts";
import { print } from "./output.ts";

/** Environment variable with the descriptor by which a daemon reports to the process that started it. */
const REPORT_FD = "NOKMOD_REPORT_FD";

/** How a start ended. */
interface Report {
  /** Text for people: the readiness line, or what went wrong. */
  readonly message: string;
  /** Code of the error; absent: the daemon takes requests. */
  readonly code?: string;
}

/** Reports to the process that started this daemon; does nothing in the foreground, and the second time. */
export function report(message: string, code?: string): void {
  const fd = process.env[REPORT_FD];
  if (fd === undefined) return;
  delete process.env[REPORT_FD];
  const text: Report = { message, code };
  try {
    writeSync(Number(fd), JSON.stringify(text));
    closeSync(Number(fd));
  } catch {
    // EPIPE: who started it has not waited. The daemon goes on without.
  }
}

/**
 * Starts this program again in a session of its own, without `--daemon`, and waits until it takes requests.
 * @param log file that gets what Node itself writes to stderr, such as the report of a crash; default nowhere
 * @throws NokmodError with the code of the daemon's error; ERR_START_FAILED, ERR_LOG_FILE
 */
export async function daemonize(log: string | undefined): Promise<void> {
  const stderr = openLog(log ?? "/dev/null");
  const args = process.argv.slice(1).filter((argument) => argument !== "--daemon" && argument !== "-d");
  const child = spawn(process.execPath, [...process.execArgv, ...args], {
    detached: true,
    stdio: ["ignore", "ignore", stderr, "pipe"],
    env: { ...process.env, [REPORT_FD]: "3" },
  });
  closeSync(stderr);
  let text = "";
  const pipe = child.stdio[3] as Readable;
  pipe.on("data", (chunk: Buffer) => {
    text += chunk;
  });
  await new Promise<void>((resolve) => {
    pipe.once("close", resolve);
    child.once("error", () => resolve());
  });
  const { message, code } = parse(text);
  if (code !== undefined) throw new NokmodError(code, message);
  child.unref();
  print(message);
}

function openLog(path: string): number {
  try {
    return openSync(path, "a");
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new NokmodError("ERR_LOG_FILE", `cannot write the log ${path}: ${code}`, { cause });
  }
}

function parse(text: string): Report {
  try {
    return JSON.parse(text) as Report;
  } catch {
    // Nothing, or half of it: the daemon has ended before it could report.
    return { message: "nokmod ended before it could take requests", code: "ERR_START_FAILED" };
  }
}
