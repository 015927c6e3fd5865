// A process that owns devices and forwards between them, to be killed. Arguments: the two devices.
import { NativePorts } from "../../src/port/native/ports.ts";

const ports = new NativePorts();
const [a, b] = process.argv.slice(2).map((name) => ports.openNetdev(name));
a.receiver = { receive: (packet) => b.send(packet) };
b.receiver = { receive: (packet) => a.send(packet) };
const internal = ports.createInternal("nkpi0", 0);
ports.start(
  (packet, port) => port.receiver?.receive(packet),
  () => ports.memory.resetScratch(),
);
process.send?.({ pid: process.pid, internal: internal.ifindex });
