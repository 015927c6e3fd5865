// A plain forwarder between two net devices: the limit of the method that nokmod's ports use. It takes frames from a packet
// ring (PACKET_RX_RING) of either device and sends them out of the other, and looks at nothing. PACKET_VNET_HDR is on, so
// that segments of 64 KiB and partial checksums pass whole; a VLAN tag that the kernel took out of the frame is put back.
//
//   cc -O2 -o forwarder forwarder.c
//   forwarder DEV1 DEV2 [--rx v2|v3] [--tx mmsg|ring] [--seconds N]
//
//   --rx v2     one slot of 2 KiB a frame; larger frames come whole by recvmsg (PACKET_COPY_THRESH). Wakes per frame.
//   --rx v3     blocks; a block is handed over when it is full or after 1 ms.
//   --tx mmsg   sendmmsg from where the frame lies
//   --tx ring   frames are copied to a PACKET_TX_RING
//
// Prints one JSON line with what was forwarded at the end.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif

enum { BATCH = 256, RESERVE = 64, VNET = sizeof(struct virtio_net_hdr), LARGE = 66 * 1024, LARGES = 64 };
enum { V2_SLOT = 2048, V2_SLOTS = 2048, V2_BLOCK = 1 << 16 };
enum { V3_BLOCK = 1 << 18, V3_BLOCKS = 16 };
enum { TX_SLOT = 67584, TX_SLOTS = 256 };

struct frame {
  uint8_t *data;  // the virtio_net_hdr, then the frame
  size_t len;
};

struct port {
  int fd, ifindex;
  uint8_t *ring;
  unsigned next;          // V2: slot; V3: block
  unsigned left;          // V3: frames left in the open block
  uint8_t *at;            // V3: next frame
  int tx_fd;
  uint8_t *tx_ring;
  unsigned tx_next;
  uint64_t packets, bytes, unsent;
};

static int rx_v3, tx_ring;
static volatile sig_atomic_t stop;
static uint8_t *large;     // LARGES buffers for frames that do not fit a V2 slot
static struct mmsghdr out[BATCH];
static struct iovec iov[BATCH];
static struct frame batch[BATCH];

static void on_signal(int signo) {
  (void)signo;
  stop = 1;
}

