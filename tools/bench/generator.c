// Sends UDP frames of many flows out of a net device, for benchmarks. Flows differ in source address and port.
//
//   cc -O2 -o generator generator.c
//   generator DEV [--flows N] [--burst N] [--size BYTES] [--rate PPS] [--seconds N] [--dst-mac M] [--dst A.B.C.D] [--src A.B.C.D]
//                [--stamp 1]
//
// --burst N sends N packets of a flow in a row, as one UDP segmentation offload packet that the kernel cuts into N before
// the device: the only way to make more than the cost of a system call per packet allows. The device must not do UDP
// segmentation itself (ethtool -K DEV tx-udp-segmentation off).
// --size is the frame's length without FCS (60 is the smallest on Ethernet); --rate 0 (default) is as fast as possible.
// --stamp 1 writes the time of day in nanoseconds into the first 8 bytes of the payload, for delays.c.
// Prints one JSON line: {"sent":…,"unsent":…,"seconds":…,"pps":…}
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, MAX_FRAME = 1514, HEADERS = 42, MAX_BURST = 32 };

static volatile sig_atomic_t stop;

static void on_signal(int signo) {
  (void)signo;
  stop = 1;
}

static void die(const char *what) {
  fprintf(stderr, "generator: %s: %s\n", what, strerror(errno));
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

static uint16_t ip_checksum(const uint8_t *p) {
  uint32_t sum = 0;
  for (int i = 0; i < 20; i += 2) sum += (uint32_t)(p[i] << 8 | p[i + 1]);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)~sum;
}

