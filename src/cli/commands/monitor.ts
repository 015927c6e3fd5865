import type { Command } from "commander";
import { formatActions, formatKey, formatUfid } from "../../client/format/index.ts";
import { connect, type Notification, OvsClient } from "../../client/index.ts";
import { jsonOption, socketOption } from "../options.ts";
import { paint, print } from "../output.ts";

/** Names of OVS_*_CMD_* by number; they are the same in the three families. */
const COMMANDS = ["", "new", "del", "get", "set"];

/** Adds `nokmod monitor`. */
export function addMonitor(program: Command): void {
  program
    .command("monitor")
    .description("follow changes of datapaths, ports and flows")
    .addOption(socketOption())
    .addOption(jsonOption())
    .action(monitor);
}

/** Prints the notifications of the families' multicast groups until SIGINT or SIGTERM. */
async function monitor(options: { socket?: string; json?: boolean }): Promise<void> {
  const opener = connect(options.socket);
  const client = new OvsClient(opener);
  const subscription = client.subscribe(
    (notification) => {
      if (options.json) print(JSON.stringify({ time: new Date().toISOString(), ...plain(notification) }));
      else print(`${paint("dim", new Date().toISOString().slice(11, 23))} ${describe(notification)}`);
    },
    undefined,
    () => process.stderr.write("nokmod: notifications were lost (ENOBUFS)\n"),
  );
  await new Promise<void>((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => resolve());
  });
  subscription.close();
  client.close();
  opener.close();
}

function describe(notification: Notification): string {
  const command = COMMANDS[notification.command] ?? String(notification.command);
  const head = `${paint("bold", notification.family)} ${command}`;
  switch (notification.family) {
    case "ovs_datapath":
      return `${head} ${notification.datapath.name} ifindex ${notification.datapath.ifindex}`;
    case "ovs_vport":
      return `${head} port ${notification.vport.portNo} ${notification.vport.name}`;
    case "ovs_flow": {
      const { key, mask, actions, ufid, packets } = notification.flow;
      const match = key === null ? (ufid === null ? "" : formatUfid(ufid)) : formatKey(key, mask);
      return `${head} ${match}, packets:${packets}${actions === null ? "" : `, actions:${formatActions(actions)}`}`;
    }
  }
}

function plain(notification: Notification): Record<string, unknown> {
  const command = COMMANDS[notification.command] ?? notification.command;
  switch (notification.family) {
    case "ovs_datapath":
      return { family: notification.family, command, datapath: notification.datapath };
    case "ovs_vport":
      return { family: notification.family, command, vport: notification.vport };
    case "ovs_flow": {
      const { key, mask, actions, ufid, packets, bytes } = notification.flow;
      return {
        family: notification.family,
        command,
        flow: {
          ufid: ufid === null ? null : formatUfid(ufid),
          match: key === null ? null : formatKey(key, mask),
          actions: actions === null ? null : formatActions(actions),
          packets,
          bytes,
        },
      };
    }
  }
}
