#undef _FILE_OFFSET_BITS
#define _GNU_SOURCE
#include "channel.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "mailbox.h"
#include "proof.h"
#include "rights.h"
#include "sockets.h"

// linux/socket.h of Linux 5.14.
enum { NETNS_COOKIE = 71 };
// Hidden descriptors start here where the limit allows: above what programs use, below what select() can name.
enum { HIDDEN_BASE = 768 };
// What a posted request takes, several times over. After that its answer is waited for in sleep.
enum { POLL_NANOSECONDS = 100000 };

static int sys(long result) { return result < 0 ? -errno : (int)result; }

/// The server's path, as defaultSocketPath() in TypeScript finds it. False when it does not fit an address (ENAMETOOLONG).
static bool server_address(struct sockaddr_un *address) {
  const char *named = secure_getenv("NOKMOD_SOCKET");
  const char *runtime = secure_getenv("XDG_RUNTIME_DIR");
  char *path = address->sun_path;
  const size_t room = sizeof address->sun_path;
  int length;
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  if (named != NULL && *named != '\0') {
    length = snprintf(path, room, "%s", named);
  } else if (getuid() == 0) {
    length = snprintf(path, room, "/run/nokmod/nokmod.sock");
  } else if (runtime != NULL && *runtime != '\0') {
    length = snprintf(path, room, "%s/nokmod.sock", runtime);
  } else {
    length = snprintf(path, room, "/tmp/nokmod-%u/nokmod.sock", (unsigned)getuid());
  }
  return length > 0 && (size_t)length < room;
}

/// A connected socket, or a negative errno.
static int dial(int flags) {
  struct sockaddr_un address;
  if (!server_address(&address)) return -ENAMETOOLONG;
  const int fd = sys(syscall(SYS_socket, AF_UNIX, SOCK_SEQPACKET | flags, 0));
  if (fd < 0) return fd;
  int error;
  do {
    error = sys(syscall(SYS_connect, fd, &address, sizeof address));
  } while (error == -EINTR);
  if (error == 0) return fd;
  syscall(SYS_close, fd);
  return error;
}

/// What a request tells of where it comes from.
static uint32_t processor(void) {
  const int number = sched_getcpu();
  return number < 0 ? 0 : (uint32_t)number + 1;
}

static int64_t nanoseconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/// Sends a record with descriptors, of which negative ones are left out. A signal does not part it from its answer.
static int send_record(int fd, struct iovec *parts, size_t count, const int *descriptors, size_t given) {
  struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
  union rights rights;
  rights_attach(&message, &rights, descriptors, given);
  int result;
  do {
    result = sys(syscall(SYS_sendmsg, fd, &message, MSG_NOSIGNAL));
  } while (result == -EINTR);
  return result < 0 ? result : 0;
}

/// Waits for the answer. `reply` takes what follows its fields, and `descriptor` what came with it, or -1; the reply's length
/// becomes that of it.
static int receive_answer(int fd, struct answer *answer, struct iovec *reply, int *descriptor) {
  struct iovec parts[2] = {{answer, sizeof *answer}};
  if (reply != NULL) parts[1] = *reply;
  struct msghdr message = {.msg_iov = parts, .msg_iovlen = reply == NULL ? 1 : 2};
  union rights rights;
  if (descriptor != NULL) rights_room(&message, &rights);
  int result;
  do {
    result = sys(syscall(SYS_recvmsg, fd, &message, MSG_CMSG_CLOEXEC));
  } while (result == -EINTR);
  if (result < 0) return result;
  if ((size_t)result < sizeof *answer) return -ECONNRESET;
  if (reply != NULL) reply->iov_len = (size_t)result - sizeof *answer;
  if (descriptor != NULL) {
    int received[RIGHTS_MAX];
    rights_received(&message, received);
    *descriptor = received[0];
    for (size_t i = 1; i < RIGHTS_MAX; i++) {
      if (received[i] >= 0) syscall(SYS_close, received[i]);
    }
  }
  return 0;
}

