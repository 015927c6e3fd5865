#include "supervisor.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "../preload/links.h"
#include "../preload/rights.h"
#include "../preload/routing.h"
#include "filter.h"

namespace nokmod {
namespace {

/// Kinds of what epoll watches, in the upper half of its tag; the lower half says which.
constexpr uint64_t kListener = 0, kTask = uint64_t{1} << 62, kReceive = uint64_t{2} << 62, kOther = uint64_t{3} << 62;
constexpr uint64_t kKind = uint64_t{3} << 62;
/// How often a waiting call is looked after: signals for its thread, its timeout.
constexpr int kTickMs = 20;
/// How often a server that has gone is looked for.
constexpr int kLookMs = 250;
/// How long calls wait for another server when the one there was has died; then they fail.
constexpr std::chrono::seconds kGrace(5);
/// In the kernel: the call is made again after the signal's handler, if that was installed with SA_RESTART.
constexpr int kRestartSys = 512;
constexpr uint64_t kNetAdmin = uint64_t{1} << CAP_NET_ADMIN;
/// A program may ask for a transaction of so many messages.
constexpr uint64_t kMaxParts = IOV_MAX;

uint64_t TagOf(const void* pointer, uint64_t kind) { return reinterpret_cast<uint64_t>(pointer) | kind; }

template <typename T>
T* PointerOf(uint64_t tag) {
  return reinterpret_cast<T*>(tag & ~kKind);
}

bool IsRoute(int fd) {
  int domain = 0, protocol = -1;
  socklen_t length = sizeof domain;
  if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) != 0 || domain != AF_NETLINK) return false;
  length = sizeof protocol;
  return getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length) == 0 && protocol == NETLINK_ROUTE;
}

std::string LinkOf(int fd) {
  struct stat status {};
  fstat(fd, &status);
  return "socket:[" + std::to_string(status.st_ino) + "]";
}

bool HasHungUp(int fd) {
  pollfd end{fd, 0, 0};
  return poll(&end, 1, 0) == 1 && (end.revents & POLLHUP) != 0;
}

/// An array of mmsghdr, as it lies in the program's memory.
constexpr size_t kManyBytes = sizeof(mmsghdr), kManyLength = offsetof(mmsghdr, msg_len);

}  // namespace

Supervisor::Supervisor(Fd listener, int base, std::function<void(const char*)> complain)
    : listener_(std::move(listener)),
      epoll_(Check(epoll_create1(EPOLL_CLOEXEC), "epoll_create1")),
      base_(base),
      complain_(std::move(complain)),
      buffer_(REQUEST_MAX) {
  seccomp_notif_sizes sizes{};
  Check(syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes), "SECCOMP_GET_NOTIF_SIZES");
  notification_.resize((std::max<size_t>(sizes.seccomp_notif, sizeof(seccomp_notif)) + 7) / 8);
  Add(listener_.get(), kListener);
  tasks_.on_open = [this](pid_t tid, int handle) { Add(handle, kTask | static_cast<uint32_t>(tid)); };
}

void Supervisor::Add(int fd, uint64_t tag) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = tag;
  Check(epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

/// A file that the program holds too stays in the epoll instance when our descriptor is closed.
std::list<Supervisor::Receive>::iterator Supervisor::Drop(std::list<Receive>::iterator receive) {
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, receive->target.file.get(), nullptr);
  return receives_.erase(receive);
}

void Supervisor::Watch(int fd, std::function<void()> wake) {
  watched_.push_back({std::move(wake)});
  Add(fd, TagOf(&watched_.back(), kOther));
}

void Supervisor::Run() {
  for (;;) {
    epoll_event events[32];
    const int count = epoll_wait(epoll_.get(), events, std::size(events), Patience());
    if (count < 0 && errno != EINTR) Throw(errno, "epoll_wait");
    std::vector<Receive*> resumed;
    for (int i = 0; i < count; i++) {
      const uint64_t tag = events[i].data.u64;
      switch (tag & kKind) {
        case kListener:
          if ((events[i].events & EPOLLIN) != 0) TakeCall();
          else if ((events[i].events & EPOLLHUP) != 0) return;
          break;
        case kTask:
          tasks_.Ended(static_cast<pid_t>(static_cast<uint32_t>(tag)));
          break;
        case kReceive:
          resumed.push_back(PointerOf<Receive>(tag));
          break;
        default:
          PointerOf<Watched>(tag)->wake();
      }
    }
    for (Receive* receive : resumed) Resume(receive);
    if (!receives_.empty()) Tick();
    if (!stalled_.empty()) RetryStalled();
    if (parked_ != 0) LookForServer();
  }
}

/// Milliseconds until something is to be looked after; -1 for never.
int Supervisor::Patience() const {
  int64_t patience = !receives_.empty() || !stalled_.empty() ? kTickMs : parked_ != 0 ? kLookMs : -1;
  for (const Receive& receive : receives_) {
    if (receive.deadline == Clock::time_point::max()) continue;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(receive.deadline - Clock::now()).count();
    patience = std::clamp<int64_t>(left, 0, patience);
  }
  return static_cast<int>(patience);
}

bool Supervisor::Deserted() const { return HasHungUp(listener_.get()); }

// --------------------------------------------------------------------------------------------------------------- calls

void Supervisor::TakeCall() {
  std::fill(notification_.begin(), notification_.end(), 0);
  auto* notification = reinterpret_cast<seccomp_notif*>(notification_.data());
  // The caller may have died meanwhile.
  if (ioctl(listener_.get(), SECCOMP_IOCTL_NOTIF_RECV, notification) != 0) return;
  const seccomp_data& data = notification->data;
  Call call{notification->id, static_cast<pid_t>(notification->pid), data.arch, data.nr, {}};
  std::copy(std::begin(data.args), std::end(data.args), call.args);
  Handle(call);
}

