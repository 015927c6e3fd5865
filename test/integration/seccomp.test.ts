/** Programs that no library can stand in front of, run on nokmod as they are: docs/transport.md, "Static programs". */
import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ProgramKind, programKind } from "../../src/exec/elf.ts";
import { preloadEnvironment } from "../../src/exec/preload.ts";
import { seccompSupervisor } from "../../src/exec/seccomp.ts";
import type { CommandResult } from "../../src/lab/namespace.ts";
import { TemporaryDirectory } from "../support/child.ts";
import { Lab, root, Script, until } from "../support/lab.ts";
import { forEveryUser } from "../support/tree.ts";

const PYTHON = "/usr/bin/python3";
const support = (name: string): string => fileURLToPath(new URL(`../support/${name}`, import.meta.url));

const hasGo = spawnSync("go", ["version"]).status === 0;

const directory = new TemporaryDirectory();
/** Statically linked, with system calls of its own. */
const CLIENT = directory.file("static-client");
/** The same, linked to the C library. */
const DYNAMIC = directory.file("dynamic-client");
beforeAll(() => {
  for (const [file, ...flags] of [[CLIENT, "-static"], [DYNAMIC]]) {
    execFileSync("gcc", ["-O1", "-Wall", "-Werror", "-pthread", ...flags, "-o", file, support("static-client.c")]);
  }
}, 60_000);
afterAll(() => directory.dispose());

const environment = (lab: Lab): string[] => ["env", `NOKMOD_SOCKET=${lab.socket}`];
const supervised = (lab: Lab, command: readonly string[]): string[] => [
  ...environment(lab),
  seccompSupervisor(),
  ...command,
];

/** A command in the switch's namespace under the supervisor, as `nokmod exec` starts it. */
const on = (lab: Lab, ...command: string[]): Promise<CommandResult> =>
  lab.namespace.execute(...supervised(lab, command));
/** The same, in the background. */
const started = (lab: Lab, ...command: string[]): Script =>
  new Script(lab.namespace.start(...supervised(lab, command)));

/** What a command of the static client printed, a line each; it must succeed. */
async function client(lab: Lab, ...command: string[]): Promise<string[]> {
  const { status, stdout, stderr } = await on(lab, CLIENT, ...command);
  expect(status, `${command.join(" ")}: ${stdout}${stderr}`).toBe(0);
  return stdout.trimEnd().split("\n");
}

/** Processes in the switch's namespace whose command line fits, the oldest first. */
async function processes(lab: Lab, pattern: string): Promise<number[]> {
  const mine = 'test "$(readlink /proc/$p/ns/net)" = "$(readlink /proc/$$/ns/net)"';
  const script = `for p in $(pgrep -f '${pattern}'); do ${mine} && echo $p; done; true`;
  const { stdout } = await lab.namespace.execute("sh", "-c", script);
  return stdout.split("\n").filter(Boolean).map(Number);
}

/** Supervisors that still run. */
const supervisors = async (lab: Lab): Promise<number> => (await processes(lab, "^[^ ]*nokmod-seccomp ")).length;

describe("which way in", () => {
  const script = (name: string, line: string): string => {
    const file = directory.file(name);
    writeFileSync(file, `${line}\n`, { mode: 0o755 });
    return file;
  };

  it("a static program is told from one that a library can stand in front of, also behind #! and env", () => {
    expect(programKind([CLIENT])).toBe(ProgramKind.Static);
    expect(programKind([DYNAMIC])).toBe(ProgramKind.Dynamic);
    expect(programKind(["static-client"], { PATH: `/nonexistent:${directory.file("")}` })).toBe(ProgramKind.Static);
    expect(programKind([script("direct", `#!${CLIENT} families`)])).toBe(ProgramKind.Static);
    expect(programKind([script("shell", "#! /bin/sh -e")])).toBe(ProgramKind.Dynamic);
    expect(programKind([script("by-env", `#!/usr/bin/env -S A=1 ${CLIENT}`)])).toBe(ProgramKind.Static);
    expect(programKind(["env", "A=1", CLIENT, "families"])).toBe(ProgramKind.Static);
    expect(programKind([script("nested", `#!${directory.file("direct")}`)])).toBe(ProgramKind.Static);
  });

  it("a position-independent static program is static, Go's is whatever it is linked with", () => {
    const pie = directory.file("static-pie");
    const go = directory.file("go");
    const source = directory.file("main.c");
    writeFileSync(source, "int main(void) { return 0; }\n");
    execFileSync("gcc", ["-static-pie", "-o", pie, source]);
    expect(programKind([pie])).toBe(ProgramKind.Static);
    writeFileSync(
      source,
      `int main(void) { return 0; }
__attribute__((section(".note.go.buildid"), aligned(4))) const struct { int name, size, type; char bytes[8]; } note =
  { 4, 4, 4, "Go\\0\\0abcd" };\n`,
    );
    execFileSync("gcc", ["-o", go, source]);
    expect(programKind([go])).toBe(ProgramKind.Static);
  });

  it("another architecture's is foreign; what cannot be read, or is not there, is taken for an ordinary one", () => {
    const foreign = directory.file("foreign");
    copyFileSync(CLIENT, foreign);
    execFileSync(PYTHON, ["-c", `f = open("${foreign}", "r+b"); f.seek(4); f.write(b"\\x01")`]);
    expect(programKind([foreign])).toBe(ProgramKind.Foreign);
    expect(programKind(["nokmod-no-such-command"])).toBe(ProgramKind.Dynamic);
    expect(programKind([script("empty", "")])).toBe(ProgramKind.Dynamic);
    expect(programKind([directory.file("")])).toBe(ProgramKind.Dynamic);
    expect(programKind([])).toBe(ProgramKind.Dynamic);
  });
});

