#include "rtnl.h"

#include <fcntl.h>
#include <linux/net_namespace.h>
#include <netinet/in.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <linux/if.h>
#include <sys/socket.h>

#include <cstring>

namespace nokmod {

namespace {

// A request about a link.
struct LinkRequest {
  nlmsghdr nlh;
  ifinfomsg ifi;
  uint8_t attributes[256];
};

// Appends an attribute; there is room for what is asked here.
void Put(LinkRequest& request, uint16_t type, const void* data, size_t length) {
  nlmsghdr* nlh = &request.nlh;
  auto* a = reinterpret_cast<rtattr*>(reinterpret_cast<uint8_t*>(&request) + NLMSG_ALIGN(nlh->nlmsg_len));
  a->rta_type = type;
  a->rta_len = static_cast<uint16_t>(RTA_LENGTH(length));
  memcpy(RTA_DATA(a), data, length);
  nlh->nlmsg_len = static_cast<uint32_t>(NLMSG_ALIGN(nlh->nlmsg_len) + RTA_SPACE(length));
}

// Begins a nest and returns where; what is put until EndNest lies in it.
uint32_t Nest(LinkRequest& request, uint16_t type) {
  const uint32_t at = NLMSG_ALIGN(request.nlh.nlmsg_len);
  Put(request, type, "", 0);
  return at;
}

void EndNest(LinkRequest& request, uint32_t at) {
  auto* a = reinterpret_cast<rtattr*>(reinterpret_cast<uint8_t*>(&request) + at);
  a->rta_len = static_cast<uint16_t>(request.nlh.nlmsg_len - at);
}

LinkRequest Request(uint16_t type, uint16_t flags, int32_t ifindex) {
  LinkRequest request{};
  request.nlh.nlmsg_len = NLMSG_LENGTH(sizeof request.ifi);
  request.nlh.nlmsg_type = type;
  request.nlh.nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
  request.ifi.ifi_index = ifindex;
  return request;
}

template <typename T>
T Get(const rtattr* a) {
  T value{};
  memcpy(&value, RTA_DATA(a), RTA_PAYLOAD(a) < sizeof value ? RTA_PAYLOAD(a) : sizeof value);
  return value;
}

// The number in a file of /proc/sys, or `otherwise`.
uint32_t ReadNumber(const std::string& path, uint32_t otherwise) {
  const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char text[16] = {};
  if (fd.get() < 0 || read(fd.get(), text, sizeof text - 1) <= 0) return otherwise;
  return static_cast<uint32_t>(strtoul(text, nullptr, 10));
}

Link ParseLink(const nlmsghdr* nlh) {
  Link link;
  const auto* ifi = static_cast<const ifinfomsg*>(NLMSG_DATA(nlh));
  link.ifindex = ifi->ifi_index;
  link.type = ifi->ifi_type;
  link.flags = ifi->ifi_flags;
  link.deleted = nlh->nlmsg_type == RTM_DELLINK;
  link.carrier = (ifi->ifi_flags & IFF_LOWER_UP) != 0;
  auto left = static_cast<int>(nlh->nlmsg_len - NLMSG_LENGTH(sizeof *ifi));
  for (const auto* a = reinterpret_cast<const rtattr*>(reinterpret_cast<const uint8_t*>(ifi) + NLMSG_ALIGN(sizeof *ifi));
       RTA_OK(a, left); a = RTA_NEXT(a, left)) {
    switch (a->rta_type) {
      case IFLA_IFNAME:
        link.name.assign(static_cast<const char*>(RTA_DATA(a)), strnlen(static_cast<const char*>(RTA_DATA(a)), RTA_PAYLOAD(a)));
        break;
      case IFLA_MTU:
        link.mtu = Get<uint32_t>(a);
        break;
      case IFLA_CARRIER:
        link.carrier = Get<uint8_t>(a) != 0;
        break;
      case IFLA_LINK:
        link.peer = Get<int32_t>(a);
        break;
      case IFLA_LINK_NETNSID:
        link.peer_nsid = Get<int32_t>(a);
        break;
      case IFLA_MASTER:
        link.master = Get<int32_t>(a);
        break;
      default:
        break;
    }
  }
  return link;
}

}  // namespace

RouteSocket::RouteSocket() : fd_(Check(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), "socket")) {
  sockaddr_nl addr{};
  addr.nl_family = AF_NETLINK;
  Check(bind(fd_.get(), reinterpret_cast<sockaddr*>(&addr), sizeof addr), "bind");
  own_namespace_ = Inode(Fd(Check(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC), "/proc/thread-self/ns/net")));
}

