// An internal port where /dev/net/tun may not be opened.
#pragma once

#include <string>

#include "netdev_port.h"

namespace nokmod {

// A pair of veths: the host has one, and we take the other as a netdev port does. Needs no device node, so it works in a
// user namespace wherever AF_PACKET does; but unlike a TAP device it stays when the process is killed, until its namespace
// ends.
class VethPort final : public InternalPort {
 public:
  VethPort(Arena& arena, const HomeNamespace& home, RouteSocket& route, const std::string& name, int32_t ifindex);
  ~VethPort() override;

  std::string name() const override { return name_; }
  int32_t peer() const override { return pair_.ifindex; }
  bool Locate(RouteSocket& route, Place& place) const override;

  int poll_fd() const override { return port_.poll_fd(); }
  int Receive(RxDescriptor* out, int max, LargeBuffers& large) override { return port_.Receive(out, max, large); }
  void Release() override { port_.Release(); }
  void Send(iovec* iov, size_t count, const TxDescriptor& d) override { port_.Send(iov, count, d); }
  void Flush() override { port_.Flush(); }
  bool ClearError() override { return port_.ClearError(); }
  IoCounters Counters() override { return port_.Counters(); }

 private:
  // Deletes the pair, also when the port on it could not be made.
  struct Pair {
    RouteSocket& route;
    int32_t ifindex;
    Link link;
    Pair(RouteSocket& r, const std::string& name, int32_t wanted) : route(r), link(r.CreatePair(name, wanted)) { ifindex = link.ifindex; }
    ~Pair();
    Pair(const Pair&) = delete;
    Pair& operator=(const Pair&) = delete;
  };

  const std::string name_;
  Pair pair_;
  NetdevPort port_;
};

}  // namespace nokmod
