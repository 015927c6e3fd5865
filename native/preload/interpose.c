// libnokmod-preload.so: the socket calls of the C library. A netlink socket of a protocol that nokmod serves is a data
// channel to its server (docs/transport.md); everything else goes to the next definition of the call.
//
// A data channel is the program's own descriptor: poll, epoll, select, O_NONBLOCK and timeouts are the kernel's.

#undef _FILE_OFFSET_BITS
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/netlink.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "channel.h"
#include "links.h"
#include "routing.h"
#include "sockets.h"
#include "user_memory.h"

#define EXPORT __attribute__((visibility("default")))
/// The definition of a call that we stand in front of.
#define NEXT(name)                                                        \
  ({                                                                      \
    static _Atomic(void *) address;                                       \
    void *found = atomic_load_explicit(&address, memory_order_relaxed);   \
    if (found == NULL) {                                                  \
      found = dlsym(RTLD_NEXT, #name);                                    \
      if (found == NULL) abort();                                         \
      atomic_store_explicit(&address, found, memory_order_relaxed);       \
    }                                                                     \
    (__typeof__(&name))found;                                             \
  })

// Not in the headers unless code is compiled with _FORTIFY_SOURCE.
ssize_t __recv_chk(int fd, void *buffer, size_t length, size_t room, int flags);
ssize_t __recvfrom_chk(int fd, void *buffer, size_t length, size_t room, int flags, __SOCKADDR_ARG address,
                       socklen_t *address_length);
ssize_t __read_chk(int fd, void *buffer, size_t length, size_t room);
void __chk_fail(void) __attribute__((noreturn));

/// 0 becomes 0, an errno becomes -1 with errno set.
static int result(int error) {
  if (error == 0) return 0;
  errno = error;
  return -1;
}

/// True for a descriptor of which we read and change nothing.
static bool is_kernels(int fd) { return sockets_get(fd) == NULL && !fds_route(fd); }

/// Whether the list of buffers is one that the kernel takes: 0, EMSGSIZE, EFAULT or EINVAL. The buffers are not looked at.
static int check_parts(const struct msghdr *message) {
  if (message->msg_iovlen > IOV_MAX) return EMSGSIZE;
  const int error = user_readable(message->msg_iov, message->msg_iovlen * sizeof *message->msg_iov);
  for (size_t i = 0; error == 0 && i < message->msg_iovlen; i++) {
    if ((ssize_t)message->msg_iov[i].iov_len < 0) return EINVAL;
  }
  return error;
}

/// A message to send: header, list and buffers.
static int check_outgoing(const struct msghdr *message) {
  int error = user_readable(message, sizeof *message);
  if (error == 0) error = check_parts(message);
  for (size_t i = 0; error == 0 && i < message->msg_iovlen; i++) {
    error = user_readable(message->msg_iov[i].iov_base, message->msg_iov[i].iov_len);
  }
  return error;
}

/// A message to receive into: header, list and the room for an address. The kernel looks at the buffers.
static int check_incoming(struct msghdr *message) {
  int error = user_readable(message, sizeof *message);
  if (error == 0) error = check_parts(message);
  if (error == 0) error = user_writable(message, sizeof *message);
  if (error == 0 && message->msg_name != NULL) {
    if ((int)message->msg_namelen < 0) return EINVAL;
    const size_t room = message->msg_namelen;
    error = user_writable(message->msg_name, room < sizeof(struct sockaddr_nl) ? room : sizeof(struct sockaddr_nl));
  }
  return error;
}

static size_t length_of(const struct iovec *parts, size_t count) {
  size_t length = 0;
  for (size_t i = 0; i < count; i++) length += parts[i].iov_len;
  return length;
}

// ---------------------------------------------------------------------------------------------- socket, bind, connect

EXPORT int socket(int domain, int type, int protocol) {
  if (is_emulated_socket(domain, type, protocol)) {
    const int fd = sockets_open(type, protocol);
    if (fd >= 0) return fd;
    if (fd == -EMFILE || fd == -ENFILE || fd == -ENAMETOOLONG) return result(-fd);
    // No server: as on a machine without the module.
  }
  const int fd = NEXT(socket)(domain, type, protocol);
  if (fd < 0) return fd;
  if (domain == AF_NETLINK && protocol == NETLINK_ROUTE) fds_add_route(fd);
  else fds_forget(fd); // The number was closed behind our back, as fclose() does.
  return fd;
}

static bool foreign_group(const struct netlink_socket *socket, unsigned group) {
  return group_is_foreign(socket->protocol, group) && !atomic_load(&socket->settled);
}

static int copy_address(__CONST_SOCKADDR_ARG from, socklen_t length, struct sockaddr_nl *to) {
  if (length > sizeof(struct sockaddr_storage)) return EINVAL;
  if (user_readable(from.__sockaddr__, length) != 0) return EFAULT;
  if (length < sizeof *to) return EINVAL;
  memcpy(to, from.__sockaddr__, sizeof *to);
  return to->nl_family == AF_NETLINK ? 0 : EINVAL;
}

EXPORT int bind(int fd, __CONST_SOCKADDR_ARG address, socklen_t length) {
  struct netlink_socket *socket = sockets_get(fd);
  if (socket == NULL) return NEXT(bind)(fd, address, length);
  struct sockaddr_nl wanted;
  int error = copy_address(address, length, &wanted);
  if (error != 0) return result(error);
  if (wanted.nl_groups >> LAST_CONNTRACK_GROUP != 0 && foreign_group(socket, 32)) {
    error = sockets_give_to_kernel(socket);
    return error != 0 ? result(error) : NEXT(bind)(fd, address, length);
  }
  struct answer answer;
  error = sockets_request(socket, OP_BIND, wanted.nl_pid, wanted.nl_groups, NULL, 0, &answer);
  if (error == 0) {
    atomic_store(&socket->port, answer.a);
    socket->groups[0] |= wanted.nl_groups;
  }
  return result(error);
}

EXPORT int connect(int fd, __CONST_SOCKADDR_ARG address, socklen_t length) {
  struct netlink_socket *socket = sockets_get(fd);
  if (socket == NULL) return NEXT(connect)(fd, address, length);
  if (length < sizeof(sa_family_t) || length > sizeof(struct sockaddr_storage)) return result(EINVAL);
  if (user_readable(address.__sockaddr__, length) != 0) return result(EFAULT);
  if (address.__sockaddr__->sa_family == AF_UNSPEC) {
    socket->destination = 0;
    return 0;
  }
  struct sockaddr_nl destination;
  int error = copy_address(address, length, &destination);
  if (error == 0) error = sockets_autobind(socket);
  if (error == 0) socket->destination = destination.nl_pid;
  return result(error);
}

/// As the kernel hands addresses out: as much as there is room for, and the true length.
static void put_address(const struct sockaddr_nl *address, void *to, socklen_t *length) {
  memcpy(to, address, *length < sizeof *address ? *length : sizeof *address);
  *length = sizeof *address;
}

/// put_address() for the arguments of a call.
static int give_address(const struct sockaddr_nl *address, void *to, socklen_t *length) {
  if (user_writable(length, sizeof *length) != 0) return result(EFAULT);
  if ((int)*length < 0) return result(EINVAL);
  if (user_writable(to, *length < sizeof *address ? *length : sizeof *address) != 0) return result(EFAULT);
  put_address(address, to, length);
  return 0;
}

EXPORT int getsockname(int fd, __SOCKADDR_ARG address, socklen_t *length) {
  const struct netlink_socket *socket = sockets_get(fd);
  if (socket == NULL) return NEXT(getsockname)(fd, address, length);
  const struct sockaddr_nl name = {
      .nl_family = AF_NETLINK, .nl_pid = atomic_load(&socket->port), .nl_groups = socket->groups[0]};
  return give_address(&name, address.__sockaddr__, length);
}

EXPORT int getpeername(int fd, __SOCKADDR_ARG address, socklen_t *length) {
  const struct netlink_socket *socket = sockets_get(fd);
  if (socket == NULL) return NEXT(getpeername)(fd, address, length);
  const struct sockaddr_nl name = {.nl_family = AF_NETLINK, .nl_pid = socket->destination};
  return give_address(&name, address.__sockaddr__, length);
}

EXPORT int listen(int fd, int backlog) {
  return sockets_get(fd) == NULL ? NEXT(listen)(fd, backlog) : result(EOPNOTSUPP);
}

EXPORT int shutdown(int fd, int how) {
  return sockets_get(fd) == NULL ? NEXT(shutdown)(fd, how) : result(EOPNOTSUPP);
}

// ------------------------------------------------------------------------------------------------------------- options

/// NETLINK_ADD_MEMBERSHIP and NETLINK_DROP_MEMBERSHIP. *foreign tells that the socket became the kernel's.
static int membership(struct netlink_socket *socket, bool join, unsigned group, bool *foreign) {
  if (group == 0) return EINVAL;
  *foreign = foreign_group(socket, group);
  if (*foreign) return sockets_give_to_kernel(socket);
  struct answer answer;
  int error = sockets_autobind(socket);
  if (error == 0) error = sockets_request(socket, join ? OP_JOIN : OP_LEAVE, group, 0, NULL, 0, &answer);
  if (error == 0 && group <= 32 * GROUP_WORDS) {
    uint32_t *word = &socket->groups[(group - 1) / 32];
    const uint32_t bit = 1u << (group - 1) % 32;
    *word = join ? *word | bit : *word & ~bit;
  }
  return error;
}

EXPORT int setsockopt(int fd, int level, int name, const void *value, socklen_t length) {
  struct netlink_socket *socket = sockets_get(fd);
  const bool buffer = level == SOL_SOCKET && (name == SO_RCVBUF || name == SO_RCVBUFFORCE);
  if (socket == NULL || (level != SOL_NETLINK && !buffer)) return NEXT(setsockopt)(fd, level, name, value, length);
  int number = 0;
  struct answer answer;
  if (length >= sizeof number && user_readable(value, sizeof number) != 0) return result(EFAULT);
  if (buffer) {
    if (length < sizeof number) return result(EINVAL);
    memcpy(&number, value, sizeof number);
    const bool force = name == SO_RCVBUFFORCE;
    const int error = sockets_request(socket, OP_RECEIVE_BUFFER, (uint32_t)number, force, NULL, 0, &answer);
    if (error == 0) {
      socket->receive_buffer = number;
      socket->receive_buffer_forced = force;
      socket->receive_buffer_reported = (int)answer.a;
    }
    return result(error);
  }
  if (length >= sizeof number) memcpy(&number, value, sizeof number);
  if (name == NETLINK_ADD_MEMBERSHIP || name == NETLINK_DROP_MEMBERSHIP) {
    bool foreign;
    const int error = membership(socket, name == NETLINK_ADD_MEMBERSHIP, (unsigned)number, &foreign);
    return foreign && error == 0 ? NEXT(setsockopt)(fd, level, name, value, length) : result(error);
  }
  const int error = sockets_request(socket, OP_OPTION, (uint32_t)name, (uint32_t)number, NULL, 0, &answer);
  if (error == 0 && name >= 0 && name < OPTIONS) {
    socket->options_set |= 1u << name;
    socket->options[name] = number;
  }
  return result(error);
}

static int put_int(int number, void *value, socklen_t *length) {
  if ((int)*length < 0) return result(EINVAL);
  const socklen_t room = *length < sizeof number ? *length : sizeof number;
  if (user_writable(length, sizeof *length) != 0 || user_writable(value, room) != 0) return result(EFAULT);
  *length = room;
  memcpy(value, &number, *length);
  return 0;
}

/// A bitmap of u32 words, none where no group was ever joined; *length becomes the size of the whole bitmap.
static int list_memberships(const struct netlink_socket *socket, void *value, socklen_t *length) {
  socklen_t words = GROUP_WORDS;
  while (words > 0 && socket->groups[words - 1] == 0) words--;
  const socklen_t bytes = words * (socklen_t)sizeof(uint32_t);
  if (user_writable(length, sizeof *length) != 0 || user_writable(value, *length < bytes ? *length : bytes) != 0) {
    return result(EFAULT);
  }
  memcpy(value, socket->groups, *length < bytes ? *length / sizeof(uint32_t) * sizeof(uint32_t) : bytes);
  *length = bytes;
  return 0;
}

EXPORT int getsockopt(int fd, int level, int name, void *value, socklen_t *length) {
  const struct netlink_socket *socket = sockets_get(fd);
  if (socket != NULL && user_readable(length, sizeof *length) != 0) return result(EFAULT);
  if (socket != NULL && level == SOL_SOCKET) {
    if (name == SO_DOMAIN) return put_int(AF_NETLINK, value, length);
    if (name == SO_PROTOCOL) return put_int(socket->protocol, value, length);
    if (name == SO_TYPE) return put_int(socket->type, value, length);
    if (name == SO_RCVBUF && socket->receive_buffer_reported != 0) {
      return put_int(socket->receive_buffer_reported, value, length);
    }
  } else if (socket != NULL && level == SOL_NETLINK) {
    if (name == NETLINK_LIST_MEMBERSHIPS) return list_memberships(socket, value, length);
    if (name < NETLINK_PKTINFO || name >= OPTIONS || name == NETLINK_RX_RING || name == NETLINK_TX_RING) {
      return result(ENOPROTOOPT);
    }
    if (*length < sizeof(int)) return result(EINVAL);
    return put_int(socket->options[name] != 0, value, length);
  }
  return NEXT(getsockopt)(fd, level, name, value, length);
}

// ---------------------------------------------------------------------------------------------------------------- send

/// A socket's first message tells whom it is for.
static bool is_foreign(const struct netlink_socket *socket, const struct iovec *parts, size_t count) {
  _Alignas(struct nlmsghdr) char bytes[ROUTED_BYTES];
  size_t length = 0;
  for (size_t i = 0; i < count && length < sizeof bytes; i++) {
    const size_t room = sizeof bytes - length;
    const size_t take = parts[i].iov_len < room ? parts[i].iov_len : room;
    if (take != 0) memcpy(bytes + length, parts[i].iov_base, take);
    length += take;
  }
  return message_is_foreign(socket->protocol, bytes, length);
}

/// *foreign tells that the socket became the kernel's: the call is to be made again, there.
static ssize_t transmit(int fd, struct netlink_socket *socket, const struct msghdr *message, int flags, bool *foreign) {
  *foreign = false;
  if ((flags & MSG_OOB) != 0) return result(EOPNOTSUPP);
  const int fault = check_outgoing(message);
  if (fault != 0) return result(fault);
  uint32_t destination = socket->destination;
  if (message->msg_name != NULL && message->msg_namelen != 0) {
    struct sockaddr_nl address;
    const __CONST_SOCKADDR_ARG name = {message->msg_name};
    const int error = copy_address(name, message->msg_namelen, &address);
    if (error != 0) return result(error);
    destination = address.nl_pid;
  }
  const size_t length = length_of(message->msg_iov, message->msg_iovlen);
  if (length > 65536) {
    int room = 0;
    socklen_t size = sizeof room;
    NEXT(getsockopt)(fd, SOL_SOCKET, SO_SNDBUF, &room, &size);
    if (length + 32 > (size_t)room || length > REQUEST_MAX - REQUEST_BYTES) return result(EMSGSIZE);
  }
  if (!atomic_load_explicit(&socket->settled, memory_order_relaxed)) {
    if (is_foreign(socket, message->msg_iov, message->msg_iovlen)) {
      *foreign = true;
      return result(sockets_give_to_kernel(socket));
    }
    atomic_store(&socket->settled, true);
  }
  int error = sockets_autobind(socket);
  if (error != 0) return result(error);
  if (destination != 0) return result(ECONNREFUSED); // Only the kernel listens here.
  struct answer answer;
  const unsigned room = atomic_load_explicit(&socket->receive_length, memory_order_relaxed);
  error = sockets_request(socket, OP_SEND, room, 0, message->msg_iov, message->msg_iovlen, &answer);
  return error == 0 ? (ssize_t)length : result(error);
}

/// To a NETLINK_ROUTE socket of the kernel.
static ssize_t transmit_route(int fd, const struct msghdr *message, int flags) {
  // Tunnel devices are made by short messages; what is longer is something else.
  char bytes[4096], changed[4096];
  const int fault = check_outgoing(message);
  if (fault != 0) return result(fault);
  const size_t length = length_of(message->msg_iov, message->msg_iovlen);
  if (length > sizeof bytes) return NEXT(sendmsg)(fd, message, flags);
  size_t at = 0, changed_length = 0;
  for (size_t i = 0; i < message->msg_iovlen; i++) {
    if (message->msg_iov[i].iov_len != 0) memcpy(bytes + at, message->msg_iov[i].iov_base, message->msg_iov[i].iov_len);
    at += message->msg_iov[i].iov_len;
  }
  if (!links_outgoing(fd, bytes, length, changed, &changed_length)) return NEXT(sendmsg)(fd, message, flags);
  struct msghdr copy = *message;
  struct iovec part = {changed, changed_length};
  copy.msg_iov = &part;
  copy.msg_iovlen = 1;
  return NEXT(sendmsg)(fd, &copy, flags) < 0 ? -1 : (ssize_t)length;
}

EXPORT ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
  struct netlink_socket *socket = sockets_get(fd);
  if (socket == NULL && fds_route(fd)) return transmit_route(fd, message, flags);
  if (socket != NULL) {
    bool foreign;
    const ssize_t sent = transmit(fd, socket, message, flags, &foreign);
    if (!foreign || sent < 0) return sent;
  }
  return NEXT(sendmsg)(fd, message, flags);
}