// Sends a request and returns the reply of that type (NLMSG_ERROR: the acknowledgement). Throws what the kernel answers.
const uint8_t* RouteSocket::Ask(void* request, uint32_t length, uint16_t reply_type) {
  auto* nlh = static_cast<nlmsghdr*>(request);
  nlh->nlmsg_seq = ++seq_;
  Check(send(fd_.get(), request, length, 0), "rtnetlink send");
  for (;;) {
    const ssize_t n = recv(fd_.get(), buffer_, sizeof buffer_, 0);
    if (n < 0 && errno == EINTR) continue;
    Check(n, "rtnetlink receive");
    auto left = static_cast<uint32_t>(n);
    for (const auto* reply = reinterpret_cast<const nlmsghdr*>(buffer_); NLMSG_OK(reply, left);
         reply = NLMSG_NEXT(reply, left)) {
      if (reply->nlmsg_seq != seq_) continue;
      if (reply->nlmsg_type == NLMSG_ERROR) {
        if (reply_type == NLMSG_ERROR && static_cast<const nlmsgerr*>(NLMSG_DATA(reply))->error == 0) {
          return reinterpret_cast<const uint8_t*>(reply);
        }
        Throw(-static_cast<const nlmsgerr*>(NLMSG_DATA(reply))->error, "rtnetlink");
      }
      if (reply->nlmsg_type == reply_type) return reinterpret_cast<const uint8_t*>(reply);
    }
  }
}

Link RouteSocket::GetLink(int32_t ifindex, const std::string& name, int32_t nsid) {
  LinkRequest request = Request(RTM_GETLINK, 0, ifindex);
  if (ifindex == 0) {
    if (name.size() >= IFNAMSIZ) Throw(ENODEV, "device name too long");
    Put(request, IFLA_IFNAME, name.c_str(), name.size() + 1);
  }
  if (nsid >= 0) Put(request, IFLA_TARGET_NETNSID, &nsid, sizeof nsid);
  return ParseLink(reinterpret_cast<const nlmsghdr*>(Ask(&request, request.nlh.nlmsg_len, RTM_NEWLINK)));
}

rtnl_link_stats64 RouteSocket::GetStats(int32_t ifindex, int32_t nsid) {
  rtnl_link_stats64 stats{};
  LinkRequest request = Request(RTM_GETLINK, 0, ifindex);
  if (nsid >= 0) Put(request, IFLA_TARGET_NETNSID, &nsid, sizeof nsid);
  const auto* nlh = reinterpret_cast<const nlmsghdr*>(Ask(&request, request.nlh.nlmsg_len, RTM_NEWLINK));
  auto left = static_cast<int>(IFLA_PAYLOAD(nlh));
  for (const rtattr* a = IFLA_RTA(NLMSG_DATA(nlh)); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
    if (a->rta_type == IFLA_STATS64) stats = Get<rtnl_link_stats64>(a);
  }
  return stats;
}

Link RouteSocket::CreatePair(const std::string& name, int32_t ifindex) {
  // A transmit queue towards the host must take what the host's device takes, whatever MTU that gets.
  const uint32_t mtu = 65535;
  LinkRequest create = Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, ifindex);
  Put(create, IFLA_IFNAME, name.c_str(), name.size() + 1);
  const uint32_t info = Nest(create, IFLA_LINKINFO);
  Put(create, IFLA_INFO_KIND, "veth", 4);
  const uint32_t data = Nest(create, IFLA_INFO_DATA);
  const ifinfomsg ifi{};
  const uint32_t peer = NLMSG_ALIGN(create.nlh.nlmsg_len);
  Put(create, VETH_INFO_PEER, &ifi, sizeof ifi);
  Put(create, IFLA_IFNAME, "nokmod%d", sizeof "nokmod%d");
  Put(create, IFLA_MTU, &mtu, sizeof mtu);
  EndNest(create, peer);
  EndNest(create, data);
  EndNest(create, info);
  Ask(&create, create.nlh.nlmsg_len, NLMSG_ERROR);

  const Link device = GetLink(0, name);
  LinkRequest set = Request(RTM_SETLINK, NLM_F_ACK, device.peer);
  set.ifi.ifi_flags = IFF_UP;
  set.ifi.ifi_change = IFF_UP;
  const uint8_t no_address = 1;  // IN6_ADDR_GEN_MODE_NONE
  const uint32_t spec = Nest(set, IFLA_AF_SPEC);
  const uint32_t inet6 = Nest(set, AF_INET6);
  Put(set, IFLA_INET6_ADDR_GEN_MODE, &no_address, sizeof no_address);
  EndNest(set, inet6);
  EndNest(set, spec);
  try {
    Ask(&set, set.nlh.nlmsg_len, NLMSG_ERROR);
  } catch (const std::system_error& error) {
    // EAFNOSUPPORT: IPv6 is not in the kernel or disabled, so there is no address mode to set.
    if (error.code().value() != EAFNOSUPPORT) throw;
    set = Request(RTM_SETLINK, NLM_F_ACK, device.peer);
    set.ifi.ifi_flags = IFF_UP;
    set.ifi.ifi_change = IFF_UP;
    Ask(&set, set.nlh.nlmsg_len, NLMSG_ERROR);
  }
  return GetLink(device.peer, "");
}