int main(int argc, char **argv) {
  unsigned flows = 1, size = 60, burst = 1, stamp = 0;
  double rate = 0, seconds = 2;
  uint8_t dst_mac[6] = {0x02, 0, 0, 0, 0, 2};
  uint32_t dst = ntohl(inet_addr("10.1.1.2")), src = ntohl(inet_addr("10.1.1.1"));
  if (argc < 2) {
    fprintf(stderr, "usage: generator DEV [--flows N] [--size BYTES] [--rate PPS] [--seconds N] [--dst-mac M] [--dst A] [--src A]\n");
    return 2;
  }
  for (int i = 2; i + 1 < argc; i += 2) {
    const char *v = argv[i + 1];
    if (!strcmp(argv[i], "--flows")) flows = (unsigned)atoi(v);
    if (!strcmp(argv[i], "--size")) size = (unsigned)atoi(v);
    if (!strcmp(argv[i], "--burst")) burst = (unsigned)atoi(v);
    if (!strcmp(argv[i], "--stamp")) stamp = (unsigned)atoi(v);
    if (!strcmp(argv[i], "--rate")) rate = atof(v);
    if (!strcmp(argv[i], "--seconds")) seconds = atof(v);
    if (!strcmp(argv[i], "--dst")) dst = ntohl(inet_addr(v));
    if (!strcmp(argv[i], "--src")) src = ntohl(inet_addr(v));
    if (!strcmp(argv[i], "--dst-mac") &&
        sscanf(v, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &dst_mac[0], &dst_mac[1], &dst_mac[2], &dst_mac[3], &dst_mac[4],
               &dst_mac[5]) != 6) {
      fprintf(stderr, "generator: bad MAC address %s\n", v);
      return 2;
    }
  }
  if (size < HEADERS || size > MAX_FRAME || flows == 0) {
    fprintf(stderr, "generator: size must be %d to %d, flows at least 1\n", HEADERS, MAX_FRAME);
    return 2;
  }

  if (stamp && size < HEADERS + 8) {
    fprintf(stderr, "generator: no room for a stamp\n");
    return 2;
  }
  if (burst == 0 || burst > MAX_BURST || burst * (size - HEADERS) > MAX_FRAME * 8) {
    fprintf(stderr, "generator: burst must be 1 to %d\n", MAX_BURST);
    return 2;
  }
  const unsigned payload = (size - HEADERS) * burst;

  int fd = socket(AF_PACKET, SOCK_RAW, 0);
  if (fd < 0) die("socket");
  struct ifreq ifr = {0};
  snprintf(ifr.ifr_name, sizeof ifr.ifr_name, "%s", argv[1]);
  if (ioctl(fd, SIOCGIFHWADDR, &ifr) < 0) die(argv[1]);
  struct sockaddr_ll addr = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(argv[1])};
  if (bind(fd, (struct sockaddr *)&addr, sizeof addr) < 0) die("bind");
  int one = 1;
  // A packet that the kernel has to cut must go the long way.
  if (burst == 1) setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof one);
  if (burst > 1 && setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof one) < 0) die("PACKET_VNET_HDR");

  static uint8_t frame[BATCH][HEADERS + MAX_FRAME * 8];
  struct virtio_net_hdr offload = {
      .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
      .gso_type = 5,  // VIRTIO_NET_HDR_GSO_UDP_L4
      .hdr_len = HEADERS,
      .gso_size = (uint16_t)(size - HEADERS),
      .csum_start = 34,
      .csum_offset = 6,
  };
  struct iovec iov[BATCH][2];
  struct mmsghdr msg[BATCH] = {0};
  for (int i = 0; i < BATCH; i++) {
    uint8_t *f = frame[i];
    memcpy(f, dst_mac, 6);
    memcpy(f + 6, ifr.ifr_hwaddr.sa_data, 6);
    put16(f + 12, ETH_P_IP);
    f[14] = 0x45;
    put16(f + 16, payload + 28);
    put16(f + 20, 0x4000);
    f[22] = 64;
    f[23] = IPPROTO_UDP;
    put16(f + 30, dst >> 16);
    put16(f + 32, dst & 0xffff);
    put16(f + 36, 9);  // discard
    put16(f + 38, payload + 8);
    iov[i][0] = (struct iovec){&offload, sizeof offload};
    iov[i][1] = (struct iovec){f, HEADERS + payload};
    msg[i].msg_hdr.msg_iov = burst > 1 ? iov[i] : &iov[i][1];
    msg[i].msg_hdr.msg_iovlen = burst > 1 ? 2 : 1;
  }
  signal(SIGINT, on_signal);
  signal(SIGTERM, on_signal);

  uint64_t sent = 0, unsent = 0;
  unsigned flow = 0;
  const double begin = now();
  double t = begin;
  while (!stop && t - begin < seconds) {
    unsigned count = BATCH;
    if (rate > 0) {
      const double due = (t - begin) * rate - (double)(sent + unsent);
      if (due < 1) {
        const struct timespec nap = {0, 50000};
        nanosleep(&nap, NULL);
        t = now();
        continue;
      }
      if (due < BATCH * burst) count = (unsigned)(due / burst) + 1;
    }
    for (unsigned i = 0; i < count; i++) {
      uint8_t *f = frame[i];
      const uint32_t from = src + flow / 50000;
      put16(f + 26, from >> 16);
      put16(f + 28, from & 0xffff);
      put16(f + 34, 10000 + flow % 50000);
      put16(f + 24, 0);
      put16(f + 24, ip_checksum(f + 14));
      if (++flow == flows) flow = 0;
      if (stamp) {
        struct timespec wall;
        clock_gettime(CLOCK_REALTIME, &wall);
        const int64_t ns = wall.tv_sec * 1000000000LL + wall.tv_nsec;
        memcpy(f + HEADERS, &ns, sizeof ns);
      }
    }
    for (unsigned done = 0; done < count;) {
      int r = sendmmsg(fd, msg + done, count - done, 0);
      if (r < 0) {
        unsent++;
        r = 1;
      } else {
        sent += (unsigned)r * burst;
      }
      done += (unsigned)r;
    }
    t = now();
  }
  printf("{\"sent\":%llu,\"unsent\":%llu,\"seconds\":%.3f,\"pps\":%.0f}\n", (unsigned long long)sent,
         (unsigned long long)unsent, t - begin, (double)sent / (t - begin));
  return 0;
}