/// Sends a record, with a descriptor unless that is negative, and waits for its answer.
static int exchange(int fd, struct iovec *parts, size_t count, int descriptor, struct answer *answer, struct iovec *reply) {
  const int error = send_record(fd, parts, count, &descriptor, 1);
  return error != 0 ? error : receive_answer(fd, answer, reply, NULL);
}

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

/// False where it is too long.
static bool write_record(struct mailbox *box, const struct iovec *parts, size_t count) {
  size_t length = 0;
  for (size_t i = 0; i < count; i++) {
    if (parts[i].iov_len > MAILBOX_RECORD - length) return false;
    if (parts[i].iov_len != 0) memcpy(box->record + length, parts[i].iov_base, parts[i].iov_len);
    length += parts[i].iov_len;
  }
  box->length = (uint32_t)length;
  return true;
}

/// exchange() by the mailbox. -EAGAIN: nothing has happened, the socket will do.
static int exchange_posted(int fd, struct mailbox *box, const struct iovec *parts, size_t count, struct answer *answer) {
  const uint32_t from = mailbox_load(&box->looking);
  // Where both ends need the same processor, the kernel hands it over best.
  if (from == 0 || from == processor() || !write_record(box, parts, count)) return -EAGAIN;
  mailbox_store(&box->state, MAILBOX_POSTED);
  // The server may have looked for the last time.
  if (mailbox_load(&box->looking) == 0 && mailbox_step(box, MAILBOX_POSTED, MAILBOX_FREE)) return -EAGAIN;
  const int64_t start = nanoseconds();
  for (unsigned looks = 1; mailbox_load(&box->state) != MAILBOX_ANSWERED; looks++) {
    relax();
    if (looks % 16 != 0 || nanoseconds() - start < POLL_NANOSECONDS) continue;
    if (mailbox_step(box, MAILBOX_POSTED, MAILBOX_FREE)) return -EAGAIN;
    if (!mailbox_step(box, MAILBOX_TAKEN, MAILBOX_AWAITED)) break; // It has just been answered.
    return receive_answer(fd, answer, NULL, NULL);
  }
  memcpy(answer, box->answer, sizeof *answer);
  mailbox_store(&box->state, MAILBOX_FREE);
  return 0;
}

/// The server's word on a connection's hello. With `box`, the connection is a control channel, and gets a mailbox unless
/// there is no memory for one.
static int greet(int fd, uint16_t kind, int protocol, uint32_t pid, uint32_t receive_length, struct answer *answer,
                 struct mailbox **box) {
  const int descriptors[RIGHTS_MAX] = {proof_make(), kind == CHANNEL_DATA ? fd : -1};
  struct hello hello = {
      .magic = TRANSPORT_MAGIC,
      .version = TRANSPORT_VERSION,
      .kind = kind,
      .protocol = (uint32_t)protocol,
      .pid = pid,
      .receive_length = receive_length,
      .flags = HELLO_OWN_NAMESPACE | (box == NULL ? 0 : HELLO_MAILBOX) | (descriptors[0] < 0 ? 0 : HELLO_PROOF) |
               (descriptors[1] < 0 ? 0 : HELLO_SELF),
  };
  struct iovec part = {&hello, sizeof hello};
  int memory = -1;
  int error = send_record(fd, &part, 1, descriptors, RIGHTS_MAX);
  if (descriptors[0] >= 0) syscall(SYS_close, descriptors[0]);
  if (error == 0) error = receive_answer(fd, answer, NULL, box == NULL ? NULL : &memory);
  if (error != 0) return error;
  if (memory >= 0) {
    void *mapped = mmap(NULL, MAILBOX_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    syscall(SYS_close, memory);
    // What is posted there is this process's word: no child may have it, whatever it may do then.
    if (mapped != MAP_FAILED && madvise(mapped, MAILBOX_BYTES, MADV_DONTFORK) == 0) *box = mapped;
    else if (mapped != MAP_FAILED) munmap(mapped, MAILBOX_BYTES);
  }
  return -(int)answer->error;
}

int channel_open(int protocol, int flags, uint32_t pid, uint32_t receive_length, struct id *id) {
  const int fd = dial(flags);
  if (fd < 0) return fd;
  struct answer answer;
  const int error = greet(fd, CHANNEL_DATA, protocol, pid, receive_length, &answer, NULL);
  if (error != 0) {
    syscall(SYS_close, fd);
    return error;
  }
  *id = (struct id){answer.a, answer.b};
  return fd;
}

bool channel_is_nokmods(int fd) {
  int value;
  socklen_t length = sizeof value;
  if (syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_DOMAIN, &value, &length) != 0 || value != AF_UNIX) return false;
  length = sizeof value;
  if (syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_TYPE, &value, &length) != 0 || value != SOCK_SEQPACKET) return false;
  struct sockaddr_un server, peer = {0};
  length = sizeof peer;
  if (!server_address(&server) || syscall(SYS_getpeername, fd, &peer, &length) != 0) return false;
  return strncmp(server.sun_path, peer.sun_path, sizeof peer.sun_path) == 0;
}

