// The server's end of a mailbox: memory shared with the client of a control channel (docs/transport.md, Mailboxes).
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "../preload/mailbox.h"
#include "sys.h"

/// The client may write anything there at any time: each word is read once, and a request is copied before it is parsed.
class Mailbox {
 public:
  /// nullptr where there is no memory for it.
  static std::unique_ptr<Mailbox> Make() {
    constexpr unsigned kFlags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    nokmod::Fd fd(memfd_create(kName, kFlags | kNoExecSeal));
    if (!fd && errno == EINVAL) fd = nokmod::Fd(memfd_create(kName, kFlags));
    // A client that cuts it off would have us killed (SIGBUS).
    if (!fd || ftruncate(fd.get(), MAILBOX_BYTES) != 0 ||
        fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
      return nullptr;
    }
    void* memory = mmap(nullptr, MAILBOX_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    if (memory == MAP_FAILED) return nullptr;
    return std::unique_ptr<Mailbox>(new Mailbox(static_cast<mailbox*>(memory), std::move(fd)));
  }

  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;
  ~Mailbox() { munmap(box_, MAILBOX_BYTES); }

  /// The memory's descriptor, to be sent to the client; -1 after Sent().
  int fd() const { return fd_.get(); }
  void Sent() { fd_.Reset(); }

  /// Announces to the client that requests are polled from a processor (its number + 1), or no more (0).
  void Announce(uint32_t processor) { mailbox_store(&box_->looking, processor); }

  /// Takes a request if one was posted: its length, 0 if not. It is answered by Answer().
  size_t Take(uint8_t* to, size_t room) {
    if (__atomic_load_n(&box_->state, __ATOMIC_RELAXED) != MAILBOX_POSTED) return 0;
    if (!mailbox_step(box_, MAILBOX_POSTED, MAILBOX_TAKEN)) return 0;
    taken_ = true;
    const size_t length = std::min<size_t>({__atomic_load_n(&box_->length, __ATOMIC_RELAXED), MAILBOX_RECORD, room});
    memcpy(to, box_->record, length);
    return std::max<size_t>(length, 1);
  }

  /// False when the answer must go by the socket: its request came by it, or the client waits for it there by now.
  bool Answer(const uint8_t* answer, size_t length) {
    if (!std::exchange(taken_, false)) return false;
    memcpy(box_->answer, answer, std::min<size_t>(length, MAILBOX_ANSWER));
    if (mailbox_step(box_, MAILBOX_TAKEN, MAILBOX_ANSWERED)) return true;
    mailbox_store(&box_->state, MAILBOX_FREE);
    return false;
  }

 private:
  static constexpr const char* kName = "nokmod-mailbox";
  // linux/memfd.h of Linux 6.3; a system may insist on it.
  static constexpr unsigned kNoExecSeal = 8;

  Mailbox(mailbox* box, nokmod::Fd fd) : box_(box), fd_(std::move(fd)) {}

  mailbox* const box_;
  nokmod::Fd fd_;
  bool taken_ = false;
};
