// Ports of PacketIo: opening, closing, and where their devices are.
#include "packet_io.h"

#include <sys/epoll.h>

#include <algorithm>

#include "ip_port.h"
#include "netdev_port.h"
#include "packet_io_methods.h"
#include "tap_port.h"
#include "veth_port.h"

namespace nokmod {

int32_t PacketIo::Add(std::unique_ptr<IoPort> port) {
  const auto hole = std::find(ports_.begin(), ports_.end(), nullptr);
  const auto handle = static_cast<int32_t>(hole - ports_.begin());
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u32 = static_cast<uint32_t>(handle);
  if (hole == ports_.end()) {
    ports_.emplace_back();
    is_ready_.push_back(false);
  }
  Check(epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, port->poll_fd(), &event), "epoll_ctl");
  ports_[static_cast<size_t>(handle)] = std::move(port);
  return handle;
}

// openNetdev(ifindex, name): the device's link, and handle.
Napi::Value PacketIo::OpenNetdev(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return Guard(env, [&] {
    if (large_ == nullptr) Throw(EINVAL, "not started");
    const HomeNamespace::Scope scope(home_);
    const Link link = route_.GetLink(IntArgument(info, 0), StringArgument(info, 1));
    auto port = std::make_unique<NetdevPort>(*arena_, home_, link);
    const bool tcx = port->method() == IngressOwner::Method::kTcx;
    Napi::Object o = LinkObject(env, link);
    o.Set("method", tcx ? "tcx" : "nftables");
    o.Set("handle", Add(std::move(port)));
    return o;
  });
}

// openInternal(name, ifindex or 0, without Ethernet header): the new device's link, and handle.
Napi::Value PacketIo::OpenInternal(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return Guard(env, [&] {
    if (large_ == nullptr) Throw(EINVAL, "not started");
    const HomeNamespace::Scope scope(home_);
    std::unique_ptr<InternalPort> port;
    const std::string name = StringArgument(info, 0);
    const int32_t ifindex = IntArgument(info, 1);
    const bool l3 = info[2].ToBoolean();
    try {
      port = std::make_unique<TapPort>(*arena_, name, ifindex, l3);
    } catch (const std::system_error& error) {
      // No TAP here, or not for us.
      const int reason = error.code().value();
      if (reason != EACCES && reason != ENOENT && reason != ENODEV && reason != ENXIO && reason != EPERM) throw;
      port = std::make_unique<VethPort>(*arena_, home_, route_, name, ifindex);
    }
    const Link link = route_.GetLink(0, port->name());
    Napi::Object o = LinkObject(env, link);
    o.Set("peer", port->peer());
    o.Set("handle", Add(std::move(port)));
    return o;
  });
}

// openUnderlay(family, protocol, udpPort): handle.
Napi::Value PacketIo::OpenUnderlay(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return Guard(env, [&] {
    if (large_ == nullptr) Throw(EINVAL, "not started");
    const HomeNamespace::Scope scope(home_);
    const auto port = static_cast<uint16_t>(IntArgument(info, 2));
    auto ipsec = ipsec_.lock();
    if (ipsec == nullptr) ipsec_ = ipsec = std::make_shared<Ipsec>(home_);
    const int family = IntArgument(info, 0), protocol = IntArgument(info, 1);
    return Napi::Number::New(env, Add(std::make_unique<IpPort>(*arena_, std::move(ipsec), family, protocol, port)));
  });
}

// closePort(handle): at once, or when the batch in hand is over.
Napi::Value PacketIo::ClosePort(const Napi::CallbackInfo& info) {
  const int32_t handle = IntArgument(info, 0);
  IoPort* port = Find(handle);
  if (port == nullptr) return info.Env().Undefined();
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, port->poll_fd(), nullptr);
  const auto index = static_cast<size_t>(handle);
  ready_.erase(std::remove(ready_.begin(), ready_.end(), handle), ready_.end());
  is_ready_[index] = false;
  netfilter_.erase(handle);
  if (in_batch_) closing_.push_back(std::move(ports_[index]));
  else ports_[index].reset();
  return info.Env().Undefined();
}

// renamed(handle, name): the netdev port's device has a new name.
Napi::Value PacketIo::Renamed(const Napi::CallbackInfo& info) {
  return Guard(info.Env(), [&] {
    auto* port = dynamic_cast<NetdevPort*>(Find(IntArgument(info, 0)));
    const HomeNamespace::Scope scope(home_);
    if (port != nullptr) port->Renamed(StringArgument(info, 1));
    return info.Env().Undefined();
  });
}

// locateInternal(handle): where an internal port's device is: its ifindex or name, and the id of the namespace it is in
// (-1: ours). Undefined if it is no more.
Napi::Value PacketIo::LocateInternal(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return Guard(env, [&]() -> Napi::Value {
    const auto* port = dynamic_cast<InternalPort*>(Find(IntArgument(info, 0)));
    Place place;
    netfilter_.erase(IntArgument(info, 0));  // it may have moved
    if (port == nullptr || !port->Locate(route_, place)) return env.Undefined();
    Napi::Object o = Napi::Object::New(env);
    o.Set("ifindex", place.ifindex);
    o.Set("name", place.name);
    o.Set("nsid", place.nsid);
    return o;
  });
}

// getCounters(handle): [rx dropped, tx dropped, tx errors] that happened on this side of the device.
Napi::Value PacketIo::GetCounters(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  IoPort* port = Find(IntArgument(info, 0));
  const IoCounters c = port == nullptr ? IoCounters{} : port->Counters();
  Napi::Array array = Napi::Array::New(env, 3);
  array.Set(0u, static_cast<double>(c.rx_dropped));
  array.Set(1u, static_cast<double>(c.tx_dropped));
  array.Set(2u, static_cast<double>(c.tx_errors));
  return array;
}

}  // namespace nokmod