int channel_hide(int fd) {
  struct rlimit limit;
  int base = HIDDEN_BASE;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < 4 * HIDDEN_BASE / 3) base = (int)limit.rlim_cur / 4 * 3;
  const int hidden = sys(syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, base));
  if (hidden < 0) return fd; // No room up there: where it is will do.
  syscall(SYS_close, fd);
  return hidden;
}

// One control channel for each thread: requests of two threads do not wait for one another here.
static _Thread_local int control = -1;
/// Its SO_COOKIE: the program may have closed it by a bare system call, and have a file of its own under that number.
static _Thread_local uint64_t control_cookie;
static _Thread_local struct mailbox *mailbox;
/// The process that has it mapped.
static _Thread_local pid_t mailbox_of;
static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/// SO_COOKIE, which the kernel never gives twice; 0 for what is no socket, or not open.
static uint64_t cookie_of(int fd) {
  uint64_t cookie = 0;
  socklen_t length = sizeof cookie;
  return syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_COOKIE, &cookie, &length) == 0 ? cookie : 0;
}

static void drop_control(void) {
  // Its number is given up where it is another file's by now (dup2, a bare close()), or where a child has closed it.
  if (control >= 0 && fds_unhide(control, &control) && cookie_of(control) == control_cookie) syscall(SYS_close, control);
  control = -1;
  // A child has something else at that address.
  if (mailbox != NULL && mailbox_of == (pid_t)syscall(SYS_getpid)) munmap(mailbox, MAILBOX_BYTES);
  mailbox = NULL;
}

static void thread_ends(void *unused) {
  (void)unused;
  drop_control();
}

static void make_key(void) {
  if (pthread_key_create(&key, thread_ends) != 0) abort();
}

static int control_channel(void) {
  if (control >= 0 && fds_is_hidden(control, &control)) return control;
  drop_control();
  pthread_once(&once, make_key);
  int fd = dial(SOCK_CLOEXEC);
  if (fd < 0) return fd;
  struct answer answer;
  const int error = greet(fd, CHANNEL_CONTROL, 0, 0, 0, &answer, &mailbox);
  mailbox_of = (pid_t)syscall(SYS_getpid);
  if (error != 0) {
    syscall(SYS_close, fd);
    return error;
  }
  fd = channel_hide(fd);
  if (!fds_hide(fd, &control)) {
    syscall(SYS_close, fd);
    return -EMFILE;
  }
  control_cookie = cookie_of(fd);
  pthread_setspecific(key, &control);
  return control = fd;
}

