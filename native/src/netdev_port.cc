#include "netdev_port.h"

#include <arpa/inet.h>
#include <linux/ethtool.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>

#include <cstring>

namespace nokmod {

namespace {

constexpr uint32_t kSlotBytes = 2048;
constexpr uint32_t kFewestSlots = 128;
constexpr uint32_t kBlockBytes = 65536;
// tpacket2_hdr comes first in a slot and must stay; what follows it is free once read. With this reserve there are at
// least 128 bytes between the two (HEADROOM in src/packet/memory.ts).
constexpr int kReserve = 112;
// Frames that a device's queue (netem, a shaper) may hold.
constexpr int kSocketBytes = 64 << 20;

// Slots of a new ring: fewer the more rings there are, so that more than 2,000 ports share the arena.
uint32_t SlotsBeside(size_t rings) { return rings < 64 ? 2048 : rings < 256 ? 512 : kFewestSlots; }

void SetPacketOption(int fd, int name, int value, const char* what) {
  Check(setsockopt(fd, SOL_PACKET, name, &value, sizeof value), what);
}

void SetBuffer(int fd, int force, int plain) {
  const int bytes = kSocketBytes;
  if (setsockopt(fd, SOL_SOCKET, force, &bytes, sizeof bytes) < 0) setsockopt(fd, SOL_SOCKET, plain, &bytes, sizeof bytes);
}

void Bind(int fd, int32_t ifindex, uint16_t protocol) {
  sockaddr_ll addr{};
  addr.sll_family = AF_PACKET;
  addr.sll_protocol = htons(protocol);
  addr.sll_ifindex = ifindex;
  Check(bind(fd, reinterpret_cast<sockaddr*>(&addr), sizeof addr), "bind to device");
}

// Packets merged by a device's LRO cannot be forwarded, so it goes off for good, as the module does.
void DisableLro(int fd, const std::string& device) {
  ethtool_value value{};
  ifreq ifr{};
  memcpy(ifr.ifr_name, device.c_str(), device.size() + 1);
  ifr.ifr_data = reinterpret_cast<char*>(&value);
  value.cmd = ETHTOOL_GFLAGS;
  if (ioctl(fd, SIOCETHTOOL, &ifr) < 0 || (value.data & ETH_FLAG_LRO) == 0) return;
  value.cmd = ETHTOOL_SFLAGS;
  value.data &= ~static_cast<uint32_t>(ETH_FLAG_LRO);
  ioctl(fd, SIOCETHTOOL, &ifr);
}

}  // namespace

NetdevPort::NetdevPort(Arena& arena, const HomeNamespace& home, const Link& link)
    : arena_(arena),
      home_(home),
      ifindex_(link.ifindex),
      ethernet_(link.type == ARPHRD_ETHER),
      owner_(link.ifindex, link.name) {
  OpenTransmit();
  DisableLro(tx_.get(), link.name);
  OpenReceive();
}

NetdevPort::~NetdevPort() {
  // The mapping holds the socket: it must go for the device to be let go of.
  if (ring_bytes_ != 0) arena_.UnmapRing(ring_, ring_bytes_);
}

void NetdevPort::OpenTransmit() {
  // Protocol 0: this socket receives nothing.
  tx_ = Fd(Check(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "packet socket"));
  SetPacketOption(tx_.get(), PACKET_VNET_HDR, 1, "PACKET_VNET_HDR");
  SetBuffer(tx_.get(), SO_SNDBUFFORCE, SO_SNDBUF);
  Bind(tx_.get(), ifindex_, 0);
  messages_.resize(kTxBatch);
  labels_.resize(kTxBatch);
  if (!ethernet_) addresses_.resize(kTxBatch);
}

void NetdevPort::OpenReceive() {
  rx_ = Fd(Check(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "packet socket"));
  const int fd = rx_.get();
  SetPacketOption(fd, PACKET_VERSION, TPACKET_V2, "PACKET_VERSION");
  SetPacketOption(fd, PACKET_VNET_HDR, 1, "PACKET_VNET_HDR");
  SetPacketOption(fd, PACKET_RESERVE, kReserve, "PACKET_RESERVE");
  SetPacketOption(fd, PACKET_COPY_THRESH, 1, "PACKET_COPY_THRESH");
  SetPacketOption(fd, PACKET_IGNORE_OUTGOING, 1, "PACKET_IGNORE_OUTGOING");
  SetBuffer(fd, SO_RCVBUFFORCE, SO_RCVBUF);
  for (slots_ = SlotsBeside(arena_.rings());; slots_ /= 2) {
    tpacket_req request{};
    request.tp_block_size = kBlockBytes;
    request.tp_block_nr = slots_ / (kBlockBytes / kSlotBytes);
    request.tp_frame_size = kSlotBytes;
    request.tp_frame_nr = slots_;
    if (setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &request, sizeof request) == 0) break;
    if (errno != ENOMEM || slots_ == kFewestSlots) Throw(errno, "PACKET_RX_RING");
  }
  const size_t bytes = size_t{slots_} * kSlotBytes;
  ring_ = arena_.MapRing(fd, bytes);
  ring_bytes_ = bytes;
  packet_mreq promiscuous{};
  promiscuous.mr_ifindex = ifindex_;
  promiscuous.mr_type = PACKET_MR_PROMISC;
  Check(setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous, sizeof promiscuous), "PACKET_ADD_MEMBERSHIP");
  Bind(fd, ifindex_, ETH_P_ALL);
}

