// A port on an existing net device, by AF_PACKET.
#pragma once

#include <sys/socket.h>

#include <memory>
#include <vector>

#include "io_port.h"
#include "oversize_sender.h"
#include "owner.h"
#include "rtnl.h"

namespace nokmod {

// Receives by a TPACKET_V2 ring and sends with sendmmsg from where the frame lies.
//
// Why not TPACKET_V3: it hands a block over when that is full or after a millisecond at the earliest and wakes nobody
// before, so a single ping waits 1 ms (measured: 0.99 ms round trip against 0.07 ms). V2 wakes per frame, and at full load,
// where nobody sleeps, costs the same per frame. A V2 slot holds 2 KiB; larger frames come whole through the socket's queue
// (PACKET_COPY_THRESH), which for 64 KiB segments is the same one copy.
//
// Why not PACKET_TX_RING: it saves the cost of a message header a frame but costs a copy into the ring, and measures a
// little slower; and its pages are handed on by reference, so on a veth, which orphans the skb, a slot counts as free
// while the receiver still reads it.
class NetdevPort final : public IoPort {
 public:
  // Throws EBUSY, EPERM, …
  NetdevPort(Arena& arena, const HomeNamespace& home, const Link& link);
  ~NetdevPort() override;

  int poll_fd() const override { return rx_.get(); }
  int Receive(RxDescriptor* out, int max, LargeBuffers& large) override;
  void Release() override;
  void Send(iovec* iov, size_t count, const TxDescriptor& d) override;
  void Flush() override;
  bool ClearError() override;
  IoCounters Counters() override;
  void Renamed(const std::string& name) { owner_.Renamed(name); }
  IngressOwner::Method method() const { return owner_.method(); }

 private:
  void OpenReceive();
  void OpenTransmit();
  int SendOversize(const msghdr& message);
  void SendRun(uint32_t from, uint32_t end);
  void SetLabels(uint64_t labels);

  Arena& arena_;
  const HomeNamespace& home_;
  const int32_t ifindex_;
  const bool ethernet_;
  IngressOwner owner_;
  Fd rx_, tx_;
  size_t ring_ = 0;        // offset of the ring in the arena
  size_t ring_bytes_ = 0;
  uint32_t slots_ = 0;     // a power of two
  uint32_t next_ = 0;      // next slot to read
  uint32_t taken_ = 0;     // slots before next_ that are still ours
  std::vector<mmsghdr> messages_;
  std::vector<sockaddr_storage> addresses_;  // only for devices without link-layer header
  // Of each message: mark in the upper 32 bits, priority in the lower.
  std::vector<uint64_t> labels_;
  uint64_t socket_labels_ = 0;  // those that the socket gives to frames now
  uint32_t queued_ = 0;
  std::unique_ptr<OversizeSender> oversize_;  // made when first needed
  IoCounters counters_;
};

}  // namespace nokmod
