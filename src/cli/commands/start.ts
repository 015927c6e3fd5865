import { readFileSync } from "node:fs";
import { setPriority } from "node:os";
import { type Command, Option } from "commander";
import { NokmodError, systemErrorCode } from "../../core/errors.ts";
import { KERNEL_RELEASES, NEWEST_KERNEL } from "../../core/kernel-profile.ts";
import { LOG_LEVELS, Log, LogFile, type LogLevel } from "../../core/log.ts";
import { daemonize, report } from "../daemon.ts";
import { repeatable, socketOption } from "../options.ts";
import { describeError, ignoreOutputErrors, print } from "../output.ts";
import { runService, type ServiceOptions } from "../service.ts";
import { setEngineFlags, warmUp } from "../warm-up.ts";

/** Adds `nokmod start`. */
export function addStart(program: Command): void {
  program
    .command("start")
    .description("run the datapath; with --bridge also a switch with OpenFlow rules on it")
    .option("-d, --daemon", "go into the background once requests are taken")
    .addOption(socketOption())
    .option("--pidfile <file>", "write the process id there")
    .addOption(
      new Option("--kernel <release>", "behave as that release of Linux")
        .choices(KERNEL_RELEASES)
        .default(NEWEST_KERNEL),
    )
    .option(
      "--state <file>",
      "keep datapaths, ports, settings and flows there; begin with those of a nokmod that was killed",
    )
    .option("--keep-connections", "with --state: keep connections, too, in <file>.connections")
    .option("--log <file>", "append the log to that file; SIGHUP reopens it (default: stderr, of a daemon nowhere)")
    .addOption(
      new Option("--log-level <level>", "write lines of that level and above").choices(LOG_LEVELS).default("info"),
    )
    .option("--log-json", "write the log as JSON lines")
    .option("--bridge <name>", "run the built-in userspace on a datapath of that name")
    .option("--port <device>", "add a device to the bridge as the next port (repeatable)", repeatable)
    .option("--flow <rule>", "an OpenFlow rule in ovs-ofctl syntax (repeatable)", repeatable)
    .option("--flows <file>", "a file of such rules")
    .option(
      "--sysctl <name=value>",
      "a setting, such as net.netfilter.nf_conntrack_max=1000000 (repeatable)",
      repeatable,
    )
    .option("--cross-zone-nat", "allow ct(nat(src_zone=…,dst_zone=…)): one connection in two zones, as in no kernel")
    .action(start);
}

/** Options of `nokmod start`. */
interface StartOptions extends ServiceOptions {
  readonly daemon?: boolean;
  /** File of the log; default stderr. */
  readonly log?: string;
  readonly logLevel?: LogLevel;
  readonly logJson?: boolean;
  /** File of OpenFlow rules. */
  readonly flows?: string;
  /** OpenFlow rules. */
  readonly flow?: readonly string[];
}

/** Nice value of the thread that switches packets. */
const PRIORITY = -10;

/**
 * Runs nokmod until SIGTERM or SIGINT. With --daemon the caller returns once requests are taken.
 * @throws NokmodError ERR_ADDRESS_IN_USE, ERR_START_FAILED, ERR_KERNEL_UNKNOWN, ERR_OFP_SYNTAX …
 */
async function start(options: StartOptions): Promise<void> {
  if (options.daemon) {
    await daemonize(options.log);
    return;
  }
  const rules = [...(options.flows === undefined ? [] : readRules(options.flows)), ...(options.flow ?? [])];
  if (options.bridge === undefined && (rules.length > 0 || (options.port ?? []).length > 0)) {
    throw new NokmodError("ERR_OPTION", "--port, --flow and --flows belong to a bridge: give --bridge NAME");
  }
  if (options.keepConnections && options.state === undefined) {
    throw new NokmodError("ERR_OPTION", "--keep-connections needs the path of a state file: give --state FILE");
  }
  const { log, file } = openLog(options);
  // A terminal that closes and logrotate both send SIGHUP; neither must end the datapath.
  process.on("SIGHUP", () => {
    file.reopen();
    log.info("SIGHUP: the log file is opened anew");
  });
  raisePriority(log);
  setEngineFlags();
  await warmUp((what, error) => log.error(`warm-up: ${what}`, error));
  const running = runService(options, rules, log);
  process.on("uncaughtException", (error) => log.limited("uncaught", "error", "fault outside of a request", error));
  const ready = `nokmod is ready: ${running.path}`;
  ignoreOutputErrors();
  print(ready);
  if (options.log !== undefined) log.info(ready);
  const unreported = report(ready);
  if (unreported !== undefined) log.warn(`cannot report to the process that started this daemon: ${unreported}`);
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

/** Raises the thread's priority: the module runs in softirq context, before any process does. */
function raisePriority(log: Log): void {
  try {
    setPriority(PRIORITY);
  } catch (error) {
    // EACCES, EPERM: no CAP_SYS_NICE. ENOSYS: a container's filter. Packets are switched at the usual priority.
    const code = systemErrorCode(error);
    if (code === undefined) throw error;
    log.debug(`priority is not raised: ${code}`);
  }
}

/** Lines of a flow file, without blanks and comments, as `ovs-ofctl add-flows` reads it. @throws NokmodError ERR_FLOW_FILE */
function readRules(path: string): string[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    if (systemErrorCode(cause) === undefined) throw cause;
    throw new NokmodError("ERR_FLOW_FILE", `cannot read ${path}: ${describeError(cause)}`, { cause });
  }
  return text
    .split("\n")
    .map((line) => line.replace(/#.*/, "").trim())
    .filter((line) => line !== "");
}
