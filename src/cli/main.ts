#!/usr/bin/env node
import "./signals.ts";
import { Command, Option } from "commander";
import { NokmodError } from "../core/errors.ts";
import { KERNEL_RELEASES, NEWEST_KERNEL } from "../core/kernel-profile.ts";
import { LOG_LEVELS } from "../core/log.ts";
import { conntrack, flushConntrack } from "./commands/conntrack.ts";
import { demo } from "./commands/demo.ts";
import { exec } from "./commands/exec.ts";
import { flows } from "./commands/flows.ts";
import { monitor } from "./commands/monitor.ts";
import { show } from "./commands/show.ts";
import { start } from "./commands/start.ts";
import { report } from "./daemon.ts";
import { describeError, paint, watchOutput } from "./output.ts";

/** Exit codes: 0 done, 1 it failed, 2 the command line makes no sense. */
const FAILED = 1;
const USAGE = 2;

const many = (value: string, before: string[] | undefined): string[] => [...(before ?? []), value];
const socket = (): Option => new Option("--socket <path>", "where nokmod listens").env("NOKMOD_SOCKET");
const kernel = (): Option =>
  new Option("--kernel <release>", "behave as that release of Linux").choices(KERNEL_RELEASES).default(NEWEST_KERNEL);
const json = (): Option => new Option("--json", "for programs");

const program = new Command("nokmod")
  .description("Open vSwitch's kernel datapath with no kernel module")
  .version("0.1.0")
  .showHelpAfterError("(nokmod --help tells more)")
  .showSuggestionAfterError(true)
  .exitOverride();

program
  .command("start")
  .description("run the datapath; with --bridge also a switch with OpenFlow rules on it")
  .option("-d, --daemon", "go into the background once requests are taken")
  .addOption(socket())
  .option("--pidfile <file>", "write the process id there")
  .addOption(kernel())
  .option("--state <file>", "keep datapaths, ports and settings there; begin with those of a nokmod that was killed")
  .option("--log <file>", "write the log there; SIGHUP opens it anew (default: stderr, of a daemon nowhere)")
  .addOption(
    new Option("--log-level <level>", "the least important lines to write").choices(LOG_LEVELS).default("info"),
  )
  .option("--log-json", "write the log as JSON lines")
  .option("--bridge <name>", "run the built-in userspace on a datapath of that name")
  .option("--port <device>", "add a device to the bridge as the next port (repeatable)", many)
  .option("--flow <rule>", "an OpenFlow rule in ovs-ofctl syntax (repeatable)", many)
  .option("--flows <file>", "a file of such rules")
  .option("--sysctl <name=value>", "a setting, such as net.netfilter.nf_conntrack_max=1000000 (repeatable)", many)
  .option(
    "--cross-zone-nat",
    "let ct(nat(src_zone=…,dst_zone=…)) make connections between two zones, as no kernel does",
  )
  .action(start);

program
  .command("show [datapath]")
  .description("datapaths, their counters and ports")
  .addOption(socket())
  .addOption(json())
  .action(show);

program
  .command("flows [datapath]")
  .description("datapath flows with their counters")
  .addOption(socket())
  .addOption(json())
  .option("-v, --verbose", "wildcarded fields and unique flow ids too")
  .option("--names", "port names instead of numbers")
  .action(flows);

const connections = program
  .command("conntrack")
  .description("connections: both tuples, zone, state")
  .addOption(socket())
  .addOption(json())
  .option("-z, --zone <number>", "of that zone only", Number)
  .option("-m, --more", "ids, status bits and TCP flags too")
  .option("--proc", "as /proc/net/nf_conntrack has them")
  .action(conntrack);

connections
  .command("flush")
  .description("forget connections")
  .addOption(socket())
  .option("-z, --zone <number>", "of that zone only", Number)
  .action(flushConntrack);

program
  .command("exec <command...>")
  .description("run an unmodified program, such as ovs-vswitchd, ovs-dpctl or conntrack, on nokmod")
  .usage("[options] -- <command...>")
  .addOption(socket())
  .option("--seccomp", "hold its system calls (the default for static programs and those written in Go)")
  .option("--no-seccomp", "stand in front of its C library, whatever it is")
  .action(exec);

program.command("demo").description("NAT between two network namespaces, shown step by step").action(demo);

program
  .command("monitor")
  .description("follow changes of datapaths, ports and flows")
  .addOption(socket())
  .addOption(json())
  .action(monitor);

try {
  watchOutput();
  await program.parseAsync();
} catch (error) {
  process.exitCode = fail(error);
}

/** Says what went wrong on stderr. */
function fail(error: unknown): number {
  const code = (error as { code?: string }).code;
  if (code?.startsWith("commander.")) {
    const { exitCode } = error as { exitCode: number };
    return exitCode === 0 ? 0 : USAGE;
  }
  const message = describeError(error);
  report(message, code ?? "ERR_FAULT");
  process.stderr.write(`${paint("red", "nokmod:")} ${message}\n`);
  if (!(error instanceof NokmodError) && process.env.NOKMOD_DEBUG !== undefined) console.error(error);
  return code === "ERR_OPTION" ? USAGE : FAILED;
}