void RouteSocket::DeleteLink(int32_t ifindex) {
  LinkRequest request = Request(RTM_DELLINK, NLM_F_ACK, ifindex);
  Ask(&request, request.nlh.nlmsg_len, NLMSG_ERROR);
}

void RouteSocket::SetUp(int32_t ifindex, uint32_t mtu) {
  // A TAP device takes less than the largest packet, by its Ethernet header.
  for (const uint32_t size : {mtu, uint32_t{65521}}) {
    LinkRequest request = Request(RTM_SETLINK, NLM_F_ACK, ifindex);
    request.ifi.ifi_flags = IFF_UP;
    request.ifi.ifi_change = IFF_UP;
    Put(request, IFLA_MTU, &size, sizeof size);
    try {
      Ask(&request, request.nlh.nlmsg_len, NLMSG_ERROR);
      return;
    } catch (const std::system_error& error) {
      if (error.code().value() != EINVAL || size <= 65521) throw;
    }
  }
}

Route RouteSocket::GetRoute(const RouteQuery& query) {
  struct {
    nlmsghdr nlh;
    rtmsg rtm;
    uint8_t attributes[128];
  } request{};
  const auto length = static_cast<uint16_t>(query.family == AF_INET ? 4 : 16);
  request.nlh.nlmsg_len = NLMSG_LENGTH(sizeof request.rtm);
  request.nlh.nlmsg_type = RTM_GETROUTE;
  request.nlh.nlmsg_flags = NLM_F_REQUEST;
  request.rtm.rtm_family = query.family;
  request.rtm.rtm_tos = query.tos;
  const auto put = [&](uint16_t type, const void* data, uint16_t size, uint8_t& bits) {
    auto* a = reinterpret_cast<rtattr*>(reinterpret_cast<uint8_t*>(&request) + NLMSG_ALIGN(request.nlh.nlmsg_len));
    a->rta_type = type;
    a->rta_len = static_cast<uint16_t>(RTA_LENGTH(size));
    memcpy(RTA_DATA(a), data, size);
    request.nlh.nlmsg_len = static_cast<uint32_t>(NLMSG_ALIGN(request.nlh.nlmsg_len) + RTA_SPACE(size));
    bits = static_cast<uint8_t>(8 * size);
  };
  uint8_t ignored = 0;
  put(RTA_DST, query.dst, length, request.rtm.rtm_dst_len);
  if (query.has_src) put(RTA_SRC, query.src, length, request.rtm.rtm_src_len);
  if (query.mark != 0) put(RTA_MARK, &query.mark, sizeof query.mark, ignored);
  // For rules by protocol; the kernel knows no others here (EOPNOTSUPP).
  if (query.protocol == IPPROTO_UDP) put(RTA_IP_PROTO, &query.protocol, 1, ignored);

  const auto* nlh = reinterpret_cast<const nlmsghdr*>(Ask(&request, request.nlh.nlmsg_len, RTM_NEWROUTE));
  const auto* rtm = static_cast<const rtmsg*>(NLMSG_DATA(nlh));
  if (rtm->rtm_type != RTN_UNICAST && rtm->rtm_type != RTN_LOCAL && rtm->rtm_type != RTN_MULTICAST &&
      rtm->rtm_type != RTN_BROADCAST && rtm->rtm_type != RTN_ANYCAST) {
    Throw(ENETUNREACH, "route");
  }
  Route route;
  memcpy(route.src, query.src, sizeof route.src);
  auto left = static_cast<int>(RTM_PAYLOAD(nlh));
  for (const auto* a = RTM_RTA(rtm); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
    if (a->rta_type == RTA_PREFSRC && !query.has_src && RTA_PAYLOAD(a) >= length) {
      memcpy(route.src, RTA_DATA(a), length);
    } else if (a->rta_type == RTA_OIF) {
      route.ifindex = Get<int32_t>(a);
    } else if (a->rta_type == RTA_METRICS) {
      auto inner = static_cast<int>(RTA_PAYLOAD(a));
      for (const auto* m = static_cast<const rtattr*>(RTA_DATA(a)); RTA_OK(m, inner); m = RTA_NEXT(m, inner)) {
        if (m->rta_type == RTAX_MTU) route.mtu = Get<uint32_t>(m);
        if (m->rta_type == RTAX_HOPLIMIT) route.hop_limit = Get<uint32_t>(m);
      }
    }
  }
  const Link link = GetLink(route.ifindex, "");
  if (route.mtu == 0) route.mtu = link.mtu;
  if (route.hop_limit == 0) {
    route.hop_limit = ReadNumber(query.family == AF_INET ? "/proc/sys/net/ipv4/ip_default_ttl"
                                                         : "/proc/sys/net/ipv6/conf/" + link.name + "/hop_limit",
                                 64);
  }
  return route;
}

