// The round trip of a generic-netlink request: CTRL_CMD_GETFAMILY of nlctrl, sent and its reply received. Run as it is for
// the kernel's own genetlink, and under `nokmod exec` for nokmod's. Prints the median and the 99th percentile in ns.
//
//   request [ROUNDS]
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { WARM_UP = 2000 };

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static int compare(const void *a, const void *b) {
  const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

int main(int argc, char **argv) {
  const int rounds = argc > 1 ? atoi(argv[1]) : 50000;
  if (rounds < 1) return 2;
  struct {
    struct nlmsghdr header;
    struct genlmsghdr generic;
    struct nlattr attribute;
    char name[8];
  } request = {
      .header = {.nlmsg_len = sizeof request, .nlmsg_type = GENL_ID_CTRL, .nlmsg_flags = NLM_F_REQUEST},
      .generic = {.cmd = CTRL_CMD_GETFAMILY, .version = 1},
      .attribute = {.nla_len = NLA_HDRLEN + 7, .nla_type = CTRL_ATTR_FAMILY_NAME},
      .name = "nlctrl",
  };
  const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
  const int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC);
  int64_t *times = malloc((size_t)rounds * sizeof *times);
  if (fd < 0 || times == NULL || connect(fd, (const struct sockaddr *)&kernel, sizeof kernel) != 0) {
    perror("netlink");
    return 1;
  }
  char reply[8192];
  for (int i = -WARM_UP; i < rounds; i++) {
    request.header.nlmsg_seq = (uint32_t)i;
    const int64_t start = now();
    // What comes is there when the send returns: no wait.
    if (send(fd, &request, sizeof request, 0) < 0 || recv(fd, reply, sizeof reply, MSG_DONTWAIT) < NLMSG_HDRLEN) {
      perror("request");
      return 1;
    }
    if (i >= 0) times[i] = now() - start;
    struct nlmsghdr header;
    memcpy(&header, reply, sizeof header);
    if (header.nlmsg_seq != (uint32_t)i || header.nlmsg_type != GENL_ID_CTRL) return 1;
  }
  qsort(times, (size_t)rounds, sizeof *times, compare);
  printf("%lld %lld\n", (long long)times[rounds / 2], (long long)times[rounds - 1 - rounds / 100]);
  return 0;
}
