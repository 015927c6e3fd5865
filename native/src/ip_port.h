// The underlay of tunnels: whole IP packets of one family and protocol, to and from the host's IP stack.
#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <vector>

#include "io_port.h"
#include "sys.h"

namespace nokmod {

// Receives by a raw socket, so that packets come where the kernel's own tunnels get theirs: behind routing, reassembly
// and netfilter's INPUT. Sends by one of IPPROTO_RAW: the kernel routes, finds the neighbour, and fragments nothing.
//
// Frames are IP packets with their header. Of IPv6 the kernel keeps the header to itself: it is put together anew from
// what the socket tells about it, without extension headers and flow label.
//
// A UDP port is bound as well, for nobody else to take it and for the host not to answer "port unreachable".
class IpPort final : public IoPort {
 public:
  // `family` is AF_INET or AF_INET6; `udp_port` counts with IPPROTO_UDP only. Throws EADDRINUSE, EAFNOSUPPORT, EPERM, …
  IpPort(Arena& arena, int family, int protocol, uint16_t udp_port);

  int poll_fd() const override { return rx_.get(); }
  // RxDescriptor.gso tells the size of the largest fragment that the packet came in, 0 = it came whole.
  int Receive(RxDescriptor* out, int max, LargeBuffers& large) override;
  void Release() override {}
  void Send(iovec* iov, size_t count, uint16_t protocol) override;
  void Flush() override;
  bool ClearError() override;
  IoCounters Counters() override;

 private:
  // What one received packet needs besides its bytes.
  struct RxSlot {
    sockaddr_in6 from;
    iovec iov;
    alignas(8) uint8_t control[160];
  };

  void TakePort(uint16_t port);
  void OpenReceive(uint16_t port);
  // Writes the IPv6 header in front of a packet. Returns false if the kernel did not tell where it was for.
  bool Describe6(msghdr& message, const RxSlot& slot, uint8_t* header, size_t length, uint32_t& fragment) const;
  static uint32_t FragmentSize4(msghdr& message);

  Arena& arena_;
  const int family_;
  const int protocol_;
  Fd holder_, rx_, tx_;
  std::vector<RxSlot> slots_;
  std::vector<mmsghdr> rx_messages_;
  std::vector<mmsghdr> messages_;
  std::vector<sockaddr_in6> addresses_;
  uint32_t queued_ = 0;
  IoCounters counters_;
};

}  // namespace nokmod
