// Who is at the other end of a connection, and what it may do (docs/transport.md, Credentials). Every answer here is about
// the time at which the peer acted, not the time at which the server looks.
#pragma once

#include <linux/capability.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <cstdint>

#include "sys.h"

/// The sender of one record, as the kernel noted it when the record was sent (SCM_CREDENTIALS: the real user id).
struct Sender {
  pid_t pid = 0;
  uid_t uid = ~uid_t{0};
  bool operator==(const Sender& other) const { return pid == other.pid && uid == other.uid; }
};

/// Inode of a namespace; 0 where it may not be known.
inline ino_t NamespaceInode(const nokmod::Fd& fd) {
  struct stat status;
  return fd && fstat(fd.get(), &status) == 0 ? status.st_ino : 0;
}

/// Inode of the user namespace that owns a network namespace; 0 where it may not be known (ioctl_ns(2)).
ino_t OwnerOf(const nokmod::Fd& netns);

/// The network namespace that a socket was made in (SIOCGSKNS; it takes CAP_NET_ADMIN there).
nokmod::Fd NetnsOfSocket(int fd);

/// Whether a process has CAP_NET_ADMIN among its effective capabilities, in its own user namespace.
inline bool HasNetAdmin(pid_t pid) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, pid};
  __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3]{};
  return pid > 0 && syscall(SYS_capget, &header, sets) == 0 && (sets[0].effective >> CAP_NET_ADMIN & 1) != 0;
}

/// The peer of one accepted connection.
class Peer {
 public:
  /// Takes SO_PEERCRED and, from Linux 6.5, SO_PEERPIDFD.
  void Accepted(int connection);

  const ucred& credentials() const { return credentials_; }

  /// Takes the socket that a hello brought: see ../preload/proof.h. One that proves nothing is as good as none.
  void Prove(const nokmod::Fd& socket);

  /// Whether the peer had CAP_NET_ADMIN in the user namespace with that inode. A proof says so; without one, a peer that
  /// connected as root is looked at, since what it may do now it could do then: an exec() gives root nothing that it
  /// could not have had. Any other user is privileged by proof only: an exec() may have made it so since.
  bool IsPrivilegedIn(ino_t user_namespace) const;

  /// Gives up the hold on the process: the question has been answered, or the connection has ended.
  void Release() { process_.Reset(); }

 private:
  ucred credentials_{0, ~uid_t{0}, ~gid_t{0}};
  nokmod::Fd process_;
  ino_t proved_in_ = 0;
};
