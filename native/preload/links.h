// RTM_NEWLINK on the kernel's NETLINK_ROUTE sockets: tunnel devices are nokmod's to make, and what programs see of the
// devices of datapaths is what they would see of the module's.
#ifndef NOKMOD_PRELOAD_LINKS_H
#define NOKMOD_PRELOAD_LINKS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// A datagram is about to be sent. 0: as it is; 1: the kernel is to get `changed` (room for `length` bytes) of *changed_length
/// bytes instead, and its answer is the answer; a negative errno: the send fails with it.
int links_outgoing(int fd, const void *bytes, size_t length, void *changed, size_t *changed_length);

/// A datagram has been received. NULL: it stays as it is; else what the program is to see, for free(), of *length bytes.
void *links_incoming(int fd, const void *bytes, size_t *length);

#ifdef __cplusplus
}
#endif

#endif
