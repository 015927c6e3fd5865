import { type ChildProcess, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir, uptime } from "node:os";
import { dirname, join } from "node:path";
import { connect, OvsClient } from "../../src/client/index.ts";
import type { Namespace } from "../../src/lab/namespace.ts";
import { OVS_VPORT_TYPE_NETDEV } from "../../src/uapi/openvswitch.ts";
import { fill, forwardUdp } from "./fill.ts";

/** What the switch between the two devices is to do. */
export type Policy =
  | "plain"
  /** ct(commit,nat) to the right, ct(nat) back. */
  | "nat"
  /** ct(commit), no NAT. */
  | "commit"
  /** The same, with room for MANY connections. */
  | "many"
  /** Plain output, but every source address and port needs a datapath flow of its own. */
  | "miss"
  /** Plain output, and FLOWS other flows in the datapath. */
  | "full";

/** Datapath flows in a datapath that is full. */
export const FLOWS = 200_000;

/** Connections of a table that is large. */
export const MANY = 1_000_000;

/** The two devices that a peer connects, in the namespace it runs in. */
export interface Wiring {
  readonly namespace: Namespace;
  readonly left: string;
  readonly right: string;
}

/** A switch under test: started on two devices, and stopped without a trace. */
export interface Peer {
  readonly name: string;
  readonly policies: readonly Policy[];
  /** Cannot complete partial checksums: the hosts must send whole ones (ethtool -K tx off). */
  readonly needsChecksums?: boolean;
  start(wiring: Wiring, policy: Policy): Promise<Running>;
}

/** A started peer. */
export interface Running {
  /** Process ids whose processor time is the peer's. */
  readonly pids: readonly number[];
  /** Environment in which a program's generic netlink is this peer's; absent: it answers none. */
  readonly genetlink?: Readonly<Record<string, string>>;
  /** Another process reads all datapath flows. */
  dump?(): Promise<void>;
  stop(): Promise<void>;
}

/** OpenFlow rules of a policy: port 1 is left, port 2 is right. */
export function rules(policy: Policy): string[] {
  switch (policy) {
    case "plain":
      return ["in_port=1,actions=output:2", "in_port=2,actions=output:1"];
    case "nat":
      return [
        "priority=10,in_port=1,ip,actions=ct(commit,zone=1,nat(src=10.9.0.240-10.9.0.255)),output:2",
        "priority=10,in_port=2,ct_state=-trk,ip,actions=ct(table=0,zone=1,nat)",
        "priority=10,in_port=2,ct_state=+trk,ct_zone=1,ip,actions=output:1",
        "priority=1,in_port=1,actions=output:2",
        "priority=1,in_port=2,actions=output:1",
      ];
    case "miss":
      return [
        "priority=10,in_port=1,udp,actions=move:NXM_OF_IP_SRC[]->NXM_NX_REG1[],move:NXM_OF_UDP_SRC[]->NXM_NX_REG0[0..15],output:2",
        "priority=1,in_port=1,actions=output:2",
        "priority=1,in_port=2,actions=output:1",
      ];
    case "full":
      return [];
    case "commit":
    case "many":
      return [
        "priority=10,in_port=1,ip,actions=ct(commit,zone=1),output:2",
        "priority=10,in_port=2,ip,actions=ct(zone=1),output:1",
        "priority=1,in_port=1,actions=output:2",
        "priority=1,in_port=2,actions=output:1",
      ];
  }
}

/** Ends a child and waits for it. */
async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), 5000);
  await ended;
  clearTimeout(timer);
}

