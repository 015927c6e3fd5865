// libFuzzer: the server's end of a mailbox (src/mailbox.h) whose words the input writes between any two steps, and records with
// descriptors and credentials (src/record.cc) of any form.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "../src/mailbox.h"
#include "../src/record.h"

namespace {
constexpr size_t kRoom = 4096;

void Post(const uint8_t* data, size_t size) {
  static const std::unique_ptr<Mailbox> box = Mailbox::Make();
  static mailbox* const memory = static_cast<mailbox*>(
      box == nullptr ? MAP_FAILED : mmap(nullptr, MAILBOX_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, box->fd(), 0));
  if (memory == MAP_FAILED) abort();
  const uint8_t answer[MAILBOX_ANSWER] = {1};
  // Of each five bytes: which word, and its value.
  for (; size >= 5; data += 5, size -= 5) {
    uint32_t value;
    memcpy(&value, data + 1, sizeof value);
    switch (data[0] % 6) {
      case 0:
        memory->state = value % 6;
        break;
      case 1:
        memory->length = value;
        break;
      case 2:
        memory->looking = value;
        break;
      case 3:
        memcpy(memory->record + value % (MAILBOX_RECORD - 4), &value, sizeof value);
        break;
      case 4: {
        const size_t room = value % kRoom;
        std::unique_ptr<uint8_t[]> to(new uint8_t[room + 1]);
        if (box->Take(to.get(), room) > std::max<size_t>(room, 1)) abort();
        break;
      }
      default:
        box->Answer(answer, value % 64 < 16 ? value % 64 : sizeof answer);
        box->Announce(value);
    }
  }
}

void Receive(const uint8_t* data, size_t size) {
  int ends[2];
  if (size < 2 || socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) != 0) return;
  const int on = 1;
  if (data[0] & 1) setsockopt(ends[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
  int descriptors[8];
  const size_t count = data[0] >> 1 & 7;
  for (size_t i = 0; i < count; i++) descriptors[i] = ends[0];
  char control[CMSG_SPACE(sizeof descriptors)] = {};
  iovec part{const_cast<uint8_t*>(data) + 2, size - 2};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (count != 0) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(header), descriptors, count * sizeof(int));
  }
  if (sendmsg(ends[0], &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
    Arrival arrival;
    const size_t room = data[1];
    std::unique_ptr<uint8_t[]> to(new uint8_t[room]);
    ReceiveRecordFrom(ends[1], to.get(), room, &arrival);
  }
  close(ends[0]);
  close(ends[1]);
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  if (data[0] & 1) Post(data + 1, size - 1);
  else Receive(data + 1, size - 1);
  return 0;
}