static void die(const char *what) {
  fprintf(stderr, "forwarder: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void set(int fd, int name, int value) {
  if (setsockopt(fd, SOL_PACKET, name, &value, sizeof value) < 0) die("setsockopt");
}

static void open_port(struct port *p, const char *name) {
  memset(p, 0, sizeof *p);
  p->ifindex = (int)if_nametoindex(name);
  if (p->ifindex == 0) die(name);
  p->fd = socket(AF_PACKET, SOCK_RAW, 0);
  if (p->fd < 0) die("socket");
  set(p->fd, PACKET_VERSION, rx_v3 ? TPACKET_V3 : TPACKET_V2);
  set(p->fd, PACKET_VNET_HDR, 1);
  set(p->fd, PACKET_RESERVE, RESERVE);
  set(p->fd, PACKET_IGNORE_OUTGOING, 1);
  int size = 64 << 20;
  setsockopt(p->fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
  size_t bytes;
  if (rx_v3) {
    struct tpacket_req3 req = {.tp_block_size = V3_BLOCK, .tp_block_nr = V3_BLOCKS, .tp_frame_size = 2048,
                               .tp_frame_nr = V3_BLOCK / 2048 * V3_BLOCKS, .tp_retire_blk_tov = 1};
    if (setsockopt(p->fd, SOL_PACKET, PACKET_RX_RING, &req, sizeof req) < 0) die("PACKET_RX_RING");
    bytes = (size_t)V3_BLOCK * V3_BLOCKS;
  } else {
    set(p->fd, PACKET_COPY_THRESH, 1);
    struct tpacket_req req = {.tp_block_size = V2_BLOCK, .tp_block_nr = V2_SLOT * V2_SLOTS / V2_BLOCK,
                              .tp_frame_size = V2_SLOT, .tp_frame_nr = V2_SLOTS};
    if (setsockopt(p->fd, SOL_PACKET, PACKET_RX_RING, &req, sizeof req) < 0) die("PACKET_RX_RING");
    bytes = (size_t)V2_SLOT * V2_SLOTS;
  }
  p->ring = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, p->fd, 0);
  if (p->ring == MAP_FAILED) die("mmap");
  struct sockaddr_ll addr = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = p->ifindex};
  if (bind(p->fd, (struct sockaddr *)&addr, sizeof addr) < 0) die("bind");
  struct packet_mreq mreq = {.mr_ifindex = p->ifindex, .mr_type = PACKET_MR_PROMISC};
  if (setsockopt(p->fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &mreq, sizeof mreq) < 0) die("PACKET_ADD_MEMBERSHIP");

  p->tx_fd = socket(AF_PACKET, SOCK_RAW, 0);
  if (p->tx_fd < 0) die("socket");
  set(p->tx_fd, PACKET_VERSION, TPACKET_V2);
  set(p->tx_fd, PACKET_VNET_HDR, 1);
  setsockopt(p->tx_fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
  if (tx_ring) {
    set(p->tx_fd, PACKET_LOSS, 1);
    struct tpacket_req req = {.tp_block_size = TX_SLOT / 4096 * 4096 + 4096, .tp_block_nr = TX_SLOTS, .tp_frame_size = TX_SLOT,
                              .tp_frame_nr = TX_SLOTS};
    req.tp_block_size = 1 << 17;
    req.tp_frame_nr = req.tp_block_nr * (req.tp_block_size / req.tp_frame_size);
    if (setsockopt(p->tx_fd, SOL_PACKET, PACKET_TX_RING, &req, sizeof req) < 0) die("PACKET_TX_RING");
    p->tx_ring = mmap(NULL, (size_t)req.tp_block_size * req.tp_block_nr, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                      p->tx_fd, 0);
    if (p->tx_ring == MAP_FAILED) die("mmap");
  }
  addr.sll_protocol = 0;
  if (bind(p->tx_fd, (struct sockaddr *)&addr, sizeof addr) < 0) die("bind");
}

// Puts the VLAN tag back into the frame at `data` (a virtio_net_hdr, then the frame), using 4 bytes before it.
static uint8_t *retag(uint8_t *data, uint16_t tpid, uint16_t tci) {
  struct virtio_net_hdr hdr;
  memcpy(&hdr, data, VNET);
  if (hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) hdr.csum_start += 4;
  if (hdr.hdr_len) hdr.hdr_len += 4;
  uint16_t tag[2] = {htons(tpid), htons(tci)};
  memmove(data - 4 + VNET, data + VNET, 12);
  memcpy(data - 4 + VNET + 12, tag, 4);
  memcpy(data - 4, &hdr, VNET);
  return data - 4;
}

static struct frame tagged(uint8_t *data, size_t len, uint32_t status, uint16_t tpid, uint16_t tci) {
  if (status & TP_STATUS_VLAN_VALID) {
    data = retag(data, status & TP_STATUS_VLAN_TPID_VALID ? tpid : ETH_P_8021Q, tci);
    len += 4;
  }
  return (struct frame){data, len + VNET};
}

// Takes up to BATCH frames; they stay valid until release().
static int take_v2(struct port *p) {
  int n = 0, larges = 0;
  for (; n < BATCH; n++) {
    struct tpacket2_hdr *h = (void *)(p->ring + (size_t)((p->next + n) % V2_SLOTS) * V2_SLOT);
    uint32_t status = __atomic_load_n(&h->tp_status, __ATOMIC_ACQUIRE);
    if (!(status & TP_STATUS_USER)) break;
    uint8_t *data = (uint8_t *)h + h->tp_mac - VNET;
    if (status & TP_STATUS_COPY) {
      if (larges == LARGES) break;
      data = large + (size_t)larges++ * LARGE + 16;
      ssize_t got = recv(p->fd, data, LARGE - 16, MSG_DONTWAIT);
      if (got < 0) die("recv");
    } else if (h->tp_snaplen < h->tp_len) {
      batch[n].len = 0;  // cut off: lost
      continue;
    }
    batch[n] = tagged(data, h->tp_len, status, h->tp_vlan_tpid, h->tp_vlan_tci);
  }
  return n;
}

static void release_v2(struct port *p, int n) {
  for (int i = 0; i < n; i++) {
    struct tpacket2_hdr *h = (void *)(p->ring + (size_t)(p->next++ % V2_SLOTS) * V2_SLOT);
    __atomic_store_n(&h->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
  }
}

static int take_v3(struct port *p) {
  struct tpacket_block_desc *b = (void *)(p->ring + (size_t)(p->next % V3_BLOCKS) * V3_BLOCK);
  if (p->left == 0) {
    if (!(__atomic_load_n(&b->hdr.bh1.block_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER)) return 0;
    p->left = b->hdr.bh1.num_pkts;
    p->at = (uint8_t *)b + b->hdr.bh1.offset_to_first_pkt;
  }
  int n = 0;
  for (; n < BATCH && p->left > 0; n++, p->left--) {
    struct tpacket3_hdr *h = (void *)p->at;
    batch[n] = tagged(p->at + h->tp_mac - VNET, h->tp_snaplen, h->tp_status, h->hv1.tp_vlan_tpid, (uint16_t)h->hv1.tp_vlan_tci);
    p->at += h->tp_next_offset;
  }
  return n;
}

static void release_v3(struct port *p, int n) {
  (void)n;
  if (p->left > 0) return;
  struct tpacket_block_desc *b = (void *)(p->ring + (size_t)(p->next % V3_BLOCKS) * V3_BLOCK);
  if (!(b->hdr.bh1.block_status & TP_STATUS_USER)) return;
  __atomic_store_n(&b->hdr.bh1.block_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
  p->next++;
}

static void send_mmsg(struct port *p, int n) {
  int count = 0;
  for (int i = 0; i < n; i++) {
    if (batch[i].len == 0) continue;
    iov[count] = (struct iovec){batch[i].data, batch[i].len};
    out[count].msg_hdr.msg_iov = &iov[count];
    out[count].msg_hdr.msg_iovlen = 1;
    p->bytes += batch[i].len - VNET;
    count++;
  }
  for (int sent = 0; sent < count;) {
    int r = sendmmsg(p->tx_fd, out + sent, (unsigned)(count - sent), MSG_DONTWAIT);
    if (r < 0) {
      p->unsent++;
      r = 1;
    } else {
      p->packets += (unsigned)r;
    }
    sent += r;
  }
}

static void send_ring(struct port *p, int n) {
  for (int i = 0; i < n; i++) {
    if (batch[i].len == 0) continue;
    struct tpacket2_hdr *h = (void *)(p->tx_ring + (size_t)(p->tx_next % TX_SLOTS) * (1 << 17));
    if (__atomic_load_n(&h->tp_status, __ATOMIC_ACQUIRE) != TP_STATUS_AVAILABLE) {
      send(p->tx_fd, NULL, 0, MSG_DONTWAIT);
      if (__atomic_load_n(&h->tp_status, __ATOMIC_ACQUIRE) != TP_STATUS_AVAILABLE) {
        p->unsent++;
        continue;
      }
    }
    memcpy((uint8_t *)h + TPACKET2_HDRLEN - sizeof(struct sockaddr_ll), batch[i].data, batch[i].len);
    h->tp_len = (uint32_t)batch[i].len;
    __atomic_store_n(&h->tp_status, TP_STATUS_SEND_REQUEST, __ATOMIC_RELEASE);
    p->tx_next++;
    p->packets++;
    p->bytes += batch[i].len - VNET;
  }
  if (send(p->tx_fd, NULL, 0, MSG_DONTWAIT) < 0 && errno != EAGAIN) p->unsent++;
}

int main(int argc, char **argv) {
  double seconds = 3600;
  if (argc < 3) {
    fprintf(stderr, "usage: forwarder DEV1 DEV2 [--rx v2|v3] [--tx mmsg|ring] [--seconds N]\n");
    return 2;
  }
  for (int i = 3; i + 1 < argc; i += 2) {
    if (!strcmp(argv[i], "--rx")) rx_v3 = !strcmp(argv[i + 1], "v3");
    if (!strcmp(argv[i], "--tx")) tx_ring = !strcmp(argv[i + 1], "ring");
    if (!strcmp(argv[i], "--seconds")) seconds = atof(argv[i + 1]);
  }
  large = mmap(NULL, (size_t)LARGE * LARGES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (large == MAP_FAILED) die("mmap");
  struct port port[2];
  open_port(&port[0], argv[1]);
  open_port(&port[1], argv[2]);
  signal(SIGINT, on_signal);
  signal(SIGTERM, on_signal);
  struct timespec start, now;
  clock_gettime(CLOCK_MONOTONIC, &start);
  struct pollfd pfd[2] = {{.fd = port[0].fd, .events = POLLIN}, {.fd = port[1].fd, .events = POLLIN}};
  uint64_t batches = 0, sleeps = 0;
  while (!stop) {
    int got = 0;
    for (int i = 0; i < 2; i++) {
      int n = rx_v3 ? take_v3(&port[i]) : take_v2(&port[i]);
      if (n > 0) {
        if (tx_ring) send_ring(&port[1 - i], n);
        else send_mmsg(&port[1 - i], n);
        batches++;
      }
      if (rx_v3) release_v3(&port[i], n);
      else release_v2(&port[i], n);
      got += n;
    }
    if (got == 0) {
      sleeps++;
      poll(pfd, 2, 200);
      clock_gettime(CLOCK_MONOTONIC, &now);
      if ((double)(now.tv_sec - start.tv_sec) > seconds) break;
    }
  }
  struct tpacket_stats_v3 stats = {0};
  socklen_t len = sizeof stats;
  uint64_t drops = 0;
  for (int i = 0; i < 2; i++) {
    len = sizeof stats;
    if (getsockopt(port[i].fd, SOL_PACKET, PACKET_STATISTICS, &stats, &len) == 0) drops += stats.tp_drops;
  }
  printf("{\"packets\":%llu,\"bytes\":%llu,\"unsent\":%llu,\"dropped\":%llu,\"batches\":%llu,\"sleeps\":%llu}\n",
         (unsigned long long)(port[0].packets + port[1].packets), (unsigned long long)(port[0].bytes + port[1].bytes),
         (unsigned long long)(port[0].unsent + port[1].unsent), (unsigned long long)drops, (unsigned long long)batches,
         (unsigned long long)sleeps);
  return 0;
}
