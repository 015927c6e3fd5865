import type { PacketMemory } from "../packet/memory.ts";
import type { PortEvents, PortProvider, Receive } from "./port.ts";

/**
 * A port provider together with the memory its frames live in and the loop that moves them: what the process that runs a
 * datapath holds. Implementations: NativePorts (AF_PACKET and TAP) and MemoryPorts (in-process, for tests).
 */
export interface PortDriver extends PortProvider {
  readonly memory: PacketMemory;
  /**
   * Starts to hand received frames over. `receive` gets each frame by the same reused Packet, `endBatch` runs after
   * everything that the batch queued has been sent: scratch memory may be reset there.
   */
  start(receive: Receive, endBatch: () => void, events?: PortEvents): void;
  /** Closes all ports and frees all resources. */
  close(): void;
}

/** IFNAMSIZ of linux/if.h, with the terminating NUL. */
const IFNAMSIZ = 16;

/** True if the kernel would accept `name` for a net device: not empty, ".", "..", no slash, colon or white space. */
export function isDeviceName(name: string): boolean {
  return name !== "." && name !== ".." && /^[^\s/:\0]+$/u.test(name) && Buffer.byteLength(name, "utf8") < IFNAMSIZ;
}
