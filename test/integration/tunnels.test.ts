/** Tunnels on real packets: to the kernel's own vxlan device, and between two nokmods. */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { release } from "node:os";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { preloadEnvironment } from "../../src/exec/preload.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import { attr, le32, output, set, setMark } from "../support/actions.ts";
import { concat, ip4, ip6, u16, u32 } from "../support/frames.ts";
import { Lab, match, root, Script, until } from "../support/lab.ts";
import { setTunnel } from "../support/tunnels.ts";

const UNSHARE = "-n ip link add b0 type".split(" ");
const TUNNEL = 10;
const NEAR = "10.9.0.1";
const FAR = "10.9.0.2";
const NEAR6 = "fd09::1";
const FAR6 = "fd09::2";

/** SO_RCVPRIORITY: Linux 6.14. */
const TELLS_PRIORITY = (([major, minor]) => major > 6 || (major === 6 && minor >= 14))(
  release().split(".").map(Number),
);

interface TunnelTo {
  readonly dst: string;
  readonly id?: number;
  readonly ttl?: number;
  readonly df?: boolean;
  readonly csum?: boolean;
  readonly options?: Uint8Array;
}

/** Content of OVS_KEY_ATTR_TUNNEL. */
function tunnel({ dst, id = 42, ttl = 64, df = false, csum = false, options }: TunnelTo): Uint8Array {
  const v6 = dst.includes(":");
  return concat(
    attr(ovs.OVS_TUNNEL_KEY_ATTR_ID, u32(0), u32(id)),
    v6 ? attr(ovs.OVS_TUNNEL_KEY_ATTR_IPV6_DST, ip6(dst)) : attr(ovs.OVS_TUNNEL_KEY_ATTR_IPV4_DST, ip4(dst)),
    attr(ovs.OVS_TUNNEL_KEY_ATTR_TTL, Uint8Array.of(ttl)),
    df ? attr(ovs.OVS_TUNNEL_KEY_ATTR_DONT_FRAGMENT) : new Uint8Array(0),
    csum ? attr(ovs.OVS_TUNNEL_KEY_ATTR_CSUM) : new Uint8Array(0),
    options ?? new Uint8Array(0),
  );
}

/** Between the host on port 1 and the tunnel on port 10, whatever it is. */
function join(lab: Lab, dp: number, through: Uint8Array): void {
  lab.ovs.putFlow(dp, { ...match({ inPort: 1 }), actions: concat(setTunnel(through), output(TUNNEL)) });
  lab.ovs.putFlow(dp, { ...match({ inPort: TUNNEL }), actions: output(1) });
}

/** Whether the kernel has devices to try bareudp against. */
const hasBareudp =
  root && spawnSync("unshare", [...UNSHARE, "bareudp", "dstport", "1", "ethertype", "ipv4"]).status === 0;

/** A command on a nokmod's host, as `nokmod exec` runs it. */
async function command(lab: Lab, ...words: string[]): Promise<string> {
  const { LD_PRELOAD } = preloadEnvironment(lab.socket, {});
  const environment = [`LD_PRELOAD=${LD_PRELOAD}`, `NOKMOD_SOCKET=${lab.socket}`];
  const { status, stdout, stderr } = await lab.namespace.execute("env", ...environment, ...words);
  expect(status, `${words.join(" ")}: ${stderr}`).toBe(0);
  return stdout;
}

/** The same for a tunnel without Ethernet inside: the header of the host's frames is taken off and put on again. */
function joinBare(lab: Lab, dp: number, through: Uint8Array): void {
  const pop = attr(ovs.OVS_ACTION_ATTR_POP_ETH);
  const fromFar = Uint8Array.of(2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1);
  lab.ovs.putFlow(dp, {
    ...match({ inPort: 1, ethType: 0x0800 }),
    actions: concat(pop, setTunnel(through), output(TUNNEL)),
  });
  const type = (value: number): Uint8Array => attr(ovs.OVS_KEY_ATTR_ETHERTYPE, u16(value));
  lab.ovs.putFlow(dp, {
    key: concat(
      attr(ovs.OVS_KEY_ATTR_IN_PORT, le32(TUNNEL)),
      type(0x0800),
      attr(ovs.OVS_KEY_ATTR_IPV4, new Uint8Array(12)),
    ),
    mask: concat(attr(ovs.OVS_KEY_ATTR_IN_PORT, le32(-1)), type(0xffff)),
    actions: concat(attr(ovs.OVS_ACTION_ATTR_PUSH_ETH, fromFar), output(1)),
  });
}

