// Connections to the server, and requests on them (docs/transport.md). No function here calls an interposed symbol or is a
// cancellation point.
#ifndef NOKMOD_PRELOAD_CHANNEL_H
#define NOKMOD_PRELOAD_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "wire.h"

#ifdef __cplusplus
extern "C" {
#endif

/// 64 random bits that the server gave a socket.
struct id {
  uint32_t low, high;
};

/// Opens a data channel for the process that knows itself as `pid`; `flags` may hold SOCK_CLOEXEC. The descriptor, or a
/// negative errno: -ECONNREFUSED or -ENOENT when no server listens, -ENAMETOOLONG when its path fits no address.
int channel_open(int protocol, int flags, uint32_t pid, uint32_t receive_length, struct id *id);

/// Whether the descriptor is a data channel to the server's path.
bool channel_is_nokmods(int fd);
/// The id of the socket that a data channel is. As channel_request(); the server gives it to the user who opened the socket,
/// with the same privilege, and to nobody else.
int channel_find(int fd, struct answer *answer);

/// One request on the calling thread's control channel. 0 when it was answered (answer->error may hold an errno), or a
/// negative errno when there is no server.
int channel_request(enum op op, struct id id, uint32_t a, uint32_t b, const struct iovec *payload, size_t count,
                    struct answer *answer);

/// A request that is about the network namespace of a socket, and no netlink socket of the server's. The answer's payload
/// goes to `reply`, of *length bytes; *length becomes the payload's. As channel_request(); -EOPNOTSUPP when the calling
/// thread is in another namespace than the socket.
int channel_ask(enum op op, int fd, const void *payload, size_t size, struct answer *answer, void *reply, size_t *length);

/// Whether a server listens.
bool channel_served(void);

/// A descriptor that becomes readable when a server may have come to the path, or a negative errno.
int channel_watch(void);

/// Moves a descriptor out of the program's way, closed on exec.
int channel_hide(int fd);

#ifdef __cplusplus
}
#endif

#endif
