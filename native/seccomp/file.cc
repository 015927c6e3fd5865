#include "file.h"

#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>

#include "../src/sys.h"

namespace nokmod {

uint64_t CookieOf(int fd) {
  uint64_t cookie = 0;
  socklen_t length = sizeof cookie;
  return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length) == 0 ? cookie : 0;
}

std::string LinkOf(int fd) {
  struct stat status {};
  Check(fstat(fd, &status), "fstat");
  return "socket:[" + std::to_string(status.st_ino) + "]";
}

bool IsRoute(int fd) {
  int domain = 0, protocol = -1;
  socklen_t length = sizeof domain;
  if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) != 0 || domain != AF_NETLINK) return false;
  length = sizeof protocol;
  return getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length) == 0 && protocol == NETLINK_ROUTE;
}

bool HasHungUp(int fd) {
  pollfd end{fd, 0, 0};
  return poll(&end, 1, 0) == 1 && (end.revents & POLLHUP) != 0;
}

}  // namespace nokmod
