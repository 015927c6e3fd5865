// Tells when a file descriptor is readable, from the event loop of the thread that made it.
#pragma once

#include <node_api.h>
#include <uv.h>

#include <functional>
#include <utility>

/// Level-triggered. Ends by itself when its environment does (a worker that is terminated): libuv wants every handle
/// closed, and closing takes a turn of the loop, hence the asynchronous cleanup hook.
class Poller {
 public:
  Poller() = default;
  Poller(const Poller&) = delete;
  Poller& operator=(const Poller&) = delete;
  ~Poller() { Close(); }

  /// @return 0 or a negative libuv error
  int Open(napi_env env, int fd, std::function<void()> readable) {
    uv_loop_t* loop = nullptr;
    if (napi_get_uv_event_loop(env, &loop) != napi_ok) return UV_EINVAL;
    auto* state = new State;
    const int error = uv_poll_init(loop, &state->handle, fd);
    if (error != 0) {
      delete state;
      return error;
    }
    state->handle.data = state;
    state->readable = std::move(readable);
    state->owner = this;
    napi_add_async_cleanup_hook(
        env, [](napi_async_cleanup_hook_handle, void* data) { Shut(static_cast<State*>(data)); }, state, &state->hook);
    state_ = state;
    return 0;
  }

  int Start() {
    if (state_ == nullptr) return UV_EBADF;
    return uv_poll_start(&state_->handle, UV_READABLE, [](uv_poll_t* handle, int, int) {
      auto* state = static_cast<State*>(handle->data);
      if (state->readable) state->readable();
    });
  }

  void Stop() {
    if (state_ != nullptr) uv_poll_stop(&state_->handle);
  }

  /// Keeps the event loop alive, or not.
  void SetRef(bool on) {
    if (state_ == nullptr) return;
    auto* handle = reinterpret_cast<uv_handle_t*>(&state_->handle);
    on ? uv_ref(handle) : uv_unref(handle);
  }

  /// The descriptor may be closed afterwards.
  void Close() {
    if (state_ != nullptr) Shut(state_);
  }

 private:
  struct State {
    uv_poll_t handle;
    napi_async_cleanup_hook_handle hook = nullptr;
    std::function<void()> readable;
    Poller* owner = nullptr;
  };

  static void Shut(State* state) {
    if (state->owner == nullptr) return;
    state->owner->state_ = nullptr;
    state->owner = nullptr;
    uv_close(reinterpret_cast<uv_handle_t*>(&state->handle), [](uv_handle_t* handle) {
      auto* closed = static_cast<State*>(handle->data);
      napi_remove_async_cleanup_hook(closed->hook);
      delete closed;
    });
  }

  State* state_ = nullptr;
};
