/** ovs-vswitchd on nokmod in the place of different kernels, and its meters on real packets (docs/kernels.md). */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { root, until } from "../support/lab.ts";
import { OvsLab } from "../support/ovs-lab.ts";

/** The one thing that ovs-vswitchd 3.1 asks for and 6.1 has not. */
const DP_HASH_ALGORITHM = { "6.1": 0, "6.18": 1 } as const;

describe.skipIf(!root).each(["6.1", "6.18"] as const)("--kernel %s under ovs-vswitchd", (kernel) => {
  let ovs: OvsLab;
  beforeAll(async () => {
    ovs = await OvsLab.create(2, ["--kernel", kernel]);
    await ovs.vsctl("add-br", "br0", "--", "add-port", "br0", "p1", "--", "add-port", "br0", "p2");
    await ovs.vsctl("set", "bridge", "br0", "protocols=OpenFlow10,OpenFlow13");
  });
  afterAll(() => ovs?.close());

  it("A-049, F-352: its probes find what that kernel has", async () => {
    const features = await ovs.appctl("dpif/show-dp-features", "br0");
    expect(features).toContain(`Max dp_hash algorithm: ${DP_HASH_ALGORITHM[kernel]}\n`);
    for (const feature of ["Conntrack timeout policy", "Check pkt length action", "MPLS Label add"])
      expect(features).toContain(`${feature}: Yes\n`);
  });

  it("F-136: ovs-dpctl and upcalls do without the statistics that it may not have", async () => {
    expect(await ovs.ok("ovs-dpctl", "show")).toMatch(/port \d: p1\n/);
  });

  it("F-312, F-317, T-056, T-057: a meter lets through its burst and its rate, and counts both", async () => {
    const [left, right] = ovs.hosts;
    await ovs.ofctl("add-meter", "meter=1,kbps,burst,stats,band=type=drop,rate=4000,burst_size=400");
    await ovs.ofctl("del-flows");
    await ovs.ofctl("add-flow", "priority=9,in_port=p1,udp,actions=meter:1,output:p2");
    await ovs.ofctl("add-flow", "priority=0,actions=NORMAL");
    const server = right.namespace.start("iperf3", "-s", "-1");
    let seconds = 0;
    try {
      await until(() => right.namespace.run("ss", "-tln").includes(":5201"), "iperf3");
      const options = ["-u", "-b", "20M", "-t", "2", "-l", "1200", "-J"];
      const { stdout } = await left.execute("iperf3", "-c", right.address, ...options);
      const { end } = JSON.parse(stdout) as { end: { sum_sent: { seconds: number; packets: number } } };
      seconds = end.sum_sent.seconds;
      expect(end.sum_sent.packets).toBeGreaterThan(3000);
    } finally {
      server.kill();
    }
    const stats = await ovs.ofctl("meter-stats");
    const numbers = /packet_in_count:(\d+) byte_in_count:(\d+) .*\n0: packet_count:(\d+) byte_count:(\d+)/.exec(stats);
    const [packets, bytes, dropped, droppedBytes] = (numbers ?? []).slice(1).map(Number);
    expect(packets).toBeGreaterThan(3000);
    expect(dropped).toBeLessThan(packets);
    // 400 kbit at once and 4000 kbit/s, give or take what a busy machine adds to the time.
    const kbit = ((bytes - droppedBytes) * 8) / 1000;
    expect(kbit).toBeGreaterThan(400 + 4000 * seconds * 0.8);
    expect(kbit).toBeLessThan(400 + 4000 * (seconds + 1));
    expect(await ovs.appctl("dpctl/dump-flows")).toMatch(/udp.*actions:meter\(0\),\d|proto=17.*actions:meter\(0\),\d/);
  });
});