void Supervisor::Handle(const Call& call) {
  no_server_ = false;
  const Outcome outcome = Dispatch(call);
  const bool failed = outcome.kind == Outcome::kNative || (outcome.kind == Outcome::kAnswer && outcome.value == -ECONNREFUSED);
  if (no_server_ && failed && MayWait()) stalled_.push_back(call);
  else Finish(call, outcome);
}

bool Supervisor::MayWait() const { return outage_ && Clock::now() < *outage_ + kGrace; }

void Supervisor::RetryStalled() {
  std::list<Call> calls;
  calls.swap(stalled_);
  for (const Call& call : calls) {
    if (!StillThere(call)) continue;
    const auto status = ReadStatus(call.tid);
    if (status && status->pending_signals != 0) Finish(call, -kRestartSys);
    else Handle(call);
  }
}

void Supervisor::Finish(const Call& call, Outcome outcome) {
  if (outcome.kind == Outcome::kLater || outcome.kind == Outcome::kDone) return;
  seccomp_notif_resp response{};
  response.id = call.id;
  if (outcome.kind == Outcome::kNative) response.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
  else if (outcome.value < 0) response.error = static_cast<int>(outcome.value);
  else response.val = outcome.value;
  // It fails when the caller has been killed.
  ioctl(listener_.get(), SECCOMP_IOCTL_NOTIF_SEND, &response);
}

