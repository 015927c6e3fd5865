// socket(AF_NETLINK), and the table of the sockets that came of it.
#include "supervisor.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/netlink.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <climits>

#include "../preload/channel.h"
#include "../preload/rights.h"
#include "../preload/routing.h"
#include "file.h"

namespace nokmod {
namespace {

constexpr uint64_t kNetAdmin = uint64_t{1} << CAP_NET_ADMIN;

}  // namespace

Outcome Supervisor::OpenSocket(const Call& call) {
  const int type = static_cast<int>(call.args[1]), protocol = static_cast<int>(call.args[2]);
  if (protocol == NETLINK_ROUTE) return OpenRoute(call);
  if (!is_emulated_socket(static_cast<int>(call.args[0]), type, protocol)) return Outcome::kContinue;
  const auto status = ReadStatus(call.tid);
  if (!status) return Outcome::kContinue;
  UntrackClosed();
  auto socket = std::make_shared<NetlinkSocket>();
  int error = 0;
  const Fd file = OpenChannel(call, protocol, *status, &socket->id, &error);
  if (!file) {
    // No server: as on a machine without the module.
    server_missing_ = error == ECONNREFUSED || error == ENOENT;
    return error == EMFILE || error == ENFILE || error == ENAMETOOLONG ? Outcome(-error) : Outcome::kContinue;
  }
  if ((type & SOCK_NONBLOCK) != 0 && fcntl(file.get(), F_SETFL, O_RDWR | O_NONBLOCK) != 0) return -errno;
  socket->protocol = protocol;
  socket->type = type & ~(SOCK_CLOEXEC | SOCK_NONBLOCK);
  socket->pid = static_cast<uint32_t>(status->own_pid);
  outage_since_.reset();
  Track(socket, file.get());
  return Install(call, file.get(), base_, (type & SOCK_CLOEXEC) != 0);
}

/// Opens a NETLINK_ROUTE socket of the kernel in the caller's network namespace, at a number that the filter holds: what it
/// tells of links is changed (../preload/links.h).
Outcome Supervisor::OpenRoute(const Call& call) {
  answer reply;
  if (channel_request(OP_DESCRIBE, ::id{}, 0, 0, nullptr, 0, &reply) != 0) return Outcome::kContinue;
  const ScopedNetns netns(call.tid);
  if (!netns.Entered()) return Outcome::kContinue;
  const int type = static_cast<int>(call.args[1]);
  const Fd file(socket(AF_NETLINK, type | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!file) return -errno;
  return Install(call, file.get(), base_, (type & SOCK_CLOEXEC) != 0);
}

/// Opens a data channel with the caller's user, group and capabilities, which the server asks for (SO_PEERCRED): where
/// those are not ours, in a child that takes them on.
Fd Supervisor::OpenChannel(const Call& call, int protocol, const TaskStatus& status, ::id* id, int* error) {
  const ScopedNetns netns(call.tid);
  const auto own = ReadStatus(getpid());
  const bool alike = own && own->uid == status.uid && (own->capabilities & kNetAdmin) == (status.capabilities & kNetAdmin);
  if (alike || !own || own->uid != 0) {
    const int opened = channel_open(protocol, SOCK_CLOEXEC, static_cast<uint32_t>(status.own_pid), 0, id);
    *error = opened < 0 ? -opened : 0;
    return Fd(opened < 0 ? -1 : opened);
  }
  struct Report {
    ::id id;
    int error;
  } report{};
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
    *error = errno;
    return Fd();
  }
  const Fd near(pair[0]);
  Fd far(pair[1]);
  const pid_t child = fork();
  if (child == 0) {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct sets[2]{};
    for (int half = 0; half < 2; half++) {
      const uint64_t common = status.capabilities & own->capabilities;
      sets[half].effective = sets[half].permitted = static_cast<uint32_t>(common >> 32 * half);
    }
    int opened = -EPERM;
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0 && setresgid(status.gid, status.gid, status.gid) == 0 &&
        setresuid(status.uid, status.uid, status.uid) == 0 && syscall(SYS_capset, &header, sets) == 0) {
      opened = channel_open(protocol, SOCK_CLOEXEC, static_cast<uint32_t>(status.own_pid), 0, &report.id);
    }
    report.error = opened < 0 ? -opened : 0;
    iovec part{&report, sizeof report};
    rights control;
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    rights_attach(&message, &control, &opened, 1);
    // A parent that gets no report takes it for EIO.
    _exit(sendmsg(far.get(), &message, MSG_NOSIGNAL) == sizeof report ? 0 : 1);
  }
  far.Reset();
  *error = EIO;
  if (child < 0) return Fd();
  iovec part{&report, sizeof report};
  rights control;
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  rights_room(&message, &control);
  const ssize_t length = recvmsg(near.get(), &message, MSG_CMSG_CLOEXEC);
  while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) continue;
  if (length != sizeof report) return Fd();
  *id = report.id;
  *error = report.error;
  int received[RIGHTS_MAX];
  rights_received(&message, received);
  return Fd(received[0]);
}

