import { execFileSync } from "node:child_process";
import { ConntrackClient, formatActions, formatConnection, formatKey, OvsClient } from "../../client/index.ts";
import { NokmodError } from "../../core/errors.ts";
import { Namespace } from "../../lab/namespace.ts";
import { NativePorts } from "../../port/native/ports.ts";
import { Nokmod } from "../../runtime/nokmod.ts";
import { type FlowEvent, type UpcallEvent, VSwitch } from "../../vswitch/index.ts";
import { paint, print } from "../output.ts";
import { setEngineFlags, warmUp } from "../warm-up.ts";
import { describeFrame } from "./describe.ts";

const CLIENT_IP = "10.1.1.1";
const SERVER_IP = "10.1.1.2";
const CLIENT_MAC = "02:00:0a:01:01:01";
const SERVER_MAC = "02:00:0a:01:01:02";
const HTTP_PORT = 8080;
const UDP_PORT = 5353;
const POOL = /^10\.1\.1\.(24\d|25[0-5])$/;

/** The walk-through of the patch series "openvswitch: NAT support". */
const NAT_RULES = [
  "in_port=1,ip,action=ct(commit,zone=1,nat(src=10.1.1.240-10.1.1.255)),2",
  "in_port=2,ct_state=-trk,ip,action=ct(table=0,zone=1,nat)",
  "in_port=2,ct_state=+est,ct_zone=1,ip,action=1",
];

/** Rules that the series does not show: ARP between the ports, and an answer for the addresses of the pool. */
const ARP_RULES = [
  "in_port=1,arp,action=2",
  "in_port=2,arp,action=1",
  `priority=40000,in_port=2,arp,arp_op=1,arp_tpa=10.1.1.240/28,action=move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],` +
    `set_field:${CLIENT_MAC}->eth_src,set_field:2->arp_op,move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[],` +
    `set_field:${CLIENT_MAC}->arp_sha,push:NXM_OF_ARP_TPA[],move:NXM_OF_ARP_SPA[]->NXM_OF_ARP_TPA[],` +
    "pop:NXM_OF_ARP_SPA[],in_port",
];

/** The walk-through's network has not behaved as expected. */
class DemoFailure extends NokmodError {
  constructor(message: string) {
    super("ERR_DEMO", message);
  }
}

/** Prints a request of a switch that the datapath has refused, or a fault of the program. */
const reportFault = (what: string, error: unknown): void => console.error(`${what}: ${error}`);

/** Runs the walk-through in the caller's network namespace, which is the switch's: makes hosts, sends traffic, prints. */
export async function walkThrough(): Promise<void> {
  setEngineFlags();
  await warmUp(reportFault);
  execFileSync("ip", ["link", "set", "lo", "up"]);
  const client = await Namespace.create();
  const server = await Namespace.create();
  const nokmod = new Nokmod({ ports: new NativePorts() });
  let bridge: VSwitch | undefined;
  try {
    plug("port1", client, CLIENT_MAC, CLIENT_IP);
    plug("port2", server, SERVER_MAC, SERVER_IP);
    heading("The lab");
    print(`  client ${CLIENT_IP} ── port 1 ┌────────┐ port 2 ── ${SERVER_IP} server`);
    print("                              │ nokmod │");
    print("  (a namespace each)          └────────┘   pool 10.1.1.240-10.1.1.255");
    print();
    for (const rule of [...NAT_RULES, ...ARP_RULES]) print(`  ${paint("cyan", rule)}`);

    bridge = new VSwitch({
      opener: nokmod,
      name: "br0",
      ports: ["port1", "port2"],
      flows: [...NAT_RULES, ...ARP_RULES],
      onFault: reportFault,
    });
    const story = new Story(nokmod, bridge);

    heading("ping from port 1");
    const ping = await client.execute("ping", "-c", "3", "-i", "0.2", "-W", "2", SERVER_IP);
    story.print();
    print(indent(ping.stdout.trim()));
    demand(ping.status === 0, "ping got no answers");
    connections(nokmod, "icmp");

    heading("HTTP from port 1, by curl over TCP");
    const web = await serve(server, HTTP_SERVER, String(HTTP_PORT));
    const page = await client.execute("curl", "-sS", "--max-time", "5", `http://${SERVER_IP}:${HTTP_PORT}/`);
    web.kill();
    story.print();
    print(`  server says: ${paint("green", page.stdout.trim() || page.stderr.trim())}`);
    demand(POOL.test(/from ([\d.]+)/.exec(page.stdout)?.[1] ?? ""), "the server did not see an address of the pool");
    connections(nokmod, "tcp");

    heading("a UDP exchange from port 1");
    const echo = await serve(server, UDP_SERVER, String(UDP_PORT));
    const answer = await client.execute(process.execPath, "-e", UDP_CLIENT, SERVER_IP, String(UDP_PORT));
    echo.kill();
    story.print();
    print(`  server says: ${paint("green", answer.stdout.trim() || answer.stderr.trim())}`);
    demand(POOL.test(/from ([\d.]+)/.exec(answer.stdout)?.[1] ?? ""), "the UDP answer did not come");
    connections(nokmod, "udp");

    heading("a connection from port 2 is refused");
    const private_ = await serve(client, HTTP_SERVER, String(HTTP_PORT));
    const refused = await server.execute("curl", "-sS", "--max-time", "2", `http://${CLIENT_IP}:${HTTP_PORT}/`);
    private_.kill();
    story.print();
    print(`  ${paint("green", refused.stderr.trim())}`);
    demand(refused.status !== 0, "the connection from port 2 came through");

    heading("Counters");
    for (const line of bridge.dumpFlows()) print(`  ${line.trim()}`);
    const ovs = new OvsClient(nokmod);
    const { stats, megaflowStats } = ovs.datapath(bridge.datapath);
    print(
      `  lookups: hit ${stats.hit}, missed ${stats.missed}, lost ${stats.lost}; ` +
        `flows ${stats.flows}, masks ${megaflowStats.masks}`,
    );
    for (const port of ovs.vports(bridge.datapath)) {
      const { rxPackets, txPackets } = port.stats ?? { rxPackets: 0, txPackets: 0 };
      print(`  port ${port.portNo} ${port.name}: rx ${rxPackets} tx ${txPackets} packets`);
    }
    ovs.close();
    print();
    print(paint("green", "Everything the walk-through promises was seen on real packets."));
  } finally {
    bridge?.close();
    nokmod.close();
    await Promise.all([client.close(), server.close()]);
  }
}