bool Supervisor::StillThere(const Call& call) const {
  uint64_t id = call.id;
  return ioctl(listener_.get(), SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

Supervisor::Outcome Supervisor::Dispatch(const Call& call) {
  if (IsForeignSocketCall(call.arch, call.number)) {
    if (!complained_) complain_("a program of another architecture opens netlink sockets: they are the kernel's");
    complained_ = true;
    return Outcome::kNative;
  }
  if (call.number == SYS_socket) return OpenSocket(call);
  Target target;
  target.file = tasks_.Copy(call.tid, call.Descriptor());
  if (!target.file) return Outcome::kNative;
  const uint64_t cookie = CookieOf(target.file.get());
  const auto found = sockets_.find(cookie);
  if (cookie != 0 && found == sockets_.end() && IsRoute(target.file.get())) return DispatchOn(call, target);
  if (cookie == 0 || found == sockets_.end()) return Outcome::kNative;
  target.socket = found->second;
  if (target.socket->cookies.back() != cookie) Refresh(call, target);
  return DispatchOn(call, target);
}

Supervisor::Outcome Supervisor::DispatchOn(const Call& call, Target& target) {
  const auto is_any_of = [&](std::initializer_list<int> calls) {
    return std::find(calls.begin(), calls.end(), call.number) != calls.end();
  };
  if (!target.socket && is_any_of({SYS_bind, SYS_connect, SYS_getsockname, SYS_getpeername, SYS_setsockopt,
                                   SYS_getsockopt, SYS_listen, SYS_shutdown, SYS_sendmmsg})) {
    return Outcome::kNative;
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
      return TellName(call, name);
    case SYS_getpeername:
      name.nl_pid = target.socket->destination;
      return TellName(call, name);
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
      return Receives(call, target);
    case SYS_dup:
      return Install(call, target.file.get(), base_, false);
    case SYS_fcntl:
      if (static_cast<int64_t>(call.args[2]) < 0) return -EINVAL;
      return Install(call, target.file.get(), base_, static_cast<int>(call.args[1]) == F_DUPFD_CLOEXEC);
    default:
      return Outcome::kNative;
  }
}

// -------------------------------------------------------------------------------------------------------------- socket

Supervisor::Outcome Supervisor::OpenSocket(const Call& call) {
  const int type = static_cast<int>(call.args[1]), protocol = static_cast<int>(call.args[2]);
  if (protocol == NETLINK_ROUTE) return OpenRoute(call);
  if (!socket_is_ours(static_cast<int>(call.args[0]), type, protocol)) return Outcome::kNative;
  const auto status = ReadStatus(call.tid);
  if (!status) return Outcome::kNative;
  Sweep();
  auto socket = std::make_shared<NetlinkSocket>();
  int error = 0;
  const Fd file = OpenChannel(call, protocol, *status, &socket->id, &error);
  if (!file) {
    // No server: as on a machine without the module.
    no_server_ = error == ECONNREFUSED || error == ENOENT;
    return error == EMFILE || error == ENFILE ? Outcome(-error) : Outcome::kNative;
  }
  if ((type & SOCK_NONBLOCK) != 0 && fcntl(file.get(), F_SETFL, O_RDWR | O_NONBLOCK) != 0) return -errno;
  socket->protocol = protocol;
  socket->type = type & ~(SOCK_CLOEXEC | SOCK_NONBLOCK);
  socket->pid = static_cast<uint32_t>(status->own_pid);
  outage_.reset();
  Remember(socket, file.get());
  return Install(call, file.get(), base_, (type & SOCK_CLOEXEC) != 0);
}

/// A socket of the kernel's, in the program's network namespace, put where what goes over it can be seen: programs are to
/// see the devices of datapaths as the module's would be.
Supervisor::Outcome Supervisor::OpenRoute(const Call& call) {
  answer told;
  if (channel_request(OP_DESCRIBE, ::id{}, 0, 0, nullptr, 0, &told) != 0) return Outcome::kNative;
  const NetnsOf netns(call.tid);
  if (!netns.There()) return Outcome::kNative;
  const int type = static_cast<int>(call.args[1]);
  const Fd file(socket(AF_NETLINK, type | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!file) return -errno;
  return Install(call, file.get(), base_, (type & SOCK_CLOEXEC) != 0);
}

/// The server asks who made a connection: one that may less than we do must make it with its own rights.
Fd Supervisor::OpenChannel(const Call& call, int protocol, const TaskStatus& status, ::id* id, int* error) {
  const NetnsOf netns(call.tid);
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
    // Of this process, nothing but its memory's copy is left to undo.
    prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct sets[2]{};
    for (int half = 0; half < 2; half++) {
      sets[half].effective = sets[half].permitted = static_cast<uint32_t>((status.capabilities & own->capabilities) >> 32 * half);
    }
    int opened = -EPERM;
    if (setresgid(status.gid, status.gid, status.gid) == 0 && setresuid(status.uid, status.uid, status.uid) == 0 &&
        syscall(SYS_capset, &header, sets) == 0) {
      opened = channel_open(protocol, SOCK_CLOEXEC, static_cast<uint32_t>(status.own_pid), 0, &report.id);
    }
    report.error = opened < 0 ? -opened : 0;
    iovec part{&report, sizeof report};
    rights control;
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    rights_attach(&message, &control, &opened, 1);
    sendmsg(far.get(), &message, MSG_NOSIGNAL);
    _exit(0);
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
  waitpid(child, nullptr, 0);
  if (length != sizeof report) return Fd();
  *id = report.id;
  *error = report.error;
  int received[RIGHTS_MAX];
  rights_received(&message, received);
  return Fd(received[0]);
}

/// A free number of the caller's, not below `lowest`; -EMFILE when there is none. Numbers are mostly in use without a gap:
/// so it looks for the end of those in a few steps.
int Supervisor::FreeNumber(const Call& call, int lowest) {
  rlimit limit{};
  // We may not know it of another user; then the kernel refuses what is too high.
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

/// Gives the caller a descriptor of a file and answers its call with it.
Supervisor::Outcome Supervisor::Install(const Call& call, int file, int lowest, bool close_on_exec) {
  const int number = FreeNumber(call, lowest);
  if (number < 0) return number;
  seccomp_notif_addfd added{};
  added.id = call.id;
  added.flags = SECCOMP_ADDFD_FLAG_SETFD | SECCOMP_ADDFD_FLAG_SEND;
  added.srcfd = static_cast<uint32_t>(file);
  added.newfd = static_cast<uint32_t>(number);
  added.newfd_flags = close_on_exec ? O_CLOEXEC : 0;
  if (ioctl(listener_.get(), SECCOMP_IOCTL_NOTIF_ADDFD, &added) >= 0) return Outcome::kDone;
  return -EMFILE;  // Or it has died: then nobody is answered.
}

void Supervisor::Remember(const std::shared_ptr<NetlinkSocket>& socket, int file) {
  const uint64_t cookie = CookieOf(file);
  socket->cookies.push_back(cookie);
  sockets_[cookie] = socket;
}

void Supervisor::Forget(const NetlinkSocket& socket) {
  if (socket.parked) parked_--;
  const std::vector<uint64_t> cookies = socket.cookies;
  for (const uint64_t cookie : cookies) sockets_.erase(cookie);
}

/// Forgets sockets that nobody holds any more, once there may be many. The server tells: their channels have ended.
void Supervisor::Sweep() {
  if (sockets_.size() < sweep_at_) return;
  std::vector<std::shared_ptr<NetlinkSocket>> gone;
  for (const auto& [cookie, socket] : sockets_) {
    if (socket->cookies.back() != cookie) continue;
    if (socket->parked) {
      if (HasHungUp(socket->parked.get())) gone.push_back(socket);
      continue;
    }
    if (socket->file) continue;
    answer told;
    if (channel_request(OP_DESCRIBE, socket->id, 0, 0, nullptr, 0, &told) != 0) break;
    if (told.error == EBADF) gone.push_back(socket);
  }
  for (const auto& socket : gone) Forget(*socket);
  sweep_at_ = 2 * sockets_.size() + 64;
}

// ---------------------------------------------------------------------------------------------- addresses and options

int Supervisor::ReadAddress(const Call& call, uint64_t address, uint64_t length, sockaddr_nl* to) {
  if (static_cast<uint32_t>(length) < sizeof *to) return -EINVAL;
  const int error = ReadMemory(call.tid, address, to, sizeof *to);
  if (error != 0) return error;
  return to->nl_family == AF_NETLINK ? 0 : -EINVAL;
}

int Supervisor::AutoBind(const Call& call, Target& target) {
  if (target.socket->port != 0) return 0;
  answer told;
  const int error = Request(call, target, OP_BIND, 0, 0, nullptr, &told);
  if (error == 0) target.socket->port = told.a;
  return error;
}

Supervisor::Outcome Supervisor::Bind(const Call& call, Target& target) {
  sockaddr_nl wanted;
  int error = ReadAddress(call, call.args[1], call.args[2], &wanted);
  if (error != 0) return error;
  NetlinkSocket& socket = *target.socket;
  const bool foreign = wanted.nl_groups >> LAST_CONNTRACK_GROUP != 0;
  if (foreign && group_is_foreign(socket.protocol, LAST_CONNTRACK_GROUP + 1) && !socket.settled) {
    return GiveToKernel(call, target);
  }
  answer told;
  error = Request(call, target, OP_BIND, wanted.nl_pid, wanted.nl_groups, nullptr, &told);
  if (error != 0) return error;
  socket.port = told.a;
  socket.groups[0] |= wanted.nl_groups;
  return 0;
}

Supervisor::Outcome Supervisor::Connect(const Call& call, Target& target) {
  sa_family_t family;
  if (static_cast<uint32_t>(call.args[2]) < sizeof family) return -EINVAL;
  int error = ReadMemory(call.tid, call.args[1], &family, sizeof family);
  if (error != 0) return error;
  if (family == AF_UNSPEC) {
    target.socket->destination = 0;
    return 0;
  }
  sockaddr_nl destination;
  error = ReadAddress(call, call.args[1], call.args[2], &destination);
  if (error == 0) error = AutoBind(call, target);
  if (error == 0) target.socket->destination = destination.nl_pid;
  return error;
}

/// As the kernel hands addresses out: as much as there is room for, and the true length.
Supervisor::Outcome Supervisor::TellName(const Call& call, const sockaddr_nl& name) {
  int room;
  int error = ReadMemory(call.tid, call.args[2], &room, sizeof room);
  if (error == 0 && room < 0) error = -EINVAL;
  if (error == 0) error = WriteMemory(call.tid, call.args[1], &name, std::min<size_t>(static_cast<size_t>(room), sizeof name));
  const int length = sizeof name;
  if (error == 0) error = WriteMemory(call.tid, call.args[2], &length, sizeof length);
  return error;
}

Supervisor::Outcome Supervisor::SetOption(const Call& call, Target& target) {
  const int level = static_cast<int>(call.args[1]), name = static_cast<int>(call.args[2]);
  const bool buffer = level == SOL_SOCKET && (name == SO_RCVBUF || name == SO_RCVBUFFORCE);
  if (level != SOL_NETLINK && !buffer) return Outcome::kNative;
  NetlinkSocket& socket = *target.socket;
  int number = 0;
  const bool whole = static_cast<uint32_t>(call.args[4]) >= sizeof number;
  if (buffer && !whole) return -EINVAL;
  if (whole && ReadMemory(call.tid, call.args[3], &number, sizeof number) != 0) return -EFAULT;
  answer told;
  if (buffer) {
    const bool force = name == SO_RCVBUFFORCE;
    const int error = Request(call, target, OP_RECEIVE_BUFFER, static_cast<uint32_t>(number), force, nullptr, &told);
    if (error != 0) return error;
    socket.receive_buffer = number;
    socket.receive_buffer_forced = force;
    socket.receive_buffer_told = static_cast<int>(told.a);
    return 0;
  }
  if (name == NETLINK_ADD_MEMBERSHIP || name == NETLINK_DROP_MEMBERSHIP) {
    const auto group = static_cast<unsigned>(number);
    const bool join = name == NETLINK_ADD_MEMBERSHIP;
    if (group == 0) return -EINVAL;
    if (group_is_foreign(socket.protocol, group) && !socket.settled) return GiveToKernel(call, target);
    int error = AutoBind(call, target);
    if (error == 0) error = Request(call, target, join ? OP_JOIN : OP_LEAVE, group, 0, nullptr, &told);
    if (error == 0) socket.SetMember(group, join);
    return error;
  }
  const int error = Request(call, target, OP_OPTION, static_cast<uint32_t>(name), static_cast<uint32_t>(number), nullptr, &told);
  if (error == 0 && name >= 0 && name < static_cast<int>(NetlinkSocket::kOptions)) {
    socket.options_set |= 1u << name;
    socket.options[static_cast<size_t>(name)] = number;
  }
  return error;
}

Supervisor::Outcome Supervisor::PutInt(const Call& call, uint32_t room, int number) {
  if (static_cast<int>(room) < 0) return -EINVAL;
  const uint32_t length = std::min<uint32_t>(room, sizeof number);
  int error = WriteMemory(call.tid, call.args[3], &number, length);
  if (error == 0) error = WriteMemory(call.tid, call.args[4], &length, sizeof length);
  return error;
}

Supervisor::Outcome Supervisor::GetOption(const Call& call, const NetlinkSocket& socket) {
  const int level = static_cast<int>(call.args[1]), name = static_cast<int>(call.args[2]);
  uint32_t room;
  if (ReadMemory(call.tid, call.args[4], &room, sizeof room) != 0) return Outcome::kNative;
  if (level == SOL_SOCKET) {
    if (name == SO_DOMAIN) return PutInt(call, room, AF_NETLINK);
    if (name == SO_PROTOCOL) return PutInt(call, room, socket.protocol);
    if (name == SO_TYPE) return PutInt(call, room, socket.type);
    if (name == SO_RCVBUF && socket.receive_buffer_told != 0) return PutInt(call, room, socket.receive_buffer_told);
    return Outcome::kNative;
  }
  if (level != SOL_NETLINK) return Outcome::kNative;
  if (name == NETLINK_LIST_MEMBERSHIPS) {
    // A bitmap of u32 words, none where no group was ever joined; the length told is that of all of it.
    size_t words = socket.groups.size();
    while (words > 0 && socket.groups[words - 1] == 0) words--;
    const auto length = static_cast<uint32_t>(words * sizeof(uint32_t));
    const uint32_t given = std::min<uint32_t>(length, room / sizeof(uint32_t) * sizeof(uint32_t));
    int error = WriteMemory(call.tid, call.args[3], socket.groups.data(), given);
    if (error == 0) error = WriteMemory(call.tid, call.args[4], &length, sizeof length);
    return error;
  }
  if (name < NETLINK_PKTINFO || name >= static_cast<int>(NetlinkSocket::kOptions) || name == NETLINK_RX_RING ||
      name == NETLINK_TX_RING) {
    return -ENOPROTOOPT;
  }
  if (room < sizeof(int)) return -EINVAL;
  return PutInt(call, room, socket.options[static_cast<size_t>(name)] != 0);
}

// ------------------------------------------------------------------------------------------------------------ messages

int Supervisor::ReadParts(const Call& call, uint64_t address, uint64_t count, Message* message) {
  if (count > kMaxParts) return -EMSGSIZE;
  message->parts.resize(count);
  message->length = 0;
  if (count != 0 && ReadMemory(call.tid, address, message->parts.data(), count * sizeof(iovec)) != 0) return -EFAULT;
  for (const iovec& part : message->parts) {
    if (part.iov_len > SSIZE_MAX - message->length) return -EINVAL;
    message->length += part.iov_len;
  }
  return 0;
}

int Supervisor::ReadHeader(const Call& call, uint64_t address, Message* message) {
  msghdr header;
  if (ReadMemory(call.tid, address, &header, sizeof header) != 0) return -EFAULT;
  message->header = address;
  message->name = reinterpret_cast<uint64_t>(header.msg_name);
  message->name_length = header.msg_namelen;
  message->name_length_at = address + offsetof(msghdr, msg_namelen);
  message->control = reinterpret_cast<uint64_t>(header.msg_control);
  message->control_length = header.msg_controllen;
  if (static_cast<int>(message->name_length) < 0) return -EINVAL;
  return ReadParts(call, reinterpret_cast<uint64_t>(header.msg_iov), header.msg_iovlen, message);
}

Supervisor::Outcome Supervisor::Send(const Call& call, Target& target) {
  Message message;
  int error = 0;
  switch (call.number) {
    case SYS_write:
    case SYS_sendto:
      message.parts = {{reinterpret_cast<void*>(call.args[1]), call.args[2]}};
      message.length = call.args[2];
      if (call.number == SYS_write) return Transmit(call, target, message, 0);
      message.name = call.args[4];
      message.name_length = static_cast<uint32_t>(call.args[5]);
      return Transmit(call, target, message, static_cast<int>(call.args[3]));
    case SYS_writev:
      if (call.args[2] > kMaxParts) return -EINVAL;
      error = ReadParts(call, call.args[1], call.args[2], &message);
      return error != 0 ? Outcome(error) : Transmit(call, target, message, 0);
    case SYS_sendmsg:
      error = ReadHeader(call, call.args[1], &message);
      return error != 0 ? Outcome(error) : Transmit(call, target, message, static_cast<int>(call.args[2]));
    default:
      break;
  }
  const auto count = std::min<uint64_t>(static_cast<uint32_t>(call.args[2]), kMaxParts);
  int64_t done = 0;
  for (; done < static_cast<int64_t>(count); done++) {
    const uint64_t at = call.args[1] + static_cast<uint64_t>(done) * kManyBytes;
    error = ReadHeader(call, at, &message);
    const Outcome sent = error != 0 ? Outcome(error) : Transmit(call, target, message, static_cast<int>(call.args[3]));
    if (sent.kind != Outcome::kAnswer) return sent;  // Only the first one makes the socket the kernel's.
    error = sent.value < 0 ? static_cast<int>(sent.value) : 0;
    const auto length = static_cast<uint32_t>(sent.value);
    if (error == 0) error = WriteMemory(call.tid, at + kManyLength, &length, sizeof length);
    if (error != 0) break;
  }
  return done != 0 || error == 0 ? Outcome(done) : Outcome(error);
}

/// To a NETLINK_ROUTE socket of the kernel.
Supervisor::Outcome Supervisor::TransmitRoute(const Call& call, const Target& target, const Message& message) {
  // Tunnel devices are made by short messages; what is longer is something else.
  char bytes[4096], changed[4096];
  nlmsghdr header;
  if (message.length > sizeof bytes || message.length < sizeof header) return Outcome::kNative;
  if (Gather(call.tid, message.parts, bytes, message.length) != 0) return Outcome::kNative;
  memcpy(&header, bytes, sizeof header);
  if (header.nlmsg_type != RTM_NEWLINK) return Outcome::kNative;
  // What the server does for us it must do for the program.
  const auto status = ReadStatus(call.tid);
  if (!status || (status->capabilities & kNetAdmin) == 0) return Outcome::kNative;
  const NetnsOf netns(call.tid);
  if (!netns.There()) return Outcome::kNative;
  size_t length = 0;
  if (!links_outgoing(target.file.get(), bytes, message.length, changed, &length)) return Outcome::kNative;
  if (send(target.file.get(), changed, length, MSG_NOSIGNAL) < 0) return -errno;
  return static_cast<int64_t>(message.length);
}

Supervisor::Outcome Supervisor::Transmit(const Call& call, Target& target, const Message& message, int flags) {
  if (!target.socket) return TransmitRoute(call, target, message);
  NetlinkSocket& socket = *target.socket;
  if ((flags & MSG_OOB) != 0) return -EOPNOTSUPP;
  uint32_t destination = socket.destination;
  if (message.name != 0 && message.name_length != 0) {
    sockaddr_nl address;
    const int error = ReadAddress(call, message.name, message.name_length, &address);
    if (error != 0) return error;
    destination = address.nl_pid;
  }
  if (message.length > 65536) {
    int room = 0;
    socklen_t size = sizeof room;
    getsockopt(target.file.get(), SOL_SOCKET, SO_SNDBUF, &room, &size);
    if (message.length + 32 > static_cast<size_t>(room) || message.length > REQUEST_MAX - REQUEST_HEADER_BYTES) {
      return -EMSGSIZE;
    }
  }
  if (Gather(call.tid, message.parts, buffer_.data(), message.length) != 0) return -EFAULT;
  if (!StillThere(call)) return Outcome::kDone;
  if (!socket.settled) {
    const size_t known = std::min<size_t>(message.length, ROUTED_BYTES);
    if (message_is_foreign(socket.protocol, buffer_.data(), known)) return GiveToKernel(call, target);
    socket.settled = true;
  }
  int error = AutoBind(call, target);
  if (error != 0) return error;
  if (destination != 0) return -ECONNREFUSED;  // Only the kernel listens here.
  const iovec payload{buffer_.data(), message.length};
  answer told;
  // The server sees us, and what we may; what the program may counts, too.
  const auto status = ReadStatus(call.tid);
  const bool privileged = status && (status->capabilities & kNetAdmin) != 0;
  error = Request(call, target, OP_SEND, socket.receive_length, privileged ? 0 : SEND_UNPRIVILEGED, &payload, &told);
  return error != 0 ? Outcome(error) : Outcome(static_cast<int64_t>(message.length));
}

// ------------------------------------------------------------------------------------------------------------- receive

Supervisor::Outcome Supervisor::Receives(const Call& call, Target& target) {
  Receive receive;
  receive.call = call;
  Message& message = receive.message;
  int error = 0;
  switch (call.number) {
    case SYS_read:
    case SYS_recvfrom:
      message.parts = {{reinterpret_cast<void*>(call.args[1]), call.args[2]}};
      message.length = call.args[2];
      if (call.number == SYS_read) break;
      receive.flags = static_cast<int>(call.args[3]);
      message.name = call.args[4];
      message.name_length_at = call.args[5];
      if (message.name == 0) break;
      error = ReadMemory(call.tid, call.args[5], &message.name_length, sizeof message.name_length);
      if (error == 0 && static_cast<int>(message.name_length) < 0) error = -EINVAL;
      break;
    case SYS_readv:
      error = call.args[2] > kMaxParts ? -EINVAL : ReadParts(call, call.args[1], call.args[2], &message);
      break;
    case SYS_recvmsg:
      receive.flags = static_cast<int>(call.args[2]);
      error = ReadHeader(call, call.args[1], &message);
      break;
    default:
      receive.flags = static_cast<int>(call.args[3]);
      receive.vector = call.args[1];
      receive.count = static_cast<uint32_t>(std::min<uint64_t>(static_cast<uint32_t>(call.args[2]), kMaxParts));
  }
  if (error != 0) return error;
  if ((receive.flags & MSG_OOB) != 0) return -EOPNOTSUPP;
  if ((call.number == SYS_read || call.number == SYS_readv) && message.length == 0) return 0;
  receive.target = std::move(target);
  const auto result = Attempt(receive);
  if (result) return *result;

  timeval limit{};
  socklen_t size = sizeof limit;
  getsockopt(receive.target.file.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, &size);
  if (limit.tv_sec != 0 || limit.tv_usec != 0) {
    receive.deadline = Clock::now() + std::chrono::seconds(limit.tv_sec) + std::chrono::microseconds(limit.tv_usec);
  }
  receives_.push_back(std::move(receive));
  Add(receives_.back().target.file.get(), TagOf(&receives_.back(), kReceive));
  return Outcome::kLater;
}

std::optional<int64_t> Supervisor::Attempt(Receive& receive) {
  const bool patient =
      (receive.flags & MSG_DONTWAIT) == 0 && (fcntl(receive.target.file.get(), F_GETFL) & O_NONBLOCK) == 0;
  if (receive.vector == 0) {
    const auto result = ReceiveOne(receive);
    if (result || patient) return result;
    return -EAGAIN;
  }
  while (receive.done < receive.count) {
    const uint64_t at = receive.vector + receive.done * kManyBytes;
    int64_t error = ReadHeader(receive.call, at, &receive.message);
    if (error == 0) {
      const auto result = ReceiveOne(receive);
      if (!result && patient && (receive.done == 0 || (receive.flags & MSG_WAITFORONE) == 0)) return std::nullopt;
      error = result.value_or(-EAGAIN);
    }
    if (error < 0) return receive.done != 0 ? int64_t{receive.done} : error;
    const auto length = static_cast<uint32_t>(error);
    if (WriteMemory(receive.call.tid, at + kManyLength, &length, sizeof length) != 0) return -EFAULT;
    receive.done++;
  }
  return receive.done;
}

std::optional<int64_t> Supervisor::ReceiveOne(Receive& receive) {
  Target& target = receive.target;
  if (!target.socket) return ReceiveRoute(receive);
  NetlinkSocket& socket = *target.socket;
  const auto told = static_cast<uint32_t>(std::min<size_t>(receive.message.length, UINT32_MAX));
  socket.receive_length = std::max(socket.receive_length, told);
  for (;;) {
    if (socket.parked && !Revive(receive.call, target)) {
      while (recv(target.file.get(), buffer_.data(), buffer_.size(), MSG_DONTWAIT) > 0) continue;
      return std::nullopt;
    }
    alignas(cmsghdr) char control[256];
    iovec part{buffer_.data(), buffer_.size()};
    msghdr got{};
    got.msg_iov = &part;
    got.msg_iovlen = 1;
    got.msg_control = control;
    got.msg_controllen = sizeof control;
    const ssize_t length = recvmsg(target.file.get(), &got, (receive.flags & MSG_PEEK) | MSG_DONTWAIT);
    if (length < 0 && errno == EINTR) continue;
    if (length < 0 && errno != EAGAIN) return -errno;
    if (length < 0) {
      if (!socket.dumping) return std::nullopt;
      // An empty queue would be taken for the end of the dump: have the server go on.
      answer answered;
      if (Request(receive.call, target, OP_MORE, told, 0, nullptr, &answered) != 0) socket.dumping = false;
      continue;
    }
    if (length == 0) {
      Lost(receive.call, target, true);
      continue;
    }
    if (length == MARKER_BYTES) {
      uint32_t error;
      memcpy(&error, buffer_.data(), sizeof error);
      if ((receive.flags & MSG_PEEK) != 0) recv(target.file.get(), buffer_.data(), MARKER_BYTES, MSG_DONTWAIT);
      return -static_cast<int64_t>(error);
    }
    sockaddr_nl kernel{};
    kernel.nl_family = AF_NETLINK;
    got.msg_name = &kernel;
    // Who asked for credentials (SO_PASSCRED) is to see the kernel's, not the server's.
    for (cmsghdr* item = CMSG_FIRSTHDR(&got); item != nullptr; item = CMSG_NXTHDR(&got, item)) {
      if (item->cmsg_level == SOL_SOCKET && item->cmsg_type == SCM_CREDENTIALS) memset(CMSG_DATA(item), 0, sizeof(ucred));
    }
    return Deliver(receive, buffer_.data(), static_cast<size_t>(length), got);
  }
}

/// From a NETLINK_ROUTE socket of the kernel. Its length is known only after what it tells of links was changed.
std::optional<int64_t> Supervisor::ReceiveRoute(Receive& receive) {
  const int file = receive.target.file.get();
  sockaddr_nl sender{};
  alignas(cmsghdr) char control[256];
  iovec part{buffer_.data(), std::min(receive.message.length, buffer_.size())};
  msghdr got{};
  got.msg_iov = &part;
  got.msg_iovlen = 1;
  // The kernel fits the datagrams of a dump to the largest buffer it has seen: it must not see one of ours first.
  ssize_t length = recvmsg(file, &got, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);
  if (length >= 0) {
    part.iov_len = std::min(static_cast<size_t>(length), buffer_.size());
    got.msg_name = &sender;
    got.msg_namelen = sizeof sender;
    got.msg_control = control;
    got.msg_controllen = sizeof control;
    length = recvmsg(file, &got, (receive.flags & MSG_PEEK) | MSG_TRUNC | MSG_DONTWAIT);
  }
  if (length < 0 && errno == EAGAIN) return std::nullopt;
  if (length < 0) return -errno;
  auto size = static_cast<size_t>(length);
  if (size > part.iov_len) return Deliver(receive, buffer_.data(), part.iov_len, got);
  const NetnsOf netns(receive.call.tid);
  void* changed = netns.There() ? links_incoming(file, buffer_.data(), &size) : nullptr;
  const int64_t result = Deliver(receive, changed != nullptr ? changed : buffer_.data(), size, got);
  free(changed);
  return result;
}

/// Puts a datagram where the program wants it, with the sender and the control messages that came with it. What the call
/// returns.
int64_t Supervisor::Deliver(const Receive& receive, const void* bytes, size_t length, const msghdr& got) {
  const Message& message = receive.message;
  std::vector<iovec> from, to;
  const size_t given = std::min(length, message.length);
  size_t left = given;
  for (const iovec& part : message.parts) {
    if (left == 0) break;
    to.push_back({part.iov_base, std::min(part.iov_len, left)});
    left -= to.back().iov_len;
  }
  if (given != 0) from.push_back({const_cast<void*>(bytes), given});
  const auto put = [&](uint64_t address, const void* bytes, size_t size) {
    if (size == 0) return;
    from.push_back({const_cast<void*>(bytes), size});
    to.push_back({reinterpret_cast<void*>(address), size});
  };
  const uint32_t name_length = sizeof(sockaddr_nl);
  if (message.name != 0) {
    put(message.name, got.msg_name, std::min<size_t>(message.name_length, sizeof(sockaddr_nl)));
    put(message.name_length_at, &name_length, sizeof name_length);
  }
  struct Tail {
    uint64_t control_length;
    int flags;
  } tail{std::min<uint64_t>(got.msg_controllen, message.control_length), 0};
  static_assert(offsetof(Tail, flags) == offsetof(msghdr, msg_flags) - offsetof(msghdr, msg_controllen));
  if (length > given) tail.flags |= MSG_TRUNC;
  if (tail.control_length < got.msg_controllen) tail.flags |= MSG_CTRUNC;
  if (message.header != 0) {
    put(message.control, got.msg_control, tail.control_length);
    put(message.header + offsetof(msghdr, msg_controllen), &tail, offsetof(Tail, flags) + sizeof tail.flags);
  }
  if (!StillThere(receive.call)) return -EINTR;
  // The kernel takes no more parts than that at once.
  const size_t most = IOV_MAX;
  if (to.size() > most) return -EMSGSIZE;
  const int error = Scatter(receive.call.tid, to, from);
  if (error != 0) return error;
  return static_cast<int64_t>((receive.flags & MSG_TRUNC) != 0 ? length : given);
}

/// Something has come for a call that waits.
void Supervisor::Resume(Receive* receive) {
  const auto entry =
      std::find_if(receives_.begin(), receives_.end(), [&](const Receive& one) { return &one == receive; });
  if (entry == receives_.end()) return;
  // It may go on with another file.
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, receive->target.file.get(), nullptr);
  const auto result = Attempt(*receive);
  Add(receive->target.file.get(), TagOf(receive, kReceive));
  if (!result) return;
  Finish(receive->call, *result);
  Drop(entry);
}

/// What the kernel would do for a thread that sleeps in a receive: signals and timeouts wake it.
void Supervisor::Tick() {
  const auto now = Clock::now();
  for (auto entry = receives_.begin(); entry != receives_.end();) {
    std::optional<int64_t> result;
    bool gone = !StillThere(entry->call);
    const auto end_with = [&](int error) { result = entry->done != 0 ? int64_t{entry->done} : -int64_t{error}; };
    if (!gone && now >= entry->deadline) end_with(EAGAIN);
    if (!gone && !result) {
      const auto status = ReadStatus(entry->call.tid);
      gone = !status;
      if (status && status->pending_signals != 0) {
        // With a timeout the kernel does not take such a call up again.
        const bool timed = entry->deadline != Clock::time_point::max();
        end_with(timed ? EINTR : kRestartSys);
      }
    }
    if (result) Finish(entry->call, *result);
    entry = result || gone ? Drop(entry) : std::next(entry);
  }
}

// -------------------------------------------------------------------------------------------------------------- server

/// A request about a socket: 0 or a negative errno. A server that was started anew gets its sockets back.
int Supervisor::Request(const Call& call, Target& target, op what, uint32_t a, uint32_t b, const iovec* payload,
                        answer* told) {
  for (int attempt = 0; attempt < 2; attempt++) {
    NetlinkSocket& socket = *target.socket;
    const int error = channel_request(what, socket.id, a, b, payload, payload == nullptr ? 0 : 1, told);
    if (error == 0 && told->error != EBADF) {
      socket.dumping = (told->flags & ANSWER_DUMPING) != 0;
      return -static_cast<int>(told->error);
    }
    if (error == -EMSGSIZE || error == -EMFILE || error == -ENFILE) return error;
    // A request and its answers are one: who only asks has missed nothing.
    if (!Lost(call, target, socket.HasGroups())) break;
  }
  no_server_ = true;
  return -ECONNREFUSED;
}

/// The data channel has come to its end. True when there is another one.
bool Supervisor::Lost(const Call& call, Target& target, bool missed) {
  // Another descriptor of it may have been served already.
  if (CookieOf(target.file.get()) != target.socket->cookies.back()) {
    Refresh(call, target);
    if (CookieOf(target.file.get()) == target.socket->cookies.back()) return !target.socket->parked;
  }
  target.socket->missed |= missed;
  if (Revive(call, target)) return true;
  if (!outage_) outage_ = Clock::now();
  Park(call, target);
  return false;
}

bool Supervisor::Revive(const Call& call, Target& target) {
  const NetnsOf netns(call.tid);
  Fd fresh = target.socket->Reopen();
  if (!fresh) return false;
  outage_.reset();
  Replace(call, target, std::move(fresh));
  if (target.socket->parked) parked_--;
  target.socket->parked.Reset();
  return true;
}

/// An idle file in place of a channel that has ended: one that is readable for ever would make the program spin.
void Supervisor::Park(const Call& call, Target& target) {
  if (target.socket->parked) return;
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) return;
  target.socket->parked = Fd(pair[1]);
  target.socket->dumping = false;
  parked_++;
  looked_ = Clock::now();
  Replace(call, target, Fd(pair[0]));
}

/// The socket goes on with another file.
void Supervisor::Replace(const Call& call, Target& target, Fd fresh) {
  NetlinkSocket& socket = *target.socket;
  const int old_file = target.file.get();
  Inject(call, old_file, fresh.get());
  Remember(target.socket, fresh.get());
  socket.replaced.push_back(LinkOf(old_file));
  Settle(socket, fresh.get());
  target.file = std::move(fresh);
}

/// Puts another file behind all descriptors that the caller has of a file, with what was set on that.
void Supervisor::Inject(const Call& call, int old_file, int fresh) {
  fcntl(fresh, F_SETFL, fcntl(old_file, F_GETFL));
  timeval limit{};
  socklen_t size = sizeof limit;
  if (getsockopt(old_file, SOL_SOCKET, SO_RCVTIMEO, &limit, &size) == 0) {
    setsockopt(fresh, SOL_SOCKET, SO_RCVTIMEO, &limit, size);
  }
  struct stat status {};
  fstat(old_file, &status);
  const std::vector<nokmod::Watch> watches = FindWatches(call.tid, status.st_ino);
  for (const Holding& holding : FindDescriptors(call.tid, LinkOf(old_file))) {
    seccomp_notif_addfd added{};
    added.id = call.id;
    added.flags = SECCOMP_ADDFD_FLAG_SETFD;
    added.srcfd = static_cast<uint32_t>(fresh);
    added.newfd = static_cast<uint32_t>(holding.number);
    added.newfd_flags = holding.close_on_exec ? O_CLOEXEC : 0;
    ioctl(listener_.get(), SECCOMP_IOCTL_NOTIF_ADDFD, &added);
  }
  // An epoll instance knows files by their number and their description, and drops one whose description is gone: it is
  // to watch the new one as it did the old one, under the program's number, which must be ours for that while.
  for (const nokmod::Watch& watch : watches) {
    const Fd epoll = tasks_.Copy(call.tid, watch.epoll);
    if (!epoll || fcntl(watch.number, F_GETFD) >= 0) continue;
    const Fd number(dup3(fresh, watch.number, O_CLOEXEC));
    epoll_event event{};
    event.events = watch.events;
    event.data.u64 = watch.data;
    if (number) epoll_ctl(epoll.get(), EPOLL_CTL_ADD, number.get(), &event);
  }
}

/// Keeps the file that stands for a socket as long as somebody holds one that it has replaced.
void Supervisor::Settle(NetlinkSocket& socket, int file) {
  auto& replaced = socket.replaced;
  replaced.erase(std::remove_if(replaced.begin(), replaced.end(), [](const auto& link) { return !IsHeldByOthers(link); }),
                 replaced.end());
  socket.file = replaced.empty() ? Fd() : Fd(fcntl(file, F_DUPFD_CLOEXEC, 0));
}

/// The caller's descriptor stands for a file that has been replaced in another process.
void Supervisor::Refresh(const Call& call, Target& target) {
  NetlinkSocket& socket = *target.socket;
  if (!socket.file) return;
  Fd current(fcntl(socket.file.get(), F_DUPFD_CLOEXEC, 0));
  Inject(call, target.file.get(), current.get());
  Settle(socket, current.get());
  target.file = std::move(current);
}

/// The socket turned out to be for the kernel: it becomes one of the kernel's, and the call is executed on that.
Supervisor::Outcome Supervisor::GiveToKernel(const Call& call, Target& target) {
  Fd fresh;
  {
    const NetnsOf netns(call.tid);
    fresh = target.socket->OpenKernel();
  }
  if (!fresh) return -errno;
  Inject(call, target.file.get(), fresh.get());
  Forget(*target.socket);
  return Outcome::kNative;
}

/// Programs that wait for messages would never notice that a server is there again: what they wait on becomes readable,
/// and their receive opens a channel to it, whose first word is ENOBUFS.
void Supervisor::LookForServer() {
  const auto now = Clock::now();
  if (now - looked_ < std::chrono::milliseconds(kLookMs)) return;
  looked_ = now;
  answer told;
  if (channel_request(OP_DESCRIBE, ::id{}, 0, 0, nullptr, 0, &told) != 0) return;
  const char word = 0;
  std::vector<std::shared_ptr<NetlinkSocket>> closed;
  for (const auto& [cookie, socket] : sockets_) {
    if (!socket->parked || socket->cookies.back() != cookie) continue;
    int queued = 0;
    ioctl(socket->parked.get(), TIOCOUTQ, &queued);
    if (HasHungUp(socket->parked.get())) closed.push_back(socket);
    else if (queued == 0) send(socket->parked.get(), &word, sizeof word, MSG_DONTWAIT | MSG_NOSIGNAL);
  }
  for (const auto& socket : closed) Forget(*socket);
}

}  // namespace nokmod
