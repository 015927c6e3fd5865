// The packet engine: all ports, and the batches that go between them and JavaScript.
#pragma once

#include <napi.h>
#include <uv.h>

#include <map>
#include <memory>
#include <vector>

#include "io_port.h"
#include "ipsec.h"
#include "netfilter.h"
#include "rtnl.h"

namespace nokmod {

// JavaScript class PacketIo; src/port/native/packet-io.ts describes its methods; src/port/native is its only user.
//
// One call moves one batch each way: exchange(nTx) sends the nTx records of `tx`, gives the frames of the last batch back
// to the kernel, and fills `rx` with the next. Frames stay where they are until then.
class PacketIo : public Napi::ObjectWrap<PacketIo> {
 public:
  static void Init(Napi::Env env, Napi::Object exports);
  explicit PacketIo(const Napi::CallbackInfo& info);
  ~PacketIo() override;

 private:
  // A place for what goes before a frame on its way out: the VnetHeader, and a tag that has to be put in; small frames
  // are copied whole, so that they go as one piece.
  struct TxHead {
    static constexpr size_t kSmall = 192;
    uint8_t bytes[kVnet + kSmall + 4];
    iovec iov[2];
  };
  struct Poll {
    uv_poll_t handle;
    PacketIo* io;
  };

  // packet_io.cc
  Napi::Value Exchange(const Napi::CallbackInfo& info);
  Napi::Value Release(const Napi::CallbackInfo& info);
  Napi::Value Flush(const Napi::CallbackInfo& info);
  void Transmit(int32_t count);
  void BuildHead(const TxDescriptor& d, TxHead& head) const;
  void EndBatch();
  void PollReady();
  int32_t Receive();

  // packet_io_lifetime.cc
  Napi::Value Start(const Napi::CallbackInfo& info);
  Napi::Value Shutdown(const Napi::CallbackInfo& info);

  // packet_io_polls.cc
  Napi::Value Listen(const Napi::CallbackInfo& info);
  void StartPoll(Napi::Env env, Poll*& poll, int fd, uv_poll_cb callback);
  void StopPolls();
  void OnReady();
  void OnLink();
  static void CleanUp(napi_async_cleanup_hook_handle hook, void* self);

  // packet_io_ports.cc
  Napi::Value OpenNetdev(const Napi::CallbackInfo& info);
  Napi::Value OpenInternal(const Napi::CallbackInfo& info);
  Napi::Value OpenUnderlay(const Napi::CallbackInfo& info);
  Napi::Value ClosePort(const Napi::CallbackInfo& info);
  Napi::Value Renamed(const Napi::CallbackInfo& info);
  Napi::Value LocateInternal(const Napi::CallbackInfo& info);
  Napi::Value GetCounters(const Napi::CallbackInfo& info);
  int32_t Add(std::unique_ptr<IoPort> port);
  // Returns nullptr for a handle that no port has.
  IoPort* Find(int32_t handle) const {
    return handle >= 0 && static_cast<size_t>(handle) < ports_.size() ? ports_[static_cast<size_t>(handle)].get() : nullptr;
  }

  // packet_io_queries.cc
  Napi::Value GetLink(const Napi::CallbackInfo& info);
  Napi::Value GetStats(const Napi::CallbackInfo& info);
  Napi::Value SetUp(const Napi::CallbackInfo& info);
  Napi::Value GetRoute(const Napi::CallbackInfo& info);
  Napi::Value AskNetfilter(const Napi::CallbackInfo& info);
  Napi::Value CloseNetfilter(const Napi::CallbackInfo& info);

  HomeNamespace home_;  // all devices are looked for here
  std::shared_ptr<Arena> arena_;
  std::unique_ptr<LargeBuffers> large_;
  Napi::Reference<Napi::Int32Array> rx_array_, tx_array_;
  RxDescriptor* rx_;
  const TxDescriptor* tx_;
  std::vector<TxHead> heads_;
  Fd epoll_;
  RouteSocket route_;
  std::weak_ptr<Ipsec> ipsec_;  // while there is an underlay
  std::map<int32_t, NetfilterSocket> netfilter_;  // by handle, each in the namespace of the port's device
  LinkWatch watch_;
  std::vector<std::unique_ptr<IoPort>> ports_;   // by handle
  std::vector<std::unique_ptr<IoPort>> closing_;  // closed during a batch whose frames may lie in their rings
  std::vector<int32_t> ready_;                   // handles that may have something to receive
  std::vector<bool> is_ready_;
  std::vector<int32_t> sending_;                 // handles with something queued
  bool in_batch_ = false;
  bool started_ = false;
  bool lost_port_ = false;  // a port's descriptor has died, as when the namespace of its device ended
  Poll* ready_poll_ = nullptr;
  Poll* link_poll_ = nullptr;
  Napi::FunctionReference on_ready_, on_link_, on_routes_;
  napi_async_cleanup_hook_handle cleanup_ = nullptr;
};

}  // namespace nokmod
