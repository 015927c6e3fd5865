/** Tunnels under IPsec, keyed by hand: needs a kernel that has it. */
import { spawnSync } from "node:child_process";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, onTestFinished } from "vitest";
import * as ovs from "../../src/uapi/openvswitch.ts";
import { attr, output, setMark } from "../support/actions.ts";
import { concat, ip4, ip6, u32 } from "../support/frames.ts";
import { Lab, match, root, until } from "../support/lab.ts";
import { setTunnel } from "../support/tunnels.ts";

const TUNNEL = 10;
const NEAR = "10.9.0.1";
const FAR = "10.9.0.2";
const NEAR6 = "fd09::1";
const FAR6 = "fd09::2";
/** A kernel may have policies and lack ESP or the cipher. */
const STATE =
  "ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x100 mode transport aead rfc4106(gcm(aes)) 0x5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a 128";
const ipsec = root && spawnSync("unshare", ["--net", ...STATE.split(" ")]).status === 0;

/** Content of OVS_KEY_ATTR_TUNNEL. */
function tunnel(dst: string, df: boolean): Uint8Array {
  const v6 = dst.includes(":");
  return concat(
    attr(ovs.OVS_TUNNEL_KEY_ATTR_ID, u32(0), u32(42)),
    v6 ? attr(ovs.OVS_TUNNEL_KEY_ATTR_IPV6_DST, ip6(dst)) : attr(ovs.OVS_TUNNEL_KEY_ATTR_IPV4_DST, ip4(dst)),
    attr(ovs.OVS_TUNNEL_KEY_ATTR_TTL, Uint8Array.of(64)),
    v6 ? attr(ovs.OVS_TUNNEL_KEY_ATTR_CSUM) : new Uint8Array(0),
    df ? attr(ovs.OVS_TUNNEL_KEY_ATTR_DONT_FRAGMENT) : new Uint8Array(0),
  );
}

