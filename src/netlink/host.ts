import type { NetlinkBus } from "./bus.ts";

/** Devices of nokmod in a network namespace, which programs see among the kernel's (TransportOp.NewLink and Links). */
export interface LinkHost {
  /**
   * Creates the device of an RTM_NEWLINK request.
   * @throws Errno EOPNOTSUPP when the kernel is to create it; EEXIST, EINVAL, …
   */
  create(message: Uint8Array): void;
  /** Describes devices. @returns one record of TransportOp.Links for each of them that is a port or a tunnel device */
  describe(ifindexes: Uint32Array): Uint8Array;
}

/** The netlink bus and the links of one network namespace, which a server serves. */
export interface NetlinkHost {
  readonly bus: NetlinkBus;
  readonly links?: LinkHost;
  /** Runs the handler of a request inside the namespace; absent where the server's thread is in it already. */
  run?<T>(action: () => T): T;
  /** Releases the host: called once for each connection that used it. */
  release?(): void;
}
