/** The rough sides of `nokmod exec`: bad clients, links, namespaces, a nokmod that dies. */
import { spawnSync } from "node:child_process";
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { preloadEnvironment } from "../../src/exec/preload.ts";
import { seccompSupervisor } from "../../src/exec/seccomp.ts";
import { type CommandResult, Namespace } from "../../src/lab/namespace.ts";
import { Lab, root, Script, until } from "../support/lab.ts";
import { OvsLab } from "../support/ovs-lab.ts";

const PYTHON = "/usr/bin/python3";
const PROGRAM = fileURLToPath(new URL("../support/netlink-rough.py", import.meta.url));

const BAREUDP = ["dstport", "6635", "ethertype", "mpls_uc", "srcportmin", "49153", "multiproto"];

const BAD_POINTERS = fileURLToPath(new URL("../support/bad-pointers.py", import.meta.url));

/** A command in a namespace with the library in front of it. */
async function on(lab: Lab, namespace: Namespace, ...command: string[]): Promise<CommandResult> {
  const { LD_PRELOAD } = preloadEnvironment(lab.socket, {});
  return namespace.execute("env", `LD_PRELOAD=${LD_PRELOAD}`, `NOKMOD_SOCKET=${lab.socket}`, ...command);
}

/** Target of a symbolic link; empty where it has just gone. */
function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw error;
  }
}

async function ok(lab: Lab, ...command: string[]): Promise<string> {
  const { status, stdout, stderr } = await on(lab, lab.namespace, ...command);
  expect(status, `${command.join(" ")}: ${stderr}`).toBe(0);
  return stdout;
}

describe.skipIf(!root)("bad clients", () => {
  let lab: Lab;
  let witness: Script;
  beforeAll(async () => {
    lab = await Lab.create(0);
    await lab.start();
    // Somebody who asks all the time and must notice nothing.
    const { LD_PRELOAD } = preloadEnvironment(lab.socket, {});
    const script = `
import socket, struct, sys, time
body = struct.pack("BBH", 3, 1, 0) + struct.pack("HH", 11, 2) + b"nlctrl\\0\\0"
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
s.bind((0, 0))
seq = 0
print("ready", flush=True)
while True:
    seq += 1
    s.send(struct.pack("IHHII", 16 + len(body), 16, 1, seq, 0) + body)
    if struct.unpack_from("I", s.recv(65536, socket.MSG_DONTWAIT), 8)[0] != seq: sys.exit("wrong answer")
    time.sleep(0.002)
`;
    const environment = [`LD_PRELOAD=${LD_PRELOAD}`, `NOKMOD_SOCKET=${lab.socket}`];
    witness = new Script(lab.namespace.start("env", ...environment, PYTHON, "-u", "-c", script));
    await witness.line("ready");
  });
  afterAll(async () => {
    await witness?.stop();
    await lab?.close();
  });

  it.each([
    ["thousand", "[True, 1000]"],
    ["handed", "['True', True, 77]"],
    ["forking", "[[], True]"],
    ["raw_fork", "[[21, 22], 23]"],
    ["bare_close", "[31, 32, 33, 34, 35, True]"],
    ["killed", "9"],
    ["flood", "[True, 1, 5]"],
    ["garbage", "[6, True]"],
    ["stalled", "[True, True]"],
  ])("%s: others notice nothing", async (name, expected) => {
    expect((await ok(lab, PYTHON, PROGRAM, name)).trim()).toBe(expected);
    expect(witness.ended, witness.errors).toBe(false);
    expect(lab.nokmod?.errors).toBe("");
  });

  it.each([
    ["generic", "16"],
    ["rtnetlink", "0"],
  ])("bad pointers are EFAULT and what else the kernel says: %s", async (_name, protocol) => {
    const kernel = await lab.namespace.execute(PYTHON, BAD_POINTERS, protocol);
    expect(kernel).toMatchObject({ status: 0, stderr: "" });
    const lines = kernel.stdout.split("\n");
    expect((await ok(lab, PYTHON, BAD_POINTERS, protocol)).split("\n")).toEqual(lines);
    const held = await lab.cli("exec", "--seccomp", "--socket", lab.socket, "--", PYTHON, BAD_POINTERS, protocol);
    expect(held).toMatchObject({ status: 0, stderr: "" });
    expect(held.stdout.split("\n")).toEqual(lines);
    expect(kernel.stdout.match(/EFAULT/g)?.length).toBeGreaterThan(100);
  });

  it("a process without CAP_NET_ADMIN may look and not touch", async () => {
    await ok(lab, "ovs-dpctl", "add-dp", "dp0");
    const nobody = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
    expect((await ok(lab, ...nobody, PYTHON, PROGRAM, "unprivileged")).trim()).toBe("[True, 'EPERM']");
    expect((await on(lab, lab.namespace, ...nobody, "conntrack", "-F")).status).not.toBe(0);
    await ok(lab, "ovs-dpctl", "del-dp", "dp0");
  });
});

