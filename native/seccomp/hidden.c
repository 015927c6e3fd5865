// The control channel's descriptor needs no hiding here: no foreign code closes descriptors of the supervisor.
#include "../preload/sockets.h"

bool fds_hide(int fd, const void *owner) {
  (void)fd, (void)owner;
  return true;
}
bool fds_is_hidden(int fd, const void *owner) {
  (void)fd, (void)owner;
  return true;
}
bool fds_unhide(int fd, const void *owner) {
  (void)fd, (void)owner;
  return true;
}
