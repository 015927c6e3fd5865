import type { NetlinkBus } from "./bus.ts";

/** The links of a network namespace as programs are to see them (TransportOp.NewLink and Links). */
export interface LinkHost {
  /**
   * Makes the device that an RTM_NEWLINK asks for.
   * @throws Errno EOPNOTSUPP when that is the kernel's business; EEXIST, EINVAL, …
   */
  create(message: Uint8Array): void;
  /** @returns the records of TransportOp.Links for those of the devices that there is something to tell of */
  describe(ifindexes: Uint32Array): Uint8Array;
}

/** What a server offers to the programs of one network namespace. */
export interface NetlinkHost {
  readonly bus: NetlinkBus;
  readonly links?: LinkHost;
  /** Runs what handles a request, where that must be done somewhere else: inside the namespace. */
  run?(action: () => void): void;
  /** A connection that had asked for this host has gone. */
  release?(): void;
}
