// What JavaScript calls of SeqpacketServer.
#include "seqpacket_server.h"

#include <linux/sockios.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "system_error.h"

using nokmod::Fd;

uint32_t SeqpacketServer::Argument(const Napi::CallbackInfo& info, size_t index) const {
  return info[index].As<Napi::Number>().Uint32Value();
}

Napi::Value SeqpacketServer::Send(const Napi::CallbackInfo& info) {
  const Connection* connection = Find(Argument(info, 0));
  const size_t size = std::min<size_t>(Argument(info, 1), output_.size);
  return Napi::Number::New(info.Env(), connection == nullptr ? -EBADF : SendTo(*connection, size));
}

int SeqpacketServer::SendTo(const Connection& connection, size_t size) {
  const int fd = connection.fd.get();
  Mailbox* mailbox = connection.mailbox.get();
  if (mailbox == nullptr) return SendRecord(fd, output_.data, size);
  if (mailbox->Answer(output_.data, size)) return 0;
  if (mailbox->fd() < 0) return SendRecord(fd, output_.data, size);
  iovec part{output_.data, size};
  const int result = SendRecordWith(fd, &part, 1, {mailbox->fd()}, MSG_DONTWAIT);
  mailbox->Sent();
  return result;
}

Napi::Value SeqpacketServer::Queued(const Napi::CallbackInfo& info) {
  const Connection* connection = Find(Argument(info, 0));
  int queued = 0;
  if (connection != nullptr && ioctl(connection->fd.get(), SIOCOUTQ, &queued) != 0) {
    throw SystemError(info.Env(), errno, "SIOCOUTQ");
  }
  return Napi::Number::New(info.Env(), queued);
}

Napi::Value SeqpacketServer::WatchDrain(const Napi::CallbackInfo& info) {
  const uint32_t id = Argument(info, 0);
  Connection* connection = Find(id);
  if (connection != nullptr && !connection->watching) {
    connection->watching = true;
    if (!Arm(id)) throw SystemError(info.Env(), errno, "epoll_ctl");
  }
  return info.Env().Undefined();
}

Napi::Value SeqpacketServer::SetSendBuffer(const Napi::CallbackInfo& info) {
  const Connection* connection = Find(Argument(info, 0));
  int bytes = info[1].As<Napi::Number>().Int32Value();
  int result = 0;
  if (connection != nullptr) {
    const int fd = connection->fd.get();
    const bool force = info[2].ToBoolean();
    socklen_t size = sizeof result;
    const bool forced = force && setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) == 0;
    if ((!forced && setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes) != 0) ||
        getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &result, &size) != 0) {
      throw SystemError(info.Env(), errno, "SO_SNDBUF");
    }
  }
  return Napi::Number::New(info.Env(), result);
}

Napi::Value SeqpacketServer::Netns(const Napi::CallbackInfo& info) {
  const Connection* connection = Find(Argument(info, 0));
  const int fd = connection == nullptr ? -1 : ioctl(connection->fd.get(), SIOCGSKNS);
  return Napi::Number::New(info.Env(), fd >= 0 ? fd : connection == nullptr ? -EBADF : -errno);
}

Napi::Value SeqpacketServer::Privileged(const Napi::CallbackInfo& info) {
  Connection* connection = Find(Argument(info, 0));
  if (connection == nullptr) return Napi::Boolean::New(info.Env(), false);
  const bool own = info[1].ToBoolean();
  const ino_t owner = own ? OwnerOf(NetnsOfSocket(connection->fd.get())) : home_user_namespace_;
  connection->privileged = connection->peer.IsPrivilegedIn(owner);
  connection->peer.Release();
  return Napi::Boolean::New(info.Env(), connection->privileged);
}

Napi::Value SeqpacketServer::SenderPrivileged(const Napi::CallbackInfo& info) {
  // A process outside our pid namespace has pid 0 here, and cannot be looked at.
  return Napi::Boolean::New(info.Env(), sender_.pid == 0 || HasNetAdmin(sender_.pid));
}

Napi::Value SeqpacketServer::Held(const Napi::CallbackInfo& info) {
  for (uint32_t id = 0; passed_cookie_ != 0 && id < connections_.size(); id++) {
    if (connections_[id].fd && connections_[id].cookie == passed_cookie_) return Id(id);
  }
  return Napi::Number::New(info.Env(), -1);
}

Napi::Value SeqpacketServer::Prompt(const Napi::CallbackInfo& info) {
  const uint32_t id = Argument(info, 0);
  Connection* connection = Find(id);
  if (connection == nullptr || connection->poller) return info.Env().Undefined();
  auto poller = std::make_unique<Poller>();
  const uint64_t tag = Tag(id);
  int error = poller->Open(info.Env(), connection->fd.get(), [this, id, tag] {
    const Napi::HandleScope scope(Env());
    if (Alive(tag)) Read(id, tag);
  });
  if (error != 0) return info.Env().Undefined();
  if (!Control(EPOLL_CTL_DEL, connection->fd.get(), 0, 0)) return info.Env().Undefined();
  connection->poller = std::move(poller);
  error = connection->poller->Start();
  if (error != 0) {
    connection->poller.reset();
    if (!Control(EPOLL_CTL_ADD, connection->fd.get(), EPOLLIN | EPOLLRDHUP, tag)) HangUp(id);
  } else if (info[1].ToBoolean()) {
    connection->mailbox = Mailbox::Make();
  }
  return info.Env().Undefined();
}

Napi::Value SeqpacketServer::Pause(const Napi::CallbackInfo& info) {
  const uint32_t id = Argument(info, 0);
  Connection* connection = Find(id);
  const bool paused = info[1].ToBoolean();
  if (connection == nullptr || connection->poller || connection->paused == paused) return info.Env().Undefined();
  connection->paused = paused;
  const bool done = paused ? Control(EPOLL_CTL_DEL, connection->fd.get(), 0, 0) : Watch(id, EPOLL_CTL_ADD);
  if (!done) HangUp(id);
  return info.Env().Undefined();
}

Napi::Value SeqpacketServer::Disconnect(const Napi::CallbackInfo& info) {
  const uint32_t id = Argument(info, 0);
  if (Find(id) != nullptr) Drop(id);
  return info.Env().Undefined();
}

Napi::Value SeqpacketServer::CloseMethod(const Napi::CallbackInfo& info) {
  Close();
  if (std::exchange(ref_held_, false)) Unref();
  return info.Env().Undefined();
}
