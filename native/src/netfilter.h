// Questions to the kernel's own conntrack.
#pragma once

#include <cstddef>
#include <cstdint>

#include "sys.h"

namespace nokmod {

// A NETLINK_NETFILTER socket in the network namespace that the thread was in when it was made.
class NetfilterSocket {
 public:
  // Throws EPROTONOSUPPORT where the kernel has no nfnetlink, EMFILE, …
  NetfilterSocket();
  // Sends one request, a netlink message whose sequence number is set here, and copies the message that answers it.
  // Returns its length, or the negative errno that it tells. An answer that does not fit is -EMSGSIZE.
  int Ask(uint8_t* request, size_t length, uint8_t* reply, size_t room);

 private:
  Fd fd_;
  uint32_t seq_ = 0;
};

}  // namespace nokmod
