// The address range that all frames live in: one mapping that JavaScript sees as one ArrayBuffer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace nokmod {

//  0            rings                      top                  size
//  | anonymous  | packet rings, buffers …  | not accessible     |
//
// What lies below top is always readable and writable: the place of a closed ring becomes anonymous memory, so that a
// stale offset reads old zeros and never faults.
class Arena {
 public:
  // Reserves addresses only; memory is used as it is touched.
  explicit Arena(size_t size);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  size_t top() const { return top_; }
  // Packet rings that are mapped now.
  size_t rings() const { return rings_; }

  // Makes the first `bytes` usable. Called once, before anything is mapped.
  void UseFirst(size_t bytes);
  // Maps `bytes` anonymous bytes. Returns their offset.
  size_t MapAnonymous(size_t bytes);
  // Maps a packet ring. Returns its offset.
  size_t MapRing(int fd, size_t bytes);
  // Gives a ring's place back.
  void UnmapRing(size_t offset, size_t bytes) noexcept;
  // Gives the memory of all anonymous bytes back; they read as zeros.
  void Discard() noexcept;

 private:
  struct Hole {
    size_t offset, bytes;
  };
  size_t Reserve(size_t bytes);

  uint8_t* data_;
  size_t size_;
  size_t top_ = 0;
  std::vector<Hole> holes_;
  size_t rings_ = 0;  // mapped now
};

}  // namespace nokmod
