// The underlay of tunnels: whole IP packets of one family and protocol, to and from the host's IP stack.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "io_port.h"
#include "ipsec.h"
#include "sys.h"

namespace nokmod {

// Receives by a raw socket, so that packets come where the kernel's own tunnels get theirs: behind routing, reassembly
// and netfilter's INPUT. Sends by one of IPPROTO_RAW: the kernel routes, finds the neighbour, and fragments nothing.
//
// Frames are IP packets with their header. Of IPv6 the kernel keeps the header to itself: it is put together anew from
// what the socket tells about it, without extension headers and flow label.
//
// A UDP port is bound as well, for nobody else to take it and for the host not to answer "port unreachable".
//
// Marks and priorities of packets are the socket's, so what has others waits for what is queued to be sent. Of received
// packets they are told by kernels that tell them (Linux 5.19, 6.14).
class IpPort final : public IoPort {
 public:
  // `family` is AF_INET or AF_INET6; `udp_port` counts with IPPROTO_UDP only. Throws EADDRINUSE, EAFNOSUPPORT, EPERM, …
  IpPort(Arena& arena, std::shared_ptr<Ipsec> ipsec, int family, int protocol, uint16_t udp_port);

  int poll_fd() const override { return rx_.get(); }
  // RxDescriptor.gso tells the size of the largest fragment that the packet came in, 0 = it came whole.
  int Receive(RxDescriptor* out, int max, LargeBuffers& large) override;
  void Release() override {}
  void Send(iovec* iov, size_t count, const TxDescriptor& d) override;
  void Flush() override;
  bool ClearError() override;
  IoCounters Counters() override;

 private:
  // What a packet carries besides its bytes.
  struct Label {
    int32_t mark = 0;
    int32_t priority = 0;
    bool operator==(const Label& other) const { return mark == other.mark && priority == other.priority; }
    bool operator!=(const Label& other) const { return !(*this == other); }
  };
  // What one received packet needs besides its bytes.
  struct RxSlot {
    sockaddr_in6 from;
    iovec iov;
    alignas(8) uint8_t control[192];
  };

  void TakePort(uint16_t port);
  void OpenReceive(uint16_t port);
  void Describe4(msghdr& message, RxDescriptor& d) const;
  // Writes the IPv6 header in front of a packet. Returns false if the kernel did not tell where it was for.
  bool Describe6(msghdr& message, const RxSlot& slot, uint8_t* header, size_t length, RxDescriptor& d) const;
  // Has a message that is longer than the MTU of its device taken all the same.
  void TakeLong(msghdr& message);
  // Makes the socket send packets with that label.
  bool SetLabel(const Label& label);
  // Sets the label that what is queued goes with. Returns false if it may not be sent.
  bool Prepare();

  Arena& arena_;
  const std::shared_ptr<Ipsec> ipsec_;
  const int family_;
  const int protocol_;
  Fd holder_, rx_, tx_;
  std::vector<RxSlot> slots_;
  std::vector<mmsghdr> rx_messages_;
  std::vector<mmsghdr> messages_;
  std::vector<sockaddr_in6> addresses_;
  alignas(cmsghdr) uint8_t long_control_[CMSG_SPACE(sizeof(in_pktinfo))];
  uint32_t queued_ = 0;
  Label label_;   // of all that is queued
  Label socket_;  // what the socket has
  IoCounters counters_;
};

}  // namespace nokmod
