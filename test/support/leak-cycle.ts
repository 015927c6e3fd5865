// Opens and closes everything native several times and ends: for a leak checker, which looks when a process ends of itself.
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { Requester } from "../../src/client/requester.ts";
import { connect } from "../../src/client/seqpacket.ts";
import { Namespace } from "../../src/lab/namespace.ts";
import { netnsInode, withNetns } from "../../src/native/netns.ts";
import { shareMemory } from "../../src/native/shared-memory.ts";
import { NativePorts } from "../../src/port/native/ports.ts";
import { NETLINK_GENERIC } from "../../src/uapi/netlink.ts";
import { TemporaryDirectory, TYPESCRIPT_ARGV } from "./child.ts";
import { Echo } from "./echo-protocol.ts";

const ROUNDS = 5;

const directory = new TemporaryDirectory();
const path = directory.file("leak.sock");
const worker = new Worker(new URL("./server-worker.ts", import.meta.url), {
  execArgv: TYPESCRIPT_ARGV,
  workerData: path,
});
await once(worker, "message");
for (let round = 0; round < ROUNDS; round++) {
  const client = connect(path);
  const socket = client.open(NETLINK_GENERIC);
  socket.onReadable = () => {};
  new Requester(socket).request(Echo.Echo, 0, (writer) => writer.rawU32(round));
  socket.close();
  client.close();
}
await worker.terminate();
directory.dispose();

if (process.getuid?.() === 0) {
  const lab = await Namespace.create();
  lab.run("ip", "link", "add", "l0", "type", "veth", "peer", "name", "l1");
  for (let round = 0; round < ROUNDS; round++) {
    const ports = withNetns(lab.path, () => new NativePorts(128 << 20));
    withNetns(lab.path, () => [netnsInode(), ports.openNetdev("l0"), ports.createInternal("l2", 0)]);
    ports.start(
      () => {},
      () => {},
    );
    shareMemory(ports.io.buffer as ArrayBuffer);
    ports.close();
  }
  await lab.close();
}
