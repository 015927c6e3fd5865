import type { Command } from "commander";
import { ConntrackClient, connect, formatConnection, formatProc } from "../../client/index.ts";
import { NokmodError } from "../../core/errors.ts";
import { jsonOption, socketOption } from "../options.ts";
import { print, printJsonList } from "../output.ts";

/** Adds `nokmod conntrack` and `nokmod conntrack flush`. */
export function addConntrack(program: Command): void {
  const connections = program
    .command("conntrack")
    .description("connections: both tuples, zone, state")
    .addOption(socketOption())
    .addOption(jsonOption())
    .option("-z, --zone <number>", "only connections of that zone", Number)
    .option("-m, --more", "ids, status bits and TCP flags too")
    .option("--proc", "in the form of /proc/net/nf_conntrack")
    .action(conntrack);
  connections
    .command("flush")
    .description("delete connections")
    .addOption(socketOption())
    .option("-z, --zone <number>", "only connections of that zone", Number)
    .action(flushConntrack);
}

/** Options of `nokmod conntrack`. */
interface ConntrackOptions {
  readonly socket?: string;
  readonly json?: boolean;
  readonly zone?: number;
  readonly more?: boolean;
  /** In the form of /proc/net/nf_conntrack. */
  readonly proc?: boolean;
}

/** Prints connections as `ovs-appctl dpctl/dump-conntrack` does. */
function conntrack(options: ConntrackOptions): void {
  withClient(options, (client) => {
    const filter = options.zone === undefined ? undefined : { zone: options.zone };
    if (options.json) {
      printJsonList(client.connections(filter));
      return;
    }
    for (const connection of client.connections(filter)) {
      if (options.proc) print(formatProc(connection));
      else print(formatConnection(connection, { more: options.more, statistics: true }));
    }
  });
}

/** Deletes connections. */
function flushConntrack(options: ConntrackOptions, command: { optsWithGlobals(): ConntrackOptions }): void {
  const { socket, zone } = { ...options, ...command.optsWithGlobals() };
  withClient({ socket, zone }, (client) => client.flush(zone));
}

function withClient(options: ConntrackOptions, use: (client: ConntrackClient) => void): void {
  if (options.zone !== undefined && !(Number.isInteger(options.zone) && options.zone >= 0 && options.zone <= 0xffff)) {
    throw new NokmodError("ERR_OPTION", "--zone is a number from 0 to 65535");
  }
  const opener = connect(options.socket);
  const client = new ConntrackClient(opener);
  try {
    use(client);
  } finally {
    client.close();
    opener.close();
  }
}
