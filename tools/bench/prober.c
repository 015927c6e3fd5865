// Round trips of UDP frames of which every one starts a new flow, for benchmarks: each has a source address and port that
// no frame before it had, and a reflector at the other side sends it back.
//
//   cc -O2 -o prober prober.c
//   prober DEV [--window N] [--seconds N] [--dst-mac M] [--dst A.B.C.D] [--src A.B.C.D]
//
// --window N keeps N frames under way: 1 measures the time of a round trip, more the rate.
// A frame that has not come back after 500 ms is lost.
// Prints one JSON line: {"answered":…,"lost":…,"seconds":…,"rate":…,"p50":…,"p99":…}, times in microseconds.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { FRAME = 60, MOST = 1 << 20, FIRST_PORT = 10000, PORTS = 50000 };

static const double PATIENCE = 0.5;

static void die(const char *what) {
  fprintf(stderr, "prober: %s: %s\n", what, strerror(errno));
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void put16(uint8_t *p, unsigned v) {
  p[0] = (uint8_t)(v >> 8);
  p[1] = (uint8_t)v;
}

static unsigned get16(const uint8_t *p) { return (unsigned)(p[0] << 8 | p[1]); }

static void ip_checksum(uint8_t *p) {
  uint32_t sum = 0;
  put16(p + 10, 0);
  for (int i = 0; i < 20; i += 2) sum += get16(p + i);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  put16(p + 10, (uint16_t)~sum);
}

static int by_value(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static double sent_at[MOST];  // 0: not sent, or done with
static double trips[MOST];

int main(int argc, char **argv) {
  unsigned window = 1;
  double seconds = 2;
  uint8_t dst_mac[6] = {0x02, 0, 0, 0, 0, 2};
  uint32_t dst = ntohl(inet_addr("10.9.0.2")), src = ntohl(inet_addr("10.64.0.0"));
  if (argc < 2) {
    fprintf(stderr, "usage: prober DEV [--window N] [--seconds N] [--dst-mac M] [--dst A] [--src A]\n");
    return 2;
  }
  for (int i = 2; i + 1 < argc; i += 2) {
    const char *v = argv[i + 1];
    if (!strcmp(argv[i], "--window")) window = (unsigned)atoi(v);
    if (!strcmp(argv[i], "--seconds")) seconds = atof(v);
    if (!strcmp(argv[i], "--dst")) dst = ntohl(inet_addr(v));
    if (!strcmp(argv[i], "--src")) src = ntohl(inet_addr(v));
    if (!strcmp(argv[i], "--dst-mac") &&
        sscanf(v, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &dst_mac[0], &dst_mac[1], &dst_mac[2], &dst_mac[3], &dst_mac[4],
               &dst_mac[5]) != 6) {
      fprintf(stderr, "prober: bad MAC address %s\n", v);
      return 2;
    }
  }
  int fd = socket(AF_PACKET, SOCK_RAW, 0);
  if (fd < 0) die("socket");
  struct ifreq ifr = {0};
  snprintf(ifr.ifr_name, sizeof ifr.ifr_name, "%s", argv[1]);
  if (ioctl(fd, SIOCGIFHWADDR, &ifr) < 0) die(argv[1]);
  int one = 1, size = 8 << 20;
  setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one);
  setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof one);
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
  struct sockaddr_ll addr = {
      .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_ifindex = (int)if_nametoindex(argv[1])};
  if (bind(fd, (struct sockaddr *)&addr, sizeof addr) < 0) die("bind");

  uint8_t f[FRAME] = {0};
  memcpy(f, dst_mac, 6);
  memcpy(f + 6, ifr.ifr_hwaddr.sa_data, 6);
  put16(f + 12, ETH_P_IP);
  f[14] = 0x45;
  put16(f + 16, FRAME - 14);
  put16(f + 20, 0x4000);
  f[22] = 64;
  f[23] = IPPROTO_UDP;
  put16(f + 30, dst >> 16);
  put16(f + 32, dst & 0xffff);
  put16(f + 36, 9);  // discard
  put16(f + 38, FRAME - 34);

  unsigned next = 0, oldest = 0, waiting = 0, answered = 0, lost = 0;
  const double begin = now();
  double t = begin;
  while (t - begin < seconds && next < MOST) {
    for (; waiting < window && next < MOST; next++, waiting++) {
      const uint32_t from = src + next / PORTS;
      put16(f + 26, from >> 16);
      put16(f + 28, from & 0xffff);
      put16(f + 34, FIRST_PORT + next % PORTS);
      ip_checksum(f + 14);
      sent_at[next] = now();
      if (send(fd, f, sizeof f, 0) < 0) die("send");
    }
    struct pollfd p = {.fd = fd, .events = POLLIN};
    poll(&p, 1, 100);
    uint8_t in[2048];
    ssize_t n;
    while ((n = recv(fd, in, sizeof in, MSG_DONTWAIT)) >= 0) {
      t = now();
      if (n < 42 || in[14] != 0x45 || in[23] != IPPROTO_UDP) continue;
      const uint32_t to = get16(in + 30) << 16 | get16(in + 32);
      const unsigned number = (to - src) * PORTS + get16(in + 36) - FIRST_PORT;
      if (to < src || number >= next || sent_at[number] == 0) continue;
      trips[answered++] = (t - sent_at[number]) * 1e6;
      sent_at[number] = 0;
      waiting--;
    }
    t = now();
    for (; oldest < next && (sent_at[oldest] == 0 || t - sent_at[oldest] > PATIENCE); oldest++) {
      if (sent_at[oldest] == 0) continue;
      sent_at[oldest] = 0;
      waiting--;
      lost++;
    }
  }
  qsort(trips, answered, sizeof trips[0], by_value);
  printf("{\"answered\":%u,\"lost\":%u,\"seconds\":%.3f,\"rate\":%.0f,\"p50\":%.1f,\"p99\":%.1f}\n", answered, lost,
         t - begin, answered / (t - begin), answered ? trips[answered / 2] : 0,
         answered ? trips[(unsigned)(answered * 0.99)] : 0);
  return 0;
}
