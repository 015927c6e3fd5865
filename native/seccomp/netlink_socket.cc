#include "netlink_socket.h"

#include <sys/socket.h>

#include <algorithm>

namespace nokmod {

bool NetlinkSocket::HasGroups() const {
  return std::any_of(groups.begin(), groups.end(), [](uint32_t word) { return word != 0; });
}

void NetlinkSocket::SetMember(unsigned group, bool member) {
  if (group == 0 || group > kGroups) return;
  uint32_t& word = groups[(group - 1) / 32];
  const uint32_t bit = 1u << (group - 1) % 32;
  word = member ? word | bit : word & ~bit;
}

Fd NetlinkSocket::Reopen() {
  ::id fresh;
  const int opened = channel_open(protocol, SOCK_CLOEXEC, pid, receive_length, &fresh);
  if (opened < 0) return Fd();
  Fd channel(opened);
  id = fresh;
  answer reply;
  const auto request = [&](op what, uint32_t a, uint32_t b) {
    return channel_request(what, id, a, b, nullptr, 0, &reply) == 0 && reply.error == 0;
  };
  if (receive_buffer != 0) {
    request(OP_RECEIVE_BUFFER, static_cast<uint32_t>(receive_buffer), receive_buffer_forced ? 1 : 0);
  }
  for (unsigned option = 0; option < kOptions; option++) {
    if (options_set >> option & 1) request(OP_OPTION, option, static_cast<uint32_t>(options[option]));
  }
  // The port id is known to others. If it is taken, any other.
  if (port != 0 && !request(OP_BIND, port, 0) && request(OP_BIND, 0, 0)) port = reply.a;
  for (unsigned group = 1; group <= kGroups; group++) {
    if (Member(group)) request(OP_JOIN, group, 0);
  }
  if (lost_messages) request(OP_OVERRUN, 0, 0);
  lost_messages = false;
  dumping = false;
  return channel;
}

Fd NetlinkSocket::OpenKernel() const {
  Fd fd(socket(AF_NETLINK, type | SOCK_CLOEXEC, protocol));
  if (!fd) return fd;
  if (receive_buffer != 0) {
    const int name = receive_buffer_forced ? SO_RCVBUFFORCE : SO_RCVBUF;
    setsockopt(fd.get(), SOL_SOCKET, name, &receive_buffer, sizeof receive_buffer);
  }
  for (unsigned option = 0; option < kOptions; option++) {
    if (options_set >> option & 1) {
      setsockopt(fd.get(), SOL_NETLINK, static_cast<int>(option), &options[option], sizeof options[option]);
    }
  }
  if (port != 0) {
    sockaddr_nl address{};
    address.nl_family = AF_NETLINK;
    address.nl_pid = port;
    if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      address.nl_pid = 0;
      if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return Fd();
    }
  }
  for (int group = 1; group <= static_cast<int>(kGroups); group++) {
    if (Member(static_cast<unsigned>(group))) {
      setsockopt(fd.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group);
    }
  }
  return fd;
}

}  // namespace nokmod
