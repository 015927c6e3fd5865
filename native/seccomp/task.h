// Memory, descriptors, credentials and namespaces of the supervised threads, by process_vm_readv(2), pidfd_getfd(2) and /proc.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "../src/sys.h"

namespace nokmod {

/// Reads or writes the memory of a thread. 0 or -EFAULT, also where a part was copied.
int ReadMemory(pid_t tid, uint64_t address, void* to, size_t size);
int WriteMemory(pid_t tid, uint64_t address, const void* from, size_t size);
/// Gathers remote parts into `to`, or scatters them; `size` is the sum of the parts' lengths.
int Gather(pid_t tid, const std::vector<iovec>& parts, void* to, size_t size);
int Scatter(pid_t tid, const std::vector<iovec>& parts, const std::vector<iovec>& from);

/// Of /proc/TID/status.
struct TaskStatus {
  uid_t uid = 0;
  gid_t gid = 0;
  /// Process id in its own pid namespace.
  pid_t own_pid = 0;
  /// The effective ones; none where its user namespace is not ours.
  uint64_t capabilities = 0;
  /// Pending for the thread or its process, and not blocked.
  uint64_t pending_signals = 0;
};
std::optional<TaskStatus> ReadStatus(pid_t tid);

/// A descriptor of a thread that stands for a file with a certain name in /proc.
struct Holding {
  int number;
  bool close_on_exec;
};
/// Descriptors of a thread whose link in /proc reads `link`.
std::vector<Holding> FindDescriptors(pid_t tid, const std::string& link);
/// Whether any process but this one, of those that we may look into, holds such a descriptor.
bool IsHeldByOthers(const std::string& link);

/// An epoll instance of a thread that watches a file under the number `number`.
struct Watch {
  int epoll;
  int number;
  uint32_t events;
  uint64_t data;
};
std::vector<Watch> FindWatches(pid_t tid, ino_t inode);

/// Enters the network namespace of a thread, if that is another one, and returns from it when destroyed.
class ScopedNetns {
 public:
  explicit ScopedNetns(pid_t tid);
  ~ScopedNetns();
  ScopedNetns(const ScopedNetns&) = delete;
  ScopedNetns& operator=(const ScopedNetns&) = delete;
  /// False where it may not be entered.
  bool Entered() const { return entered_; }

 private:
  bool entered_ = true;
  Fd back_;
};

/// A pidfd for each supervised thread, kept from one call to the next.
class Tasks {
 public:
  /// Copies a descriptor of a thread; an empty one with errno set when it has none of that number.
  Fd Copy(pid_t tid, int number);
  /// The thread's pidfd became readable: it has ended.
  void Ended(pid_t tid) { handles_.erase(tid); }
  /// Called with each new pidfd, so that its end can be watched.
  std::function<void(pid_t tid, int handle)> on_open;

 private:
  int Handle(pid_t tid, bool anew);
  std::unordered_map<pid_t, Fd> handles_;
};

}  // namespace nokmod
