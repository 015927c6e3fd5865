// How long frames were on their way, for benchmarks: `generator --stamp 1` writes the time into each, the kernel notes when
// it arrives.
//
//   cc -O2 -o delays delays.c
//   delays DEV          until SIGTERM
//
// Prints one JSON line: {"packets":…,"p50":…,"longest":…,"gap":…}: milliseconds on the way (middle, longest), and the
// longest time in which nothing arrived.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 1 << 20, STAMP = 42, SNAP = 64 };

static volatile sig_atomic_t stop;

static void on_signal(int signo) {
  (void)signo;
  stop = 1;
}

static void die(const char *what) {
  fprintf(stderr, "delays: %s: %s\n", what, strerror(errno));
  exit(1);
}

static int by_value(const void *a, const void *b) {
  const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return x < y ? -1 : x > y;
}

static int64_t delay[MOST];

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: delays DEV\n");
    return 2;
  }
  struct sigaction action = {.sa_handler = on_signal};
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGINT, &action, NULL);
  int fd = socket(AF_PACKET, SOCK_RAW, 0);
  if (fd < 0) die("socket");
  int one = 1, size = 8 << 20;
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
  if (setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one) < 0) die("SO_TIMESTAMPNS");
  struct sockaddr_ll addr = {
      .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_ifindex = (int)if_nametoindex(argv[1])};
  if (bind(fd, (struct sockaddr *)&addr, sizeof addr) < 0) die(argv[1]);

  unsigned packets = 0;
  int64_t last = 0, gap = 0;
  while (!stop && packets < MOST) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (poll(&p, 1, 100) <= 0) continue;
    uint8_t frame[SNAP], control[128];
    struct iovec iov = {frame, sizeof frame};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    const ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT);
    const struct cmsghdr *c = n < STAMP + 8 ? NULL : CMSG_FIRSTHDR(&msg);
    if (c == NULL || c->cmsg_type != SCM_TIMESTAMPNS || frame[23] != IPPROTO_UDP) continue;
    struct timespec t;
    int64_t sent;
    memcpy(&t, CMSG_DATA(c), sizeof t);
    memcpy(&sent, frame + STAMP, sizeof sent);
    const int64_t arrived = t.tv_sec * 1000000000LL + t.tv_nsec;
    if (last != 0 && arrived - last > gap) gap = arrived - last;
    last = arrived;
    delay[packets++] = arrived - sent;
  }
  qsort(delay, packets, sizeof delay[0], by_value);
  printf("{\"packets\":%u,\"p50\":%.3f,\"longest\":%.3f,\"gap\":%.3f}\n", packets,
         packets ? (double)delay[packets / 2] / 1e6 : 0, packets ? (double)delay[packets - 1] / 1e6 : 0,
         (double)gap / 1e6);
  return 0;
}
