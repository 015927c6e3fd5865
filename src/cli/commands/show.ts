import type { Command } from "commander";
import { connect, OvsClient, type VportInfo } from "../../client/index.ts";
import { tunnelVport } from "../../tunnel/kinds/index.ts";
import * as ovs from "../../uapi/openvswitch.ts";
import { jsonOption, socketOption } from "../options.ts";
import { brief, paint, print, printJson, printTable } from "../output.ts";
import { unknownDatapath } from "./lookup.ts";

/** Names of vport types as ovs-dpctl(8) prints them; a tunnel type has its name in its record (src/tunnel/kinds). */
const TYPES: Record<number, string> = {
  [ovs.OVS_VPORT_TYPE_NETDEV]: "netdev",
  [ovs.OVS_VPORT_TYPE_INTERNAL]: "internal",
};

/** Adds `nokmod show`. */
export function addShow(program: Command): void {
  program
    .command("show [datapath]")
    .description("datapaths, their counters and ports")
    .addOption(socketOption())
    .addOption(jsonOption())
    .action(show);
}

/** Prints datapaths with their counters and ports. */
function show(name: string | undefined, options: { socket?: string; json?: boolean }): void {
  const opener = connect(options.socket);
  const client = new OvsClient(opener);
  try {
    const all = client.datapaths();
    const datapaths = name === undefined ? all : all.filter((datapath) => datapath.name === name);
    if (name !== undefined && datapaths.length === 0) throw unknownDatapath(name, all);
    const result = datapaths.map((datapath) => ({
      ...datapath,
      ports: client.vports(datapath.ifindex).sort((a, b) => a.portNo - b.portNo),
    }));
    if (options.json) {
      printJson(result);
      return;
    }
    if (result.length === 0) print("no datapaths");
    for (const { name: datapath, stats, megaflowStats, ports } of result) {
      const { hit, missed, lost, flows } = stats;
      print(paint("bold", datapath));
      print(`  lookups: hit ${hit}, missed ${missed}, lost ${lost}; flows: ${flows}`);
      const { maskHit, masks, cacheHit } = megaflowStats;
      const lookups = hit + missed;
      const perPacket = lookups === 0 ? "0" : (maskHit / lookups).toFixed(2);
      print(`  masks: ${masks}, probed ${maskHit} (${perPacket} a packet), by cache ${cacheHit}`);
      printTable(
        [
          { title: "  port", right: true },
          { title: "name" },
          { title: "type" },
          { title: "rx packets", right: true },
          { title: "tx packets", right: true },
          { title: "rx bytes", right: true },
          { title: "tx bytes", right: true },
          { title: "errors", right: true },
          { title: "dropped", right: true },
        ],
        ports.map(row),
      );
    }
  } finally {
    client.close();
    opener.close();
  }
}

function row(port: VportInfo): (string | number)[] {
  const { stats } = port;
  const numbers =
    stats === null
      ? ["", "", "", "", "", ""]
      : [
          brief(stats.rxPackets),
          brief(stats.txPackets),
          brief(stats.rxBytes),
          brief(stats.txBytes),
          brief(stats.rxErrors + stats.txErrors),
          brief(stats.rxDropped + stats.txDropped),
        ];
  return [port.portNo, port.name, TYPES[port.type] ?? tunnelVport(port.type)?.name ?? String(port.type), ...numbers];
}
