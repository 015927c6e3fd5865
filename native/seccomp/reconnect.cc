// Requests to the server, and what follows when it has died: sockets get a placeholder until another server listens, and a
// new data channel then. Descriptors of the program are replaced in place (SECCOMP_IOCTL_NOTIF_ADDFD).
#include "supervisor.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/time.h>

#include <algorithm>

#include "../preload/channel.h"
#include "file.h"

namespace nokmod {

/// Sends a request about a socket: 0 or a negative errno. If the server has been replaced by another, the socket is opened
/// there first.
int Supervisor::Request(const Call& call, Target& target, op what, uint32_t a, uint32_t b, const iovec* payload,
                        answer* reply) {
  for (int attempt = 0; attempt < 2; attempt++) {
    NetlinkSocket& socket = *target.socket;
    const int error = channel_request(what, socket.id, a, b, payload, payload == nullptr ? 0 : 1, reply);
    if (error == 0 && reply->error != EBADF) {
      socket.dumping = (reply->flags & ANSWER_DUMPING) != 0;
      return -static_cast<int>(reply->error);
    }
    if (error == -EMSGSIZE || error == -EMFILE || error == -ENFILE) return error;
    // A socket without groups gets answers only, and the request is repeated: it has lost nothing.
    if (!OnHangup(call, target, socket.HasGroups())) break;
  }
  server_missing_ = true;
  return -ECONNREFUSED;
}

/// The server has closed the data channel. `lost_messages`: its reader is told ENOBUFS by the next one. True when there is a
/// next one.
bool Supervisor::OnHangup(const Call& call, Target& target, bool lost_messages) {
  // Another call may have replaced the channel already.
  if (CookieOf(target.file.get()) != target.socket->cookies.back()) {
    FollowReplacement(call, target);
    if (CookieOf(target.file.get()) == target.socket->cookies.back()) return !target.socket->placeholder;
  }
  target.socket->lost_messages |= lost_messages;
  if (Reconnect(call, target)) return true;
  if (!outage_since_) outage_since_ = Clock::now();
  Disconnect(call, target);
  return false;
}

/// Opens a data channel to the server in place of the one that was closed. False when no server listens.
bool Supervisor::Reconnect(const Call& call, Target& target) {
  const ScopedNetns netns(call.tid);
  Fd fresh = target.socket->Reopen();
  if (!fresh) return false;
  outage_since_.reset();
  ReplaceChannel(call, target, std::move(fresh));
  if (target.socket->placeholder) placeholders_--;
  target.socket->placeholder.Reset();
  return true;
}

/// Installs a placeholder, an idle socket, in place of a closed channel, which would be readable for ever.
void Supervisor::Disconnect(const Call& call, Target& target) {
  if (target.socket->placeholder) return;
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) return;
  target.socket->placeholder = Fd(pair[1]);
  target.socket->dumping = false;
  placeholders_++;
  last_probe_ = Clock::now();
  ReplaceChannel(call, target, Fd(pair[0]));
}

/// Replaces the file that stands for a socket.
void Supervisor::ReplaceChannel(const Call& call, Target& target, Fd fresh) {
  NetlinkSocket& socket = *target.socket;
  const int old_file = target.file.get();
  InstallReplacement(call, old_file, fresh.get());
  Track(target.socket, fresh.get());
  socket.replaced.push_back(LinkOf(old_file));
  HoldReplacement(socket, fresh.get());
  target.file = std::move(fresh);
}

