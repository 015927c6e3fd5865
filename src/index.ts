/**
 * nokmod as a library: the module itself over real devices or devices in memory, a client for its netlink families, the
 * server for other processes, and the built-in userspace.
 *
 * @packageDocumentation
 */
export * from "./client/index.ts";
export { type Clock, ManualClock, systemClock } from "./clock.ts";
export * from "./conntrack/helpers/index.ts";
export { Errno, NokmodError } from "./errors.ts";
export { KERNEL_RELEASES, type KernelRelease } from "./kernel-profile.ts";
export { Nokmod, type NokmodOptions } from "./nokmod.ts";
export { NativePorts } from "./port/native.ts";
export type { DeviceStats, Port, PortEvents, PortProvider, Receive } from "./port/port.ts";
export type { PortDriver } from "./port/provider.ts";
export { type Random, SeededRandom, SystemRandom } from "./random.ts";
export { NetlinkServer, type NetlinkServerOptions } from "./server/index.ts";
