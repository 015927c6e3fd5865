// libFuzzer: RTM_NEWLINK on its way out and in (preload/links.c), with a server that answers whatever the input says: u8 flags,
// u8 errno, u16 length of the answer's payload, that payload, and the datagram.
#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "../preload/channel.h"
#include "../preload/links.h"

namespace {
uint32_t told_error;
const uint8_t* told;
size_t told_length;
}  // namespace

extern "C" int channel_ask(enum op, int, const void*, size_t, struct answer* answer, void* reply, size_t* length) {
  *answer = {told_error, 0, 0, 0};
  *length = std::min(*length, told_length);
  if (*length != 0) memcpy(reply, told, *length);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 4) return 0;
  const bool outgoing = (data[0] & 1) != 0;
  told_error = data[0] & 2 ? data[1] : 0;
  told_length = std::min<size_t>(data[2] | data[3] << 8, size - 4);
  told = data + 4;
  const size_t length = size - 4 - told_length;
  void* bytes = malloc(length);
  if (bytes == nullptr) return 0;
  memcpy(bytes, told + told_length, length);
  if (outgoing) {
    void* changed = malloc(length);
    size_t changed_length = 0;
    if (links_outgoing(-1, bytes, length, changed, &changed_length) && changed_length > length) abort();
    free(changed);
  } else {
    size_t now = length;
    free(links_incoming(-1, bytes, &now));
  }
  free(bytes);
  return 0;
}