/// The caller's lowest free descriptor number from `lowest` on, or -EMFILE. Assumes that the numbers in use have no gap and
/// looks for their end by bisection; looks at all of them only if it finds none so.
int Supervisor::FreeNumber(const Call& call, int lowest) {
  rlimit limit{};
  // Not allowed of another user's process: then the kernel refuses a number that is too high.
  if (prlimit(call.tid, RLIMIT_NOFILE, nullptr, &limit) != 0) limit.rlim_cur = INT_MAX;
  const int end = static_cast<int>(std::min<rlim_t>(limit.rlim_cur, INT_MAX));
  const auto taken = [&](int number) { return static_cast<bool>(tasks_.Copy(call.tid, number)); };
  int used = lowest - 1, unused = lowest;
  for (int64_t step = 1; unused < end && taken(unused); step *= 2) {
    used = unused;
    unused = static_cast<int>(std::min<int64_t>(end, unused + step));
  }
  while (unused - used > 1) {
    const int middle = used + (unused - used) / 2;
    (taken(middle) ? used : unused) = middle;
  }
  if (unused < end) return unused;
  for (int number = lowest; number < end; number++) {
    if (!taken(number)) return number;
  }
  return -EMFILE;
}

/// Gives the caller a descriptor of `file` and answers its call with that number.
Outcome Supervisor::Install(const Call& call, int file, int lowest, bool close_on_exec) {
  const int number = FreeNumber(call, lowest);
  if (number < 0) return number;
  seccomp_notif_addfd added{};
  added.id = call.id;
  added.flags = SECCOMP_ADDFD_FLAG_SETFD | SECCOMP_ADDFD_FLAG_SEND;
  added.srcfd = static_cast<uint32_t>(file);
  added.newfd = static_cast<uint32_t>(number);
  added.newfd_flags = close_on_exec ? O_CLOEXEC : 0;
  if (ioctl(listener_.get(), SECCOMP_IOCTL_NOTIF_ADDFD, &added) >= 0) return Outcome::kResponded;
  return -EMFILE;  // Or the caller has died: then nobody is answered.
}

/// Enters a socket into the table under the cookie of `file`, which stands for it from now on.
void Supervisor::Track(const std::shared_ptr<NetlinkSocket>& socket, int file) {
  const uint64_t cookie = CookieOf(file);
  socket->cookies.push_back(cookie);
  sockets_[cookie] = socket;
}

void Supervisor::Untrack(const NetlinkSocket& socket) {
  if (socket.placeholder) placeholders_--;
  const std::vector<uint64_t> cookies = socket.cookies;
  for (const uint64_t cookie : cookies) sockets_.erase(cookie);
}

/// Removes the sockets that no process holds any more, once the table has doubled: those that the server does not know.
void Supervisor::UntrackClosed() {
  if (sockets_.size() < untrack_at_) return;
  std::vector<std::shared_ptr<NetlinkSocket>> gone;
  for (const auto& [cookie, socket] : sockets_) {
    if (socket->cookies.back() != cookie) continue;
    if (socket->placeholder) {
      if (HasHungUp(socket->placeholder.get())) gone.push_back(socket);
      continue;
    }
    if (socket->file) continue;
    answer reply;
    if (channel_request(OP_DESCRIBE, socket->id, 0, 0, nullptr, 0, &reply) != 0) break;
    if (reply.error == EBADF) gone.push_back(socket);
  }
  for (const auto& socket : gone) Untrack(*socket);
  untrack_at_ = 2 * sockets_.size() + 64;
}

}  // namespace nokmod
