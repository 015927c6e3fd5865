// bind, connect, getsockname, getpeername, setsockopt and getsockopt of a netlink socket.
#include "supervisor.h"

#include <linux/netlink.h>

#include <algorithm>

#include "../preload/routing.h"

namespace nokmod {

int Supervisor::ReadAddress(const Call& call, uint64_t address, uint64_t length, sockaddr_nl* to) {
  if (static_cast<uint32_t>(length) < sizeof *to) return -EINVAL;
  const int error = ReadMemory(call.tid, address, to, sizeof *to);
  if (error != 0) return error;
  return to->nl_family == AF_NETLINK ? 0 : -EINVAL;
}

/// Binds the socket to a port id unless it is bound.
int Supervisor::AutoBind(const Call& call, Target& target) {
  if (target.socket->port != 0) return 0;
  answer reply;
  const int error = Request(call, target, OP_BIND, 0, 0, nullptr, &reply);
  if (error == 0) target.socket->port = reply.a;
  return error;
}

Outcome Supervisor::Bind(const Call& call, Target& target) {
  sockaddr_nl wanted;
  int error = ReadAddress(call, call.args[1], call.args[2], &wanted);
  if (error != 0) return error;
  NetlinkSocket& socket = *target.socket;
  const bool foreign = wanted.nl_groups >> LAST_CONNTRACK_GROUP != 0;
  if (foreign && group_is_foreign(socket.protocol, LAST_CONNTRACK_GROUP + 1) && !socket.routed) {
    return GiveToKernel(call, target);
  }
  answer reply;
  error = Request(call, target, OP_BIND, wanted.nl_pid, wanted.nl_groups, nullptr, &reply);
  if (error != 0) return error;
  socket.port = reply.a;
  socket.groups[0] |= wanted.nl_groups;
  return 0;
}

Outcome Supervisor::Connect(const Call& call, Target& target) {
  sockaddr_storage any;
  const auto length = static_cast<uint32_t>(call.args[2]);
  if (length < sizeof any.ss_family || length > sizeof any) return -EINVAL;
  int error = ReadMemory(call.tid, call.args[1], &any, length);
  if (error != 0) return error;
  if (any.ss_family == AF_UNSPEC) {
    target.socket->destination = 0;
    return 0;
  }
  sockaddr_nl destination;
  error = ReadAddress(call, call.args[1], call.args[2], &destination);
  if (error == 0) error = AutoBind(call, target);
  if (error == 0) target.socket->destination = destination.nl_pid;
  return error;
}

/// Writes an address as move_addr_to_user() does: what there is room for, and the full length.
Outcome Supervisor::PutName(const Call& call, const sockaddr_nl& name) {
  int room;
  int error = ReadMemory(call.tid, call.args[2], &room, sizeof room);
  if (error == 0 && room < 0) error = -EINVAL;
  if (error == 0) error = WriteMemory(call.tid, call.args[1], &name, std::min<size_t>(static_cast<size_t>(room), sizeof name));
  const int length = sizeof name;
  if (error == 0) error = WriteMemory(call.tid, call.args[2], &length, sizeof length);
  return error;
}

Outcome Supervisor::SetOption(const Call& call, Target& target) {
  const int level = static_cast<int>(call.args[1]), name = static_cast<int>(call.args[2]);
  const bool buffer = level == SOL_SOCKET && (name == SO_RCVBUF || name == SO_RCVBUFFORCE);
  if (level != SOL_NETLINK && !buffer) return Outcome::kContinue;
  NetlinkSocket& socket = *target.socket;
  int number = 0;
  const bool whole = static_cast<uint32_t>(call.args[4]) >= sizeof number;
  if (buffer && !whole) return -EINVAL;
  if (whole && ReadMemory(call.tid, call.args[3], &number, sizeof number) != 0) return -EFAULT;
  answer reply;
  if (buffer) {
    const bool force = name == SO_RCVBUFFORCE;
    const int error = Request(call, target, OP_RECEIVE_BUFFER, static_cast<uint32_t>(number), force, nullptr, &reply);
    if (error != 0) return error;
    socket.receive_buffer = number;
    socket.receive_buffer_forced = force;
    socket.receive_buffer_reported = static_cast<int>(reply.a);
    return 0;
  }
  if (name == NETLINK_ADD_MEMBERSHIP || name == NETLINK_DROP_MEMBERSHIP) {
    const auto group = static_cast<unsigned>(number);
    const bool join = name == NETLINK_ADD_MEMBERSHIP;
    if (group == 0) return -EINVAL;
    if (group_is_foreign(socket.protocol, group) && !socket.routed) return GiveToKernel(call, target);
    int error = AutoBind(call, target);
    if (error == 0) error = Request(call, target, join ? OP_JOIN : OP_LEAVE, group, 0, nullptr, &reply);
    if (error == 0) socket.SetMember(group, join);
    return error;
  }
  const auto value = static_cast<uint32_t>(number);
  const int error = Request(call, target, OP_OPTION, static_cast<uint32_t>(name), value, nullptr, &reply);
  if (error == 0 && name >= 0 && name < static_cast<int>(NetlinkSocket::kOptions)) {
    socket.options_set |= 1u << name;
    socket.options[static_cast<size_t>(name)] = number;
  }
  return error;
}

Outcome Supervisor::PutInt(const Call& call, uint32_t room, int number) {
  if (static_cast<int>(room) < 0) return -EINVAL;
  const uint32_t length = std::min<uint32_t>(room, sizeof number);
  int error = WriteMemory(call.tid, call.args[3], &number, length);
  if (error == 0) error = WriteMemory(call.tid, call.args[4], &length, sizeof length);
  return error;
}

Outcome Supervisor::GetOption(const Call& call, const NetlinkSocket& socket) {
  const int level = static_cast<int>(call.args[1]), name = static_cast<int>(call.args[2]);
  uint32_t room;
  if (level != SOL_SOCKET && level != SOL_NETLINK) return Outcome::kContinue;
  if (ReadMemory(call.tid, call.args[4], &room, sizeof room) != 0) return -EFAULT;
  if (level == SOL_SOCKET) {
    if (name == SO_DOMAIN) return PutInt(call, room, AF_NETLINK);
    if (name == SO_PROTOCOL) return PutInt(call, room, socket.protocol);
    if (name == SO_TYPE) return PutInt(call, room, socket.type);
    if (name == SO_RCVBUF && socket.receive_buffer_reported != 0) return PutInt(call, room, socket.receive_buffer_reported);
    return Outcome::kContinue;
  }
  if (name == NETLINK_LIST_MEMBERSHIPS) {
    // A bitmap of u32 words up to the last group that was joined; the length written is that of all of it.
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

}  // namespace nokmod
