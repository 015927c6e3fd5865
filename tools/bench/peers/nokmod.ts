import type { ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { connect, OvsClient } from "../../../src/client/index.ts";
import { OVS_VPORT_TYPE_NETDEV } from "../../../src/uapi/openvswitch.ts";
import { fill, forwardUdp } from "../fill.ts";
import { Ovs } from "./ovs.ts";
import { FLOWS, MANY, type Peer, type Policy, type Running, rules, type Wiring } from "./peer.ts";
import { end, until } from "./process.ts";

/** nokmod with its built-in userspace, as `nokmod start --bridge` runs it. */
export class Nokmod implements Peer {
  readonly policies = ["plain", "nat", "commit", "many", "miss", "full"] as const;

  /** @param program dist/cli/main.js of a checkout whose addon is built */
  constructor(
    private readonly program: string,
    readonly name = "nokmod",
  ) {}

  async start({ namespace, left, right }: Wiring, policy: Policy): Promise<Running> {
    const directory = mkdtempSync(join(tmpdir(), "nokmod-bench-"));
    const socket = join(directory, "nokmod.sock");
    const flows = join(directory, "flows");
    writeFileSync(flows, `${rules(policy).join("\n")}\n`);
    const bridge = ["--bridge=br0", `--port=${left}`, `--port=${right}`, `--flows=${flows}`];
    const child = namespace.start(
      ...[...ownAddon(this.program), process.execPath, this.program, "start", `--socket=${socket}`],
      ...(policy === "full" ? [] : bridge),
      ...(policy === "many" ? [`--sysctl=net.netfilter.nf_conntrack_max=${MANY}`] : []),
    );
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream?.on("data", (chunk) => (output += chunk));
    const stop = async (): Promise<void> => {
      await end(child);
      rmSync(directory, { recursive: true, force: true });
    };
    try {
      await until("nokmod", () => output.includes("ready") || child.exitCode !== null);
      if (child.exitCode !== null) throw new Error(`nokmod ended: ${output}`);
      if (policy === "full") this.fill(socket, left, right);
      const dump = async (): Promise<void> => {
        const command = [process.execPath, this.program, "flows", `--socket=${socket}`];
        const { status, stderr } = await namespace.execute("sh", "-c", '"$@" >/dev/null', "sh", ...command);
        if (status !== 0) throw new Error(`nokmod flows: ${stderr}`);
      };
      const genetlink = underNokmod(this.program, socket);
      return { pids: [child.pid as number], genetlink, dump, stop };
    } catch (error) {
      await stop();
      throw error;
    }
  }

  /** A datapath without userspace, whose flows nobody removes. */
  private fill(socket: string, left: string, right: string): void {
    const connection = connect(socket);
    const client = new OvsClient(connection);
    try {
      const datapath = client.createDatapath("br0").ifindex;
      for (const [i, name] of [left, right].entries())
        client.createVport(datapath, { name, type: OVS_VPORT_TYPE_NETDEV, portNo: i + 1 });
      forwardUdp(client, datapath, 1, 2);
      fill(client, datapath, FLOWS);
    } finally {
      client.close();
      connection.close();
    }
  }
}

/** Unmodified ovs-vswitchd on nokmod, with the environment of `nokmod exec`. */
export class OvsOnNokmod extends Ovs {
  readonly policies = ["miss"] as const;
  protected readonly datapathType = "system";

  constructor(
    private readonly program: string,
    readonly name = "ovs-vswitchd on nokmod",
  ) {
    super();
  }

  protected override async prepare(
    { namespace }: Wiring,
    directory: string,
  ): Promise<{ child: ChildProcess; environment: Record<string, string> }> {
    const socket = join(directory, "nokmod.sock");
    const command = [...ownAddon(this.program), process.execPath, this.program];
    const child = namespace.start(...command, "start", `--socket=${socket}`);
    child.stdout?.resume();
    child.stderr?.resume();
    await until("nokmod", () => existsSync(socket) || child.exitCode !== null);
    return { child, environment: underNokmod(this.program, socket) };
  }
}

/** The start of a command that runs a program with the addon of its own checkout, whatever this program was told. */
function ownAddon(program: string): string[] {
  return ["env", `NOKMOD_NATIVE=${join(dirname(program), "../../build/Release/nokmod_native.node")}`];
}

/** The environment of `nokmod exec`. */
function underNokmod(program: string, socket: string): Record<string, string> {
  const library = join(dirname(program), "../../build/Release/libnokmod-preload.so");
  return { LD_PRELOAD: library, NOKMOD_SOCKET: socket };
}
