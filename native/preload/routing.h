// Which netlink messages and groups nokmod serves, and which stay the kernel's.
#ifndef NOKMOD_PRELOAD_ROUTING_H
#define NOKMOD_PRELOAD_ROUTING_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
  /// So much of a datagram tells whom it is for.
  ROUTED_BYTES = 256,
  /// nfnetlink groups up to this are connections and expectations (enum nfnetlink_groups).
  LAST_CONNTRACK_GROUP = 6,
  /// u32 words of a socket's group memberships, and SOL_NETLINK options that are kept for the next server.
  GROUP_WORDS = 8,
  OPTIONS = 13,
};

/// Whether socket() of that kind may be one that nokmod emulates. Its first request decides.
bool is_emulated_socket(int domain, int type, int protocol);

/// Whether a socket's first datagram, of which `length` bytes are known, is for the kernel: nokmod serves connections,
/// expectations and timeouts of nfnetlink, and its own generic families; not nftables, ethtool and the like. `bytes` is
/// aligned as nlmsghdr is.
bool message_is_foreign(int protocol, const void *bytes, size_t length);

bool group_is_foreign(int protocol, unsigned group);

#ifdef __cplusplus
}
#endif

#endif