EXPORT ssize_t sendto(int fd, const void *bytes, size_t length, int flags, __CONST_SOCKADDR_ARG address,
                      socklen_t address_length) {
  if (is_kernels(fd)) return NEXT(sendto)(fd, bytes, length, flags, address, address_length);
  struct iovec part = {(void *)bytes, length};
  const struct msghdr message = {
      .msg_name = (void *)address.__sockaddr__, .msg_namelen = address_length, .msg_iov = &part, .msg_iovlen = 1};
  return sendmsg(fd, &message, flags);
}

EXPORT ssize_t send(int fd, const void *bytes, size_t length, int flags) {
  if (is_kernels(fd)) return NEXT(send)(fd, bytes, length, flags);
  struct iovec part = {(void *)bytes, length};
  const struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  return sendmsg(fd, &message, flags);
}

EXPORT ssize_t write(int fd, const void *bytes, size_t length) {
  return is_kernels(fd) ? NEXT(write)(fd, bytes, length) : send(fd, bytes, length, 0);
}

EXPORT ssize_t writev(int fd, const struct iovec *parts, int count) {
  if (is_kernels(fd)) return NEXT(writev)(fd, parts, count);
  if (count < 0 || count > IOV_MAX) return result(EINVAL);
  const struct msghdr message = {.msg_iov = (struct iovec *)parts, .msg_iovlen = (size_t)count};
  return sendmsg(fd, &message, 0);
}

