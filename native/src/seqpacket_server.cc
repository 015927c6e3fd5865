// Connections of SeqpacketServer: listening, accepting, and the records that come.
#include "seqpacket_server.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>

#include "../preload/wire.h"
#include "seqpacket_socket.h"
#include "system_error.h"

using nokmod::Fd;

namespace {

constexpr int kBacklog = 128;
constexpr int kEventsPerWake = 64;
/// Bytes of a send buffer below which it is empty: no record takes so few. SIOCOUTQ may not read 0 at once, since the kernel
/// wakes the writer just before it has given back the last byte.
constexpr int kDrained = 64;
/// Records taken from one connection before the next one's turn.
constexpr int kRecordsPerTurn = 32;

}  // namespace

Napi::Function SeqpacketServer::Define(Napi::Env env) {
  return DefineClass(env, "SeqpacketServer",
                     {
                         InstanceMethod("send", &SeqpacketServer::Send),
                         InstanceMethod("queued", &SeqpacketServer::Queued),
                         InstanceMethod("watchDrain", &SeqpacketServer::WatchDrain),
                         InstanceMethod("setSendBuffer", &SeqpacketServer::SetSendBuffer),
                         InstanceMethod("netns", &SeqpacketServer::Netns),
                         InstanceMethod("privileged", &SeqpacketServer::Privileged),
                         InstanceMethod("senderPrivileged", &SeqpacketServer::SenderPrivileged),
                         InstanceMethod("held", &SeqpacketServer::Held),
                         InstanceMethod("prompt", &SeqpacketServer::Prompt),
                         InstanceMethod("pause", &SeqpacketServer::Pause),
                         InstanceMethod("disconnect", &SeqpacketServer::Disconnect),
                         InstanceMethod("close", &SeqpacketServer::CloseMethod),
                     });
}

