// Tells when a file descriptor is readable, from the event loop of the thread that made it.
#pragma once

#include <functional>
#include <utility>

#include "loop_handle.h"

/// Level-triggered. After Close() the descriptor may be closed.
class Poller {
 public:
  /// @return 0 or a negative libuv error
  int Open(napi_env env, int fd, std::function<void()> readable) {
    const auto init = [fd](uv_loop_t* loop, uv_poll_t* poll) { return uv_poll_init(loop, poll, fd); };
    return handle_.Open(env, init, std::move(readable));
  }

  int Start() {
    if (handle_.get() == nullptr) return UV_EBADF;
    return uv_poll_start(handle_.get(), UV_READABLE,
                         [](uv_poll_t* poll, int, int) { LoopHandle<uv_poll_t>::Called(poll); });
  }

  void Stop() {
    if (handle_.get() != nullptr) uv_poll_stop(handle_.get());
  }

  void SetRef(bool on) { handle_.SetRef(on); }
  void Close() { handle_.Close(); }

 private:
  LoopHandle<uv_poll_t> handle_;
};