EXPORT int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags) {
  if (is_kernels(fd)) return NEXT(sendmmsg)(fd, messages, count, flags);
  for (unsigned i = 0; i < count; i++) {
    if (user_writable(&messages[i], sizeof messages[i]) != 0) return i != 0 ? (int)i : result(EFAULT);
    const ssize_t sent = sendmsg(fd, &messages[i].msg_hdr, flags);
    if (sent < 0) return i != 0 ? (int)i : -1;
    messages[i].msg_len = (unsigned)sent;
  }
  return (int)count;
}

// ------------------------------------------------------------------------------------------------------------- receive

/// Copies a datagram into a program's buffers. How much of it there was room for.
static size_t scatter(const char *bytes, size_t length, const struct msghdr *message) {
  size_t at = 0;
  for (size_t i = 0; i < message->msg_iovlen && at < length; i++) {
    const struct iovec *part = &message->msg_iov[i];
    const size_t take = part->iov_len < length - at ? part->iov_len : length - at;
    if (take != 0) memcpy(part->iov_base, bytes + at, take);
    at += take;
  }
  return at;
}

enum { DATAGRAM_BYTES = 65536 };

/// From a NETLINK_ROUTE socket of the kernel. Its length is known only after what it tells of links was changed.
static ssize_t receive_route(int fd, struct msghdr *message, int flags) {
  _Alignas(struct nlmsghdr) char buffer[DATAGRAM_BYTES];
  const int fault = check_incoming(message);
  if (fault != 0) return result(fault);
  const size_t room = length_of(message->msg_iov, message->msg_iovlen);
  struct iovec part = {buffer, sizeof buffer};
  char *large = room > sizeof buffer ? malloc(room) : NULL;
  if (large != NULL) part = (struct iovec){large, room};
  struct msghdr copy = *message;
  copy.msg_iov = &part;
  copy.msg_iovlen = 1;
  ssize_t received = NEXT(recvmsg)(fd, &copy, flags | MSG_TRUNC);
  if (received >= 0) {
    size_t length = (size_t)received;
    char *changed = length <= part.iov_len ? links_incoming(fd, part.iov_base, &length) : NULL;
    const size_t known = length < part.iov_len || changed != NULL ? length : part.iov_len;
    size_t at = 0;
    int error = 0;
    for (size_t i = 0; error == 0 && i < message->msg_iovlen && at < known; i++) {
      const struct iovec *to = &message->msg_iov[i];
      error = user_writable(to->iov_base, to->iov_len < known - at ? to->iov_len : known - at);
      at += to->iov_len;
    }
    const size_t copied = error != 0 ? 0 : scatter(changed != NULL ? changed : part.iov_base, known, message);
    free(changed);
    if (error != 0) {
      // As in the kernel, the datagram is gone.
      free(large);
      return result(error);
    }
    message->msg_namelen = copy.msg_namelen;
    message->msg_controllen = copy.msg_controllen;
    message->msg_flags = (copy.msg_flags & ~MSG_TRUNC) | (copied < length ? MSG_TRUNC : 0);
    received = (flags & MSG_TRUNC) != 0 ? (ssize_t)length : (ssize_t)copied;
  }
  free(large);
  return received;
}

