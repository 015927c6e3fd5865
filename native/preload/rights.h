// What goes with a record through a unix socket beside its bytes: descriptors (SCM_RIGHTS), and who sent it
// (SCM_CREDENTIALS, filled in by the kernel where the receiver has set SO_PASSCRED).
#ifndef NOKMOD_PRELOAD_RIGHTS_H
#define NOKMOD_PRELOAD_RIGHTS_H

#include <string.h>
#include <sys/socket.h>

/// The most descriptors that one record brings.
enum { RIGHTS_MAX = 2 };

/// Room for that many and, where the receiver wants to know, the sender.
union rights {
  struct cmsghdr header;
  char bytes[CMSG_SPACE(RIGHTS_MAX * sizeof(int)) + CMSG_SPACE(3 * sizeof(int))];
};

/// The message has room for what a record may bring.
static inline void rights_room(struct msghdr *message, union rights *rights) {
  memset(rights, 0, sizeof *rights);
  message->msg_control = rights;
  message->msg_controllen = sizeof *rights;
}

/// The message brings these descriptors, of which those that are negative are left out.
static inline void rights_attach(struct msghdr *message, union rights *rights, const int *descriptors, size_t count) {
  size_t given = 0;
  int list[RIGHTS_MAX];
  for (size_t i = 0; i < count && given < RIGHTS_MAX; i++) {
    if (descriptors[i] >= 0) list[given++] = descriptors[i];
  }
  message->msg_control = NULL;
  message->msg_controllen = 0;
  if (given == 0) return;
  rights_room(message, rights);
  message->msg_controllen = CMSG_SPACE(given * sizeof(int));
  rights->header.cmsg_level = SOL_SOCKET;
  rights->header.cmsg_type = SCM_RIGHTS;
  rights->header.cmsg_len = CMSG_LEN(given * sizeof(int));
  memcpy(CMSG_DATA(&rights->header), list, given * sizeof(int));
}

/// The descriptors that a received message brought, for the caller to close; the others become -1. Their number.
static inline size_t rights_received(struct msghdr *message, int descriptors[RIGHTS_MAX]) {
  size_t count = 0;
  for (size_t i = 0; i < RIGHTS_MAX; i++) descriptors[i] = -1;
  for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header != NULL; header = CMSG_NXTHDR(message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    if (count > RIGHTS_MAX) count = RIGHTS_MAX;
    memcpy(descriptors, CMSG_DATA(header), count * sizeof(int));
  }
  return count;
}

#endif
