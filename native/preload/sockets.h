// The netlink sockets of this process: which descriptors stand for which socket, and what the program set on it.
#ifndef NOKMOD_PRELOAD_SOCKETS_H
#define NOKMOD_PRELOAD_SOCKETS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/time.h>
#include <sys/uio.h>

#include "channel.h"
#include "routing.h"

/// One netlink socket (an open file description). Kept for reuse when its last descriptor is closed and never freed, so
/// that a thread that still looks at it reads no foreign memory.
struct netlink_socket {
  struct netlink_socket *next_free;
  struct id id;
  int protocol, type;
  unsigned descriptors;
  /// Number of channels that this socket has had so far.
  atomic_uint epoch;
  atomic_uint port;
  /// A dump is in progress, as the server's last answer says.
  atomic_bool dumping;
  /// Something was sent to the server: this socket cannot become the kernel's any more.
  atomic_bool settled;
  /// Largest buffer that a receive was called with.
  atomic_uint receive_length;
  uint32_t destination;
  uint32_t groups[GROUP_WORDS];
  uint32_t options_set;
  int options[OPTIONS];
  int receive_buffer, receive_buffer_reported;
  bool receive_buffer_forced;
  /// No server: the descriptors refer to an idle file, which becomes readable when a server may have started.
  atomic_bool disconnected;
  /// Messages may have been lost: the next server reports ENOBUFS.
  bool overrun;
  /// SO_RCVTIMEO, for waits while it is disconnected.
  struct timeval timeout;
};

/// The socket that a descriptor refers to, or NULL.
struct netlink_socket *sockets_get(int fd);
/// socket(AF_NETLINK, type, protocol) on the server: a descriptor or a negative errno.
int sockets_open(int type, int protocol);
/// A request about a socket: 0 or an errno. A server that was started anew gets its sockets back.
int sockets_request(struct netlink_socket *socket, enum op op, uint32_t a, uint32_t b, const struct iovec *payload,
                    size_t count, struct answer *answer);
/// Binds it to a port id if it is not yet: 0 or an errno.
int sockets_autobind(struct netlink_socket *socket);
/// Reconnects a socket whose channel of that epoch was closed: true if it has a new one.
bool sockets_reconnect(struct netlink_socket *socket, unsigned epoch);
/// Waits until a disconnected socket is connected: 0; EAGAIN if it does not block, or after SO_RCVTIMEO.
int sockets_wait(int fd, struct netlink_socket *socket, bool block);
/// Puts a socket of the kernel in its place: 0 or an errno. The descriptors stay.
int sockets_give_to_kernel(struct netlink_socket *socket);

/// Registers a received or inherited descriptor if it is a channel of nokmod.
void sockets_adopt(int fd);

/// True for a NETLINK_ROUTE socket.
bool fds_route(int fd);
void fds_add_route(int fd);
/// epoll_ctl() was done: a channel that takes another one's place takes its place in the epoll instance too.
void fds_polled(int epoll, int operation, int fd, const struct epoll_event *event);

/// True for a descriptor that the program does not know of.
bool fds_hidden(int fd);
bool fds_hide(int fd, const void *owner);
bool fds_is_hidden(int fd, const void *owner);
/// True if it was hidden by that owner.
bool fds_unhide(int fd, const void *owner);
/// `copy` now stands for whatever `fd` stands for.
void fds_copied(int fd, int copy);
/// About to be closed.
void fds_forget(int fd);
/// One more than the highest descriptor that fds_hidden() or sockets_get() know.
int fds_end(void);

#endif
