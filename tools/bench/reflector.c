// Sends every UDP frame that arrives at a net device back to where it came from, so that connection tracking in between
// sees both directions.
//
//   cc -O2 -o reflector reflector.c
//   reflector DEV SECONDS
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
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what) {
  fprintf(stderr, "reflector: %s: %s\n", what, strerror(errno));
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void swap(uint8_t *a, uint8_t *b, size_t size) {
  uint8_t t[16];
  memcpy(t, a, size);
  memcpy(a, b, size);
  memcpy(b, t, size);
}

int main(int argc, char **argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: reflector DEV SECONDS\n");
    return 2;
  }
  double end = now() + atof(argv[2]);
  int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_IP));
  if (fd < 0) die("socket");
  struct sockaddr_ll addr = {
      .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_ifindex = (int)if_nametoindex(argv[1])};
  if (addr.sll_ifindex == 0) die(argv[1]);
  if (bind(fd, (struct sockaddr *)&addr, sizeof addr) < 0) die("bind");
  int one = 1, size = 8 << 20;
  if (setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one) < 0) die("PACKET_IGNORE_OUTGOING");
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
  unsigned long reflected = 0;
  while (now() < end) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (poll(&p, 1, 50) <= 0) continue;
    uint8_t frame[2048];
    ssize_t n = recv(fd, frame, sizeof frame, MSG_DONTWAIT);
    if (n < 42 || frame[14] != 0x45 || frame[23] != 17) continue;
    swap(frame, frame + 6, 6);
    swap(frame + 26, frame + 30, 4);
    swap(frame + 34, frame + 36, 2);
    if (send(fd, frame, (size_t)n, 0) == n) reflected++;
  }
  printf("{\"reflected\":%lu}\n", reflected);
  return 0;
}
