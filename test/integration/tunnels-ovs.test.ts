/** Tunnels that ovs-vsctl makes: Debian's ovs-vswitchd on two nokmods, joined by an underlay. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { root, until } from "../support/lab.ts";
import { OvsLab } from "../support/ovs-lab.ts";

const NEAR = "10.9.0.1";
const FAR = "10.9.0.2";
const NEAR6 = "fd09::1";
const FAR6 = "fd09::2";

describe.skipIf(!root)("ovs-vsctl add-port type=…", () => {
  let near: OvsLab;
  let far: OvsLab;

  beforeAll(async () => {
    [near, far] = await Promise.all([OvsLab.create(1, ["--state", "{directory}/state"]), OvsLab.create(1)]);
    near.namespace.run(..."ip link add u0 type veth peer name u1 netns".split(" "), `${far.namespace.pid}`);
    for (const [{ namespace }, device, v4, v6] of [
      [near, "u0", NEAR, NEAR6],
      [far, "u1", FAR, FAR6],
    ] as const) {
      namespace.run("sysctl", "-qw", `net.ipv6.conf.${device}.disable_ipv6=0`, `net.ipv6.conf.${device}.accept_dad=0`);
      namespace.run("ip", "addr", "add", `${v4}/24`, "dev", device);
      namespace.run("ip", "addr", "add", `${v6}/64`, "dev", device, "nodad");
      namespace.run("ip", "link", "set", device, "up");
    }
    const [host] = far.hosts;
    host.namespace.run("ip", "link", "set", "e0", "address", "02:00:00:00:00:02");
    host.namespace.run("ip", "addr", "flush", "dev", "e0");
    host.namespace.run("ip", "addr", "add", "10.1.1.2/24", "dev", "e0");
    for (const lab of [near, far]) {
      lab.hosts[0].namespace.run("ip", "link", "set", "e0", "mtu", "1400");
      await lab.vsctl("add-br", "br0", "--", "add-port", "br0", "p1");
    }
  }, 90_000);
  afterAll(async () => {
    await Promise.all([near?.close(), far?.close()]);
  });

  /** Ethernet headers are taken off before a tunnel that has none inside, and made up behind it. */
  const BARE: [type: string, v6: boolean, options: string][] = [
    ["vxlan", false, "options:exts=gpe options:key=42 options:dst_port=4790"],
    ["vxlan", true, "options:exts=gpe options:key=42 options:dst_port=4790"],
    ["bareudp", false, "options:payload_type=ip options:dst_port=6636"],
    ["bareudp", true, "options:payload_type=ip options:dst_port=6636 options:csum=true"],
    ["bareudp", false, "options:payload_type=mpls options:dst_port=6635"],
  ];
  it.each(BARE)("A-226, K-245, T-095: %s, over IPv6: %s, %s: IP packets alone", async (type, v6, options) => {
    const mpls = options.includes("mpls");
    const ends = [
      { lab: near, remote: v6 ? FAR6 : FAR, host: "10.1.1.1", mac: "02:00:00:00:00:01", peer: "02:00:00:00:00:02" },
      { lab: far, remote: v6 ? NEAR6 : NEAR, host: "10.1.1.2", mac: "02:00:00:00:00:02", peer: "02:00:00:00:00:01" },
    ];
    for (const { lab, remote, host, mac, peer } of ends) {
      const settings = [
        `type=${type}`,
        "options:packet_type=legacy_l3",
        `options:remote_ip=${remote}`,
        ...options.split(" "),
      ];
      await lab.vsctl("add-port", "br0", "t0", "--", "set", "interface", "t0", "ofport_request=9", ...settings);
      expect(await lab.vsctl("get", "interface", "t0", "error")).toBe("[]\n");
      const [push, pop] = mpls ? ["push_mpls:0x8847,set_field:77->mpls_label,", "pop_mpls:0x0800,"] : ["", ""];
      const arrived = mpls ? "mpls,mpls_label=77" : `ip,nw_dst=${host}`;
      const frame = `set_field:${peer}->eth_src,set_field:${mac}->eth_dst`;
      await lab.ofctl("del-flows");
      await lab.ofctl("add-flow", `in_port=p1,ip,actions=${push}output:9`);
      await lab.ofctl("add-flow", `in_port=9,${arrived},actions=${pop}${frame},output:p1`);
      const other = host === "10.1.1.1" ? "10.1.1.2" : "10.1.1.1";
      lab.hosts[0].namespace.run("ip", "neigh", "replace", other, "lladdr", peer, "dev", "e0");
    }
    onTestFinished(async () => {
      for (const { lab } of ends) {
        await lab.vsctl("del-port", "br0", "t0");
        await lab.ofctl("del-flows");
        await lab.ofctl("add-flow", "actions=NORMAL");
        lab.hosts[0].namespace.run("ip", "neigh", "flush", "dev", "e0");
      }
    });
    await until(async () => (await near.hosts[0].ping("10.1.1.2", "-c", "1")).received === 1, "traffic");
    const { hit } = counters(await near.appctl("dpctl/show"));
    expect(await near.hosts[0].ping("10.1.1.2", "-s", "1300")).toMatchObject({ received: 3 });
    expect(counters(await near.appctl("dpctl/show")).hit - hit).toBeGreaterThanOrEqual(6);
    expect(near.log()).not.toMatch(/\|(ERR|EMER)\|/);
  });

  const CASES: [type: string, v6: boolean, options: string][] = [
    ["vxlan", false, "options:key=42"],
    ["vxlan", true, "options:key=42"],
    ["vxlan", false, "options:key=42 options:csum=true options:tos=inherit options:ttl=12"],
    ["vxlan", false, "options:key=42 options:exts=gbp"],
    ["geneve", false, "options:key=42"],
    ["geneve", true, "options:key=42 options:df_default=false"],
    ["gre", false, ""],
    ["gre", false, "options:key=7"],
    ["ip6gre", true, "options:key=7"],
    ["erspan", false, "options:key=7 options:erspan_ver=1 options:erspan_idx=3"],
    ["erspan", false, "options:key=7 options:erspan_ver=2 options:erspan_dir=1 options:erspan_hwid=4"],
    ["ip6erspan", true, "options:key=7 options:erspan_ver=1 options:erspan_idx=3"],
  ];
  it.each(CASES)("A-226, K-245, T-095: %s, over IPv6: %s, %s", async (type, v6, options) => {
    const remote = (address: string): string[] =>
      [`type=${type}`, `options:remote_ip=${address}`, ...options.split(" ")].filter((word) => word !== "");
    await near.vsctl("add-port", "br0", "t0", "--", "set", "interface", "t0", ...remote(v6 ? FAR6 : FAR));
    await far.vsctl("add-port", "br0", "t0", "--", "set", "interface", "t0", ...remote(v6 ? NEAR6 : NEAR));
    onTestFinished(async () => {
      for (const lab of [near, far]) await lab.vsctl("del-port", "br0", "t0");
    });
    expect(await near.vsctl("get", "interface", "t0", "error")).toBe("[]\n");
    await until(async () => (await near.hosts[0].ping("10.1.1.2", "-c", "1")).received === 1, "traffic");
    // Afterwards packets go by datapath flows alone.
    const { hit } = counters(await near.appctl("dpctl/show"));
    expect(await near.hosts[0].ping("10.1.1.2", "-s", "1300")).toMatchObject({ received: 3 });
    expect(counters(await near.appctl("dpctl/show")).hit - hit).toBeGreaterThanOrEqual(6);
  });

  it("key=flow, remote_ip=flow: OpenFlow rules name tunnel and destination", async () => {
    for (const [lab, remote] of [
      [near, FAR],
      [far, NEAR],
    ] as const) {
      const flow = ["options:key=flow", "options:remote_ip=flow"];
      await lab.vsctl(
        "add-port",
        "br0",
        "t0",
        "--",
        "set",
        "interface",
        "t0",
        "type=geneve",
        ...flow,
        "ofport_request=9",
      );
      await lab.ofctl("del-flows");
      await lab.ofctl("add-flow", `in_port=p1,actions=set_field:77->tun_id,set_field:${remote}->tun_dst,output:9`);
      await lab.ofctl("add-flow", `in_port=9,tun_id=77,tun_src=${remote},actions=output:p1`);
    }
    expect(await near.hosts[0].ping("10.1.1.2")).toMatchObject({ received: 3 });
    expect(await near.ofctl("dump-flows", "in_port=9")).toMatch(/n_packets=[1-9]/);
    expect(near.log()).not.toMatch(/\|(ERR|EMER)\|/);
  });

  it("nokmod killed and started again: the tunnel is there again", async () => {
    const state = near.lab.directory.file("state");
    await until(() => readFileSync(state, "utf8").includes('"genev_sys_6081": {'), "state", 20_000);
    await near.lab.stop("SIGKILL");
    await near.lab.start("--state", state);
    await until(async () => (await near.hosts[0].ping("10.1.1.2", "-c", "1")).received === 1, "traffic", 30_000);
    expect(near.namespace.run("ip", "link", "show", "genev_sys_6081")).toMatch(/,UP.* mtu 65000 /);
  });
});

/** `lookups: hit:… missed:…` */
function counters(text: string): { hit: number; missed: number } {
  const [, hit, missed] = /lookups: hit:(\d+) missed:(\d+)/.exec(text) ?? [];
  return { hit: Number(hit), missed: Number(missed) };
}
