// What the supervisor knows of a program's netlink socket.
#pragma once

#include <linux/netlink.h>
#include <sys/types.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "../preload/channel.h"
#include "../src/sys.h"

namespace nokmod {

/// One netlink socket of a supervised program: an open file description, told by its SO_COOKIE whatever process holds
/// it and under whatever numbers. So fork, exec, dup, close, threads and SCM_RIGHTS need no bookkeeping, and its end is
/// the end of the data channel.
struct NetlinkSocket {
  static constexpr unsigned kGroups = 256, kOptions = 13;

  ::id id{};
  int protocol = 0, type = 0;
  /// The process id that its maker knows itself by.
  uint32_t pid = 0;
  /// The file that stands for it now is the last one; descriptors of others may still stand for an earlier one.
  std::vector<uint64_t> cookies;

  uint32_t port = 0, destination = 0;
  /// The server's last word: a dump is under way.
  bool dumping = false;
  /// Something was sent to the server: the socket cannot become the kernel's any more.
  bool settled = false;
  /// Largest buffer that a receive was called with.
  uint32_t receive_length = 0;

  std::array<uint32_t, kGroups / 32> groups{};
  uint32_t options_set = 0;
  std::array<int, kOptions> options{};
  int receive_buffer = 0, receive_buffer_told = 0;
  bool receive_buffer_forced = false;

  /// The far end of the idle file that stands in while there is no server.
  Fd parked;
  /// Its reader may have missed something.
  bool missed = false;
  /// The file, while somebody still holds one that it has replaced; and the links in /proc of those.
  Fd file;
  std::vector<std::string> replaced;

  bool Member(unsigned group) const { return groups[(group - 1) / 32] >> (group - 1) % 32 & 1; }
  bool HasGroups() const;
  void SetMember(unsigned group, bool member);

  /// A data channel with all that was set on the socket; empty when there is no server.
  Fd Reopen();
  /// A socket of the kernel's with all that was set on this one, in the caller's network namespace; empty with errno set.
  Fd OpenKernel() const;
};

/// SO_COOKIE; 0 for what is no socket.
uint64_t CookieOf(int fd);

}  // namespace nokmod
