// The records between a client and the server: docs/transport.md. src/netlink/transport.ts has the same numbers; a test
// compares them. Fields are in host byte order.
#ifndef NOKMOD_PRELOAD_WIRE_H
#define NOKMOD_PRELOAD_WIRE_H

#include <stdint.h>

enum { TRANSPORT_MAGIC = 0x314d4b4e, TRANSPORT_VERSION = 1 };

/// Kind of a connection: requests and answers, or the datagrams of one netlink socket.
enum channel_kind { CHANNEL_CONTROL, CHANNEL_DATA };

enum {
  HELLO_BYTES = 32,
  REQUEST_BYTES = 24,
  ANSWER_BYTES = 16,
  /// A record of this length on a data channel is a u32 errno for the next receive, and no datagram.
  MARKER_BYTES = 4,
  /// The largest request, header included.
  REQUEST_MAX = 1 << 20,
};

/// Flags of a hello.
enum {
  /// The connection is about the network namespace that it was made in, not the server's.
  HELLO_OWN_NAMESPACE = 1,
  /// Of a control channel: the answer may bring a mailbox (mailbox.h).
  HELLO_MAILBOX = 2,
  /// It brings a socket that proves CAP_NET_ADMIN (proof.h).
  HELLO_PROOF = 4,
  /// Of a data channel: it brings, after the proof, the client's own end, by which OP_FIND finds the socket.
  HELLO_SELF = 8,
};

/// The first record of a connection.
struct hello {
  uint32_t magic;
  uint16_t version, kind;
  uint32_t protocol, pid, reserved[2], receive_length, flags;
};

enum op {
  OP_SEND = 1,
  OP_MORE,
  OP_BIND,
  OP_JOIN,
  OP_LEAVE,
  OP_OPTION,
  OP_RECEIVE_BUFFER,
  OP_FIND,
  OP_DESCRIBE,
  OP_NEW_LINK,
  OP_LINKS,
  OP_OVERRUN,
  OP_END,  ///< one past the last
};

/// Argument b of OP_SEND: the sender acts for a process without CAP_NET_ADMIN.
enum { SEND_UNPRIVILEGED = 1 };

/// The header of a request. `processor`: number + 1 of the one that the sender runs on, 0 = not given.
struct request {
  uint32_t op, id_low, id_high, a, b, processor;
};

/// Flag of an answer: a dump is under way, and an empty queue is not its end.
enum { ANSWER_DUMPING = 1 };

struct answer {
  uint32_t error, flags, a, b;
};

#ifdef __cplusplus
static_assert(sizeof(hello) == HELLO_BYTES && sizeof(request) == REQUEST_BYTES && sizeof(answer) == ANSWER_BYTES, "no padding");
#else
_Static_assert(sizeof(struct hello) == HELLO_BYTES && sizeof(struct request) == REQUEST_BYTES &&
                   sizeof(struct answer) == ANSWER_BYTES, "no padding");
#endif

#endif
