// A process that owns devices and forwards between them, to be killed. Arguments: the two devices.
import { NativePorts } from "../../src/port/native/ports.ts";

const ports = new NativePorts();
const [a, b] = process.argv.slice(2).map((name) => ports.openNetdev(name));
a.context = b;
b.context = a;
const internal = ports.createInternal("nkpi0", 0);
ports.start(
  (packet, port) => (port.context as typeof a | undefined)?.send(packet),
  () => ports.memory.resetScratch(),
);
process.send?.({ pid: process.pid, internal: internal.ifindex });
