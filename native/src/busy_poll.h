// Keeps an event loop from sleeping while the next event is expected any moment.
#pragma once

#include <time.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>

#include "loop_handle.h"

/// To sleep and be woken takes longer than most requests do. So the loop polls for a while after an event that was
/// announced to it, as long as events follow closely upon one another: the time doubles when the next event came soon
/// after the loop had gone to sleep, and is none when it did not.
class BusyPoll {
 public:
  /// `look` looks for events that no descriptor tells of, between Begin() and End(); `over` is called when that ends.
  /// Without Open(), and when it fails, nothing is polled.
  void Open(napi_env env, std::function<void()> look, std::function<void()> over) {
    look_ = std::move(look);
    over_ = std::move(over);
    if (handle_.Open(env, uv_idle_init, [this] { Turn(); }) == 0) handle_.SetRef(false);
  }

  /// An event has come.
  void Begin() {
    if (polling_) return;
    const int64_t slept = Now() - last_;
    window_ = slept > kLongest ? 0 : std::min(kLongest, std::max(kShortest, 2 * window_));
  }

  /// It has been dealt with. `elsewhere`: its sender runs on another processor; to poll would keep it from running if not.
  /// @return whether the loop polls now
  bool End(bool elsewhere) {
    last_ = Now();
    if (!elsewhere) window_ = 0;
    if (!polling_ && window_ != 0 && handle_.get() != nullptr) {
      polling_ = true;
      uv_idle_start(handle_.get(), LoopHandle<uv_idle_t>::Called);
    }
    return polling_ && window_ != 0;
  }

  void Close() { handle_.Close(); }

 private:
  // Nanoseconds. The longest is what a sleep, two wake-ups and a sender's own work take.
  static constexpr int64_t kShortest = 20'000;
  static constexpr int64_t kLongest = 100'000;
  /// Before the loop looks at its descriptors again.
  static constexpr int64_t kTurn = 3'000;

  static int64_t Now() {
    timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
  }

  void Turn() {
    const int64_t start = Now();
    int64_t now;
    do {
      look_();
      if (handle_.get() == nullptr) return;
      now = Now();
    } while (now - start < kTurn && now - last_ < window_);
    if (now - last_ < window_) return;
    polling_ = false;
    uv_idle_stop(handle_.get());
    over_();
  }

  LoopHandle<uv_idle_t> handle_;
  std::function<void()> look_, over_;
  bool polling_ = false;
  int64_t window_ = 0;
  int64_t last_ = 0;
};
