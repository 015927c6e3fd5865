#include "ip_port.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/sock_diag.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

namespace nokmod {

namespace {

// Packets asked for at once.
constexpr int kReceive = 64;
constexpr size_t kHeader6 = sizeof(ip6_hdr);
// Packets that a device's queue (netem, a shaper) may hold, and that may wait for us.
constexpr int kSocketBytes = 64 << 20;

// The ifindex of lo in every namespace.
constexpr int kLoopback = 1;

// linux/in.h and linux/in6.h; glibc names them only in newer releases.
constexpr int kIpRecvFragSize = 25;
constexpr int kIpv6RecvFragSize = 77;
// asm-generic/socket.h of Linux 5.19 and 6.14; older headers lack them.
constexpr int kSoRcvMark = 75;
constexpr int kSoRcvPriority = 82;

void SetBuffer(int fd, int force, int plain) {
  const int bytes = kSocketBytes;
  if (setsockopt(fd, SOL_SOCKET, force, &bytes, sizeof bytes) < 0) setsockopt(fd, SOL_SOCKET, plain, &bytes, sizeof bytes);
}

void SetOption(int fd, int level, int name, const char* what) {
  const int on = 1;
  Check(setsockopt(fd, level, name, &on, sizeof on), what);
}

template <size_t N>
void SetFilter(int fd, sock_filter (&code)[N]) {
  sock_fprog program{N, code};
  Check(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program), "SO_ATTACH_FILTER");
}

template <typename T>
T Load(const void* from) {
  T value{};
  memcpy(&value, from, sizeof value);
  return value;
}

// Mark or priority from a control message of the socket level.
void ReadLabel(const cmsghdr* c, RxDescriptor& d) {
  if (c->cmsg_type == SO_MARK) d.mark = Load<int32_t>(CMSG_DATA(c));
  else if (c->cmsg_type == SO_PRIORITY) d.priority = Load<int32_t>(CMSG_DATA(c));
}

}  // namespace

IpPort::IpPort(Arena& arena, std::shared_ptr<Ipsec> ipsec, int family, int protocol, uint16_t udp_port)
    : arena_(arena), ipsec_(std::move(ipsec)), family_(family), protocol_(protocol) {
  if (protocol == IPPROTO_UDP) TakePort(udp_port);
  OpenReceive(udp_port);
  tx_ = Fd(Check(socket(family_, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_RAW), "raw socket"));
  SetBuffer(tx_.get(), SO_SNDBUFFORCE, SO_SNDBUF);
  slots_.resize(kReceive);
  rx_messages_.resize(kReceive);
  messages_.resize(kTxBatch);
  addresses_.resize(kTxBatch);
}

void IpPort::TakePort(uint16_t port) {
  holder_ = Fd(Check(socket(family_, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket"));
  sock_filter nothing[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
  SetFilter(holder_.get(), nothing);
  if (family_ == AF_INET6) {
    SetOption(holder_.get(), IPPROTO_IPV6, IPV6_V6ONLY, "IPV6_V6ONLY");
    sockaddr_in6 any{};
    any.sin6_family = AF_INET6;
    any.sin6_port = htons(port);
    Check(bind(holder_.get(), reinterpret_cast<sockaddr*>(&any), sizeof any), "bind to tunnel port");
  } else {
    sockaddr_in any{};
    any.sin_family = AF_INET;
    any.sin_port = htons(port);
    Check(bind(holder_.get(), reinterpret_cast<sockaddr*>(&any), sizeof any), "bind to tunnel port");
  }
}

void IpPort::OpenReceive(uint16_t port) {
  rx_ = Fd(Check(socket(family_, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol_), "raw socket"));
  const int fd = rx_.get();
  if (protocol_ == IPPROTO_UDP) {
    // An IPv4 socket sees the IP header, an IPv6 socket what follows it.
    if (family_ == AF_INET) {
      sock_filter to_port[] = {
          BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0),
          BPF_STMT(BPF_LD | BPF_H | BPF_IND, 2),
          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, port, 0, 1),
          BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
          BPF_STMT(BPF_RET | BPF_K, 0),
      };
      SetFilter(fd, to_port);
    } else {
      sock_filter to_port[] = {
          BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 2),
          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, port, 0, 1),
          BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
          BPF_STMT(BPF_RET | BPF_K, 0),
      };
      SetFilter(fd, to_port);
    }
  }
  if (family_ == AF_INET) {
    SetOption(fd, IPPROTO_IP, kIpRecvFragSize, "IP_RECVFRAGSIZE");
  } else {
    SetOption(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, "IPV6_RECVPKTINFO");
    SetOption(fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, "IPV6_RECVHOPLIMIT");
    SetOption(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, "IPV6_RECVTCLASS");
    SetOption(fd, IPPROTO_IPV6, kIpv6RecvFragSize, "IPV6_RECVFRAGSIZE");
  }
  const int on = 1;
  for (const int option : {kSoRcvMark, kSoRcvPriority}) {
    if (setsockopt(fd, SOL_SOCKET, option, &on, sizeof on) < 0 && errno != ENOPROTOOPT) Throw(errno, "SO_RCVMARK");
  }
  SetBuffer(fd, SO_RCVBUFFORCE, SO_RCVBUF);
}

