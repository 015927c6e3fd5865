import { Errno } from "../core/errors.ts";
import { ENOPROTOOPT, EPERM } from "../uapi/errno.ts";
import {
  NETLINK_BROADCAST_ERROR,
  NETLINK_CAP_ACK,
  NETLINK_EXT_ACK,
  NETLINK_GET_STRICT_CHK,
  NETLINK_LISTEN_ALL_NSID,
  NETLINK_NO_ENOBUFS,
  NETLINK_PKTINFO,
} from "../uapi/netlink.ts";

/** Where a socket's datagrams go: a receive queue, or the other end of a transport. */
export interface NetlinkSink {
  /**
   * Takes a datagram. The bytes are valid during the call only.
   * @returns false when the receive buffer is full: the datagram is lost and the bus counts it
   */
  deliver(datagram: Uint8Array): boolean;
  /** Datagrams were lost: the reader's next receive must fail once with this errno (ENOBUFS). */
  overrun(errno: number): void;
}

/** Sender of the datagram that a socket is handling, or caller of the function. */
export interface NetlinkSender {
  /** Has CAP_NET_ADMIN now. Read only where the kernel checks it, since reading may make a system call. */
  readonly privileged: boolean;
}

/** How a socket is opened. */
export interface BusSocketOptions {
  readonly sink: NetlinkSink;
  /** CAP_NET_ADMIN in the user namespace that owns the network namespace (spec/families F-027 to F-029). */
  readonly privileged: boolean;
  /** Default: this process, privileged. */
  readonly sender?: NetlinkSender;
  /** Wanted nl_pid; 0 or absent: assigned. */
  readonly portId?: number;
  /** Process id of the owner: the port id that automatic assignment tries first. */
  readonly pid?: number;
}

/** The flags of SOL_NETLINK that a socket keeps. */
const FLAG_OPTIONS: ReadonlySet<number> = new Set([
  NETLINK_EXT_ACK,
  NETLINK_CAP_ACK,
  NETLINK_NO_ENOBUFS,
  NETLINK_BROADCAST_ERROR,
  NETLINK_PKTINFO,
  NETLINK_GET_STRICT_CHK,
  NETLINK_LISTEN_ALL_NSID,
]);

/**
 * Refuses what setsockopt(SOL_NETLINK) refuses whatever the socket's state: so an option can be checked before the socket is
 * bound.
 * @param privileged the caller has CAP_NET_ADMIN
 * @throws Errno ENOPROTOOPT for an option that is no flag; EPERM
 */
export function checkFlagOption(option: number, privileged: boolean): void {
  if (!FLAG_OPTIONS.has(option)) throw new Errno(ENOPROTOOPT);
  if (option === NETLINK_LISTEN_ALL_NSID && !privileged) throw new Errno(EPERM);
}
