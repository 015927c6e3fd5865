#undef _FILE_OFFSET_BITS
#define _GNU_SOURCE
#include "sockets.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FDS = 65536 };
/// Milliseconds that a process waits for another server when the one it used has died; then requests fail.
enum { GRACE = 5000 };
/// Kinds of slots: these bits of the address of a netlink_socket are 0.
enum { HIDDEN = 1, ROUTE = 2, EPOLL = 4, KINDS = 7 };

// What a descriptor is: 0, a netlink_socket, HIDDEN and the address of its owner, ROUTE, or EPOLL.
static atomic_uintptr_t slots[MAX_FDS];
static atomic_int end;
// Of changes; reading needs none.
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct netlink_socket *free_sockets;
static int disconnected_sockets;
/// CLOCK_MONOTONIC in milliseconds at which the server was first found dead; 0 while it answers.
static _Atomic(int64_t) outage;

/// A file of an epoll instance.
struct registration {
  struct registration *next;
  int epoll, fd;
  struct epoll_event event;
};
static struct registration *registrations;

// Process that the table belongs to. On a page that the kernel clears in the child of a fork, also of one that calls no handlers (clone, _Fork), but not of vfork().
static pid_t *owner;

static void become_owner(void) {
  if (owner == NULL) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *memory = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || madvise(memory, page, MADV_WIPEONFORK) != 0) abort();
    owner = memory;
  }
  *owner = (pid_t)syscall(SYS_getpid);
}

static void in_child(void);

/// In a child of fork(), drops what belongs to the parent alone.
static void fds_after_fork(void) {
  if (owner == NULL) become_owner(); // Another library's constructor came before ours.
  else if (*owner == 0) in_child();
}

/// False in a child of vfork(): the table is its parent's.
static bool is_owner(void) {
  fds_after_fork();
  return (pid_t)syscall(SYS_getpid) == *owner;
}

static uintptr_t slot(int fd) { return fd < 0 || fd >= MAX_FDS ? 0 : atomic_load_explicit(&slots[fd], memory_order_acquire); }

static void set_slot(int fd, uintptr_t value) {
  atomic_store_explicit(&slots[fd], value, memory_order_release);
  int before = atomic_load(&end);
  while (value != 0 && before <= fd && !atomic_compare_exchange_weak(&end, &before, fd + 1)) continue;
}

int fds_end(void) { return atomic_load(&end); }
bool fds_hidden(int fd) { return slot(fd) & HIDDEN; }
bool fds_is_hidden(int fd, const void *by) {
  fds_after_fork();
  return slot(fd) == ((uintptr_t)by | HIDDEN);
}
bool fds_route(int fd) { return slot(fd) == ROUTE; }

bool fds_hide(int fd, const void *by) {
  if (fd >= MAX_FDS) return false;
  set_slot(fd, (uintptr_t)by | HIDDEN);
  return true;
}

bool fds_unhide(int fd, const void *by) {
  uintptr_t expected = (uintptr_t)by | HIDDEN;
  return fd >= 0 && fd < MAX_FDS && atomic_compare_exchange_strong(&slots[fd], &expected, 0);
}

struct netlink_socket *sockets_get(int fd) {
  const uintptr_t value = slot(fd);
  return value & KINDS ? NULL : (struct netlink_socket *)value;
}

/// Forgets those that fit. With the lock held.
static void drop_registrations(int epoll, int fd) {
  for (struct registration **at = &registrations; *at != NULL;) {
    struct registration *one = *at;
    if (one->fd == fd || one->epoll == epoll) {
      *at = one->next;
      free(one);
    } else {
      at = &one->next;
    }
  }
}

/// With the lock held.
static void forget(int fd) {
  struct netlink_socket *socket = sockets_get(fd);
  const uintptr_t was = slot(fd);
  if (was == 0) return;
  set_slot(fd, 0);
  if (was == EPOLL) drop_registrations(fd, -1);
  if (socket == NULL) return;
  if (registrations != NULL) drop_registrations(-1, fd);
  if (--socket->descriptors != 0) return;
  if (atomic_load(&socket->disconnected)) disconnected_sockets--;
  socket->next_free = free_sockets;
  free_sockets = socket;
}

void fds_forget(int fd) {
  if (slot(fd) == 0 || !is_owner()) return;
  pthread_mutex_lock(&lock);
  forget(fd);
  pthread_mutex_unlock(&lock);
}