/// A request on the calling thread's control channel, with a descriptor unless that is negative: 0 or a negative errno.
static int ask(struct iovec *parts, size_t count, int descriptor, struct answer *answer, struct iovec *reply) {
  int error = -ECONNREFUSED;
  // The second time if the server is another one than last time, or if the program has closed the channel.
  for (int attempt = 0; attempt < 2; attempt++) {
    const int fd = control_channel();
    if (fd < 0) return fd;
    const bool by_socket = mailbox == NULL || reply != NULL || descriptor >= 0;
    error = by_socket ? -EAGAIN : exchange_posted(fd, mailbox, parts, count, answer);
    if (error == -EAGAIN) error = exchange(fd, parts, count, descriptor, answer, reply);
    if (error == -EMSGSIZE) {
      const int bytes = 2 * REQUEST_MAX;
      if (syscall(SYS_setsockopt, fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) != 0) return error; // EPERM
      error = exchange(fd, parts, count, descriptor, answer, reply);
    }
    if (error == 0) return 0;
    if (error != -EPIPE && error != -ECONNRESET && cookie_of(fd) == control_cookie) return error;
    drop_control();
  }
  return error;
}

int channel_request(enum op op, struct id id, uint32_t a, uint32_t b, const struct iovec *payload, size_t count,
                    struct answer *answer) {
  struct request request = {op, id.low, id.high, a, b, processor()};
  struct iovec parts[IOV_MAX];
  if (count >= IOV_MAX) return -EMSGSIZE;
  parts[0] = (struct iovec){&request, sizeof request};
  if (count != 0) memcpy(parts + 1, payload, count * sizeof *payload);
  return ask(parts, count + 1, -1, answer, NULL);
}

int channel_find(int fd, struct answer *answer) {
  struct request request = {.op = OP_FIND, .processor = processor()};
  struct iovec part = {&request, sizeof request};
  return ask(&part, 1, fd, answer, NULL);
}

/// SO_NETNS_COOKIE, 0 where the kernel has none (before Linux 5.14).
static uint64_t namespace_of(int fd) {
  uint64_t cookie = 0;
  socklen_t length = sizeof cookie;
  syscall(SYS_getsockopt, fd, SOL_SOCKET, NETNS_COOKIE, &cookie, &length);
  return cookie;
}

int channel_ask(enum op op, int fd, const void *payload, size_t size, struct answer *answer, void *reply, size_t *length) {
  int own = control_channel();
  if (own >= 0 && namespace_of(own) != namespace_of(fd)) {
    // The thread has gone to another namespace since (setns).
    drop_control();
    own = control_channel();
    if (own >= 0 && namespace_of(own) != namespace_of(fd)) return -EOPNOTSUPP;
  }
  if (own < 0) return own;
  struct request request = {.op = op, .processor = processor()};
  struct iovec parts[2] = {{&request, sizeof request}, {(void *)payload, size}};
  struct iovec rest = {reply, *length};
  const int error = ask(parts, 2, -1, answer, &rest);
  *length = rest.iov_len;
  return error;
}

bool channel_served(void) {
  const int fd = dial(SOCK_CLOEXEC);
  if (fd >= 0) syscall(SYS_close, fd);
  return fd >= 0;
}

int channel_watch(void) {
  struct sockaddr_un address;
  if (!server_address(&address)) return -ENAMETOOLONG;
  char *slash = strrchr(address.sun_path, '/');
  if (slash == NULL) return -ENOTDIR;
  *(slash == address.sun_path ? slash + 1 : slash) = '\0';
  const int fd = sys(syscall(SYS_inotify_init1, IN_CLOEXEC | IN_NONBLOCK));
  if (fd < 0) return fd;
  // A server binds, listens, and sets the mode last.
  const int error = sys(syscall(SYS_inotify_add_watch, fd, address.sun_path, IN_CREATE | IN_MOVED_TO | IN_ATTRIB));
  if (error >= 0) return fd;
  syscall(SYS_close, fd);
  return error;
}
