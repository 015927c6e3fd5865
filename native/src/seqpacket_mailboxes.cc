// Requests of SeqpacketServer's control channels: by socket or, while the event loop polls, by mailbox (docs/transport.md).
#include "seqpacket_server.h"

#include <cstddef>
#include <cstring>
#include <utility>

#include "../preload/wire.h"

namespace {

/// The most mailboxes that are polled.
constexpr size_t kMailboxesPolled = 64;

}  // namespace

bool SeqpacketServer::FromOtherProcessor(const uint8_t* request, ssize_t size) {
  uint32_t sender = 0;
  if (size >= REQUEST_BYTES) memcpy(&sender, request + offsetof(struct request, processor), sizeof sender);
  return sender != 0 && sender != Processor();
}

void SeqpacketServer::DispatchPrompt(uint64_t tag, size_t size, uint32_t flags) {
  const auto id = static_cast<uint32_t>(tag);
  const bool other_processor = FromOtherProcessor(input_.data, static_cast<ssize_t>(size));
  busy_.Begin();
  Dispatch(id, size, flags);
  if (!open_ || !busy_.End(other_processor) || !Alive(tag)) return;
  Connection& connection = connections_[id];
  if (!connection.mailbox || connection.polled || polled_.size() == kMailboxesPolled) return;
  if (polled_.empty()) polling_from_ = Processor();
  connection.polled = true;
  connection.mailbox->Announce(polling_from_);
  polled_.push_back(tag);
}

void SeqpacketServer::PollMailboxes() {
  const uint32_t here = Processor();
  const bool moved = std::exchange(polling_from_, here) != here;
  for (size_t i = 0; i < polled_.size();) {
    const uint64_t tag = polled_[i];
    if (!Alive(tag)) {
      polled_[i] = polled_.back();
      polled_.pop_back();
      continue;
    }
    if (moved) connections_[static_cast<uint32_t>(tag)].mailbox->Announce(here);
    PollMailbox(tag);
    if (!open_) return;
    i++;
  }
}

void SeqpacketServer::StopPolling() {
  std::vector<uint64_t> last;
  last.swap(polled_);
  for (const uint64_t tag : last) {
    if (!Alive(tag)) continue;
    Connection& connection = connections_[static_cast<uint32_t>(tag)];
    connection.polled = false;
    connection.mailbox->Announce(0);
  }
  // A request that was posted just before is taken still, unless the client withdraws it.
  for (const uint64_t tag : last) {
    if (Alive(tag)) PollMailbox(tag);
  }
}

void SeqpacketServer::PollMailbox(uint64_t tag) {
  Connection& connection = connections_[static_cast<uint32_t>(tag)];
  const size_t size = connection.mailbox->Take(input_.data, input_.size);
  if (size == 0) return;
  const Napi::HandleScope scope(Env());
  // The memory is not inherited by a child: its writer is the process that sent the hello.
  sender_ = connection.trusted;
  DispatchPrompt(tag, size, kPosted | (connection.privileged ? kTrusted : 0));
}
