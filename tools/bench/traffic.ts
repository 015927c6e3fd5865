import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { Namespace } from "../../src/lab/namespace.ts";

/** Two hosts and a switch between them, each in a namespace of its own, joined by veths. */
export interface Testbed {
  readonly left: Namespace;
  readonly right: Namespace;
  readonly middle: Namespace;
  close(): Promise<void>;
}

export const LEFT_IP = "10.9.0.1";
export const RIGHT_IP = "10.9.0.2";
/** Left host's address answers for the NAT pool too: static neighbours, so that ARP is not part of what is measured. */
const LEFT_MAC = "02:00:00:09:00:01";
const RIGHT_MAC = "02:00:00:09:00:02";
/** Load goes here: the right host's stack drops it at once instead of answering with ICMP errors. */
const NOBODYS_MAC = "02:00:00:09:00:03";

/**
 * Lays the testbed out: left `l0` – `sl` switch `sr` – `r0` right.
 * @param offloads false: the hosts complete checksums and segments themselves
 */
export async function testbed(offloads: boolean): Promise<Testbed> {
  const [left, right, middle] = await Promise.all([Namespace.create(), Namespace.create(), Namespace.create()]);
  for (const [host, device, port, mac, ip] of [
    [left, "l0", "sl", LEFT_MAC, LEFT_IP],
    [right, "r0", "sr", RIGHT_MAC, RIGHT_IP],
  ] as const) {
    middle.run("ip", "link", "add", port, "type", "veth", "peer", "name", device, "netns", String(host.pid));
    middle.run("ip", "link", "set", port, "up");
    host.run("ip", "link", "set", device, "address", mac);
    host.run("ip", "addr", "add", `${ip}/24`, "dev", device);
    host.run("ip", "link", "set", device, "up");
    // The generator's bursts are cut by the kernel before the device, into the packets that the switch is to see.
    host.run("ethtool", "-K", device, "tx-udp-segmentation", "off");
    if (!offloads) host.run("ethtool", "-K", device, "tx", "off");
  }
  left.run("ip", "neigh", "replace", RIGHT_IP, "lladdr", RIGHT_MAC, "dev", "l0");
  right.run("ip", "neigh", "replace", LEFT_IP, "lladdr", LEFT_MAC, "dev", "r0");
  for (let i = 240; i < 256; i++) right.run("ip", "neigh", "replace", `10.9.0.${i}`, "lladdr", LEFT_MAC, "dev", "r0");
  return {
    left,
    right,
    middle,
    close: async () => {
      await Promise.all([left.close(), right.close(), middle.close()]);
    },
  };
}

/** New connections a second that every peer reaches. */
const SLOWEST_NEW = 100_000;

/** What to send. */
export interface Load {
  /** Different pairs of source address and port. */
  readonly flows: number;
  readonly seconds: number;
  /** Packets of a flow in a row; above 1 the generator is several times faster. */
  readonly burst?: number;
  /** First sends slowly, and the right host answers every packet, so that all connections are established. */
  readonly establish?: boolean;
  /** Measured once every flow has been seen. */
  readonly known?: boolean;
}

/** Packets a second that reached the right host, of 60-byte UDP sent as fast as it goes. */
export async function udpRate(bed: Testbed, tools: Tools, load: Load): Promise<number> {
  const generate = (seconds: number, rate: number, burst: number): ReturnType<Namespace["execute"]> =>
    bed.left.execute(
      ...[tools.generator, "l0", "--flows", String(load.flows), "--seconds", String(seconds), "--rate", String(rate)],
      ...["--burst", String(burst)],
      ...["--dst-mac", NOBODYS_MAC, "--dst", RIGHT_IP, "--src", LEFT_IP],
    );
  if (load.establish) {
    const reflector = bed.right.execute(tools.reflector, "r0", "2");
    await pause(200);
    await Promise.all([generate(1, load.flows * 2, 1), reflector]);
  }
  const first = received(bed.right, "r0");
  const warmUp = load.known ? 1 + load.flows / SLOWEST_NEW : 1;
  const generator = generate(load.seconds + warmUp, 0, load.burst ?? 1);
  await pause(warmUp * 1000 - 300);
  if (load.known && received(bed.right, "r0") - first < load.flows) throw new Error("not every flow was seen in time");
  const before = received(bed.right, "r0");
  const start = performance.now();
  await pause(load.seconds * 1000);
  const count = received(bed.right, "r0") - before;
  const rate = (count / (performance.now() - start)) * 1000;
  await generator;
  return rate;
}

/** Packets that a device has received, by its own counter: counting costs the machine nothing. */
function received(namespace: Namespace, device: string): number {
  const line = namespace
    .run("cat", "/proc/net/dev")
    .split("\n")
    .find((text) => text.trim().startsWith(`${device}:`));
  return Number(line?.split(":")[1].trim().split(/\s+/)[1]);
}