/// Registers received descriptors (SCM_RIGHTS) that are channels of nokmod.
static void adopt_received(const struct msghdr *message) {
  struct msghdr *whole = (struct msghdr *)message;
  for (struct cmsghdr *control = CMSG_FIRSTHDR(whole); control != NULL; control = CMSG_NXTHDR(whole, control)) {
    if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) continue;
    for (size_t at = CMSG_LEN(0); at + sizeof(int) <= control->cmsg_len; at += sizeof(int)) {
      int fd;
      memcpy(&fd, (const char *)control + at, sizeof fd);
      fds_forget(fd);
      sockets_adopt(fd);
    }
  }
}

/// Who asked for credentials (SO_PASSCRED) is to see the kernel's, not the server's.
static void hide_sender(struct msghdr *message) {
  for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control != NULL; control = CMSG_NXTHDR(message, control)) {
    if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_CREDENTIALS) continue;
    if (control->cmsg_len >= CMSG_LEN(sizeof(struct ucred))) memset(CMSG_DATA(control), 0, sizeof(struct ucred));
  }
}

/// Takes the marker, of which `first` bytes are known, and tells its errno.
static ssize_t take_marker(int fd, const struct msghdr *message, int flags) {
  unsigned char bytes[MARKER_BYTES] = {ENOBUFS};
  if ((flags & MSG_PEEK) != 0) {
    syscall(SYS_recvfrom, fd, bytes, sizeof bytes, MSG_DONTWAIT, NULL, NULL);
  } else {
    size_t have = 0;
    for (size_t i = 0; i < message->msg_iovlen && have < sizeof bytes; i++) {
      const struct iovec *part = &message->msg_iov[i];
      const size_t take = part->iov_len < sizeof bytes - have ? part->iov_len : sizeof bytes - have;
      if (take != 0) memcpy(bytes + have, part->iov_base, take);
      have += take;
    }
  }
  uint32_t error;
  memcpy(&error, bytes, sizeof error);
  return result((int)error);
}