describe.skipIf(!root)("a socket path that fits no address", () => {
  it("is refused by nokmod exec, and by socket() where a program names it; the kernel does not answer instead", async () => {
    const lab = await Lab.create(0);
    try {
      const path = `/tmp/${"x".repeat(103)}`;
      const refused = await lab.cli("exec", "--socket", path, "--", "true");
      expect(refused).toMatchObject({ status: 126, stdout: "" });
      expect(refused.stderr).toContain(`socket path ${path} is too long (ENAMETOOLONG, 108 bytes of at most 107)`);
      const { LD_PRELOAD } = preloadEnvironment(lab.socket, {});
      const script = "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)";
      const environment = ["env", `NOKMOD_SOCKET=${path}`];
      for (const way of [[`LD_PRELOAD=${LD_PRELOAD}`], [seccompSupervisor()]]) {
        const program = await lab.namespace.execute(...environment, ...way, PYTHON, "-c", script);
        expect(program.status).toBe(1);
        expect(program.stderr).toContain("OSError: [Errno 36] File name too long");
      }
      // One byte less: nobody listens there.
      expect(await lab.cli("exec", "--socket", path.slice(0, -1), "--", "true")).toMatchObject({ status: 0 });
    } finally {
      await lab.close();
    }
  });
});

describe.skipIf(!root)("large requests", () => {
  it("an EXECUTE of 65 kB", async () => {
    const lab = await Lab.create(0);
    try {
      await lab.start();
      await ok(lab, "ovs-dpctl", "add-dp", "dp0");
      lab.namespace.run("ip", "link", "set", "dp0", "mtu", "65521", "up");
      expect((await ok(lab, PYTHON, PROGRAM, "execute")).trim()).toBe("0");
      expect(lab.namespace.run("ip", "-s", "link", "show", "dp0")).toMatch(/RX:.*\n +65014 +1 /);
    } finally {
      await lab.close();
    }
  });
});

