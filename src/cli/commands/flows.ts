import type { Command } from "commander";
import { formatActions, formatFlow, formatKey, formatUfid } from "../../client/format/index.ts";
import { connect, type FlowInfo, OvsClient } from "../../client/index.ts";
import { systemClock } from "../../core/clock.ts";
import { jsonOption, socketOption } from "../options.ts";
import { print, printJson } from "../output.ts";
import { unknownDatapath } from "./lookup.ts";

/** Adds `nokmod flows`. */
export function addFlows(program: Command): void {
  program
    .command("flows [datapath]")
    .description("datapath flows with their counters")
    .addOption(socketOption())
    .addOption(jsonOption())
    .option("-v, --verbose", "wildcarded fields and unique flow ids too")
    .option("--names", "port names instead of numbers")
    .action(flows);
}

/** Options of `nokmod flows`. */
interface FlowsOptions {
  readonly socket?: string;
  readonly json?: boolean;
  readonly verbose?: boolean;
  readonly names?: boolean;
}

/** Prints datapath flows as `ovs-appctl dpctl/dump-flows` does. */
function flows(name: string | undefined, options: FlowsOptions): void {
  const opener = connect(options.socket);
  const client = new OvsClient(opener);
  try {
    const all = client.datapaths();
    const chosen = name === undefined ? all : all.filter((datapath) => datapath.name === name);
    if (name !== undefined && chosen.length === 0) throw unknownDatapath(name, all);
    // The clock is read before the flows, so that no flow was used later than now.
    const now = systemClock.monotonic();
    if (options.json) {
      printJson(
        chosen.map((datapath) => ({ datapath: datapath.name, flows: [...client.flows(datapath.ifindex)].map(plain) })),
      );
      return;
    }
    for (const datapath of chosen) {
      if (chosen.length > 1) print(`${datapath.name}:`);
      const names = new Map(client.vports(datapath.ifindex).map((port) => [port.portNo, port.name]));
      for (const flow of client.flows(datapath.ifindex)) {
        const portName = (portNo: number): string => names.get(portNo) ?? String(portNo);
        print(formatFlow(flow, now, { verbose: options.verbose, portName: options.names ? portName : undefined }));
      }
    }
  } finally {
    client.close();
    opener.close();
  }
}

/** A flow for programs: text of match and actions, numbers for the rest. */
function plain(flow: FlowInfo): Record<string, unknown> {
  const { ufid, key, mask, actions, packets, bytes, used, tcpFlags } = flow;
  return {
    ufid: ufid === null ? null : formatUfid(ufid),
    match: key === null ? null : formatKey(key, mask),
    actions: actions === null ? null : formatActions(actions),
    packets,
    bytes,
    used,
    tcpFlags,
  };
}
