// The PacketIo object: its JavaScript class, construction, start and shutdown.
#include "packet_io.h"

#include <sys/epoll.h>

#include "packet_io_methods.h"

namespace nokmod {

void PacketIo::Init(Napi::Env env, Napi::Object exports) {
  exports.Set("PacketIo", DefineClass(env, "PacketIo",
                                      {
                                          InstanceMethod<&PacketIo::Start>("start"),
                                          InstanceMethod<&PacketIo::OpenNetdev>("openNetdev"),
                                          InstanceMethod<&PacketIo::OpenInternal>("openInternal"),
                                          InstanceMethod<&PacketIo::OpenUnderlay>("openUnderlay"),
                                          InstanceMethod<&PacketIo::GetRoute>("getRoute"),
                                          InstanceMethod<&PacketIo::SetUp>("setUp"),
                                          InstanceMethod<&PacketIo::ClosePort>("closePort"),
                                          InstanceMethod<&PacketIo::Renamed>("renamed"),
                                          InstanceMethod<&PacketIo::LocateInternal>("locateInternal"),
                                          InstanceMethod<&PacketIo::AskNetfilter>("askNetfilter"),
                                          InstanceMethod<&PacketIo::CloseNetfilter>("closeNetfilter"),
                                          InstanceMethod<&PacketIo::Exchange>("exchange"),
                                          InstanceMethod<&PacketIo::Release>("release"),
                                          InstanceMethod<&PacketIo::Flush>("flush"),
                                          InstanceMethod<&PacketIo::GetLink>("getLink"),
                                          InstanceMethod<&PacketIo::GetStats>("getStats"),
                                          InstanceMethod<&PacketIo::GetCounters>("getCounters"),
                                          InstanceMethod<&PacketIo::Listen>("listen"),
                                          InstanceMethod<&PacketIo::Shutdown>("shutdown"),
                                      }));
}

// new PacketIo(arenaBytes): properties buffer (ArrayBuffer), rx and tx (Int32Array).
PacketIo::PacketIo(const Napi::CallbackInfo& info) try : Napi::ObjectWrap<PacketIo>(info) {
  const Napi::Env env = info.Env();
  arena_ = std::make_shared<Arena>(static_cast<size_t>(info[0].ToNumber().Int64Value()));
  heads_.resize(kTxBatch);
  epoll_ = Fd(Check(epoll_create1(EPOLL_CLOEXEC), "epoll_create1"));

  // The buffer may outlive this object: each holds the arena.
  auto* shared = new std::shared_ptr<Arena>(arena_);
  Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(
      env, arena_->data(), arena_->size(),
      [](Napi::Env, void*, std::shared_ptr<Arena>* arena) { delete arena; }, shared);
  Napi::Int32Array rx = Napi::Int32Array::New(env, static_cast<size_t>(kRxBatch) * kRxWords);
  Napi::Int32Array tx = Napi::Int32Array::New(env, static_cast<size_t>(kTxBatch) * kTxWords);
  rx_ = reinterpret_cast<RxDescriptor*>(rx.Data());
  tx_ = reinterpret_cast<const TxDescriptor*>(tx.Data());
  rx_array_ = Napi::Reference<Napi::Int32Array>::New(rx, 1);
  tx_array_ = Napi::Reference<Napi::Int32Array>::New(tx, 1);
  Napi::Object self = info.This().As<Napi::Object>();
  self.Set("buffer", buffer);
  self.Set("rx", rx);
  self.Set("tx", tx);
} catch (const std::system_error& error) {
  throw ErrnoError(info.Env(), error.what(), error.code().value());
} catch (const std::bad_alloc&) {
  throw ErrnoError(info.Env(), "out of memory", ENOMEM);
}

PacketIo::~PacketIo() { StopPolls(); }

// start(firstBytes): the first bytes of the buffer become usable, and everything after them is ours.
Napi::Value PacketIo::Start(const Napi::CallbackInfo& info) {
  return Guard(info.Env(), [&] {
    arena_->UseFirst(static_cast<size_t>(info[0].ToNumber().Int64Value()));
    large_ = std::make_unique<LargeBuffers>(*arena_);
    return info.Env().Undefined();
  });
}

// shutdown(): closes every descriptor, so that nothing keeps a network namespace until this object is collected, and gives
// the memory of frames back. The buffer stays readable, as zeros. Methods throw EBADF from now on.
Napi::Value PacketIo::Shutdown(const Napi::CallbackInfo& info) {
  StopPolls();
  ready_.clear();
  closing_.clear();
  ports_.clear();
  is_ready_.clear();
  in_batch_ = false;
  if (started_) {
    started_ = false;
    napi_remove_async_cleanup_hook(cleanup_);
    // They hold whoever holds this object.
    on_ready_.Reset();
    on_link_.Reset();
    on_routes_.Reset();
    Unref();
  }
  netfilter_.clear();
  epoll_.Reset();
  route_.Close();
  watch_.Close();
  home_.Close();
  arena_->Discard();
  return info.Env().Undefined();
}

}  // namespace nokmod

void InitPacketIo(Napi::Env env, Napi::Object exports) { nokmod::PacketIo::Init(env, exports); }