/** Gives a namespace its end of the underlay. */
function address(lab: Lab, device: string, v4: string, v6: string): void {
  const { namespace } = lab;
  namespace.run("sysctl", "-qw", `net.ipv6.conf.${device}.disable_ipv6=0`, `net.ipv6.conf.${device}.accept_dad=0`);
  namespace.run("ip", "addr", "add", `${v4}/24`, "dev", device);
  namespace.run("ip", "addr", "add", `${v6}/64`, "dev", device, "nodad");
  namespace.run("ip", "link", "set", device, "up");
}

/** TCP by iperf3 for a moment; returns Mbit/s. */
async function iperf(from: Lab, to: Lab, target: string, ...options: string[]): Promise<number> {
  const server = new Script(to.hosts[0].namespace.start("iperf3", "-s", "-1", "-p", "5300", "--forceflush"));
  onTestFinished(() => server.stop());
  await server.line("Server listening");
  for (let tries = 0; ; tries++) {
    const client = ["iperf3", "-c", target, "-p", "5300", "-t", "1", "-J", "--connect-timeout", "2000", ...options];
    const { status, stdout } = await from.hosts[0].execute(...client);
    const received = status === 0 ? JSON.parse(stdout).end.sum_received?.bits_per_second : undefined;
    if (received !== undefined) return received / 1e6;
    if (tries === 10) throw new Error(stdout);
  }
}

/** Waits until neighbours are found and bridges forward. */
async function reachable(lab: Lab): Promise<void> {
  for (let tries = 0; tries < 20; tries++) {
    if ((await lab.hosts[0].ping("10.1.1.2", "-c", "1", "-W", "1")).received > 0) return;
  }
}

/** A port of a tunnel type, numbered 10. */
function tunnelPort(lab: Lab, dp: number, type: number, tunnelPort?: number, gbp = false): void {
  lab.ovs.createVport(dp, { name: "tun0", type, portNo: TUNNEL, upcallPids: [0], tunnelPort, gbp });
}

