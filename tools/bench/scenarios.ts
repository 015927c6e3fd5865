import { format } from "./chart.ts";
import { FLOWS, MANY, type Policy, type Running } from "./peers/peer.ts";
import {
  latency,
  longestDelay,
  misses,
  pause,
  processorTime,
  type Testbed,
  type Tools,
  tcpRate,
  udpRate,
} from "./traffic.ts";

/** A figure that a scenario gives. */
export interface Metric {
  readonly id: string;
  readonly title: string;
  readonly unit: string;
  /** Less is better. */
  readonly lower?: boolean;
}

/** One kind of traffic, run on every peer that knows its policy. */
export interface Scenario {
  readonly id: string;
  readonly policy: Policy;
  readonly metrics: readonly Metric[];
  /** @returns one value for each of metrics, or none where the peer has nothing to measure */
  run(bed: Testbed, tools: Tools, seconds: number, running: Running): Promise<number[]>;
}

/** Packets of a flow that the generator sends in a row: cut from one large one, else it is the slowest part of all. */
const BURST = 8;

/** Seconds in which nothing comes; the kernel counts processor time in hundredths. */
const IDLE = 4;

export const scenarios: readonly Scenario[] = [
  ...[1, 1000, 50_000].map(
    (flows): Scenario => ({
      id: `udp-${flows}`,
      policy: "plain",
      metrics: [
        {
          id: `udp-${flows}`,
          title: `60-byte UDP, ${format(flows)} flow${flows === 1 ? "" : "s"}, plain output`,
          unit: "packets/s",
        },
      ],
      run: async (bed, tools, seconds) => [await udpRate(bed, tools, { flows, seconds, burst: BURST })],
    }),
  ),
  {
    id: "udp-nat",
    policy: "nat",
    metrics: [
      { id: "udp-nat", title: "60-byte UDP, 1,000 established connections, ct(commit,nat)", unit: "packets/s" },
    ],
    run: async (bed, tools, seconds) => [
      await udpRate(bed, tools, { flows: 1000, seconds, burst: BURST, establish: true }),
    ],
  },
  {
    id: "tcp",
    policy: "plain",
    metrics: [{ id: "tcp", title: "one TCP stream, offloads on, plain output", unit: "Gbit/s" }],
    run: async (bed, _tools, seconds) => [await tcpRate(bed, seconds)],
  },
  {
    id: "tcp-nat",
    policy: "nat",
    metrics: [{ id: "tcp-nat", title: "one TCP stream, offloads on, ct(commit,nat)", unit: "Gbit/s" }],
    run: async (bed, _tools, seconds) => [await tcpRate(bed, seconds)],
  },
  {
    id: "new",
    policy: "commit",
    metrics: [{ id: "new", title: "new UDP connections through ct(commit)", unit: "connections/s" }],
    run: async (bed, tools) => [await udpRate(bed, tools, { flows: 4_000_000, seconds: 1 })],
  },
  ...[10, 10_000, MANY].map(
    (flows): Scenario => ({
      id: `ct-${flows}`,
      policy: "many",
      metrics: [
        { id: `ct-${flows}`, title: `60-byte UDP, ${format(flows)} connections known to ct`, unit: "packets/s" },
      ],
      run: async (bed, tools, seconds) => [await udpRate(bed, tools, { flows, seconds, known: true })],
    }),
  ),
  {
    id: "ping",
    policy: "plain",
    metrics: [
      { id: "ping-p50", title: "ping -i 0.002, p50", unit: "µs", lower: true },
      { id: "ping-p99", title: "ping -i 0.002, p99", unit: "µs", lower: true },
      { id: "ping-first-p99", title: "the first 500 pings after the start, p99", unit: "µs", lower: true },
    ],
    run: async (bed) => {
      const first = await latency(bed, 500);
      const { p50, p99 } = await latency(bed, 1000);
      return [p50, p99, first.p99];
    },
  },
  {
    id: "idle",
    policy: "plain",
    metrics: [{ id: "idle", title: "idle, processor time", unit: "ms a second", lower: true }],
    run: async (_bed, _tools, _seconds, { pids }) => {
      if (pids.length === 0) return [];
      await pause(1000);
      const used = (): number => pids.reduce((sum, pid) => sum + processorTime(pid), 0);
      const before = used();
      await pause(IDLE * 1000);
      return [((used() - before) * 1000) / IDLE];
    },
  },
  {
    id: "miss",
    policy: "miss",
    metrics: [
      { id: "miss-rate", title: "misses: packet, upcall, flow put, packet out, and back", unit: "round trips/s" },
      { id: "miss-p50", title: "a miss, one at a time, there and back, p50", unit: "µs", lower: true },
      { id: "miss-p99", title: "a miss, one at a time, there and back, p99", unit: "µs", lower: true },
      {
        id: "miss-first-p99",
        title: "a miss, one at a time, in the first second after the start, p99",
        unit: "µs",
        lower: true,
      },
    ],
    run: async (bed, tools, seconds) => {
      const { rate, p50, p99, firstP99 } = await misses(bed, tools, seconds);
      return [rate, p50, p99, firstP99];
    },
  },
  {
    id: "request",
    policy: "plain",
    metrics: [
      {
        id: "request-p50",
        title: "a generic-netlink request there and back, p50 (bridge: the kernel's own)",
        unit: "µs",
        lower: true,
      },
      { id: "request-p99", title: "a generic-netlink request there and back, p99", unit: "µs", lower: true },
    ],
    run: async (bed, tools, _seconds, { genetlink }) => {
      if (genetlink === undefined) return [];
      const environment = Object.entries(genetlink).map(([name, value]) => `${name}=${value}`);
      const { status, stdout, stderr } = await bed.middle.execute("env", ...environment, tools.request);
      if (status !== 0) throw new Error(`request: ${stderr}`);
      return stdout
        .trim()
        .split(" ")
        .map((nanoseconds) => Number(nanoseconds) / 1000);
    },
  },
  {
    id: "dump",
    policy: "full",
    metrics: [
      { id: "held-before", title: "5,000 packets/s, the slowest of 2 s on its way", unit: "ms", lower: true },
      { id: "held", title: `the same during a dump of ${format(FLOWS)} flows`, unit: "ms", lower: true },
    ],
    run: async (bed, tools, _seconds, running) => {
      const before = await longestDelay(bed, tools, () => pause(2000));
      return [before, await longestDelay(bed, tools, async () => running.dump?.())];
    },
  },
];
