#include "netfilter.h"

#include <linux/netlink.h>
#include <sys/socket.h>

#include <cstring>

namespace nokmod {

NetfilterSocket::NetfilterSocket()
    : fd_(Check(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER), "nfnetlink socket")) {
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  // Connected: nobody but the kernel can put something into the queue.
  Check(connect(fd_.get(), reinterpret_cast<sockaddr*>(&kernel), sizeof kernel), "nfnetlink connect");
}

int NetfilterSocket::Ask(uint8_t* request, size_t length, uint8_t* reply, size_t room) {
  if (length < sizeof(nlmsghdr)) return -EINVAL;
  auto* header = reinterpret_cast<nlmsghdr*>(request);
  header->nlmsg_seq = ++seq_;
  if (send(fd_.get(), request, length, 0) < 0) return -errno;
  for (;;) {
    // The kernel answers while the request is sent: an empty queue means that there is no answer.
    const ssize_t received = recv(fd_.get(), reply, room, MSG_DONTWAIT | MSG_TRUNC);
    if (received < 0) {
      if (errno == EINTR) continue;
      return -errno;
    }
    if (static_cast<size_t>(received) > room) return -EMSGSIZE;
    nlmsghdr answer;
    if (static_cast<size_t>(received) < sizeof answer) return -EBADMSG;
    memcpy(&answer, reply, sizeof answer);
    if (answer.nlmsg_seq != seq_) continue;
    if (answer.nlmsg_type != NLMSG_ERROR) return static_cast<int>(received);
    nlmsgerr error;
    if (static_cast<size_t>(received) < NLMSG_LENGTH(sizeof error)) return -EBADMSG;
    memcpy(&error, reply + NLMSG_HDRLEN, sizeof error);
    return error.error;
  }
}

}  // namespace nokmod
