import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { preloadEnvironment } from "../../src/exec/preload.ts";
import { Namespace } from "../../src/lab/namespace.ts";

const SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema";
/** Size of the disk that the state file and the log lie on. */
const DISK = "512k";

/** Waits until `holds()`. @throws Error after `seconds` */
export async function until(what: string, holds: () => boolean | Promise<boolean>, seconds = 30): Promise<void> {
  const limit = performance.now() + seconds * 1000;
  while (!(await holds())) {
    if (performance.now() > limit) throw new Error(`${what}: not within ${seconds} s`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** What a process holds. */
export interface Usage {
  /** Kilobytes (VmRSS). */
  readonly memory: number;
  readonly descriptors: number;
}

/**
 * A switch with its hosts: nokmod with a state file, ovsdb-server, ovs-vswitchd with a bridge br0, and a host on each port. State
 * and log of nokmod lie on a small disk of their own.
 */
export class ChaosLab {
  readonly directory = mkdtempSync(join(tmpdir(), "nokmod-chaos-"));
  readonly hosts: Namespace[] = [];
  private nokmod: ChildProcess | undefined;
  private vswitchd: ChildProcess | undefined;
  private database: ChildProcess | undefined;

  private constructor(
    readonly namespace: Namespace,
    private readonly disk: ChildProcess,
    private readonly program: string,
  ) {}

  /** @param program path of nokmod's main.js */
  static async create(program: string, hosts: number): Promise<ChaosLab> {
    const namespace = await Namespace.create();
    const directory = mkdtempSync(join(tmpdir(), "nokmod-chaos-disk-"));
    const mount = `mount -t tmpfs -o size=${DISK} chaos '${directory}' && echo ready && exec cat`;
    const disk = spawn("unshare", ["--mount", "--propagation", "private", "--", "sh", "-c", mount], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    await once(disk.stdout, "data");
    const lab = new ChaosLab(namespace, disk, program);
    lab.diskDirectory = directory;
    namespace.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1");
    for (let i = 1; i <= hosts; i++) await lab.addHost(i);
    await lab.startNokmod();
    await lab.startOvs();
    return lab;
  }

  private diskDirectory = "";

  address(host: number): string {
    return `10.77.0.${host}`;
  }

  /** Makes a host and its device. They know each other's Ethernet addresses, and say nothing by themselves. */
  async addHost(number: number): Promise<void> {
    const host = await Namespace.create();
    this.hosts[number - 1] = host;
    this.plug(number);
  }

  /** Makes the device of a host (again). */
  plug(number: number): void {
    const host = this.hosts[number - 1];
    const device = `p${number}`;
    this.namespace.run(
      ...["ip", "link", "add", device, "type", "veth", "peer", "name", "e0", "netns", String(host.pid)],
    );
    host.run("ip", "link", "set", "e0", "address", mac(number));
    host.run("ip", "addr", "add", `${this.address(number)}/24`, "dev", "e0");
    host.run("ip", "link", "set", "e0", "up");
    this.namespace.run("ip", "link", "set", device, "up");
    for (let other = 1; other <= 9; other++) {
      if (other !== number)
        host.run("ip", "neigh", "replace", this.address(other), "lladdr", mac(other), "dev", "e0", "nud", "permanent");
    }
  }

  /** Starts nokmod, which takes over what the state file has. @returns when it was ready, in ms since 1970 */
  async startNokmod(): Promise<number> {
    const { namespace, disk, diskDirectory } = this;
    const child = spawn(
      "nsenter",
      [
        ...[`--net=${namespace.path}`, `--mount=/proc/${disk.pid}/ns/mnt`, "--", process.execPath, this.program],
        ...["start", "--socket", this.socket, "--state", join(diskDirectory, "state")],
        ...["--log", join(diskDirectory, "log")],
      ],
      { stdio: ["ignore", "pipe", "pipe"] },
    );
    this.nokmod = child;
    let text = "";
    child.stderr.on("data", (chunk: Buffer) => {
      text += chunk;
    });
    let ready = 0;
    child.stdout.on("data", () => {
      ready ||= Date.now();
    });
    await until("nokmod", () => ready > 0 || child.exitCode !== null);
    if (ready === 0) throw new Error(`nokmod: ${text}`);
    return ready;
  }

  /** Kills nokmod: no handler runs. @returns when, in ms since 1970 */
  async killNokmod(): Promise<number> {
    return kill(this.nokmod);
  }

  get nokmodPid(): number {
    return this.nokmod?.pid ?? 0;
  }

  private async startOvs(): Promise<void> {
    this.run("ovsdb-tool", "create", this.file("conf.db"), SCHEMA);
    const remote = `--remote=punix:${this.file("db.sock")}`;
    this.database = this.startDaemon("ovsdb-server", this.file("conf.db"), remote, `--unixctl=${this.file("db.ctl")}`);
    await this.answers("db.ctl");
    this.vsctl("--no-wait", "init");
    await this.startVswitchd();
    this.vsctl("add-br", "br0");
    for (const [i] of this.hosts.entries()) this.vsctl("add-port", "br0", `p${i + 1}`);
  }

  /** Starts ovs-vswitchd, and waits until it answers. */
  async startVswitchd(): Promise<void> {
    const [control, log] = [`--unixctl=${this.file("vs.ctl")}`, `--log-file=${this.file("vs.log")}`];
    this.vswitchd = this.startDaemon("ovs-vswitchd", `unix:${this.file("db.sock")}`, control, log);
    await this.answers("vs.ctl");
  }

  async killVswitchd(): Promise<number> {
    return kill(this.vswitchd);
  }

  vsctl(...command: string[]): string {
    return this.run("ovs-vsctl", "--timeout=20", `--db=unix:${this.file("db.sock")}`, ...command);
  }

  /** Runs a program on nokmod. @throws CommandError */
  run(...command: string[]): string {
    return this.namespace.run("env", ...this.environment, ...command);
  }

  /** Whether the datapath has a flow for packets from one host to another. */
  hasFlow(from: number, to: number): boolean {
    return this.run("ovs-dpctl", "dump-flows").includes(`eth(src=${mac(from)},dst=${mac(to)})`);
  }

  /** Starts a program on nokmod; the caller ends it. */
  start(...command: string[]): ChildProcess {
    return this.namespace.start("env", ...this.environment, ...command);
  }

  /** Runs a shell command where state and log lie. */
  onDisk(script: string): string {
    const { status, stdout, stderr } = spawnSync(
      "nsenter",
      [`--mount=/proc/${this.disk.pid}/ns/mnt`, "--", "sh", "-c", `cd '${this.diskDirectory}' && ${script}`],
      { encoding: "utf8" },
    );
    if (status !== 0) throw new Error(`${script}: ${stderr}`);
    return stdout;
  }

  /** Lines of nokmod's log. */
  log(): string[] {
    return this.onDisk("cat log")
      .split("\n")
      .filter((line) => line !== "");
  }

  /** What nokmod holds now. */
  usage(): Usage {
    const status = readFileSync(`/proc/${this.nokmodPid}/status`, "utf8");
    return {
      memory: Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]),
      descriptors: readdirSync(`/proc/${this.nokmodPid}/fd`).length,
    };
  }

  /** Names of the devices in the switch's namespace. */
  devices(): string[] {
    const links = JSON.parse(this.namespace.run("ip", "-j", "link")) as { ifname: string }[];
    return links.map(({ ifname }) => ifname).sort();
  }

  get socket(): string {
    return this.file("nokmod.sock");
  }

  /** Ends ovs-vswitchd and nokmod in order. */
  async stop(): Promise<void> {
    for (const child of [this.vswitchd, this.database, this.nokmod]) await end(child);
  }

  async close(): Promise<void> {
    await this.stop();
    for (const host of this.hosts) await host.close();
    await this.namespace.close();
    this.disk.stdin?.end();
    rmSync(this.directory, { recursive: true, force: true });
    rmSync(this.diskDirectory, { recursive: true, force: true });
  }

  private file(name: string): string {
    return join(this.directory, name);
  }

  private get environment(): string[] {
    const { LD_PRELOAD } = preloadEnvironment(this.socket, { NOKMOD_PRELOAD: process.env.NOKMOD_PRELOAD });
    return [`LD_PRELOAD=${LD_PRELOAD}`, `NOKMOD_SOCKET=${this.socket}`, `OVS_RUNDIR=${this.directory}`];
  }

  private startDaemon(...command: string[]): ChildProcess {
    return this.start(...command, "-vconsole:off");
  }

  private async answers(control: string): Promise<void> {
    const command = ["ovs-appctl", "-t", this.file(control), "version"];
    await until(control, async () => (await this.namespace.execute(...command)).status === 0);
  }
}

const mac = (host: number): string => `02:00:00:00:77:0${host}`;

async function kill(child: ChildProcess | undefined): Promise<number> {
  if (child === undefined) throw new Error("not started");
  const ended = child.exitCode === null && child.signalCode === null ? once(child, "exit") : undefined;
  child.kill("SIGKILL");
  const time = Date.now();
  await ended;
  return time;
}

async function end(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGTERM");
  await ended;
}