int NetdevPort::Receive(RxDescriptor* out, int max, LargeBuffers& large) {
  int count = 0;
  while (count < max && taken_ < slots_) {
    const size_t slot = ring_ + size_t{next_ & (slots_ - 1)} * kSlotBytes;
    uint8_t* base = arena_.data() + slot;
    auto* header = reinterpret_cast<tpacket2_hdr*>(base);
    const uint32_t status = __atomic_load_n(&header->tp_status, __ATOMIC_ACQUIRE);
    if ((status & TP_STATUS_USER) == 0) break;
    RxDescriptor& d = out[count];
    VnetHeader vnet;
    if (status & TP_STATUS_COPY) {
      if (large.empty()) break;
      const size_t buffer = large.Take();
      const size_t off = buffer + LargeBuffers::kHeadroom;
      const ssize_t n = recv(rx_.get(), arena_.data() + off - kVnet, LargeBuffers::kMaxFrame + kVnet, MSG_DONTWAIT | MSG_TRUNC);
      next_++;
      taken_++;
      if (n < static_cast<ssize_t>(kVnet) || static_cast<size_t>(n) > LargeBuffers::kMaxFrame + kVnet) {
        large.GiveBack();
        counters_.rx_dropped++;
        continue;
      }
      memcpy(&vnet, arena_.data() + off - kVnet, kVnet);
      d.off = static_cast<int32_t>(off);
      d.len = static_cast<int32_t>(static_cast<size_t>(n) - kVnet);
      d.head = static_cast<int32_t>(buffer);
      d.end = static_cast<int32_t>(buffer + LargeBuffers::kBytes);
    } else {
      next_++;
      taken_++;
      if (header->tp_snaplen < header->tp_len) {
        counters_.rx_dropped++;
        continue;
      }
      memcpy(&vnet, base + header->tp_mac - kVnet, kVnet);
      d.off = static_cast<int32_t>(slot + header->tp_mac);
      d.len = static_cast<int32_t>(header->tp_len);
      d.head = static_cast<int32_t>(slot + sizeof(tpacket2_hdr));
      d.end = static_cast<int32_t>(slot + kSlotBytes);
    }
    d.flags = vnet.flags | vnet.gso_type << 8;
    d.gso = static_cast<int32_t>(vnet.gso_size | static_cast<uint32_t>(vnet.hdr_len) << 16);
    d.csum = static_cast<int32_t>(vnet.csum_start | static_cast<uint32_t>(vnet.csum_offset) << 16);
    if (status & TP_STATUS_VLAN_VALID) {
      const uint32_t tpid = status & TP_STATUS_VLAN_TPID_VALID ? header->tp_vlan_tpid : ETH_P_8021Q;
      d.vlan = static_cast<int32_t>(header->tp_vlan_tci | tpid << 16);
    } else {
      d.vlan = 0;
    }
    sockaddr_ll from;
    memcpy(&from, base + TPACKET_ALIGN(sizeof(tpacket2_hdr)), sizeof from);
    d.protocol = ntohs(from.sll_protocol);
    count++;
  }
  return count;
}

