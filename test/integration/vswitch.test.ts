import { execFileSync } from "node:child_process";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Namespace } from "../../src/lab/namespace.ts";
import { NativePorts } from "../../src/port/native/ports.ts";
import { Nokmod } from "../../src/runtime/nokmod.ts";
import { VSwitch } from "../../src/vswitch/index.ts";

/** Two hosts in namespaces of their own, on a bridge of the built-in userspace: real devices, real stacks. Needs root. */
const root = process.getuid?.() === 0;
const ip = (...args: string[]) => execFileSync("ip", args);

let hosts: Namespace[];
let nokmod: Nokmod;
let bridge: VSwitch;
let faults: string[];

async function start(flows: string[]): Promise<void> {
  nokmod = new Nokmod({ ports: new NativePorts() });
  bridge = new VSwitch({ opener: nokmod, name: "nkvbr", ports: ["nkv1", "nkv2"], flows });
  bridge.onFault = (what, error) => faults.push(`${what}: ${error}`);
}

describe.skipIf(!root)("built-in userspace on real packets", () => {
  beforeEach(async () => {
    faults = [];
    hosts = [await Namespace.create(), await Namespace.create()];
    for (const [i, host] of hosts.entries()) {
      ip("link", "add", `nkv${i + 1}`, "type", "veth", "peer", "name", "eth0", "netns", String(host.pid));
      ip("link", "set", `nkv${i + 1}`, "up");
      host.run("ip", "address", "add", `10.99.0.${i + 1}/24`, "dev", "eth0");
      host.run("ip", "address", "add", `fd99::${i + 1}/64`, "dev", "eth0", "nodad");
      host.run("ip", "link", "set", "eth0", "up");
    }
  });
  afterEach(async () => {
    bridge?.close();
    nokmod?.close();
    for (const name of ["nkv1", "nkv2"]) {
      try {
        ip("link", "delete", name);
      } catch {
        // Gone with its namespace.
      }
    }
    await Promise.all(hosts.map((host) => host.close()));
  });

  it("NORMAL: ARP, neighbour discovery and ping both ways, and the addresses are learned", async () => {
    await start(["actions=NORMAL"]);
    const [one, two] = hosts;
    expect((await one.execute("ping", "-c", "3", "-i", "0.1", "-W", "2", "10.99.0.2")).stdout).toMatch(
      / 0% packet loss/,
    );
    expect((await two.execute("ping", "-c", "3", "-i", "0.1", "-W", "2", "fd99::1")).stdout).toMatch(/ 0% packet loss/);
    expect(
      bridge
        .learned()
        .map((entry) => entry.port)
        .sort(),
    ).toEqual([1, 2]);
    expect(faults).toEqual([]);
  });

  it("U-079, U-080: datagrams in fragments through ct, first by upcall and then by the datapath", async () => {
    await start([
      "priority=1,actions=NORMAL",
      "priority=9,ip,ct_state=-trk,actions=ct(table=1)",
      "table=1,ip,ct_state=+trk+new,actions=ct(commit),NORMAL",
      "table=1,ip,ct_state=+trk+est,actions=NORMAL",
    ]);
    const ping = await hosts[0].execute("ping", "-c", "3", "-i", "0.1", "-W", "2", "-s", "4000", "10.99.0.2");
    expect(ping.stdout).toMatch(/ 0% packet loss/);
    expect(faults).toEqual([]);
    expect(bridge.flows("table=1,ct_state=+trk+est")[0].packets).toBeGreaterThan(0);
  });
});