SeqpacketServer::SeqpacketServer(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<SeqpacketServer>(info), context_(info.Env(), "SeqpacketServer") {
  const Napi::Env env = info.Env();
  path_ = info[0].As<Napi::String>();
  const auto mode = info[1].As<Napi::Number>().Uint32Value();
  input_.Hold(info[2]);
  output_.Hold(info[3]);
  handlers_ = Napi::Persistent(info[4].As<Napi::Object>());
  accept_ = Handler("accept");
  packet_ = Handler("packet");
  drained_ = Handler("drained");
  closed_ = Handler("closed");

  try {
    Listen(env, mode);
  } catch (...) {
    // The destructor does not run: the path and its lock would stay.
    Close();
    throw;
  }
  Ref();
  ref_held_ = true;
}

Napi::FunctionReference SeqpacketServer::Handler(const char* name) {
  return Napi::Persistent(handlers_.Value().Get(name).As<Napi::Function>());
}

void SeqpacketServer::Listen(Napi::Env env, uint32_t mode) {
  const sockaddr_un address = CheckedAddress(env, path_);
  lock_ = LockPath(env, path_);
  RemoveStale(env, address);
  listener_ = OpenSocket(env, SOCK_NONBLOCK);
  if (bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    throw SystemError(env, errno, path_);
  }
  bound_ = true;
  // Inherited by accepted sockets: records that come before accept() have credentials too.
  const int on = 1;
  if (setsockopt(listener_.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0) throw SystemError(env, errno, path_);
  // The mode last: a client that watches the directory connects when it changes.
  if (listen(listener_.get(), kBacklog) != 0 || chmod(path_.c_str(), mode) != 0) throw SystemError(env, errno, path_);
  spare_ = Fd(open("/dev/null", O_RDONLY | O_CLOEXEC));
  epoll_ = Fd(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_ || !Control(EPOLL_CTL_ADD, listener_.get(), EPOLLIN, kListener)) {
    throw SystemError(env, errno, "epoll");
  }
  int error = poller_.Open(env, epoll_.get(), [this] { Wake(); });
  if (error == 0) error = poller_.Start();
  if (error != 0) throw SystemError(env, -error, "poll");
  busy_.Open(env, [this] { PollMailboxes(); }, [this] { StopPolling(); });
}

void SeqpacketServer::RemoveStale(Napi::Env env, const sockaddr_un& address) {
  struct stat status;
  if (lstat(path_.c_str(), &status) != 0) return;
  if (!S_ISSOCK(status.st_mode)) throw SystemError(env, ENOTSOCK, path_);
  // The lock is ours; still, a program that takes no lock may listen here.
  const Fd probe = OpenSocket(env, SOCK_NONBLOCK);
  if (Connect(probe.get(), address) != -ECONNREFUSED) throw SystemError(env, EADDRINUSE, path_);
  unlink(path_.c_str());
}

void SeqpacketServer::Close() {
  if (!open_) return;
  open_ = false;
  poller_.Close();
  busy_.Close();
  for (Connection& connection : connections_) {
    connection.poller.reset();
    connection.mailbox.reset();
    connection.peer.Release();
    connection.fd.Reset();
  }
  listener_.Reset();
  epoll_.Reset();
  spare_.Reset();
  if (bound_) unlink(path_.c_str());
  if (lock_) unlink((path_ + ".lock").c_str());
  lock_.Reset();
}

bool SeqpacketServer::Control(int operation, int fd, uint32_t events, uint64_t data) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = data;
  return epoll_ctl(epoll_.get(), operation, fd, &event) == 0;
}

SeqpacketServer::Connection* SeqpacketServer::Find(uint32_t id) {
  return id < connections_.size() && connections_[id].fd ? &connections_[id] : nullptr;
}

bool SeqpacketServer::Alive(uint64_t tag) {
  const auto id = static_cast<uint32_t>(tag);
  return open_ && Find(id) != nullptr && Tag(id) == tag;
}

Napi::Value SeqpacketServer::Call(Napi::FunctionReference& handler, const std::initializer_list<napi_value>& arguments) {
  const Napi::Env env = Env();
  try {
    return handler.MakeCallback(handlers_.Value(), arguments, context_);
  } catch (const Napi::Error& error) {
    // The caller is the event loop: Node treats it as any exception of a callback.
    napi_fatal_exception(env, error.Value());
    return env.Undefined();
  }
}

void SeqpacketServer::Wake() {
  const Napi::HandleScope scope(Env());
  epoll_event events[kEventsPerWake];
  const int count = epoll_wait(epoll_.get(), events, kEventsPerWake, 0);
  for (int i = 0; i < count && open_; i++) {
    const uint64_t tag = events[i].data.u64;
    if (tag == kListener) {
      Accept();
      continue;
    }
    if (!Alive(tag)) continue;
    const auto id = static_cast<uint32_t>(tag);
    if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP)) Read(id, tag);
    if (Alive(tag) && connections_[id].watching) CheckDrained(id);
  }
}

void SeqpacketServer::Accept() {
  for (int i = 0; i < kRecordsPerTurn && open_; i++) {
    Fd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd) {
      // Out of descriptors: the connection is accepted with the spare one and closed, or the listener would stay readable.
      if ((errno == EMFILE || errno == ENFILE) && spare_) {
        spare_.Reset();
        Fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)).Reset();
        spare_ = Fd(open("/dev/null", O_RDONLY | O_CLOEXEC));
        continue;
      }
      if (errno == ECONNABORTED || errno == EINTR) continue;
      return;
    }
    const int on = 1;
    if (setsockopt(fd.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0) continue;
    uint32_t id;
    if (free_.empty()) {
      id = static_cast<uint32_t>(connections_.size());
      connections_.emplace_back();
    } else {
      id = free_.back();
      free_.pop_back();
    }
    Connection& connection = connections_[id];
    connection.fd = std::move(fd);
    connection.generation++;
    connection.peer.Accepted(connection.fd.get());
    connection.hello_received = connection.privileged = false;
    connection.cookie = 0;
    connection.watching = connection.paused = false;
    connection.polled = false;
    if (!Control(EPOLL_CTL_ADD, connection.fd.get(), EPOLLIN | EPOLLRDHUP, Tag(id))) {
      connection.peer.Release();
      connection.fd.Reset();
      free_.push_back(id);
      continue;
    }
    const Napi::Env env = Env();
    const ucred& peer = connection.peer.credentials();
    const ino_t netns = NamespaceInode(NetnsOfSocket(connection.fd.get()));
    Call(accept_, {Id(id), Napi::Number::New(env, peer.pid), Napi::Number::New(env, peer.uid),
                   Napi::Number::New(env, peer.gid), Napi::Number::New(env, static_cast<double>(netns))});
  }
}

