/**
 * Records between a client process and the server (docs/transport.md), over AF_UNIX SOCK_SEQPACKET. All fields are u32 in
 * host order unless a width is given. native/preload/wire.h has the same numbers; test/unit/native-numbers.test.ts compares.
 *
 * ```
 * hello    | magic | version u16, kind u16 | protocol | pid | reserved | reserved | receive length | flags |  32 bytes
 * request  | op | socket id low | socket id high | a | b | processor | payload …                                  24 bytes +
 * answer   | errno | flags | a | b | payload …                                                                    16 bytes +
 * ```
 */

import { join } from "node:path";

/** "NKM1" */
export const TRANSPORT_MAGIC = 0x314d4b4e;
export const TRANSPORT_VERSION = 1;
export const HELLO_BYTES = 32;
export const REQUEST_BYTES = 24;
export const ANSWER_BYTES = 16;

/** Byte offsets of a hello's fields. */
export const enum HelloAt {
  Magic = 0,
  /** u16 */
  Version = 4,
  /** u16, a ChannelKind */
  Kind = 6,
  Protocol = 8,
  Pid = 12,
  ReceiveLength = 24,
  Flags = 28,
}

/** Byte offsets of a request's fields. */
export const enum RequestAt {
  Op = 0,
  IdLow = 4,
  IdHigh = 8,
  A = 12,
  B = 16,
  Processor = 20,
}

/** Byte offsets of an answer's fields. */
export const enum AnswerAt {
  Error = 0,
  Flags = 4,
  A = 8,
  B = 12,
}

/** Flag of a hello: the connection is for the network namespace of the client, not for the server's. */
export const HELLO_OWN_NAMESPACE = 1;
/** Flag of a control channel's hello: the answer may come with a descriptor of shared memory for posting requests. */
export const HELLO_MAILBOX = 2;
/** Flag of a hello: a NETLINK_ROUTE socket comes with it (SCM_RIGHTS), as proof of the sender's capabilities (docs/transport.md, Credentials). */
export const HELLO_PROOF = 4;
/** Flag of a data channel's hello: it brings the client's own end, by which Find will know it. */
export const HELLO_SELF = 8;

/** Argument b of TransportOp.Send: the sender acts for a process without CAP_NET_ADMIN. */
export const SEND_UNPRIVILEGED = 1;

/** What a connection is for, by its hello. */
export const enum ChannelKind {
  /** Requests and their answers, one at a time, about any number of sockets. */
  Control = 0,
  /** One netlink socket: after the answer to the hello, the server writes datagrams and reads nothing. */
  Data = 1,
}

export const enum TransportOp {
  /**
   * Payload: one netlink datagram; a: largest buffer that the socket receives with, 0 = as before; b: 0 or
   * SEND_UNPRIVILEGED. Answered once every message in it has been executed.
   */
  Send = 1,
  /** The reader has found its queue empty during a dump. a: largest buffer that it receives with, 0 = as before. */
  More = 2,
  /** bind(). a: wanted port id, 0 = any; b: nl_groups. Answer a: the port id. */
  Bind = 3,
  /** NETLINK_ADD_MEMBERSHIP of group a. */
  Join = 4,
  /** NETLINK_DROP_MEMBERSHIP of group a. */
  Leave = 5,
  /** Any other SOL_NETLINK option: a = option, b = value. */
  Option = 6,
  /** SO_RCVBUF, or with b = 1 SO_RCVBUFFORCE, of a bytes. Answer a: the value that getsockopt() returns. */
  ReceiveBuffer = 7,
  /**
   * Finds the socket of a data channel whose client's end the request brings (SCM_RIGHTS), for the same user with the same
   * privilege. Answer a, b: its socket id.
   */
  Find = 8,
  /** Answer a: the port id (0 = unbound), b: the protocol. */
  Describe = 9,
  /**
   * Makes a tunnel device. Payload: the RTM_NEWLINK that a program would send the kernel. EOPNOTSUPP: no device of nokmod, the
   * kernel is to get it. Socket id: 0.
   */
  NewLink = 10,
  /**
   * Describes devices for rtnetlink messages. Payload: u32 ifindexes. Answer payload, one record for each that is a
   * port or a tunnel: u32 ifindex, u32 ifindex of its master (0: none), u32 length, and as many bytes that replace the payload
   * of its IFLA_LINKINFO, padded to 4 (length 0: the kernel's stays). Socket id: 0.
   */
  Links = 11,
  /** The next receive fails with ENOBUFS: the socket's last server has died, and messages may have been lost. */
  Overrun = 12,
}

/** Answer flag: a dump is under way; an empty queue is not its end, More continues it. */
export const ANSWER_DUMPING = 1;

/**
 * A packet of this length on a data channel is no datagram but a u32: the errno that the next recv must fail with, once
 * (ENOBUFS, messages were lost). No netlink message is shorter than 16 bytes.
 */
export const MARKER_BYTES = 4;

/** The largest request that a server takes, header included. */
export const REQUEST_MAX = 1 << 20;

/**
 * Path on which the server listens by default: $NOKMOD_SOCKET, /run/nokmod/nokmod.sock for root, else
 * $XDG_RUNTIME_DIR/nokmod.sock, else a name of the user's own in /tmp.
 */
export function defaultSocketPath(env: NodeJS.ProcessEnv = process.env, uid = process.getuid?.() ?? 0): string {
  if (env.NOKMOD_SOCKET) return env.NOKMOD_SOCKET;
  if (uid === 0) return "/run/nokmod/nokmod.sock";
  if (env.XDG_RUNTIME_DIR) return join(env.XDG_RUNTIME_DIR, "nokmod.sock");
  return `/tmp/nokmod-${uid}/nokmod.sock`;
}