void fds_copied(int fd, int copy) {
  const uintptr_t value = slot(fd) & (HIDDEN | EPOLL) ? 0 : slot(fd);
  if (fd == copy || (value == 0 && slot(copy) == 0) || !is_owner()) return;
  pthread_mutex_lock(&lock);
  forget(copy);
  // A copy beyond the table works as far as the kernel serves it: it can receive.
  if (value != 0 && copy >= 0 && copy < MAX_FDS) {
    struct netlink_socket *socket = sockets_get(fd);
    if (socket != NULL) socket->descriptors++;
    set_slot(copy, value);
  }
  pthread_mutex_unlock(&lock);
}

void fds_add_route(int fd) {
  if (fd < 0 || fd >= MAX_FDS || !is_owner()) return;
  pthread_mutex_lock(&lock);
  forget(fd); // A number that was closed behind our back, as fclose() does.
  set_slot(fd, ROUTE);
  pthread_mutex_unlock(&lock);
}

void fds_polled(int epoll, int operation, int fd, const struct epoll_event *event) {
  if (epoll < 0 || epoll >= MAX_FDS || !is_owner()) return;
  pthread_mutex_lock(&lock);
  struct registration **at = &registrations;
  while (*at != NULL && ((*at)->epoll != epoll || (*at)->fd != fd)) at = &(*at)->next;
  struct registration *one = *at;
  if (operation == EPOLL_CTL_DEL) {
    if (one != NULL) {
      *at = one->next;
      free(one);
    }
  } else {
    if (one == NULL && (one = malloc(sizeof *one)) != NULL) {
      *one = (struct registration){registrations, epoll, fd, *event};
      registrations = one;
    }
    if (one != NULL) one->event = *event;
    if (slot(epoll) == 0) set_slot(epoll, EPOLL);
  }
  pthread_mutex_unlock(&lock);
}

/// With the lock held.
static struct netlink_socket *new_socket(int type, int protocol, struct id id) {
  struct netlink_socket *socket = free_sockets;
  if (socket != NULL) {
    free_sockets = socket->next_free;
  } else {
    socket = malloc(sizeof *socket);
    if (socket == NULL) return NULL;
    atomic_init(&socket->epoch, 0);
  }
  const unsigned epoch = atomic_load(&socket->epoch) + 1;
  memset(socket, 0, sizeof *socket);
  atomic_store(&socket->epoch, epoch);
  socket->id = id;
  socket->protocol = protocol;
  socket->type = type;
  return socket;
}

/// With the lock held.
static bool add(int fd, struct netlink_socket *socket) {
  if (socket == NULL || fd >= MAX_FDS) return false;
  forget(fd); // A number that was closed behind our back, as fclose() does.
  socket->descriptors++;
  set_slot(fd, (uintptr_t)socket);
  return true;
}

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

/// In an outage: true when another server may have come, false when it was waited for long enough. *watch is -1 at
/// first, and to be closed at last.
static bool await_server(int *watch) {
  int64_t none = 0;
  const int64_t start = now();
  const int64_t since = atomic_compare_exchange_strong(&outage, &none, start) ? start : none;
  const int64_t left = since + GRACE - start;
  if (left <= 0) return false;
  if (*watch < 0) {
    // A server may have started before the watch.
    *watch = channel_watch();
    return *watch >= 0;
  }
  struct pollfd wanted = {.fd = *watch, .events = POLLIN};
  if (poll(&wanted, 1, (int)left) < 0) return errno == EINTR;
  char events[4096];
  return syscall(SYS_read, *watch, events, sizeof events) > 0;
}

static void reconnect_all(void);

int sockets_open(int type, int protocol) {
  struct id id;
  int fd, watch = -1;
  do {
    fd = channel_open(protocol, type & SOCK_CLOEXEC, (uint32_t)syscall(SYS_getpid), 0, &id);
  } while ((fd == -ECONNREFUSED || fd == -ENOENT) && atomic_load(&outage) != 0 && await_server(&watch));
  if (watch >= 0) syscall(SYS_close, watch);
  if (fd < 0) return fd;
  if ((type & SOCK_NONBLOCK) && syscall(SYS_fcntl, fd, F_SETFL, O_RDWR | O_NONBLOCK) != 0) {
    const int error = -errno;
    syscall(SYS_close, fd);
    return error;
  }
  if (!is_owner()) return fd;
  pthread_mutex_lock(&lock);
  const bool added = add(fd, new_socket(type & ~(SOCK_CLOEXEC | SOCK_NONBLOCK), protocol, id));
  if (disconnected_sockets != 0) reconnect_all();
  pthread_mutex_unlock(&lock);
  if (added) return fd;
  syscall(SYS_close, fd);
  return -EMFILE;
}

