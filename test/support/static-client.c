// A statically linked client of generic netlink that makes every system call by itself: no library can stand in front of
// it. Written for test/integration/seccomp.test.ts: `static-client COMMAND [ARGUMENT …]`, what it finds on stdout.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <linux/openvswitch.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long call6(long number, long a, long b, long c, long d, long e, long f) {
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}
#define CALL(name, ...) CALL_(name, ##__VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define CALL_(name, a, b, c, d, e, f, ...) \
  call6(SYS_##name, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

static const char *name_of(long result) {
  static _Thread_local char text[32];
  if (result < 0) return strerrorname_np((int)-result);
  snprintf(text, sizeof text, "%ld", result);
  return text;
}

static int opened(int flags) { return (int)CALL(socket, AF_NETLINK, SOCK_RAW | flags, NETLINK_GENERIC); }

static uint32_t port_of(int fd) {
  struct sockaddr_nl name;
  socklen_t length = sizeof name;
  return CALL(getsockname, fd, &name, &length) == 0 && length == sizeof name && name.nl_family == AF_NETLINK ? name.nl_pid
                                                                                                          : 0;
}

struct request {
  struct nlmsghdr header;
  struct genlmsghdr generic;
  char bytes[256];
};

static void begin(struct request *request, int family, int flags, int command, int version, uint32_t seq) {
  memset(request, 0, sizeof *request);
  request->header = (struct nlmsghdr){NLMSG_LENGTH(GENL_HDRLEN), (uint16_t)family, (uint16_t)(NLM_F_REQUEST | flags), seq, 0};
  request->generic = (struct genlmsghdr){(uint8_t)command, (uint8_t)version, 0};
}

static void append(struct request *request, const void *bytes, size_t size) {
  memcpy((char *)request + request->header.nlmsg_len, bytes, size);
  request->header.nlmsg_len += NLMSG_ALIGN((uint32_t)size);
}

static void attribute(struct request *request, int type, const void *bytes, size_t size) {
  const struct nlattr header = {(uint16_t)(NLA_HDRLEN + size), (uint16_t)type};
  append(request, &header, sizeof header);
  append(request, bytes, size);
}

static char buffer[65536];

/// Sends a request and reads the first message of what came of it, at once: -EAGAIN when nothing waits.
static long ask(int fd, struct request *request, char *answer, size_t size) {
  const long sent = CALL(sendto, fd, request, request->header.nlmsg_len, 0, NULL, 0);
  if (sent < 0) return sent;
  return CALL(recvfrom, fd, answer, size, MSG_DONTWAIT, NULL, NULL);
}

/// The attribute of a message; NULL if it has none. `skip`: bytes of the family's own header.
static const struct nlattr *find(const char *message, size_t skip, int type) {
  const struct nlmsghdr *header = (const struct nlmsghdr *)message;
  for (size_t at = NLMSG_LENGTH(GENL_HDRLEN) + skip; at + NLA_HDRLEN <= header->nlmsg_len;) {
    const struct nlattr *one = (const struct nlattr *)(message + at);
    if (one->nla_len < NLA_HDRLEN) return NULL;
    if ((one->nla_type & NLA_TYPE_MASK) == type) return one;
    at += NLA_ALIGN(one->nla_len);
  }
  return NULL;
}

/// A family's number, or a negative errno.
static int family(int fd, const char *name, uint32_t seq, uint32_t *group) {
  struct request request;
  char answer[8192];
  begin(&request, GENL_ID_CTRL, 0, CTRL_CMD_GETFAMILY, 1, seq);
  attribute(&request, CTRL_ATTR_FAMILY_NAME, name, strlen(name) + 1);
  const long length = ask(fd, &request, answer, sizeof answer);
  if (length < 0) return (int)length;
  const struct nlmsghdr *header = (const struct nlmsghdr *)answer;
  if (header->nlmsg_seq != seq) return -EBADMSG;
  if (header->nlmsg_type == NLMSG_ERROR) return ((const struct nlmsgerr *)NLMSG_DATA(header))->error;
  const struct nlattr *id = find(answer, 0, CTRL_ATTR_FAMILY_ID);
  const struct nlattr *groups = find(answer, 0, CTRL_ATTR_MCAST_GROUPS);
  if (group != NULL && groups != NULL) {
    // One group: { NAME, ID } in either order.
    const char *inner = (const char *)groups + 2 * NLA_HDRLEN, *end = (const char *)groups + groups->nla_len;
    while (inner < end) {
      const struct nlattr *one = (const struct nlattr *)inner;
      if (one->nla_type == CTRL_ATTR_MCAST_GRP_ID) memcpy(group, inner + NLA_HDRLEN, sizeof *group);
      inner += NLA_ALIGN(one->nla_len);
    }
  }
  return id == NULL ? -EPROTO : *(const uint16_t *)((const char *)id + NLA_HDRLEN);
}

static int families(int count, char **names) {
  const int fd = opened(SOCK_CLOEXEC);
  for (int i = 0; i < count; i++) {
    const int number = family(fd, names[i], (uint32_t)i + 1, NULL);
    printf("%s %s\n", names[i], number < 0 ? name_of(number) : number >= NLMSG_MIN_TYPE ? "found" : "odd");
  }
  return 0;
}

static int datapath(const char *name) {
  const int fd = opened(0);
  struct request request;
  const int32_t none = 0;
  const uint32_t no_port = 0;
  begin(&request, family(fd, OVS_DATAPATH_FAMILY, 1, NULL), NLM_F_ECHO, OVS_DP_CMD_NEW, OVS_DATAPATH_VERSION, 2);
  append(&request, &none, sizeof none);
  attribute(&request, OVS_DP_ATTR_NAME, name, strlen(name) + 1);
  attribute(&request, OVS_DP_ATTR_UPCALL_PID, &no_port, sizeof no_port);
  const long length = ask(fd, &request, buffer, sizeof buffer);
  const struct nlmsghdr *header = (const struct nlmsghdr *)buffer;
  if (length < 0) return printf("%s\n", name_of(length)), 1;
  if (header->nlmsg_type == NLMSG_ERROR) {
    return printf("%s\n", name_of(((const struct nlmsgerr *)NLMSG_DATA(header))->error)), 1;
  }
  const struct nlattr *told = find(buffer, 4, OVS_DP_ATTR_NAME);
  printf("%s %s\n", told == NULL ? "?" : (const char *)told + NLA_HDRLEN, port_of(fd) == header->nlmsg_pid ? "mine" : "other");
  return 0;
}

/// Counts flows as OVS does: an empty queue is the end.
static int dump(const char *ifindex, const char *how) {
  const int fd = opened(0);
  struct request request;
  const int32_t number = atoi(ifindex);
  begin(&request, family(fd, OVS_FLOW_FAMILY, 1, NULL), NLM_F_DUMP, OVS_FLOW_CMD_GET, OVS_FLOW_VERSION, 2);
  append(&request, &number, sizeof number);
  if (CALL(write, fd, &request, request.header.nlmsg_len) < 0) return 1;
  int flows = 0, done = 0;
  struct mmsghdr many[4];
  struct iovec parts[4];
  for (int i = 0; i < 4; i++) {
    parts[i] = (struct iovec){buffer + 16384 * i, 16384};
    many[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &parts[i], .msg_iovlen = 1}};
  }
  while (!done) {
    long count = 1;
    if (strcmp(how, "many") == 0) {
      count = CALL(recvmmsg, fd, many, 4, MSG_DONTWAIT, NULL);
    } else {
      const long length = strcmp(how, "read") == 0 ? CALL(read, fd, buffer, 16384) : CALL(recvmsg, fd, &many[0].msg_hdr, MSG_DONTWAIT);
      if (length < 0) count = length;
      many[0].msg_len = (unsigned)length;
    }
    if (count < 0) return printf("%d flows, then %s\n", flows, name_of(count)), 1;
    for (long i = 0; i < count; i++) {
      for (unsigned at = 0; at < many[i].msg_len;) {
        const struct nlmsghdr *header = (const struct nlmsghdr *)(buffer + 16384 * i + at);
        if (header->nlmsg_type == NLMSG_DONE) done = 1;
        else flows++;
        at += NLMSG_ALIGN(header->nlmsg_len);
      }
    }
  }
  printf("%d flows, done\n", flows);
  return 0;
}

