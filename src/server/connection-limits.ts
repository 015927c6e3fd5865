import { readFileSync } from "node:fs";

/** Bounds of ConnectionLimits, in connections. */
export interface ConnectionLimitOptions {
  /** Of one user. */
  readonly perUser: number;
  /** Of all users together. */
  readonly total: number;
}

/** Count of a connection for a network namespace other than the server's, which takes descriptors and memory. */
export const NAMESPACE_COST = 32;

/** Share of this process's descriptors that one user may hold, and that all of them may hold together. */
const USER_SHARE = 16;
const TOTAL_SHARE = 4;
const USER_MIN = 64;
const USER_MAX = 1024;

/** Bounds that leave most of the descriptors that this process may open (RLIMIT_NOFILE) to clients with CAP_NET_ADMIN. */
export function defaultLimits(descriptors: number = descriptorLimit()): ConnectionLimitOptions {
  const perUser = Math.min(USER_MAX, Math.max(USER_MIN, Math.floor(descriptors / USER_SHARE)));
  return { perUser, total: Math.max(perUser, Math.floor(descriptors / TOTAL_SHARE)) };
}

/** Soft RLIMIT_NOFILE of this process. */
function descriptorLimit(): number {
  const [, soft] = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8")) ?? [];
  return soft === undefined ? USER_MIN * USER_SHARE : Number(soft);
}

/**
 * Connections that clients without CAP_NET_ADMIN hold, by user id. A connection that is over a bound is to be refused, so
 * that nobody takes the descriptors that others' connections need.
 */
export class ConnectionLimits {
  private readonly users = new Map<number, number>();
  private total = 0;

  constructor(private readonly options: ConnectionLimitOptions) {}

  /** What is counted for a user. */
  countOf(uid: number): number {
    return this.users.get(uid) ?? 0;
  }

  /** Counts a connection. @returns false where a bound is exceeded; it is counted even so, until remove() */
  add(uid: number, cost = 1): boolean {
    const count = this.countOf(uid) + cost;
    this.users.set(uid, count);
    this.total += cost;
    return count <= this.options.perUser && this.total <= this.options.total;
  }

  /** A connection that add() counted has ended. */
  remove(uid: number, cost = 1): void {
    const count = this.countOf(uid) - cost;
    if (count > 0) this.users.set(uid, count);
    else this.users.delete(uid);
    this.total -= cost;
  }

  /** Whether twice the bound is exceeded: connections are then closed at once, without an answer to their hello. */
  isFlooding(uid: number): boolean {
    return this.countOf(uid) > 2 * this.options.perUser || this.total > 2 * this.options.total;
  }
}
