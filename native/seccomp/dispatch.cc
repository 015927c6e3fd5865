// System calls that the filter holds: taken from the seccomp listener, given to the function that implements each, and
// answered (seccomp_unotify(2)).
#include "supervisor.h"

#include <fcntl.h>
#include <linux/netlink.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <initializer_list>

#include "file.h"
#include "filter.h"

namespace nokmod {
namespace {

/// How long calls wait for another server after one has died; then they fail.
constexpr std::chrono::seconds kGracePeriod(5);

}  // namespace

void Supervisor::ReceiveNotification() {
  std::fill(notification_.begin(), notification_.end(), 0);
  auto* notification = reinterpret_cast<seccomp_notif*>(notification_.data());
  // ENOENT: the caller has died meanwhile. EINTR: it is asked again.
  if (ioctl(listener_.get(), SECCOMP_IOCTL_NOTIF_RECV, notification) != 0) return;
  const seccomp_data& data = notification->data;
  Call call{notification->id, static_cast<pid_t>(notification->pid), data.arch, data.nr, {}};
  std::copy(std::begin(data.args), std::end(data.args), call.args);
  HandleCall(call);
}

/// Executes a call and answers it, or keeps it while another server may come.
void Supervisor::HandleCall(const Call& call) {
  server_missing_ = false;
  const Outcome outcome = Dispatch(call);
  const bool failed = outcome.kind == Outcome::kContinue ||
                      (outcome.kind == Outcome::kReturn && outcome.value == -ECONNREFUSED);
  if (server_missing_ && failed && WithinGracePeriod()) stalled_.push_back(call);
  else Respond(call, outcome);
}

/// Another server may still come in place of the one that has died.
bool Supervisor::WithinGracePeriod() const { return outage_since_ && Clock::now() < *outage_since_ + kGracePeriod; }

void Supervisor::RetryStalledCalls() {
  std::list<Call> calls;
  calls.swap(stalled_);
  for (const Call& call : calls) {
    if (!IsPending(call)) continue;
    const auto status = ReadStatus(call.tid);
    if (status && status->pending_signals != 0) Respond(call, -kRestartSys);
    else HandleCall(call);
  }
}

void Supervisor::Respond(const Call& call, Outcome outcome) {
  if (outcome.kind == Outcome::kDeferred || outcome.kind == Outcome::kResponded) return;
  seccomp_notif_resp response{};
  response.id = call.id;
  if (outcome.kind == Outcome::kContinue) response.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
  else if (outcome.value < 0) response.error = static_cast<int>(outcome.value);
  else response.val = outcome.value;
  int result;
  do {
    result = ioctl(listener_.get(), SECCOMP_IOCTL_NOTIF_SEND, &response);
  } while (result != 0 && errno == EINTR);
  // ENOENT: the caller has been killed.
  if (result != 0 && errno != ENOENT) Throw(errno, "SECCOMP_IOCTL_NOTIF_SEND");
}

/// The caller still waits: the addresses that the call names are its own.
bool Supervisor::IsPending(const Call& call) const {
  uint64_t id = call.id;
  return ioctl(listener_.get(), SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

Outcome Supervisor::Dispatch(const Call& call) {
  if (IsForeignSocketCall(call.arch, call.number)) {
    if (!warned_) warn_("a program of another architecture opens netlink sockets: they are the kernel's");
    warned_ = true;
    return Outcome::kContinue;
  }
  if (call.number == SYS_socket) return OpenSocket(call);
  Target target;
  target.file = tasks_.Copy(call.tid, call.Descriptor());
  if (!target.file) return Outcome::kContinue;
  const uint64_t cookie = CookieOf(target.file.get());
  const auto found = sockets_.find(cookie);
  if (cookie != 0 && found == sockets_.end() && IsRoute(target.file.get())) return DispatchOn(call, target);
  if (cookie == 0 || found == sockets_.end()) return Outcome::kContinue;
  target.socket = found->second;
  if (target.socket->cookies.back() != cookie) FollowReplacement(call, target);
  return DispatchOn(call, target);
}

Outcome Supervisor::DispatchOn(const Call& call, Target& target) {
  const auto is_any_of = [&](std::initializer_list<int> calls) {
    return std::find(calls.begin(), calls.end(), call.number) != calls.end();
  };
  if (!target.socket && is_any_of({SYS_bind, SYS_connect, SYS_getsockname, SYS_getpeername, SYS_setsockopt,
                                   SYS_getsockopt, SYS_listen, SYS_shutdown, SYS_sendmmsg})) {
    return Outcome::kContinue;
  }
  sockaddr_nl name{};
  name.nl_family = AF_NETLINK;
  switch (call.number) {
    case SYS_bind:
      return Bind(call, target);
    case SYS_connect:
      return Connect(call, target);
    case SYS_getsockname:
      name.nl_pid = target.socket->port;
      name.nl_groups = target.socket->groups[0];
      return PutName(call, name);
    case SYS_getpeername:
      name.nl_pid = target.socket->destination;
      return PutName(call, name);
    case SYS_listen:
    case SYS_shutdown:
      return -EOPNOTSUPP;
    case SYS_setsockopt:
      return SetOption(call, target);
    case SYS_getsockopt:
      return GetOption(call, *target.socket);
    case SYS_sendto:
    case SYS_sendmsg:
    case SYS_sendmmsg:
    case SYS_write:
    case SYS_writev:
      return Send(call, target);
    case SYS_recvfrom:
    case SYS_recvmsg:
    case SYS_recvmmsg:
    case SYS_read:
    case SYS_readv:
      return StartReceive(call, target);
    case SYS_dup:
      return Install(call, target.file.get(), base_, false);
    case SYS_fcntl:
      if (static_cast<int64_t>(call.args[2]) < 0) return -EINVAL;
      return Install(call, target.file.get(), base_, static_cast<int>(call.args[1]) == F_DUPFD_CLOEXEC);
    default:
      return Outcome::kContinue;
  }
}

}  // namespace nokmod
