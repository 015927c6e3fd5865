// A libuv handle in the event loop of the thread that made it.
#pragma once

#include <node_api.h>
#include <uv.h>

#include <functional>
#include <utility>

/// Ends by itself when its environment does (a worker that is terminated): libuv wants every handle closed, and closing
/// takes a turn of the loop, hence the asynchronous cleanup hook.
template <typename Handle>
class LoopHandle {
 public:
  LoopHandle() = default;
  LoopHandle(const LoopHandle&) = delete;
  LoopHandle& operator=(const LoopHandle&) = delete;
  ~LoopHandle() { Close(); }

  /// `init(loop, handle)` is libuv's; Called() calls `called`, which may close this.
  /// @return 0 or a negative libuv error
  template <typename Init>
  int Open(napi_env env, Init init, std::function<void()> called) {
    uv_loop_t* loop = nullptr;
    if (napi_get_uv_event_loop(env, &loop) != napi_ok) return UV_EINVAL;
    auto* state = new State;
    const int error = init(loop, &state->handle);
    if (error != 0) {
      delete state;
      return error;
    }
    state->handle.data = state;
    state->called = std::move(called);
    state->owner = this;
    napi_add_async_cleanup_hook(
        env, [](napi_async_cleanup_hook_handle, void* data) { Shut(static_cast<State*>(data)); }, state, &state->hook);
    state_ = state;
    return 0;
  }

  /// nullptr unless it is open.
  Handle* get() const { return state_ == nullptr ? nullptr : &state_->handle; }

  /// For the handle's callback.
  static void Called(Handle* handle) { static_cast<State*>(handle->data)->called(); }

  /// Keeps the event loop alive, or not.
  void SetRef(bool on) {
    if (state_ == nullptr) return;
    auto* handle = reinterpret_cast<uv_handle_t*>(&state_->handle);
    on ? uv_ref(handle) : uv_unref(handle);
  }

  void Close() {
    if (state_ != nullptr) Shut(state_);
  }

 private:
  struct State {
    Handle handle;
    napi_async_cleanup_hook_handle hook = nullptr;
    std::function<void()> called;
    LoopHandle* owner = nullptr;
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