/// Waits by epoll, edge-triggered, and takes messages until the queue is empty each time.
static int wait_edge(int fd, int wanted, int command, const char *what) {
  struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = 0x1122334455667788};
  const int epoll = (int)CALL(epoll_create1, 0);
  if (CALL(epoll_ctl, epoll, EPOLL_CTL_ADD, fd, &event) != 0) return 1;
  printf("ready %u\n", port_of(fd));
  fflush(stdout);
  int seen = 0;
  while (seen < wanted) {
    const long ready = CALL(epoll_wait, epoll, &event, 1, 10000);
    if (ready != 1 || event.data.u64 != 0x1122334455667788) return printf("%d, then %s\n", seen, name_of(ready)), 1;
    for (;;) {
      struct sockaddr_nl sender = {.nl_pid = 77};
      socklen_t size = sizeof sender;
      const long length = CALL(recvfrom, fd, buffer, sizeof buffer, 0, &sender, &size);
      if (length == -EAGAIN) break;
      if (length < 0) return printf("%d, then %s\n", seen, name_of(length)), 1;
      if (size != sizeof sender || sender.nl_family != AF_NETLINK || sender.nl_pid != 0) return printf("bad sender\n"), 1;
      const struct genlmsghdr *generic = NLMSG_DATA(buffer);
      if (generic->cmd == command) seen++;
    }
  }
  printf("%d %s\n", seen, what);
  return 0;
}

