// Requests of PacketIo to the kernel: rtnetlink (links, counters, routes) and nfnetlink.
#include "packet_io.h"

#include <cstring>

#include "packet_io_methods.h"

namespace nokmod {

Napi::Object LinkObject(Napi::Env env, const Link& link) {
  Napi::Object o = Napi::Object::New(env);
  o.Set("ifindex", link.ifindex);
  o.Set("name", link.name);
  o.Set("type", link.type);
  o.Set("flags", static_cast<double>(link.flags));
  o.Set("mtu", static_cast<double>(link.mtu));
  o.Set("carrier", link.carrier);
  o.Set("master", link.master);
  o.Set("deleted", link.deleted);
  o.Set("nsid", link.nsid);
  return o;
}

// getLink(ifindex, name, nsid)
Napi::Value PacketIo::GetLink(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return Guard(env, [&] {
    return LinkObject(env, route_.GetLink(IntArgument(info, 0), StringArgument(info, 1), IntArgument(info, 2)));
  });
}

// getStats(ifindex, nsid): the eight counters in the order of struct ovs_vport_stats.
Napi::Value PacketIo::GetStats(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return Guard(env, [&] {
    const rtnl_link_stats64 s = route_.GetStats(IntArgument(info, 0), IntArgument(info, 1));
    const uint64_t values[] = {s.rx_packets, s.tx_packets, s.rx_bytes,   s.tx_bytes,
                               s.rx_errors,  s.tx_errors,  s.rx_dropped, s.tx_dropped};
    Napi::Array array = Napi::Array::New(env, 8);
    for (uint32_t i = 0; i < 8; i++) array.Set(i, static_cast<double>(values[i]));
    return array;
  });
}

// setUp(ifindex, mtu): the device gets that MTU, or the largest it takes, and is up.
Napi::Value PacketIo::SetUp(const Napi::CallbackInfo& info) {
  return Guard(info.Env(), [&] {
    route_.SetUp(IntArgument(info, 0), static_cast<uint32_t>(IntArgument(info, 1)));
    return info.Env().Undefined();
  });
}

// getRoute(family, dst, src, tos, protocol, port, mark): {src, mtu, linkMtu, hopLimit, ifindex, ipsec}; addresses are
// Uint8Arrays, src may be empty.
Napi::Value PacketIo::GetRoute(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return Guard(env, [&] {
    RouteQuery query;
    query.family = static_cast<uint8_t>(IntArgument(info, 0));
    const size_t length = query.family == AF_INET ? 4 : 16;
    const auto dst = info[1].As<Napi::Uint8Array>();
    const auto src = info[2].As<Napi::Uint8Array>();
    if (dst.ByteLength() != length || (src.ByteLength() != 0 && src.ByteLength() != length)) Throw(EINVAL, "getRoute");
    memcpy(query.dst, dst.Data(), length);
    query.has_src = src.ByteLength() != 0;
    if (query.has_src) memcpy(query.src, src.Data(), length);
    query.tos = static_cast<uint8_t>(IntArgument(info, 3));
    query.protocol = static_cast<uint8_t>(IntArgument(info, 4));
    query.port = static_cast<uint16_t>(IntArgument(info, 5));
    query.mark = static_cast<uint32_t>(IntArgument(info, 6));
    const HomeNamespace::Scope scope(home_);
    const Route route = route_.GetRoute(query);
    const auto ipsec = ipsec_.lock();
    const bool covered = ipsec != nullptr && ipsec->Covers(query, route);
    Napi::Object o = Napi::Object::New(env);
    Napi::Uint8Array source = Napi::Uint8Array::New(env, length);
    memcpy(source.Data(), route.src, length);
    o.Set("src", source);
    o.Set("mtu", static_cast<double>(covered ? Ipsec::PathMtu(query, route) : route.mtu));
    o.Set("linkMtu", static_cast<double>(route.mtu));
    o.Set("ipsec", covered);
    o.Set("hopLimit", static_cast<double>(route.hop_limit));
    o.Set("ifindex", route.ifindex);
    return o;
  });
}

// askNetfilter(handle, request, length, reply): asks nfnetlink where the internal port's device is. Returns the length of
// the answer, or a negative errno.
Napi::Value PacketIo::AskNetfilter(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return Guard(env, [&]() -> Napi::Value {
    const int32_t handle = IntArgument(info, 0);
    auto request = info[1].As<Napi::Uint8Array>();
    auto reply = info[3].As<Napi::Uint8Array>();
    const auto length = static_cast<size_t>(IntArgument(info, 2));
    if (length > request.ByteLength()) Throw(EINVAL, "askNetfilter");
    auto found = netfilter_.find(handle);
    if (found == netfilter_.end()) {
      const auto* port = dynamic_cast<InternalPort*>(Find(handle));
      if (port == nullptr) Throw(EINVAL, "askNetfilter");
      const HomeNamespace place(port->Namespace());
      const HomeNamespace::Scope inside(place);
      found = netfilter_.try_emplace(handle).first;
    }
    return Napi::Number::New(env, found->second.Ask(request.Data(), length, reply.Data(), reply.ByteLength()));
  });
}

// closeNetfilter(handle): gives up the socket, which keeps the namespace of the port's device alive.
Napi::Value PacketIo::CloseNetfilter(const Napi::CallbackInfo& info) {
  netfilter_.erase(IntArgument(info, 0));
  return info.Env().Undefined();
}

}  // namespace nokmod
