// What the ports need of rtnetlink: a device's properties and counters, and word of their changes.
#pragma once

#include <linux/if_link.h>

#include <cstdint>
#include <functional>
#include <string>

#include "sys.h"

namespace nokmod {

struct Link {
  int32_t ifindex = 0;
  std::string name;
  uint16_t type = 0;     // ARPHRD_*
  uint32_t flags = 0;    // IFF_*
  uint32_t mtu = 0;
  bool carrier = false;
  int32_t master = 0;
  int32_t peer = 0;        // IFLA_LINK: a veth's other end, and the id of the namespace that is in (-1 = this one)
  int32_t peer_nsid = -1;
  bool deleted = false;  // RTM_DELLINK
  // Id of the namespace that the message speaks of, -1 = ours.
  int32_t nsid = -1;
};

// What a packet that has no device yet is to be routed by.
struct RouteQuery {
  uint8_t family = 0;
  uint8_t dst[16] = {};
  uint8_t src[16] = {};
  bool has_src = false;
  uint8_t tos = 0;
  uint8_t protocol = 0;
  uint16_t port = 0;  // UDP destination, 0 = not known; for IPsec policies alone
  uint32_t mark = 0;
};

struct Route {
  uint8_t src[16] = {};
  uint32_t mtu = 0;
  uint32_t hop_limit = 0;
  int32_t ifindex = 0;
};

// A NETLINK_ROUTE socket for questions, in the network namespace of the thread that made it.
class RouteSocket {
 public:
  RouteSocket();
  // By ifindex, or by name if ifindex is 0. `nsid` names another namespace, -1 is our own. Throws ENODEV.
  Link GetLink(int32_t ifindex, const std::string& name, int32_t nsid = -1);
  rtnl_link_stats64 GetStats(int32_t ifindex, int32_t nsid = -1);
  // Makes a pair of veths: `name` with that ifindex (0 = any), down, and one of a name of its own, up and without IPv6.
  // Returns the second. Throws EEXIST, EBUSY, EPERM, …
  Link CreatePair(const std::string& name, int32_t ifindex);
  void DeleteLink(int32_t ifindex);
  // Sets a device's MTU, or the largest that it takes, and brings it up.
  void SetUp(int32_t ifindex, uint32_t mtu);
  // What the kernel would do with a packet from this host, path MTU discoveries included. The thread must be in the
  // namespace of the socket. Throws ENETUNREACH, EINVAL (not an address of this host), …
  Route GetRoute(const RouteQuery& query);
  // The id of a network namespace in ours, -1 if it is ours. Throws ENOENT if it has none.
  int32_t NamespaceId(const Fd& ns);
  // Every question throws EBADF from now on.
  void Close() { fd_.Reset(); }

 private:
  const uint8_t* Ask(void* request, uint32_t length, uint16_t reply_type);

  Fd fd_;
  ino_t own_namespace_;  // inode
  uint32_t seq_ = 0;
  alignas(8) uint8_t buffer_[65536];
};

// A NETLINK_ROUTE socket that hears of every change of a link, in this namespace and in those that have an id in it, and of
// routes and addresses of this one.
class LinkWatch {
 public:
  LinkWatch();
  int fd() const { return fd_.get(); }
  void Close() { fd_.Reset(); }
  // Reads all there is. `overrun` is called when messages were lost: everything must be asked for again.
  // `routes` is called once if there was any word of routes, rules or addresses.
  void Read(const std::function<void(const Link&)>& changed, const std::function<void()>& overrun,
            const std::function<void()>& routes);

 private:
  Fd fd_;
  alignas(8) uint8_t buffer_[65536];
};

}  // namespace nokmod