/// Puts another file behind all descriptors of a socket and closes `fd`. With the lock held.
static void replace(struct netlink_socket *socket, int fd) {
  bool first = true;
  for (int i = 0; i < fds_end(); i++) {
    if (sockets_get(i) != socket) continue;
    if (first) {
      const long status = syscall(SYS_fcntl, i, F_GETFL);
      if (status >= 0) syscall(SYS_fcntl, fd, F_SETFL, status);
      socklen_t length = sizeof socket->timeout;
      if (!atomic_load(&socket->disconnected)) {
        syscall(SYS_getsockopt, i, SOL_SOCKET, SO_RCVTIMEO, &socket->timeout, &length);
      }
      // A file that waits for a server is no socket: this fails there.
      syscall(SYS_setsockopt, fd, SOL_SOCKET, SO_RCVTIMEO, &socket->timeout, sizeof socket->timeout);
      first = false;
    }
    // Another process may hold the old file open: it must not stay in the epoll instance.
    for (struct registration *one = registrations; one != NULL; one = one->next) {
      if (one->fd == i) syscall(SYS_epoll_ctl, one->epoll, EPOLL_CTL_DEL, i, &one->event);
    }
    const long flags = syscall(SYS_fcntl, i, F_GETFD);
    syscall(SYS_dup3, fd, i, flags > 0 && (flags & FD_CLOEXEC) ? O_CLOEXEC : 0);
    for (struct registration *one = registrations; one != NULL; one = one->next) {
      if (one->fd == i) syscall(SYS_epoll_ctl, one->epoll, EPOLL_CTL_ADD, i, &one->event);
    }
  }
  syscall(SYS_close, fd);
}

static int request(struct netlink_socket *socket, enum op op, uint32_t a, uint32_t b, struct answer *answer) {
  const int error = channel_request(op, socket->id, a, b, NULL, 0, answer);
  return error != 0 ? -error : (int)answer->error;
}

static bool has_group(const struct netlink_socket *socket, int group) {
  return socket->groups[(group - 1) / 32] >> (group - 1) % 32 & 1;
}

static bool has_groups(const struct netlink_socket *socket) {
  for (int word = 0; word < GROUP_WORDS; word++) {
    if (socket->groups[word] != 0) return true;
  }
  return false;
}

/// Opens a new channel and sets its options, port id and groups as they were. With the lock held.
static bool reconnect(struct netlink_socket *socket) {
  struct id id;
  const uint32_t pid = (uint32_t)syscall(SYS_getpid);
  const int fd = channel_open(socket->protocol, SOCK_CLOEXEC, pid, atomic_load(&socket->receive_length), &id);
  if (fd < 0) return false;
  socket->id = id;
  struct answer answer;
  if (socket->receive_buffer != 0) {
    request(socket, OP_RECEIVE_BUFFER, (uint32_t)socket->receive_buffer, socket->receive_buffer_forced, &answer);
  }
  for (int option = 0; option < OPTIONS; option++) {
    if (socket->options_set >> option & 1) {
      request(socket, OP_OPTION, (uint32_t)option, (uint32_t)socket->options[option], &answer);
    }
  }
  if (atomic_load(&socket->port) != 0) {
    // Peers know the socket by this port id. If it is taken, the server assigns another.
    if (request(socket, OP_BIND, atomic_load(&socket->port), 0, &answer) != 0 &&
        request(socket, OP_BIND, 0, 0, &answer) == 0) {
      atomic_store(&socket->port, answer.a);
    }
  }
  for (int group = 1; group <= 32 * GROUP_WORDS; group++) {
    if (has_group(socket, group)) request(socket, OP_JOIN, (uint32_t)group, 0, &answer);
  }
  atomic_store(&outage, 0);
  if (socket->overrun) request(socket, OP_OVERRUN, 0, 0, &answer);
  socket->overrun = false;
  atomic_store(&socket->dumping, false);
  replace(socket, fd);
  atomic_fetch_add(&socket->epoch, 1);
  if (atomic_exchange(&socket->disconnected, false)) disconnected_sockets--;
  return true;
}

