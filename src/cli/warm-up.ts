import { setImmediate } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { MemoryPorts } from "../port/memory/ports.ts";
import { Nokmod } from "../runtime/nokmod.ts";
import { VSwitch } from "../vswitch/index.ts";

/** Rounds of packets. Few: the first call of a function is the slow one. */
const ROUNDS = 32;
const RULES = [
  "table=0,udp,actions=ct(commit,zone=1,nat(src=10.0.0.240-10.0.0.255)),resubmit(,1)",
  "table=0,tcp,ct_state=-trk,actions=ct(table=1,zone=1,nat)",
  "table=0,priority=0,actions=NORMAL",
  "table=1,udp,actions=move:NXM_OF_UDP_SRC[]->NXM_NX_REG0[0..15],output:2",
  "table=1,priority=0,actions=NORMAL",
];

/**
 * Sets flags of V8 for the whole process, so only the program may call it: machine code is made at a function's first call,
 * and optimized after a quarter of the usual interrupt budget, which is counted in bytes of bytecode run.
 */
export function setEngineFlags(): void {
  setFlagsFromString("--always-sparkplug");
  setFlagsFromString("--interrupt-budget=15000");
}

/**
 * Makes the first packets nearly as fast as those that follow: sends packets through a switch without devices, so that
 * misses, upcalls, flows and connections have run once before the first real packet. Takes some tens of milliseconds.
 * @param onFault gets requests of the switch that the datapath refused, and faults of the program
 * @returns flows put, and connections made
 */
export async function warmUp(
  onFault: (what: string, error: unknown) => void,
): Promise<{ flows: number; connections: number }> {
  const ports = new MemoryPorts();
  const nokmod = new Nokmod({ ports, tickInterval: 0 });
  const devices = ["left", "right"].map((name) => ports.addDevice(name));
  const bridge = new VSwitch({ opener: nokmod, name: "warm-up", ports: ["left", "right"], flows: RULES, onFault });
  try {
    for (let round = 0; round < ROUNDS; round++) {
      for (const device of devices) for (const protocol of [1, 6, 17]) device.inject(frame(protocol, round));
      // The switch answers upcalls between packets.
      await setImmediate();
      bridge.revalidate();
      nokmod.tick();
    }
    return { flows: bridge.statistics.flowsPut, connections: nokmod.conntrack.count };
  } finally {
    bridge.close();
    nokmod.close();
  }
}

/** An Ethernet frame of 60 bytes with IPv4; `number` goes into the source port or the ICMP id. */
function frame(protocol: number, number: number): Uint8Array {
  const bytes = new Uint8Array(60);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, 2);
  view.setUint8(6, 2);
  view.setUint16(12, 0x0800);
  view.setUint16(14, 0x4500);
  view.setUint16(16, 46);
  view.setUint8(22, 64);
  view.setUint8(23, protocol);
  view.setUint32(26, 0x0a000001);
  view.setUint32(30, 0x0a000002);
  view.setUint16(34, protocol === 1 ? 0x0800 : number + 1);
  view.setUint16(36, protocol === 1 ? 0 : 9);
  view.setUint16(38, protocol === 17 ? 26 : number);
  if (protocol === 6) view.setUint16(46, 0x5002);
  return bytes;
}
