#include "packet_io.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cstring>

#include "ip_port.h"
#include "netdev_port.h"
#include "tap_port.h"
#include "veth_port.h"

namespace nokmod {

namespace {

// Frames taken from one port before the next one's turn.
constexpr int kTurn = 64;

// Runs `body`; what it throws becomes a JavaScript Error with the number in `errno`.
template <typename Body>
Napi::Value Guard(Napi::Env env, Body body) {
  try {
    return body();
  } catch (const std::system_error& error) {
    Napi::Error e = Napi::Error::New(env, error.what());
    e.Set("errno", Napi::Number::New(env, error.code().value()));
    throw e;
  } catch (const std::bad_alloc&) {
    Napi::Error e = Napi::Error::New(env, "out of memory");
    e.Set("errno", Napi::Number::New(env, ENOMEM));
    throw e;
  }
}

int32_t IntArgument(const Napi::CallbackInfo& info, size_t index) {
  return info.Length() > index ? info[index].ToNumber().Int32Value() : 0;
}

std::string StringArgument(const Napi::CallbackInfo& info, size_t index) {
  return info.Length() > index ? info[index].ToString().Utf8Value() : std::string();
}

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

}  // namespace

void PacketIo::Init(Napi::Env env, Napi::Object exports) {
  exports.Set("PacketIo", DefineClass(env, "PacketIo",
                                      {
                                          InstanceMethod<&PacketIo::Start>("start"),
                                          InstanceMethod<&PacketIo::OpenNetdev>("openNetdev"),
                                          InstanceMethod<&PacketIo::OpenInternal>("openInternal"),
                                          InstanceMethod<&PacketIo::OpenUnderlay>("openUnderlay"),
                                          InstanceMethod<&PacketIo::GetRoute>("getRoute"),
                                          InstanceMethod<&PacketIo::SetUp>("setUp"),
                                          InstanceMethod<&PacketIo::ClosePort>("closePort"),
                                          InstanceMethod<&PacketIo::Renamed>("renamed"),
                                          InstanceMethod<&PacketIo::LocateInternal>("locateInternal"),
                                          InstanceMethod<&PacketIo::AskNetfilter>("askNetfilter"),
                                          InstanceMethod<&PacketIo::CloseNetfilter>("closeNetfilter"),
                                          InstanceMethod<&PacketIo::Exchange>("exchange"),
                                          InstanceMethod<&PacketIo::Release>("release"),
                                          InstanceMethod<&PacketIo::Flush>("flush"),
                                          InstanceMethod<&PacketIo::GetLink>("getLink"),
                                          InstanceMethod<&PacketIo::GetStats>("getStats"),
                                          InstanceMethod<&PacketIo::GetCounters>("getCounters"),
                                          InstanceMethod<&PacketIo::Listen>("listen"),
                                          InstanceMethod<&PacketIo::Shutdown>("shutdown"),
                                      }));
}

// new PacketIo(arenaBytes): properties buffer (ArrayBuffer), rx and tx (Int32Array).
PacketIo::PacketIo(const Napi::CallbackInfo& info) try : Napi::ObjectWrap<PacketIo>(info) {
  const Napi::Env env = info.Env();
  arena_ = std::make_shared<Arena>(static_cast<size_t>(info[0].ToNumber().Int64Value()));
  heads_.resize(kTxBatch);
  epoll_ = Fd(Check(epoll_create1(EPOLL_CLOEXEC), "epoll_create1"));

  // The buffer may outlive this object: each holds the arena.
  auto* shared = new std::shared_ptr<Arena>(arena_);
  Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(
      env, arena_->data(), arena_->size(),
      [](Napi::Env, void*, std::shared_ptr<Arena>* arena) { delete arena; }, shared);
  Napi::Int32Array rx = Napi::Int32Array::New(env, static_cast<size_t>(kRxBatch) * kRxWords);
  Napi::Int32Array tx = Napi::Int32Array::New(env, static_cast<size_t>(kTxBatch) * kTxWords);
  rx_ = reinterpret_cast<RxDescriptor*>(rx.Data());
  tx_ = reinterpret_cast<const TxDescriptor*>(tx.Data());
  rx_array_ = Napi::Reference<Napi::Int32Array>::New(rx, 1);
  tx_array_ = Napi::Reference<Napi::Int32Array>::New(tx, 1);
  Napi::Object self = info.This().As<Napi::Object>();
  self.Set("buffer", buffer);
  self.Set("rx", rx);
  self.Set("tx", tx);
} catch (const std::system_error& error) {
  Napi::Error e = Napi::Error::New(info.Env(), error.what());
  e.Set("errno", Napi::Number::New(info.Env(), error.code().value()));
  throw e;
}

PacketIo::~PacketIo() { StopPolls(); }

// start(firstBytes): the first bytes of the buffer become usable, and everything after them is ours.
Napi::Value PacketIo::Start(const Napi::CallbackInfo& info) {
  return Guard(info.Env(), [&] {
    arena_->UseFirst(static_cast<size_t>(info[0].ToNumber().Int64Value()));
    large_ = std::make_unique<LargeBuffers>(*arena_);
    return info.Env().Undefined();
  });
}

IoPort* PacketIo::Find(int32_t handle) const {
  return handle >= 0 && static_cast<size_t>(handle) < ports_.size() ? ports_[static_cast<size_t>(handle)].get() : nullptr;
}

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

// setUp(ifindex, mtu): the device gets that MTU, or the largest it takes, and is up.
Napi::Value PacketIo::SetUp(const Napi::CallbackInfo& info) {
  return Guard(info.Env(), [&] {
    route_.SetUp(IntArgument(info, 0), static_cast<uint32_t>(IntArgument(info, 1)));
    return info.Env().Undefined();
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

// exchange(nTx): sends, releases, receives; returns the number of records in rx.
Napi::Value PacketIo::Exchange(const Napi::CallbackInfo& info) {
  Transmit(IntArgument(info, 0));
  EndBatch();
  PollReady();
  return Napi::Number::New(info.Env(), Receive());
}

// release(nTx): sends and releases.
Napi::Value PacketIo::Release(const Napi::CallbackInfo& info) {
  Transmit(IntArgument(info, 0));
  EndBatch();
  return info.Env().Undefined();
}

// flush(nTx): sends; the frames of the batch stay.
Napi::Value PacketIo::Flush(const Napi::CallbackInfo& info) {
  Transmit(IntArgument(info, 0));
  return info.Env().Undefined();
}

// Lays out head.iov for one frame.
void PacketIo::BuildHead(const TxDescriptor& d, TxHead& head) const {
  const uint8_t* frame = arena_->data() + d.off;
  auto length = static_cast<size_t>(d.len);
  VnetHeader vnet{};
  vnet.flags = static_cast<uint8_t>(d.flags & kVnetNeedsCsum);
  vnet.gso_type = static_cast<uint8_t>(d.flags >> 8);
  vnet.csum_start = static_cast<uint16_t>(d.csum);
  vnet.csum_offset = static_cast<uint16_t>(static_cast<uint32_t>(d.csum) >> 16);
  if (vnet.gso_type != 0) {
    vnet.gso_size = static_cast<uint16_t>(d.gso);
    const uint8_t type = vnet.gso_type & static_cast<uint8_t>(~kVnetGsoEcn);
    // How much of the frame is headers: a hint that lets the kernel lay them out in one piece.
    if ((type == kVnetGsoTcpV4 || type == kVnetGsoTcpV6) && vnet.csum_start + size_t{13} <= length) {
      vnet.hdr_len = static_cast<uint16_t>(vnet.csum_start + (frame[vnet.csum_start + 12] >> 4) * 4);
    } else if (type == kVnetGsoUdpL4) {
      vnet.hdr_len = static_cast<uint16_t>(vnet.csum_start + 8);
    }
    if (vnet.hdr_len > length) vnet.hdr_len = 0;
  }
  uint8_t* to = head.bytes + kVnet;
  const auto tpid = static_cast<uint16_t>(static_cast<uint32_t>(d.vlan) >> 16);
  if (tpid != 0 && length >= 12) {
    memcpy(to, frame, 12);
    to[12] = static_cast<uint8_t>(tpid >> 8);
    to[13] = static_cast<uint8_t>(tpid);
    to[14] = static_cast<uint8_t>(d.vlan >> 8);
    to[15] = static_cast<uint8_t>(d.vlan);
    to += 16;
    frame += 12;
    length -= 12;
    if (vnet.flags & kVnetNeedsCsum) vnet.csum_start = static_cast<uint16_t>(vnet.csum_start + 4);
    if (vnet.hdr_len != 0) vnet.hdr_len = static_cast<uint16_t>(vnet.hdr_len + 4);
  }
  memcpy(head.bytes, &vnet, kVnet);
  head.iov[0].iov_base = head.bytes;
  if (length + 12 <= TxHead::kSmall) {
    memcpy(to, frame, length);
    head.iov[0].iov_len = static_cast<size_t>(to - head.bytes) + length;
    head.iov[1].iov_len = 0;
  } else {
    head.iov[0].iov_len = static_cast<size_t>(to - head.bytes);
    head.iov[1].iov_base = const_cast<uint8_t*>(frame);
    head.iov[1].iov_len = length;
  }
}

void PacketIo::Transmit(int32_t count) {
  if (count <= 0) return;
  count = std::min<int32_t>(count, kTxBatch);
  const auto top = static_cast<int64_t>(arena_->top());
  int32_t last = -1;
  for (int32_t i = 0; i < count; i++) {
    const TxDescriptor& d = tx_[i];
    IoPort* port = Find(d.port);
    if (port == nullptr || d.off < 0 || d.len <= 0 || int64_t{d.off} + d.len > top) continue;
    TxHead& head = heads_[static_cast<size_t>(i)];
    BuildHead(d, head);
    if (d.port != last) {
      if (std::find(sending_.begin(), sending_.end(), d.port) == sending_.end()) sending_.push_back(d.port);
      last = d.port;
    }
    port->Send(head.iov, head.iov[1].iov_len == 0 ? 1 : 2, d);
  }
  for (const int32_t handle : sending_) Find(handle)->Flush();
  sending_.clear();
}

void PacketIo::EndBatch() {
  if (!in_batch_) return;
  for (const auto& port : ports_) {
    if (port != nullptr) port->Release();
  }
  large_->Reset();
  closing_.clear();
  in_batch_ = false;
}

void PacketIo::PollReady() {
  epoll_event events[64];
  const int n = epoll_wait(epoll_.get(), events, 64, 0);
  for (int i = 0; i < n; i++) {
    const auto handle = static_cast<int32_t>(events[i].data.u32);
    IoPort* port = Find(handle);
    if (port == nullptr) continue;
    if ((events[i].events & (EPOLLERR | EPOLLHUP)) && !port->ClearError()) {
      epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, port->poll_fd(), nullptr);
      lost_port_ = true;
      continue;
    }
    if ((events[i].events & EPOLLIN) == 0 || is_ready_[static_cast<size_t>(handle)]) continue;
    is_ready_[static_cast<size_t>(handle)] = true;
    ready_.push_back(handle);
  }
}

int32_t PacketIo::Receive() {
  int count = 0;
  size_t turns = 0;  // ports in a row, from the front, that have been asked and have more
  while (!ready_.empty() && turns < ready_.size() * 4 && count < kRxBatch && !large_->empty()) {
    const int32_t handle = ready_.front();
    ready_.erase(ready_.begin());
    const int room = std::min(kTurn, kRxBatch - count);
    const int n = ports_[static_cast<size_t>(handle)]->Receive(rx_ + count, room, *large_);
    for (int i = count; i < count + n; i++) rx_[i].port = handle;
    count += n;
    if (n == room || large_->empty()) ready_.push_back(handle);
    else is_ready_[static_cast<size_t>(handle)] = false;
    turns++;
  }
  // Ports that met the limit stay in ready_ for the next call.
  in_batch_ = true;
  if (count == 0) EndBatch();
  return count;
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

// listen(onReady, onLink, onRoutes): calls onReady() while a port has something to receive, onLink(link) for every change of
// a link, onLink(undefined) when some may have been missed, and onRoutes() when routes or addresses have changed.
Napi::Value PacketIo::Listen(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return Guard(env, [&] {
    if (started_) Throw(EALREADY, "listen");
    on_ready_ = Napi::Persistent(info[0].As<Napi::Function>());
    on_link_ = Napi::Persistent(info[1].As<Napi::Function>());
    on_routes_ = Napi::Persistent(info[2].As<Napi::Function>());
    StartPoll(env, ready_poll_, epoll_.get(), [](uv_poll_t* handle, int, int) { static_cast<Poll*>(handle->data)->io->OnReady(); });
    StartPoll(env, link_poll_, watch_.fd(), [](uv_poll_t* handle, int, int) { static_cast<Poll*>(handle->data)->io->OnLink(); });
    napi_add_async_cleanup_hook(env, CleanUp, this, &cleanup_);
    started_ = true;
    Ref();
    return env.Undefined();
  });
}

void PacketIo::StartPoll(Napi::Env env, Poll*& poll, int fd, uv_poll_cb callback) {
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok) Throw(EINVAL, "event loop");
  auto fresh = std::make_unique<Poll>();
  fresh->io = this;
  fresh->handle.data = fresh.get();
  int error = uv_poll_init(loop, &fresh->handle, fd);
  if (error < 0) Throw(-error, "uv_poll_init");
  poll = fresh.release();
  error = uv_poll_start(&poll->handle, UV_READABLE, callback);
  if (error < 0) Throw(-error, "uv_poll_start");
}

void PacketIo::StopPolls() {
  for (Poll** poll : {&ready_poll_, &link_poll_}) {
    if (*poll == nullptr) continue;
    uv_close(reinterpret_cast<uv_handle_t*>(&(*poll)->handle),
             [](uv_handle_t* handle) { delete static_cast<Poll*>(handle->data); });
    *poll = nullptr;
  }
}

// shutdown(): closes every descriptor, so that nothing keeps a network namespace until this object is collected, and gives
// the memory of frames back. The buffer stays readable, as zeros. Methods throw EBADF from now on.
Napi::Value PacketIo::Shutdown(const Napi::CallbackInfo& info) {
  StopPolls();
  ready_.clear();
  closing_.clear();
  ports_.clear();
  is_ready_.clear();
  in_batch_ = false;
  if (started_) {
    started_ = false;
    napi_remove_async_cleanup_hook(cleanup_);
    // They hold whoever holds this object.
    on_ready_.Reset();
    on_link_.Reset();
    on_routes_.Reset();
    Unref();
  }
  netfilter_.clear();
  epoll_.Reset();
  route_.Close();
  watch_.Close();
  home_.Close();
  arena_->Discard();
  return info.Env().Undefined();
}

// The environment ends with the polls still running.
void PacketIo::CleanUp(napi_async_cleanup_hook_handle hook, void* self) {
  static_cast<PacketIo*>(self)->StopPolls();
  napi_remove_async_cleanup_hook(hook);
}

void PacketIo::OnReady() {
  const Napi::Env env = on_ready_.Env();
  const Napi::HandleScope scope(env);
  try {
    on_ready_.MakeCallback(Value(), std::initializer_list<napi_value>{});
    if (lost_port_ && !on_link_.IsEmpty()) {
      lost_port_ = false;
      on_link_.MakeCallback(Value(), {env.Undefined()});
    }
  } catch (const Napi::Error& error) {
    napi_fatal_exception(env, error.Value());
  }
}

void PacketIo::OnLink() {
  const Napi::Env env = on_link_.Env();
  const Napi::HandleScope scope(env);
  const auto call = [&](napi_value argument) {
    try {
      on_link_.MakeCallback(Value(), {argument});
    } catch (const Napi::Error& error) {
      napi_fatal_exception(env, error.Value());
    }
  };
  try {
    watch_.Read([&](const Link& link) { call(LinkObject(env, link)); }, [&] { call(env.Undefined()); },
                [&] { on_routes_.MakeCallback(Value(), std::initializer_list<napi_value>{}); });
  } catch (const Napi::Error& error) {
    napi_fatal_exception(env, error.Value());
  } catch (const std::system_error&) {
    // A netlink socket fails to receive only by overrun, which Read() handles; whatever else it may be, ask again.
    call(env.Undefined());
  }
}

}  // namespace nokmod

void InitPacketIo(Napi::Env env, Napi::Object exports) { nokmod::PacketIo::Init(env, exports); }
