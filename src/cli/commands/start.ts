import { spawn } from "node:child_process";
import { closeSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { setPriority } from "node:os";
import type { Readable } from "node:stream";
import { Errno, NokmodError } from "../../core/errors.ts";
import { SystemRandom } from "../../core/random.ts";
import { NativePorts } from "../../port/native/ports.ts";
import { Namespaces } from "../../runtime/namespaces.ts";
import { Nokmod } from "../../runtime/nokmod.ts";
import { StateFile } from "../../runtime/state-file.ts";
import { NetlinkServer } from "../../server/index.ts";
import { ENOENT } from "../../uapi/errno.ts";
import { VSwitch } from "../../vswitch/index.ts";
import { describeError, nearest, print } from "../output.ts";
import { setEngineFlags, warmUp } from "../warm-up.ts";

/** Options of `nokmod start`. */
export interface StartOptions {
  readonly socket?: string;
  readonly daemon?: boolean;
  readonly pidfile?: string;
  readonly log?: string;
  /** Where what is configured is kept, for a nokmod that takes over from one that was killed. */
  readonly state?: string;
  readonly kernel?: string;
  readonly bridge?: string;
  readonly port?: readonly string[];
  readonly flows?: string;
  readonly flow?: readonly string[];
  readonly sysctl?: readonly string[];
  readonly crossZoneNat?: boolean;
}

/** Printed when requests are taken; whoever starts nokmod may wait for it. */
const READY = "nokmod is ready";
/** File descriptor by which a daemon tells the one who started it that it is ready, or why it is not. */
const REPORT_FD = "NOKMOD_REPORT_FD";

/**
 * Runs nokmod until SIGTERM or SIGINT. With --daemon the caller returns once requests are taken.
 * @throws NokmodError ERR_ADDRESS_IN_USE, ERR_START_FAILED, ERR_KERNEL_UNKNOWN, ERR_OFP_SYNTAX …
 */
export async function start(options: StartOptions): Promise<void> {
  if (options.daemon) {
    await daemonize(options);
    return;
  }
  const rules = [...(options.flows === undefined ? [] : readRules(options.flows)), ...(options.flow ?? [])];
  if (options.bridge === undefined && (rules.length > 0 || (options.port ?? []).length > 0)) {
    throw new NokmodError("ERR_OPTION", "--port, --flow and --flows belong to a bridge: give --bridge NAME");
  }
  const onFault = (error: unknown): void => {
    process.stderr.write(`nokmod: fault in a request: ${error instanceof Error ? error.stack : error}\n`);
  };
  const onBridgeFault = (what: string, error: unknown): void => {
    console.error(`nokmod: bridge ${options.bridge}: ${what}: ${describeError(error)}`);
  };
  // As in one boot of a kernel, all namespaces share the seed.
  const hashSeed = new SystemRandom().u32();
  const make = (): Nokmod => {
    const made = new Nokmod({
      ports: new NativePorts(),
      kernel: options.kernel,
      crossZoneNat: options.crossZoneNat,
      hashSeed,
    });
    made.kernel.bus.onFault = onFault;
    return made;
  };
  goFirst();
  setEngineFlags();
  await warmUp();
  const nokmod = attempt("packet memory", () => make());
  const namespaces = new Namespaces(() => {
    const made = make();
    for (const setting of options.sysctl ?? []) set(made, setting);
    return made;
  });
  let server: NetlinkServer | undefined;
  let bridge: VSwitch | undefined;
  let state: StateFile | undefined;
  const stop = (): void => {
    // Where another nokmod is serving, the file is that one's.
    state?.close(server !== undefined);
    bridge?.close();
    server?.close();
    namespaces.close();
    nokmod.close();
    if (options.pidfile !== undefined) rmSync(options.pidfile, { force: true });
  };
  try {
    for (const setting of options.sysctl ?? []) set(nokmod, setting);
    if (options.state !== undefined) {
      state = new StateFile(nokmod, options.state);
      for (const failure of state.restore()) process.stderr.write(`nokmod: not as it was: ${failure}\n`);
      state.follow();
    }
    server = new NetlinkServer(nokmod.kernel, { path: options.socket, foreign: namespaces.enter });
    if (options.bridge !== undefined) {
      const name = options.bridge;
      const made = attempt(`bridge ${name}`, () => new VSwitch({ opener: nokmod, name, onFault: onBridgeFault }));
      bridge = made;
      for (const port of options.port ?? []) attempt(`port ${port}`, () => made.addPort(port));
      for (const rule of rules.length > 0 ? rules : ["priority=0,actions=NORMAL"]) made.addFlow(rule);
    }
    if (options.pidfile !== undefined) writeFileSync(options.pidfile, `${process.pid}\n`);
  } catch (error) {
    stop();
    throw error;
  }
  print(`${READY}: ${server.path}`);
  report(`${READY}: ${server.path}`);
  await new Promise<void>((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => resolve());
  });
  stop();
}

