// libFuzzer: whose a netlink message is (preload/routing.c). The first byte chooses the protocol; what follows is the datagram,
// in memory of its own length, so that AddressSanitizer sees a read past its end.
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "../preload/routing.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const int protocol = data[0] & 1 ? 12 : 16;
  // malloc() aligns it as nlmsghdr is.
  void* bytes = malloc(size - 1);
  if (bytes == nullptr) return 0;
  memcpy(bytes, data + 1, size - 1);
  const size_t known = size - 1 < ROUTED_BYTES ? size - 1 : static_cast<size_t>(ROUTED_BYTES);
  message_is_foreign(protocol, bytes, known);
  group_is_foreign(protocol, data[0]);
  free(bytes);
  return 0;
}