static int events(const char *count) {
  const int fd = opened(SOCK_NONBLOCK);
  uint32_t group = 0;
  if (family(fd, OVS_DATAPATH_FAMILY, 1, &group) < 0) return 1;
  if (CALL(setsockopt, fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) != 0) return 1;
  return wait_edge(fd, atoi(count), OVS_DP_CMD_NEW, "new datapaths");
}

static int upcalls(const char *count) {
  const int fd = opened(SOCK_NONBLOCK), buffer_size = 1 << 20;
  CALL(setsockopt, fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer_size, sizeof buffer_size);
  struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
  if (CALL(connect, fd, &kernel, sizeof kernel) != 0) return 1;
  return wait_edge(fd, atoi(count), OVS_PACKET_CMD_MISS, "upcalls");
}

static int common, turns;

/// A socket of its own for each request, and one for all.
static void *work(void *argument) {
  const long number = (long)argument;
  long failures = 0;
  const int mine = opened(SOCK_CLOEXEC);
  for (int i = 0; i < turns; i++) {
    if (family(mine, OVS_FLOW_FAMILY, (uint32_t)(number * 100000 + i), NULL) < 0) failures++;
    const int fresh = opened(SOCK_CLOEXEC);
    if (family(fresh, OVS_VPORT_FAMILY, (uint32_t)(number * 100000 + i), NULL) < 0) failures++;
    CALL(close, fresh);
    struct request request;
    begin(&request, GENL_ID_CTRL, NLM_F_ACK, 0xff, 1, 1);
    CALL(sendto, common, &request, request.header.nlmsg_len, 0, NULL, 0);
    char answer[256];
    if (CALL(recvfrom, common, answer, sizeof answer, 0, NULL, NULL) < (long)NLMSG_HDRLEN) failures++;
  }
  CALL(close, mine);
  return (void *)failures;
}

static int threads(const char *count, const char *each) {
  pthread_t pool[64];
  const int number = atoi(count);
  turns = atoi(each);
  common = opened(0);
  long failures = 0;
  for (long i = 0; i < number; i++) pthread_create(&pool[i], NULL, work, (void *)i);
  for (int i = 0; i < number; i++) {
    void *failed;
    pthread_join(pool[i], &failed);
    failures += (long)failed;
  }
  printf("%ld failures\n", failures);
  return 0;
}

