// Open file descriptions: what identifies one, and whether its other end is closed.
#pragma once

#include <cstdint>
#include <string>

namespace nokmod {

/// SO_COOKIE, which the kernel never gives twice; 0 for what is no socket.
uint64_t CookieOf(int fd);
/// What the links in /proc/PID/fd read for this socket.
std::string LinkOf(int fd);
/// True for a socket of NETLINK_ROUTE.
bool IsRoute(int fd);
/// True when the other end is closed (POLLHUP).
bool HasHungUp(int fd);

}  // namespace nokmod
