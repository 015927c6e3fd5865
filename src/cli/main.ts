#!/usr/bin/env node
import "./signals.ts";
import { Command } from "commander";
import { NokmodError } from "../core/errors.ts";
import { addConntrack } from "./commands/conntrack.ts";
import { addDemo } from "./commands/demo.ts";
import { addExec } from "./commands/exec.ts";
import { addFlows } from "./commands/flows.ts";
import { addMonitor } from "./commands/monitor.ts";
import { addShow } from "./commands/show.ts";
import { addStart } from "./commands/start.ts";
import { report } from "./daemon.ts";
import { describeError, paint, watchOutput } from "./output.ts";

/** Exit codes: 0 success, 1 failure, 2 wrong usage. */
const FAILED = 1;
const USAGE = 2;

const program = new Command("nokmod")
  .description("Open vSwitch's kernel datapath with no kernel module")
  .version("0.1.0")
  .showHelpAfterError("(see nokmod --help)")
  .showSuggestionAfterError(true)
  .exitOverride();

for (const add of [addStart, addShow, addFlows, addConntrack, addMonitor, addExec, addDemo]) add(program);

try {
  watchOutput();
  await program.parseAsync();
} catch (error) {
  process.exitCode = fail(error);
}

/** Prints an error on stderr, and reports it to the process that started a daemon. @returns the exit code */
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
