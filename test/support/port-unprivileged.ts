// Runs in a user and network namespace of its own (unshare -Urn), where BPF, and often /dev/net/tun, is not permitted. Opens one
// end of a veth and an internal port, and prints what it saw as JSON.
import { execFileSync } from "node:child_process";
import { NativePorts } from "../../src/port/native/ports.ts";

function run(command: string, ...args: string[]): string {
  return execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
}

/** Pings an address that does not answer, so that the kernel sends an ARP request. */
function ping(address: string): void {
  try {
    run("ping", "-c", "1", "-W", "1", address);
  } catch {
    // No answer.
  }
}

/** Takes turns of the event loop until it holds; the test ends this process if it never does. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setImmediate(resolve));
}

run("ip", "link", "add", "u0", "type", "veth", "peer", "name", "u1");
for (const name of ["u0", "u1"]) run("ip", "link", "set", name, "up");
const ports = new NativePorts();
const u0 = ports.openNetdev("u0");
const inner = ports.createInternal("in0", 4711);
const received = { netdev: 0, internal: 0 };
ports.start(
  (packet, port) => {
    if (port === u0) received.netdev++;
    else {
      received.internal++;
      u0.send(packet);
    }
  },
  () => ports.memory.resetScratch(),
);
const down = !inner.running;
run("ip", "addr", "add", "10.9.2.1/24", "dev", "u1");
run("ip", "addr", "add", "10.9.3.1/24", "dev", "in0");
run("ip", "link", "set", "in0", "up");
await until(() => inner.running);
const { running } = inner;
const arrived = (): number => JSON.parse(run("ip", "-s", "-j", "link", "show", "u1"))[0].stats64.rx.packets;
const before = arrived();
ping("10.9.2.2");
ping("10.9.3.2");
await until(() => received.netdev > 0 && received.internal > 0 && arrived() > before);
const rules = run("nft", "list", "ruleset");
run("ip", "link", "set", "u0", "down");
run("ip", "link", "set", "u0", "name", "u9");
await until(() => u0.name === "u9");
const renamed = run("nft", "list", "ruleset");
ports.close();
console.log(
  JSON.stringify({
    received: received.netdev > 0 && received.internal > 0,
    forwarded: arrived() > before,
    ifindex: inner.ifindex,
    down,
    running,
    dropsU0: rules.includes("u0"),
    dropsU9: u0.name === "u9" && renamed.includes("u9") && !renamed.includes("u0"),
    left: run("nft", "list", "ruleset") + run("ip", "-br", "link").replace(/^(lo|u\d).*\n/gm, ""),
  }),
);
process.exit(0);
