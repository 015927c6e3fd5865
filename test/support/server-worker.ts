// Serves EchoProtocol from a worker thread: workerData is the path.
import { parentPort, workerData } from "node:worker_threads";
import { SeededRandom } from "../../src/core/random.ts";
import { NetlinkBus } from "../../src/netlink/bus.ts";
import { NetlinkServer } from "../../src/server/index.ts";
import { NETLINK_GENERIC } from "../../src/uapi/netlink.ts";
import { EchoProtocol } from "./echo-protocol.ts";

const bus = new NetlinkBus(new SeededRandom(1));
bus.register(NETLINK_GENERIC, new EchoProtocol());
new NetlinkServer({ bus }, { path: workerData as string });
parentPort?.postMessage("ready");
