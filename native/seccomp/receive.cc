// recv, recvfrom, recvmsg, recvmmsg, read and readv of a netlink socket, and those that wait for a message.
#include "supervisor.h"

#include <fcntl.h>
#include <linux/netlink.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include <algorithm>
#include <climits>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "../preload/channel.h"
#include "../preload/links.h"

namespace nokmod {

Outcome Supervisor::StartReceive(const Call& call, Target& target) {
  DeferredReceive receive;
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
  const auto result = TryReceive(receive);
  if (result) return *result;

  timeval limit{};
  socklen_t size = sizeof limit;
  if (getsockopt(receive.target.file.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, &size) != 0) return -errno;
  if (limit.tv_sec != 0 || limit.tv_usec != 0) {
    receive.deadline = Clock::now() + std::chrono::seconds(limit.tv_sec) + std::chrono::microseconds(limit.tv_usec);
  }
  deferred_.push_back(std::move(receive));
  AddReceive(&deferred_.back());
  return Outcome::kDeferred;
}

/// Receives what is there. What the call returns, or nothing when it has to wait.
std::optional<int64_t> Supervisor::TryReceive(DeferredReceive& receive) {
  const int status = fcntl(receive.target.file.get(), F_GETFL);
  if (status < 0) return -errno;
  const bool blocking = (receive.flags & MSG_DONTWAIT) == 0 && (status & O_NONBLOCK) == 0;
  if (receive.vector == 0) {
    const auto result = ReceiveMessage(receive);
    if (result || blocking) return result;
    return -EAGAIN;
  }
  while (receive.done < receive.count) {
    const uint64_t at = receive.vector + receive.done * sizeof(mmsghdr);
    int64_t error = ReadHeader(receive.call, at, &receive.message);
    if (error == 0) {
      const auto result = ReceiveMessage(receive);
      if (!result && blocking && (receive.done == 0 || (receive.flags & MSG_WAITFORONE) == 0)) return std::nullopt;
      error = result.value_or(-EAGAIN);
    }
    if (error < 0) return receive.done != 0 ? int64_t{receive.done} : error;
    const auto length = static_cast<uint32_t>(error);
    if (WriteMemory(receive.call.tid, at + offsetof(mmsghdr, msg_len), &length, sizeof length) != 0) return -EFAULT;
    receive.done++;
  }
  return receive.done;
}

/// Receives one datagram: its length, a negative errno, or nothing when none waits.
std::optional<int64_t> Supervisor::ReceiveMessage(DeferredReceive& receive) {
  Target& target = receive.target;
  if (!target.socket) return ReceiveRoute(receive);
  NetlinkSocket& socket = *target.socket;
  const auto room = static_cast<uint32_t>(std::min<size_t>(receive.message.length, UINT32_MAX));
  socket.receive_length = std::max(socket.receive_length, room);
  for (;;) {
    if (socket.placeholder && !Reconnect(receive.call, target)) {
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
      // A dump is under way: an empty queue is not its end. The server continues it.
      answer answered;
      if (Request(receive.call, target, OP_MORE, room, 0, nullptr, &answered) != 0) socket.dumping = false;
      continue;
    }
    if (length == 0) {
      OnHangup(receive.call, target, true);
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
    // With SO_PASSCRED the sender of a netlink message is the kernel, pid 0, not the server.
    for (cmsghdr* item = CMSG_FIRSTHDR(&got); item != nullptr; item = CMSG_NXTHDR(&got, item)) {
      if (item->cmsg_level == SOL_SOCKET && item->cmsg_type == SCM_CREDENTIALS) memset(CMSG_DATA(item), 0, sizeof(ucred));
    }
    return PutMessage(receive, buffer_.data(), static_cast<size_t>(length), got);
  }
}

/// Receives from a NETLINK_ROUTE socket of the kernel and changes what the datagram tells of links (../preload/links.h).
std::optional<int64_t> Supervisor::ReceiveRoute(DeferredReceive& receive) {
  const int file = receive.target.file.get();
  sockaddr_nl sender{};
  alignas(cmsghdr) char control[256];
  iovec part{buffer_.data(), std::min(receive.message.length, buffer_.size())};
  msghdr got{};
  got.msg_iov = &part;
  got.msg_iovlen = 1;
  // The kernel sizes the datagrams of a dump by the largest buffer seen: it must see the program's, not ours. Hence the peek.
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
  if (size > part.iov_len) return PutMessage(receive, buffer_.data(), part.iov_len, got);
  const ScopedNetns netns(receive.call.tid);
  void* changed = netns.Entered() ? links_incoming(file, buffer_.data(), &size) : nullptr;
  const int64_t result = PutMessage(receive, changed != nullptr ? changed : buffer_.data(), size, got);
  free(changed);
  return result;
}

/// Writes a datagram, its sender and its control messages to the program's memory. What the call returns.
int64_t Supervisor::PutMessage(const DeferredReceive& receive, const void* bytes, size_t length, const msghdr& got) {
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
  if (!IsPending(receive.call)) return -EINTR;
  if (to.size() > kMaxParts) return -EMSGSIZE;
  const int error = Scatter(receive.call.tid, to, from);
  if (error != 0) return error;
  return static_cast<int64_t>((receive.flags & MSG_TRUNC) != 0 ? length : given);
}

/// A deferred receive's file has become readable.
void Supervisor::ResumeReceive(DeferredReceive* receive) {
  const auto entry =
      std::find_if(deferred_.begin(), deferred_.end(), [&](const DeferredReceive& entry) { return &entry == receive; });
  if (entry == deferred_.end()) return;
  // TryReceive() may replace the file.
  RemoveFile(receive->target.file.get());
  const auto result = TryReceive(*receive);
  AddReceive(receive);
  if (!result) return;
  Respond(receive->call, *result);
  RemoveReceive(entry);
}

std::list<DeferredReceive>::iterator Supervisor::RemoveReceive(std::list<DeferredReceive>::iterator receive) {
  RemoveFile(receive->target.file.get());
  return deferred_.erase(receive);
}

/// Ends the deferred receives whose thread has a signal to handle, whose deadline is over, or whose thread has died.
void Supervisor::CheckDeferredReceives() {
  const auto now = Clock::now();
  for (auto entry = deferred_.begin(); entry != deferred_.end();) {
    std::optional<int64_t> result;
    bool gone = !IsPending(entry->call);
    const auto end_with = [&](int error) { result = entry->done != 0 ? int64_t{entry->done} : -int64_t{error}; };
    if (!gone && now >= entry->deadline) end_with(EAGAIN);
    if (!gone && !result) {
      const auto status = ReadStatus(entry->call.tid);
      gone = !status;
      if (status && status->pending_signals != 0) {
        // A receive with SO_RCVTIMEO is not restarted (signal(7)).
        const bool timed = entry->deadline != Clock::time_point::max();
        end_with(timed ? EINTR : kRestartSys);
      }
    }
    if (result) Respond(entry->call, *result);
    entry = result || gone ? RemoveReceive(entry) : std::next(entry);
  }
}

}  // namespace nokmod
