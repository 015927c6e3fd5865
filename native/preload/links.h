// RTM_NEWLINK on the kernel's NETLINK_ROUTE sockets: tunnel devices are nokmod's to make, and what programs see of the
// devices of datapaths is what they would see of the module's. RTM_NEWTFILTER: no flower filter comes to a port.
#ifndef NOKMOD_PRELOAD_LINKS_H
#define NOKMOD_PRELOAD_LINKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// A datagram is about to be sent. False: as it is; true: the kernel is to get `changed` (room for `length` bytes) of
/// *changed_length bytes instead, and its answer, as links_incoming() leaves it, is the answer.
bool links_outgoing(int fd, const void *bytes, size_t length, void *changed, size_t *changed_length);

/// A datagram has been received. NULL: it stays as it is; else what the program is to see, for free(), of *length bytes.
void *links_incoming(int fd, const void *bytes, size_t *length);

#ifdef __cplusplus
}
#endif

#endif