describe.skipIf(!root)("links and namespaces", () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await Lab.create(2);
    await lab.start();
    await ok(lab, "ovs-dpctl", "add-dp", "dp0");
    await ok(lab, "ovs-dpctl", "add-if", "dp0", "p1", "int0,type=internal");
  });
  afterAll(() => lab?.close());

  it("a flower filter of tc is refused on a port, as where it is not built in, and nowhere else", async () => {
    for (const device of ["p1", "p2"]) lab.namespace.run("tc", "qdisc", "add", "dev", device, "ingress");
    onTestFinished(() => {
      for (const device of ["p1", "p2"]) lab.namespace.run("tc", "qdisc", "del", "dev", device, "ingress");
    });
    const add = async (device: string): Promise<string> => {
      const filter = `tc filter add dev ${device} ingress protocol ip flower action drop`;
      return (await on(lab, lab.namespace, ...filter.split(" "))).stderr;
    };
    const plain = lab.namespace.try(
      ..."tc filter add dev p2 ingress protocol arp flower action drop".split(" "),
    ).stderr;
    expect(await add("p1")).toContain("Operation not supported");
    expect(await add("p2")).toBe(plain);
    expect(plain).not.toContain("Operation not supported");
  });

  it("ip link shows a port's master and kinds, alone and among all, and nothing new without the library", async () => {
    for (const arguments_ of [["show", "p1"], ["show"]]) {
      const text = await ok(lab, "ip", "-d", "link", ...arguments_);
      expect(text).toMatch(/p1@if\d+: .* master dp0 .*\n.*\n +veth *\n? *openvswitch_slave/);
      expect(text).not.toMatch(/p2@if\d+: .* master/);
    }
    expect(await ok(lab, "ip", "-d", "link", "show", "int0")).toMatch(/\n +openvswitch /);
    const links = JSON.parse(await ok(lab, "ip", "-d", "-j", "link", "show", "p1"));
    expect(links[0]).toMatchObject({
      master: "dp0",
      linkinfo: { info_kind: "veth", info_slave_kind: "openvswitch" },
    });
    expect(lab.namespace.run("ip", "-d", "link", "show", "p1")).not.toContain("master");
    await ok(lab, "ovs-dpctl", "del-if", "dp0", "p1");
    expect(await ok(lab, "ip", "-d", "link", "show", "p1")).not.toContain("master");
    await ok(lab, "ovs-dpctl", "add-if", "dp0", "p1");
  });

  it.each([
    ["geneve", "genev_sys_6081", ["external"], "geneve external"],
    ["vxlan", "vxlan_sys_4789", ["external", "dstport", "4789"], "vxlan external"],
    ["gretap", "gre_sys", ["external"], "gretap external"],
    ["erspan", "erspan_sys", ["external"], "erspan external"],
    ["gre", "gre_l3_sys", ["external"], "gre external"],
    ["vxlan", "vxlan_sys_4790", ["external", "gpe"], "dstport 4790 .*gpe"],
    ["bareudp", "udp_sys_6635", BAREUDP, "bareudp dstport 6635 ethertype mpls_uc srcportmin 49153 multiproto"],
  ])("a tunnel device of kind %s is nokmod's", async (kind, name, options, shown) => {
    await ok(lab, "ip", "link", "add", name, "mtu", "65000", "type", kind, ...options);
    expect(await ok(lab, "ip", "-d", "link", "show", name)).toMatch(new RegExp(`mtu 65000[\\s\\S]*${shown}`));
    expect(lab.namespace.run("ip", "-d", "link", "show", name)).toContain("tun ");
    expect((await on(lab, lab.namespace, "ip", "link", "add", name, "type", kind, ...options)).stderr).toContain(
      "File exists",
    );
    expect((await on(lab, lab.namespace, "ip", "link", "add", name, "type", kind, ...options)).stderr).toContain(
      "RTNETLINK answers: File exists",
    );
    await ok(lab, "ip", "link", "set", name, "up");
    await ok(lab, "ip", "link", "del", name);
    expect((await on(lab, lab.namespace, "ip", "link", "show", name)).stderr).toContain("does not exist");
    await until(
      async () => (await on(lab, lab.namespace, "ip", "link", "add", name, "type", kind, ...options)).status === 0,
      "again",
    );
    await ok(lab, "ip", "link", "del", name);
  });

  it("a device without Ethernet inside has no Ethernet address, and one UDP port is one bareudp device's", async () => {
    await ok(lab, "ip", "link", "add", "bu0", "type", "bareudp", ...BAREUDP);
    expect(await ok(lab, "ip", "link", "show", "bu0")).toMatch(/<POINTOPOINT,MULTICAST,NOARP>[\s\S]*link\/none/);
    for (const [name, options, reason] of [
      ["bu1", BAREUDP, "Device or resource busy"],
      ["bu1", ["dstport", "7000", "ethertype", "0x894f", "multiproto"], "Invalid argument"],
    ] as const) {
      const { status, stderr } = await on(lab, lab.namespace, "ip", "link", "add", name, "type", "bareudp", ...options);
      // In a message of the kernel's, not by a send that fails.
      expect([status, stderr]).toEqual([2, expect.stringContaining(`RTNETLINK answers: ${reason}`)]);
    }
    await ok(lab, "ip", "link", "del", "bu0");
    await until(() => !lab.namespace.run("ip", "link").includes("bu0"), "bu0 gone");
  });

  it("where there is no datapath a tunnel device is the kernel's", async () => {
    const other = await Namespace.create();
    try {
      expect(await on(lab, other, ..."ip link add vx0 type vxlan external gpe".split(" "))).toMatchObject({
        status: 0,
      });
      // Not a TUN device.
      expect(other.run("ip", "-d", "link", "show", "vx0")).toMatch(/vxlan [\s\S]*gpe/);
      expect((await on(lab, other, "ovs-dpctl", "add-dp", "dp0")).status).toBe(0);
      await on(lab, other, ..."ip link add vx1 type vxlan external gpe dstport 7000".split(" "));
      expect(other.run("ip", "-d", "link", "show", "vx1")).toContain("tun ");
      await on(lab, other, "ovs-dpctl", "del-dp", "dp0");
    } finally {
      await other.close();
    }
  });

  it("other kinds, and the module's own compatibility kinds, are the kernel's", async () => {
    await ok(lab, "ip", "link", "add", "br7", "type", "bridge");
    expect(lab.namespace.run("ip", "-d", "link", "show", "br7")).toContain("bridge");
    await ok(lab, "ip", "link", "del", "br7");
    expect((await on(lab, lab.namespace, "ip", "link", "add", "x0", "type", "ovs_geneve")).stderr).toContain(
      "Unknown device type",
    );
  });

  it("another network namespace has its own datapaths and connections", async () => {
    const other = await Namespace.create();
    try {
      const there = (...command: string[]) => on(lab, other, ...command);
      other.run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1");
      expect(await there("ovs-dpctl", "show")).toMatchObject({ status: 0, stdout: "" });
      expect(await there("ovs-dpctl", "add-dp", "dp0")).toMatchObject({ status: 0 });
      expect(await there("ovs-dpctl", "add-if", "dp0", "v0")).toMatchObject({ status: 0 });
      expect((await there("ovs-dpctl", "show")).stdout).toContain("port 1: v0");
      expect((await there("ip", "-d", "link", "show", "v0")).stdout).toContain("master dp0");
      expect(await ok(lab, "ovs-dpctl", "show")).not.toContain("v0");
      const entry = ["-p", "udp", "-s", "1.1.1.1", "-d", "2.2.2.2", "--sport", "5", "--dport", "6"];
      expect(await there("conntrack", "-I", ...entry, "-t", "60")).toMatchObject({ status: 0 });
      expect((await there("conntrack", "-L")).stdout).toContain("src=1.1.1.1");
      expect(await ok(lab, "conntrack", "-L")).toBe("");
      await there("conntrack", "-F");
      expect(await there("ovs-dpctl", "del-dp", "dp0")).toMatchObject({ status: 0 });
      await until(() => !other.run("ip", "link").includes("dp0"), "dp0 gone");
    } finally {
      await other.close();
    }
  });

  it("visits from other namespaces leave no descriptor, and the namespaces end", async () => {
    // The namespace that lab.namespace started nokmod in, and what it holds for itself.
    const held = (): string[] =>
      readdirSync(`/proc/${lab.pid}/fd`)
        .map((fd) => linkOf(`/proc/${lab.pid}/fd/${fd}`))
        .filter((target) => target.startsWith("net:"));
    const descriptors = (): number => readdirSync(`/proc/${lab.pid}/fd`).length;
    const before = descriptors();
    const namespacesHeld = held();
    for (let i = 0; i < 8; i++) {
      const other = await Namespace.create();
      try {
        expect(await on(lab, other, "ovs-dpctl", "show")).toMatchObject({ status: 0, stdout: "" });
      } finally {
        await other.close();
      }
    }
    // The server sees the end of the last connection a moment after the program's.
    // What an earlier test has left may go meanwhile, too.
    await until(() => descriptors() <= before, "no more descriptors than before");
    expect(held().length).toBeLessThanOrEqual(namespacesHeld.length);
  });

  it("a namespace that ends takes its datapath with it: the other end of its veth goes", async () => {
    const other = await Namespace.create();
    try {
      lab.namespace.run("ip", "link", "add", "here", "type", "veth", "peer", "name", "v0", "netns", String(other.pid));
      expect(await on(lab, other, "ovs-dpctl", "add-dp", "dp0")).toMatchObject({ status: 0 });
      expect(await on(lab, other, "ovs-dpctl", "add-if", "dp0", "v0")).toMatchObject({ status: 0 });
    } finally {
      await other.close();
    }
    await until(() => lab.namespace.try("ip", "link", "show", "here").status !== 0, "the veth pair gone");
  });

  it("a namespace that only a descriptor keeps alive keeps its datapath", async () => {
    const other = await Namespace.create();
    const fd = openSync(`/proc/${other.pid}/ns/net`, "r");
    expect(await on(lab, other, "ovs-dpctl", "add-dp", "kept")).toMatchObject({ status: 0 });
    const path = `/proc/${process.pid}/fd/${fd}`;
    await other.close();
    try {
      const { LD_PRELOAD } = preloadEnvironment(lab.socket, {});
      const show = ["env", `LD_PRELOAD=${LD_PRELOAD}`, `NOKMOD_SOCKET=${lab.socket}`, "ovs-dpctl", "show"];
      // nokmod looks at it several times before the namespace in `until` below has gone.
      const probe = await Namespace.create();
      lab.namespace.run("ip", "link", "add", "clock", "type", "veth", "peer", "name", "v0", "netns", String(probe.pid));
      expect(await on(lab, probe, "ovs-dpctl", "add-dp", "dp0")).toMatchObject({ status: 0 });
      expect(await on(lab, probe, "ovs-dpctl", "add-if", "dp0", "v0")).toMatchObject({ status: 0 });
      await probe.close();
      await until(() => lab.namespace.try("ip", "link", "show", "clock").status !== 0, "the other namespace gone");
      const shown = spawnSync("nsenter", [`--net=${path}`, ...show], { encoding: "utf8" });
      expect(shown.stdout).toContain("kept");
    } finally {
      closeSync(fd);
    }
  });

  it("other generic families and nftables are the kernel's under the library too", async () => {
    const families = await ok(lab, PYTHON, "-c", FAMILIES);
    expect(families.trim()).toBe("True True True");
    await ok(lab, "nft", "add table ip t; add chain ip t c; add rule ip t c counter accept; list ruleset");
    expect(await ok(lab, "nft", "list", "ruleset")).toContain("counter packets 0");
    await ok(lab, "nft", "delete", "table", "ip", "t");
  });
});