/// A thread that waits in a receive holds nobody up, and is served.
static void *reader(void *argument) {
  (void)argument;
  char answer[8192];
  return (void *)CALL(recvfrom, common, answer, sizeof answer, 0, NULL, NULL);
}

static int waiting(void) {
  pthread_t thread;
  common = opened(0);
  const int other = opened(0);
  pthread_create(&thread, NULL, reader, NULL);
  usleep(50000);
  printf("another socket %s\n", family(other, OVS_FLOW_FAMILY, 1, NULL) > 0 ? "works" : "waits");
  struct request request;
  begin(&request, GENL_ID_CTRL, 0, CTRL_CMD_GETFAMILY, 1, 9);
  attribute(&request, CTRL_ATTR_FAMILY_NAME, OVS_FLOW_FAMILY, sizeof OVS_FLOW_FAMILY);
  CALL(sendto, common, &request, request.header.nlmsg_len, 0, NULL, 0);
  void *length;
  pthread_join(thread, &length);
  printf("the reader %s\n", (long)length > 0 ? "is served" : name_of((long)length));
  return 0;
}

static int in_child(int (*action)(int), int fd) {
  const pid_t child = fork();
  if (child == 0) _exit(action(fd));
  int status;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int use(int fd) { return family(fd, OVS_DATAPATH_FAMILY, (uint32_t)getpid(), NULL) > 0 ? 0 : 1; }
static int use_own(int fd) {
  (void)fd;
  const int own = opened(0);
  return use(own) == 0 && port_of(own) == (uint32_t)getpid() ? 0 : 1;
}
static int use_in_child(int fd) { return in_child(use, fd); }
static int close_it(int fd) { return (int)CALL(close, fd); }
static int clone_entry(void *fd) { return use(*(int *)fd); }

static int forks(void) {
  const int fd = opened(0);
  printf("parent %d\n", use(fd));
  printf("child %d\n", in_child(use, fd));
  printf("grandchild %d\n", in_child(use_in_child, fd));
  printf("own socket of a child %d\n", in_child(use_own, fd));
  printf("after a child closed it %d %d\n", in_child(close_it, fd), use(fd));
  static char stack[65536] __attribute__((aligned(16)));
  int status = -1;
  const int child = clone(clone_entry, stack + sizeof stack, CLONE_FILES | CLONE_VM | SIGCHLD, (void *)&fd);
  waitpid(child, &status, 0);
  printf("shared table %d\n", status);
  const long copy = CALL(dup, fd), number = CALL(fcntl, fd, F_DUPFD_CLOEXEC, 10), placed = CALL(dup3, fd, 700, 0);
  printf("copies %d %d %d %ld\n", use((int)copy), use((int)number), use((int)placed), CALL(fcntl, number, F_GETFD));
  const uint32_t port = port_of(fd);
  CALL(close, fd);
  CALL(close, copy);
  CALL(close, number);
  printf("one copy is left %d\n", use(700));
  CALL(close_range, 700, 700, 0);
  const int next = opened(0);
  struct sockaddr_nl wanted = {.nl_family = AF_NETLINK, .nl_pid = port};
  long bound;
  // The server hears of the end as soon as it reads.
  for (int i = 0; (bound = CALL(bind, next, &wanted, sizeof wanted)) == -EADDRINUSE && i < 100; i++) usleep(10000);
  printf("its port id is free again %s\n", name_of(bound));
  return 0;
}

/// exec: a socket that stays, and one that is closed.
static int execs(char *self) {
  const int stays = opened(0), goes = opened(SOCK_CLOEXEC);
  char first[16], second[16];
  snprintf(first, sizeof first, "%d", stays);
  snprintf(second, sizeof second, "%d", goes);
  fflush(stdout);
  char *arguments[] = {self, "inherited", first, second, NULL};
  CALL(execve, "/proc/self/exe", arguments, environ);
  return 1;
}

static int inherited(const char *stays, const char *goes) {
  printf("inherited %d, closed on exec %s\n", use(atoi(stays)), name_of(CALL(fcntl, atoi(goes), F_GETFD)));
  return 0;
}

static volatile sig_atomic_t alarms;
static void on_alarm(int number) {
  (void)number;
  alarms++;
}

/// A signal whose handler does not restart calls ends a receive; one whose handler does so does not.
static int signals(void) {
  const int fd = opened(0);
  struct sigaction action = {.sa_handler = on_alarm};
  const struct itimerval soon = {.it_value = {0, 50000}};
  sigaction(SIGALRM, &action, NULL);
  setitimer(ITIMER_REAL, &soon, NULL);
  printf("%s", name_of(CALL(recvfrom, fd, buffer, sizeof buffer, 0, NULL, NULL)));
  printf(" after %d\n", alarms);
  action.sa_flags = SA_RESTART;
  sigaction(SIGALRM, &action, NULL);
  setitimer(ITIMER_REAL, &soon, NULL);
  const pid_t child = fork();
  if (child == 0) {
    // Ends the wait that the signal has not ended.
    struct request request;
    begin(&request, GENL_ID_CTRL, 0, CTRL_CMD_GETFAMILY, 1, 1);
    attribute(&request, CTRL_ATTR_FAMILY_NAME, OVS_FLOW_FAMILY, sizeof OVS_FLOW_FAMILY);
    usleep(200000);
    _exit(CALL(write, fd, &request, request.header.nlmsg_len) < 0);
  }
  const long length = CALL(recvfrom, fd, buffer, sizeof buffer, 0, NULL, NULL);
  printf("%s after %d\n", length > 0 ? "a message" : name_of(length), alarms);
  const struct timeval limit = {0, 60000};
  struct timespec before, after;
  CALL(setsockopt, fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  clock_gettime(CLOCK_MONOTONIC, &before);
  const long result = CALL(recvfrom, fd, buffer, sizeof buffer, 0, NULL, NULL);
  clock_gettime(CLOCK_MONOTONIC, &after);
  const long ms = (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000;
  printf("%s %s\n", name_of(result), ms >= 59 && ms < 1000 ? "in time" : "late");
  return 0;
}

/// A socket is handed to another process over a unix socket, and put in a low place by dup2().
static int passes(void) {
  int pair[2];
  const int fd = opened(0);
  if (CALL(socketpair, AF_UNIX, SOCK_DGRAM, 0, pair) != 0) return 1;
  char byte = 0;
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof fd)];
  } control;
  struct iovec part = {&byte, 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  control.header = (struct cmsghdr){CMSG_LEN(sizeof fd), SOL_SOCKET, SCM_RIGHTS};
  memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
  if (CALL(sendmsg, pair[0], &message, 0) != 1) return 1;
  CALL(close, fd);
  if (CALL(recvmsg, pair[1], &message, 0) != 1) return 1;
  int low;
  memcpy(&low, CMSG_DATA(&control.header), sizeof low);
  // A number that nobody watches: the answer comes a moment later.
  struct request request;
  begin(&request, GENL_ID_CTRL, 0, CTRL_CMD_GETFAMILY, 1, 5);
  attribute(&request, CTRL_ATTR_FAMILY_NAME, OVS_FLOW_FAMILY, sizeof OVS_FLOW_FAMILY);
  const long sent = CALL(write, low, &request, request.header.nlmsg_len);
  const long length = CALL(read, low, buffer, sizeof buffer);
  printf("low %d: %s %s\n", low < 600, sent == request.header.nlmsg_len ? "sent" : name_of(sent),
         length > 0 && ((struct nlmsghdr *)buffer)->nlmsg_seq == 5 ? "answered" : name_of(length));
  const long high = CALL(fcntl, low, F_DUPFD, 600);
  printf("high: %d\n", use((int)high));
  return 0;
}

/// What socket() gives for other protocols and types, and what the kernel's sockets do.
static int others(void) {
  printf("sock_diag %d\n", CALL(socket, AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG) < 600);
  printf("stream %s\n", name_of(CALL(socket, AF_NETLINK, SOCK_STREAM, NETLINK_GENERIC)));
  printf("no protocol %s\n", name_of(CALL(socket, AF_NETLINK, SOCK_RAW, 31)));
  const int fd = opened(SOCK_NONBLOCK), copy = (int)CALL(dup, fd);
  // Generic families of the kernel's are its own: the socket becomes one of its.
  printf("no such family %d\n", family(fd, "no such one", 3, NULL));
  printf("kernel's nlctrl %s\n", family(fd, "nlctrl", 4, NULL) == GENL_ID_CTRL ? "answers" : "is silent");
  printf("still non-blocking %s\n", name_of(CALL(recvfrom, copy, buffer, sizeof buffer, 0, NULL, NULL)));
  printf("an ovs family there %s\n", name_of(family(copy, "ovs_nosuch", 5, NULL)));
  return 0;
}

static void no_such_calls(int signal) {
  (void)signal;
  static const char text[] = "no such calls\n";
  _exit(write(STDOUT_FILENO, text, sizeof text - 1) < 0);
}

/// A socket by the 32-bit table of calls: the kernel's, whoever supervises.
static int foreign(void) {
  long fd = -ENOSYS;
  // So answers a kernel that was built, or started, without them.
  signal(SIGSEGV, no_such_calls);
#ifdef __x86_64__
  __asm__ volatile("int $0x80" : "=a"(fd) : "a"(359L), "b"((long)AF_NETLINK), "c"((long)SOCK_RAW), "d"((long)NETLINK_GENERIC) : "memory");
#endif
  if (fd == -ENOSYS) return printf("no such calls\n"), 0;
  printf("%s %s\n", fd >= 0 && fd < 600 ? "the kernel's" : name_of(fd), name_of(family((int)fd, "ovs_flow", 1, NULL)));
  return 0;
}

static int by_time(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/// Microseconds that a request and its answer take: median and 99th percentile of many.
static int bench(const char *count) {
  const int fd = opened(0), number = atoi(count);
  double *times = calloc((size_t)number, sizeof *times);
  for (int i = 0; i < number; i++) {
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    if (family(fd, OVS_DATAPATH_FAMILY, (uint32_t)i + 1, NULL) < 0) return 1;
    clock_gettime(CLOCK_MONOTONIC, &after);
    times[i] = (double)(after.tv_sec - before.tv_sec) * 1e6 + (double)(after.tv_nsec - before.tv_nsec) / 1e3;
  }
  qsort(times, (size_t)number, sizeof *times, by_time);
  printf("%.1f %.1f\n", times[number / 2], times[number * 99 / 100]);
  free(times);
  return 0;
}

int main(int count, char **arguments) {
  const char *command = count > 1 ? arguments[1] : "";
  const char *first = count > 2 ? arguments[2] : "", *second = count > 3 ? arguments[3] : "";
  if (strcmp(command, "families") == 0) return families(count - 2, arguments + 2);
  if (strcmp(command, "datapath") == 0) return datapath(first);
  if (strcmp(command, "dump") == 0) return dump(first, second);
  if (strcmp(command, "events") == 0) return events(first);
  if (strcmp(command, "upcalls") == 0) return upcalls(first);
  if (strcmp(command, "threads") == 0) return threads(first, second);
  if (strcmp(command, "waiting") == 0) return waiting();
  if (strcmp(command, "forks") == 0) return forks();
  if (strcmp(command, "execs") == 0) return execs(arguments[0]);
  if (strcmp(command, "inherited") == 0) return inherited(first, second);
  if (strcmp(command, "signals") == 0) return signals();
  if (strcmp(command, "passes") == 0) return passes();
  if (strcmp(command, "foreign") == 0) return foreign();
  if (strcmp(command, "others") == 0) return others();
  if (strcmp(command, "bench") == 0) return bench(first);
  return 2;
}
