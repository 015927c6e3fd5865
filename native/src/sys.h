// File descriptors that close themselves, and system calls that throw. Shared by the port units.
#pragma once

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>
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

// Writes a line about a failed system call to stderr: for destructors and noexcept functions, which have no caller to tell.
inline void ReportError(const std::string& what, int error) {
  const std::string line = "nokmod: " + what + ": " + std::generic_category().message(error) + "\n";
  if (write(STDERR_FILENO, line.data(), line.size()) < 0) return;
}

// Returns `result` unless it says that errno is set.
template <typename T>
T Check(T result, const char* what) {
  if (result < 0) Throw(errno, what);
  return result;
}

inline ino_t Inode(const Fd& fd) {
  struct stat status {};
  Check(fstat(fd.get(), &status), "fstat");
  return status.st_ino;
}

// A network namespace, by default the one the thread is in, and a block that runs in it wherever the thread may be by then.
class HomeNamespace {
 public:
  HomeNamespace() : fd_(Check(open(kOwn, O_RDONLY | O_CLOEXEC), kOwn)) {}
  explicit HomeNamespace(Fd fd) : fd_(std::move(fd)) {}
  // Lets the namespace go: a Scope throws EBADF from now on.
  void Close() { fd_.Reset(); }
  class Scope {
   public:
    // Mostly the thread is there already, and setns would ask for CAP_SYS_ADMIN.
    explicit Scope(const HomeNamespace& home) {
      Fd here(Check(open(kOwn, O_RDONLY | O_CLOEXEC), kOwn));
      if (Inode(here) == Inode(home.fd_)) return;
      Check(setns(home.fd_.get(), CLONE_NEWNET), "setns");
      back_ = std::move(here);
    }
    // A thread lost in a foreign namespace would open every later device in the wrong place.
    ~Scope() {
      if (back_ && setns(back_.get(), CLONE_NEWNET) != 0) std::abort();
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Fd back_;
  };

 private:
  static constexpr const char* kOwn = "/proc/thread-self/ns/net";
  Fd fd_;
};

}  // namespace nokmod
