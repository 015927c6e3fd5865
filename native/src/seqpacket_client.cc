// The connecting end of the transport (docs/transport.md): JavaScript class SeqpacketClient, whose only user is src/client.
#include <napi.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>

#include "../preload/proof.h"
#include "../preload/wire.h"
#include "byte_view.h"
#include "poller.h"
#include "record.h"
#include "seqpacket_socket.h"
#include "seqpacket_server.h"
#include "system_error.h"

using nokmod::Fd;

namespace {

/// `new SeqpacketClient(path)`: connects, blocking.
class SeqpacketClient : public Napi::ObjectWrap<SeqpacketClient> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "SeqpacketClient",
                       {
                           InstanceMethod("hello", &SeqpacketClient::Hello),
                           InstanceMethod("request", &SeqpacketClient::Request),
                           InstanceMethod("receive", &SeqpacketClient::Receive),
                           InstanceMethod("onReadable", &SeqpacketClient::OnReadable),
                           InstanceMethod("setRef", &SeqpacketClient::SetRef),
                           InstanceMethod("close", &SeqpacketClient::CloseMethod),
                       });
  }

  explicit SeqpacketClient(const Napi::CallbackInfo& info)
      : Napi::ObjectWrap<SeqpacketClient>(info), context_(info.Env(), "SeqpacketClient") {
    const Napi::Env env = info.Env();
    const std::string path = info[0].As<Napi::String>();
    const sockaddr_un address = CheckedAddress(env, path);
    fd_ = OpenSocket(env, 0);
    const int error = Connect(fd_.get(), address);
    if (error != 0) throw SystemError(env, -error, path);
  }

  ~SeqpacketClient() override { Shut(); }

 private:
  void Shut() {
    poller_.Close();
    fd_.Reset();
  }

  /// request(header, payload | undefined, answer, timeoutMs): sends one packet and blocks until its answer has come.
  /// The answer's length, 0 when the server has gone, or a negative errno.
  Napi::Value Request(const Napi::CallbackInfo& info) {
    const Bytes header(info[0]), payload(info[1]), answer(info[2]);
    const int64_t timeout = info[3].As<Napi::Number>().Int64Value();
    return Napi::Number::New(info.Env(), static_cast<double>(Exchange(header, payload, answer, timeout, -1)));
  }

  /// hello(record, answer, timeoutMs): the same, and the record brings proof of this process's privilege (preload/proof.h);
  /// its flag HELLO_PROOF is set here where there is one.
  Napi::Value Hello(const Napi::CallbackInfo& info) {
    const Bytes record(info[0]), none(info.Env().Undefined()), answer(info[1]);
    const int64_t timeout = info[2].As<Napi::Number>().Int64Value();
    const Fd proof(proof_make());
    if (proof && record.size >= HELLO_BYTES) {
      uint32_t flags;
      memcpy(&flags, record.data + offsetof(hello, flags), sizeof flags);
      flags |= HELLO_PROOF;
      memcpy(record.data + offsetof(hello, flags), &flags, sizeof flags);
    }
    return Napi::Number::New(info.Env(), static_cast<double>(Exchange(record, none, answer, timeout, proof.get())));
  }

  ssize_t Exchange(const Bytes& header, const Bytes& payload, const Bytes& answer, int64_t timeout, int passed) {
    if (!fd_) return -EBADF;
    if (timeout != timeout_) {
      const timeval limit{timeout / 1000, (timeout % 1000) * 1000};
      if (setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) != 0 ||
          setsockopt(fd_.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) != 0) {
        return -errno;
      }
      timeout_ = timeout;
    }
    iovec parts[2] = {{header.data, header.size}, {payload.data, payload.size}};
    const int error = SendRecordWith(fd_.get(), parts, payload.size == 0 ? 1 : 2, {passed}, 0);
    if (error != 0) return error;
    return ReceiveRecord(fd_.get(), answer.data, answer.size, 0);
  }

  /// receive(buffer): length of the packet, 0 when the server has gone, or a negative errno; -EAGAIN when none waits.
  Napi::Value Receive(const Napi::CallbackInfo& info) {
    const Bytes buffer(info[0]);
    const ssize_t result = fd_ ? ReceiveRecord(fd_.get(), buffer.data, buffer.size, MSG_DONTWAIT) : -EBADF;
    return Napi::Number::New(info.Env(), static_cast<double>(result));
  }

  /// onReadable(callback | null): callback is called while there is something to read; null ends it.
  Napi::Value OnReadable(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (!info[0].IsFunction()) {
      poller_.Stop();
      return env.Undefined();
    }
    callback_ = Napi::Persistent(info[0].As<Napi::Function>());
    int error = 0;
    if (!polled_) error = poller_.Open(env, fd_.get(), [this] { Wake(); });
    polled_ = error == 0;
    if (error == 0) error = poller_.Start();
    if (error != 0) throw SystemError(env, -error, "poll");
    return env.Undefined();
  }

  void Wake() {
    const Napi::Env env = Env();
    const Napi::HandleScope scope(env);
    try {
      callback_.MakeCallback(Value(), {}, context_);
    } catch (const Napi::Error& error) {
      napi_fatal_exception(env, error.Value());
    }
  }

  Napi::Value SetRef(const Napi::CallbackInfo& info) {
    poller_.SetRef(info[0].ToBoolean());
    return info.Env().Undefined();
  }

  Napi::Value CloseMethod(const Napi::CallbackInfo& info) {
    Shut();
    return info.Env().Undefined();
  }

  Fd fd_;
  Napi::AsyncContext context_;
  Napi::FunctionReference callback_;
  bool polled_ = false;
  int64_t timeout_ = -1;
  Poller poller_;
};

}  // namespace

void InitSeqpacket(Napi::Env env, Napi::Object exports) {
  exports.Set("SeqpacketServer", SeqpacketServer::Define(env));
  exports.Set("SeqpacketClient", SeqpacketClient::Define(env));
}
