// A whole nokmod over ports in memory, for the clients of hostile.py: `server.ts SOCKET`. Tells "ready", then each fault; answers
// every message with its memory and its descriptors.
import { readdirSync } from "node:fs";
import { MemoryPorts } from "../../src/port/memory/ports.ts";
import { Nokmod } from "../../src/runtime/nokmod.ts";
import { NetlinkServer } from "../../src/server/index.ts";
import { DEVICES } from "./world.ts";

const ports = new MemoryPorts();
for (const name of DEVICES) ports.addDevice(name);
const nokmod = new Nokmod({ ports });
const fault = (error: unknown): unknown =>
  process.send?.({ fault: error instanceof Error ? (error.stack ?? error.message) : String(error) });
nokmod.kernel.bus.onFault = fault;
process.on("unhandledRejection", fault);
const server = new NetlinkServer(nokmod.kernel, { path: process.argv[2], helloTimeout: 2000 });
process.on("message", (question) => {
  if (question === "end") {
    server.close();
    nokmod.close();
    process.disconnect();
    return;
  }
  globalThis.gc?.();
  const descriptors = readdirSync("/proc/self/fd").length;
  process.send?.({ memory: process.memoryUsage().rss, descriptors, connections: server.size });
});
process.send?.("ready");