/** Collects upcalls and flow puts, and prints them when the traffic is over, with the packet counts of the flows. */
class Story {
  private readonly lines: string[] = [];
  /** Flows of the upcall that is not reported yet: onFlowPut is called before onUpcall, and the upcall is printed first. */
  private readonly flows: string[] = [];
  private readonly counted = new Map<string, number>();
  private readonly ovs: OvsClient;

  constructor(
    nokmod: Nokmod,
    private readonly bridge: VSwitch,
  ) {
    this.ovs = new OvsClient(nokmod);
    bridge.onUpcall = (event) => this.upcall(event);
    bridge.onFlowPut = (event) => this.put(event);
  }

  private upcall({ kind, inPort, packet, actions }: UpcallEvent): void {
    const frame = describeFrame(packet);
    const port = inPort === null ? "?" : inPort.port;
    this.lines.push(`  ${paint("yellow", "upcall")}  ${kind} from port ${port}: ${paint("bold", frame)}`);
    if (kind === "slow") this.lines.push(`  ${paint("yellow", "answer")}  by user space: ${formatActions(actions)}`);
    this.lines.push(...this.flows.splice(0));
  }

  private put({ key, mask, actions }: FlowEvent): void {
    this.flows.push(
      `  ${paint("blue", "flow")}    ${formatKey(key, mask)}`,
      `          ${paint("blue", "→")} ${formatActions(actions) || "drop"}`,
    );
  }

  /** Prints the upcalls, flow puts and hits since the last call. */
  print(): void {
    if (this.lines.length === 0) print(`  ${paint("dim", "no upcall: all packets matched flows of the datapath")}`);
    for (const line of this.lines.splice(0)) print(line);
    for (const { key, mask, packets, bytes } of this.ovs.flows(this.bridge.datapath)) {
      if (key === null) continue;
      const match = formatKey(key, mask);
      const more = packets - (this.counted.get(match) ?? 0);
      this.counted.set(match, packets);
      if (more > 0)
        print(`  ${paint("blue", "hits")}    ${String(more).padStart(2)} packets  ${match}, bytes:${bytes} in all`);
    }
  }
}

/** A veth from the switch's namespace into a host's. */
function plug(port: string, host: Namespace, mac: string, ip: string): void {
  execFileSync("ip", ["link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", String(host.pid)]);
  // Without IPv6 there is no neighbour discovery in the output.
  for (const device of ["all", "default"]) host.try("sysctl", "-qw", `net.ipv6.conf.${device}.disable_ipv6=1`);
  host.run("ip", "link", "set", "eth0", "address", mac);
  host.run("ip", "addr", "add", `${ip}/24`, "dev", "eth0");
  host.run("ip", "link", "set", "eth0", "up");
  execFileSync("ip", ["link", "set", port, "up"]);
}

/** Prints the connections of one protocol, both tuples. */
function connections(nokmod: Nokmod, protocol: string): void {
  const conntrack = new ConntrackClient(nokmod);
  for (const connection of conntrack.connections()) {
    const text = formatConnection(connection);
    if (text.startsWith(protocol)) print(`  ${paint("magenta", "conn")}    ${text}`);
  }
  conntrack.close();
}

/** Starts a small server in a namespace and waits until it listens. */
async function serve(host: Namespace, script: string, port: string): Promise<{ kill(): void }> {
  const child = host.start(process.execPath, "-e", script, port);
  await new Promise<void>((resolve, reject) => {
    child.stdout?.once("data", () => resolve());
    child.once("exit", (code) => reject(new DemoFailure(`the server ended with ${code}`)));
  });
  child.removeAllListeners("exit");
  return { kill: () => child.kill() };
}

const HTTP_SERVER = `require("http").createServer((q, a) => a.end("hello, you come from " +
  q.socket.remoteAddress.replace("::ffff:", "") + "\\n")).listen(+process.argv[1], "0.0.0.0", () => console.log("up"))`;
const UDP_SERVER = `const s = require("dgram").createSocket("udp4");
  s.on("message", (m, r) => s.send(m + ", you come from " + r.address, r.port, r.address));
  s.bind(+process.argv[1], () => console.log("up"))`;
const UDP_CLIENT = `const s = require("dgram").createSocket("udp4");
  s.on("message", (m) => { console.log(String(m)); s.close(); });
  setTimeout(() => process.exit(1), 3000).unref();
  s.send("hello", +process.argv[2], process.argv[1])`;

function demand(condition: boolean, complaint: string): asserts condition {
  if (!condition) throw new DemoFailure(complaint);
}

function heading(text: string): void {
  print();
  print(paint(["bold", "underline"], text));
}

const indent = (text: string): string => text.replace(/^/gm, "  ");