describe.skipIf(!ipsec)("tunnels under IPsec", () => {
  let near: Lab;
  let far: Lab;

  beforeAll(async () => {
    [near, far] = await Promise.all([Lab.create(1, true), Lab.create(1, true)]);
    near.namespace.run(..."ip link add u0 type veth peer name u1 netns".split(" "), `${far.namespace.pid}`);
    for (const [lab, device, v4, v6] of [
      [near, "u0", NEAR, NEAR6],
      [far, "u1", FAR, FAR6],
    ] as const) {
      const { namespace } = lab;
      namespace.run("sysctl", "-qw", `net.ipv6.conf.${device}.disable_ipv6=0`, `net.ipv6.conf.${device}.accept_dad=0`);
      namespace.run("ip", "addr", "add", `${v4}/24`, "dev", device);
      namespace.run("ip", "addr", "add", `${v6}/64`, "dev", device, "nodad");
      namespace.run("ip", "link", "set", device, "up");
    }
    // One after the other: a kernel with IPsec may be a slow one, in a virtual machine.
    await near.start();
    await far.start();
    const [a] = near.hosts;
    const [b] = far.hosts;
    b.namespace.run("ip", "addr", "flush", "dev", "e0");
    b.namespace.run("ip", "link", "set", "e0", "address", "02:00:00:00:00:02");
    b.namespace.run("ip", "addr", "add", "10.1.1.2/24", "dev", "e0");
    a.namespace.run(..."ip neigh replace 10.1.1.2 lladdr 02:00:00:00:00:02 dev e0".split(" "));
    b.namespace.run(..."ip neigh replace 10.1.1.1 lladdr 02:00:00:00:00:01 dev e0".split(" "));
  }, 120_000);
  afterAll(async () => {
    await Promise.all([near?.close(), far?.close()]);
  });
  beforeEach(() => {
    // What comes over the wire, before it is deciphered.
    far.namespace.run(
      "nft",
      `table netdev t {
        counter secret {}
        counter plain {}
        chain in {
          type filter hook ingress device u1 priority 0;
          meta l4proto esp counter name secret
          meta l4proto { udp, gre } counter name plain
        }
      }`,
    );
  });
  afterEach(() => {
    near.clear();
    far.clear();
    far.namespace.run("nft", "delete", "table", "netdev", "t");
    for (const { namespace } of [near, far]) {
      namespace.run("ip", "xfrm", "policy", "flush");
      namespace.run("ip", "xfrm", "state", "flush");
    }
  });

  /** Packets that have come over the wire since the test began. */
  function wire(name: "secret" | "plain"): number {
    const listed = far.namespace.run("nft", "list", "counter", "netdev", "t", name);
    return Number(/packets (\d+)/.exec(listed)?.[1]);
  }

  /** A tunnel between the hosts. */
  function connect(type: number, port: number | undefined, v6: boolean, df = false, before?: Uint8Array): void {
    for (const [lab, dst] of [
      [near, v6 ? FAR6 : FAR],
      [far, v6 ? NEAR6 : NEAR],
    ] as const) {
      const dp = lab.datapath();
      lab.ovs.createVport(dp, { name: "tun0", type, portNo: TUNNEL, upcallPids: [0], tunnelPort: port });
      const actions = concat(before ?? new Uint8Array(0), setTunnel(tunnel(dst, df)), output(TUNNEL));
      lab.ovs.putFlow(dp, { ...match({ inPort: 1 }), actions });
      lab.ovs.putFlow(dp, { ...match({ inPort: TUNNEL }), actions: output(1) });
    }
  }

  /** Policies for `selector` both ways on both sides, and the keys. */
  function secure(selector: string, v6: boolean): void {
    const [a, b] = v6 ? [NEAR6, FAR6] : [NEAR, FAR];
    const key = `0x${"5a".repeat(20)}`;
    for (const [{ namespace }, own] of [
      [near, a],
      [far, b],
    ] as const) {
      for (const [src, dst, spi] of [
        [a, b, "0x100"],
        [b, a, "0x200"],
      ]) {
        const way = ["src", src, "dst", dst];
        const esp = [...way, "proto", "esp"];
        namespace.run(
          ..."ip xfrm state add".split(" "),
          ...esp,
          ...`spi ${spi} reqid 1 mode transport aead rfc4106(gcm(aes)) ${key} 128`.split(" "),
        );
        namespace.run(
          ..."ip xfrm policy add".split(" "),
          ...way,
          ...`${selector} dir ${src === own ? "out" : "in"} tmpl`.split(" "),
          ...esp,
          ..."reqid 1 mode transport".split(" "),
        );
      }
    }
  }

  const KINDS: [name: string, type: number, port: number | undefined, selector: string, v6: boolean][] = [
    ["VXLAN", ovs.OVS_VPORT_TYPE_VXLAN, 4789, "proto udp dport 4789", false],
    ["VXLAN over IPv6", ovs.OVS_VPORT_TYPE_VXLAN, 4789, "proto udp dport 4789", true],
    ["Geneve", ovs.OVS_VPORT_TYPE_GENEVE, 6081, "proto udp dport 6081", false],
    ["Geneve over IPv6", ovs.OVS_VPORT_TYPE_GENEVE, 6081, "proto udp dport 6081", true],
    ["GRE", ovs.OVS_VPORT_TYPE_GRE, undefined, "proto gre", false],
  ];
  it.each(KINDS)("policies by protocol and port hold for %s", async (_name, type, port, selector, v6) => {
    secure(selector, v6);
    connect(type, port, v6);
    expect(await near.hosts[0].ping("10.1.1.2")).toMatchObject({ received: 3 });
    expect([wire("plain"), wire("secret")]).toEqual([0, 3]);
  });

  it("a policy for another port leaves a tunnel alone", async () => {
    secure("proto udp dport 4790", false);
    connect(ovs.OVS_VPORT_TYPE_VXLAN, 4789, false);
    expect(await near.hosts[0].ping("10.1.1.2")).toMatchObject({ received: 3 });
    expect([wire("plain"), wire("secret")]).toEqual([3, 0]);
    // Nothing inside, nor outside, is too long for what goes in the clear.
    const sizes = ["-M", "do", "-s", "1422"];
    expect(await near.hosts[0].ping("10.1.1.2", ...sizes)).toMatchObject({ received: 3 });
  });

  it("a policy holds from when it is there until it is not", async () => {
    connect(ovs.OVS_VPORT_TYPE_VXLAN, 4789, false);
    const [host] = near.hosts;
    expect(await host.ping("10.1.1.2")).toMatchObject({ received: 3 });
    expect(near.namespace.run("nft", "list", "tables")).not.toContain("nokmod-ipsec");
    const policy = `src ${NEAR} dst ${FAR} proto udp dport 4789 dir out`.split(" ");
    near.namespace.run(..."ip xfrm policy add".split(" "), ...policy, "action", "block");
    expect(await host.ping("10.1.1.2", "-W", "1")).toMatchObject({ sent: 3, received: 0 });
    expect(wire("plain")).toBe(3);
    near.namespace.run(..."ip xfrm policy delete".split(" "), ...policy);
    // It is noticed within a second or so.
    await until(async () => (await host.ping("10.1.1.2", "-c", "1", "-W", "1")).received === 1, "traffic", 20_000);
    expect(await host.ping("10.1.1.2")).toMatchObject({ received: 3 });
    expect(wire("plain")).toBe(7);
    expect(near.namespace.run("nft", "list", "tables")).not.toContain("nokmod-ipsec");
  });

  it("A-201: a packet keeps its mark, and no chain sees another one", async () => {
    secure("proto udp dport 4789", false);
    connect(ovs.OVS_VPORT_TYPE_VXLAN, 4789, false, false, setMark(0x55));
    near.namespace.run(
      "nft",
      `table inet m {
        counter right {}
        counter total {}
        chain out {
          type filter hook output priority -300;
          udp dport 4789 counter name total
          udp dport 4789 meta mark 0x55 meta priority 0 counter name right
        }
      }`,
    );
    onTestFinished(() => void near.namespace.try("nft", "delete", "table", "inet", "m"));
    expect(await near.hosts[0].ping("10.1.1.2")).toMatchObject({ received: 3 });
    for (const name of ["total", "right"])
      expect(near.namespace.run("nft", "list", "counter", "inet", "m", name)).toContain("packets 3");
    expect(wire("secret")).toBe(3);
  });

  it("the path is shorter by what IPsec takes", async () => {
    secure("proto udp dport 4789", false);
    connect(ovs.OVS_VPORT_TYPE_VXLAN, 4789, false, true);
    const [host] = near.hosts;
    const { status, stdout } = await host.execute("ping", "-c", "1", "-W", "1", "-M", "do", "-s", "1472", "10.1.1.2");
    expect(status).not.toBe(0);
    // As under the module (seen on 6.12): 1450, less header, vector, trailer and check of ESP.
    expect(stdout).toMatch(/mtu ?= ?1416/);
    expect(await host.ping("10.1.1.2", "-M", "do", "-s", `${1416 - 28}`)).toMatchObject({ received: 3 });
    expect(wire("plain")).toBe(0);
  });

  it("what may be cut is cut behind IPsec", async () => {
    secure("proto udp dport 4789", false);
    connect(ovs.OVS_VPORT_TYPE_VXLAN, 4789, false);
    for (const lab of [near, far]) {
      lab.namespace.run("ip", "link", "set", "lo", "up");
      // What an earlier test has told the hosts of the path.
      lab.hosts[0].namespace.run("ip", "route", "flush", "cache");
    }
    const ping = (size: number) => near.hosts[0].ping("10.1.1.2", "-M", "dont", "-s", `${size}`);
    // 1500 bytes outside, which ESP makes more of.
    expect(await ping(1422)).toMatchObject({ received: 3 });
    expect([wire("plain"), wire("secret")]).toEqual([0, 6]);
    // 1550 bytes: longer than the device takes without IPsec, too.
    expect(await ping(1472)).toMatchObject({ received: 3 });
    expect([wire("plain"), wire("secret")]).toEqual([0, 12]);
    // Twice those, and what is left of the packet inside.
    expect(await ping(3000)).toMatchObject({ received: 3 });
    expect([wire("plain"), wire("secret")]).toEqual([0, 27]);
  });
});