static ssize_t receive(int fd, struct netlink_socket *socket, struct msghdr *message, int flags) {
  if ((flags & MSG_OOB) != 0) return result(EOPNOTSUPP);
  const int fault = check_incoming(message);
  if (fault != 0) return result(fault);
  const size_t room = length_of(message->msg_iov, message->msg_iovlen);
  const unsigned capacity = room < UINT_MAX ? (unsigned)room : UINT_MAX;
  if (atomic_load_explicit(&socket->receive_length, memory_order_relaxed) < capacity) {
    atomic_store_explicit(&socket->receive_length, capacity, memory_order_relaxed);
  }
  for (;;) {
    const unsigned epoch = atomic_load(&socket->epoch);
    if (atomic_load(&socket->disconnected)) {
      const int error = sockets_wait(fd, socket, (flags & MSG_DONTWAIT) == 0);
      if (error != 0) return result(error);
    }
    const bool dumping = atomic_load(&socket->dumping);
    struct msghdr copy = *message;
    copy.msg_name = NULL;
    copy.msg_namelen = 0;
    // With MSG_TRUNC the length is the true one: a marker shows whatever the buffer's size.
    const ssize_t length = NEXT(recvmsg)(fd, &copy, flags | MSG_TRUNC | (dumping ? MSG_DONTWAIT : 0));
    if (length == 0 || (length < 0 && errno == ECONNRESET)) {
      // If there is a new server, its channel begins with ENOBUFS. Half a dump must not look like a whole one.
      if (sockets_reconnect(socket, epoch) || !dumping) continue;
      return result(ENOBUFS);
    }
    if (length < 0) {
      if (errno == ENOTSOCK && atomic_load(&socket->epoch) != epoch) continue; // Another thread has disconnected it.
      if (!dumping || errno != EAGAIN) return -1;
      // An empty queue would be taken for the end of the dump: have the server go on.
      struct answer answer;
      if (sockets_request(socket, OP_MORE, capacity, 0, NULL, 0, &answer) != 0) atomic_store(&socket->dumping, false);
      continue;
    }
    if (length == MARKER_BYTES) return take_marker(fd, &copy, flags);
    hide_sender(&copy);
    if (message->msg_name != NULL) {
      const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
      put_address(&kernel, message->msg_name, &message->msg_namelen);
    } else {
      message->msg_namelen = 0;
    }
    message->msg_controllen = copy.msg_controllen;
    message->msg_flags = copy.msg_flags;
    return (flags & MSG_TRUNC) != 0 || (size_t)length < room ? length : (ssize_t)room;
  }
}

