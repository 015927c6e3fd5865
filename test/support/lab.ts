/** A switch namespace in which nokmod runs as a process of its own, and hosts that hang on it by veths. */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { ConntrackClient } from "../../src/client/conntrack.ts";
import { OvsClient } from "../../src/client/ovs/index.ts";
import { type Client, connect } from "../../src/client/seqpacket.ts";
import { type CommandResult, Namespace } from "../../src/lab/namespace.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import { attr, le32 } from "./actions.ts";
import { TemporaryDirectory, TYPESCRIPT_ARGV } from "./child.ts";
import { concat, hex, u16 } from "./frames.ts";
import { forEveryUser, typescriptForEveryUser } from "./tree.ts";

const MAIN = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));
/** Not whatever stands in front of it in PATH: shims take half a second. */
const PYTHON = "/usr/bin/python3";

/** Whether namespaces can be made. */
export const root = process.getuid?.() === 0;

/** Tries again until it holds, or the time is over. */
export async function until(condition: () => boolean | Promise<boolean>, what?: string, ms = 20_000): Promise<void> {
  const end = Date.now() + ms;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`timed out: ${what ?? condition}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** What came of a ping. */
export interface PingResult {
  readonly status: number | null;
  readonly sent: number;
  readonly received: number;
}

/** A namespace whose only device `e0` is the far end of the switch's device `name`. */
export class Host {
  private constructor(
    readonly namespace: Namespace,
    readonly number: number,
  ) {}

  /** Device in the switch. */
  get device(): string {
    return `p${this.number}`;
  }
  get address(): string {
    return `10.1.1.${this.number}`;
  }
  get address6(): string {
    return `fd00::${this.number}`;
  }
  get mac(): string {
    return `02:00:00:00:00:0${this.number}`;
  }

  /** @param quiet without IPv6 and ARP: nothing speaks by itself */
  static async create(lab: Namespace, number: number, quiet: boolean): Promise<Host> {
    const host = new Host(await Namespace.create(), number);
    if (quiet) host.namespace.run("sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1");
    host.plug(lab, quiet);
    return host;
  }

  /** Makes the veth. */
  plug(lab: Namespace, quiet = false): void {
    const { namespace, device, mac } = this;
    lab.run(
      ..."ip link add".split(" "),
      device,
      ..."type veth peer name e0 address".split(" "),
      mac,
      "netns",
      `${namespace.pid}`,
    );
    lab.run("ip", "link", "set", device, "up");
    namespace.run("ip", "addr", "add", `${this.address}/24`, "dev", "e0");
    // Who answered is not asked again soon.
    const settings = ["ipv4", "ipv6"].map((version) => `net.${version}.neigh.e0.delay_first_probe_time=1000`);
    if (!quiet) {
      const silent = ["accept_dad=0", "router_solicitations=0", "mldv2_unsolicited_report_interval=1"];
      settings.push(...silent.map((setting) => `net.ipv6.conf.e0.${setting}`));
    }
    namespace.run("sysctl", "-qw", ...settings);
    if (!quiet) namespace.run("ip", "addr", "add", `${this.address6}/64`, "dev", "e0", "nodad");
    namespace.run("ip", "link", "set", "e0", "up");
  }

  execute(...command: string[]): Promise<CommandResult> {
    return this.namespace.execute(...command);
  }

  /** `ping`, 3 times unless told otherwise. */
  async ping(address: string, ...options: string[]): Promise<PingResult> {
    const { status, stdout } = await this.execute(
      "ping",
      "-q",
      "-c",
      "3",
      "-i",
      "0.02",
      "-W",
      "2",
      ...options,
      address,
    );
    const [, sent, received] = /(\d+) packets transmitted, (\d+) received/.exec(stdout) ?? [];
    return { status, sent: Number(sent), received: Number(received) };
  }

  /** Sends frames as they are. */
  async send(...frames: Uint8Array[]): Promise<void> {
    const { status, stderr } = await this.execute(PYTHON, "-c", SEND, ...frames.map(hex));
    if (status !== 0) throw new Error(stderr);
  }

  /** Runs a Python script that says `ready` on its first line; the test ends it by finishing. */
  async python(script: string, ...args: string[]): Promise<Script> {
    const child = this.namespace.start(PYTHON, "-u", "-c", script, ...args);
    const running = new Script(child);
    await running.line("ready");
    return running;
  }

  /** Records what `device` receives and sends. */
  capture(filter = "inbound", device = "e0"): Promise<Capture> {
    return Capture.start(this.namespace, device, filter);
  }
}

const SEND = `
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("e0", 0))
for frame in sys.argv[1:]:
    s.send(bytes.fromhex(frame))
