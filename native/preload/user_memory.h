// Memory that a program names in a call. The kernel answers EFAULT for a bad pointer, so the library may not touch one.
#pragma once

#include <stddef.h>

/// 0 if the program may read every byte, else EFAULT. A page is asked about once for each thread: one that was good and has
/// been unmapped since is not noticed, and using it ends the program as any use of it does.
int user_readable(const void *bytes, size_t length);

/// The same for writing. Linux before 5.14 cannot tell read-only pages: those count as writable there.
int user_writable(void *bytes, size_t length);
