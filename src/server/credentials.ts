import { readFileSync, readlinkSync } from "node:fs";

/** Bit of CapEff (linux/capability.h). */
const CAP_NET_ADMIN = 12;

/**
 * Whether a process may change the datapath: CAP_NET_ADMIN in the user namespace that we run in (spec/families F-027 to
 * F-029). A process that we cannot look at may not.
 * @param pid as SO_PEERCRED tells it: 0 for one outside our pid namespace
 */
export function hasNetAdmin(pid: number): boolean {
  if (pid <= 0) return false;
  try {
    const status = readFileSync(`/proc/${pid}/status`, "latin1");
    const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1];
    if (effective === undefined) return false;
    const low = Number.parseInt(effective.slice(-8), 16);
    if (((low >>> CAP_NET_ADMIN) & 1) === 0) return false;
    return readlinkSync(`/proc/${pid}/ns/user`) === readlinkSync("/proc/self/ns/user");
  } catch {
    return false;
  }
}
