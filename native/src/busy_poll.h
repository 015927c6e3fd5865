// Keeps an event loop from sleeping while the next event is expected any moment.
#pragma once

#include <node_api.h>
#include <time.h>
#include <uv.h>

#include <algorithm>
#include <cstdint>

/// To sleep and be woken takes longer than most requests do. So the loop polls for a while after an event that was
/// announced to it, as long as events follow closely upon one another: the time doubles when the next event came soon
/// after the loop had gone to sleep, and is none when it did not.
class BusyPoll {
 public:
  BusyPoll() = default;
  BusyPoll(const BusyPoll&) = delete;
  BusyPoll& operator=(const BusyPoll&) = delete;
  ~BusyPoll() { Close(); }

  /// Without it, and when it fails, nothing is polled.
  void Open(napi_env env) {
    uv_loop_t* loop = nullptr;
    if (napi_get_uv_event_loop(env, &loop) != napi_ok) return;
    state_ = new State;
    uv_idle_init(loop, &state_->handle);
    uv_unref(reinterpret_cast<uv_handle_t*>(&state_->handle));
    state_->handle.data = state_;
    napi_add_async_cleanup_hook(
        env, [](napi_async_cleanup_hook_handle, void* data) { Shut(static_cast<State*>(data)); }, state_, &state_->hook);
    state_->owner = this;
  }

  /// An event has come.
  void Begin() {
    if (state_ == nullptr || state_->polling) return;
    const int64_t slept = Now() - state_->last;
    state_->window = slept > kLongest ? 0 : std::min(kLongest, std::max(kShortest, 2 * state_->window));
  }

  /// It has been dealt with. `elsewhere`: its sender runs on another processor; to poll would keep it from running if not.
  void End(bool elsewhere) {
    if (state_ == nullptr) return;
    state_->last = Now();
    if (!elsewhere) state_->window = 0;
    if (state_->polling || state_->window == 0) return;
    state_->polling = true;
    uv_idle_start(&state_->handle, Turn);
  }

  void Close() {
    if (state_ != nullptr) Shut(state_);
  }

 private:
  // Nanoseconds. The longest is what a sleep, two wake-ups and a sender's own work take.
  static constexpr int64_t kShortest = 20'000;
  static constexpr int64_t kLongest = 100'000;

  struct State {
    uv_idle_t handle;
    napi_async_cleanup_hook_handle hook = nullptr;
    BusyPoll* owner = nullptr;
    bool polling = false;
    int64_t window = 0;
    int64_t last = 0;
  };

  static int64_t Now() {
    timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
  }

  static void Turn(uv_idle_t* handle) {
    auto* state = static_cast<State*>(handle->data);
    if (Now() - state->last < state->window) return;
    state->polling = false;
    uv_idle_stop(handle);
  }

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
