// A held system call, its operands and its outcome.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <chrono>
#include <climits>
#include <cstdint>
#include <memory>
#include <vector>

#include "netlink_socket.h"

namespace nokmod {

using Clock = std::chrono::steady_clock;

/// In the kernel: the call is made again after the signal's handler, if that was installed with SA_RESTART.
constexpr int kRestartSys = 512;
/// The kernel takes no longer array of iovec or mmsghdr.
constexpr uint64_t kMaxParts = IOV_MAX;

/// A notification of the seccomp listener. Addresses among `args` are of the calling thread's memory.
struct Call {
  uint64_t id;
  pid_t tid;
  uint32_t arch;
  int number;
  uint64_t args[6];
  int Descriptor() const { return static_cast<int>(args[0]); }
};

/// How a call is answered.
struct Outcome {
  enum Kind {
    kReturn,     ///< It returns `value`, which may be a negative errno.
    kContinue,   ///< The kernel executes it (SECCOMP_USER_NOTIF_FLAG_CONTINUE).
    kDeferred,   ///< It waits, and is answered later.
    kResponded,  ///< It has been answered.
  };
  Kind kind;
  int64_t value;
  Outcome(int64_t result) : kind(kReturn), value(result) {}
  Outcome(Kind what) : kind(what), value(0) {}
};

/// A netlink socket, and a copy of the descriptor that a call was made on. `socket` is null for a NETLINK_ROUTE socket, which
/// is the kernel's.
struct Target {
  std::shared_ptr<NetlinkSocket> socket;
  Fd file;
};

/// The operands of a send or a receive, as in a msghdr. Addresses are of the calling thread's memory.
struct Message {
  std::vector<iovec> parts;
  /// Sum of the parts' lengths.
  size_t length = 0;
  uint64_t name = 0;
  uint32_t name_length = 0;
  uint64_t control = 0;
  uint64_t control_length = 0;
  /// Address of the msghdr, 0 if the call has none; and of where the name's length is to be written.
  uint64_t header = 0;
  uint64_t name_length_at = 0;
};

/// A receive call. One that finds no message is kept until a message, a signal or its deadline (SO_RCVTIMEO) comes.
struct DeferredReceive {
  Call call;
  Target target;
  int flags = 0;
  /// Address of the array of mmsghdr; 0 for the calls that take one message.
  uint64_t vector = 0;
  /// Elements of that array, and how many of them are filled.
  unsigned count = 1, done = 0;
  Message message;
  Clock::time_point deadline = Clock::time_point::max();
};

}  // namespace nokmod