describe.skipIf(!root)("a static program's netlink socket", () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await Lab.create(1);
    await lab.start();
  });
  afterAll(() => lab?.close());

  it("nokmod exec: the way is chosen by the program, or by --seccomp", async () => {
    const exec = (...command: string[]) => lab.cli("exec", "--socket", lab.socket, ...command);
    const asked = ["families", "ovs_flow"];
    const found = { status: 0, stdout: "ovs_flow found\n" };
    expect(await exec("--", CLIENT, ...asked)).toMatchObject(found);
    expect(await exec("--seccomp", "--", DYNAMIC, ...asked)).toMatchObject(found);
    // Its calls are its own: no library sees them.
    expect(await exec("--", DYNAMIC, ...asked)).toMatchObject({ stdout: "ovs_flow ENOENT\n" });
    expect(await exec("--no-seccomp", "--", CLIENT, ...asked)).toMatchObject({ stdout: "ovs_flow ENOENT\n" });
  });

  it("ends as the program ends, and leaves nothing behind", async () => {
    expect(await on(lab, "sh", "-c", "echo $NOKMOD_SOCKET; exit 7")).toMatchObject({
      status: 7,
      stdout: `${lab.socket}\n`,
    });
    const killed = started(lab, "sh", "-c", "kill -USR1 $$");
    await until(() => killed.ended);
    expect(killed.child.signalCode).toBe("SIGUSR1");
    expect(await on(lab, "nokmod-no-such-command")).toMatchObject({
      status: 127,
      stderr: expect.stringContaining("nokmod-no-such-command: command not found"),
    });
    expect(await on(lab, "/")).toMatchObject({ status: 126, stderr: expect.stringContaining("Permission denied") });
    // A signal for the one reaches the other.
    const trapping = started(
      lab,
      "sh",
      "-c",
      'trap "echo caught; exit 3" TERM; echo ready; while :; do sleep 0.05; done',
    );
    await trapping.line("ready");
    trapping.child.kill("SIGTERM");
    await trapping.line("caught");
    await until(() => trapping.ended);
    expect(trapping.child.exitCode).toBe(3);
    await until(async () => (await supervisors(lab)) === 0, "supervisors end");
  });

  it("a daemon that it starts is served on; whoever waits for the program is not held up", async () => {
    const [output, gate] = [directory.file("daemon"), directory.file("gate")];
    execFileSync("mkfifo", [gate]);
    const { status, stdout } = await on(
      lab,
      "sh",
      "-c",
      `(cat ${gate}; ${CLIENT} families ovs_flow > ${output}) >/dev/null 2>&1 & echo started`,
    );
    expect([status, stdout]).toEqual([0, "started\n"]);
    expect(existsSync(output)).toBe(false);
    // The daemon reads the pipe until it is closed.
    writeFileSync(gate, "");
    await until(() => existsSync(output) && readFileSync(output).length > 0, "the daemon");
    expect(readFileSync(output, "utf8")).toBe("ovs_flow found\n");
    await until(async () => (await supervisors(lab)) === 0, "the supervisor ends");
  });

  it("GETFAMILY, a new datapath, the same again", async () => {
    expect(await client(lab, "families", "ovs_datapath", "ovs_packet", "ovs_meter", "nlctrl")).toEqual([
      "ovs_datapath found",
      "ovs_packet found",
      "ovs_meter found",
      "nlctrl found",
    ]);
    expect(await client(lab, "datapath", "br7")).toEqual(["br7 mine"]);
    expect(await on(lab, CLIENT, "datapath", "br7")).toMatchObject({ status: 1, stdout: "EEXIST\n" });
    lab.clear();
  });

  it("F-034: a dump of 20 000 flows never runs dry: recvmsg, recvmmsg, read", async () => {
    const ifindex = lab.datapath();
    const file = lab.directory.file("flows");
    const flow = (i: number): string =>
      `add in_port(0),eth(),eth_type(0x0800),ipv4(src=10.${i >> 16}.${(i >> 8) & 255}.${i & 255}) 0\n`;
    writeFileSync(file, Array.from({ length: 20_000 }, (_, i) => flow(i)).join(""));
    const { LD_PRELOAD } = preloadEnvironment(lab.socket, {});
    const preloaded = [...environment(lab), `LD_PRELOAD=${LD_PRELOAD}`];
    expect(await lab.namespace.execute(...preloaded, "ovs-dpctl", "add-flows", "dp0", file)).toMatchObject({
      status: 0,
    });
    for (const how of ["message", "many", "read"]) {
      expect(await client(lab, "dump", `${ifindex}`, how)).toEqual(["20000 flows, done"]);
    }
    lab.clear();
  }, 60_000);

  it("multicasts reach it by edge-triggered epoll, from the kernel's address", async () => {
    const listening = started(lab, CLIENT, "events", "20");
    await listening.line("ready");
    for (let i = 0; i < 20; i++) lab.ovs.createDatapath(`many${i}`);
    await until(() => listening.ended);
    expect(listening.output).toMatch(/^ready \d+\n20 new datapaths\n$/);
    lab.clear();
  });

  it("upcalls reach it by edge-triggered epoll", async () => {
    const handler = started(lab, CLIENT, "upcalls", "20");
    await handler.line("ready");
    const port = Number(/ready (\d+)/.exec(handler.output)?.[1]);
    expect(port).toBeGreaterThan(0);
    lab.datapath({}, [port]);
    const frame = Uint8Array.from([
      255,
      255,
      255,
      255,
      255,
      255,
      2,
      0,
      0,
      0,
      0,
      1,
      0x88,
      0xb5,
      ...new Array(46).fill(7),
    ]);
    await lab.hosts[0].send(...new Array<Uint8Array>(20).fill(frame));
    await until(() => handler.ended);
    expect(handler.output).toMatch(/^ready \d+\n20 upcalls\n$/);
    lab.clear();
  });

  it("threads, each with its own sockets and all with a common one; one that waits holds up nobody", async () => {
    expect(await client(lab, "threads", "8", "100")).toEqual(["0 failures"]);
    expect(await client(lab, "waiting")).toEqual(["another socket works", "the reader is served"]);
  });

  it("fork, a grandchild, a shared table of descriptors, dup, F_DUPFD, dup3, close, close_range", async () => {
    expect(await client(lab, "forks")).toEqual([
      "parent 0",
      "child 0",
      "grandchild 0",
      "own socket of a child 0",
      "after a child closed it 0 0",
      "shared table 0",
      "copies 0 0 0 1",
      "one copy is left 0",
      "its port id is free again 0",
    ]);
  });

  it("exec: a socket stays usable, one with SOCK_CLOEXEC is closed", async () => {
    expect(await client(lab, "execs")).toEqual(["inherited 0, closed on exec EBADF"]);
  });

  it("signals end a receive or let it go on, as SA_RESTART says; SO_RCVTIMEO", async () => {
    expect(await client(lab, "signals")).toEqual(["EINTR after 1", "a message after 2", "EAGAIN in time"]);
  });

  it("a socket that comes by SCM_RIGHTS works, under a low number too", async () => {
    expect(await client(lab, "passes")).toEqual(["low 1: sent answered", "high: 0"]);
  });

  it("other protocols and other generic families are the kernel's", async () => {
    expect(await client(lab, "others")).toEqual([
      "sock_diag 1",
      "stream ESOCKTNOSUPPORT",
      "no protocol EPROTONOSUPPORT",
      "no such family -2",
      "kernel's nlctrl answers",
      "still non-blocking EAGAIN",
      "an ovs family there ENOENT",
    ]);
    expect(await on(lab, "nft", "add", "table", "ip", "kernels")).toMatchObject({ status: 0, stderr: "" });
    expect(lab.namespace.run("nft", "list", "tables")).toContain("table ip kernels");
    expect((await on(lab, "ip", "-br", "link")).stdout).toContain("lo");
  });

  it("a program of another architecture passes, with a message", async () => {
    const { stdout, stderr } = await on(lab, CLIENT, "foreign");
    if (stdout === "no such calls\n") return; // A kernel without them.
    expect(stdout).toBe("the kernel's ENOENT\n");
    expect(stderr).toBe("nokmod: a program of another architecture opens netlink sockets: they are the kernel's\n");
  });

  it("cannot be told from the kernel's but for its number", async () => {
    const kernel = await lab.namespace.execute(PYTHON, support("netlink-program.py"));
    const nokmod = await on(lab, PYTHON, support("netlink-program.py"));
    expect(nokmod.status, nokmod.stderr).toBe(0);
    expect(JSON.parse(nokmod.stdout)).toEqual({ ...JSON.parse(kernel.stdout), "reused number": [false, 1] });
  });

  it.skipIf(!hasGo)(
    "a Go program: its poller, goroutines, and the signals that its runtime sends",
    async () => {
      const program = directory.file("go-client");
      const env = { ...process.env, CGO_ENABLED: "0", GOCACHE: directory.file("cache"), GOFLAGS: "", GOPROXY: "off" };
      execFileSync("go", ["build", "-o", program, support("static-client.go")], { env });
      expect(programKind([program])).toBe(ProgramKind.Static);
      const { stdout, stderr } = await on(lab, program);
      expect(stdout.trim().split("\n"), stderr).toEqual([
        "ovs_datapath found",
        "ovs_flow found",
        "ovs_nosuch no such file or directory",
        "polled found",
        "many true 0",
      ]);
    },
    120_000,
  );

  it("without a server it is the kernel's", async () => {
    const nobody = ["env", "NOKMOD_SOCKET=/nonexistent/socket", seccompSupervisor()];
    const direct = await lab.namespace.execute("ovs-dpctl", "show");
    const without = await lab.namespace.execute(...nobody, "ovs-dpctl", "show");
    expect([without.status, without.stdout]).toEqual([direct.status, direct.stdout]);
    expect((await lab.namespace.execute(...nobody, CLIENT, "families", "nlctrl")).stdout).toBe("nlctrl found\n");
  });

  it("F-027: its credentials decide, not the supervisor's", async () => {
    const nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    expect(await on(lab, ...nobody, CLIENT, "datapath", "dp1")).toMatchObject({ stdout: "EPERM\n" });
    const without = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"];
    expect(await on(lab, ...without, CLIENT, "datapath", "dp1")).toMatchObject({ stdout: "EPERM\n" });
    expect(await on(lab, ...nobody, CLIENT, "families", "ovs_flow")).toMatchObject({ stdout: "ovs_flow found\n" });
  });

  it("a user without privilege can run it", async () => {
    const reachable = "/tmp/nokmod-static-client-test";
    const plain = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    copyFileSync(CLIENT, reachable);
    try {
      const run = (...command: string[]) =>
        lab.namespace.execute(...plain, ...environment(lab), forEveryUser(seccompSupervisor()), reachable, ...command);
      execFileSync("chmod", ["755", directory.file(""), lab.directory.file("")]);
      expect(await run("families", "ovs_flow")).toMatchObject({ stdout: "ovs_flow found\n", status: 0 });
      expect(await run("datapath", "dp1")).toMatchObject({ stdout: "EPERM\n" });
      expect((await run("forks")).stdout).toContain("one copy is left 0");
    } finally {
      execFileSync("rm", ["-f", reachable]);
    }
  });

  it("a second supervisor in the tree is refused and says why", async () => {
    const twice = await on(lab, seccompSupervisor(), CLIENT, "families", "nlctrl");
    expect(twice).toMatchObject({ status: 126, stderr: expect.stringContaining("supervised already") });
  });

  it("a program that is killed while it waits, or in the middle of requests, takes nothing with it", async () => {
    for (let i = 0; i < 5; i++) {
      const busy = started(lab, CLIENT, "threads", "4", "100000");
      let victim: number | undefined;
      await until(async () => {
        [victim] = await processes(lab, "^[^ ]*static-client threads");
        return victim !== undefined;
      }, "the program");
      // All four threads are at work.
      await until(() => readdirSync(`/proc/${victim}/task`).length === 5, "its threads");
      process.kill(victim as unknown as number, "SIGKILL");
      await until(() => busy.ended);
      expect(busy.child.signalCode).toBe("SIGKILL");
    }
    await until(async () => (await supervisors(lab)) === 0, "supervisors end");
    expect(await client(lab, "families", "ovs_flow")).toEqual(["ovs_flow found"]);
  });

  it("outlives the server: no end of file, no spin; its port id and groups again on the next one, and ENOBUFS once", async () => {
    const running = started(lab, PYTHON, "-u", support("outliving-program.py"));
    await running.line("ready");
    await lab.stop("SIGKILL");
    await running.line("ECONNREFUSED");
    await lab.start();
    await until(() => running.ended, "the end");
    expect(running.output.trim().split("\n"), running.errors).toEqual([
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
  const labs: Lab[] = [];
  beforeAll(async () => {
    for (let i = 0; i < 2; i++) {
      const lab = await Lab.create(2, true);
      labs.push(lab);
      await lab.start();
    }
  });
  afterAll(() => Promise.all(labs.map((lab) => lab.close())));

  const ENTRY = "-p udp -s 1.1.1.1 -d 2.2.2.2 --sport 5 --dport 6";
  const COMMANDS = [
    "ovs-dpctl add-dp dp0",
    "ovs-dpctl add-if dp0 p1 p2",
    "ovs-dpctl show dp0",
    "ovs-dpctl add-flow dp0 in_port(1),eth(),eth_type(0x0806),arp() 2",
    "ovs-dpctl add-flow dp0 in_port(2),eth(),eth_type(0x0806),arp() 1",
    "ovs-dpctl add-flow dp0 in_port(1),eth(),eth_type(0x0800),ipv4() 2",
    "ovs-dpctl add-flow dp0 in_port(2),eth(),eth_type(0x0800),ipv4() 1",
    "ovs-dpctl dump-flows dp0",
    "ovs-dpctl get-flow dp0 in_port(1),eth(),eth_type(0x0800),ipv4()",
    "ovs-dpctl mod-flow dp0 in_port(1),eth(),eth_type(0x0800),ipv4() drop",
    "ovs-dpctl del-flow dp0 in_port(1),eth(),eth_type(0x0800),ipv4()",
    "ovs-dpctl del-flow dp0 in_port(1),eth(),eth_type(0x0800),ipv4()",
    "ovs-dpctl add-if dp0 nosuch0",
    "ip -d link show",
    "ip link show master dp0",
    "ip link add name gnv0 mtu 1400 type geneve external dstport 6081",
    "ip link add name gnv0 type geneve external dstport 6081",
    "ip -d link show gnv0",
    "ip link add name gre0 type gretap external",
    "ip -d -s link show type gretap",
    "ovs-dpctl add-if dp0 gnv0",
    "ip -d link show gnv0",
    "ip link set gre0 up",
    "ip link show up",
    "ip link del gre0",
    "ip link del nosuch0",
    "ovs-dpctl show dp0",
    "ovs-dpctl ct-set-limits dp0 default=10 zone=1,limit=5",
    "ovs-dpctl ct-get-limits dp0",
    "ovs-dpctl ct-stats-show dp0",
    `conntrack -I ${ENTRY} -t 60 -w 7`,
    `conntrack -I ${ENTRY} -t 60 -w 8`,
    "conntrack -C",
    `conntrack -U ${ENTRY} -w 7 -m 9`,
    "conntrack -D -w 7",
    "ovs-dpctl dump-conntrack dp0",
    "ovs-dpctl flush-conntrack dp0 zone=8",
    "conntrack -C",
    "conntrack -L",
    "ovs-dpctl del-dp dp0",
    "ovs-dpctl show",
    "ovs-dpctl nonsense",
  ];

  it("say the same under the supervisor as under the preload library, command by command", async () => {
    const [first, second] = labs;
    const { LD_PRELOAD } = preloadEnvironment(first.socket, {});
    const preloaded = ["env", `LD_PRELOAD=${LD_PRELOAD}`, `NOKMOD_SOCKET=${first.socket}`];
    // Times, addresses, and numbers of log lines, differ from run to run.
    const plain = ({ status, stdout, stderr }: CommandResult): unknown => ({
      status,
      stdout: stdout.replace(/,?timeout=\d+|id=\d+|[0-9a-f:]{17}|link-netnsid \d+/g, ""),
      stderr: stderr.replace(/^\S+Z\|\d+\|/gm, "").replace(/conntrack v[\d.]+.*$/gm, ""),
    });
    for (const command of COMMANDS) {
      const words = command.split(" ");
      const expected = await first.namespace.execute(...preloaded, ...words);
      expect(plain(await on(second, ...words)), command).toEqual(plain(expected));
    }
    const before = await on(second, "ovs-dpctl", "show");
    expect(before).toMatchObject({ status: 0, stdout: "" });
  });

  it("conntrack -E hears of what another one does", async () => {
    const [, lab] = labs;
    const events = started(lab, "stdbuf", "-oL", "conntrack", "-E");
    // It says nothing when it has subscribed: repeat until it has.
    await until(async () => {
      await on(lab, "conntrack", "-I", ...ENTRY.split(" "), "-t", "60");
      await on(lab, "conntrack", "-D", ...ENTRY.split(" "));
      return events.output.includes("[DESTROY]");
    }, "events");
    expect(events.output).toMatch(/\[NEW\] udp +17 60 src=1.1.1.1 dst=2.2.2.2 sport=5 dport=6 \[UNREPLIED\]/);
    await events.stop();
  });
});

describe.skipIf(!root)("ovs-vswitchd", () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await Lab.create(2);
    await lab.start();
  });
  afterAll(async () => {
    for (const daemon of ["ovs-vswitchd", "ovsdb-server"]) {
      const file = lab.directory.file(`${daemon}.pid`);
      if (existsSync(file)) process.kill(Number(readFileSync(file, "utf8")));
    }
    await until(async () => (await supervisors(lab)) === 0, "the supervisor ends");
    await lab.close();
  });

  it("detaches, has a bridge, an internal port and a tunnel port, learns from upcalls, and has nothing to warn of", async () => {
    const file = (name: string): string => lab.directory.file(name);
    const database = `unix:${file("db.sock")}`;
    const daemon = (name: string): string[] => [
      "--detach",
      "--no-chdir",
      `--pidfile=${file(`${name}.pid`)}`,
      `--log-file=${file(`${name}.log`)}`,
      `--unixctl=${file(`${name}.ctl`)}`,
    ];
    const plain = async (...command: string[]): Promise<string> => {
      const { status, stdout, stderr } = await lab.namespace.execute(...command);
      expect(status, `${command.join(" ")}: ${stderr}`).toBe(0);
      return stdout;
    };
    const vsctl = (...command: string[]) => plain("ovs-vsctl", `--db=${database}`, "-t", "20", ...command);
    await plain("ovsdb-tool", "create", file("conf.db"), "/usr/share/openvswitch/vswitch.ovsschema");
    await plain("ovsdb-server", file("conf.db"), `--remote=p${database}`, ...daemon("ovsdb-server"));
    await vsctl("--no-wait", "init");
    // Its management sockets belong there: the machine's own run directory may be missing.
    const here = `OVS_RUNDIR=${lab.directory.path}`;
    const { status, stderr } = await on(lab, "env", here, "ovs-vswitchd", database, ...daemon("ovs-vswitchd"));
    expect(status, stderr).toBe(0);
    await vsctl("add-br", "br0");
    for (const { device } of lab.hosts) await vsctl("add-port", "br0", device);
    await vsctl(
      "add-port",
      "br0",
      "gnv0",
      "--",
      "set",
      "interface",
      "gnv0",
      "type=geneve",
      "options:remote_ip=10.8.8.8",
    );
    const [left, right] = lab.hosts;
    expect(await left.ping(right.address)).toMatchObject({ received: 3 });
    const flows = await plain("ovs-appctl", "-t", file("ovs-vswitchd.ctl"), "dpctl/dump-flows");
    expect(flows).toMatch(/in_port\(\d+\),eth\(src=02:00:00:00:00:01,dst=02:00:00:00:00:02\),eth_type\(0x0800\)/);
    expect((await on(lab, "ip", "-d", "link", "show", "type", "geneve")).stdout).toContain("genev_sys_6081");
    expect(await vsctl("--columns=error", "list", "interface")).not.toMatch(/error +: "/);
    expect(readFileSync(file("ovs-vswitchd.log"), "utf8")).not.toMatch(/\|(WARN|ERR)\|/);
  }, 60_000);
});
