/**
 * The log: lines with a level and a time, written by pino to a file or a descriptor. A line that cannot be written is
 * counted and lost; writing never throws and never blocks, so a full disk or a closed pipe cannot stop the datapath.
 */
import { closeSync, constants, fstatSync, openSync, writeSync } from "node:fs";
import { pino } from "pino";
import { NokmodError, systemErrorCode } from "./errors.ts";

/** Levels of lines, the least important first. */
export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;

/** One of LOG_LEVELS. */
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Takes lines of text. */
interface LogSink {
  /** Writes whole lines, each with its newline. Must not throw. */
  write(text: string): void;
}

/** Options of Log. */
interface LogOptions {
  readonly sink: LogSink;
  /** The least important level that is written. Default `info`. */
  readonly level?: LogLevel;
  /** JSON lines for programs instead of plain lines for people. */
  readonly json?: boolean;
  /** CLOCK_REALTIME in milliseconds since 1970. Default: the machine's. */
  readonly realtime?: () => number;
}

/** Milliseconds in which the same kind of line is written once. */
const LIMIT_INTERVAL = 1000;

/** A kind of line that was written less than LIMIT_INTERVAL ago. */
interface Limited {
  /** Lines that were left out since. */
  leftOut: number;
  level: LogLevel;
  message: string;
  timer: NodeJS.Timeout;
}

/**
 * A log. Plain lines read `2026-01-31T12:00:00.123Z warn: text`; JSON lines have `level`, `time`, `msg`, and of an error
 * `err` with its `type`, `message`, `code` and `stack`.
 */
export class Log {
  private readonly logger: ReturnType<typeof pino>;
  private readonly recent = new Map<string, Limited>();

  constructor(options: LogOptions) {
    const { sink, json = false, realtime = Date.now } = options;
    this.logger = pino(
      {
        level: options.level ?? "info",
        base: undefined,
        timestamp: () => `,"time":"${new Date(realtime()).toISOString()}"`,
        formatters: { level: (level) => ({ level }) },
        serializers: { err: (error: unknown) => describeFault(error) },
      },
      { write: (line: string) => sink.write(json ? line : plainLine(line)) },
    );
  }

  debug(message: string, error?: unknown): void {
    this.write("debug", message, error);
  }

  info(message: string, error?: unknown): void {
    this.write("info", message, error);
  }

  warn(message: string, error?: unknown): void {
    this.write("warn", message, error);
  }

  error(message: string, error?: unknown): void {
    this.write("error", message, error);
  }

  /**
   * Writes a line unless one of its kind was written within the last second. What is left out is counted, and the count
   * is written with the last of them when the second is over.
   * @param kind a fixed word of the program, never one that a client or a packet chooses: kinds are kept
   */
  limited(kind: string, level: LogLevel, message: string, error?: unknown): void {
    const recent = this.recent.get(kind);
    if (recent !== undefined) {
      recent.leftOut++;
      recent.level = level;
      recent.message = message;
      return;
    }
    this.write(level, message, error);
    const timer = setTimeout(() => this.endInterval(kind), LIMIT_INTERVAL).unref();
    this.recent.set(kind, { leftOut: 0, level, message, timer });
  }

  /** Writes the counts of lines that were left out. */
  close(): void {
    for (const kind of [...this.recent.keys()]) this.endInterval(kind);
    for (const { timer } of this.recent.values()) clearTimeout(timer);
    this.recent.clear();
  }

  private endInterval(kind: string): void {
    const recent = this.recent.get(kind);
    if (recent === undefined) return;
    clearTimeout(recent.timer);
    if (recent.leftOut === 0) {
      this.recent.delete(kind);
      return;
    }
    const { leftOut, level, message } = recent;
    this.write(level, `${message} (${leftOut} more like this)`);
    recent.leftOut = 0;
    recent.timer = setTimeout(() => this.endInterval(kind), LIMIT_INTERVAL).unref();
  }

  private write(level: LogLevel, message: string, error?: unknown): void {
    if (error === undefined) this.logger[level](message);
    else this.logger[level]({ err: error }, message);
  }
}

/** What JSON lines show of an error. */
interface Fault {
  readonly type: string;
  readonly message: string;
  readonly code?: string;
  readonly stack?: string;
}

function describeFault(error: unknown): Fault {
  if (!(error instanceof Error)) return { type: typeof error, message: String(error) };
  const { code } = error as { code?: unknown };
  return {
    type: error.name,
    message: error.message,
    ...(typeof code === "string" ? { code } : {}),
    ...(error.stack === undefined ? {} : { stack: error.stack }),
  };
}

/** A plain line from one of pino's JSON lines. An error without a code is followed by the innermost calls of its stack. */
function plainLine(line: string): string {
  const { level, time, msg, err } = JSON.parse(line) as { level: string; time: string; msg: string; err?: Fault };
  let text = `${time} ${level}: ${msg}`;
  if (err !== undefined) {
    text += `: ${err.type}: ${err.message}`;
    if (err.code !== undefined) text += ` (${err.code})`;
    else if (err.stack !== undefined) text += placesOf(err.stack);
  }
  // Text of clients and files must not start a line of its own, nor reach the terminal as control codes.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
  return `${text.replace(/[\x00-\x1f\x7f]+/g, " ")}\n`;
}

