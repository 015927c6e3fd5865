// send, sendto, sendmsg, sendmmsg, write and writev of a netlink socket.
#include "supervisor.h"

#include <linux/capability.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/syscall.h>

#include <algorithm>
#include <climits>
#include <cstddef>
#include <cstring>

#include "../preload/channel.h"
#include "../preload/links.h"
#include "../preload/routing.h"

namespace nokmod {
namespace {

constexpr uint64_t kNetAdmin = uint64_t{1} << CAP_NET_ADMIN;
/// Up to this length a datagram fits every send buffer.
constexpr size_t kAlwaysFits = 65536;

}  // namespace

/// Reads an array of iovec. 0 or a negative errno.
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

/// Reads a msghdr. 0 or a negative errno.
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

Outcome Supervisor::Send(const Call& call, Target& target) {
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
    const uint64_t at = call.args[1] + static_cast<uint64_t>(done) * sizeof(mmsghdr);
    error = ReadHeader(call, at, &message);
    const Outcome sent = error != 0 ? Outcome(error) : Transmit(call, target, message, static_cast<int>(call.args[3]));
    if (sent.kind != Outcome::kReturn) return sent;  // Only the first one makes the socket the kernel's.
    error = sent.value < 0 ? static_cast<int>(sent.value) : 0;
    const auto length = static_cast<uint32_t>(sent.value);
    if (error == 0) error = WriteMemory(call.tid, at + offsetof(mmsghdr, msg_len), &length, sizeof length);
    if (error != 0) break;
  }
  return done != 0 || error == 0 ? Outcome(done) : Outcome(error);
}

/// Sends to a NETLINK_ROUTE socket of the kernel. The request for a tunnel device goes to the server first.
Outcome Supervisor::TransmitRoute(const Call& call, const Target& target, const Message& message) {
  // No request for a tunnel device is longer.
  char bytes[4096], changed[4096];
  nlmsghdr header;
  if (message.length > sizeof bytes || message.length < sizeof header) return Outcome::kContinue;
  if (Gather(call.tid, message.parts, bytes, message.length) != 0) return Outcome::kContinue;
  memcpy(&header, bytes, sizeof header);
  if (header.nlmsg_type != RTM_NEWLINK) return Outcome::kContinue;
  // The server checks our capabilities, not the program's.
  const auto status = ReadStatus(call.tid);
  if (!status || (status->capabilities & kNetAdmin) == 0) return Outcome::kContinue;
  const ScopedNetns netns(call.tid);
  if (!netns.Entered()) return Outcome::kContinue;
  size_t length = 0;
  if (!links_outgoing(target.file.get(), bytes, message.length, changed, &length)) return Outcome::kContinue;
  if (send(target.file.get(), changed, length, MSG_NOSIGNAL) < 0) return -errno;
  return static_cast<int64_t>(message.length);
}

/// Sends one datagram to the server, or gives the socket to the kernel if its first datagram is for no family of nokmod.
Outcome Supervisor::Transmit(const Call& call, Target& target, const Message& message, int flags) {
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
  if (message.length > kAlwaysFits) {
    int room = 0;
    socklen_t size = sizeof room;
    if (getsockopt(target.file.get(), SOL_SOCKET, SO_SNDBUF, &room, &size) != 0) return -errno;
    if (message.length + 32 > static_cast<size_t>(room) || message.length > REQUEST_MAX - REQUEST_BYTES) {
      return -EMSGSIZE;
    }
  }
  if (Gather(call.tid, message.parts, buffer_.data(), message.length) != 0) return -EFAULT;
  if (!IsPending(call)) return Outcome::kResponded;
  if (!socket.routed) {
    const size_t known = std::min<size_t>(message.length, ROUTED_BYTES);
    if (message_is_foreign(socket.protocol, buffer_.data(), known)) return GiveToKernel(call, target);
    socket.routed = true;
  }
  int error = AutoBind(call, target);
  if (error != 0) return error;
  if (destination != 0) return -ECONNREFUSED;  // Only the kernel listens here.
  const iovec payload{buffer_.data(), message.length};
  answer reply;
  // The server checks our capabilities: it is told when the program has none.
  const auto status = ReadStatus(call.tid);
  const bool privileged = status && (status->capabilities & kNetAdmin) != 0;
  error = Request(call, target, OP_SEND, socket.receive_length, privileged ? 0 : SEND_UNPRIVILEGED, &payload, &reply);
  return error != 0 ? Outcome(error) : Outcome(static_cast<int64_t>(message.length));
}

}  // namespace nokmod
