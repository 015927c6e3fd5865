// A descriptor that goes with a message through a unix socket (SCM_RIGHTS).
#ifndef NOKMOD_PRELOAD_RIGHTS_H
#define NOKMOD_PRELOAD_RIGHTS_H

#include <string.h>
#include <sys/socket.h>

/// Room for one.
union rights {
  struct cmsghdr header;
  char bytes[CMSG_SPACE(sizeof(int))];
};

/// The message has room for one, or brings this one unless it is negative.
static inline void rights_attach(struct msghdr *message, union rights *rights, int descriptor) {
  memset(rights, 0, sizeof *rights);
  message->msg_control = rights;
  message->msg_controllen = sizeof *rights;
  if (descriptor < 0) return;
  rights->header.cmsg_level = SOL_SOCKET;
  rights->header.cmsg_type = SCM_RIGHTS;
  rights->header.cmsg_len = CMSG_LEN(sizeof descriptor);
  memcpy(CMSG_DATA(&rights->header), &descriptor, sizeof descriptor);
}

/// What a received message brought, or -1.
static inline int rights_received(struct msghdr *message) {
  const struct cmsghdr *header = CMSG_FIRSTHDR(message);
  int descriptor = -1;
  if (header == NULL || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) return descriptor;
  memcpy(&descriptor, CMSG_DATA(header), sizeof descriptor);
  return descriptor;
}

#endif
