// The whole module over ports in memory, served to other processes: `nokmod-server.ts SOCKET`.
import { ManualClock } from "../../src/clock.ts";
import { Nokmod } from "../../src/nokmod.ts";
import { MemoryPorts } from "../../src/port/memory.ts";
import { SeededRandom } from "../../src/random.ts";
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
