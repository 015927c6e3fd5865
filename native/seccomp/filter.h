// Which system calls of a supervised program are held for its supervisor.
#pragma once

namespace nokmod {

/// Installs the filter in the calling thread, for good, also for its children and for what they execute. Held are
/// socket(AF_NETLINK) of the protocols that nokmod has a part in, and the socket calls on descriptors from `base` up: nothing
/// else is slowed down. Returns the listener (close-on-exec) or a negative errno: -EBUSY when the caller is supervised
/// already, -EINVAL when the kernel is older than 5.19.
int InstallFilter(int base);

/// Numbers of socket() in the other system call tables of this machine, whose programs are not supervised.
bool IsForeignSocketCall(unsigned arch, int number);

}  // namespace nokmod
