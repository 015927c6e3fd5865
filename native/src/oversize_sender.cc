#include "oversize_sender.h"

#include <arpa/inet.h>
#include <linux/if.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <cstring>

#include "io_port.h"

namespace nokmod {

namespace {

// A frame of 64 KiB with its headers.
constexpr size_t kRingBytes = 131072;
constexpr size_t kData = TPACKET2_HDRLEN - sizeof(sockaddr_ll);
constexpr size_t kTag = 4;

size_t Length(const iovec* iov, size_t count) {
  size_t length = 0;
  for (size_t i = 0; i < count; i++) length += iov[i].iov_len;
  return length;
}

}  // namespace

OversizeSender::OversizeSender(int32_t ifindex)
    : fd_(Check(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "packet socket")), ifindex_(ifindex) {
  const int version = TPACKET_V2, one = 1;
  Check(setsockopt(fd_.get(), SOL_PACKET, PACKET_VERSION, &version, sizeof version), "PACKET_VERSION");
  Check(setsockopt(fd_.get(), SOL_PACKET, PACKET_VNET_HDR, &one, sizeof one), "PACKET_VNET_HDR");
  Check(setsockopt(fd_.get(), SOL_PACKET, PACKET_LOSS, &one, sizeof one), "PACKET_LOSS");
  tpacket_req request{};
  request.tp_block_size = kRingBytes;
  request.tp_block_nr = 1;
  request.tp_frame_size = kRingBytes;
  request.tp_frame_nr = 1;
  Check(setsockopt(fd_.get(), SOL_PACKET, PACKET_TX_RING, &request, sizeof request), "PACKET_TX_RING");
  sockaddr_ll addr{};
  addr.sll_family = AF_PACKET;
  addr.sll_ifindex = ifindex;
  Check(bind(fd_.get(), reinterpret_cast<sockaddr*>(&addr), sizeof addr), "bind to device");
  void* p = mmap(nullptr, kRingBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
  if (p == MAP_FAILED) Throw(errno, "mmap of a packet ring");
  ring_ = static_cast<uint8_t*>(p);
}

OversizeSender::~OversizeSender() { munmap(ring_, kRingBytes); }

bool OversizeSender::Takes(const iovec* iov, size_t count) const {
  const auto* frame = static_cast<const uint8_t*>(iov[0].iov_base) + kVnet;
  if (iov[0].iov_len < kVnet + ETH_HLEN || (frame[12] << 8 | frame[13]) != ETH_P_8021AD) return false;
  ifreq ifr{};
  ifr.ifr_ifindex = ifindex_;
  if (ioctl(fd_.get(), SIOCGIFNAME, &ifr) < 0 || ioctl(fd_.get(), SIOCGIFMTU, &ifr) < 0) return false;
  return Length(iov, count) - kVnet <= static_cast<size_t>(ifr.ifr_mtu) + ETH_HLEN + kTag;
}

int OversizeSender::Send(const iovec* iov, size_t count) {
  const size_t length = Length(iov, count);
  if (length > kRingBytes - kData || length - kVnet > UINT16_MAX) return EMSGSIZE;
  auto* header = reinterpret_cast<tpacket2_hdr*>(ring_);
  // The one before may still wait in the device's queue.
  if (__atomic_load_n(&header->tp_status, __ATOMIC_ACQUIRE) != TP_STATUS_AVAILABLE) return ENOBUFS;
  uint8_t* to = ring_ + kData;
  for (size_t i = 0; i < count; i++) {
    memcpy(to, iov[i].iov_base, iov[i].iov_len);
    to += iov[i].iov_len;
  }
  // All of it "headers": the kernel then copies the frame instead of passing on pages of the ring, which a veth reports as
  // free while its peer still reads them.
  VnetHeader vnet;
  memcpy(&vnet, ring_ + kData, kVnet);
  vnet.hdr_len = static_cast<uint16_t>(length - kVnet);
  memcpy(ring_ + kData, &vnet, kVnet);
  header->tp_len = static_cast<uint32_t>(length);
  __atomic_store_n(&header->tp_status, TP_STATUS_SEND_REQUEST, __ATOMIC_RELEASE);
  if (send(fd_.get(), nullptr, 0, MSG_DONTWAIT) >= 0) return 0;
  const int error = errno;
  __atomic_store_n(&header->tp_status, TP_STATUS_AVAILABLE, __ATOMIC_RELEASE);
  return error;
}

}  // namespace nokmod