int IpPort::Receive(RxDescriptor* out, int max, LargeBuffers& large) {
  const size_t header = family_ == AF_INET6 ? kHeader6 : 0;
  int count = 0;
  while (count < max && !large.empty()) {
    int asked = 0;
    for (; asked < std::min(max - count, kReceive) && !large.empty(); asked++) {
      RxSlot& slot = slots_[static_cast<size_t>(asked)];
      slot.iov.iov_base = arena_.data() + large.Take() + LargeBuffers::kHeadroom + header;
      slot.iov.iov_len = LargeBuffers::kMaxFrame - header;
      msghdr& message = rx_messages_[static_cast<size_t>(asked)].msg_hdr;
      message = msghdr{};
      message.msg_name = &slot.from;
      message.msg_namelen = sizeof slot.from;
      message.msg_iov = &slot.iov;
      message.msg_iovlen = 1;
      message.msg_control = slot.control;
      message.msg_controllen = sizeof slot.control;
    }
    const int got = recvmmsg(rx_.get(), rx_messages_.data(), static_cast<unsigned>(asked), MSG_DONTWAIT, nullptr);
    for (int i = std::max(got, 0); i < asked; i++) large.GiveBack();
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    for (int i = 0; i < got; i++) {
      mmsghdr& m = rx_messages_[static_cast<size_t>(i)];
      const RxSlot& slot = slots_[static_cast<size_t>(i)];
      auto* start = static_cast<uint8_t*>(slot.iov.iov_base) - header;
      RxDescriptor& d = out[count];
      d = RxDescriptor{};
      const bool whole = (m.msg_hdr.msg_flags & MSG_TRUNC) == 0;
      if (!whole || (header != 0 && !Describe6(m.msg_hdr, slot, start, m.msg_len, d))) {
        counters_.rx_dropped++;
        continue;
      }
      if (header == 0) Describe4(m.msg_hdr, d);
      count++;
      const auto off = static_cast<int32_t>(start - arena_.data());
      d.off = off;
      d.len = static_cast<int32_t>(m.msg_len + header);
      d.head = off - static_cast<int32_t>(LargeBuffers::kHeadroom);
      d.end = d.head + static_cast<int32_t>(LargeBuffers::kBytes);
      d.protocol = header == 0 ? ETH_P_IP : ETH_P_IPV6;
    }
    if (got < asked) break;
  }
  return count;
}

void IpPort::Describe4(msghdr& message, RxDescriptor& d) const {
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level == SOL_SOCKET) ReadLabel(c, d);
    else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == kIpRecvFragSize) d.gso = Load<int>(CMSG_DATA(c));
  }
}

bool IpPort::Describe6(msghdr& message, const RxSlot& slot, uint8_t* header, size_t length, RxDescriptor& d) const {
  ip6_hdr ip{};
  int hop_limit = 0, traffic_class = 0;
  bool known = false;
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level == SOL_SOCKET) ReadLabel(c, d);
    if (c->cmsg_level != IPPROTO_IPV6) continue;
    if (c->cmsg_type == IPV6_PKTINFO) {
      ip.ip6_dst = Load<in6_pktinfo>(CMSG_DATA(c)).ipi6_addr;
      known = true;
    } else if (c->cmsg_type == IPV6_HOPLIMIT) {
      hop_limit = Load<int>(CMSG_DATA(c));
    } else if (c->cmsg_type == IPV6_TCLASS) {
      traffic_class = Load<int>(CMSG_DATA(c));
    } else if (c->cmsg_type == kIpv6RecvFragSize) {
      d.gso = Load<int>(CMSG_DATA(c));
    }
  }
  ip.ip6_flow = htonl(0x60000000u | static_cast<uint32_t>(traffic_class & 0xff) << 20);
  ip.ip6_plen = htons(static_cast<uint16_t>(std::min<size_t>(length, 0xffff)));
  ip.ip6_nxt = static_cast<uint8_t>(protocol_);
  ip.ip6_hlim = static_cast<uint8_t>(hop_limit);
  ip.ip6_src = slot.from.sin6_addr;
  memcpy(header, &ip, sizeof ip);
  return known;
}

