/**
 * Test doubles: everything to run a datapath, its upcalls and its connection tracking in one process, without root and in
 * virtual time.
 *
 * @example
 * ```ts
 * const clock = new ManualClock();
 * const ports = new MemoryPorts();
 * const eth0 = ports.addDevice("eth0");
 * const nokmod = new Nokmod({ ports, clock, random: new SeededRandom(1), tickInterval: 0 });
 * ```
 */
export { ManualClock } from "../core/clock.ts";
export { SeededRandom } from "../core/random.ts";
export { type MemoryDevice, type MemoryPort, MemoryPorts, type Offload } from "../port/memory/ports.ts";
export { Nokmod, type NokmodOptions } from "../runtime/nokmod.ts";
export { manualScheduler } from "../vswitch/index.ts";
