/**
 * nokmod as a library: the module itself over real devices or devices in memory, a client for its netlink families, the
 * server for other processes, and the built-in userspace.
 *
 * @packageDocumentation
 */
export * from "./client/index.ts";
export * from "./conntrack/helpers/index.ts";
export { type Clock, ManualClock, systemClock } from "./core/clock.ts";
export { Errno, NokmodError } from "./core/errors.ts";
export { KERNEL_RELEASES, type KernelRelease } from "./core/kernel-profile.ts";
export { type Random, SeededRandom, SystemRandom } from "./core/random.ts";
export { type SharedMemory, shareMemory } from "./native/shared-memory.ts";
export { NativePorts } from "./port/native/ports.ts";
export type { DeviceStats, Port, PortEvents, PortProvider, Receive } from "./port/port.ts";
export type { PortDriver } from "./port/provider.ts";
export { Nokmod, type NokmodOptions } from "./runtime/nokmod.ts";
export { NetlinkServer, type NetlinkServerOptions } from "./server/index.ts";
