import { spawn } from "node:child_process";
import { closeSync, openSync, writeSync } from "node:fs";
import type { Readable } from "node:stream";
import { NokmodError, systemErrorCode } from "../core/errors.ts";
import { print } from "./output.ts";

/** Environment variable with the descriptor by which a daemon reports to the process that started it. */
const REPORT_FD = "NOKMOD_REPORT_FD";

/** Outcome of a start, as JSON on the pipe. */
interface Report {
  /** Text for people: the readiness line, or what went wrong. */
  readonly message: string;
  /** Code of the error; absent: the daemon takes requests. */
  readonly code?: string;
}

/**
 * Reports to the process that started this daemon; does nothing in the foreground, and the second time.
 * @returns code of the failed system call; EPIPE is none: the starter has not waited
 */
export function report(message: string, code?: string): string | undefined {
  const fd = process.env[REPORT_FD];
  if (fd === undefined) return undefined;
  delete process.env[REPORT_FD];
  const text: Report = { message, code };
  try {
    writeSync(Number(fd), JSON.stringify(text));
    closeSync(Number(fd));
    return undefined;
  } catch (error) {
    const failure = systemErrorCode(error);
    if (failure === undefined) throw error;
    return failure === "EPIPE" ? undefined : failure;
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
  await new Promise<void>((resolve, reject) => {
    pipe.once("close", resolve);
    child.once("error", (cause) => {
      reject(new NokmodError("ERR_START_FAILED", `cannot start the daemon: ${cause.message}`, { cause }));
    });
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
    const code = systemErrorCode(cause);
    if (code === undefined) throw cause;
    throw new NokmodError("ERR_LOG_FILE", `cannot write the log ${path}: ${code}`, { cause });
  }
}

function parse(text: string): Report {
  try {
    return JSON.parse(text) as Report;
  } catch (error) {
    // Nothing, or half a report: the daemon has ended before it could write it.
    if (!(error instanceof SyntaxError)) throw error;
    return { message: "nokmod ended before it could take requests", code: "ERR_START_FAILED" };
  }
}
