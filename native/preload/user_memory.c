#undef _FILE_OFFSET_BITS
#define _GNU_SOURCE
#include "user_memory.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

// asm-generic/mman-common.h of Linux 5.14.
enum { POPULATE_READ = 22, POPULATE_WRITE = 23 };
enum { PAGE = 4096, KNOWN = 64 };
/// In the low bits of a known page's address.
enum { READABLE = 1, WRITABLE = 2 };

/// Pages that were good, by the low bits of their number.
static _Thread_local uintptr_t known[KNOWN];

static uintptr_t *place_of(uintptr_t page) { return &known[page / PAGE % KNOWN]; }

static bool is_known(uintptr_t page, uintptr_t access) {
  const uintptr_t value = *place_of(page);
  return (value & ~(uintptr_t)(PAGE - 1)) == page && (value & access) != 0;
}

/// Linux before 5.14, or a seccomp filter: the kernel does not say. Its answer to a bad page is EINVAL too, so it is asked
/// about a good one.
static bool can_populate(void) {
  static _Atomic(int) answer; // 1: yes, -1: no
  int known_answer = atomic_load_explicit(&answer, memory_order_relaxed);
  if (known_answer == 0) {
    static const char good[1] = {1};
    const uintptr_t page = (uintptr_t)good & ~(uintptr_t)(PAGE - 1);
    known_answer = syscall(SYS_madvise, page, (size_t)PAGE, POPULATE_READ) == 0 ? 1 : -1;
    atomic_store_explicit(&answer, known_answer, memory_order_relaxed);
  }
  return known_answer > 0;
}

/// Whether a byte can be read, as the kernel sees it. Also true where it may not be asked (a seccomp filter).
static bool byte_readable(uintptr_t page) {
  char byte;
  const struct iovec here = {&byte, 1}, there = {(void *)page, 1};
  return syscall(SYS_process_vm_readv, syscall(SYS_getpid), &here, 1UL, &there, 1UL, 0UL) == 1 || errno != EFAULT;
}

/// Asks about the page of `page` and those up to `end`.
static bool ask(uintptr_t page, uintptr_t end, bool write) {
  if (!can_populate()) {
    while (page < end && byte_readable(page)) page += PAGE;
    return page >= end;
  }
  long result;
  do {
    result = syscall(SYS_madvise, page, end - page, write ? POPULATE_WRITE : POPULATE_READ);
  } while (result != 0 && (errno == EINTR || errno == EAGAIN));
  return result == 0;
}

static int check(uintptr_t start, size_t length, bool write) {
  if (length == 0) return 0;
  if (start > UINTPTR_MAX - length - PAGE) return EFAULT;
  const int saved = errno;
  const uintptr_t access = write ? WRITABLE : READABLE | WRITABLE;
  const uintptr_t end = (start + length + PAGE - 1) & ~(uintptr_t)(PAGE - 1);
  uintptr_t page = start & ~(uintptr_t)(PAGE - 1);
  while (page < end && is_known(page, access)) page += PAGE;
  if (page == end) return 0;
  const bool good = ask(page, end, write);
  for (; good && page < end; page += PAGE) *place_of(page) = page | (write ? WRITABLE : READABLE);
  errno = saved;
  return good ? 0 : EFAULT;
}

int user_readable(const void *bytes, size_t length) { return check((uintptr_t)bytes, length, false); }

int user_writable(void *bytes, size_t length) { return check((uintptr_t)bytes, length, true); }
