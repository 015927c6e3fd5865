// File descriptors that close themselves, and system calls that throw. Shared by the port units.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

namespace nokmod {

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      Reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~Fd() { Reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  void Reset() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

 private:
  int fd_ = -1;
};

[[noreturn]] inline void Throw(int error, const char* what) {
  throw std::system_error(error, std::generic_category(), what);
}

// Returns `result` unless it says that errno is set.
template <typename T>
T Check(T result, const char* what) {
  if (result < 0) Throw(errno, what);
  return result;
}

}  // namespace nokmod