describe.skipIf(!root)("tunnels", () => {
  let near: Lab;
  let far: Lab;
  let dp = 0;

  beforeAll(async () => {
    [near, far] = await Promise.all([Lab.create(1, true), Lab.create(1, true)]);
    near.namespace.run(..."ip link add u0 type veth peer name u1 netns".split(" "), `${far.namespace.pid}`);
    address(near, "u0", NEAR, NEAR6);
    address(far, "u1", FAR, FAR6);
    await Promise.all([near.start(), far.start()]);
    // The far host is 10.1.1.2 in the same network.
    const [a] = near.hosts;
    const [b] = far.hosts;
    b.namespace.run("ip", "addr", "flush", "dev", "e0");
    b.namespace.run("ip", "link", "set", "e0", "address", "02:00:00:00:00:02");
    b.namespace.run("ip", "addr", "add", "10.1.1.2/24", "dev", "e0");
    a.namespace.run(..."ip neigh replace 10.1.1.2 lladdr 02:00:00:00:00:02 dev e0".split(" "));
    b.namespace.run(..."ip neigh replace 10.1.1.1 lladdr 02:00:00:00:00:01 dev e0".split(" "));
  }, 60_000);
  afterAll(async () => {
    await Promise.all([near?.close(), far?.close()]);
  });
  beforeEach(() => {
    dp = near.datapath();
  });
  afterEach(() => {
    near.clear();
    far.clear();
  });

  describe("to the kernel's vxlan device", () => {
    const CASES: [name: string, to: TunnelTo, device: string][] = [
      ["over IPv4", { dst: FAR }, `remote ${NEAR}`],
      ["over IPv4 with checksums", { dst: FAR, csum: true }, `remote ${NEAR} udpcsum`],
      ["over IPv6", { dst: FAR6, csum: true }, `remote ${NEAR6}`],
      ["over IPv6 without checksums", { dst: FAR6 }, `remote ${NEAR6} udp6zerocsumtx udp6zerocsumrx`],
    ];

    /** The far host's frames go through a Linux bridge into the kernel's device. */
    function kernelDevice(text: string): void {
      const { namespace } = far;
      namespace.run(...`ip link add vx0 type vxlan id 42 dstport 4789 ${text}`.split(" "));
      namespace.run(..."ip link add br0 type bridge".split(" "));
      for (const name of ["vx0", "p1"]) namespace.run("ip", "link", "set", name, "master", "br0");
      for (const name of ["vx0", "br0"]) namespace.run("ip", "link", "set", name, "up");
      onTestFinished(() => {
        for (const name of ["vx0", "br0"]) namespace.try("ip", "link", "del", name);
      });
    }

    it.each(CASES)("A-226, K-245: ping, large and small, and TCP %s", async (_name, to, device) => {
      kernelDevice(device);
      tunnelPort(near, dp, ovs.OVS_VPORT_TYPE_VXLAN, 4789);
      join(near, dp, tunnel(to));
      const [host] = near.hosts;
      await reachable(near);
      expect(await host.ping("10.1.1.2")).toMatchObject({ received: 3 });
      expect(await host.ping("10.1.1.2", "-s", "1372")).toMatchObject({ received: 3 });
      // Over IPv4 the outer packets are fragmented; over IPv6 nobody does that.
      if (!to.dst.includes(":"))
        expect(await host.ping("10.1.1.2", "-s", "3000", "-M", "dont")).toMatchObject({ received: 3 });
      for (const lab of [near, far]) lab.hosts[0].namespace.run("ip", "link", "set", "e0", "mtu", "1430");
      onTestFinished(() => {
        for (const lab of [near, far]) lab.hosts[0].namespace.run("ip", "link", "set", "e0", "mtu", "1500");
      });
      expect(await iperf(near, far, "10.1.1.2")).toBeGreaterThan(10);
      expect(await iperf(near, far, "10.1.1.2", "-R")).toBeGreaterThan(10);
      expect(near.ovs.vport(dp, TUNNEL).stats).toMatchObject({ txErrors: 0, rxErrors: 0 });
    });

    const GPE = "type vxlan external gpe dstport 4790 udp6zerocsumrx";
    const BAREUDP = "type bareudp dstport 6636 ethertype ipv4 srcportmin 49153";
    const BARE: [name: string, device: string, v6: boolean][] = [
      ["VXLAN-GPE over IPv4", GPE, false],
      ["VXLAN-GPE over IPv6", GPE, true],
    ];
    if (hasBareudp) BARE.push(["bareudp over IPv4", BAREUDP, false], ["bareudp over IPv6", BAREUDP, true]);
    it.each(BARE)(
      "K-245: %s: IP packets to and from the kernel's device, large and small, and TCP",
      async (_name, device, v6) => {
        const { namespace } = far;
        namespace.run(...`ip link add vx0 ${device}`.split(" "));
        onTestFinished(() => void namespace.try("ip", "link", "del", "vx0"));
        namespace.run(..."ip link set vx0 mtu 1430 up".split(" "));
        namespace.run("ip", "addr", "add", "10.2.2.2/32", "dev", "vx0");
        const encap = v6 ? ["ip6", "dst", NEAR6, "hoplimit", "64"] : ["ip", "dst", NEAR, "ttl", "64"];
        namespace.run("ip", "route", "add", "10.1.1.1/32", "encap", ...encap, "dev", "vx0");
        await command(near, ...`ip link add tun0 mtu 65000 ${device}`.split(" "));
        onTestFinished(async () => void (await command(near, "ip", "link", "del", "tun0")));
        await command(near, "ip", "link", "set", "tun0", "up");
        near.ovs.createVport(dp, { name: "tun0", type: ovs.OVS_VPORT_TYPE_NETDEV, portNo: TUNNEL, upcallPids: [0] });
        const [host] = near.hosts;
        const address = "10.2.2.2";
        host.namespace.run("ip", "route", "add", address, "via", "10.1.1.2", "mtu", "1430");
        onTestFinished(() => void host.namespace.try("ip", "route", "del", address));
        joinBare(near, dp, tunnel({ dst: v6 ? FAR6 : FAR }));
        expect(await host.ping(address)).toMatchObject({ received: 3 });
        expect(await host.ping(address, "-s", "1400")).toMatchObject({ received: 3 });
        expect(await host.ping(address, "-s", "3200")).toMatchObject({ received: 3 });
        const server = namespace.start("iperf3", "-s", "-1", "-p", "5300");
        onTestFinished(() => void server.kill("SIGTERM"));
        await until(async () => {
          const client = ["iperf3", "-c", address, "-p", "5300", "-n", "2M", "--connect-timeout", "2000"];
          return (await host.execute(...client)).status === 0;
        }, "TCP");
        expect(near.ovs.vport(dp, TUNNEL).stats).toMatchObject({ txErrors: 0, rxErrors: 0 });
      },
    );

    it("K-240, K-248: group policies both ways", async () => {
      kernelDevice(`remote ${NEAR} gbp`);
      const { namespace } = far;
      namespace.run(
        "nft",
        "add table netdev t; add chain netdev t in { type filter hook ingress device vx0 priority 0; }",
      );
      namespace.run("nft", "add rule netdev t in meta mark 0x80123 counter");
      namespace.run("nft", "add chain netdev t out { type filter hook egress device vx0 priority 0; }");
      namespace.run("nft", "add rule netdev t out meta mark set 0x456");
      onTestFinished(() => void namespace.try("nft", "delete", "table", "netdev", "t"));
      tunnelPort(near, dp, ovs.OVS_VPORT_TYPE_VXLAN, 4789, true);
      const policy = (value: number): Uint8Array =>
        attr(ovs.OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS, attr(ovs.OVS_VXLAN_EXT_GBP, le32(value)));
      near.ovs.putFlow(dp, {
        ...match({ inPort: 1 }),
        actions: concat(setTunnel(tunnel({ dst: FAR, options: policy(0x80123) })), output(TUNNEL)),
      });
      // Only what carries the other side's policy comes through.
      const { key, mask } = match({ inPort: TUNNEL });
      const inner = concat(
        attr(ovs.OVS_TUNNEL_KEY_ATTR_IPV4_SRC, ip4(FAR)),
        attr(ovs.OVS_TUNNEL_KEY_ATTR_IPV4_DST, ip4(NEAR)),
        attr(ovs.OVS_TUNNEL_KEY_ATTR_TTL, Uint8Array.of(0)),
        policy(0x456),
      );
      const exact = concat(
        attr(ovs.OVS_TUNNEL_KEY_ATTR_IPV4_SRC, u32(0xffffffff)),
        attr(ovs.OVS_TUNNEL_KEY_ATTR_IPV4_DST, u32(0xffffffff)),
        policy(0xffffffff),
      );
      near.ovs.putFlow(dp, {
        key: concat(key, attr(ovs.OVS_KEY_ATTR_TUNNEL, inner)),
        mask: concat(mask, attr(ovs.OVS_KEY_ATTR_TUNNEL, exact)),
        actions: output(1),
      });
      await reachable(near);
      const marked = (): number => {
        const listed = namespace.run("nft", "list", "chain", "netdev", "t", "in");
        return Number(/packets (\d+)/.exec(listed)?.[1]);
      };
      const before = marked();
      expect(await near.hosts[0].ping("10.1.1.2")).toMatchObject({ received: 3 });
      expect(marked() - before).toBe(3);
    });

    it("a path MTU that the underlay found is told to the sender", async () => {
      kernelDevice(`remote ${NEAR}`);
      tunnelPort(near, dp, ovs.OVS_VPORT_TYPE_VXLAN, 4789);
      join(near, dp, tunnel({ dst: FAR }));
      await reachable(near);
      // Datapath flows that let the answer, which comes in by the tunnel, go to the host stand already.
      const [host] = near.hosts;
      const { status, stdout } = await host.execute("ping", "-c", "1", "-W", "1", "-M", "do", "-s", "1472", "10.1.1.2");
      expect(status).not.toBe(0);
      expect(stdout).toMatch(/mtu ?= ?1450/);
      expect(await host.ping("10.1.1.2", "-M", "do", "-s", "1422")).toMatchObject({ received: 3 });
    });

    it("ports of the tunnel types outlive a nokmod that is killed", async () => {
      const lab = await Lab.create(0);
      onTestFinished(() => lab.close());
      const state = lab.directory.file("state");
      await lab.start("--state", state);
      const { ifindex } = lab.ovs.createDatapath("dp0");
      const made = [
        { name: "vx", type: ovs.OVS_VPORT_TYPE_VXLAN, tunnelPort: 4789, gbp: true },
        { name: "gn", type: ovs.OVS_VPORT_TYPE_GENEVE, tunnelPort: 6081, gbp: false },
        { name: "gr", type: ovs.OVS_VPORT_TYPE_GRE, tunnelPort: null, gbp: false },
      ];
      for (const port of made) lab.ovs.createVport(ifindex, { ...port, tunnelPort: port.tunnelPort ?? undefined });
      await until(() => existsSync(state) && readFileSync(state, "utf8").includes('"gr"'), "state");
      await lab.stop("SIGKILL");
      await lab.start("--state", state);
      const [datapath] = lab.ovs.datapaths();
      expect([...lab.ovs.vports(datapath.ifindex)].slice(1)).toMatchObject(made);
      for (const { name } of made) expect(lab.namespace.run("ip", "link", "show", name)).toContain(",UP");
    });

    it("T-095: devices without Ethernet inside outlive a nokmod that is killed, with all that they were made with", async () => {
      const lab = await Lab.create(0);
      onTestFinished(() => lab.close());
      const state = lab.directory.file("state");
      await lab.start("--state", state);
      const { ifindex } = lab.ovs.createDatapath("dp0");
      const devices = [
        ["gpe0", "vxlan external gpe dstport 4790"],
        ["bu0", "bareudp dstport 6635 ethertype mpls_uc srcportmin 50000 multiproto"],
      ] as const;
      for (const [name, text] of devices) {
        await command(lab, ...`ip link add ${name} mtu 1450 type ${text}`.split(" "));
        await command(lab, "ip", "link", "set", name, "mtu", "61000", "up");
        lab.ovs.createVport(ifindex, { name, type: ovs.OVS_VPORT_TYPE_NETDEV, upcallPids: [0] });
      }
      const shown = async (): Promise<string> =>
        (await command(lab, "ip", "-d", "link", "show")).replace(/^\d+: |master \S+ |qdisc .*$/gm, "");
      const before = await shown();
      expect(before).toMatch(/gpe0: <POINTOPOINT,MULTICAST,NOARP,UP,LOWER_UP> mtu 61000[\s\S]*gpe/);
      expect(before).toContain("bareudp dstport 6635 ethertype mpls_uc srcportmin 50000 multiproto");
      const written = (): boolean =>
        existsSync(state) && /"bu0": \{[^}]*"mtu": 61000/.test(readFileSync(state, "utf8"));
      await until(written, "state", 20_000);
      await lab.stop("SIGKILL");
      await lab.start("--state", state);
      const [datapath] = lab.ovs.datapaths();
      const ports = [...lab.ovs.vports(datapath.ifindex)].slice(1);
      expect(ports.map(({ name }) => name)).toEqual(["gpe0", "bu0"]);
      const sections = (text: string): string[] => text.split(/^(?=\S)/m).sort();
      expect(sections(await shown())).toEqual(sections(before));
    });

    it("F-164: a port that the kernel has already is EADDRINUSE, and nothing stays behind", () => {
      near.namespace.run(..."ip link add vx0 type vxlan id 1 dstport 4789".split(" "));
      near.namespace.run("ip", "link", "set", "vx0", "up");
      onTestFinished(() => void near.namespace.try("ip", "link", "del", "vx0"));
      expect(() => tunnelPort(near, dp, ovs.OVS_VPORT_TYPE_VXLAN, 4789)).toThrow(
        expect.objectContaining({ errno: 98 }),
      );
      expect(near.namespace.try("ip", "link", "show", "tun0").status).not.toBe(0);
    });
  });

  describe("between two nokmods", () => {
    const option = (value: number): Uint8Array =>
      attr(ovs.OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS, u16(0x102), Uint8Array.of(0x80, 1), u32(value));
    const CASES: [name: string, type: number, port: number | undefined, to: Omit<TunnelTo, "dst">, v6: boolean][] = [
      ["VXLAN", ovs.OVS_VPORT_TYPE_VXLAN, 4789, {}, false],
      ["VXLAN over IPv6", ovs.OVS_VPORT_TYPE_VXLAN, 4789, {}, true],
      ["Geneve", ovs.OVS_VPORT_TYPE_GENEVE, 6081, {}, false],
      ["Geneve with options and checksums", ovs.OVS_VPORT_TYPE_GENEVE, 6081, { options: option(7), csum: true }, false],
      ["Geneve over IPv6", ovs.OVS_VPORT_TYPE_GENEVE, 6081, { options: option(7), csum: true }, true],
      ["GRE", ovs.OVS_VPORT_TYPE_GRE, undefined, {}, false],
    ];
    it.each(CASES)("A-226, K-245: ping and TCP through %s", async (_name, type, port, to, v6) => {
      tunnelPort(near, dp, type, port);
      join(near, dp, tunnel({ ...to, dst: v6 ? FAR6 : FAR }));
      const other = far.datapath();
      tunnelPort(far, other, type, port);
      join(far, other, tunnel({ ...to, dst: v6 ? NEAR6 : NEAR }));
      await reachable(near);
      expect(await near.hosts[0].ping("10.1.1.2")).toMatchObject({ received: 3 });
      for (const lab of [near, far]) lab.hosts[0].namespace.run("ip", "link", "set", "e0", "mtu", "1400");
      onTestFinished(() => {
        for (const lab of [near, far]) lab.hosts[0].namespace.run("ip", "link", "set", "e0", "mtu", "1500");
      });
      expect(await iperf(near, far, "10.1.1.2")).toBeGreaterThan(10);
    });

    it.each(CASES)("A-201, K-093: mark and priority through %s, both ways", async (_name, type, port, to, v6) => {
      const nft = (lab: Lab, rules: string): void => {
        lab.namespace.run("nft", `table inet marks {\n${rules}\n}`);
        onTestFinished(() => void lab.namespace.try("nft", "delete", "table", "inet", "marks"));
      };
      const outer = port === undefined ? "meta l4proto gre" : `udp dport ${port}`;
      nft(
        near,
        `chain out { type filter hook output priority 0; ${outer} counter meta mark 0x55 meta priority 7 counter; }`,
      );
      nft(
        far,
        `chain in { type filter hook prerouting priority 0; ${outer} meta mark set 0x80000077 meta priority set 5; }`,
      );
      tunnelPort(near, dp, type, port);
      const label = concat(setMark(0x55), set(ovs.OVS_KEY_ATTR_PRIORITY, le32(7)));
      const there = concat(label, setTunnel(tunnel({ ...to, dst: v6 ? FAR6 : FAR })), output(TUNNEL));
      near.ovs.putFlow(dp, { ...match({ inPort: 1 }), actions: there });
      near.ovs.putFlow(dp, { ...match({ inPort: TUNNEL }), actions: output(1) });
      const other = far.datapath();
      tunnelPort(far, other, type, port);
      join(far, other, tunnel({ ...to, dst: v6 ? NEAR6 : NEAR }));
      // Nothing comes through but with that mark, and that priority where the kernel tells it.
      far.ovs.deleteFlow(other, match({ inPort: TUNNEL }));
      const { key, mask } = match({ inPort: TUNNEL });
      const metadata = (mark: number, priority: number): Uint8Array =>
        concat(attr(ovs.OVS_KEY_ATTR_SKB_MARK, le32(mark)), attr(ovs.OVS_KEY_ATTR_PRIORITY, le32(priority)));
      far.ovs.putFlow(other, {
        key: concat(key, metadata(0x80000077, TELLS_PRIORITY ? 5 : 0)),
        mask: concat(mask, metadata(-1, -1)),
        actions: output(1),
      });
      await reachable(near);
      const counters = (): number[] => {
        const listed = near.namespace.run("nft", "list", "chain", "inet", "marks", "out");
        return [...listed.matchAll(/packets (\d+)/g)].map(([, packets]) => Number(packets));
      };
      const before = counters();
      expect(await near.hosts[0].ping("10.1.1.2")).toMatchObject({ received: 3 });
      expect(counters()).toEqual(before.map((packets) => packets + 3));
    });

    it("A-201: the mark decides the route", async () => {
      tunnelPort(near, dp, ovs.OVS_VPORT_TYPE_VXLAN, 4789);
      const there = concat(setMark(0x55), setTunnel(tunnel({ dst: FAR })), output(TUNNEL));
      near.ovs.putFlow(dp, { ...match({ inPort: 1 }), actions: there });
      near.ovs.putFlow(dp, { ...match({ inPort: TUNNEL }), actions: output(1) });
      const other = far.datapath();
      tunnelPort(far, other, ovs.OVS_VPORT_TYPE_VXLAN, 4789);
      join(far, other, tunnel({ dst: NEAR }));
      await reachable(near);
      const rule = "rule add fwmark 0x55 unreachable".split(" ");
      near.namespace.run("ip", ...rule);
      onTestFinished(() => void near.namespace.try("ip", "rule", "del", "fwmark", "0x55"));
      await until(async () => (await near.hosts[0].ping("10.1.1.2", "-W", "0.3")).received === 0, "no way");
      expect(near.ovs.vport(dp, TUNNEL).stats?.txErrors).toBeGreaterThan(0);
      near.namespace.run("ip", "rule", "del", "fwmark", "0x55");
      await until(async () => (await near.hosts[0].ping("10.1.1.2")).received === 3, "a way");
    });
  });
});
