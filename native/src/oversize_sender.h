// Sends the tagged frames that a packet socket's send() takes for too long.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>

#include "sys.h"

namespace nokmod {

// send() on a packet socket allows four bytes over the MTU for an 802.1Q tag but not for an 802.1ad one. The transmit ring
// with PACKET_VNET_HDR leaves the length to the device, so such a frame goes through a ring of one slot.
class OversizeSender {
 public:
  explicit OversizeSender(int32_t ifindex);
  ~OversizeSender();
  OversizeSender(const OversizeSender&) = delete;
  OversizeSender& operator=(const OversizeSender&) = delete;

  // True for an 802.1ad frame that fits the device but for its tag. `iov` as for IoPort::Send.
  bool Takes(const iovec* iov, size_t count) const;
  // Returns 0 or an errno.
  int Send(const iovec* iov, size_t count);

 private:
  Fd fd_;
  int32_t ifindex_;
  uint8_t* ring_;
};

}  // namespace nokmod