void NetdevPort::Release() {
  for (uint32_t i = next_ - taken_; i != next_; i++) {
    auto* header = reinterpret_cast<tpacket2_hdr*>(arena_.data() + ring_ + size_t{i & (slots_ - 1)} * kSlotBytes);
    __atomic_store_n(&header->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
  }
  taken_ = 0;
}

void NetdevPort::Send(iovec* iov, size_t count, const TxDescriptor& d) {
  if (queued_ == messages_.size()) Flush();
  msghdr& message = messages_[queued_].msg_hdr;
  message.msg_iov = iov;
  message.msg_iovlen = count;
  if (!ethernet_) {
    auto* address = reinterpret_cast<sockaddr_ll*>(&addresses_[queued_]);
    address->sll_family = AF_PACKET;
    address->sll_protocol = htons(static_cast<uint16_t>(d.protocol));
    address->sll_ifindex = ifindex_;
    message.msg_name = address;
    message.msg_namelen = sizeof *address;
  }
  labels_[queued_] = uint64_t{static_cast<uint32_t>(d.mark)} << 32 | static_cast<uint32_t>(d.priority);
  queued_++;
}

void NetdevPort::Flush() {
  // Mark and priority are the socket's: a control message for the priority is refused before Linux 6.14. Frames of a batch
  // mostly have the same.
  for (uint32_t from = 0; from < queued_;) {
    uint32_t end = from + 1;
    while (end < queued_ && labels_[end] == labels_[from]) end++;
    SetLabels(labels_[from]);
    SendRun(from, end);
    from = end;
  }
  queued_ = 0;
}

// Gives frames from now on a mark and a priority, which classes of the device's queue go by. EPERM: CAP_NET_ADMIN is
// wanted for a mark, and for a priority above 6; the frame goes out without.
void NetdevPort::SetLabels(uint64_t labels) {
  if (labels == socket_labels_) return;
  const auto mark = static_cast<uint32_t>(labels >> 32);
  const auto priority = static_cast<uint32_t>(labels);
  const bool done = setsockopt(tx_.get(), SOL_SOCKET, SO_MARK, &mark, sizeof mark) == 0 &&
                    setsockopt(tx_.get(), SOL_SOCKET, SO_PRIORITY, &priority, sizeof priority) == 0;
  if (!done && errno != EPERM) counters_.tx_errors++;
  socket_labels_ = labels;
}

void NetdevPort::SendRun(uint32_t from, uint32_t end) {
  for (uint32_t sent = from; sent < end;) {
    const int n = sendmmsg(tx_.get(), messages_.data() + sent, end - sent, MSG_DONTWAIT);
    if (n >= 0) {
      sent += static_cast<uint32_t>(n);
      continue;
    }
    // The message at `sent` has failed. A full queue or a device that is down loses frames as the module does.
    int error = errno;
    if (error == EINTR) continue;
    if (error == EMSGSIZE) error = SendOversize(messages_[sent].msg_hdr);
    if (error == EAGAIN || error == ENOBUFS || error == ENETDOWN || error == ENXIO || error == ENODEV) counters_.tx_dropped++;
    else if (error != 0) counters_.tx_errors++;
    sent++;
  }
}

int NetdevPort::SendOversize(const msghdr& message) {
  if (!ethernet_) return EMSGSIZE;
  try {
    if (oversize_ == nullptr) {
      const HomeNamespace::Scope scope(home_);
      oversize_ = std::make_unique<OversizeSender>(ifindex_);
    }
  } catch (const std::system_error& error) {
    return error.code().value();
  }
  if (!oversize_->Takes(message.msg_iov, message.msg_iovlen)) return EMSGSIZE;
  return oversize_->Send(message.msg_iov, message.msg_iovlen);
}

bool NetdevPort::ClearError() {
  // The device went down or away: the socket says so once, and works again when a device that went down is up.
  int error = 0;
  socklen_t size = sizeof error;
  return getsockopt(rx_.get(), SOL_SOCKET, SO_ERROR, &error, &size) == 0;
}

IoCounters NetdevPort::Counters() {
  // Reading resets them.
  tpacket_stats stats{};
  socklen_t size = sizeof stats;
  if (getsockopt(rx_.get(), SOL_PACKET, PACKET_STATISTICS, &stats, &size) == 0) counters_.rx_dropped += stats.tp_drops;
  return counters_;
}

}  // namespace nokmod
