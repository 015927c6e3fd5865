// The state of a supervised program's netlink socket.
#pragma once

#include <linux/netlink.h>
#include <sys/types.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "../preload/channel.h"
#include "../preload/routing.h"
#include "../src/sys.h"

namespace nokmod {

/// One netlink socket: an open file description, identified by its SO_COOKIE whatever process holds it and under whatever
/// numbers. So fork, exec, dup, close, threads and SCM_RIGHTS need no bookkeeping. It ends with its data channel.
struct NetlinkSocket {
  static constexpr unsigned kGroups = 32 * GROUP_WORDS, kOptions = OPTIONS;

  ::id id{};
  int protocol = 0, type = 0;
  /// Process id of the process that opened it, in that process's pid namespace.
  uint32_t pid = 0;
  /// Of the files that stood for it; the last one does now, but descriptors of other processes may be of an earlier one.
  std::vector<uint64_t> cookies;

  uint32_t port = 0, destination = 0;
  /// A dump is under way, by the server's last answer.
  bool dumping = false;
  /// A datagram was sent to the server: the socket cannot become the kernel's any more.
  bool routed = false;
  /// Bytes of the largest buffer that a receive was called with.
  uint32_t receive_length = 0;

  std::array<uint32_t, kGroups / 32> groups{};
  uint32_t options_set = 0;
  std::array<int, kOptions> options{};
  int receive_buffer = 0, receive_buffer_reported = 0;
  bool receive_buffer_forced = false;

  /// The other end of the idle socket that stands for it while there is no server.
  Fd placeholder;
  /// Messages may have been lost: the next server is to report ENOBUFS.
  bool lost_messages = false;
  /// The file that stands for it, kept while any process holds one that it has replaced; and the /proc links of those.
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

}  // namespace nokmod
