// The supervisor's event loop: the seccomp listener, ends of supervised threads, deferred receives, and other descriptors.
#include "supervisor.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

#include <algorithm>

#include "../preload/channel.h"
#include "file.h"

namespace nokmod {
namespace {

/// What an epoll tag stands for, in its two upper bits; the lower ones hold a thread id or an address.
constexpr uint64_t kListener = 0, kTask = uint64_t{1} << 62, kDeferredReceive = uint64_t{2} << 62, kOther = uint64_t{3} << 62;
constexpr uint64_t kKind = uint64_t{3} << 62;

template <typename T>
T* PointerOf(uint64_t tag) {
  return reinterpret_cast<T*>(tag & ~kKind);
}

}  // namespace

Supervisor::Supervisor(Fd listener, int base, std::function<void(const char*)> warn)
    : listener_(std::move(listener)),
      epoll_(Check(epoll_create1(EPOLL_CLOEXEC), "epoll_create1")),
      base_(base),
      warn_(std::move(warn)),
      buffer_(REQUEST_MAX) {
  seccomp_notif_sizes sizes{};
  Check(syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes), "SECCOMP_GET_NOTIF_SIZES");
  notification_.resize((std::max<size_t>(sizes.seccomp_notif, sizeof(seccomp_notif)) + 7) / 8);
  Add(listener_.get(), kListener);
  tasks_.on_open = [this](pid_t tid, int handle) { Add(handle, kTask | static_cast<uint32_t>(tid)); };
}

void Supervisor::Add(int fd, uint64_t tag) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = tag;
  Check(epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

void Supervisor::Watch(int fd, std::function<void()> readable) {
  watched_.push_back({std::move(readable)});
  Add(fd, reinterpret_cast<uint64_t>(&watched_.back()) | kOther);
}

void Supervisor::AddReceive(DeferredReceive* receive) {
  Add(receive->target.file.get(), reinterpret_cast<uint64_t>(receive) | kDeferredReceive);
}

/// The program holds the same file: closing our descriptor would not remove it from the epoll instance.
void Supervisor::RemoveFile(int fd) {
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr) != 0 && errno != ENOENT) Throw(errno, "epoll_ctl");
}

void Supervisor::Run() {
  for (;;) {
    epoll_event events[32];
    const int count = epoll_wait(epoll_.get(), events, std::size(events), NextTimeout());
    if (count < 0 && errno != EINTR) Throw(errno, "epoll_wait");
    std::vector<DeferredReceive*> resumed;
    for (int i = 0; i < count; i++) {
      const uint64_t tag = events[i].data.u64;
      switch (tag & kKind) {
        case kListener:
          if ((events[i].events & EPOLLIN) != 0) ReceiveNotification();
          else if ((events[i].events & EPOLLHUP) != 0) return;
          break;
        case kTask:
          tasks_.Ended(static_cast<pid_t>(static_cast<uint32_t>(tag)));
          break;
        case kDeferredReceive:
          resumed.push_back(PointerOf<DeferredReceive>(tag));
          break;
        default:
          PointerOf<Watched>(tag)->readable();
      }
    }
    for (DeferredReceive* receive : resumed) ResumeReceive(receive);
    if (!deferred_.empty()) CheckDeferredReceives();
    if (!stalled_.empty()) RetryStalledCalls();
    if (placeholders_ != 0) ProbeServer();
  }
}

/// Milliseconds until the next check or deadline; -1: none.
int Supervisor::NextTimeout() const {
  int64_t timeout = !deferred_.empty() || !stalled_.empty() ? kCheckIntervalMs : placeholders_ != 0 ? kProbeIntervalMs : -1;
  for (const DeferredReceive& receive : deferred_) {
    if (receive.deadline == Clock::time_point::max()) continue;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(receive.deadline - Clock::now()).count();
    timeout = std::clamp<int64_t>(left, 0, timeout);
  }
  return static_cast<int>(timeout);
}

bool Supervisor::HasNoTasks() const { return HasHungUp(listener_.get()); }

}  // namespace nokmod
