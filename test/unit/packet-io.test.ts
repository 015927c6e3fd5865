/** The life of a packet engine, in a process of its own: what breaks there is memory. */
import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";

const REGISTER = new URL("../support/register-ts.mjs", import.meta.url).href;
const ENGINE = new URL("../../src/port/native/packet-io.ts", import.meta.url).href;

/** Runs JavaScript in which `engine()` gives a PacketIo that was not started. */
function run(script: string): { status: number | null; signal: string | null; stdout: string } {
  const source = `
    const { createPacketIo } = await import(${JSON.stringify(ENGINE)});
    const engine = () => createPacketIo(1 << 28);
    ${script}`;
  const { status, signal, stdout } = spawnSync(
    process.execPath,
    ["--import", REGISTER, "--input-type=module", "-e", source],
    { encoding: "utf8" },
  );
  return { status, signal, stdout };
}

describe("PacketIo", () => {
  it("exchanges nothing before start()", () => {
    expect(run("console.log(engine().exchange(0))")).toEqual({ status: 0, signal: null, stdout: "0\n" });
  });

  it("ends with a worker thread that is terminated while it listens", () => {
    const worker = `
      import { parentPort } from "node:worker_threads";
      import { createPacketIo } from ${JSON.stringify(ENGINE)};
      globalThis.engine = createPacketIo(1 << 28);
      engine.start(1 << 20);
      engine.listen(() => {}, () => {}, () => {});
      parentPort.postMessage("listening");`;
    const result = run(`
      const { Worker } = await import("node:worker_threads");
      const { once } = await import("node:events");
      const url = new URL(${JSON.stringify(`data:text/javascript,${encodeURIComponent(worker)}`)});
      const worker = new Worker(url, { execArgv: ["--import", ${JSON.stringify(REGISTER)}] });
      await once(worker, "message");
      console.log(await worker.terminate());`);
    expect(result).toEqual({ status: 0, signal: null, stdout: "1\n" });
  });
});
