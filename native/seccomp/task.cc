#include "task.h"

#include <dirent.h>
#include <sched.h>
#include <sys/syscall.h>

#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace nokmod {
namespace {

/// pidfd_open(): a handle on the thread itself, whose descriptors may not be its process's (Linux 6.9).
constexpr unsigned kPidfdThread = O_EXCL;

struct CloseDirectory {
  void operator()(DIR* directory) const { closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

std::string ProcPath(pid_t tid, const char* rest) { return "/proc/" + std::to_string(tid) + "/" + rest; }

/// Empty when there is no such file.
std::string ReadFile(const std::string& path) {
  const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string text;
  char bytes[4096];
  ssize_t length;
  while (fd && (length = read(fd.get(), bytes, sizeof bytes)) > 0) text.append(bytes, static_cast<size_t>(length));
  return text;
}

std::string ReadLink(const std::string& path) {
  char target[PATH_MAX];
  const ssize_t length = readlink(path.c_str(), target, sizeof target);
  return length < 0 ? std::string() : std::string(target, static_cast<size_t>(length));
}

/// The value of a line "NAME:\tVALUE"; empty when there is none.
std::string Line(const std::string& text, const char* name) {
  const std::string start = std::string("\n") + name + ":";
  const size_t at = text.find(start);
  if (at == std::string::npos) return "";
  const size_t begin = at + start.size();
  return text.substr(begin, text.find('\n', begin) - begin);
}

uint64_t HexLine(const std::string& text, const char* name) { return strtoull(Line(text, name).c_str(), nullptr, 16); }

/// Calls for every name in a directory that is a number; stops when it returns true.
template <typename Visit>
bool AnyNumber(const std::string& path, Visit visit) {
  const Directory directory(opendir(path.c_str()));
  if (!directory) return false;
  while (const dirent* entry = readdir(directory.get())) {
    char* rest;
    const long number = strtol(entry->d_name, &rest, 10);
    if (rest != entry->d_name && *rest == '\0' && visit(static_cast<int>(number))) return true;
  }
  return false;
}

}  // namespace

int ReadMemory(pid_t tid, uint64_t address, void* to, size_t size) {
  const iovec here{to, size}, there{reinterpret_cast<void*>(address), size};
  return process_vm_readv(tid, &here, 1, &there, 1, 0) == static_cast<ssize_t>(size) ? 0 : -EFAULT;
}

int WriteMemory(pid_t tid, uint64_t address, const void* from, size_t size) {
  const iovec here{const_cast<void*>(from), size}, there{reinterpret_cast<void*>(address), size};
  return process_vm_writev(tid, &here, 1, &there, 1, 0) == static_cast<ssize_t>(size) ? 0 : -EFAULT;
}

int Gather(pid_t tid, const std::vector<iovec>& parts, void* to, size_t size) {
  if (size == 0) return 0;
  const iovec here{to, size};
  const ssize_t done = process_vm_readv(tid, &here, 1, parts.data(), parts.size(), 0);
  return done == static_cast<ssize_t>(size) ? 0 : -EFAULT;
}

int Scatter(pid_t tid, const std::vector<iovec>& parts, const std::vector<iovec>& from) {
  size_t size = 0;
  for (const iovec& part : from) size += part.iov_len;
  if (size == 0) return 0;
  const ssize_t done = process_vm_writev(tid, from.data(), from.size(), parts.data(), parts.size(), 0);
  return done == static_cast<ssize_t>(size) ? 0 : -EFAULT;
}

std::optional<TaskStatus> ReadStatus(pid_t tid) {
  const std::string text = ReadFile(ProcPath(tid, "status"));
  if (text.empty()) return std::nullopt;
  TaskStatus status;
  unsigned real, effective;
  if (sscanf(Line(text, "Uid").c_str(), "%u %u", &real, &effective) == 2) status.uid = effective;
  if (sscanf(Line(text, "Gid").c_str(), "%u %u", &real, &effective) == 2) status.gid = effective;
  // The innermost pid namespace's number comes last.
  const std::string pids = Line(text, "NStgid");
  status.own_pid = static_cast<pid_t>(strtol(pids.c_str() + pids.find_last_of(" \t") + 1, nullptr, 10));
  status.capabilities = HexLine(text, "CapEff");
  if (ReadLink(ProcPath(tid, "ns/user")) != ReadLink("/proc/self/ns/user")) status.capabilities = 0;
  status.pending_signals = (HexLine(text, "SigPnd") | HexLine(text, "ShdPnd")) & ~HexLine(text, "SigBlk");
  return status;
}

std::vector<Holding> FindDescriptors(pid_t tid, const std::string& link) {
  std::vector<Holding> found;
  const std::string directory = ProcPath(tid, "fd/");
  AnyNumber(directory, [&](int number) {
    if (ReadLink(directory + std::to_string(number)) != link) return false;
    const std::string info = "\n" + ReadFile(ProcPath(tid, "fdinfo/") + std::to_string(number));
    const bool close_on_exec = (strtoul(Line(info, "flags").c_str(), nullptr, 8) & O_CLOEXEC) != 0;
    found.push_back({number, close_on_exec});
    return false;
  });
  return found;
}

bool IsHeldByOthers(const std::string& link) {
  return AnyNumber("/proc", [&](int pid) {
    if (pid == getpid()) return false;
    const std::string directory = ProcPath(pid, "fd/");
    return AnyNumber(directory, [&](int number) { return ReadLink(directory + std::to_string(number)) == link; });
  });
}

std::vector<Watch> FindWatches(pid_t tid, ino_t inode) {
  std::vector<Watch> found;
  for (const Holding& holding : FindDescriptors(tid, "anon_inode:[eventpoll]")) {
    const std::string info = ReadFile(ProcPath(tid, "fdinfo/") + std::to_string(holding.number));
    for (size_t at = info.find("tfd:"); at != std::string::npos; at = info.find("tfd:", at + 1)) {
      Watch watch{holding.number, 0, 0, 0};
      unsigned long long data;
      unsigned long found_inode;
      if (sscanf(info.c_str() + at, "tfd: %d events: %x data: %llx pos:%*s ino:%lx", &watch.number, &watch.events, &data,
                 &found_inode) != 4 ||
          found_inode != inode) {
        continue;
      }
      watch.data = data;
      found.push_back(watch);
    }
  }
  return found;
}

ScopedNetns::ScopedNetns(pid_t tid) {
  constexpr const char* kOwn = "/proc/thread-self/ns/net";
  const std::string there = ProcPath(tid, "ns/net");
  if (ReadLink(there) == ReadLink(kOwn)) return;
  const Fd target(open(there.c_str(), O_RDONLY | O_CLOEXEC));
  Fd here(open(kOwn, O_RDONLY | O_CLOEXEC));
  entered_ = target && here && setns(target.get(), CLONE_NEWNET) == 0;
  if (entered_) back_ = std::move(here);
}

ScopedNetns::~ScopedNetns() {
  if (back_ && setns(back_.get(), CLONE_NEWNET) != 0) abort();
}

int Tasks::Handle(pid_t tid, bool anew) {
  if (anew) handles_.erase(tid);
  const auto known = handles_.find(tid);
  if (known != handles_.end()) return known->second.get();
  Fd handle(static_cast<int>(syscall(SYS_pidfd_open, tid, kPidfdThread)));
  if (!handle && errno == EINVAL) {
    const std::string text = ReadFile(ProcPath(tid, "status"));
    const pid_t process = static_cast<pid_t>(strtol(Line(text, "Tgid").c_str(), nullptr, 10));
    handle = Fd(static_cast<int>(syscall(SYS_pidfd_open, process, 0)));
  }
  if (!handle) return -1;
  const int number = handle.get();
  handles_[tid] = std::move(handle);
  on_open(tid, number);
  return number;
}

Fd Tasks::Copy(pid_t tid, int number) {
  Fd copy(static_cast<int>(syscall(SYS_pidfd_getfd, Handle(tid, false), number, 0)));
  // The number of a thread that has ended may be another's now.
  if (!copy && errno == ESRCH) copy = Fd(static_cast<int>(syscall(SYS_pidfd_getfd, Handle(tid, true), number, 0)));
  return copy;
}

}  // namespace nokmod
