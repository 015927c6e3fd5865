import { Errno, NokmodError } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import { SystemRandom } from "../core/random.ts";
import { NativePorts } from "../port/native/ports.ts";
import { Namespaces } from "../runtime/namespaces.ts";
import { Nokmod } from "../runtime/nokmod.ts";
import { StateFile } from "../runtime/state-file.ts";
import { NetlinkServer } from "../server/index.ts";
import { ENOENT } from "../uapi/errno.ts";
import { VSwitch } from "../vswitch/index.ts";
import { describeError, missingCapability, nearest } from "./output.ts";
import { removePidfile, writePidfile } from "./pidfile.ts";

/** Options of a service; those of `nokmod start` of the same names. */
export interface ServiceOptions {
  readonly socket?: string;
  readonly pidfile?: string;
  /** Path of the state file (src/runtime/state-file.ts). */
  readonly state?: string;
  /** Keeps connections, too, in the path of the state file with `.connections` appended. */
  readonly keepConnections?: boolean;
  readonly kernel?: string;
  /** Name of the built-in switch's datapath; without it there is no built-in switch. */
  readonly bridge?: string;
  /** Devices of the bridge, in the order of their port numbers. */
  readonly port?: readonly string[];
  /** NAME=VALUE each. */
  readonly sysctl?: readonly string[];
  readonly crossZoneNat?: boolean;
}

/** Default rules of a bridge. */
const DEFAULT_RULES = ["priority=0,actions=NORMAL"];

/**
 * Takes the lock of the socket, then makes datapaths, switch and server. Until the lock is held nothing that another nokmod
 * may own is touched: no state file, no pidfile, no device. Clients that connect meanwhile wait for their first answer.
 * @param rules OpenFlow rules of the bridge; none: NORMAL
 * @returns the path of the socket, and a function that undoes all steps in reverse order
 * @throws NokmodError ERR_ADDRESS_IN_USE, ERR_START_FAILED, ERR_OPTION, ERR_OFP_SYNTAX, ERR_PIDFILE …
 */
export function runService(
  options: ServiceOptions,
  rules: readonly string[],
  log: Log,
): { path: string; stop(): void } {
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
    // First, so that it does not record the removal of the datapaths. A start that fails leaves the file for the next one.
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
      state = new StateFile(nokmod, options.state, log, options.keepConnections);
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

/** Starts the built-in switch. @param undo gets the step that closes it */
function startBridge(
  nokmod: Nokmod,
  name: string,
  ports: readonly string[],
  rules: readonly string[],
  log: Log,
  undo: (() => void)[],
): void {
  const onFault = (what: string, error: unknown): void => {
    // An Errno: the datapath refused a request. Any other error is a fault of the program.
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

/** Adds to an Errno which step failed. @throws NokmodError ERR_START_FAILED */
function attempt<T>(what: string, act: () => T): T {
  try {
    return act();
  } catch (cause) {
    if (!(cause instanceof Errno)) throw cause;
    throw new NokmodError("ERR_START_FAILED", `${what}: ${describeError(cause, missingCapability())}`, { cause });
  }
}
