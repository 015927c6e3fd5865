import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { forkScript, message, TemporaryDirectory } from "../support/child.ts";

const PYTHON = "/usr/bin/python3";
const INTRUDER = fileURLToPath(new URL("../support/intruder.py", import.meta.url));
const root = process.getuid?.() === 0;

/** Attacks on a server's door (docs/transport.md, Credentials), by programs that speak its protocol themselves. */
describe.skipIf(!root)("who may do what", () => {
  const directory = new TemporaryDirectory();
  const path = directory.file("nokmod.sock");
  let server: ChildProcess;

  beforeAll(async () => {
    server = forkScript("./echo-server.ts", [path]);
    expect(await message(server)).toBe("ready");
  });
  afterAll(async () => {
    const exit = once(server, "exit");
    server.send("stop");
    await exit;
    directory.dispose();
  });

  /** Runs an attack. Lines that are no JSON ask for something: `asked` does it. @returns what the intruder saw */
  async function attack(
    name: string,
    args: string[] = [],
    asked: (line: string) => unknown = () => {},
    target = path,
  ): Promise<unknown> {
    const child = spawn(PYTHON, [INTRUDER, name, target, ...args], { stdio: ["pipe", "pipe", "inherit"] });
    let last = "";
    let text = "";
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
      for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
        last = text.slice(0, end);
        text = text.slice(end + 1);
        if (last.startsWith("{")) continue;
        const answered = (): unknown => child.stdin.write("\n");
        Promise.resolve(asked(last)).then(answered, answered);
      }
    });
    const [status] = (await once(child, "close")) as [number];
    expect(status, last).toBe(0);
    return JSON.parse(last);
  }

  it("a peer that has become a set-user-id program since it connected is what it was when it connected", async () => {
    const seen = await attack("race", [], (line) => server.kill(line === "stop" ? "SIGSTOP" : "SIGCONT"));
    expect(seen).toEqual({ before: "EPERM", "set-user-id": "EPERM" });
  });

  it("proof is the kernel's own answer to somebody who may, in the server's namespace; all else proves nothing", async () => {
    const seen = (await attack("proof")) as Record<string, string>;
    const { "netlink, allowed": allowed, "of a namespace of its own": namespace, ...others } = seen;
    expect(allowed).toBe("OK");
    expect(["EPERM", "no user namespaces"]).toContain(namespace);
    expect(Object.keys(others)).toHaveLength(8);
    for (const [what, answer] of Object.entries(others)) expect(answer, what).toBe("EPERM");
  });

  it("root needs no proof where the kernel names the process that connected; without the capability it may nothing", async () => {
    const seen = (await attack("root")) as Record<string, string>;
    // SO_PEERPIDFD is of Linux 6.5.
    expect(["OK", "EPERM"]).toContain(seen.root);
    expect(seen["root without capabilities"]).toBe("EPERM");
  });

  it("F-029: opener and sender count: a process that has become nobody changes nothing on root's socket", async () => {
    expect(await attack("drop")).toEqual({
      root: "OK",
      "written to the data channel": "EPERM",
      "request on root's channel": "EPERM",
      "request on a channel of its own": "EPERM",
      "receive buffer by force": "EPERM",
      "root again": "OK",
      "the same process, nobody now": "EPERM",
    });
  });

  it("an option that there is not is refused at once, and the socket lives on", async () => {
    expect(await attack("options")).toEqual({ unknown: "ENOPROTOOPT", known: "OK", bind: "OK", echo: "OK" });
  });

  it("sockets whose bind failed leave nothing to those that get their numbers", async () => {
    expect(await attack("leak")).toEqual({ reached: 0 });
  });

  it("a socket is found by who holds its descriptor, with the same user and privilege; not by a number", async () => {
    expect(await attack("find")).toEqual({
      held: "OK",
      "by its cookie": "ENOENT",
      "held, but no channel": "ENOENT",
      "claimed by another": "itself",
      "held by another user": "ENOENT",
      "held by root without capabilities": "ENOENT",
    });
  });

  /** Runs an attack on a server of its own. @returns what the intruder saw, and the server's statistics afterwards */
  async function attackOwn(options: object, name: string, args: string[] = []) {
    const target = directory.file(`${name}.sock`);
    const own = forkScript("./echo-server.ts", [target, JSON.stringify(options)]);
    try {
      expect(await message(own)).toBe("ready");
      let rootServed: unknown;
      const asked = async (): Promise<void> => {
        rootServed = await attack("root", [], undefined, target);
      };
      const seen = await attack(name, args, asked, target);
      const stats = message<{ refused: number; sockets: number }>(own);
      own.send("stats");
      return { seen, rootServed, stats: await stats };
    } finally {
      const exit = once(own, "exit");
      own.send("stop");
      await exit;
    }
  }

  it("nobody may hold so many connections and no more; root is served meanwhile", async () => {
    const { seen, rootServed, stats } = await attackOwn({ limits: { perUser: 20, total: 30 } }, "crowd", ["20"]);
    expect(seen).toEqual({ nobody: [20, "EMFILE", "room again"], root: "OK" });
    expect(rootServed).toMatchObject({ "root without capabilities": "EPERM" });
    expect(stats.refused).toBeGreaterThan(0);
  });

  it("a connection that sends no hello is closed after a while; the others stay", async () => {
    const { seen, stats } = await attackOwn({ helloTimeout: 50 }, "silent");
    expect(seen).toEqual({ silent: "", held: true });
    expect(stats.refused).toBe(1);
  });

  it("a server without a descriptor to spare says so; it takes nobody for less than it is", async () => {
    expect(await attack("no_room", [String(server.pid)])).toEqual({ "no room": "EMFILE", afterwards: "OK" });
  });
});