/// An idle file in place of a channel that has ended: one that is readable for ever would make the program spin. With
/// the lock held.
static void disconnect(struct netlink_socket *socket) {
  if (atomic_load(&socket->disconnected)) return;
  const int fd = channel_watch();
  const int idle = fd >= 0 ? fd : (int)syscall(SYS_eventfd2, 0, EFD_CLOEXEC);
  if (idle < 0) return;
  replace(socket, idle);
  atomic_store(&socket->dumping, false);
  atomic_store(&socket->disconnected, true);
  disconnected_sockets++;
  atomic_fetch_add(&socket->epoch, 1);
}

/// Reconnects all disconnected sockets: one that only waits for messages would never do it itself. With the lock held.
static void reconnect_all(void) {
  for (int fd = 0; fd < fds_end() && disconnected_sockets != 0; fd++) {
    struct netlink_socket *socket = sockets_get(fd);
    if (socket != NULL && atomic_load(&socket->disconnected) && !reconnect(socket)) return;
  }
}

static bool reconnect_after(struct netlink_socket *socket, unsigned epoch, bool overrun) {
  pthread_mutex_lock(&lock);
  // Another thread may have been faster.
  bool connected = atomic_load(&socket->epoch) != epoch && !atomic_load(&socket->disconnected);
  if (!connected) {
    socket->overrun |= overrun;
    connected = reconnect(socket);
    if (connected) reconnect_all();
    else disconnect(socket);
  }
  pthread_mutex_unlock(&lock);
  return connected;
}

bool sockets_reconnect(struct netlink_socket *socket, unsigned epoch) { return reconnect_after(socket, epoch, true); }

static bool readable(int fd) {
  struct pollfd wanted = {.fd = fd, .events = POLLIN};
  return poll(&wanted, 1, 0) == 1;
}

int sockets_wait(int fd, struct netlink_socket *socket, bool block) {
  const struct timeval *limit = &socket->timeout;
  struct timespec now, end = {0};
  const bool bounded = limit->tv_sec != 0 || limit->tv_usec != 0;
  if (bounded) {
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += limit->tv_sec + (end.tv_nsec / 1000 + limit->tv_usec) / 1000000;
    end.tv_nsec = (end.tv_nsec / 1000 + limit->tv_usec) % 1000000 * 1000;
  }
  for (;;) {
    pthread_mutex_lock(&lock);
    char events[4096];
    while (atomic_load(&socket->disconnected) && readable(fd) && syscall(SYS_read, fd, events, sizeof events) > 0) continue;
    if (atomic_load(&socket->disconnected) && reconnect(socket)) reconnect_all();
    const bool connected = !atomic_load(&socket->disconnected);
    pthread_mutex_unlock(&lock);
    if (connected) return 0;
    const long status = syscall(SYS_fcntl, fd, F_GETFL);
    if (!block || (status >= 0 && (status & O_NONBLOCK))) return EAGAIN;
    struct timespec left = {3600, 0};
    if (bounded) {
      clock_gettime(CLOCK_MONOTONIC, &now);
      left.tv_sec = end.tv_sec - now.tv_sec;
      left.tv_nsec = end.tv_nsec - now.tv_nsec;
      if (left.tv_nsec < 0) {
        left.tv_sec--;
        left.tv_nsec += 1000000000;
      }
      if (left.tv_sec < 0) return EAGAIN;
    }
    struct pollfd wanted = {.fd = fd, .events = POLLIN};
    if (ppoll(&wanted, 1, &left, NULL) < 0) return errno;
  }
}

int sockets_request(struct netlink_socket *socket, enum op op, uint32_t a, uint32_t b, const struct iovec *payload,
                    size_t count, struct answer *answer) {
  int watch = -1, result = ECONNREFUSED;
  for (int attempt = 0; attempt < 2; attempt++) {
    const unsigned epoch = atomic_load(&socket->epoch);
    const int error = channel_request(op, socket->id, a, b, payload, count, answer);
    if (error == 0 && answer->error != EBADF) {
      atomic_store(&socket->dumping, (answer->flags & ANSWER_DUMPING) != 0);
      result = (int)answer->error;
      break;
    }
    if (error == -EMSGSIZE || error == -EMFILE || error == -ENFILE) {
      result = -error;
      break;
    }
    // A socket without groups gets nothing but answers, and the request is repeated: it has lost nothing.
    bool connected = reconnect_after(socket, epoch, has_groups(socket));
    while (!connected && await_server(&watch)) connected = reconnect_after(socket, atomic_load(&socket->epoch), false);
    if (!connected) break;
  }
  if (watch >= 0) syscall(SYS_close, watch);
  return result;
}

