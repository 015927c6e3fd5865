// Counts what arrives on a net device each second, for benchmarks, by the device's own counters: no frame is copied.
//
//   cc -O2 -o sink sink.c
//   sink DEV [--seconds N]        the device's receive counters (rtnetlink, IFLA_STATS64)
//   sink --udp PORT [--seconds N] datagrams that reach a UDP socket
//
// Prints one JSON line a second, {"second":…,"packets":…,"bytes":…}, and a last one
// {"packets":…,"bytes":…,"seconds":…,"pps":…,"bps":…} over the whole time.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, MAX_DATAGRAM = 2048 };

struct count {
  uint64_t packets, bytes;
};

static volatile sig_atomic_t stop;

static void on_signal(int signo) {
  (void)signo;
  stop = 1;
}

static void die(const char *what) {
  fprintf(stderr, "sink: %s: %s\n", what, strerror(errno));
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct count device_counters(int fd, int ifindex) {
  struct {
    struct nlmsghdr nlh;
    struct ifinfomsg ifi;
  } req = {{sizeof req, RTM_GETLINK, NLM_F_REQUEST, 1, 0}, {.ifi_index = ifindex}};
  static char buf[32768];
  if (send(fd, &req, sizeof req, 0) < 0) die("send");
  ssize_t n = recv(fd, buf, sizeof buf, 0);
  if (n < 0) die("recv");
  struct nlmsghdr *nlh = (void *)buf;
  if (nlh->nlmsg_type != RTM_NEWLINK) {
    errno = ENODEV;
    die("RTM_GETLINK");
  }
  struct count count = {0, 0};
  int left = (int)IFLA_PAYLOAD(nlh);
  for (struct rtattr *a = IFLA_RTA(NLMSG_DATA(nlh)); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
    if (a->rta_type != IFLA_STATS64) continue;
    struct rtnl_link_stats64 stats;
    memcpy(&stats, RTA_DATA(a), sizeof stats < RTA_PAYLOAD(a) ? sizeof stats : RTA_PAYLOAD(a));
    count.packets = stats.rx_packets;
    count.bytes = stats.rx_bytes;
  }
  return count;
}

static void receive_until(int fd, struct count *count, double until) {
  static uint8_t data[BATCH][MAX_DATAGRAM];
  struct iovec iov[BATCH];
  struct mmsghdr msg[BATCH];
  memset(msg, 0, sizeof msg);
  for (int i = 0; i < BATCH; i++) {
    iov[i] = (struct iovec){data[i], MAX_DATAGRAM};
    msg[i].msg_hdr.msg_iov = &iov[i];
    msg[i].msg_hdr.msg_iovlen = 1;
  }
  while (!stop && now() < until) {
    int n = recvmmsg(fd, msg, BATCH, MSG_WAITFORONE, NULL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) die("recvmmsg");
    for (int i = 0; i < n; i++) {
      count->packets++;
      count->bytes += msg[i].msg_len;
    }
  }
}

int main(int argc, char **argv) {
  const char *device = NULL;
  int udp = 0;
  double seconds = 2;
  for (int i = 1; i < argc; i++) {
    if (!strcmp(argv[i], "--udp") && i + 1 < argc) udp = atoi(argv[++i]);
    else if (!strcmp(argv[i], "--seconds") && i + 1 < argc) seconds = atof(argv[++i]);
    else device = argv[i];
  }
  if (device == NULL && udp == 0) {
    fprintf(stderr, "usage: sink DEV|--udp PORT [--seconds N]\n");
    return 2;
  }
  signal(SIGINT, on_signal);
  signal(SIGTERM, on_signal);

  int fd, ifindex = 0;
  if (udp != 0) {
    fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)udp)};
    struct timeval timeout = {0, 100000};
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof addr) < 0) die("bind");
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout) < 0) die("SO_RCVTIMEO");
  } else {
    fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    ifindex = (int)if_nametoindex(device);
    if (fd < 0 || ifindex == 0) die(device);
  }

  const double begin = now();
  const struct count zero = {0, 0}, first = udp ? zero : device_counters(fd, ifindex);
  struct count last = first, total = first;
  double t = begin;
  for (int second = 1; !stop && t - begin < seconds; second++) {
    double until = begin + second < begin + seconds ? begin + second : begin + seconds;
    if (udp != 0) {
      receive_until(fd, &total, until);
    } else {
      const double wait = until - t;
      if (wait > 0) usleep((useconds_t)(wait * 1e6));
      total = device_counters(fd, ifindex);
    }
    t = now();
    printf("{\"second\":%d,\"packets\":%llu,\"bytes\":%llu}\n", second, (unsigned long long)(total.packets - last.packets),
           (unsigned long long)(total.bytes - last.bytes));
    fflush(stdout);
    last = total;
  }
  const uint64_t packets = total.packets - first.packets, bytes = total.bytes - first.bytes;
  printf("{\"packets\":%llu,\"bytes\":%llu,\"seconds\":%.3f,\"pps\":%.0f,\"bps\":%.0f}\n", (unsigned long long)packets,
         (unsigned long long)bytes, t - begin, (double)packets / (t - begin), (double)bytes * 8 / (t - begin));
  return 0;
}