/** ethtool's family by name, ovs_flow's, and a socket for each. */
const FAMILIES = `
import socket, struct
def family(name):
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
    s.bind((0, 0))
    body = struct.pack("BBH", 3, 1, 0) + struct.pack("HH", 4 + len(name), 2) + name + bytes(-len(name) % 4)
    s.send(struct.pack("IHHII", 16 + len(body), 16, 1, 1, 0) + body)
    return struct.unpack_from("H", s.recv(65536), 4)[0]
print(family(b"ethtool\\0") == 16, family(b"ovs_flow\\0") == 16, family(b"nlctrl\\0") == 16)
`;

describe.skipIf(!root)("ovs-vswitchd outlives nokmod, and nokmod ovs-vswitchd", () => {
  let lab: OvsLab;
  beforeAll(async () => {
    lab = await OvsLab.create(2, ["--state", "{directory}/state"]);
    await lab.vsctl("add-br", "br0", "--", "add-port", "br0", "p1", "--", "add-port", "br0", "p2");
    lab.namespace.run("ip", "addr", "add", "10.1.1.100/24", "dev", "br0");
    lab.namespace.run("ip", "link", "set", "br0", "up");
  });
  afterAll(() => lab?.close());

  it("ovs-vswitchd restarted over live traffic: the datapath and its flows forward meanwhile", async () => {
    const [left, right] = lab.hosts;
    expect(await left.ping(right.address)).toMatchObject({ received: 3 });
    await lab.stopSwitch("SIGKILL");
    expect(await ok(lab.lab, "ovs-dpctl", "show", "ovs-system")).toContain("p1");
    expect(await left.ping(right.address)).toMatchObject({ received: 3 });
    await lab.startSwitch();
    // It answers before it has its bridge, and drops what comes up until then. ovs-vsctl waits for that.
    await lab.vsctl("set", "bridge", "br0", "external_ids:seen=yes");
    expect(await left.ping(right.address)).toMatchObject({ received: 3 });
    expect(await lab.appctl("dpctl/show")).toMatch(/port \d: p1/);
  });

  it("nokmod killed and started again: same ports and addresses, traffic again, no end of file, ENOBUFS once", async () => {
    const [left, right] = lab.hosts;
    const numbers = async () => [
      await lab.vsctl("get", "interface", "p1", "ofport"),
      await lab.vsctl("get", "interface", "p2", "ofport"),
    ];
    const before = await numbers();
    expect(await left.ping("10.1.1.100")).toMatchObject({ received: 3 });
    // What no multicast group tells of.
    await lab.ofctl("add-meter", "meter=7,kbps,burst,stats,bands=type=drop,rate=1234,burst_size=567");
    await lab.appctl("dpctl/ct-set-limits", "default=9", "zone=7,limit=5");
    await lab.vsctl(
      ..."-- --id=@t create Datapath datapath_version=0 -- set Open_vSwitch . datapaths:system=@t".split(" "),
    );
    await lab.vsctl("add-zone-tp", "system", "zone=20", "icmp_first=77", "icmp_reply=88");
    const state = lab.lab.directory.file("state");
    await until(() => /"rate": 1234[\s\S]*"limit": 5[\s\S]*77000/.test(readFileSync(state, "utf8")), "settings");
    await until(() => readFileSync(state, "utf8").includes("10.1.1.100/24"), "state", 20_000);
    const size = lab.log().length;
    await lab.lab.stop("SIGKILL");
    await lab.lab.start("--state", state);
    await until(async () => (await left.ping(right.address, "-c", "1")).received === 1, "traffic");
    expect(await left.ping("10.1.1.100")).toMatchObject({ received: 3 });
    expect(await numbers()).toEqual(before);
    expect(await lab.ofctl("meter-stats", "meter=7")).toMatch(/meter:7 .*bands:\s+0: packet_count:0/s);
    expect(await lab.appctl("dpctl/ct-get-limits")).toBe("default limit=9\nzone=7,limit=5,count=0\n");
    await lab.ofctl("add-flow", "priority=9,icmp,actions=ct(commit,zone=20),NORMAL");
    expect(await left.ping(right.address)).toMatchObject({ received: 3 });
    expect(await lab.ok("conntrack", "-L", "-w", "20")).toMatch(/^icmp +1 7[0-7] /m);
    await lab.ofctl("del-flows");
    await lab.ofctl("add-flow", "actions=NORMAL");
    const told = lab.log().slice(size);
    expect(told.match(/lost packet on handler 0/g)).toHaveLength(1);
    expect(told).not.toMatch(/end of file|Connection re(set|fused)/i);
  });

  it("nokmod killed and started again: its flows forward, also with no ovs-vswitchd to put them", async () => {
    const [left, right] = lab.hosts;
    expect(await left.ping(right.address)).toMatchObject({ received: 3 });
    await lab.stopSwitch("SIGKILL");
    const flows = async () =>
      (await ok(lab.lab, "ovs-dpctl", "dump-flows"))
        .replace(/packets:.*actions/g, "actions")
        .split("\n")
        .sort();
    const before = await flows();
    expect(before.join()).toContain("eth_type(0x0800)");
    await lab.lab.stop("SIGKILL");
    await lab.lab.start("--state", lab.lab.directory.file("state"));
    expect(await flows()).toEqual(before);
    expect(await left.ping(right.address)).toMatchObject({ received: 3 });
  });
});

describe.skipIf(!root)("two nokmod side by side", () => {
  it("each with an ovs-vswitchd of its own", async () => {
    const labs = [await OvsLab.create(2), await OvsLab.create(2)];
    try {
      for (const lab of labs) {
        await lab.vsctl("add-br", "br0", "--", "add-port", "br0", "p1", "--", "add-port", "br0", "p2");
        expect(await lab.hosts[0].ping(lab.hosts[1].address)).toMatchObject({ received: 3 });
      }
      await labs[0].vsctl("del-br", "br0");
      expect(await labs[1].hosts[0].ping(labs[1].hosts[1].address)).toMatchObject({ received: 3 });
    } finally {
      for (const lab of labs) await lab.close();
    }
  });
});
