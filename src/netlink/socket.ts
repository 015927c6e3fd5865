/**
 * A netlink socket of user space, with one of two transports: the in-process pair (src/netlink/pair.ts) or
 * AF_UNIX SOCK_SEQPACKET to another process (src/client/seqpacket.ts). The bytes are the same.
 */
export interface NetlinkSocket {
  /** NETLINK_GENERIC (16) or NETLINK_NETFILTER (12). */
  readonly protocol: number;
  /** nl_pid, assigned when the socket was opened. */
  readonly portId: number;
  /**
   * Sends one datagram of one or more messages. Synchronous as in the kernel: when it returns, every request in it has
   * been executed and all replies are in the receive queue.
   */
  send(datagram: Uint8Array): void;
  /**
   * The next datagram, or null when the queue is empty (EAGAIN). A dump never runs dry before its NLMSG_DONE.
   * @throws Errno ENOBUFS, once, after messages were lost because the receive buffer was full
   */
  receive(): Uint8Array | null;
  /** Called when a datagram arrives that was not there before. */
  onReadable: (() => void) | null;
  /** NETLINK_ADD_MEMBERSHIP, NETLINK_DROP_MEMBERSHIP. */
  join(group: number): void;
  leave(group: number): void;
  /** NETLINK_EXT_ACK, NETLINK_CAP_ACK, NETLINK_NO_ENOBUFS of linux/netlink.h. */
  setOption(option: number, on: boolean): void;
  /** SO_RCVBUF in bytes of payload. */
  setReceiveBuffer(bytes: number): void;
  close(): void;
}
