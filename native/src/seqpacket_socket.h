// Unix sockets of the transport. Errors are JavaScript errors (system_error.h).
#pragma once

#include <napi.h>
#include <sys/un.h>

#include <string>

#include "sys.h"

/// The address of a path. Throws EINVAL or ENAMETOOLONG.
sockaddr_un CheckedAddress(Napi::Env env, const std::string& path);

/// A new AF_UNIX SOCK_SEQPACKET socket; `flags` may hold SOCK_NONBLOCK.
nokmod::Fd OpenSocket(Napi::Env env, int flags);

/// Takes the path for one server: an flock() on PATH.lock, which a dead server cannot hold. Throws EADDRINUSE when another
/// process has it.
nokmod::Fd LockPath(Napi::Env env, const std::string& path);
