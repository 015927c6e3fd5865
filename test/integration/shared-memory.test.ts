import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { describe, expect, it, onTestFinished } from "vitest";
import { Namespace } from "../../src/lab/namespace.ts";
import { native } from "../../src/native/addon.ts";
import { sharedUnit, shareMemory } from "../../src/native/shared-memory.ts";
import { NativePorts } from "../../src/port/native/ports.ts";
import { TYPESCRIPT_ARGV } from "../support/child.ts";

const unit = sharedUnit();
const root = process.getuid?.() === 0;

/** A thread that looks for a marker; resolves to where it is. */
async function watch(
  buffer: SharedArrayBuffer,
  marker: Uint8Array,
  range: { from: number; to: number },
): Promise<{ found: Promise<number>; worker: Worker }> {
  const worker = new Worker(new URL("../support/memory-worker.ts", import.meta.url), {
    execArgv: TYPESCRIPT_ARGV,
    workerData: { buffer, marker, ...range, answer: 0x5a },
  });
  onTestFinished(async () => {
    await worker.terminate();
  });
  await once(worker, "message");
  return { worker, found: once(worker, "message").then(([at]) => at as number) };
}

describe("memory seen by another thread", () => {
  const marker = Buffer.from("here it is!");

  it.skipIf(unit === null)("with the native unit it is the memory itself, both ways", async () => {
    const memory = new ArrayBuffer(1 << 16);
    const shared = shareMemory(memory);
    expect(shared.live).toBe(true);
    expect(shared.buffer.byteLength).toBe(memory.byteLength);
    const { found } = await watch(shared.buffer, marker, { from: 0, to: 1 << 16 });
    const bytes = Buffer.from(memory);
    marker.copy(bytes, 12_345);
    expect(await found).toBe(12_345);
    expect(bytes[12_345 + marker.length]).toBe(0x5a);
  });

  it.skipIf(unit === null)("outlives the buffer that it was made from", () => {
    const script = `
      const { share } = require(${JSON.stringify(new URL("../../build/Release/nokmod_shared.node", import.meta.url).pathname)});
      let buffer = new ArrayBuffer(1 << 20);
      new Uint8Array(buffer).fill(7);
      const view = new Uint8Array(share(buffer));
      buffer = null;
      for (let i = 0; i < 5; i++) gc();
      process.stdout.write(String(view.every((byte) => byte === 7)));`;
    expect(execFileSync(process.execPath, ["--expose-gc", "-e", script], { encoding: "utf8" })).toBe("true");
  });

  it.skipIf(unit === null)("refuses what is no ArrayBuffer", () => {
    expect(() => unit?.share(new Uint8Array(4) as unknown as ArrayBuffer)).toThrow(TypeError);
  });

  it("without the native unit it is a copy, brought up to date by refresh()", async () => {
    const memory = new ArrayBuffer(1 << 16);
    const shared = shareMemory(memory, null);
    expect(shared.live).toBe(false);
    const { found } = await watch(shared.buffer, marker, { from: 0, to: 1 << 16 });
    const bytes = Buffer.from(memory);
    marker.copy(bytes, 12_345);
    shared.refresh(12_000, 1000);
    expect(await found).toBe(12_345);
    // What the other thread writes stays with it.
    expect(bytes[12_345 + marker.length]).toBe(0);
    expect(() => shared.refresh(1 << 16, 1)).toThrow(RangeError);
  });

  it.skipIf(unit === null || !root)("a worker sees a frame in a packet ring", async () => {
    const lab = await Namespace.create();
    onTestFinished(() => lab.close());
    lab.run("ip", "link", "add", "r0", "type", "veth", "peer", "name", "r1");
    for (const name of ["r0", "r1"]) lab.run("ip", "link", "set", name, "up");
    const { withNetns } = native<{ withNetns<T>(path: string, callback: () => T): T }>();
    const ports = withNetns(lab.path, () => new NativePorts(128 << 20));
    onTestFinished(() => ports.close());
    withNetns(lab.path, () => ports.openNetdev("r0"));
    lab.run("ip", "addr", "add", "10.77.0.1/24", "dev", "r1");
    lab.run("ip", "neigh", "add", "10.77.0.2", "lladdr", "02:00:00:00:00:02", "dev", "r1");
    const ping = (...options: string[]): void => {
      lab.try("ping", "-c", "1", "-W", "0.2", ...options, "10.77.0.2");
    };
    // A first frame shows where in the arena frames go.
    const from = await new Promise<number>((resolve) => {
      ports.start(
        (packet) => resolve(packet.off),
        () => {},
      );
      ping();
    });
    const shared = shareMemory(ports.io.buffer as ArrayBuffer);
    const { found } = await watch(shared.buffer, marker, { from, to: from + 65_536 });
    ping("-p", marker.toString("hex"));
    expect(await found).toBeGreaterThan(from);
  });
});
