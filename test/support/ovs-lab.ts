/** A lab in which Debian's ovsdb-server and ovs-vswitchd run on nokmod. */
import { readFileSync } from "node:fs";
import { preloadEnvironment } from "../../src/exec/preload.ts";
import { type Host, Lab, Script, until } from "./lab.ts";

const SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema";

export class OvsLab {
  private database: Script | undefined;
  private vswitchd: Script | undefined;

  private constructor(readonly lab: Lab) {}

  /**
   * @param options of `nokmod start`; {directory} stands for the lab's own
   * @param quiet hosts say nothing by themselves, so also not to a port that ovs-vswitchd is about to know
   */
  static async create(hosts: number, options: readonly string[] = [], quiet = false): Promise<OvsLab> {
    const lab = await Lab.create(hosts, quiet);
    const ovs = new OvsLab(lab);
    await lab.start(...options.map((option) => option.replace("{directory}", lab.directory.file("."))));
    lab.namespace.run("ovsdb-tool", "create", ovs.file("conf.db"), SCHEMA);
    const remote = `--remote=punix:${ovs.file("db.sock")}`;
    ovs.database = await ovs.daemon("ovsdb-server", ovs.file("conf.db"), remote, `--unixctl=${ovs.file("db.ctl")}`);
    await ovs.vsctl("--no-wait", "init");
    await ovs.startSwitch();
    return ovs;
  }

  get hosts(): readonly Host[] {
    return this.lab.hosts;
  }
  get namespace(): Lab["namespace"] {
    return this.lab.namespace;
  }

  async startSwitch(): Promise<void> {
    const control = `--unixctl=${this.file("vs.ctl")}`;
    const log = `--log-file=${this.file("vs.log")}`;
    this.vswitchd = await this.daemon("ovs-vswitchd", `unix:${this.file("db.sock")}`, control, log);
  }
  async stopSwitch(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    await this.vswitchd?.stop(signal);
  }

  /** ovs-vswitchd's log. */
  log(): string {
    return readFileSync(this.file("vs.log"), "utf8");
  }

  vsctl(...command: string[]): Promise<string> {
    return this.ok("ovs-vsctl", "--timeout=20", `--db=unix:${this.file("db.sock")}`, ...command);
  }
  appctl(...command: string[]): Promise<string> {
    return this.ok("ovs-appctl", "-t", this.file("vs.ctl"), ...command);
  }
  ofctl(command: string, ...rest: string[]): Promise<string> {
    return this.ok("ovs-ofctl", "-O", "OpenFlow13", command, `unix:${this.file("br0.mgmt")}`, ...rest);
  }

  /** A command that must succeed, as `nokmod exec` runs it. @returns what it printed */
  async ok(...command: string[]): Promise<string> {
    const { status, stdout, stderr } = await this.namespace.execute("env", ...this.environment, ...command);
    if (status !== 0) throw new Error(`${command.join(" ")}: ${stderr}`);
    return stdout;
  }

  async close(): Promise<void> {
    await this.stopSwitch();
    await this.database?.stop();
    await this.lab.close();
  }

  private file(name: string): string {
    return this.lab.directory.file(name);
  }
  private get environment(): string[] {
    const { LD_PRELOAD } = preloadEnvironment(this.lab.socket, {});
    return [`LD_PRELOAD=${LD_PRELOAD}`, `NOKMOD_SOCKET=${this.lab.socket}`, `OVS_RUNDIR=${this.file("")}`];
  }

  private async daemon(...command: string[]): Promise<Script> {
    const daemon = new Script(this.namespace.start("env", ...this.environment, ...command, "-vconsole:off"));
    const control = command.find((word) => word.startsWith("--unixctl="))?.slice(10) as string;
    const answers = async (): Promise<boolean> =>
      (await this.namespace.execute("ovs-appctl", "-t", control, "version")).status === 0;
    await until(async () => daemon.ended || (await answers()), control);
    if (daemon.ended) throw new Error(`${command[0]}: ${daemon.errors}`);
    return daemon;
  }
}
