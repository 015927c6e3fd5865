/** Programs that know nothing of nokmod, run on it as they are: docs/transport.md, "Unmodified programs". */
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { preloadEnvironment } from "../../src/exec/preload.ts";
import type { CommandResult } from "../../src/lab/namespace.ts";
import { type Host, Lab, root, type Script, until } from "../support/lab.ts";

const PYTHON = "/usr/bin/python3";
const PROGRAM = fileURLToPath(new URL("../support/netlink-program.py", import.meta.url));
const OUTLIVING = fileURLToPath(new URL("../support/outliving-program.py", import.meta.url));
const SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema";

/** A command in the switch's namespace with the library in front of it, as `nokmod exec` starts it. */
async function on(lab: Lab, ...command: string[]): Promise<CommandResult> {
  const { LD_PRELOAD } = preloadEnvironment(lab.socket, {});
  return lab.namespace.execute("env", `LD_PRELOAD=${LD_PRELOAD}`, `NOKMOD_SOCKET=${lab.socket}`, ...command);
}

/** The same; it must succeed. @returns what it printed */
async function ok(lab: Lab, ...command: string[]): Promise<string> {
  const { status, stdout, stderr } = await on(lab, ...command);
  expect(status, `${command.join(" ")}: ${stderr}`).toBe(0);
  return stdout;
}

describe.skipIf(!root)("a program's netlink socket", () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await Lab.create(0);
    await lab.start();
  });
  afterAll(() => lab?.close());

  it("cannot be told from the kernel's: addresses, options, errors, dumps, overrun, dup, fork, exec, threads", async () => {
    const kernel = await lab.namespace.execute(PYTHON, PROGRAM);
    const nokmod = await on(lab, PYTHON, PROGRAM);
    expect(kernel.status, kernel.stderr).toBe(0);
    expect(nokmod.status, nokmod.stderr).toBe(0);
    expect(JSON.parse(nokmod.stdout)).toEqual(JSON.parse(kernel.stdout));
  });

  it("nokmod exec: the environment, the command's exit code, its signal, no such command", async () => {
    const exec = (...command: string[]) => lab.cli("exec", "--socket", lab.socket, "--", ...command);
    expect(await exec("sh", "-c", "echo $NOKMOD_SOCKET; exit 7")).toMatchObject({
      status: 7,
      stdout: `${lab.socket}\n`,
    });
    expect((await exec("sh", "-c", "kill -TERM $$")).status).not.toBe(0);
    expect(await exec("nokmod-no-such-command")).toMatchObject({
      status: 127,
      stderr: expect.stringContaining("not found"),
    });
    expect(await exec("ovs-dpctl", "show")).toMatchObject({ status: 0, stdout: "" });
  });

  it("without a server, and for what nokmod does not serve, it is the kernel's", async () => {
    const { LD_PRELOAD } = preloadEnvironment(lab.socket, {});
    const nobody = ["env", `LD_PRELOAD=${LD_PRELOAD}`, "NOKMOD_SOCKET=/nonexistent/socket"];
    const direct = await lab.namespace.execute("ovs-dpctl", "show");
    const without = await lab.namespace.execute(...nobody, "ovs-dpctl", "show");
    expect([without.status, without.stdout]).toEqual([direct.status, direct.stdout]);

    await ok(lab, "nft", "add", "table", "ip", "kernels");
    expect(lab.namespace.run("nft", "list", "tables")).toContain("table ip kernels");
    expect((await on(lab, "ip", "-br", "link")).stdout).toContain("lo");
  });

  it("outlives the server: no end of file, no spin; its port id and groups again on the next one, and ENOBUFS once", async () => {
    const { LD_PRELOAD } = preloadEnvironment(lab.socket, {});
    const environment = [`LD_PRELOAD=${LD_PRELOAD}`, `NOKMOD_SOCKET=${lab.socket}`];
    const child = lab.namespace.start("env", ...environment, PYTHON, "-u", OUTLIVING);
    let output = "";
    child.stdout?.on("data", (chunk) => {
      output += chunk;
    });
    await until(() => output.includes("ready"), "ready");
    await lab.stop("SIGKILL");
    await until(() => output.includes("ECONNREFUSED"), "ECONNREFUSED");
    await lab.start();
    await until(() => child.exitCode !== null, "the end");
    expect(output.trim().split("\n")).toEqual([
      "ready",
      "EAGAIN EAGAIN True",
      "True",
      "ECONNREFUSED",
      "1 1",
      "ENOBUFS EAGAIN",
      "True EAGAIN",
      "1 1 True",
      "True 00800000",
    ]);
  });
});

