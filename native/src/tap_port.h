// An internal port: a TAP device whose other end is the host's stack.
#pragma once

#include <string>

#include "io_port.h"
#include "sys.h"

namespace nokmod {

class TapPort final : public IoPort {
 public:
  // Creates the device: DOWN, carrier on, random MAC address, offloads on. It goes when the port is closed or the process
  // ends. Throws EBUSY (name or ifindex in use), EPERM, EINVAL.
  TapPort(Arena& arena, const std::string& name, int32_t ifindex);

  const std::string& name() const { return name_; }
  // The device's name now; empty once it has been deleted.
  std::string CurrentName() const;
  // The network namespace it is in now.
  Fd Namespace() const;
  int poll_fd() const override { return fd_.get(); }
  int Receive(RxDescriptor* out, int max, LargeBuffers& large) override;
  void Release() override {}
  void Send(iovec* iov, size_t count, uint16_t protocol) override;
  void Flush() override {}
  bool ClearError() override;
  IoCounters Counters() override { return counters_; }

 private:
  Arena& arena_;
  Fd fd_;
  std::string name_;
  IoCounters counters_;
};

}  // namespace nokmod