/** Gbit/s of one TCP stream. */
export async function tcpRate(bed: Testbed, seconds: number): Promise<number> {
  const server = bed.right.start("iperf3", "-s", "-1", "-p", "5201");
  await pause(300);
  const result = await bed.left.execute("iperf3", "-c", RIGHT_IP, "-p", "5201", "-t", String(seconds), "-O", "1", "-J");
  server.kill("SIGTERM");
  const report = JSON.parse(result.stdout) as { error?: string; end?: { sum_received: { bits_per_second: number } } };
  if (report.end?.sum_received === undefined) throw new Error(`iperf3: ${report.error ?? result.stderr}`);
  return report.end.sum_received.bits_per_second / 1e9;
}

/** Round-trip times in microseconds at 500 requests a second. */
export async function latency(bed: Testbed, count: number): Promise<{ p50: number; p99: number }> {
  const { stdout } = await bed.left.execute("ping", "-i", "0.002", "-c", String(count), RIGHT_IP);
  const times = [...stdout.matchAll(/time=([\d.]+)/g)].map((match) => Number(match[1]) * 1000).sort((a, b) => a - b);
  if (times.length < count / 2) throw new Error(`ping: ${stdout.slice(-300)}`);
  return { p50: times[Math.floor(times.length * 0.5)], p99: times[Math.floor(times.length * 0.99)] };
}

/**
 * Round trips of packets of which each one misses the flow table: rate a second, and microseconds of one at a time,
 * afterwards and in the first second after the start.
 */
export async function misses(
  bed: Testbed,
  tools: Tools,
  seconds: number,
): Promise<{ rate: number; p50: number; p99: number; firstP99: number }> {
  const probe = async (window: number, source: string): Promise<Probe> => {
    const { status, stdout, stderr } = await bed.left.execute(
      ...[tools.prober, "l0", "--window", String(window), "--seconds", String(seconds / 2)],
      ...["--dst-mac", NOBODYS_MAC, "--dst", RIGHT_IP, "--src", source],
    );
    if (status !== 0) throw new Error(stderr);
    return JSON.parse(stdout) as Probe;
  };
  const reflector = bed.right.execute(tools.reflector, "r0", String(seconds * 1.5 + 1));
  await pause(200);
  const first = await probe(1, "10.64.0.0");
  if (first.answered < 10) throw new Error("no round trips");
  const { rate } = await probe(MISSES_UNDER_WAY, "10.65.0.0");
  const { p50, p99 } = await probe(1, "10.66.0.0");
  await reflector;
  return { rate, p50, p99, firstP99: first.p99 };
}

/** Enough to keep every stage of the way busy, and far fewer than any queue on it holds. */
const MISSES_UNDER_WAY = 64;

interface Probe {
  readonly answered: number;
  readonly rate: number;
  readonly p50: number;
  readonly p99: number;
}

/** Milliseconds that the slowest packet of a steady stream was on its way while `meanwhile` runs. */
export async function longestDelay(bed: Testbed, tools: Tools, meanwhile: () => Promise<void>): Promise<number> {
  const sink = bed.right.start(tools.delays, "r0");
  let output = "";
  sink.stdout?.on("data", (chunk) => (output += chunk));
  const closed = new Promise((resolve) => sink.once("close", resolve));
  const generator = bed.left.start(
    ...[tools.generator, "l0", "--rate", "5000", "--seconds", "30", "--stamp", "1"],
    ...["--dst-mac", NOBODYS_MAC, "--dst", RIGHT_IP, "--src", LEFT_IP],
  );
  await pause(300);
  try {
    await meanwhile();
  } finally {
    generator.kill("SIGTERM");
    await pause(100);
    sink.kill("SIGTERM");
    await closed;
  }
  const { packets, longest } = JSON.parse(output) as { packets: number; longest: number };
  if (packets < 1000) throw new Error(`only ${packets} packets arrived`);
  return longest;
}

/** Processor time of a process in seconds: user and system. */
export function processorTime(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Programs in C that make and count the traffic. */
export interface Tools {
  readonly generator: string;
  readonly forwarder: string;
  readonly reflector: string;
  readonly prober: string;
  readonly delays: string;
  readonly request: string;
}

/** Compiles them. */
export function compileTools(source: string, target: string): Tools {
  const build = (name: string): string => {
    const output = `${target}/${name}`;
    execFileSync("cc", ["-O2", "-Wall", "-o", output, `${source}/${name}.c`, "-lpthread"], { stdio: "inherit" });
    return output;
  };
  return {
    generator: build("generator"),
    forwarder: build("forwarder"),
    reflector: build("reflector"),
    prober: build("prober"),
    delays: build("delays"),
    request: build("request"),
  };
}

/** Middle value. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
