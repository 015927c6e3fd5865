// The threads of the supervised programs, seen from outside: their memory, descriptors and credentials.
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

/// Reads or writes the memory of a thread. 0 or -EFAULT; nothing is told of how much went over.
int ReadMemory(pid_t tid, uint64_t address, void* to, size_t size);
int WriteMemory(pid_t tid, uint64_t address, const void* from, size_t size);
/// Gathers remote parts into `to`, or scatters them; `size` is the sum of the parts' lengths.
int Gather(pid_t tid, const std::vector<iovec>& parts, void* to, size_t size);
int Scatter(pid_t tid, const std::vector<iovec>& parts, const std::vector<iovec>& from);

/// What /proc/TID/status tells.
struct TaskStatus {
  uid_t uid = 0;
  gid_t gid = 0;
  /// Its process id as itself sees it.
  pid_t own_pid = 0;
  uint64_t capabilities = 0;
  /// Signals that wait for the thread or its process, and that it does not block.
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
/// Calls for every process on the machine that we can look into and that holds such a descriptor.
bool IsHeldByOthers(const std::string& link);

/// An epoll instance of a thread that watches a file under the number `number`.
struct Watch {
  int epoll;
  int number;
  uint32_t events;
  uint64_t data;
};
std::vector<Watch> FindWatches(pid_t tid, ino_t inode);

/// Runs in the network namespace of a thread while it lives, where that is another one and we may enter it.
class NetnsOf {
 public:
  explicit NetnsOf(pid_t tid);
  ~NetnsOf();
  NetnsOf(const NetnsOf&) = delete;
  NetnsOf& operator=(const NetnsOf&) = delete;
  /// Whether we are in its namespace now.
  bool There() const { return there_; }

 private:
  bool there_ = true;
  Fd back_;
};

/// Handles on threads, kept from one call to the next.
class Tasks {
 public:
  /// Copies a descriptor of a thread; an empty one with errno set when it has none of that number.
  Fd Copy(pid_t tid, int number);
  /// A thread's handle became readable: it has ended.
  void Ended(pid_t tid) { handles_.erase(tid); }
  /// Called with each new handle, so that its end can be watched.
  std::function<void(pid_t tid, int handle)> on_open;

 private:
  int Handle(pid_t tid, bool anew);
  std::unordered_map<pid_t, Fd> handles_;
};

}  // namespace nokmod