void SeqpacketServer::TakeHello(Connection& connection, size_t size, Arrival& arrival) {
  connection.hello_received = true;
  connection.trusted = arrival.sender;
  if (size != HELLO_BYTES) return;
  uint32_t flags;
  memcpy(&flags, input_.data + offsetof(hello, flags), sizeof flags);
  Fd* next = arrival.descriptors;
  if ((flags & HELLO_PROOF) != 0) connection.peer.Prove(*next++);
  if ((flags & HELLO_SELF) != 0) connection.cookie = ChannelCookie(*next);
}

void SeqpacketServer::Read(uint32_t id, uint64_t tag) {
  const bool prompt = connections_[id].poller != nullptr;
  for (int i = 0; i < kRecordsPerTurn; i++) {
    const Napi::HandleScope scope(Env());
    Connection& connection = connections_[id];
    Arrival arrival;
    const ssize_t received = ReceiveRecordFrom(connection.fd.get(), input_.data, input_.size, &arrival);
    if (received == -EAGAIN) return;
    if (received <= 0) {
      HangUp(id);
      return;
    }
    const auto size = static_cast<size_t>(received);
    if (!connection.hello_received) TakeHello(connection, size, arrival);
    passed_cookie_ = ChannelCookie(arrival.descriptors[0]);
    sender_ = arrival.sender;
    const bool trusted = connection.privileged && sender_ == connection.trusted;
    const uint32_t flags = (trusted ? kTrusted : 0) | (arrival.truncated ? kTruncated : 0);
    prompt ? DispatchPrompt(tag, size, flags) : Dispatch(id, size, flags);
    // Of a prompt() connection the next request cannot be there yet; its poller waits for it.
    if (!Alive(tag) || connections_[id].poller || connections_[id].paused) return;
  }
  // More may wait. Edge-triggered events do not repeat: ask anew.
  if (connections_[id].watching && !Arm(id)) HangUp(id);
}

void SeqpacketServer::Dispatch(uint32_t id, size_t size, uint32_t flags) {
  const uint64_t tag = Tag(id);
  const Napi::Value answer = Call(
      packet_, {Id(id), Napi::Number::New(Env(), static_cast<double>(size)), Napi::Number::New(Env(), flags)});
  const uint32_t length = answer.IsNumber() ? answer.As<Napi::Number>().Uint32Value() : 0;
  if (length == 0 || !Alive(tag)) return;
  // A client reads an answer before its next request: one without room for an answer breaks the protocol.
  if (SendTo(connections_[id], std::min<size_t>(length, output_.size)) != 0) HangUp(id);
}

void SeqpacketServer::HangUp(uint32_t id) {
  Drop(id);
  Call(closed_, {Id(id)});
}

void SeqpacketServer::Drop(uint32_t id) {
  connections_[id].poller.reset();
  connections_[id].mailbox.reset();
  connections_[id].peer.Release();
  connections_[id].fd.Reset();
  free_.push_back(id);
}

bool SeqpacketServer::Watch(uint32_t id, int operation) {
  const Connection& connection = connections_[id];
  const uint32_t events = EPOLLIN | EPOLLRDHUP | (connection.watching ? EPOLLOUT | EPOLLET : 0);
  return Control(operation, connection.fd.get(), events, Tag(id));
}

bool SeqpacketServer::Arm(uint32_t id) { return connections_[id].paused || Watch(id, EPOLL_CTL_MOD); }

void SeqpacketServer::CheckDrained(uint32_t id) {
  int queued = 0;
  const int fd = connections_[id].fd.get();
  if (ioctl(fd, SIOCOUTQ, &queued) == 0 && queued >= kDrained) return;
  connections_[id].watching = false;
  if (!connections_[id].paused && !Watch(id, EPOLL_CTL_MOD)) return HangUp(id);
  Call(drained_, {Id(id)});
}
