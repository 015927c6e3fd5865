// An internal port: a TAP device, or TUN for one without Ethernet header, whose other end is the host's stack.
#pragma once

#include <string>

#include "io_port.h"
#include "sys.h"

namespace nokmod {

class TapPort final : public InternalPort {
 public:
  // Creates the device: DOWN, carrier on, random MAC address, offloads on. It goes when the port is closed or the process
  // ends. Throws EBUSY (name or ifindex in use), EPERM, EINVAL.
  TapPort(Arena& arena, const std::string& name, int32_t ifindex, bool l3);

  std::string name() const override { return name_; }
  bool Locate(RouteSocket& route, Place& place) const override;
  Fd Namespace() const override;
  int poll_fd() const override { return fd_.get(); }
  int Receive(RxDescriptor* out, int max, LargeBuffers& large) override;
  void Release() override {}
  void Send(iovec* iov, size_t count, const TxDescriptor& d) override;
  void Flush() override {}
  bool ClearError() override;
  IoCounters Counters() override { return counters_; }

 private:
  // Empty once the device has been deleted.
  std::string CurrentName() const;
  // Reads the frame of `length` bytes at `off` for its protocol, and takes out a tag that the device has put in.
  void Parse(RxDescriptor& d, VnetHeader& vnet, size_t off, size_t length);

  Arena& arena_;
  const bool l3_;
  Fd fd_;
  std::string name_;
  IoCounters counters_;
};

}  // namespace nokmod