/** The innermost calls of a stack, ` at f (file:1:2) at …`. */
function placesOf(stack: string): string {
  const places = stack.split("\n").filter((line) => /^\s+at /.test(line));
  return places
    .slice(0, STACK_PLACES)
    .map((line) => ` ${line.trim()}`)
    .join("");
}

const STACK_PLACES = 8;

/** `/dev/stderr` of this process, opened anew so that it can be made non-blocking for this process alone. */
const OWN_STDERR = "/proc/self/fd/2";
const STDERR_FD = 2;

/**
 * A file, or the process's stderr, that lines are appended to. Lines that cannot be written (ENOSPC, EPIPE, EIO, EAGAIN of
 * a pipe that nobody reads) are counted; before the next line that can be written comes one with their number.
 */
export class LogFile implements LogSink {
  /** Lines that could not be written. */
  lost = 0;
  private fd = -1;
  /** Lines lost since the last that was written. */
  private missing = 0;
  private reason = "";
  /** The last write ended within a line. */
  private torn = false;

  /**
   * @param path of the file, which is made if it is not there (mode 0644); undefined: stderr
   * @param onLost called with the first line that is lost; again only after a line has been written
   * @throws NokmodError ERR_LOG_FILE
   */
  constructor(
    readonly path?: string,
    private readonly onLost?: (message: string) => void,
  ) {
    this.open();
  }

  write(text: string): void {
    const lines = text.length === 0 ? 0 : text.split("\n").length - 1;
    let whole = text;
    if (this.missing > 0) {
      const count = `${this.missing} ${this.missing === 1 ? "line is" : "lines are"}`;
      whole = `${new Date().toISOString()} warn: ${count} missing here: ${this.reason}\n${text}`;
    }
    const error = this.append(this.torn ? `\n${whole}` : whole);
    if (error === undefined) {
      this.missing = 0;
      return;
    }
    const first = this.missing === 0;
    this.lost += lines;
    this.missing += lines;
    this.reason = error;
    if (first) this.onLost?.(`log ${this.path ?? "stderr"}: ${error}: lines are lost until it can be written again`);
  }

  /** Opens the path anew, after something like logrotate has moved the file away. On failure the old file stays in use. */
  reopen(): void {
    if (this.path === undefined) return;
    const old = this.fd;
    try {
      this.open();
    } catch (error) {
      if (!(error instanceof NokmodError)) throw error;
      this.write(`${new Date().toISOString()} warn: ${error.message}; the old file stays in use\n`);
      return;
    }
    if (old > STDERR_FD) closeSync(old);
  }

  close(): void {
    if (this.fd > STDERR_FD) closeSync(this.fd);
    this.fd = -1;
  }

  private open(): void {
    const { O_WRONLY, O_APPEND, O_CREAT, O_NONBLOCK, O_NOCTTY } = constants;
    if (this.path === undefined) {
      this.fd = openStderr();
      return;
    }
    try {
      this.fd = openSync(this.path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY, 0o644);
    } catch (cause) {
      const code = systemErrorCode(cause);
      if (code === undefined) throw cause;
      throw new NokmodError("ERR_LOG_FILE", `cannot write the log ${this.path}: ${code}`, { cause });
    }
    this.torn = false;
  }

  /** @returns why it was not written whole */
  private append(text: string): string | undefined {
    if (this.fd < 0) return "it is closed";
    const bytes = Buffer.from(text);
    let at = 0;
    try {
      while (at < bytes.length) at += writeSync(this.fd, bytes, at);
    } catch (error) {
      // ENOSPC, EPIPE, EIO, EAGAIN, EBADF …: the caller counts the line. A log must not throw, so no code passes on.
      if (at > 0) this.torn = bytes[at - 1] !== 0x0a;
      return systemErrorCode(error) ?? String(error);
    }
    this.torn = false;
    return undefined;
  }
}

/**
 * Stderr, non-blocking where it is a pipe or a terminal. Its own descriptor would block on a pipe that nobody reads, and
 * other processes share its flags.
 */
function openStderr(): number {
  const { O_WRONLY, O_APPEND, O_NONBLOCK, O_NOCTTY } = constants;
  try {
    const stat = fstatSync(STDERR_FD);
    // A file is never waited for, and its offset is shared with others that write it.
    if (stat.isFile()) return STDERR_FD;
    return openSync(OWN_STDERR, O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY);
  } catch (error) {
    // ENXIO: a socket, or a pipe whose reader has gone. EACCES: another user's terminal. ENOENT: no /proc. EBADF: stderr is
    // closed, and writing the first line fails with it again.
    if (systemErrorCode(error) === undefined) throw error;
    return STDERR_FD;
  }
}
