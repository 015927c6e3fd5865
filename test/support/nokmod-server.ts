// The whole module over ports in memory, served to other processes: `nokmod-server.ts SOCKET`.
import { ManualClock } from "../../src/core/clock.ts";
import { SeededRandom } from "../../src/core/random.ts";
import { MemoryPorts } from "../../src/port/memory/ports.ts";
import { Nokmod } from "../../src/runtime/nokmod.ts";
import { NetlinkServer } from "../../src/server/index.ts";

const ports = new MemoryPorts();
for (const name of ["left", "right"]) ports.addDevice(name);
const nokmod = new Nokmod({ ports, clock: new ManualClock(), random: new SeededRandom(1), tickInterval: 0 });
const server = new NetlinkServer(nokmod.kernel, { path: process.argv[2] });
process.on("message", () => {
  server.close();
  nokmod.close();
  process.disconnect();
});
process.send?.("ready");