/// Replaces a file under all of the caller's descriptors of it. File status flags, SO_RCVTIMEO and epoll registrations go
/// over to the new one.
void Supervisor::InstallReplacement(const Call& call, int old_file, int fresh) {
  const int flags = fcntl(old_file, F_GETFL);
  if (flags < 0 || fcntl(fresh, F_SETFL, flags) != 0) warn_("a socket lost its file status flags");
  timeval limit{};
  socklen_t size = sizeof limit;
  if (getsockopt(old_file, SOL_SOCKET, SO_RCVTIMEO, &limit, &size) == 0) {
    Check(setsockopt(fresh, SOL_SOCKET, SO_RCVTIMEO, &limit, size), "SO_RCVTIMEO");
  }
  struct stat status {};
  Check(fstat(old_file, &status), "fstat");
  const std::vector<nokmod::Watch> watches = FindWatches(call.tid, status.st_ino);
  for (const Holding& holding : FindDescriptors(call.tid, LinkOf(old_file))) {
    seccomp_notif_addfd added{};
    added.id = call.id;
    added.flags = SECCOMP_ADDFD_FLAG_SETFD;
    added.srcfd = static_cast<uint32_t>(fresh);
    added.newfd = static_cast<uint32_t>(holding.number);
    added.newfd_flags = holding.close_on_exec ? O_CLOEXEC : 0;
    // ENOENT: the caller has died.
    if (ioctl(listener_.get(), SECCOMP_IOCTL_NOTIF_ADDFD, &added) < 0 && errno == ENOENT) return;
  }
  // An epoll instance keeps number and file description of what it watches, and drops it when the description is gone. To
  // register the new one under the program's number, we must hold that number meanwhile.
  for (const nokmod::Watch& watch : watches) {
    const Fd epoll = tasks_.Copy(call.tid, watch.epoll);
    if (!epoll || fcntl(watch.number, F_GETFD) >= 0) continue;
    const Fd number(dup3(fresh, watch.number, O_CLOEXEC));
    epoll_event event{};
    event.events = watch.events;
    event.data.u64 = watch.data;
    // EEXIST: a call of another process that shares the epoll instance has done it.
    if (!number || (epoll_ctl(epoll.get(), EPOLL_CTL_ADD, number.get(), &event) != 0 && errno != EEXIST)) {
      warn_("a socket could not be registered again in a program's epoll instance");
    }
  }
}

/// Keeps a copy of the file that stands for a socket as long as any process holds one that it has replaced.
void Supervisor::HoldReplacement(NetlinkSocket& socket, int file) {
  auto& replaced = socket.replaced;
  replaced.erase(std::remove_if(replaced.begin(), replaced.end(), [](const auto& link) { return !IsHeldByOthers(link); }),
                 replaced.end());
  socket.file = replaced.empty() ? Fd() : Fd(fcntl(file, F_DUPFD_CLOEXEC, 0));
}

/// Installs the socket's present file in a process that still has one that was replaced.
void Supervisor::FollowReplacement(const Call& call, Target& target) {
  NetlinkSocket& socket = *target.socket;
  if (!socket.file) return;
  Fd current(fcntl(socket.file.get(), F_DUPFD_CLOEXEC, 0));
  InstallReplacement(call, target.file.get(), current.get());
  HoldReplacement(socket, current.get());
  target.file = std::move(current);
}

/// Replaces the socket by one of the kernel's with the same options, port id and groups; the kernel executes the call.
Outcome Supervisor::GiveToKernel(const Call& call, Target& target) {
  Fd fresh;
  {
    const ScopedNetns netns(call.tid);
    fresh = target.socket->OpenKernel();
  }
  if (!fresh) return -errno;
  InstallReplacement(call, target.file.get(), fresh.get());
  Untrack(*target.socket);
  return Outcome::kContinue;
}

/// Looks for a server while there are placeholders. If one listens, a byte makes each placeholder readable: a program that
/// waits in poll() then receives, which reconnects the socket.
void Supervisor::ProbeServer() {
  const auto now = Clock::now();
  if (now - last_probe_ < std::chrono::milliseconds(kProbeIntervalMs)) return;
  last_probe_ = now;
  answer reply;
  if (channel_request(OP_DESCRIBE, ::id{}, 0, 0, nullptr, 0, &reply) != 0) return;
  const char wakeup = 0;
  std::vector<std::shared_ptr<NetlinkSocket>> closed;
  for (const auto& [cookie, socket] : sockets_) {
    if (!socket->placeholder || socket->cookies.back() != cookie) continue;
    int queued = 0;
    Check(ioctl(socket->placeholder.get(), TIOCOUTQ, &queued), "TIOCOUTQ");
    if (HasHungUp(socket->placeholder.get())) closed.push_back(socket);
    else if (queued == 0) send(socket->placeholder.get(), &wakeup, sizeof wakeup, MSG_DONTWAIT | MSG_NOSIGNAL);
  }
  for (const auto& socket : closed) Untrack(*socket);
}

}  // namespace nokmod