int sockets_autobind(struct netlink_socket *socket) {
  if (atomic_load(&socket->port) != 0) return 0;
  struct answer answer;
  const int error = sockets_request(socket, OP_BIND, 0, 0, NULL, 0, &answer);
  if (error == 0) atomic_store(&socket->port, answer.a);
  return error;
}

int sockets_give_to_kernel(struct netlink_socket *socket) {
  const int fd = (int)syscall(SYS_socket, AF_NETLINK, socket->type | SOCK_CLOEXEC, socket->protocol);
  if (fd < 0) return errno;
  pthread_mutex_lock(&lock);
  if (socket->receive_buffer != 0) {
    syscall(SYS_setsockopt, fd, SOL_SOCKET, socket->receive_buffer_forced ? SO_RCVBUFFORCE : SO_RCVBUF,
            &socket->receive_buffer, sizeof socket->receive_buffer);
  }
  for (int option = 0; option < OPTIONS; option++) {
    if (socket->options_set >> option & 1) {
      syscall(SYS_setsockopt, fd, SOL_NETLINK, option, &socket->options[option], sizeof socket->options[option]);
    }
  }
  if (atomic_load(&socket->port) != 0) {
    struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_pid = atomic_load(&socket->port)};
    if (syscall(SYS_bind, fd, &address, sizeof address) != 0) {
      address.nl_pid = 0;
      syscall(SYS_bind, fd, &address, sizeof address);
    }
  }
  for (int group = 1; group <= 32 * GROUP_WORDS; group++) {
    if (has_group(socket, group)) {
      syscall(SYS_setsockopt, fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group);
    }
  }
  replace(socket, fd);
  for (int i = 0; i < fds_end(); i++) {
    if (sockets_get(i) == socket) forget(i);
  }
  pthread_mutex_unlock(&lock);
  return 0;
}

static void before_fork(void) { pthread_mutex_lock(&lock); }
static void after_fork(void) { pthread_mutex_unlock(&lock); }

/// A control channel is one thread's of the parent: two processes on it would take each other's answers.
static void in_child(void) {
  // Whoever held it is not in this process.
  lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
  become_owner();
  for (int fd = 0; fd < fds_end(); fd++) {
    if (!fds_hidden(fd)) continue;
    set_slot(fd, 0);
    syscall(SYS_close, fd);
  }
}

void sockets_adopt(int fd) {
  int domain = 0, protocol = -1;
  socklen_t length = sizeof domain;
  if (syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) != 0) return;
  length = sizeof protocol;
  if (domain == AF_NETLINK && syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length) == 0) {
    if (protocol == NETLINK_ROUTE) fds_add_route(fd);
    return;
  }
  // A data channel: the server tells what it is.
  if (!channel_is_nokmods(fd)) return;
  struct answer answer;
  if (channel_find(fd, &answer) != 0 || answer.error != 0) return;
  const struct id id = {answer.a, answer.b};
  for (int other = 0; other < fds_end(); other++) {
    struct netlink_socket *socket = sockets_get(other);
    if (socket == NULL || socket->id.low != id.low || socket->id.high != id.high) continue;
    fds_copied(other, fd);
    return;
  }
  if (channel_request(OP_DESCRIBE, id, 0, 0, NULL, 0, &answer) != 0 || answer.error != 0) return;
  pthread_mutex_lock(&lock);
  struct netlink_socket *socket = new_socket(SOCK_RAW, (int)answer.b, id);
  if (add(fd, socket)) {
    atomic_store(&socket->port, answer.a);
    atomic_store(&socket->settled, true);
    atomic_store(&socket->dumping, (answer.flags & ANSWER_DUMPING) != 0);
  }
  pthread_mutex_unlock(&lock);
}

__attribute__((constructor)) static void start(void) {
  become_owner();
  if (pthread_atfork(before_fork, after_fork, in_child) != 0) abort();
  DIR *open_files = opendir("/proc/self/fd");
  if (open_files == NULL) return;
  const struct dirent *entry;
  while ((entry = readdir(open_files)) != NULL) {
    char *rest;
    const long fd = strtol(entry->d_name, &rest, 10);
    if (rest != entry->d_name && *rest == '\0' && fd != dirfd(open_files)) sockets_adopt((int)fd);
  }
  closedir(open_files);
}