EXPORT ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
  struct netlink_socket *socket = sockets_get(fd);
  if (socket != NULL) return receive(fd, socket, message, flags);
  if (fds_route(fd)) return receive_route(fd, message, flags);
  const ssize_t received = NEXT(recvmsg)(fd, message, flags);
  if (received >= 0 && message->msg_controllen != 0) adopt_received(message);
  return received;
}

EXPORT ssize_t recvfrom(int fd, void *bytes, size_t length, int flags, __SOCKADDR_ARG address,
                        socklen_t *address_length) {
  if (is_kernels(fd)) return NEXT(recvfrom)(fd, bytes, length, flags, address, address_length);
  struct iovec part = {bytes, length};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (address.__sockaddr__ != NULL && address_length != NULL) {
    if (user_writable(address_length, sizeof *address_length) != 0) return result(EFAULT);
    message.msg_name = address.__sockaddr__;
    message.msg_namelen = *address_length;
  }
  const ssize_t received = recvmsg(fd, &message, flags);
  if (received >= 0 && message.msg_name != NULL) *address_length = message.msg_namelen;
  return received;
}

EXPORT ssize_t recv(int fd, void *bytes, size_t length, int flags) {
  if (is_kernels(fd)) return NEXT(recv)(fd, bytes, length, flags);
  const __SOCKADDR_ARG nobody = {NULL};
  return recvfrom(fd, bytes, length, flags, nobody, NULL);
}

