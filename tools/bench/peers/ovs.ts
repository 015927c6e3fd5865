import type { ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Peer, type Policy, type Running, rules, type Wiring } from "./peer.ts";
import { end, until } from "./process.ts";

/** Debian's ovs-vswitchd, in a run directory of its own. */
export abstract class Ovs implements Peer {
  abstract readonly name: string;
  abstract readonly policies: readonly Policy[];
  /** datapath_type of the bridge. */
  protected abstract readonly datapathType: "netdev" | "system";
  /** Columns of the Open_vSwitch table, as `ovs-vsctl set` takes them. */
  protected readonly settings: readonly string[] = [];

  /** Starts what ovs-vswitchd needs. @returns its process, which start() ends, and the environment of ovs-vswitchd */
  protected async prepare(
    _wiring: Wiring,
    _directory: string,
  ): Promise<{ child?: ChildProcess; environment: Record<string, string> }> {
    return { environment: {} };
  }

  async start({ namespace, left, right }: Wiring, policy: Policy): Promise<Running> {
    const directory = mkdtempSync(join(tmpdir(), "nokmod-bench-ovs-"));
    const at = (name: string): string => join(directory, name);
    const children: ChildProcess[] = [];
    const stop = async (): Promise<void> => {
      for (const child of children.reverse()) await end(child);
      rmSync(directory, { recursive: true, force: true });
    };
    const run = (...command: string[]): string =>
      namespace.run("env", `OVS_RUNDIR=${directory}`, `OVS_LOGDIR=${directory}`, `OVS_DBDIR=${directory}`, ...command);
    try {
      const { child, environment: own } = await this.prepare({ namespace, left, right }, directory);
      if (child !== undefined) children.push(child);
      run("ovsdb-tool", "create", at("conf.db"), "/usr/share/openvswitch/vswitch.ovsschema");
      const environment = ["env", `OVS_RUNDIR=${directory}`, `OVS_LOGDIR=${directory}`, `OVS_DBDIR=${directory}`];
      const database = `unix:${at("db.sock")}`;
      children.push(
        namespace.start(
          ...environment,
          "ovsdb-server",
          at("conf.db"),
          `--remote=p${database}`,
          `--unixctl=${at("db.ctl")}`,
        ),
      );
      await until("ovsdb-server", () => existsSync(at("db.sock")));
      run("ovs-vsctl", `--db=${database}`, "--no-wait", "init");
      if (this.settings.length > 0)
        run("ovs-vsctl", `--db=${database}`, "--no-wait", "set", "Open_vSwitch", ".", ...this.settings);
      const log = at("vswitchd.log");
      const daemon = namespace.start(
        ...environment,
        ...Object.entries(own).map(([name, value]) => `${name}=${value}`),
        "ovs-vswitchd",
        database,
        `--unixctl=${at("vswitchd.ctl")}`,
        `--log-file=${log}`,
        `--pidfile=${at("vswitchd.pid")}`,
      );
      daemon.stdout?.resume();
      daemon.stderr?.resume();
      children.push(daemon);
      await until("ovs-vswitchd", () => existsSync(at("vswitchd.ctl")));
      run(
        ...["ovs-vsctl", `--db=${database}`, "--timeout=20", "add-br", "br0", "--", "set", "bridge", "br0"],
        ...[`datapath_type=${this.datapathType}`, "fail-mode=secure"],
        ...["--", "add-port", "br0", left, "--", "set", "interface", left, "ofport_request=1"],
        ...["--", "add-port", "br0", right, "--", "set", "interface", right, "ofport_request=2"],
      );
      const flows = at("flows");
      writeFileSync(flows, `${rules(policy).join("\n")}\n`);
      run("ovs-ofctl", "add-flows", `unix:${at("br0.mgmt")}`, flows);
      const pid = Number(readFileSync(at("vswitchd.pid"), "utf8"));
      return { pids: [pid, ...(child?.pid === undefined ? [] : [child.pid])], stop };
    } catch (error) {
      await stop();
      throw error;
    }
  }
}

/** ovs-vswitchd with its datapath in user space, datapath_type=netdev. */
export class OvsNetdev extends Ovs {
  readonly name: string;
  readonly policies = ["plain", "nat", "commit", "many", "miss"] as const;
  readonly needsChecksums: boolean;
  protected readonly datapathType = "netdev";
  protected override readonly settings: readonly string[];

  /** @param tso with other_config:userspace-tso-enable */
  constructor(tso: boolean) {
    super();
    this.name = tso ? "netdev+tso" : "netdev";
    this.needsChecksums = !tso;
    this.settings = tso ? ["other_config:userspace-tso-enable=true"] : [];
  }
}
