#include "record.h"

#include <cerrno>
#include <cstring>

using nokmod::Fd;

int AddressOf(const std::string& path, sockaddr_un* address) {
  *address = {};
  address->sun_family = AF_UNIX;
  if (path.empty()) return -EINVAL;
  if (path.size() >= sizeof address->sun_path) return -ENAMETOOLONG;
  path.copy(address->sun_path, path.size());
  return 0;
}

int Connect(int fd, const sockaddr_un& address) {
  return connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ? 0 : -errno;
}

int SendRecord(int fd, const uint8_t* data, size_t size) {
  ssize_t sent;
  do {
    sent = send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent < 0 ? -errno : 0;
}

int SendRecordWith(int fd, iovec* parts, size_t count, std::initializer_list<int> descriptors, int flags) {
  rights control;
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = count;
  rights_attach(&message, &control, descriptors.begin(), descriptors.size());
  ssize_t sent;
  do {
    sent = sendmsg(fd, &message, MSG_NOSIGNAL | flags);
  } while (sent < 0 && errno == EINTR);
  return sent < 0 ? -errno : 0;
}

ssize_t ReceiveRecord(int fd, uint8_t* data, size_t size, int flags) {
  ssize_t received;
  do {
    received = recv(fd, data, size, flags | MSG_TRUNC);
  } while (received < 0 && errno == EINTR);
  return received < 0 ? -errno : received;
}

ssize_t ReceiveRecordFrom(int fd, uint8_t* data, size_t size, Arrival* arrival) {
  iovec part{data, size};
  rights control;
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  rights_room(&message, &control);
  ssize_t received;
  do {
    received = recvmsg(fd, &message, MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC);
  } while (received < 0 && errno == EINTR);
  if (received < 0) return -errno;
  int descriptors[RIGHTS_MAX];
  if (rights_received(&message, descriptors) != 0) {
    for (size_t i = 0; i < RIGHTS_MAX; i++) arrival->descriptors[i] = Fd(descriptors[i]);
  }
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_CREDENTIALS) continue;
    ucred credentials;
    memcpy(&credentials, CMSG_DATA(header), sizeof credentials);
    arrival->sender = {credentials.pid, credentials.uid};
  }
  arrival->truncated = (message.msg_flags & MSG_CTRUNC) != 0;
  return received;
}

uint64_t ChannelCookie(const Fd& fd) {
  int value = 0;
  socklen_t size = sizeof value;
  if (!fd || getsockopt(fd.get(), SOL_SOCKET, SO_DOMAIN, &value, &size) != 0 || value != AF_UNIX) return 0;
  uint64_t cookie = 0;
  size = sizeof cookie;
  return getsockopt(fd.get(), SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0 ? cookie : 0;
}