EXPORT ssize_t read(int fd, void *bytes, size_t length) {
  return is_kernels(fd) ? NEXT(read)(fd, bytes, length) : recv(fd, bytes, length, 0);
}

EXPORT ssize_t readv(int fd, const struct iovec *parts, int count) {
  if (is_kernels(fd)) return NEXT(readv)(fd, parts, count);
  if (count < 0 || count > IOV_MAX) return result(EINVAL);
  struct msghdr message = {.msg_iov = (struct iovec *)parts, .msg_iovlen = (size_t)count};
  return recvmsg(fd, &message, 0);
}

/// The timeout, which the kernel looks at only between messages, is not looked at.
EXPORT int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout) {
  if (is_kernels(fd)) {
    const int received = NEXT(recvmmsg)(fd, messages, count, flags, timeout);
    for (int i = 0; i < received; i++) {
      if (messages[i].msg_hdr.msg_controllen != 0) adopt_received(&messages[i].msg_hdr);
    }
    return received;
  }
  const bool for_one = (flags & MSG_WAITFORONE) != 0;
  flags &= ~MSG_WAITFORONE;
  for (unsigned i = 0; i < count; i++) {
    if (user_writable(&messages[i], sizeof messages[i]) != 0) return i != 0 ? (int)i : result(EFAULT);
    const ssize_t received = recvmsg(fd, &messages[i].msg_hdr, flags);
    if (received < 0) return i != 0 ? (int)i : -1;
    messages[i].msg_len = (unsigned)received;
    if (for_one) flags |= MSG_DONTWAIT;
  }
  return (int)count;
}

