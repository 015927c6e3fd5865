// Event-loop polls of PacketIo: they call JavaScript when frames can be received, and when links or routes change.
#include "packet_io.h"

#include "packet_io_methods.h"

namespace nokmod {

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
