// Executes the system calls that the filter holds (filter.h), one after the other, for the threads that made them. One
// thread; a receive that must wait is deferred. Its functions lie in loop.cc, dispatch.cc, sockets.cc, options.cc, send.cc,
// receive.cc and reconnect.cc.
#pragma once

#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <sys/socket.h>

#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "call.h"
#include "netlink_socket.h"
#include "task.h"

namespace nokmod {

class Supervisor {
 public:
  /// @param listener the filter's
  /// @param base lowest number of a netlink socket's descriptor
  /// @param warn called with a line for people
  Supervisor(Fd listener, int base, std::function<void(const char*)> warn);
  /// Calls `readable` whenever the descriptor can be read. The descriptor stays the caller's.
  void Watch(int fd, std::function<void()> readable);
  /// Returns when no thread is left that the filter holds.
  void Run();
  /// Whether there is none left.
  bool HasNoTasks() const;

 private:
  /// A descriptor given to Watch().
  struct Watched {
    std::function<void()> readable;
  };

  // loop.cc
  void Add(int fd, uint64_t tag);
  void AddReceive(DeferredReceive* receive);
  void RemoveFile(int fd);
  int NextTimeout() const;

  // dispatch.cc
  void ReceiveNotification();
  void HandleCall(const Call& call);
  bool WithinGracePeriod() const;
  void RetryStalledCalls();
  void Respond(const Call& call, Outcome outcome);
  bool IsPending(const Call& call) const;
  Outcome Dispatch(const Call& call);
  Outcome DispatchOn(const Call& call, Target& target);

  // sockets.cc
  Outcome OpenSocket(const Call& call);
  Outcome OpenRoute(const Call& call);
  Fd OpenChannel(const Call& call, int protocol, const TaskStatus& status, ::id* id, int* error);
  int FreeNumber(const Call& call, int lowest);
  Outcome Install(const Call& call, int file, int lowest, bool close_on_exec);
  void Track(const std::shared_ptr<NetlinkSocket>& socket, int file);
  void Untrack(const NetlinkSocket& socket);
  void UntrackClosed();

  // options.cc
  int ReadAddress(const Call& call, uint64_t address, uint64_t length, sockaddr_nl* to);
  int AutoBind(const Call& call, Target& target);
  Outcome Bind(const Call& call, Target& target);
  Outcome Connect(const Call& call, Target& target);
  Outcome PutName(const Call& call, const sockaddr_nl& name);
  Outcome SetOption(const Call& call, Target& target);
  Outcome GetOption(const Call& call, const NetlinkSocket& socket);
  Outcome PutInt(const Call& call, uint32_t room, int number);

  // send.cc
  int ReadParts(const Call& call, uint64_t address, uint64_t count, Message* message);
  int ReadHeader(const Call& call, uint64_t address, Message* message);
  Outcome Send(const Call& call, Target& target);
  Outcome Transmit(const Call& call, Target& target, const Message& message, int flags);
  Outcome TransmitRoute(const Call& call, const Target& target, const Message& message);

  // receive.cc
  Outcome StartReceive(const Call& call, Target& target);
  std::optional<int64_t> TryReceive(DeferredReceive& receive);
  std::optional<int64_t> ReceiveMessage(DeferredReceive& receive);
  std::optional<int64_t> ReceiveRoute(DeferredReceive& receive);
  int64_t PutMessage(const DeferredReceive& receive, const void* bytes, size_t length, const msghdr& got);
  void ResumeReceive(DeferredReceive* receive);
  std::list<DeferredReceive>::iterator RemoveReceive(std::list<DeferredReceive>::iterator receive);
  void CheckDeferredReceives();

  // reconnect.cc
  int Request(const Call& call, Target& target, op what, uint32_t a, uint32_t b, const iovec* payload, answer* reply);
  bool OnHangup(const Call& call, Target& target, bool lost_messages);
  bool Reconnect(const Call& call, Target& target);
  void Disconnect(const Call& call, Target& target);
  void ReplaceChannel(const Call& call, Target& target, Fd fresh);
  void InstallReplacement(const Call& call, int old_file, int fresh);
  void HoldReplacement(NetlinkSocket& socket, int file);
  void FollowReplacement(const Call& call, Target& target);
  Outcome GiveToKernel(const Call& call, Target& target);
  void ProbeServer();

  /// Milliseconds between two checks of waiting calls (signals for their threads, deadlines), and between two looks for a
  /// server after it has died.
  static constexpr int kCheckIntervalMs = 20, kProbeIntervalMs = 250;

  Fd listener_, epoll_;
  const int base_;
  const std::function<void(const char*)> warn_;
  bool warned_ = false;
  Tasks tasks_;
  /// By SO_COOKIE of every file that stands for the socket; and the size at which closed ones are looked for.
  std::unordered_map<uint64_t, std::shared_ptr<NetlinkSocket>> sockets_;
  size_t untrack_at_ = 64;
  std::list<DeferredReceive> deferred_;
  /// Calls that wait for another server; and whether the call at hand found none.
  std::list<Call> stalled_;
  bool server_missing_ = false;
  /// When the server's death was first noticed.
  std::optional<Clock::time_point> outage_since_;
  std::list<Watched> watched_;
  /// Number of sockets with a placeholder, and when a server was last looked for.
  unsigned placeholders_ = 0;
  Clock::time_point last_probe_{};
  /// A seccomp_notif, of the size that the kernel asks for.
  std::vector<uint64_t> notification_;
  /// One datagram.
  std::vector<uint8_t> buffer_;
};

}  // namespace nokmod