EXPORT ssize_t __recv_chk(int fd, void *bytes, size_t length, size_t room, int flags) {
  if (length > room) __chk_fail();
  return recv(fd, bytes, length, flags);
}

EXPORT ssize_t __recvfrom_chk(int fd, void *bytes, size_t length, size_t room, int flags, __SOCKADDR_ARG address,
                              socklen_t *address_length) {
  if (length > room) __chk_fail();
  return recvfrom(fd, bytes, length, flags, address, address_length);
}

EXPORT ssize_t __read_chk(int fd, void *bytes, size_t length, size_t room) {
  if (length > room) __chk_fail();
  return read(fd, bytes, length);
}

// --------------------------------------------------------------------------------------------------------- descriptors

EXPORT int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event) {
  const int done = NEXT(epoll_ctl)(epoll, operation, fd, event);
  if (done == 0 && sockets_get(fd) != NULL) fds_polled(epoll, operation, fd, event);
  return done;
}

EXPORT int close(int fd) {
  // The program never opened it: one that closes all numbers there are must not cut a thread off.
  if (fds_hidden(fd)) return result(EBADF);
  fds_forget(fd);
  return NEXT(close)(fd);
}

EXPORT int dup(int fd) {
  const int copy = NEXT(dup)(fd);
  if (copy >= 0) fds_copied(fd, copy);
  return copy;
}

EXPORT int dup2(int fd, int copy) {
  const int made = NEXT(dup2)(fd, copy);
  if (made >= 0) fds_copied(fd, made);
  return made;
}

EXPORT int dup3(int fd, int copy, int flags) {
  const int made = NEXT(dup3)(fd, copy, flags);
  if (made >= 0) fds_copied(fd, made);
  return made;
}

static int copied_by_fcntl(int fd, int command, int made) {
  if (made >= 0 && (command == F_DUPFD || command == F_DUPFD_CLOEXEC)) fds_copied(fd, made);
  return made;
}

EXPORT int fcntl(int fd, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void *argument = va_arg(arguments, void *);
  va_end(arguments);
  return copied_by_fcntl(fd, command, NEXT(fcntl)(fd, command, argument));
}

EXPORT int fcntl64(int fd, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void *argument = va_arg(arguments, void *);
  va_end(arguments);
  return copied_by_fcntl(fd, command, NEXT(fcntl64)(fd, command, argument));
}

/// The numbers between those that are hidden.
EXPORT int close_range(unsigned first, unsigned last, int flags) {
  if ((flags & CLOSE_RANGE_CLOEXEC) != 0 || first > last) return NEXT(close_range)(first, last, flags);
  const unsigned end = (unsigned)fds_end();
  unsigned from = first;
  for (unsigned fd = first; fd < end && fd <= last; fd++) {
    if (!fds_hidden((int)fd)) {
      fds_forget((int)fd);
      continue;
    }
    if (from < fd && NEXT(close_range)(from, fd - 1, flags) != 0) return -1;
    from = fd + 1;
  }
  return from <= last ? NEXT(close_range)(from, last, flags) : 0;
}

EXPORT void closefrom(int first) { close_range(first < 0 ? 0 : (unsigned)first, UINT_MAX, 0); }

// --------------------------------------------------------------------------------------------------- the module itself

/// Start-up scripts look here whether the module is loaded, and try to load it if it is not. It is while nokmod serves.
static const char *module_path(const char *path) {
  static const char kModule[] = "/sys/module/openvswitch";
  for (size_t at = 0; at < sizeof kModule; at++) {
    if (user_readable(path + at, 1) != 0 || path[at] != kModule[at]) return path;
  }
  return channel_served() ? "/sys/module" : path;
}

EXPORT int stat(const char *path, struct stat *status) { return NEXT(stat)(module_path(path), status); }

EXPORT int stat64(const char *path, struct stat64 *status) { return NEXT(stat64)(module_path(path), status); }

EXPORT int access(const char *path, int mode) { return NEXT(access)(module_path(path), mode); }
