// Keeps a device's received frames from the host's stack while a port has it.
#pragma once

#include <cstdint>
#include <string>

#include "sys.h"

namespace nokmod {

// Everything here hangs on open file descriptors, so the kernel undoes it when the process ends in whatever way:
// - a name in the namespace's abstract AF_UNIX space says that the device is taken (a second owner gets EBUSY);
// - a bpf_link in the device's tcx ingress hook, or an nftables table with the owner flag that has a chain in its ingress
//   hook, drops what is received. Both hooks come after the packet tap, where AF_PACKET has taken its copy.
class IngressOwner {
 public:
  enum class Method { kTcx, kNftables };

  // Throws EBUSY (has an owner), EPERM, EOPNOTSUPP (the kernel has neither hook).
  IngressOwner(int32_t ifindex, const std::string& device);
  // An nftables chain follows the name that it was given, so it is made anew.
  void Renamed(const std::string& device);
  Method method() const { return method_; }

 private:
  const int32_t ifindex_;
  Fd name_;
  Fd hook_;
  Method method_;
};

}  // namespace nokmod
