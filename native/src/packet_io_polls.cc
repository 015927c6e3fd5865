// Event-loop polls of PacketIo: they call JavaScript when frames can be received, and when links or routes change.
#include "packet_io.h"

#include <functional>
#include <utility>

#include "packet_io_methods.h"

namespace nokmod {

namespace {

void StartPoll(Napi::Env env, Poller& poller, int fd, std::function<void()> readable) {
  int error = poller.Open(env, fd, std::move(readable));
  if (error == 0) error = poller.Start();
  if (error != 0) Throw(-error, "poll");
}

}  // namespace

// listen(onReady, onLink, onRoutes): calls onReady() while a port has something to receive, onLink(link) for every change of
// a link, onLink(undefined) when some may have been missed, and onRoutes() when routes or addresses have changed.
Napi::Value PacketIo::Listen(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return Guard(env, [&] {
    if (started_) Throw(EALREADY, "listen");
    on_ready_ = Napi::Persistent(info[0].As<Napi::Function>());
    on_link_ = Napi::Persistent(info[1].As<Napi::Function>());
    on_routes_ = Napi::Persistent(info[2].As<Napi::Function>());
    StartPoll(env, ready_poller_, epoll_.get(), [this] { OnReady(); });
    StartPoll(env, link_poller_, watch_.fd(), [this] { OnLink(); });
    started_ = true;
    Ref();
    return env.Undefined();
  });
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
  } catch (const std::system_error& error) {
    // The caller is libuv, written in C: Node treats it as any exception of a callback.
    napi_fatal_exception(env, ErrnoError(env, error.what(), error.code().value()).Value());
  }
}

}  // namespace nokmod
