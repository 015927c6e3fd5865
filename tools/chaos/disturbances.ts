import { spawnSync } from "node:child_process";
import type { Random } from "../../src/core/random.ts";
import { type ChaosLab, until } from "./lab.ts";
import type { Outage, Stream } from "./stream.ts";

/** What a disturbance works with. */
export interface Scene {
  readonly lab: ChaosLab;
  readonly stream: Stream;
  readonly random: Random;
  /** Milliseconds from a new nokmod's being ready to the first packet that came through, of each kill. */
  readonly healed: number[];
}

/** Something that goes wrong, and is set right again. @returns when packets may have been lost, if they may */
export type Disturbance = (scene: Scene) => Promise<Outage | undefined>;

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Milliseconds after the first packet in which ovs-vswitchd may still delete and put flows anew. */
const SETTLE = 300;

/** Waits for the first answer to a datagram sent after `time`. @returns when it came, in ms since 1970 */
async function answered({ stream }: Scene, time: number): Promise<number> {
  const limit = performance.now() + 60_000;
  for (;;) {
    const first = stream.answers.findLast(({ sent }) => sent >= time);
    if (first !== undefined) return stream.firstAfter(time) ?? first.sent + first.took;
    if (performance.now() > limit) throw new Error("no packet has come through for 60 s");
    await pause(1);
  }
}

/** kill -9 of nokmod, and a new one with its state file. */
const nokmodKilled: Disturbance = async (scene) => {
  const { lab, healed } = scene;
  const from = await lab.killNokmod();
  const ready = await lab.startNokmod();
  const to = await answered(scene, ready);
  healed.push(to - ready);
  return { from, to: to + SETTLE, why: "nokmod killed" };
};

/** kill -9 of nokmod a moment after a port was added: what was answered is there afterwards. */
const killedAfterAnswer: Disturbance = async (scene) => {
  const { lab, random, healed } = scene;
  lab.namespace.run("ip", "link", "add", "late", "type", "veth", "peer", "name", "late1");
  lab.vsctl("add-port", "br0", "late");
  await pause(random.u32() % 100);
  const from = await lab.killNokmod();
  const ready = await lab.startNokmod();
  const to = await answered(scene, ready);
  healed.push(to - ready);
  if (!lab.run("ovs-dpctl", "show").includes(": late")) throw new Error("the port that was added is missing");
  lab.vsctl("del-port", "br0", "late");
  lab.namespace.run("ip", "link", "del", "late");
  return { from, to: to + SETTLE, why: "nokmod killed after an answer" };
};

/** kill -9 of ovs-vswitchd: established flows go on until its successor begins anew. */
const vswitchdKilled: Disturbance = async (scene) => {
  const { lab } = scene;
  await until("flows of the stream", () => lab.hasFlow(1, 2) && lab.hasFlow(2, 1), 5);
  await lab.killVswitchd();
  await pause(300);
  // The new one deletes all flows, and drops what comes up until it has its bridge: as on the module.
  const from = Date.now();
  await lab.startVswitchd();
  lab.vsctl("set", "bridge", "br0", `external_ids:seen=${from}`);
  const to = await answered(scene, Date.now());
  return { from, to: to + SETTLE, why: "ovs-vswitchd killed" };
};

/** The disk of state file and log is full for a while, as something is configured. */
const diskFull: Disturbance = async ({ lab }) => {
  lab.onDisk("dd if=/dev/zero of=fill bs=1k 2>/dev/null || true");
  lab.namespace.run("ip", "link", "add", "full", "type", "veth", "peer", "name", "full1");
  lab.vsctl("add-port", "br0", "full");
  await pause(200);
  lab.onDisk("rm fill");
  lab.vsctl("del-port", "br0", "full");
  lab.namespace.run("ip", "link", "del", "full");
  return undefined;
};

/** nokmod has no descriptor left: newcomers are refused, the others go on. */
const noDescriptors: Disturbance = async ({ lab }) => {
  const limit = (value: string): void => {
    spawnSync("prlimit", ["--pid", String(lab.nokmodPid), `--nofile=${value}`]);
  };
  const before = spawnSync(
    "prlimit",
    ["--pid", String(lab.nokmodPid), "--nofile", "--noheadings", "--raw", "-o", "SOFT,HARD"],
    {
      encoding: "utf8",
    },
  ).stdout.trim();
  limit(`${lab.usage().descriptors}:${before.split(/\s+/)[1]}`);
  for (let i = 0; i < 5; i++) lab.namespace.try("env", `NOKMOD_SOCKET=${lab.socket}`, process.execPath, "-e", "0");
  lab.start("ovs-dpctl", "dump-flows");
  await pause(200);
  limit(before.replace(/\s+/, ":"));
  await pause(50);
  if (!lab.run("ovs-dpctl", "show").includes("ovs-system")) throw new Error("nokmod does not answer afterwards");
  return undefined;
};

/** A client is stopped within a dump, and killed later. */
const clientStopped: Disturbance = async ({ lab, random }) => {
  const child = lab.start("sh", "-c", "while :; do ovs-dpctl dump-flows; done");
  await pause(random.u32() % 100);
  child.kill("SIGSTOP");
  await pause(200);
  child.kill("SIGKILL");
  return undefined;
};

/** The device of a port vanishes and comes back. */
const deviceVanishes: Disturbance = async ({ lab }) => {
  lab.namespace.run("ip", "link", "del", "p3");
  await pause(50);
  lab.plug(3);
  await pause(50);
  return undefined;
};

/** A host vanishes with its whole namespace, and another one takes its place. */
const namespaceVanishes: Disturbance = async ({ lab }) => {
  await lab.hosts[2].close();
  // The kernel deletes the pair of veths with the namespace, a moment later.
  for (let i = 0; i < 1000 && lab.devices().includes("p3"); i++) await pause(5);
  await lab.addHost(3);
  return undefined;
};

/** Other programs take much memory for a while. */
const memoryPressure: Disturbance = async ({ lab }) => {
  const program = "const all = []; for (let i = 0; i < 16; i++) all.push(Buffer.alloc(64 << 20, 1));";
  lab.namespace.try(process.execPath, "-e", program);
  return undefined;
};

/** By name, with how often each is chosen. */
export const DISTURBANCES: Readonly<Record<string, { readonly weight: number; readonly act: Disturbance }>> = {
  "kill-nokmod": { weight: 12, act: nokmodKilled },
  "kill-after-answer": { weight: 2, act: killedAfterAnswer },
  "kill-vswitchd": { weight: 2, act: vswitchdKilled },
  "disk-full": { weight: 2, act: diskFull },
  "no-descriptors": { weight: 2, act: noDescriptors },
  "client-stopped": { weight: 2, act: clientStopped },
  "device-vanishes": { weight: 2, act: deviceVanishes },
  "namespace-vanishes": { weight: 1, act: namespaceVanishes },
  "memory-pressure": { weight: 1, act: memoryPressure },
};
