#include "seqpacket_socket.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "record.h"
#include "system_error.h"

using nokmod::Fd;

sockaddr_un CheckedAddress(Napi::Env env, const std::string& path) {
  sockaddr_un address;
  const int error = AddressOf(path, &address);
  if (error != 0) throw SystemError(env, -error, path.empty() ? "socket path" : path);
  return address;
}

Fd OpenSocket(Napi::Env env, int flags) {
  Fd fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0));
  if (!fd) throw SystemError(env, errno, "socket");
  return fd;
}

Fd LockPath(Napi::Env env, const std::string& path) {
  const std::string name = path + ".lock";
  for (;;) {
    Fd fd(open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd) throw SystemError(env, errno, name);
    if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
      throw SystemError(env, errno == EWOULDBLOCK ? EADDRINUSE : errno, path);
    }
    // Its last holder may have removed the file between our open() and our flock().
    struct stat ours, named;
    if (fstat(fd.get(), &ours) == 0 && stat(name.c_str(), &named) == 0 && ours.st_ino == named.st_ino &&
        ours.st_dev == named.st_dev) {
      return fd;
    }
  }
}
