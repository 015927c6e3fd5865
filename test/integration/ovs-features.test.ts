/** What ovs-vswitchd 3.1 does with the datapath, each seen on packets. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { root, until } from "../support/lab.ts";
import { OvsLab } from "../support/ovs-lab.ts";

describe.skipIf(!root)("ovs-vswitchd on nokmod", () => {
  let lab: OvsLab;
  beforeAll(async () => {
    lab = await OvsLab.create(3, [], true);
    await lab.vsctl("add-br", "br0", "--", "set", "bridge", "br0", "protocols=OpenFlow10,OpenFlow13");
    for (const port of ["p1", "p2", "p3"]) await lab.vsctl("add-port", "br0", port);
    const [one, two] = lab.hosts;
    expect(await one.ping(two.address)).toMatchObject({ received: 3 });
  });
  afterAll(() => lab?.close());

  const rules = async (...list: string[]): Promise<void> => {
    await lab.ofctl("del-flows");
    for (const rule of list) await lab.ofctl("add-flow", rule);
  };
  const warnings = (): string[] =>
    lab
      .log()
      .split("\n")
      .filter((line) => /\|(WARN|ERR|EMER)\|/.test(line));

  it("add-br, add-port, del-port, del-br: devices come and go", async () => {
    await lab.vsctl(
      "add-br",
      "br9",
      "--",
      "add-port",
      "br9",
      "int9",
      "--",
      "set",
      "interface",
      "int9",
      "type=internal",
    );
    expect(lab.namespace.run("ip", "link")).toMatch(/br9[\s\S]*int9|int9[\s\S]*br9/);
    await lab.vsctl("del-port", "br9", "int9");
    expect(lab.namespace.run("ip", "link")).not.toContain("int9");
    await lab.vsctl("del-br", "br9");
    expect(lab.namespace.run("ip", "link")).not.toContain("br9");
  });

  it("an internal port moved into a namespace", async () => {
    const [host] = lab.hosts;
    await lab.vsctl("add-port", "br0", "in1", "--", "set", "interface", "in1", "type=internal");
    lab.namespace.run("ip", "link", "set", "in1", "netns", String(lab.hosts[2].namespace.pid));
    const { namespace } = lab.hosts[2];
    namespace.run("ip", "addr", "add", "10.1.1.77/24", "dev", "in1");
    namespace.run("ip", "link", "set", "in1", "up");
    namespace.run("ip", "link", "set", "e0", "down");
    expect(await host.ping("10.1.1.77")).toMatchObject({ received: 3 });
    namespace.run("ip", "link", "set", "e0", "up");
    await lab.vsctl("del-port", "br0", "in1");
    await until(() => !namespace.run("ip", "link").includes("in1"), "in1 gone");
  });

  it("patch ports, and a mirror", async () => {
    const [one, two, three] = lab.hosts;
    await lab.vsctl("del-port", "br0", "p2");
    await lab.vsctl("add-br", "br1", "--", "add-port", "br1", "p2");
    await lab.vsctl(
      ..."add-port br0 to1 -- set interface to1 type=patch options:peer=to0 -- add-port br1 to0".split(" "),
      ..."-- set interface to0 type=patch options:peer=to1".split(" "),
    );
    await until(async () => (await one.ping(two.address, "-c", "1")).received === 1, "patch");
    await lab.vsctl(
      ..."-- --id=@p get port p3 -- --id=@m create mirror name=m select-all=true output-port=@p".split(" "),
      ..."-- set bridge br0 mirrors=@m".split(" "),
    );
    const capture = await three.capture("icmp");
    // A new mirror does not make ovs-vswitchd 3.1 translate anew the flows that are there.
    await lab.appctl("revalidator/purge");
    expect(await one.ping(two.address)).toMatchObject({ received: 3 });
    await capture.wait((frame) => frame[12] === 8 && frame[23] === 1, 6);
    await capture.stop();
    await lab.vsctl("clear", "bridge", "br0", "mirrors");
    await lab.vsctl("del-br", "br1", "--", "del-port", "br0", "to1", "--", "add-port", "br0", "p2");
    await until(async () => (await one.ping(two.address, "-c", "1")).received === 1, "as before");
  });

  it("a bond", async () => {
    const [one, two] = lab.hosts;
    await lab.vsctl("del-port", "br0", "p2", "--", "del-port", "br0", "p3");
    await lab.vsctl("add-bond", "br0", "bond0", "p2", "p3", "bond_mode=active-backup");
    await until(async () => (await lab.appctl("bond/show", "bond0")).includes("active-backup"), "bond");
    await lab.appctl("bond/set-active-member", "bond0", "p2");
    await until(async () => (await one.ping(two.address, "-c", "1")).received === 1, "over p2");
    await lab.vsctl("del-port", "br0", "bond0", "--", "add-port", "br0", "p2", "--", "add-port", "br0", "p3");
    await until(async () => (await one.ping(two.address, "-c", "1")).received === 1, "as before");
  });

  it("a meter drops what is over its rate, and is counted", async () => {
    const [one, two] = lab.hosts;
    await lab.ofctl("add-meter", "meter=1,pktps,burst,stats,bands=type=drop,rate=1,burst_size=1");
    await rules("priority=9,icmp,actions=meter:1,NORMAL", "priority=0,actions=NORMAL");
    const { received } = await one.ping(two.address, "-c", "20", "-i", "0.01");
    expect(received).toBeLessThan(15);
    expect(await lab.ofctl("meter-stats")).toMatch(/packet_in_count:[1-9]/);
    await lab.ofctl("del-flows");
    await lab.ofctl("del-meter", "meter=1");
    await rules("actions=NORMAL");
  });

  it("learn and fin_timeout", async () => {
    const [one, two] = lab.hosts;
    await rules(
      "table=0,priority=9,ip,actions=learn(table=5,hard_timeout=60,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[]),resubmit(,5)",
      "table=0,priority=1,actions=NORMAL",
      "table=5,priority=0,actions=NORMAL",
    );
    expect(await one.ping(two.address)).toMatchObject({ received: 3 });
    await until(async () => (await lab.ofctl("dump-flows", "table=5")).includes(`dl_dst=${one.mac}`), "learned");
    await rules(
      "priority=9,tcp,idle_timeout=60,actions=fin_timeout(idle_timeout=5),NORMAL",
      "priority=1,actions=NORMAL",
    );
    const server = two.namespace.start("python3", "-m", "http.server", "8000");
    await until(() => two.namespace.run("ss", "-tln").includes(":8000"), "server");
    expect(
      (await one.execute("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", `http://${two.address}:8000/`)).stdout,
    ).toBe("200");
    server.kill();
    await until(async () => /idle_timeout=5/.test(await lab.ofctl("dump-flows")), "fin_timeout");
    await rules("actions=NORMAL");
  });

  it("stateful firewall by tenant zones: NEW, ESTABLISHED, INVALID", async () => {
    const [one, two] = lab.hosts;
    await rules(
      "table=0,priority=10,arp,actions=NORMAL",
      "table=0,priority=9,ip,in_port=p1,actions=ct(table=1,zone=10)",
      "table=0,priority=9,ip,in_port=p2,actions=ct(table=1,zone=10)",
      "table=1,priority=9,ip,ct_state=+trk+inv,actions=drop",
      "table=1,priority=8,ip,in_port=p1,ct_state=+trk+new,actions=ct(commit,zone=10),output:p2",
      "table=1,priority=8,ip,ct_state=+trk+est,in_port=p1,actions=output:p2",
      "table=1,priority=8,ip,ct_state=+trk+est,in_port=p2,actions=output:p1",
    );
    expect(await one.ping(two.address)).toMatchObject({ received: 3 });
    expect(await two.ping(one.address, "-W", "1")).toMatchObject({ received: 0 });
    expect(await lab.appctl("dpctl/dump-conntrack", "zone=10")).toMatch(/icmp,orig=\(src=10\.1\.1\.1,dst=10\.1\.1\.2/);
    expect(await lab.appctl("dpctl/dump-conntrack", "zone=11")).toBe("");
    await lab.appctl("dpctl/flush-conntrack", "zone=10");
    expect(await lab.appctl("dpctl/dump-conntrack")).toBe("");
  });

  it("timeout policies and limits of zones", async () => {
    const [one, two] = lab.hosts;
    await lab.vsctl(
      ..."-- --id=@t create Datapath datapath_version=0 -- set Open_vSwitch . datapaths:system=@t".split(" "),
    );
    await lab.vsctl("add-zone-tp", "system", "zone=20", "icmp_first=77", "icmp_reply=88");
    await rules(
      "table=0,priority=10,arp,actions=NORMAL",
      "table=0,priority=9,ip,actions=ct(table=1,zone=20)",
      "table=1,priority=8,ip,ct_state=+trk+new,actions=ct(commit,zone=20),NORMAL",
      "table=1,priority=8,ip,ct_state=+trk+est,actions=NORMAL",
    );
    expect(await one.ping(two.address)).toMatchObject({ received: 3 });
    const timeout = Number(/^icmp +1 (\d+) /m.exec(await lab.ok("conntrack", "-L", "-w", "20"))?.[1]);
    expect(timeout).toBeGreaterThan(60);
    expect(timeout).toBeLessThanOrEqual(88);
    // What was there before the limit does not count.
    await lab.appctl("dpctl/ct-set-limits", "zone=20,limit=1");
    expect(await lab.appctl("dpctl/ct-get-limits", "zone=20")).toContain("zone=20,limit=1,count=0");
    expect(await one.ping(two.address)).toMatchObject({ received: 3 });
    expect(await lab.appctl("dpctl/ct-get-limits", "zone=20")).toContain("zone=20,limit=1,count=1");
    expect(await two.ping(one.address, "-W", "1")).toMatchObject({ received: 0 });
    await lab.appctl("dpctl/ct-del-limits", "zone=20");
    expect(await two.ping(one.address)).toMatchObject({ received: 3 });
    await lab.vsctl("del-zone-tp", "system", "zone=20");
    await lab.appctl("dpctl/flush-conntrack");
    await rules("actions=NORMAL");
  });

  it("dpctl: flows by hand, by UFID, statistics, every datapath", async () => {
    expect(await lab.appctl("dpctl/dump-dps")).toContain("system@ovs-system");
    const match = "in_port(7),eth(),eth_type(0x0800),ipv4(src=9.9.9.9)";
    const id = "ufid:00112233-4455-6677-8899-aabbccddeeff";
    await lab.appctl("dpctl/add-flow", `${id},${match}`, "1");
    expect(await lab.appctl("dpctl/get-flow", id)).toContain("actions:1");
    await lab.appctl("dpctl/mod-flow", `${id},${match}`, "2");
    expect(await lab.appctl("dpctl/dump-flows", "-m")).toMatch(/ufid:00112233.*actions:(2|p\d|br0)/);
    expect(await lab.appctl("dpctl/dump-flows", "filter=ip")).toContain("9.9.9.9");
    await lab.appctl("dpctl/del-flow", `${id},${match}`);
    await expect(lab.appctl("dpctl/get-flow", id)).rejects.toThrow(/No such file/);
    expect(await lab.appctl("dpctl/show", "-s")).toMatch(/RX packets:\d+ errors:0/);
    expect(await lab.ok("ovs-dpctl", "cache-get-size")).toContain("masks-cache");
    await lab.ok("ovs-dpctl", "cache-set-size", "ovs-system", "masks-cache", "512");
    expect(await lab.ok("ovs-dpctl", "cache-get-size", "ovs-system")).toContain("512");
    expect(await lab.appctl("ofproto/trace", "ovs-system", "in_port(2),eth_type(0x0800)")).toContain(
      "Datapath actions",
    );
  });

  it("Geneve, VXLAN and GRE ports, by flow and by address", async () => {
    for (const [name, type] of [
      ["gnv", "geneve"],
      ["vx", "vxlan"],
      ["gr", "gre"],
    ]) {
      await lab.vsctl(
        "add-port",
        "br0",
        name,
        "--",
        "set",
        "interface",
        name,
        `type=${type}`,
        "options:remote_ip=flow",
      );
    }
    expect(await lab.vsctl("show")).not.toContain("error");
    const ports = await lab.appctl("dpctl/show");
    for (const device of ["genev_sys_6081", "vxlan_sys_4789", "gre_sys"]) expect(ports).toContain(device);
    expect(await lab.ok("ip", "-d", "link", "show", "genev_sys_6081")).toMatch(
      /master ovs-system[\s\S]*geneve external/,
    );
    for (const name of ["gnv", "vx", "gr"]) await lab.vsctl("del-port", "br0", name);
    await until(() => !/_sys/.test(lab.namespace.run("ip", "-br", "link")), "devices gone");
  });

  it("nothing to warn of but what was asked for", () => {
    const provoked =
      /bond|policing|unreasonably|faults:|context switches|zone=20.*Cannot allocate memory|zone=20.* failed|flow_get/i;
    expect(warnings().filter((line) => !provoked.test(line))).toEqual([]);
  });
});
