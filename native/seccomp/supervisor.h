// Answers the system calls that the filter holds (filter.h), one after the other; a receive that must wait is put aside.
#pragma once

#include <linux/seccomp.h>
#include <sys/socket.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "netlink_socket.h"
#include "task.h"

namespace nokmod {

class Supervisor {
 public:
  /// @param base lowest number of a netlink socket's descriptor
  /// @param complain called with a line for people
  Supervisor(Fd listener, int base, std::function<void(const char*)> complain);
  /// Calls `wake` whenever the descriptor can be read.
  void Watch(int fd, std::function<void()> wake);
  /// Returns when no process is left that the filter holds.
  void Run();
  /// Whether there is none left.
  bool Deserted() const;

 private:
  using Clock = std::chrono::steady_clock;

  struct Call {
    uint64_t id;
    pid_t tid;
    uint32_t arch;
    int number;
    uint64_t args[6];
    int Descriptor() const { return static_cast<int>(args[0]); }
  };

  /// What becomes of a call.
  struct Outcome {
    enum Kind {
      kAnswer,  ///< It returns `value`, or a negative errno.
      kNative,  ///< The kernel executes it.
      kLater,   ///< It waits.
      kDone,    ///< It has been answered.
    };
    Kind kind;
    int64_t value;
    Outcome(int64_t result) : kind(kAnswer), value(result) {}
    Outcome(Kind what) : kind(what), value(0) {}
  };

  /// A netlink socket and a copy of the descriptor that a call was made on. Without a socket it is one of the kernel's
  /// NETLINK_ROUTE.
  struct Target {
    std::shared_ptr<NetlinkSocket> socket;
    Fd file;
  };

  /// A msghdr of the program.
  struct Message {
    std::vector<iovec> parts;
    size_t length = 0;
    uint64_t name = 0;
    uint32_t name_length = 0;
    uint64_t control = 0;
    uint64_t control_length = 0;
    /// Where it lies, 0 if the call has none; and where the address's length is to be written.
    uint64_t header = 0;
    uint64_t name_length_at = 0;
  };

  /// A receive call, which may have to wait.
  struct Receive {
    Call call;
    Target target;
    int flags = 0;
    /// Array of mmsghdr; 0 for the calls that take one message.
    uint64_t vector = 0;
    unsigned count = 1, done = 0;
    Message message;
    Clock::time_point deadline = Clock::time_point::max();
  };

  struct Watched {
    std::function<void()> wake;
  };

  void Add(int fd, uint64_t tag);
  void TakeCall();
  void Handle(const Call& call);
  /// Another server may still come in place of the one that has died.
  bool MayWait() const;
  void RetryStalled();
  void Finish(const Call& call, Outcome outcome);
  Outcome Dispatch(const Call& call);
  Outcome DispatchOn(const Call& call, Target& target);
  bool StillThere(const Call& call) const;

  Outcome OpenSocket(const Call& call);
  Outcome OpenRoute(const Call& call);
  Fd OpenChannel(const Call& call, int protocol, const TaskStatus& status, ::id* id, int* error);
  int FreeNumber(const Call& call, int lowest);
  Outcome Install(const Call& call, int file, int lowest, bool close_on_exec);
  void Remember(const std::shared_ptr<NetlinkSocket>& socket, int file);
  void Forget(const NetlinkSocket& socket);
  void Sweep();

  Outcome Bind(const Call& call, Target& target);
  Outcome Connect(const Call& call, Target& target);
  Outcome TellName(const Call& call, const sockaddr_nl& name);
  Outcome SetOption(const Call& call, Target& target);
  Outcome GetOption(const Call& call, const NetlinkSocket& socket);
  Outcome PutInt(const Call& call, uint32_t room, int number);
  int AutoBind(const Call& call, Target& target);

  int ReadParts(const Call& call, uint64_t address, uint64_t count, Message* message);
  int ReadHeader(const Call& call, uint64_t address, Message* message);
  int ReadAddress(const Call& call, uint64_t address, uint64_t length, sockaddr_nl* to);
  Outcome Send(const Call& call, Target& target);
  Outcome Transmit(const Call& call, Target& target, const Message& message, int flags);
  Outcome TransmitRoute(const Call& call, const Target& target, const Message& message);

  Outcome Receives(const Call& call, Target& target);
  /// Nothing when it would have to wait.
  std::optional<int64_t> Attempt(Receive& receive);
  std::optional<int64_t> ReceiveOne(Receive& receive);
  std::optional<int64_t> ReceiveRoute(Receive& receive);
  int64_t Deliver(const Receive& receive, const void* bytes, size_t length, const msghdr& got);
  void Resume(Receive* receive);
  std::list<Receive>::iterator Drop(std::list<Receive>::iterator receive);
  void Tick();
  int Patience() const;

  int Request(const Call& call, Target& target, op what, uint32_t a, uint32_t b, const iovec* payload, answer* told);
  bool Lost(const Call& call, Target& target, bool missed);
  bool Revive(const Call& call, Target& target);
  void Park(const Call& call, Target& target);
  void Replace(const Call& call, Target& target, Fd fresh);
  void Inject(const Call& call, int old_file, int fresh);
  void Settle(NetlinkSocket& socket, int file);
  void Refresh(const Call& call, Target& target);
  Outcome GiveToKernel(const Call& call, Target& target);
  void LookForServer();

  Fd listener_, epoll_;
  const int base_;
  const std::function<void(const char*)> complain_;
  bool complained_ = false;
  Tasks tasks_;
  std::unordered_map<uint64_t, std::shared_ptr<NetlinkSocket>> sockets_;
  size_t sweep_at_ = 64;
  std::list<Receive> receives_;
  /// Calls that wait for another server, and whether the one at hand has met none.
  std::list<Call> stalled_;
  bool no_server_ = false;
  /// When it was seen first that the server had died.
  std::optional<Clock::time_point> outage_;
  std::list<Watched> watched_;
  unsigned parked_ = 0;
  Clock::time_point looked_{};
  std::vector<uint64_t> notification_;
  std::vector<uint8_t> buffer_;
};

}  // namespace nokmod
