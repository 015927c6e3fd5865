#include "peer.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <string>

#include "../preload/proof.h"

using nokmod::Fd;

namespace {

// asm-generic/socket.h of Linux 6.5.
constexpr int kPeerPidfd = 77;

/// True while the process has not ended: its pid has not been given to another one.
bool IsAlive(const Fd& process) {
  pollfd end{process.get(), POLLIN, 0};
  return process && poll(&end, 1, 0) == 0;
}

}  // namespace

ino_t OwnerOf(const Fd& netns) {
  if (!netns) return 0;
  return NamespaceInode(Fd(ioctl(netns.get(), NS_GET_USERNS)));
}

Fd NetnsOfSocket(int fd) { return Fd(ioctl(fd, SIOCGSKNS)); }

void Peer::Accepted(int connection) {
  proved_in_ = 0;
  credentials_ = {0, ~uid_t{0}, ~gid_t{0}};
  socklen_t size = sizeof credentials_;
  getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &credentials_, &size);
  int process = -1;
  size = sizeof process;
  if (getsockopt(connection, SOL_SOCKET, kPeerPidfd, &process, &size) != 0) process = -1;
  process_ = Fd(process);
}

void Peer::Prove(const Fd& socket) {
  if (proof_holds(socket.get())) proved_in_ = OwnerOf(NetnsOfSocket(socket.get()));
}

bool Peer::IsPrivilegedIn(ino_t user_namespace) const {
  if (user_namespace == 0) return false;
  if (proved_in_ == user_namespace) return true;
  const pid_t pid = credentials_.pid;
  if (credentials_.uid != 0 || pid <= 0 || !HasNetAdmin(pid)) return false;
  struct stat status;
  if (stat(("/proc/" + std::to_string(pid) + "/ns/user").c_str(), &status) != 0) return false;
  // Last: all that was seen was of the process that connected, if that is there still.
  return status.st_ino == user_namespace && IsAlive(process_);
}
