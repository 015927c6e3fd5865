import { ConntrackClient, connect, formatConnection, formatProc } from "../../client/index.ts";
import { NokmodError } from "../../core/errors.ts";
import { print, printJson } from "../output.ts";

/** Options of `nokmod conntrack`. */
interface ConntrackOptions {
  readonly socket?: string;
  readonly json?: boolean;
  readonly zone?: number;
  readonly more?: boolean;
  /** As /proc/net/nf_conntrack has them. */
  readonly proc?: boolean;
}

/** `nokmod conntrack`: connections as `ovs-appctl dpctl/dump-conntrack` prints them. */
export function conntrack(options: ConntrackOptions): void {
  withClient(options, (client) => {
    const filter = options.zone === undefined ? undefined : { zone: options.zone };
    if (options.json) {
      printJson([...client.connections(filter)]);
      return;
    }
    for (const connection of client.connections(filter)) {
      if (options.proc) print(formatProc(connection));
      else print(formatConnection(connection, { more: options.more, statistics: true }));
    }
  });
}

/** `nokmod conntrack flush`: forgets connections. */
export function flushConntrack(options: ConntrackOptions, command: { optsWithGlobals(): ConntrackOptions }): void {
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
