/** FTP and TFTP by curl through ct with helper and NAT, and conntrack(8) of conntrack-tools looking on. */
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { preloadEnvironment } from "../../src/exec/preload.ts";
import type { CommandResult } from "../../src/lab/namespace.ts";
import { type Host, Lab, root, Script, until } from "../support/lab.ts";

const PYTHON = "/usr/bin/python3";
const SERVER = fileURLToPath(new URL("../support/ftp-server.py", import.meta.url));
const LENGTH = "a file for everybody\n".length * 500;

describe.skipIf(!root)("helpers between real hosts", () => {
  let lab: Lab;
  let h1: Host;
  let h2: Host;
  const servers: Script[] = [];

  /** A program of the switch's namespace, on nokmod. */
  function on(...command: string[]): Promise<CommandResult> {
    const { LD_PRELOAD } = preloadEnvironment(lab.socket, {});
    return lab.namespace.execute("env", `LD_PRELOAD=${LD_PRELOAD}`, `NOKMOD_SOCKET=${lab.socket}`, ...command);
  }
  async function ok(...command: string[]): Promise<string> {
    const { status, stdout, stderr } = await on(...command);
    expect(status, `${command.join(" ")}: ${stderr}`).toBe(0);
    return stdout;
  }
  const flow = (match: string, actions: string) => ok("ovs-dpctl", "add-flow", "dp0", match, actions);

  /** Everything of hosts 1 and 2 through ct; host 1 is translated to `source` if it is given. */
  async function program(source: Record<4 | 6, string> | undefined): Promise<void> {
    await ok("ovs-dpctl", "del-flows", "dp0");
    await ok("conntrack", "-F");
    await flow("in_port(1),eth(),eth_type(0x0806),arp()", "2");
    await flow("in_port(2),eth(),eth_type(0x0806),arp()", "1");
    await flow("in_port(1),eth(),eth_type(0x86dd),ipv6(proto=58),icmpv6()", "2");
    await flow("in_port(2),eth(),eth_type(0x86dd),ipv6(proto=58),icmpv6()", "1");
    for (const version of [4, 6] as const) {
      const ip = version === 4 ? "eth_type(0x0800),ipv4" : "eth_type(0x86dd),ipv6";
      const nat = source === undefined ? "" : `,nat(src=${source[version]})`;
      const back = source === undefined ? "" : ",nat";
      for (const [proto, helper, match] of [
        [6, ",helper=ftp", "tcp(dst=21),tcp_flags(0/0)"],
        [17, ",helper=tftp", "udp(dst=69)"],
      ] as const) {
        const name = match.slice(0, 3);
        const flags = proto === 6 ? ",tcp_flags(0/0)" : "";
        await flow(`in_port(1),eth(),${ip}(proto=${proto}),${match}`, `ct(commit,zone=7${helper}${nat}),2`);
        for (let bit = 10; bit < 16; bit++) {
          const wild = `${name}(dst=${1 << bit}/${0xffff & ~((1 << bit) - 1)})${flags}`;
          await flow(`in_port(1),eth(),${ip}(proto=${proto}),${wild}`, `ct(commit,zone=7${nat}),2`);
        }
        await flow(`in_port(2),eth(),${ip}(proto=${proto}),${name}()${flags}`, `ct(commit,zone=7${back}),1`);
      }
    }
  }

  async function fetch(...options: string[]): Promise<void> {
    const { status, stdout, stderr } = await h1.execute("curl", "-sS", "--max-time", "10", ...options);
    expect(status, stderr).toBe(0);
    expect(stdout.length).toBe(LENGTH);
  }

  beforeAll(async () => {
    lab = await Lab.create(2);
    [h1, h2] = lab.hosts;
    await lab.start();
    lab.datapath();
    for (const address of [h2.address, h2.address6]) {
      const server = new Script(h2.namespace.start(PYTHON, "-u", SERVER, address));
      servers.push(server);
      await server.line("ready");
    }
    h2.namespace.run("ip", "neigh", "replace", "10.1.1.177", "lladdr", h1.mac, "dev", "e0");
    h2.namespace.run("ip", "neigh", "replace", "fd00::177", "lladdr", h1.mac, "dev", "e0");
  }, 30_000);
  afterAll(async () => {
    for (const server of servers) await server.stop();
    await lab?.close();
  });

  for (const source of [undefined, { 4: "10.1.1.177", 6: "fd00::177" }]) {
    const how = source === undefined ? "as it is" : "translated, the address in the commands with it";
    it(`C-216, C-220, C-225, C-226, C-231, C-232: curl fetches by FTP and TFTP, ${how}`, async () => {
      await program(source);
      for (const server of servers) server.output = "";
      const four = `ftp://${h2.address}/file`;
      const six = `ftp://[${h2.address6}]/file`;
      await fetch("--disable-epsv", four);
      await fetch(four);
      await fetch("--disable-eprt", "--ftp-port", "-", four);
      await fetch("--ftp-port", "-", four);
      await fetch(six);
      await fetch("--ftp-port", "-", six);
      await fetch(`tftp://${h2.address}/file`);
      await fetch(`tftp://[${h2.address6}]/file`);
      const [v4, v6] = [source?.[4] ?? h1.address, source?.[6] ?? h1.address6];
      expect(servers[0].output.split("\n")).toEqual([
        ...["passive", "passive", "active", "active", "tftp"].map((kind) => `${kind} ${v4}`),
        "",
      ]);
      expect(servers[1].output.split("\n")).toEqual([`passive ${v6}`, `active ${v6}`, `tftp ${v6}`, ""]);
      const table = await ok("conntrack", "-L", "-w", "7");
      expect(table).toContain("helper=ftp");
      expect(table).toContain("helper=tftp");
      if (source !== undefined) expect(table).toContain(`dst=${source[4]}`);
      expect((await ok("conntrack", "-L", "-f", "ipv6")).match(/dst=fd00::2 /g)?.length).toBeGreaterThan(2);
    }, 60_000);
  }

  it("N-159, N-122: conntrack(8) lists, counts, makes, changes, follows and deletes", async () => {
    await ok("conntrack", "-F");
    const events = new Script(
      lab.namespace.start(
        "env",
        `LD_PRELOAD=${preloadEnvironment(lab.socket, {}).LD_PRELOAD}`,
        `NOKMOD_SOCKET=${lab.socket}`,
        ..."stdbuf -oL conntrack -E".split(" "),
      ),
    );
    try {
      const entry = "-p tcp -s 192.0.2.1 -d 192.0.2.2 --sport 1 --dport 2".split(" ");
      const create = ["-I", ...entry, ..."-t 600 --state ESTABLISHED".split(" ")];
      await until(async () => {
        await on("conntrack", ...create);
        if (events.output.includes("[NEW]")) return true;
        await on("conntrack", "-D", ...entry);
        return false;
      }, "an event");
      expect((await ok("conntrack", "-C")).trim()).toBe("1");
      expect(await ok("conntrack", "-L", "-p", "tcp")).toMatch(/tcp +6 +\d+ ESTABLISHED src=192\.0\.2\.1/);
      expect((await on("conntrack", ...create)).status).not.toBe(0);
      await ok("conntrack", "-U", ...entry, "--mark", "7", "-t", "100");
      const marked = await ok("conntrack", "-L", "--mark", "7");
      expect(marked).toMatch(/ (100|99) ESTABLISHED .*mark=7/);
      expect(await ok("conntrack", "-L", "-o", "xml", "--mark", "8")).not.toContain("192.0.2.1");
      expect(await ok("conntrack", "-G", ...entry)).toContain("mark=7");
      expect(await ok("conntrack", "-S")).toMatch(/cpu=0\s+found=\d+ invalid=\d+/);
      expect((await on("conntrack", "-D", "--mark", "8")).status).not.toBe(0);
      await ok("conntrack", "-D", ...entry);
      await until(() => events.output.includes("[DESTROY]"), "DESTROY");
      expect(events.output).toMatch(/\[NEW\][^\n]*192\.0\.2\.1[^\n]*\n[\s\S]*\[UPDATE\][^\n]*mark=7/);
    } finally {
      await events.stop();
    }
  }, 30_000);

  it("N-118 to N-121, N-159: conntrack -L expect and its other commands", async () => {
    await ok("conntrack", "-F");
    const master = "-p tcp --orig-src 192.0.2.1 --orig-dst 192.0.2.2 --sport 1000 --dport 21".split(" ");
    await ok("conntrack", "-I", ...master, ..."-t 600 --state ESTABLISHED".split(" "));
    const expectation = [
      ..."--tuple-src 192.0.2.2 --tuple-dst 192.0.2.1 --mask-src 255.255.255.255 --mask-dst 255.255.255.255".split(" "),
      ..."-p tcp --sport 0 --dport 5000 --orig-src 192.0.2.1 --orig-dst 192.0.2.2 -t 60".split(" "),
    ];
    // Its master has no helper, and conntrack(8) cannot give it one: refused as by the kernel.
    expect((await on("conntrack", "-I", "expect", ...expectation)).status).not.toBe(0);
    expect(await ok("conntrack", "-L", "expect")).toBe("");
    expect((await ok("conntrack", "-F", "expect")).trim()).toBe("");
    // A helper's own: a request that nobody answers.
    await program(undefined);
    const lost = h1.execute(
      PYTHON,
      "-c",
      `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("${h1.address}", 2222))
s.sendto(b"\\0\\2name\\0octet\\0", ("${h2.address}", 69))`,
    );
    await lost;
    let listed = "";
    await until(async () => {
      listed = await ok("conntrack", "-L", "expect");
      return listed !== "";
    }, "an expectation");
    expect(listed).toMatch(
      /^\d+ proto=17 src=10\.1\.1\.2 dst=10\.1\.1\.1 sport=0 dport=2222 mask-src=255\.255\.255\.255 mask-dst=255\.255\.255\.255 sport=0 dport=65535 master-src=10\.1\.1\.1 master-dst=10\.1\.1\.2 sport=2222 dport=69 class=0 helper=tftp/m,
    );
    await ok("conntrack", "-F", "expect");
    expect(await ok("conntrack", "-L", "expect")).toBe("");
  }, 30_000);
});