void IpPort::Send(iovec* iov, size_t count, const TxDescriptor& d) {
  const Label label{d.mark, d.priority};
  if (queued_ == messages_.size() || label != label_) Flush();
  label_ = label;
  // There is no VnetHeader on a raw socket.
  iov[0].iov_base = static_cast<uint8_t*>(iov[0].iov_base) + kVnet;
  iov[0].iov_len -= kVnet;
  if (iov[0].iov_len == 0 && count > 1) {
    iov++;
    count--;
  }
  const auto* header = static_cast<const uint8_t*>(iov[0].iov_base);
  if (iov[0].iov_len < (family_ == AF_INET ? sizeof(iphdr) : kHeader6)) {
    counters_.tx_errors++;
    return;
  }
  msghdr& message = messages_[queued_].msg_hdr;
  message = msghdr{};
  message.msg_iov = iov;
  message.msg_iovlen = count;
  message.msg_name = &addresses_[queued_];
  if (family_ == AF_INET) {
    auto* to = reinterpret_cast<sockaddr_in*>(message.msg_name);
    to->sin_family = AF_INET;
    to->sin_port = 0;
    memcpy(&to->sin_addr, header + offsetof(iphdr, daddr), sizeof to->sin_addr);
    message.msg_namelen = sizeof *to;
    if ((d.flags & 1) != 0) TakeLong(message);
  } else {
    auto* to = static_cast<sockaddr_in6*>(message.msg_name);
    *to = sockaddr_in6{};
    to->sin6_family = AF_INET6;
    memcpy(&to->sin6_addr, header + offsetof(ip6_hdr, ip6_dst), sizeof to->sin6_addr);
    message.msg_namelen = sizeof *to;
  }
  queued_++;
}

void IpPort::TakeLong(msghdr& message) {
  // The socket asks the device of its first route, and that may be named: lo takes every length. The chain that brings
  // the packet under policies gives it its real route.
  message.msg_control = long_control_;
  message.msg_controllen = sizeof long_control_;
  cmsghdr* c = CMSG_FIRSTHDR(&message);
  c->cmsg_level = IPPROTO_IP;
  c->cmsg_type = IP_PKTINFO;
  c->cmsg_len = CMSG_LEN(sizeof(in_pktinfo));
  in_pktinfo info{};
  info.ipi_ifindex = kLoopback;
  memcpy(CMSG_DATA(c), &info, sizeof info);
}

bool IpPort::SetLabel(const Label& label) {
  const int fd = tx_.get();
  if (label.mark != socket_.mark) {
    if (setsockopt(fd, SOL_SOCKET, SO_MARK, &label.mark, sizeof label.mark) < 0) return false;
    socket_.mark = label.mark;
  }
  if (label.priority != socket_.priority) {
    if (setsockopt(fd, SOL_SOCKET, SO_PRIORITY, &label.priority, sizeof label.priority) < 0) return false;
    socket_.priority = label.priority;
  }
  return true;
}

bool IpPort::Prepare() {
  Label label = label_;
  try {
    if (ipsec_->active()) {
      label.mark = static_cast<int32_t>(Ipsec::Disguise(static_cast<uint32_t>(label.mark)));
      label.priority = static_cast<int32_t>(ipsec_->priority());
    }
  } catch (const std::system_error&) {
    // The chain could not be made for now. tx_errors reports it; nothing may be thrown in the middle of a batch.
    return false;
  }
  return label == socket_ || SetLabel(label);
}

void IpPort::Flush() {
  if (queued_ == 0) return;
  if (!Prepare()) {
    counters_.tx_errors += queued_;
    queued_ = 0;
    return;
  }
  for (uint32_t sent = 0; sent < queued_;) {
    const int n = sendmmsg(tx_.get(), messages_.data() + sent, queued_ - sent, MSG_DONTWAIT);
    if (n >= 0) {
      sent += static_cast<uint32_t>(n);
      continue;
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM) counters_.tx_dropped++;
    else counters_.tx_errors++;
    sent++;
  }
  queued_ = 0;
}

IoCounters IpPort::Counters() {
  IoCounters counters = counters_;
  uint32_t memory[SK_MEMINFO_VARS] = {};
  socklen_t size = sizeof memory;
  if (getsockopt(rx_.get(), SOL_SOCKET, SO_MEMINFO, memory, &size) == 0) counters.rx_dropped += memory[SK_MEMINFO_DROPS];
  return counters;
}

bool IpPort::ClearError() {
  int error = 0;
  socklen_t size = sizeof error;
  return getsockopt(rx_.get(), SOL_SOCKET, SO_ERROR, &error, &size) == 0;
}

}  // namespace nokmod