/** Applies NAME=VALUE as sysctl(8) would. @throws NokmodError ERR_OPTION */
function set(nokmod: Nokmod, setting: string): void {
  const [, name, value] = /^\s*([^=\s]+)\s*=\s*(.*)$/.exec(setting) ?? [];
  if (name === undefined) throw new NokmodError("ERR_OPTION", `--sysctl ${setting}: NAME=VALUE is wanted`);
  try {
    nokmod.sysctl.set(name, value);
  } catch (cause) {
    if (!(cause instanceof Errno)) throw cause;
    const guess = cause.errno === ENOENT ? nearest(name, nokmod.sysctl.names()) : undefined;
    const hint = guess === undefined ? "" : `; is ${guess} meant?`;
    throw new NokmodError("ERR_OPTION", `--sysctl ${setting}: ${describeError(cause)}${hint}`, { cause });
  }
}

/** Nice value of the thread that switches packets. */
const PRIORITY = -10;

/** The module works in interrupts, before any program has its turn; this comes nearest to it, where it is allowed. */
function goFirst(): void {
  try {
    setPriority(PRIORITY);
  } catch {
    // Without CAP_SYS_NICE packets wait as everybody does.
  }
}

/** Says what an errno of the datapath was about. */
function attempt<T>(what: string, act: () => T): T {
  try {
    return act();
  } catch (cause) {
    if (!(cause instanceof Errno)) throw cause;
    throw new NokmodError("ERR_START_FAILED", `${what}: ${describeError(cause)}`, { cause });
  }
}

/** Lines of a flow file, without blanks and comments, as `ovs-ofctl add-flows` reads it. */
function readRules(path: string): string[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    throw new NokmodError("ERR_FLOW_FILE", `cannot read ${path}: ${describeError(cause)}`, { cause });
  }
  return text
    .split("\n")
    .map((line) => line.replace(/#.*/, "").trim())
    .filter((line) => line !== "");
}

/** Tells the process that started this daemon how it went; does nothing in the foreground. */
export function report(message: string): void {
  const fd = process.env[REPORT_FD];
  if (fd === undefined) return;
  delete process.env[REPORT_FD];
  writeSync(Number(fd), message);
  closeSync(Number(fd));
}

/** Starts this program again in a session of its own, and waits until it takes requests. */
async function daemonize(options: StartOptions): Promise<void> {
  const log = openSync(options.log ?? "/dev/null", "a");
  const args = process.argv.slice(1).filter((argument) => argument !== "--daemon" && argument !== "-d");
  const child = spawn(process.execPath, [...process.execArgv, ...args], {
    detached: true,
    stdio: ["ignore", log, log, "pipe"],
    env: { ...process.env, [REPORT_FD]: "3" },
  });
  closeSync(log);
  let text = "";
  const pipe = child.stdio[3] as Readable;
  pipe.on("data", (chunk: Buffer) => {
    text += chunk;
  });
  await new Promise<void>((resolve) => {
    pipe.once("close", resolve);
    child.once("error", () => resolve());
  });
  if (!text.startsWith(READY)) throw new NokmodError("ERR_START_FAILED", text.trim() || "nokmod did not start");
  child.unref();
  print(text.trim());
}
