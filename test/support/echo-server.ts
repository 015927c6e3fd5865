// A server of EchoProtocol, in a process of its own: `echo-server.ts SOCKET [NetlinkServerOptions as JSON]`. Tells "ready" and its statistics.

import { SeededRandom } from "../../src/core/random.ts";
import { NetlinkBus } from "../../src/netlink/bus.ts";
import { NetlinkServer, type NetlinkServerOptions } from "../../src/server/index.ts";
import { NETLINK_GENERIC } from "../../src/uapi/netlink.ts";
import { EchoProtocol } from "./echo-protocol.ts";

const bus = new NetlinkBus(new SeededRandom(1));
bus.register(NETLINK_GENERIC, new EchoProtocol());
try {
  const options = JSON.parse(process.argv[3] ?? "{}") as NetlinkServerOptions;
  const server = new NetlinkServer({ bus }, { ...options, path: process.argv[2] });
  process.on("message", (message) => {
    if (message === "stats") {
      process.send?.({ ...server.stats, sockets: server.size, memory: process.memoryUsage().rss });
    } else if (message === "stop") {
      server.close();
      process.disconnect();
    }
  });
  process.send?.("ready");
} catch (error) {
  process.send?.({ error: { code: (error as { code: string }).code, message: (error as Error).message } });
  process.disconnect();
}
