// What PacketIo asks of a port: frames in, frames out, in batches.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <string>

#include "arena.h"
#include "rtnl.h"

namespace nokmod {

// struct virtio_net_hdr of linux/virtio_net.h, which C++ cannot include. Host byte order, as AF_PACKET and TAP use it.
struct VnetHeader {
  uint8_t flags;
  uint8_t gso_type;
  uint16_t hdr_len;
  uint16_t gso_size;
  uint16_t csum_start;
  uint16_t csum_offset;
};
constexpr size_t kVnet = sizeof(VnetHeader);
constexpr uint8_t kVnetNeedsCsum = 1;
constexpr uint8_t kVnetGsoTcpV4 = 1;
constexpr uint8_t kVnetGsoTcpV6 = 4;
constexpr uint8_t kVnetGsoUdpL4 = 5;
constexpr uint8_t kVnetGsoEcn = 0x80;

// The records that native code and JavaScript share in two Int32Arrays; src/port/native/packet-io.ts names the same
// words.
struct RxDescriptor {
  int32_t port;      // handle
  int32_t off;       // first byte of the frame in the arena
  int32_t len;
  int32_t flags;     // bits 0-7 VIRTIO_NET_HDR_F_*, bits 8-15 gso_type
  int32_t gso;       // gso_size | hdr_len << 16
  int32_t csum;      // csum_start | csum_offset << 16; csum_start counts from the frame's first byte
  int32_t vlan;      // tci | tpid << 16; tpid 0: no tag out of band
  int32_t head;      // first and last + 1 byte that may be written around the frame
  int32_t end;
  int32_t protocol;  // ethertype as the kernel saw it, host order
  int32_t mark;      // underlay alone
  int32_t priority;  // underlay alone
};

struct TxDescriptor {
  int32_t port;
  int32_t off;
  int32_t len;
  int32_t flags;     // as RxDescriptor; to the underlay: 1 = longer than the device's MTU
  int32_t gso;
  int32_t csum;
  int32_t vlan;
  int32_t protocol;
  int32_t mark;      // of netdev ports and the underlay
  int32_t priority;  // likewise
};

constexpr int kRxWords = sizeof(RxDescriptor) / sizeof(int32_t);
constexpr int kTxWords = sizeof(TxDescriptor) / sizeof(int32_t);
// Frames handed over at once, over all ports; and records that may wait for transmission.
constexpr int kRxBatch = 256;
constexpr int kTxBatch = 1024;

// Buffers for frames of up to 64 KiB and their headers, valid until the batch ends.
class LargeBuffers {
 public:
  static constexpr size_t kBytes = 69632;
  static constexpr int kCount = 128;
  // Room before the frame for what may be pushed; the kernel's VnetHeader ends where the frame starts.
  static constexpr size_t kHeadroom = 128;
  static constexpr size_t kTailroom = 512;
  static constexpr size_t kMaxFrame = kBytes - kHeadroom - kTailroom;

  explicit LargeBuffers(Arena& arena) : base_(arena.MapAnonymous(kBytes * kCount)) {}
  bool empty() const { return used_ == kCount; }
  size_t Take() { return base_ + kBytes * static_cast<size_t>(used_++); }
  void GiveBack() { used_--; }
  void Reset() { used_ = 0; }

 private:
  size_t base_;
  int used_ = 0;
};

struct IoCounters {
  uint64_t rx_dropped = 0;  // lost on the way here: ring full
  uint64_t tx_dropped = 0;  // the device or its queue had no room
  uint64_t tx_errors = 0;   // refused
};

class IoPort {
 public:
  IoPort() = default;
  virtual ~IoPort() = default;
  IoPort(const IoPort&) = delete;
  IoPort& operator=(const IoPort&) = delete;

  // Readable while there is something to receive.
  virtual int poll_fd() const = 0;
  // Writes up to `max` records (all but their port word) and returns how many. Less than max: there is no more for now,
  // unless the large buffers ran out.
  virtual int Receive(RxDescriptor* out, int max, LargeBuffers& large) = 0;
  // Gives the frames received since the last call back to the kernel.
  virtual void Release() = 0;
  // Queues one frame: `count` pieces, the first of which starts with a VnetHeader. What they point to must stay until
  // Flush. `d` tells what no device is told by the frame: protocol, mark, priority.
  virtual void Send(iovec* iov, size_t count, const TxDescriptor& d) = 0;
  virtual void Flush() = 0;
  // The descriptor reports an error condition; clears it. Returns false if it will never work again.
  virtual bool ClearError() = 0;
  virtual IoCounters Counters() = 0;
};

// Where a device is.
struct Place {
  int32_t ifindex = 0;  // 0: see name
  std::string name;
  int32_t nsid = -1;  // id of the namespace, -1 = ours
};

// A port whose device is our own.
class InternalPort : public IoPort {
 public:
  // The name it was given, and the ifindex of what is ours besides the device, 0 = nothing.
  virtual std::string name() const = 0;
  virtual int32_t peer() const { return 0; }
  // Returns false once the device is gone.
  virtual bool Locate(RouteSocket& route, Place& place) const = 0;
  // The network namespace of the device. Throws EOPNOTSUPP where it cannot be told.
  virtual Fd Namespace() const { Throw(EOPNOTSUPP, "network namespace of a port"); }
};

}  // namespace nokmod
