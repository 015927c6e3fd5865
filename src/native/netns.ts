import { NokmodError, systemErrorCode } from "../core/errors.ts";
import { native } from "./addon.ts";

/** native/src/netns.cc */
interface NetnsAddon {
  withNetns<T>(path: string, callback: () => T): T;
  netnsInode(path?: string): number;
}

/** Path of a namespace: as it is if it has a slash, of a process if it is a number, else a name of ip-netns(8). @internal */
export function netnsPath(namespace: string | number): string {
  if (typeof namespace === "number") return `/proc/${namespace}/ns/net`;
  return namespace.includes("/") ? namespace : `/run/netns/${namespace}`;
}

/**
 * Runs `callback` inside a network namespace: devices and sockets that it opens belong there, and so do the processes that
 * it starts. This thread is back where it was when the call ends, also by an exception.
 * @param callback must be synchronous: while it waits, all else on this thread would run inside too
 * @throws NokmodError ERR_NETNS when the namespace cannot be entered; ERR_NETNS_ASYNC for an asynchronous callback
 */
export function withNetns<T>(namespace: string | number, callback: () => T): T {
  const path = netnsPath(namespace);
  let entered = false;
  let result: T;
  try {
    result = native<NetnsAddon>().withNetns(path, () => {
      entered = true;
      return callback();
    });
  } catch (cause) {
    // Only errors of open(2) and setns(2) say that the namespace cannot be entered.
    if (entered || systemErrorCode(cause) === undefined) throw cause;
    throw new NokmodError("ERR_NETNS", `cannot enter the network namespace ${path}: ${(cause as Error).message}`, {
      cause,
    });
  }
  if (result instanceof Promise) {
    throw new NokmodError("ERR_NETNS_ASYNC", "what runs inside a network namespace must not be asynchronous");
  }
  return result;
}

/** Inode number of a namespace, its identity; of this thread's when left out. @throws NokmodError ERR_NETNS */
export function netnsInode(namespace?: string | number): number {
  try {
    return native<NetnsAddon>().netnsInode(namespace === undefined ? undefined : netnsPath(namespace));
  } catch (cause) {
    // An error of stat(2); any other is the addon's that could not be loaded, or a fault.
    if (systemErrorCode(cause) === undefined) throw cause;
    throw new NokmodError("ERR_NETNS", (cause as Error).message, { cause });
  }
}
