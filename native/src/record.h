// Records of the transport (docs/transport.md) on AF_UNIX SOCK_SEQPACKET sockets, with the descriptors and credentials that
// come with them. No function here throws; errors are negative errnos.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "../preload/rights.h"
#include "peer.h"
#include "sys.h"

/// Flags of packet(), as `Packet` in src/server: it came by the connection's mailbox; it came from who sent the hello,
/// and was privileged then; descriptors that came with it were lost.
constexpr uint32_t kPosted = 1, kTrusted = 2, kTruncated = 4;

/// Descriptors and sender of one record.
struct Arrival {
  Sender sender;
  nokmod::Fd descriptors[RIGHTS_MAX];
  /// Descriptors were lost: this process has no room for more.
  bool truncated = false;
};

/// The address of a path: 0, -EINVAL where that is empty or -ENAMETOOLONG (108 bytes with the final NUL).
int AddressOf(const std::string& path, sockaddr_un* address);

/// connect(): 0 or a negative errno.
int Connect(int fd, const sockaddr_un& address);

/// Sends one record without waiting. 0 or a negative errno.
int SendRecord(int fd, const uint8_t* data, size_t size);

/// The same with descriptors for the receiver, of which negative ones are left out; waits unless `flags` has MSG_DONTWAIT.
int SendRecordWith(int fd, iovec* parts, size_t count, std::initializer_list<int> descriptors, int flags);

/// Receives one record: its full length, which may exceed `size`; 0 at the end of the connection; or a negative errno. Waits
/// unless `flags` has MSG_DONTWAIT.
ssize_t ReceiveRecord(int fd, uint8_t* data, size_t size, int flags);

/// The same without waiting, from a socket with SO_PASSCRED.
ssize_t ReceiveRecordFrom(int fd, uint8_t* data, size_t size, Arrival* arrival);

/// SO_COOKIE of a unix socket, which the kernel never gives twice; 0 for any other file.
uint64_t ChannelCookie(const nokmod::Fd& fd);