int32_t RouteSocket::NamespaceId(const Fd& ns) {
  if (Inode(ns) == own_namespace_) return -1;
  struct {
    nlmsghdr nlh;
    alignas(NLMSG_ALIGNTO) rtgenmsg rtgen;
    alignas(NLMSG_ALIGNTO) rtattr attribute;
    int32_t fd;
  } request{};
  static_assert(sizeof request == NLMSG_LENGTH(NLMSG_ALIGN(sizeof(rtgenmsg))) + RTA_LENGTH(sizeof(int32_t)));
  request.nlh.nlmsg_len = sizeof request;
  request.nlh.nlmsg_type = RTM_GETNSID;
  request.nlh.nlmsg_flags = NLM_F_REQUEST;
  request.attribute.rta_type = NETNSA_FD;
  request.attribute.rta_len = RTA_LENGTH(sizeof(int32_t));
  request.fd = ns.get();
  const auto* nlh = reinterpret_cast<const nlmsghdr*>(Ask(&request, sizeof request, RTM_NEWNSID));
  const auto* body = static_cast<const uint8_t*>(NLMSG_DATA(nlh)) + NLMSG_ALIGN(sizeof(rtgenmsg));
  auto left = static_cast<int>(nlh->nlmsg_len - NLMSG_LENGTH(NLMSG_ALIGN(sizeof(rtgenmsg))));
  for (const auto* a = reinterpret_cast<const rtattr*>(body); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
    if (a->rta_type == NETNSA_NSID && Get<int32_t>(a) >= 0) return Get<int32_t>(a);
  }
  Throw(ENOENT, "namespace without id");
}

LinkWatch::LinkWatch()
    : fd_(Check(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE), "socket")) {
  // Without the right to hear other namespaces (CAP_NET_BROADCAST) our own still works.
  const int one = 1;
  setsockopt(fd_.get(), SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, &one, sizeof one);
  const int bytes = 4 << 20;
  if (setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) < 0) {
    setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
  }
  sockaddr_nl addr{};
  addr.nl_family = AF_NETLINK;
  addr.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR |
                   RTMGRP_IPV4_RULE | 1 << (RTNLGRP_IPV6_RULE - 1);
  Check(bind(fd_.get(), reinterpret_cast<sockaddr*>(&addr), sizeof addr), "bind");
}

void LinkWatch::Read(const std::function<void(const Link&)>& changed, const std::function<void()>& overrun,
                     const std::function<void()>& routes) {
  bool rerouted = false;
  for (;;) {
    iovec iov{buffer_, sizeof buffer_};
    alignas(cmsghdr) uint8_t control[CMSG_SPACE(sizeof(int32_t))];
    msghdr msg{};
    msg.msg_iov = &iov;
    msg.msg_iovlen = 1;
    msg.msg_control = control;
    msg.msg_controllen = sizeof control;
    const ssize_t n = recvmsg(fd_.get(), &msg, 0);
    if (n < 0) {
      if (errno == EINTR) continue;
      // The receive queue was full, or the kernel could not build a notification (rtnl_set_sk_err()).
      if (errno == ENOBUFS || errno == ENOMEM || errno == EMSGSIZE) {
        overrun();
        continue;
      }
      if (errno == EAGAIN || errno == EWOULDBLOCK) break;
      Throw(errno, "rtnetlink receive");
    }
    int32_t nsid = -1;
    for (cmsghdr* c = CMSG_FIRSTHDR(&msg); c != nullptr; c = CMSG_NXTHDR(&msg, c)) {
      if (c->cmsg_level == SOL_NETLINK && c->cmsg_type == NETLINK_LISTEN_ALL_NSID) memcpy(&nsid, CMSG_DATA(c), sizeof nsid);
    }
    auto left = static_cast<uint32_t>(n);
    for (const auto* nlh = reinterpret_cast<const nlmsghdr*>(buffer_); NLMSG_OK(nlh, left); nlh = NLMSG_NEXT(nlh, left)) {
      if (nlh->nlmsg_type != RTM_NEWLINK && nlh->nlmsg_type != RTM_DELLINK) {
        rerouted |= nsid < 0;
        continue;
      }
      // Bridges report their ports' removal in the AF_BRIDGE family: the device itself lives on.
      if (static_cast<const ifinfomsg*>(NLMSG_DATA(nlh))->ifi_family != AF_UNSPEC) continue;
      Link link = ParseLink(nlh);
      link.nsid = nsid;
      changed(link);
    }
  }
  if (rerouted) routes();
}

}  // namespace nokmod
