import { readFileSync } from "node:fs";
import { setPriority } from "node:os";
import { Errno, NokmodError } from "../../core/errors.ts";
import { Log, LogFile, type LogLevel } from "../../core/log.ts";
import { SystemRandom } from "../../core/random.ts";
import { NativePorts } from "../../port/native/ports.ts";
import { Namespaces } from "../../runtime/namespaces.ts";
import { Nokmod } from "../../runtime/nokmod.ts";
import { StateFile } from "../../runtime/state-file.ts";
import { NetlinkServer } from "../../server/index.ts";
import { ENOENT } from "../../uapi/errno.ts";
import { VSwitch } from "../../vswitch/index.ts";
import { daemonize, report } from "../daemon.ts";
import { describeError, ignoreOutputErrors, missingCapability, nearest, print } from "../output.ts";
import { removePidfile, writePidfile } from "../pidfile.ts";
import { setEngineFlags, warmUp } from "../warm-up.ts";

/** Options of `nokmod start`. */
export interface StartOptions {
  readonly socket?: string;
  readonly daemon?: boolean;
  readonly pidfile?: string;
  /** File of the log; default stderr. */
  readonly log?: string;
  readonly logLevel?: LogLevel;
  readonly logJson?: boolean;
  /** File of what is configured, for a nokmod that takes over from one that was killed. */
  readonly state?: string;
  readonly kernel?: string;
  readonly bridge?: string;
  readonly port?: readonly string[];
  readonly flows?: string;
  readonly flow?: readonly string[];
  readonly sysctl?: readonly string[];
  readonly crossZoneNat?: boolean;
}

/** Rules of a bridge that is given none. */
const DEFAULT_RULES = ["priority=0,actions=NORMAL"];
/** Nice value of the thread that switches packets. */
const PRIORITY = -10;

/**
 * Runs nokmod until SIGTERM or SIGINT. With --daemon the caller returns once requests are taken.
 * @throws NokmodError ERR_ADDRESS_IN_USE, ERR_START_FAILED, ERR_KERNEL_UNKNOWN, ERR_OFP_SYNTAX …
 */
export async function start(options: StartOptions): Promise<void> {
  if (options.daemon) {
    await daemonize(options.log);
    return;
  }
  const rules = [...(options.flows === undefined ? [] : readRules(options.flows)), ...(options.flow ?? [])];
  if (options.bridge === undefined && (rules.length > 0 || (options.port ?? []).length > 0)) {
    throw new NokmodError("ERR_OPTION", "--port, --flow and --flows belong to a bridge: give --bridge NAME");
  }
  const { log, file } = openLog(options);
  // A terminal that closes and logrotate both send SIGHUP; neither must end the datapath.
  process.on("SIGHUP", () => {
    file.reopen();
    log.info("SIGHUP: the log file is opened anew");
  });
  raisePriority();
  setEngineFlags();
  await warmUp();
  const running = run(options, rules, log);
  process.on("uncaughtException", (error) => log.limited("uncaught", "error", "fault outside of a request", error));
  const ready = `nokmod is ready: ${running.path}`;
  ignoreOutputErrors();
  print(ready);
  if (options.log !== undefined) log.info(ready);
  report(ready);
  await new Promise<void>((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => resolve());
  });
  running.stop();
  log.close();
}

function openLog({ log: path, logLevel, logJson }: StartOptions): { log: Log; file: LogFile } {
  let file: LogFile;
  if (path === undefined) file = new LogFile();
  else {
    const stderr = new LogFile();
    file = new LogFile(path, (message) => stderr.write(`nokmod: ${message}\n`));
  }
  return { log: new Log({ sink: file, level: logLevel, json: logJson }), file };
}

/**
 * Takes the lock of the socket, then makes everything. Until the lock is held nothing that another nokmod may own is
 * touched: no state file, no pidfile, no device. Clients that connect meanwhile wait for their first answer.
 */
function run(options: StartOptions, rules: readonly string[], log: Log): { path: string; stop(): void } {
  // As in one boot of a kernel, all namespaces share the seed.
  const hashSeed = new SystemRandom().u32();
  const make = (): Nokmod => {
    const { kernel, crossZoneNat } = options;
    return new Nokmod({ ports: new NativePorts(), kernel, crossZoneNat, hashSeed, log });
  };
  const nokmod = attempt("packet memory", make);
  const namespaces = new Namespaces(() => {
    const made = make();
    for (const setting of options.sysctl ?? []) set(made, setting);
    return made;
  }, log);
  let state: StateFile | undefined;
  let complete = false;
  // Undone in the reverse order.
  const undo: (() => void)[] = [() => nokmod.close(), () => namespaces.close()];
  const stop = (): void => {
    // First, or it would follow the end of everything. A start that fails leaves the file for the next one.
    state?.close(complete);
    for (const step of undo.splice(0).reverse()) step();
  };
  try {
    for (const setting of options.sysctl ?? []) set(nokmod, setting);
    const server = new NetlinkServer(nokmod.kernel, {
      path: options.socket,
      foreign: namespaces.enter,
      onRefused: (message) => log.limited("refused", "warn", message),
    });
    undo.push(() => server.close());
    if (options.state !== undefined) {
      state = new StateFile(nokmod, options.state, log);
      for (const failure of state.restore()) log.warn(`not as it was: ${failure}`);
    }
    const { bridge, pidfile } = options;
    if (bridge !== undefined) startBridge(nokmod, bridge, options.port ?? [], rules, log, undo);
    if (pidfile !== undefined) {
      writePidfile(pidfile);
      undo.push(() => {
        const failure = removePidfile(pidfile);
        if (failure !== undefined) log.warn(failure);
      });
    }
    state?.follow();
    complete = true;
    return { path: server.path, stop };
  } catch (error) {
    stop();
    throw error;
  }
}

/** Starts the built-in switch. @param undo gets what ends it */
function startBridge(
  nokmod: Nokmod,
  name: string,
  ports: readonly string[],
  rules: readonly string[],
  log: Log,
  undo: (() => void)[],
): void {
  const onFault = (what: string, error: unknown): void => {
    // The datapath refused a request; anything but an Errno is a fault of ours.
    if (error instanceof Errno)
      log.limited(`bridge ${what}`, "warn", `bridge ${name}: ${what}: ${describeError(error)}`);
    else log.limited(`bridge ${what}`, "error", `bridge ${name}: ${what}`, error);
  };
  const bridge = attempt(`bridge ${name}`, () => new VSwitch({ opener: nokmod, name, onFault }));
  undo.push(() => bridge.close());
  for (const port of ports) attempt(`port ${port}`, () => bridge.addPort(port));
  for (const rule of rules.length > 0 ? rules : DEFAULT_RULES) bridge.addFlow(rule);
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

/** The module runs in softirq context, before any program has its turn; a high priority comes nearest to that. */
function raisePriority(): void {
  try {
    setPriority(PRIORITY);
  } catch {
    // EACCES or EPERM without CAP_SYS_NICE: packets are switched at the usual priority.
  }
}

/** Names what an errno of the datapath was about. @throws NokmodError ERR_START_FAILED */
function attempt<T>(what: string, act: () => T): T {
  try {
    return act();
  } catch (cause) {
    if (!(cause instanceof Errno)) throw cause;
    throw new NokmodError("ERR_START_FAILED", `${what}: ${describeError(cause, missingCapability())}`, { cause });
  }
}

/** Lines of a flow file, without blanks and comments, as `ovs-ofctl add-flows` reads it. @throws NokmodError ERR_FLOW_FILE */
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
