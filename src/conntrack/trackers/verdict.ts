/** A tracker's decision on a packet. */
export const enum Verdict {
  /** Not part of the connection: the packet goes on as invalid (spec/conntrack C-251). */
  INVALID = 0,
  ACCEPT = 1,
  /**
   * The entry was closed and the packet opens a new one: it is to be deleted and looked up again
   * (spec/conntrack C-252).
   */
  REPEAT = 2,
  /** The entry is to be deleted, the packet still belongs to it (spec/conntrack C-302). */
  KILL = 3,
  /** Accepted, and the timeout is not to be touched (spec/conntrack C-284, C-304). */
  IGNORE = 4,
}

/** Results of a tracker beside its verdict; one object, reused for each packet. */
export class Tracked {
  /** Timeout in milliseconds that the entry gets with Verdict.ACCEPT. */
  timeout = 0;
  /** Events (1 << IPCT_*) to cache. */
  events = 0;
}