/** Waits until `ready()` holds. @throws Error after `seconds` */
async function until(what: string, ready: () => boolean, seconds = 20): Promise<void> {
  const limit = performance.now() + seconds * 1000;
  while (!ready()) {
    if (performance.now() > limit) throw new Error(`${what} took more than ${seconds} s`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Debian's ovs-vswitchd, in a run directory of its own. */
abstract class Ovs implements Peer {
  abstract readonly name: string;
  abstract readonly policies: readonly Policy[];
  /** Of the bridge. */
  protected abstract readonly datapathType: "netdev" | "system";
  /** Columns of the Open_vSwitch table, as `ovs-vsctl set` takes them. */
  protected readonly settings: readonly string[] = [];

  /** Starts what must be there first. @returns what stops it, and the environment of ovs-vswitchd */
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

/** Its own datapath in user space, datapath_type=netdev. */
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

/** On nokmod, unmodified, as `nokmod exec` runs it. */
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

/** The Linux bridge. */
export class LinuxBridge implements Peer {
  readonly name = "bridge";
  readonly policies = ["plain"] as const;

  async start({ namespace, left, right }: Wiring): Promise<Running> {
    namespace.run("ip", "link", "add", "bench0", "type", "bridge");
    for (const device of [left, right]) namespace.run("ip", "link", "set", device, "master", "bench0");
    namespace.run("ip", "link", "set", "bench0", "up");
    return {
      pids: [],
      genetlink: {},
      stop: async () => {
        namespace.run("ip", "link", "del", "bench0");
      },
    };
  }
}

/** The limit of the method: a plain C program on the same rings that looks at nothing. */
export class CForwarder implements Peer {
  readonly name = "C forwarder";
  readonly policies = ["plain"] as const;

  constructor(private readonly binary: string) {}

  async start({ namespace, left, right }: Wiring): Promise<Running> {
    const child = namespace.start(this.binary, left, right);
    await new Promise((resolve) => setTimeout(resolve, 300));
    if (child.exitCode !== null) throw new Error(`the C forwarder ended with ${child.exitCode}`);
    return { pids: [child.pid as number], stop: () => end(child) };
  }
}

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

/** Seconds after boot before which ovs-vswitchd 3.1 counts no processor and starts no handler. */
const COUNTS_PROCESSORS = 11;

/** On the real openvswitch.ko. */
class OvsOnModule extends Ovs {
  readonly name = "openvswitch.ko";
  readonly policies = ["miss"] as const;
  protected readonly datapathType = "system";

  protected override async prepare(): Promise<{ environment: Record<string, string> }> {
    await until("the first seconds after boot", () => uptime() > COUNTS_PROCESSORS);
    return { environment: {} };
  }
}

/** The real openvswitch.ko, where the running kernel has it, with flows put by ovs-dpctl; misses go to ovs-vswitchd. */
export class KernelModule implements Peer {
  readonly name = "openvswitch.ko";
  readonly policies = ["plain", "nat", "commit", "many", "miss"] as const;

  async start(wiring: Wiring, policy: Policy): Promise<Running> {
    if (policy === "miss") return new OvsOnModule().start(wiring, policy);
    const { namespace, left, right } = wiring;
    if (policy === "many") namespace.run("sysctl", "-qw", `net.netfilter.nf_conntrack_max=${MANY}`);
    const dpctl = (...command: string[]): string => namespace.run("ovs-dpctl", ...command);
    dpctl("add-dp", "bench0");
    try {
      for (const device of [left, right]) dpctl("add-if", "bench0", device);
      for (const [match, actions] of KernelModule.flows(policy)) dpctl("add-flow", "bench0", match, actions);
    } catch (error) {
      dpctl("del-dp", "bench0");
      throw error;
    }
    return {
      pids: [],
      genetlink: {},
      stop: async () => {
        dpctl("del-dp", "bench0");
      },
    };
  }

  /** The datapath flows that ovs-vswitchd makes of rules(policy) for IPv4. */
  private static flows(policy: Policy): [string, string][] {
    const ip = "eth(),eth_type(0x0800),ipv4(frag=no)";
    switch (policy) {
      case "nat":
        return [
          [`in_port(1),${ip}`, "ct(commit,zone=1,nat(src=10.9.0.240-10.9.0.255)),2"],
          [`in_port(2),ct_state(-trk),${ip}`, "ct(zone=1,nat),recirc(1)"],
          [`recirc_id(1),in_port(2),ct_state(+trk),ct_zone(1),${ip}`, "1"],
        ];
      case "commit":
      case "many":
        return [
          [`in_port(1),${ip}`, "ct(commit,zone=1),2"],
          [`in_port(2),${ip}`, "ct(zone=1),1"],
        ];
      default:
        return [
          [`in_port(1),${ip}`, "2"],
          [`in_port(2),${ip}`, "1"],
        ];
    }
  }
}

/** Whether a program is installed. */
export function installed(program: string): boolean {
  return (
    spawnSync("sh", ["-c", `command -v ${program}`], { env: { PATH: `${process.env.PATH}:/usr/sbin:/sbin` } })
      .status === 0
  );
}

/** Whether the running kernel has openvswitch.ko, and its tool is here. */
export function hasModule(): boolean {
  return existsSync("/sys/module/openvswitch") && installed("ovs-dpctl");
}