`;

/** A running script with what it printed. */
export class Script {
  output = "";
  errors = "";
  constructor(readonly child: ChildProcess) {
    child.stdout?.on("data", (chunk) => {
      this.output += chunk;
    });
    child.stderr?.on("data", (chunk) => {
      this.errors += chunk;
    });
  }
  /** Waits for text in what it prints. */
  async line(text: string, ms?: number): Promise<void> {
    await until(() => this.output.includes(text) || this.ended, text, ms);
    if (!this.output.includes(text)) throw new Error(`no "${text}": ${this.output}${this.errors}`);
  }
  get ended(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }
  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    if (this.ended) return;
    const exit = once(this.child, "exit");
    this.child.kill(signal);
    await exit;
  }
}

/** Frames on a device, tags included, as tcpdump writes them. */
export class Capture {
  readonly frames: Uint8Array[] = [];
  private pending: Uint8Array = new Uint8Array(0);
  private started = false;

  private constructor(private readonly child: ChildProcess) {
    child.stdout?.on("data", (chunk: Buffer) => this.take(chunk));
  }

  static async start(namespace: Namespace, device: string, filter: string): Promise<Capture> {
    const command = ["tcpdump", "-i", device, "-U", "--immediate-mode", "-s", "0", "-w", "-"];
    if (filter !== "inbound") command.push(filter);
    else command.push("-Q", "in");
    const child = namespace.start(...command);
    const capture = new Capture(child);
    let complaint = "";
    child.stderr?.on("data", (chunk) => {
      complaint += chunk;
    });
    await until(() => complaint.includes("listening on") || child.exitCode !== null, "tcpdump");
    if (child.exitCode !== null) throw new Error(complaint);
    return capture;
  }

  /** Waits for frames that fit. */
  async wait(fits: (frame: Uint8Array) => boolean, count = 1): Promise<Uint8Array[]> {
    await until(() => this.frames.filter(fits).length >= count, `${count} frames`).catch((error) => {
      throw new Error(`${error.message}; seen: ${this.frames.map(hex).join(" ")}`);
    });
    return this.frames.filter(fits);
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null) return;
    const exit = once(this.child, "exit");
    this.child.kill("SIGTERM");
    await exit;
  }

  /** pcap: a header of 24 bytes, then records of 16 bytes and their frames. */
  private take(chunk: Uint8Array): void {
    let bytes = concat(this.pending, chunk);
    if (!this.started) {
      if (bytes.length < 24) {
        this.pending = bytes;
        return;
      }
      bytes = bytes.slice(24);
      this.started = true;
    }
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    let at = 0;
    while (bytes.length - at >= 16) {
      const end = at + 16 + view.getUint32(at + 8, true);
      if (end > bytes.length) break;
      this.frames.push(bytes.slice(at + 16, end));
      at = end;
    }
    this.pending = bytes.slice(at);
  }
}

/** The switch. */
export class Lab {
  readonly directory = new TemporaryDirectory();
  readonly hosts: Host[] = [];
  nokmod: Script | undefined;
  private connection: Client | undefined;
  private ovsClient: OvsClient | undefined;

  private constructor(readonly namespace: Namespace) {}

  /** @param quiet hosts know each other's addresses and say nothing by themselves */
  static async create(hosts: number, quiet = false): Promise<Lab> {
    const lab = new Lab(await Namespace.create());
    lab.namespace.run(..."sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1".split(" "));
    for (let number = 1; number <= hosts; number++) lab.hosts.push(await Host.create(lab.namespace, number, quiet));
    if (quiet) {
      for (const { namespace, number } of lab.hosts) {
        for (const other of lab.hosts) {
          if (other.number === number) continue;
          namespace.run("ip", "neigh", "replace", other.address, "lladdr", other.mac, "dev", "e0");
        }
      }
    }
    return lab;
  }

  get socket(): string {
    return this.directory.file("run/nokmod.sock");
  }

  /** `nokmod …` in the switch's namespace. */
  cli(...args: string[]): Promise<CommandResult> {
    return this.namespace.execute(...this.commandLine(args));
  }

  /** The same by a command that makes it another user's, or takes privileges. */
  cliAs(user: readonly string[], ...args: string[]): Promise<CommandResult> {
    const line = [process.execPath, ...typescriptForEveryUser(), forEveryUser(MAIN), ...args];
    return this.namespace.execute(...user, ...line);
  }

  /** `nokmod start …`; waits until it takes requests. */
  async start(...args: string[]): Promise<void> {
    await this.startBy([], ...args);
  }

  /** The same by a command that runs what follows it with exec(), such as setpriv. */
  async startBy(command: readonly string[], ...args: string[]): Promise<void> {
    const words = [...command, ...this.commandLine(["start", "--socket", this.socket, ...args])];
    this.nokmod = new Script(this.namespace.start(...words));
    // In a virtual machine this takes a while.
    await this.nokmod.line("nokmod is ready", 60_000);
  }

  /** Ends nokmod. */
  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    this.connection?.close();
    this.connection = undefined;
    this.ovsClient = undefined;
    await this.nokmod?.stop(signal);
  }

  get pid(): number {
    return this.nokmod?.child.pid as number;
  }

  /** Our connection to it. */
  get client(): Client {
    this.connection ??= connect(this.socket);
    return this.connection;
  }
  get ovs(): OvsClient {
    this.ovsClient ??= new OvsClient(this.client);
    return this.ovsClient;
  }
  conntrack(): ConntrackClient {
    return new ConntrackClient(this.client);
  }

  /** A datapath with a port for each host, numbered as they are. @returns its interface index */
  datapath(options: Parameters<OvsClient["createDatapath"]>[1] = {}, upcallPids: readonly number[] = [0]): number {
    const { ifindex } = this.ovs.createDatapath("dp0", options);
    for (const { device, number } of this.hosts) {
      this.ovs.createVport(ifindex, { name: device, type: ovs.OVS_VPORT_TYPE_NETDEV, portNo: number, upcallPids });
    }
    return ifindex;
  }

  /** Deletes all datapaths. */
  clear(): void {
    for (const { ifindex } of this.ovs.datapaths()) this.ovs.deleteDatapath(ifindex);
  }

  async close(): Promise<void> {
    await this.stop();
    await Promise.all([this.namespace, ...this.hosts.map((host) => host.namespace)].map((one) => one.close()));
    this.directory.dispose();
  }

  private commandLine(args: readonly string[]): string[] {
    return [process.execPath, ...TYPESCRIPT_ARGV, MAIN, ...args];
  }
}

/** What a flow matches; what is left out is wildcarded. */
export interface Match {
  readonly inPort?: number;
  readonly recircId?: number;
  readonly ethType?: number;
  /** Outermost tag first; each with its TPID. */
  readonly tags?: readonly { readonly tpid?: number; readonly vid: number }[];
  readonly ctState?: readonly [value: number, mask: number];
  readonly ctZone?: number;
}

/** Bytes of the attribute that a key of an EtherType must have. */
const L3_ATTRIBUTE = new Map([
  [0x0800, [ovs.OVS_KEY_ATTR_IPV4, 12]],
  [0x86dd, [ovs.OVS_KEY_ATTR_IPV6, 40]],
  [0x0806, [ovs.OVS_KEY_ATTR_ARP, 24]],
  [0x8847, [ovs.OVS_KEY_ATTR_MPLS, 4]],
]);

const ONES = Uint8Array.of(0xff, 0xff, 0xff, 0xff);

/** OVS_FLOW_ATTR_KEY and _MASK. */
export function match(o: Match): { key: Uint8Array; mask: Uint8Array } {
  const key: Uint8Array[] = [];
  const mask: Uint8Array[] = [];
  const u32 = (type: number, value: number | undefined, bits: Uint8Array = ONES): void => {
    if (value === undefined) return;
    key.push(attr(type, le32(value)));
    mask.push(attr(type, bits));
  };
  u32(ovs.OVS_KEY_ATTR_RECIRC_ID, o.recircId ?? 0);
  u32(ovs.OVS_KEY_ATTR_IN_PORT, o.inPort);
  u32(ovs.OVS_KEY_ATTR_CT_STATE, o.ctState?.[0], le32(o.ctState?.[1] ?? 0));
  if (o.ctZone !== undefined) {
    key.push(attr(ovs.OVS_KEY_ATTR_CT_ZONE, u16(o.ctZone).reverse()));
    mask.push(attr(ovs.OVS_KEY_ATTR_CT_ZONE, u16(0xffff)));
  }
  key.push(attr(ovs.OVS_KEY_ATTR_ETHERNET, new Uint8Array(12)));
  mask.push(attr(ovs.OVS_KEY_ATTR_ETHERNET, new Uint8Array(12)));
  let innerKey = concat();
  let innerMask = concat();
  if (o.ethType !== undefined) {
    const [type, length] = L3_ATTRIBUTE.get(o.ethType) ?? [0, 0];
    innerKey = attr(ovs.OVS_KEY_ATTR_ETHERTYPE, u16(o.ethType));
    innerMask = attr(ovs.OVS_KEY_ATTR_ETHERTYPE, u16(0xffff));
    if (type !== 0) {
      innerKey = concat(innerKey, attr(type, new Uint8Array(length)));
      innerMask = concat(innerMask, attr(type, new Uint8Array(length)));
    }
  } else {
    // A key without EtherType is one of an 802.2 frame; the mask lets all pass.
    innerKey = attr(ovs.OVS_KEY_ATTR_ETHERTYPE, u16(0x88b5));
    innerMask = attr(ovs.OVS_KEY_ATTR_ETHERTYPE, u16(0));
  }
  for (const { tpid = 0x8100, vid } of [...(o.tags ?? [])].reverse()) {
    const type = attr(ovs.OVS_KEY_ATTR_ETHERTYPE, u16(tpid));
    const tci = attr(ovs.OVS_KEY_ATTR_VLAN, u16(0x1000 | vid));
    innerKey = concat(type, tci, attr(ovs.OVS_KEY_ATTR_ENCAP, innerKey));
    const bits = [attr(ovs.OVS_KEY_ATTR_ETHERTYPE, u16(0xffff)), attr(ovs.OVS_KEY_ATTR_VLAN, u16(0xffff))];
    innerMask = concat(...bits, attr(ovs.OVS_KEY_ATTR_ENCAP, innerMask));
  }
  return { key: concat(...key, innerKey), mask: concat(...mask, innerMask) };
}
