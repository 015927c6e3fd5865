#include "veth_port.h"

namespace nokmod {

VethPort::Pair::~Pair() {
  try {
    route.DeleteLink(ifindex);
  } catch (const std::system_error& error) {
    // ENODEV: another process has deleted the pair. A destructor may not throw anything else.
    if (error.code().value() != ENODEV) ReportError("cannot delete veth " + link.name, error.code().value());
  }
}

VethPort::VethPort(Arena& arena, const HomeNamespace& home, RouteSocket& route, const std::string& name, int32_t ifindex)
    : name_(name), pair_(route, name, ifindex), port_(arena, home, pair_.link) {}

VethPort::~VethPort() = default;

bool VethPort::Locate(RouteSocket& route, Place& place) const {
  try {
    const Link link = route.GetLink(pair_.ifindex, "");
    place.ifindex = link.peer;
    place.nsid = link.peer_nsid;
    return true;
  } catch (const std::system_error& error) {
    if (error.code().value() != ENODEV) throw;
    return false;
  }
}

}  // namespace nokmod
