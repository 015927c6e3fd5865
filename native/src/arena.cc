#include "arena.h"

#include <sys/mman.h>

#include "sys.h"

namespace nokmod {

namespace {

constexpr size_t kPage = 4096;

size_t PageAligned(size_t bytes) { return (bytes + kPage - 1) & ~(kPage - 1); }

// Maps anonymous memory over what is mapped there. Returns false with errno set.
bool MapOver(uint8_t* at, size_t bytes) {
  constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
  return mmap(at, bytes, PROT_READ | PROT_WRITE, kFlags, -1, 0) != MAP_FAILED;
}

}  // namespace

Arena::Arena(size_t size) : size_(PageAligned(size)) {
  void* p = mmap(nullptr, size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) Throw(errno, "mmap");
  data_ = static_cast<uint8_t*>(p);
  madvise(data_, size_, MADV_DONTDUMP);
}

Arena::~Arena() { munmap(data_, size_); }

void Arena::UseFirst(size_t bytes) {
  if (top_ != 0) Throw(EINVAL, "arena in use");
  MapAnonymous(bytes);
}

size_t Arena::Reserve(size_t bytes) {
  for (size_t i = 0; i < holes_.size(); i++) {
    if (holes_[i].bytes != bytes) continue;
    const size_t offset = holes_[i].offset;
    holes_.erase(holes_.begin() + static_cast<std::ptrdiff_t>(i));
    return offset;
  }
  if (bytes > size_ - top_) Throw(ENOMEM, "packet arena full");
  const size_t offset = top_;
  top_ += bytes;
  return offset;
}

size_t Arena::MapAnonymous(size_t bytes) {
  bytes = PageAligned(bytes);
  const size_t offset = Reserve(bytes);
  if (!MapOver(data_ + offset, bytes)) Throw(errno, "mmap");
  return offset;
}

size_t Arena::MapRing(int fd, size_t bytes) {
  // UnmapRing() must not allocate.
  holes_.reserve(holes_.size() + rings_ + 1);
  const size_t offset = Reserve(bytes);
  rings_++;
  void* p = mmap(data_ + offset, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
  if (p == MAP_FAILED) {
    const int error = errno;
    UnmapRing(offset, bytes);
    Throw(error, "mmap of a packet ring");
  }
  return offset;
}

void Arena::UnmapRing(size_t offset, size_t bytes) noexcept {
  rings_--;
  // ENOMEM: the process has as many mappings as vm.max_map_count allows. This range is not used again.
  if (MapOver(data_ + offset, bytes)) holes_.push_back({offset, bytes});
  else ReportError("cannot unmap a packet ring", errno);
}

void Arena::Discard() noexcept { madvise(data_, top_, MADV_DONTNEED); }

}  // namespace nokmod
