// Memory that a control channel's two ends share, where a request is posted to a server that looks for it: no system
// call, and nobody has to be woken. docs/transport.md tells the rules.
#ifndef NOKMOD_PRELOAD_MAILBOX_H
#define NOKMOD_PRELOAD_MAILBOX_H

#include <stdbool.h>
#include <stdint.h>

enum {
  MAILBOX_BYTES = 65536,
  /// As much of it as no record takes.
  MAILBOX_HEADER = 88,
  MAILBOX_RECORD = MAILBOX_BYTES - MAILBOX_HEADER,
  MAILBOX_ANSWER = 16,
};

/// Who may write to record, length and answer. Where both may take the next step, each takes it by compare-and-exchange, so
/// that one does.
enum mailbox_state {
  MAILBOX_FREE,    ///< the client
  MAILBOX_POSTED,  ///< nobody: the server may take it, the client may withdraw it
  MAILBOX_TAKEN,   ///< the server
  MAILBOX_AWAITED, ///< the server; the client waits for an answer by the socket
  MAILBOX_ANSWERED ///< the client
};

struct mailbox {
  /// Number + 1 of the processor that the server looks from; 0: it does not look.
  uint32_t looking;
  /// On the next cache line, with as much of what the other end reads next as it takes.
  uint32_t state __attribute__((aligned(64)));
  uint32_t length;
  uint32_t answer[MAILBOX_ANSWER / 4];
  unsigned char record[MAILBOX_RECORD];
};

#ifdef __cplusplus
static_assert(sizeof(struct mailbox) == MAILBOX_BYTES, "as both ends map it");
#else
_Static_assert(sizeof(struct mailbox) == MAILBOX_BYTES, "as both ends map it");
#endif

static inline uint32_t mailbox_load(const uint32_t *word) { return __atomic_load_n(word, __ATOMIC_SEQ_CST); }
static inline void mailbox_store(uint32_t *word, uint32_t value) { __atomic_store_n(word, value, __ATOMIC_SEQ_CST); }
/// True if it was `from`.
static inline bool mailbox_step(struct mailbox *box, uint32_t from, uint32_t to) {
  return __atomic_compare_exchange_n(&box->state, &from, to, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

#endif
