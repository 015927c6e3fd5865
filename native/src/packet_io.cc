// Batches of frames: what runs for every one of them.
#include "packet_io.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cstring>

#include "packet_io_methods.h"

namespace nokmod {

namespace {

// Frames taken from one port before the next one's turn.
constexpr int kTurn = 64;

}  // namespace

// exchange(nTx): sends, releases, receives; returns the number of records in rx.
Napi::Value PacketIo::Exchange(const Napi::CallbackInfo& info) {
  Transmit(IntArgument(info, 0));
  EndBatch();
  PollReady();
  return Napi::Number::New(info.Env(), Receive());
}

// release(nTx): sends and releases.
Napi::Value PacketIo::Release(const Napi::CallbackInfo& info) {
  Transmit(IntArgument(info, 0));
  EndBatch();
  return info.Env().Undefined();
}

// flush(nTx): sends; the frames of the batch stay.
Napi::Value PacketIo::Flush(const Napi::CallbackInfo& info) {
  Transmit(IntArgument(info, 0));
  return info.Env().Undefined();
}

// Lays out head.iov for one frame.
void PacketIo::BuildHead(const TxDescriptor& d, TxHead& head) const {
  const uint8_t* frame = arena_->data() + d.off;
  auto length = static_cast<size_t>(d.len);
  VnetHeader vnet{};
  vnet.flags = static_cast<uint8_t>(d.flags & kVnetNeedsCsum);
  vnet.gso_type = static_cast<uint8_t>(d.flags >> 8);
  vnet.csum_start = static_cast<uint16_t>(d.csum);
  vnet.csum_offset = static_cast<uint16_t>(static_cast<uint32_t>(d.csum) >> 16);
  if (vnet.gso_type != 0) {
    vnet.gso_size = static_cast<uint16_t>(d.gso);
    const uint8_t type = vnet.gso_type & static_cast<uint8_t>(~kVnetGsoEcn);
    // How much of the frame is headers: a hint that lets the kernel lay them out in one piece.
    if ((type == kVnetGsoTcpV4 || type == kVnetGsoTcpV6) && vnet.csum_start + size_t{13} <= length) {
      vnet.hdr_len = static_cast<uint16_t>(vnet.csum_start + (frame[vnet.csum_start + 12] >> 4) * 4);
    } else if (type == kVnetGsoUdpL4) {
      vnet.hdr_len = static_cast<uint16_t>(vnet.csum_start + 8);
    }
    if (vnet.hdr_len > length) vnet.hdr_len = 0;
  }
  uint8_t* to = head.bytes + kVnet;
  const auto tpid = static_cast<uint16_t>(static_cast<uint32_t>(d.vlan) >> 16);
  if (tpid != 0 && length >= 12) {
    memcpy(to, frame, 12);
    to[12] = static_cast<uint8_t>(tpid >> 8);
    to[13] = static_cast<uint8_t>(tpid);
    to[14] = static_cast<uint8_t>(d.vlan >> 8);
    to[15] = static_cast<uint8_t>(d.vlan);
    to += 16;
    frame += 12;
    length -= 12;
    if (vnet.flags & kVnetNeedsCsum) vnet.csum_start = static_cast<uint16_t>(vnet.csum_start + 4);
    if (vnet.hdr_len != 0) vnet.hdr_len = static_cast<uint16_t>(vnet.hdr_len + 4);
  }
  memcpy(head.bytes, &vnet, kVnet);
  head.iov[0].iov_base = head.bytes;
  if (length + 12 <= TxHead::kSmall) {
    memcpy(to, frame, length);
    head.iov[0].iov_len = static_cast<size_t>(to - head.bytes) + length;
    head.iov[1].iov_len = 0;
  } else {
    head.iov[0].iov_len = static_cast<size_t>(to - head.bytes);
    head.iov[1].iov_base = const_cast<uint8_t*>(frame);
    head.iov[1].iov_len = length;
  }
}

void PacketIo::Transmit(int32_t count) {
  if (count <= 0) return;
  count = std::min<int32_t>(count, kTxBatch);
  const auto top = static_cast<int64_t>(arena_->top());
  int32_t last = -1;
  for (int32_t i = 0; i < count; i++) {
    const TxDescriptor& d = tx_[i];
    IoPort* port = Find(d.port);
    if (port == nullptr || d.off < 0 || d.len <= 0 || int64_t{d.off} + d.len > top) continue;
    TxHead& head = heads_[static_cast<size_t>(i)];
    BuildHead(d, head);
    if (d.port != last) {
      if (std::find(sending_.begin(), sending_.end(), d.port) == sending_.end()) sending_.push_back(d.port);
      last = d.port;
    }
    port->Send(head.iov, head.iov[1].iov_len == 0 ? 1 : 2, d);
  }
  for (const int32_t handle : sending_) Find(handle)->Flush();
  sending_.clear();
}

void PacketIo::EndBatch() {
  if (!in_batch_) return;
  for (const auto& port : ports_) {
    if (port != nullptr) port->Release();
  }
  large_->Reset();
  closing_.clear();
  in_batch_ = false;
}

void PacketIo::PollReady() {
  epoll_event events[64];
  const int n = epoll_wait(epoll_.get(), events, 64, 0);
  for (int i = 0; i < n; i++) {
    const auto handle = static_cast<int32_t>(events[i].data.u32);
    IoPort* port = Find(handle);
    if (port == nullptr) continue;
    if ((events[i].events & (EPOLLERR | EPOLLHUP)) && !port->ClearError()) {
      epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, port->poll_fd(), nullptr);
      lost_port_ = true;
      continue;
    }
    if ((events[i].events & EPOLLIN) == 0 || is_ready_[static_cast<size_t>(handle)]) continue;
    is_ready_[static_cast<size_t>(handle)] = true;
    ready_.push_back(handle);
  }
}

int32_t PacketIo::Receive() {
  int count = 0;
  size_t turns = 0;  // ports in a row, from the front, that have been asked and have more
  while (!ready_.empty() && turns < ready_.size() * 4 && count < kRxBatch && !large_->empty()) {
    const int32_t handle = ready_.front();
    ready_.erase(ready_.begin());
    const int room = std::min(kTurn, kRxBatch - count);
    const int n = ports_[static_cast<size_t>(handle)]->Receive(rx_ + count, room, *large_);
    for (int i = count; i < count + n; i++) rx_[i].port = handle;
    count += n;
    if (n == room || large_->empty()) ready_.push_back(handle);
    else is_ready_[static_cast<size_t>(handle)] = false;
    turns++;
  }
  // Ports that met the limit stay in ready_ for the next call.
  in_batch_ = true;
  if (count == 0) EndBatch();
  return count;
}

}  // namespace nokmod