describe.skipIf(!root)("ovs-dpctl and conntrack", () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await Lab.create(2);
    await lab.start();
  });
  afterAll(() => lab?.close());

  it("ovs-dpctl: a datapath, ports and flows between two hosts", async () => {
    const [left, right] = lab.hosts;
    await ok(lab, "ovs-dpctl", "add-dp", "dp0");
    await ok(lab, "ovs-dpctl", "add-if", "dp0", "p1", "p2");
    expect(await ok(lab, "ovs-dpctl", "show", "dp0")).toMatch(
      /system@dp0:\n[\s\S]*port 0: dp0 \(internal\)\n {2}port 1: p1\n {2}port 2: p2/,
    );
    for (const [from, to] of [
      ["1", "2"],
      ["2", "1"],
    ]) {
      for (const match of ["eth_type(0x0806),arp()", "eth_type(0x0800),ipv4()"]) {
        await ok(lab, "ovs-dpctl", "add-flow", "dp0", `in_port(${from}),eth(),${match}`, to);
      }
    }
    expect(await left.ping(right.address)).toMatchObject({ received: 3 });
    const flows = (await ok(lab, "ovs-dpctl", "dump-flows", "dp0")).trim().split("\n");
    expect(flows).toHaveLength(4);
    expect(
      flows.filter((flow) => /in_port\(1\),.*eth_type\(0x0800\).*packets:3, bytes:294.*actions:2/.test(flow)),
    ).toHaveLength(1);
    await ok(lab, "ovs-dpctl", "del-flow", "dp0", "in_port(1),eth(),eth_type(0x0800),ipv4()");
    expect(
      (await on(lab, "ovs-dpctl", "del-flow", "dp0", "in_port(1),eth(),eth_type(0x0800),ipv4()")).stderr,
    ).toContain("No such file or directory");
    expect((await on(lab, "ovs-dpctl", "add-if", "dp0", "nosuch0")).stderr).toContain("No such device");
    await ok(lab, "ovs-dpctl", "del-dp", "dp0");
    expect(await ok(lab, "ovs-dpctl", "show")).toBe("");
  });

  it("a dump of 20 000 flows is complete", async () => {
    await ok(lab, "ovs-dpctl", "add-dp", "big");
    const file = lab.directory.file("flows");
    const address = (i: number) => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`;
    const flows = Array.from(
      { length: 20_000 },
      (_, i) => `in_port(0),eth(),eth_type(0x0800),ipv4(src=${address(i)}) 0`,
    );
    writeFileSync(file, flows.map((flow) => `add ${flow}\n`).join(""));
    await ok(lab, "ovs-dpctl", "add-flows", "big", file);
    const lines = (await ok(lab, "ovs-dpctl", "dump-flows", "big")).trim().split("\n");
    expect(new Set(lines.map((line) => /src=([\d.]+)/.exec(line)?.[1])).size).toBe(20_000);
    await ok(lab, "ovs-dpctl", "del-dp", "big");
  });

  it("conntrack: -I, -L, -C, -U, -E, -D, -F, -S", async () => {
    const entry = ["-p", "udp", "-s", "1.1.1.1", "-d", "2.2.2.2", "--sport", "5", "--dport", "6"];
    const { LD_PRELOAD } = preloadEnvironment(lab.socket, {});
    const environment = [`LD_PRELOAD=${LD_PRELOAD}`, `NOKMOD_SOCKET=${lab.socket}`];
    const events = lab.namespace.start("env", ...environment, "stdbuf", "-oL", "conntrack", "-E");
    let seen = "";
    events.stdout?.on("data", (chunk) => {
      seen += chunk;
    });
    // It says nothing when it has subscribed: repeat until it has.
    await until(async () => {
      await on(lab, "conntrack", "-I", ...entry, "-t", "60");
      await on(lab, "conntrack", "-D", ...entry);
      return seen.includes("[DESTROY]");
    }, "events");
    expect(seen).toMatch(/\[NEW\] udp +17 60 src=1.1.1.1 dst=2.2.2.2 sport=5 dport=6 \[UNREPLIED\]/);
    events.kill();

    await ok(lab, "conntrack", "-I", ...entry, "-t", "60", "-w", "7");
    await ok(lab, "conntrack", "-I", ...entry, "-t", "60", "-w", "8");
    expect(await ok(lab, "conntrack", "-C")).toBe("2\n");
    expect(await ok(lab, "conntrack", "-L", "-w", "7")).toMatch(
      /^udp +17 \d+ src=1.1.1.1 dst=2.2.2.2 sport=5 dport=6 \[UNREPLIED\] src=2.2.2.2 dst=1.1.1.1 sport=6 dport=5 mark=0 zone=7 use=1\n$/,
    );
    // -U takes no zone.
    await ok(lab, "conntrack", "-I", ...entry, "-t", "60");
    await ok(lab, "conntrack", "-U", ...entry, "-m", "9");
    expect(await ok(lab, "conntrack", "-L", "-m", "9")).toMatch(/^udp .* mark=9 use=1\n$/);
    await ok(lab, "conntrack", "-D", "-m", "9");
    await ok(lab, "conntrack", "-D", "-w", "7");
    expect(await ok(lab, "conntrack", "-C")).toBe("1\n");
    await ok(lab, "conntrack", "-F");
    expect(await ok(lab, "conntrack", "-L")).toBe("");
    expect(await ok(lab, "conntrack", "-S")).toContain("cpu=0");
  });
});

/** What ovs-vswitchd 3.1 finds that the module of Linux 6.12 can do. */
const FEATURES = [
  "supports recirculation",
  "VLAN header stack length probed as 2",
  "MPLS label stack length probed as 3",
  "supports truncate action",
  "supports unique flow ids",
  "supports clone action",
  "Max sample nesting level probed as 10",
  "supports eventmask in conntrack action",
  "supports ct_clear action",
  "Max dp_hash algorithm probed to be 1",
  "supports check_pkt_len action",
  "supports timeout policy in conntrack action",
  "supports ct_zero_snat",
  "supports add_mpls action",
  "supports ct_state",
  "supports ct_zone",
  "supports ct_mark",
  "supports ct_label",
  "supports ct_state_nat",
  "supports ct_orig_tuple",
  "supports ct_orig_tuple6",
  "does not support IPv6 ND Extensions",
];

describe.skipIf(!root)("ovs-vswitchd with datapath_type=system", () => {
  let lab: Lab;
  let left: Host;
  let right: Host;
  const running: Script["child"][] = [];
  const file = (name: string): string => lab.directory.file(name);
  const log = (): string => readFileSync(file("vswitchd.log"), "utf8");
  const vsctl = (...args: string[]) => ok(lab, "ovs-vsctl", "--timeout=10", `--db=unix:${file("db.sock")}`, ...args);
  const appctl = (...args: string[]) => ok(lab, "ovs-appctl", "-t", file("vswitchd.ctl"), ...args);
  const ofctl = (...args: string[]) => {
    const [command, ...rest] = args;
    return ok(lab, "ovs-ofctl", "-O", "OpenFlow13", command, `unix:${file("br0.mgmt")}`, ...rest);
  };

  async function daemon(...command: string[]): Promise<void> {
    const { LD_PRELOAD } = preloadEnvironment(lab.socket, {});
    const environment = [`LD_PRELOAD=${LD_PRELOAD}`, `NOKMOD_SOCKET=${lab.socket}`, `OVS_RUNDIR=${file("")}`];
    const child = lab.namespace.start("env", ...environment, ...command, "-vconsole:off");
    running.push(child);
    const control = command.find((word) => word.startsWith("--unixctl="))?.slice(10) as string;
    await until(
      async () => (await lab.namespace.execute("ovs-appctl", "-t", control, "version")).status === 0,
      control,
    );
  }

  beforeAll(async () => {
    lab = await Lab.create(2);
    [left, right] = lab.hosts;
    await lab.start();
    lab.namespace.run("ovsdb-tool", "create", file("conf.db"), SCHEMA);
    await daemon(
      "ovsdb-server",
      file("conf.db"),
      `--remote=punix:${file("db.sock")}`,
      `--unixctl=${file("ovsdb.ctl")}`,
    );
    await vsctl("--no-wait", "init");
    const control = `--unixctl=${file("vswitchd.ctl")}`;
    await daemon("ovs-vswitchd", `unix:${file("db.sock")}`, control, `--log-file=${file("vswitchd.log")}`);
    await vsctl("add-br", "br0", "--", "add-port", "br0", "p1", "--", "add-port", "br0", "p2");
    await vsctl("set", "bridge", "br0", "protocols=OpenFlow10,OpenFlow13");
  });
  afterAll(async () => {
    for (const child of running.reverse()) {
      child.kill();
      await until(() => child.exitCode !== null || child.signalCode !== null, "the daemons' end");
    }
    await lab?.close();
  });

  it("finds all that the module can do", () => {
    expect(log()).toContain("Datapath dispatch mode: per-cpu");
    const found = [...log().matchAll(/system@ovs-system: (?:Datapath )?(.*)/g)].map(([, feature]) => feature);
    expect(found).toEqual(FEATURES);
  });

  it("NORMAL: hosts reach each other and the bridge; upcalls install megaflows", async () => {
    expect(await left.ping(right.address)).toMatchObject({ received: 3 });
    expect(await left.ping(right.address6, "-6")).toMatchObject({ received: 3 });
    // Those that came before its flow was there came up as well.
    const used = /in_port\(\d\),.*eth_type\(0x0800\),ipv4\(frag=no\), packets:[1-9].*actions:\d/;
    await until(async () => {
      await left.ping(right.address, "-c", "1");
      return used.test(await appctl("dpctl/dump-flows"));
    }, "a megaflow that packets meet");
    lab.namespace.run("ip", "addr", "add", "10.1.1.100/24", "dev", "br0");
    lab.namespace.run("ip", "link", "set", "br0", "up");
    expect(await left.ping("10.1.1.100")).toMatchObject({ received: 3 });
    expect(await appctl("dpctl/show")).toMatch(/lookups: hit:[1-9]\d* missed:[1-9]\d* lost:0/);
    expect(await appctl("ofproto/trace", "br0", "in_port=p1,icmp")).toContain("Datapath actions:");
  });

  it("C-397: the NAT walk-through; dump-conntrack shows both tuples", async () => {
    await ofctl("del-flows");
    const rules = [
      "table=0,priority=9,arp,actions=NORMAL",
      "table=0,priority=8,in_port=p1,ip,actions=ct(commit,zone=1,nat(src=10.1.1.240-10.1.1.255)),output:p2",
      "table=0,priority=8,in_port=p2,ct_state=-trk,ip,actions=ct(table=0,zone=1,nat)",
      "table=0,priority=7,in_port=p2,ct_state=+trk+est,ct_zone=1,ip,actions=output:p1",
    ];
    for (const rule of rules) await ofctl("add-flow", rule);
    for (let last = 240; last < 256; last++) {
      right.namespace.run("ip", "neigh", "replace", `10.1.1.${last}`, "lladdr", left.mac, "dev", "e0");
    }
    const iperf = right.namespace.start("iperf3", "-s", "-1");
    try {
      await until(() => right.namespace.run("ss", "-tln").includes(":5201"), "iperf3");
      const { stdout, stderr } = await left.execute("iperf3", "-c", right.address, "-t", "1", "-J");
      const { end } = JSON.parse(stdout) as { end: { sum_received: { bits_per_second: number } } };
      expect(end.sum_received.bits_per_second, stderr).toBeGreaterThan(1e7);
    } finally {
      iperf.kill();
    }
    expect(await appctl("dpctl/dump-conntrack", "zone=1")).toMatch(
      /tcp,orig=\(src=10\.1\.1\.1,dst=10\.1\.1\.2,.*\),reply=\(src=10\.1\.1\.2,dst=10\.1\.1\.2[45]\d,.*\),zone=1,protoinfo=/,
    );
    expect(await appctl("dpctl/dump-flows")).toMatch(/ct\(commit,zone=1,nat\(src=10\.1\.1\.240-10\.1\.1\.255\)\)/);
    expect(await ok(lab, "conntrack", "-L", "-w", "1")).toContain("dst=10.1.1.2");
    await appctl("dpctl/flush-conntrack", "zone=1");
    expect(await appctl("dpctl/dump-conntrack")).toBe("");
  });

  it("ports come and go; limits; no warning", async () => {
    await vsctl("add-port", "br0", "int0", "--", "set", "interface", "int0", "type=internal");
    expect(lab.namespace.run("ip", "link", "show", "int0")).toContain("int0");
    await vsctl("del-port", "br0", "int0");
    expect(lab.namespace.try("ip", "link", "show", "int0").status).not.toBe(0);
    await appctl("dpctl/ct-set-limits", "default=10", "zone=7,limit=5");
    expect(await appctl("dpctl/ct-get-limits")).toBe("default limit=10\nzone=7,limit=5,count=0\n");
    expect(
      log()
        .split("\n")
        .filter((line) => /\|(WARN|ERR|EMER)\|/.test(line)),
    ).toEqual([]);
  });
});
