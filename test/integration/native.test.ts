import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync } from "node:fs";
import { Worker } from "node:worker_threads";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { Requester } from "../../src/client/requester.ts";
import { connect } from "../../src/client/seqpacket.ts";
import { Namespace } from "../../src/lab/namespace.ts";
import { netnsInode, netnsPath, withNetns } from "../../src/native/netns.ts";
import { NETLINK_GENERIC } from "../../src/uapi/netlink.ts";
import { TemporaryDirectory, TYPESCRIPT_ARGV } from "../support/child.ts";
import { Echo } from "../support/echo-protocol.ts";

const root = process.getuid?.() === 0;

describe.skipIf(!root)("network namespaces", () => {
  let lab: Namespace;
  beforeAll(async () => {
    lab = await Namespace.create();
  });
  afterAll(() => lab.close());

  const openFiles = (): number => readdirSync("/proc/self/fd").length;

  it("a callback runs inside, and so do its child processes; afterwards we are home", () => {
    const home = netnsInode();
    const inside = withNetns(lab.path, () => ({
      inode: netnsInode(),
      links: execFileSync("ip", ["-brief", "link"], { encoding: "utf8" }).trim().split("\n").length,
    }));
    expect(inside.inode).toBe(netnsInode(lab.pid));
    expect(inside.inode).not.toBe(home);
    expect(inside.links).toBe(1);
    expect(netnsInode()).toBe(home);
  });

  it("an exception brings us home too, and no file stays open", () => {
    const home = netnsInode();
    const before = openFiles();
    for (let i = 0; i < 50; i++) {
      expect(() =>
        withNetns(lab.path, () => {
          throw new RangeError("inside");
        }),
      ).toThrow(new RangeError("inside"));
    }
    expect(netnsInode()).toBe(home);
    expect(openFiles()).toBe(before);
  });

  it("namespaces nest", () => {
    const home = netnsInode();
    const [outer, inner] = withNetns(lab.path, () => [netnsInode(), withNetns(process.ppid, () => netnsInode())]);
    expect(inner).toBe(home);
    expect(outer).not.toBe(home);
  });

  it("one that is not there is ERR_NETNS, and so is a file that is none; the callback is not called", () => {
    const before = openFiles();
    const never = (): never => expect.fail("called");
    expect(() => withNetns("nokmod-no-such", never)).toThrow(expect.objectContaining({ code: "ERR_NETNS" }));
    expect(() => withNetns("/etc/passwd", never)).toThrow(expect.objectContaining({ code: "ERR_NETNS" }));
    expect(() => netnsInode("nokmod-no-such")).toThrow(expect.objectContaining({ code: "ERR_NETNS" }));
    expect(openFiles()).toBe(before);
  });

  it("an asynchronous callback is refused", () => {
    expect(() => withNetns(lab.path, async () => 1)).toThrow(expect.objectContaining({ code: "ERR_NETNS_ASYNC" }));
  });

  it("names, processes and paths", () => {
    expect(netnsPath("blue")).toBe("/run/netns/blue");
    expect(netnsPath(17)).toBe("/proc/17/ns/net");
    expect(netnsPath("/proc/self/ns/net")).toBe("/proc/self/ns/net");
  });
});

describe("worker threads", () => {
  it("a worker serves, this thread asks; the worker is terminated and the path is free again", async () => {
    const directory = new TemporaryDirectory();
    onTestFinished(() => directory.dispose());
    const path = directory.file("worker.sock");
    for (let round = 0; round < 3; round++) {
      const worker = new Worker(new URL("../support/server-worker.ts", import.meta.url), {
        execArgv: TYPESCRIPT_ARGV,
        workerData: path,
      });
      await once(worker, "message");
      const client = connect(path);
      const socket = client.open(NETLINK_GENERIC);
      expect(new Requester(socket).request(Echo.Echo, 0, (writer) => writer.rawU32(round))).toHaveLength(1);
      await worker.terminate();
      expect(() => socket.receive()).toThrow(expect.objectContaining({ code: "ERR_CONNECTION_LOST" }));
      expect(existsSync(path)).toBe(false);
      socket.close();
      client.close();
    }
  });
});
