// AF_UNIX SOCK_SEQPACKET, both ends. A packet is a record: the kernel keeps the boundaries, so that a netlink datagram
// travels as it is. What the packets mean is TypeScript's business (docs/transport.md).

#include <fcntl.h>
#include <linux/sockios.h>
#include <napi.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../preload/proof.h"
#include "../preload/wire.h"
#include "busy_poll.h"
#include "mailbox.h"
#include "peer.h"
#include "poller.h"
#include "record.h"
#include "sys.h"
#include "system_error.h"

namespace {

using nokmod::Fd;

constexpr int kBacklog = 128;
constexpr int kEventsPerWake = 64;
// No packet takes this little of a send buffer. It may not read 0 at once: the kernel wakes us just before it has given
// back the last byte.
constexpr int kNothing = 64;
// Packets taken from one connection before the others get their turn.
constexpr int kPacketsPerTurn = 32;
// Clients whose mailboxes are looked at in turns.
constexpr size_t kMailboxes = 64;

/// The address of a path. Throws where it is none.
sockaddr_un CheckedAddress(Napi::Env env, const std::string& path) {
  sockaddr_un address;
  const int error = AddressOf(path, &address);
  if (error != 0) throw SystemError(env, -error, path.empty() ? "socket path" : path);
  return address;
}

Fd OpenSocket(Napi::Env env, int flags) {
  Fd fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0));
  if (!fd) throw SystemError(env, errno, "socket");
  return fd;
}

/// The bytes of a Uint8Array argument; nullptr and 0 when it is absent.
struct Bytes {
  uint8_t* data = nullptr;
  size_t size = 0;
  explicit Bytes(const Napi::Value& value) {
    if (!value.IsTypedArray()) return;
    Napi::Uint8Array array = value.As<Napi::Uint8Array>();
    data = array.Data();
    size = array.ByteLength();
  }
};

/// A Uint8Array that is never detached, and where it lies: to ask for that takes as long as to send a packet.
struct Buffer {
  uint8_t* data = nullptr;
  size_t size = 0;
  void Hold(const Napi::Value& value) {
    array_ = Napi::Persistent(value.As<Napi::Uint8Array>());
    data = array_.Value().Data();
    size = array_.Value().ByteLength();
  }

 private:
  Napi::Reference<Napi::Uint8Array> array_;
};

/// Takes the path for one server: an flock() on PATH.lock, which a dead server cannot hold.
Fd LockPath(Napi::Env env, const std::string& path) {
  const std::string name = path + ".lock";
  for (;;) {
    Fd fd(open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd) throw SystemError(env, errno, name);
    if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
      throw SystemError(env, errno == EWOULDBLOCK ? EADDRINUSE : errno, path);
    }
    // The one who held it may have removed the file between our open() and our flock().
    struct stat ours, named;
    if (fstat(fd.get(), &ours) == 0 && stat(name.c_str(), &named) == 0 && ours.st_ino == named.st_ino &&
        ours.st_dev == named.st_dev) {
      return fd;
    }
  }
}

/// The listening end.
///
///   new SeqpacketServer(path, mode, input, output, { accept(id, pid, uid, gid, netns), packet(id, length, flags),
///                       drained(id), closed(id) })
///
/// A packet lies in `input` when packet() is called; a length above input.length tells of one that was cut off. Flags:
/// kPosted, it came by the connection's mailbox; kPrivileged, its sender has CAP_NET_ADMIN (see privileged()); kTruncated,
/// descriptors that came with it were lost. What packet() returns is how much of `output` it is answered with; 0: nothing.
class SeqpacketServer : public Napi::ObjectWrap<SeqpacketServer> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "SeqpacketServer",
                       {
                           InstanceMethod("send", &SeqpacketServer::Send),
                           InstanceMethod("queued", &SeqpacketServer::Queued),
                           InstanceMethod("watchDrain", &SeqpacketServer::WatchDrain),
                           InstanceMethod("setSendBuffer", &SeqpacketServer::SetSendBuffer),
                           InstanceMethod("netns", &SeqpacketServer::Netns),
                           InstanceMethod("privileged", &SeqpacketServer::Privileged),
                           InstanceMethod("held", &SeqpacketServer::Held),
                           InstanceMethod("prompt", &SeqpacketServer::Prompt),
                           InstanceMethod("disconnect", &SeqpacketServer::Disconnect),
                           InstanceMethod("close", &SeqpacketServer::CloseMethod),
                       });
  }

  explicit SeqpacketServer(const Napi::CallbackInfo& info)
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
      Shut();
      throw;
    }
    Ref();
    held_ = true;
  }

  ~SeqpacketServer() override { Shut(); }

 private:
  static constexpr uint64_t kListener = ~uint64_t{0};

  struct Connection {
    Fd fd;
    Peer peer;
    bool greeted = false;
    /// SO_COOKIE of the client's end, by the descriptor that its hello brought; 0: it brought none.
    uint64_t cookie = 0;
    /// Whose records are privileged: who sent the hello of a peer that is.
    bool privileged = false;
    Sender trusted;
    uint32_t generation = 0;
    bool watching = false;
    /// Of a connection whose packets are waited for by the event loop itself.
    std::unique_ptr<Poller> poller;
    /// Where its client may post them, and whether it is told to.
    std::unique_ptr<Mailbox> mailbox;
    bool looked_at = false;
  };

  Napi::FunctionReference Handler(const char* name) {
    return Napi::Persistent(handlers_.Value().Get(name).As<Napi::Function>());
  }

  void Listen(Napi::Env env, uint32_t mode) {
    const sockaddr_un address = CheckedAddress(env, path_);
    lock_ = LockPath(env, path_);
    RemoveStale(env, address);
    listener_ = OpenSocket(env, SOCK_NONBLOCK);
    if (bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      throw SystemError(env, errno, path_);
    }
    bound_ = true;
    // Records that come before their connection is accepted name their sender, too.
    const int on = 1;
    if (setsockopt(listener_.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0) throw SystemError(env, errno, path_);
    // The mode last: who watches the directory for a server may connect then.
    if (listen(listener_.get(), kBacklog) != 0 || chmod(path_.c_str(), mode) != 0) throw SystemError(env, errno, path_);
    reserve_ = Fd(open("/dev/null", O_RDONLY | O_CLOEXEC));
    epoll_ = Fd(epoll_create1(EPOLL_CLOEXEC));
    if (!epoll_ || !Control(EPOLL_CTL_ADD, listener_.get(), EPOLLIN, kListener)) {
      throw SystemError(env, errno, "epoll");
    }
    int error = poller_.Open(env, epoll_.get(), [this] { Wake(); });
    if (error == 0) error = poller_.Start();
    if (error != 0) throw SystemError(env, -error, "poll");
    busy_.Open(env, [this] { Look(); }, [this] { StopLooking(); });
  }

  void RemoveStale(Napi::Env env, const sockaddr_un& address) {
    struct stat status;
    if (lstat(path_.c_str(), &status) != 0) return;
    if (!S_ISSOCK(status.st_mode)) throw SystemError(env, ENOTSOCK, path_);
    // Nobody holds the lock; still, a program that knows no lock may listen here.
    const Fd probe = OpenSocket(env, SOCK_NONBLOCK);
    if (Connect(probe.get(), address) != -ECONNREFUSED) throw SystemError(env, EADDRINUSE, path_);
    unlink(path_.c_str());
  }

  bool Control(int operation, int fd, uint32_t events, uint64_t data) {
    epoll_event event{};
    event.events = events;
    event.data.u64 = data;
    return epoll_ctl(epoll_.get(), operation, fd, &event) == 0;
  }

  uint64_t Tag(uint32_t id) const { return uint64_t{connections_[id].generation} << 32 | id; }

  Connection* Find(uint32_t id) {
    return id < connections_.size() && connections_[id].fd ? &connections_[id] : nullptr;
  }
  bool Alive(uint64_t tag) {
    const auto id = static_cast<uint32_t>(tag);
    return open_ && Find(id) != nullptr && Tag(id) == tag;
  }

  Napi::Value Call(Napi::FunctionReference& handler, const std::initializer_list<napi_value>& arguments) {
    const Napi::Env env = Env();
    try {
      return handler.MakeCallback(handlers_.Value(), arguments, context_);
    } catch (const Napi::Error& error) {
      // Nobody above us but the event loop: let Node treat it as any exception of a callback.
      napi_fatal_exception(env, error.Value());
      return env.Undefined();
    }
  }

  Napi::Value Id(uint32_t id) { return Napi::Number::New(Env(), id); }

  void Wake() {
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

  void Accept() {
    for (int i = 0; i < kPacketsPerTurn && open_; i++) {
      Fd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (!fd) {
        // Out of descriptors: the waiting connection must still go, or the listener would wake us for ever.
        if ((errno == EMFILE || errno == ENFILE) && reserve_) {
          reserve_.Reset();
          Fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)).Reset();
          reserve_ = Fd(open("/dev/null", O_RDONLY | O_CLOEXEC));
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
      connection.greeted = connection.privileged = false;
      connection.cookie = 0;
      connection.watching = false;
      connection.looked_at = false;
      if (!Control(EPOLL_CTL_ADD, connection.fd.get(), EPOLLIN | EPOLLRDHUP, Tag(id))) {
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

  /// Whether a record of a connection comes from somebody who may change things: the sender of its hello, who was privileged
  /// then, is the same process of the same user, and has CAP_NET_ADMIN still.
  static bool MayChange(const Connection& connection, const Sender& sender) {
    // A process outside our pid namespace has no number to ask by.
    return connection.privileged && sender == connection.trusted && (sender.pid == 0 || HasNetAdmin(sender.pid));
  }

  /// What a hello brings is taken before anybody reads the hello itself.
  void TakeHello(Connection& connection, size_t size, Arrival& arrival) {
    connection.greeted = true;
    connection.trusted = arrival.sender;
    if (size != HELLO_BYTES) return;
    uint32_t flags;
    memcpy(&flags, input_.data + offsetof(hello, flags), sizeof flags);
    Fd* next = arrival.descriptors;
    if ((flags & HELLO_PROOF) != 0) connection.peer.Prove(*next++);
    if ((flags & HELLO_SELF) != 0) connection.cookie = ChannelCookie(*next);
  }

  /// As a request tells it: the number + 1.
  static uint32_t Processor() { return static_cast<uint32_t>(sched_getcpu() + 1); }

  /// Whether a request tells that it was sent from another processor than the one we run on.
  static bool FromElsewhere(const uint8_t* request, ssize_t size) {
    uint32_t sender = 0;
    if (size >= REQUEST_BYTES) memcpy(&sender, request + offsetof(struct request, processor), sizeof sender);
    return sender != 0 && sender != Processor();
  }

  void Take(uint32_t id, size_t size, uint32_t flags) {
    const uint64_t tag = Tag(id);
    const Napi::Value answer = Call(
        packet_, {Id(id), Napi::Number::New(Env(), static_cast<double>(size)), Napi::Number::New(Env(), flags)});
    const uint32_t length = answer.IsNumber() ? answer.As<Napi::Number>().Uint32Value() : 0;
    if (length == 0 || !Alive(tag)) return;
    // One request, one answer: who lets answers pile up is not speaking this protocol.
    if (SendTo(connections_[id], std::min<size_t>(length, output_.size)) != 0) Hang(id);
  }

  void Hang(uint32_t id) {
    Drop(id);
    Call(closed_, {Id(id)});
  }

  /// A packet of a prompt() connection. The next one may be looked for.
  void TakePrompt(uint64_t tag, size_t size, uint32_t flags) {
    const auto id = static_cast<uint32_t>(tag);
    const bool elsewhere = FromElsewhere(input_.data, static_cast<ssize_t>(size));
    busy_.Begin();
    Take(id, size, flags);
    if (!open_ || !busy_.End(elsewhere) || !Alive(tag)) return;
    Connection& connection = connections_[id];
    if (!connection.mailbox || connection.looked_at || looked_at_.size() == kMailboxes) return;
    if (looked_at_.empty()) looking_from_ = Processor();
    connection.looked_at = true;
    connection.mailbox->Look(looking_from_);
    looked_at_.push_back(tag);
  }

  void Look() {
    const uint32_t here = Processor();
    const bool moved = std::exchange(looking_from_, here) != here;
    for (size_t i = 0; i < looked_at_.size();) {
      const uint64_t tag = looked_at_[i];
      if (!Alive(tag)) {
        looked_at_[i] = looked_at_.back();
        looked_at_.pop_back();
        continue;
      }
      if (moved) connections_[static_cast<uint32_t>(tag)].mailbox->Look(here);
      LookInto(tag);
      if (!open_) return;
      i++;
    }
  }

  void StopLooking() {
    std::vector<uint64_t> last;
    last.swap(looked_at_);
    for (const uint64_t tag : last) {
      if (!Alive(tag)) continue;
      Connection& connection = connections_[static_cast<uint32_t>(tag)];
      connection.looked_at = false;
      connection.mailbox->Look(0);
    }
    // What was posted just before stays ours unless the client withdraws it.
    for (const uint64_t tag : last) {
      if (Alive(tag)) LookInto(tag);
    }
  }

  void LookInto(uint64_t tag) {
    Connection& connection = connections_[static_cast<uint32_t>(tag)];
    const size_t size = connection.mailbox->Take(input_.data, input_.size);
    if (size == 0) return;
    const Napi::HandleScope scope(Env());
    // The memory is its process's own: no child inherits it.
    TakePrompt(tag, size, kPosted | (MayChange(connection, connection.trusted) ? kPrivileged : 0));
  }

  void Read(uint32_t id, uint64_t tag) {
    const bool prompt = connections_[id].poller != nullptr;
    for (int i = 0; i < kPacketsPerTurn; i++) {
      const Napi::HandleScope scope(Env());
      Connection& connection = connections_[id];
      Arrival arrival;
      const ssize_t received = ReceiveRecordFrom(connection.fd.get(), input_.data, input_.size, &arrival);
      if (received == -EAGAIN) return;
      if (received <= 0) {
        Hang(id);
        return;
      }
      const auto size = static_cast<size_t>(received);
      if (!connection.greeted) TakeHello(connection, size, arrival);
      held_cookie_ = ChannelCookie(arrival.descriptors[0]);
      const uint32_t flags =
          (MayChange(connection, arrival.sender) ? kPrivileged : 0) | (arrival.truncated ? kTruncated : 0);
      prompt ? TakePrompt(tag, size, flags) : Take(id, size, flags);
      // A request at a time: the next one cannot be there yet, and to look for it would cost as much as to wait. The same
      // where a hello has just made it so: what follows is its poller's.
      if (!Alive(tag) || connections_[id].poller) return;
    }
    // More may wait. Edge-triggered events do not repeat: ask anew.
    if (connections_[id].watching) Arm(id);
  }

  /// unix sockets wake their writer for every packet that is read once three quarters are free: each is an edge.
  bool Arm(uint32_t id) {
    return Control(EPOLL_CTL_MOD, connections_[id].fd.get(), EPOLLIN | EPOLLRDHUP | EPOLLOUT | EPOLLET, Tag(id));
  }

  void CheckDrained(uint32_t id) {
    int queued = 0;
    ioctl(connections_[id].fd.get(), SIOCOUTQ, &queued);
    if (queued >= kNothing) return;
    connections_[id].watching = false;
    Control(EPOLL_CTL_MOD, connections_[id].fd.get(), EPOLLIN | EPOLLRDHUP, Tag(id));
    Call(drained_, {Id(id)});
  }

  void Drop(uint32_t id) {
    connections_[id].poller.reset();
    connections_[id].mailbox.reset();
    connections_[id].fd.Reset();
    free_.push_back(id);
  }

  void Shut() {
    if (!open_) return;
    open_ = false;
    poller_.Close();
    busy_.Close();
    for (Connection& connection : connections_) {
      connection.poller.reset();
      connection.mailbox.reset();
      connection.fd.Reset();
    }
    listener_.Reset();
    epoll_.Reset();
    reserve_.Reset();
    if (bound_) unlink(path_.c_str());
    if (lock_) unlink((path_ + ".lock").c_str());
    lock_.Reset();
  }

  uint32_t Argument(const Napi::CallbackInfo& info, size_t index) const {
    return info[index].As<Napi::Number>().Uint32Value();
  }

  /// send(id, length): sends the beginning of `output`. 0 or a negative errno; -EAGAIN when the reader's queue is full.
  Napi::Value Send(const Napi::CallbackInfo& info) {
    const Connection* connection = Find(Argument(info, 0));
    const size_t size = std::min<size_t>(Argument(info, 1), output_.size);
    return Napi::Number::New(info.Env(), connection == nullptr ? -EBADF : SendTo(*connection, size));
  }

  int SendTo(const Connection& connection, size_t size) {
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

  /// queued(id): bytes that the reader has not taken, counted as the send buffer is (with the kernel's overhead).
  Napi::Value Queued(const Napi::CallbackInfo& info) {
    const Connection* connection = Find(Argument(info, 0));
    int queued = 0;
    if (connection != nullptr) ioctl(connection->fd.get(), SIOCOUTQ, &queued);
    return Napi::Number::New(info.Env(), queued);
  }

  /// watchDrain(id): drained(id) will be called once the reader has taken everything.
  Napi::Value WatchDrain(const Napi::CallbackInfo& info) {
    const uint32_t id = Argument(info, 0);
    Connection* connection = Find(id);
    if (connection != nullptr && !connection->watching) {
      connection->watching = true;
      Arm(id);
    }
    return info.Env().Undefined();
  }

  /// setSendBuffer(id, bytes, force): the size that the kernel made of it (twice as much, within its limits).
  Napi::Value SetSendBuffer(const Napi::CallbackInfo& info) {
    const Connection* connection = Find(Argument(info, 0));
    int bytes = info[1].As<Napi::Number>().Int32Value();
    int result = 0;
    if (connection != nullptr) {
      const int fd = connection->fd.get();
      const bool force = info[2].ToBoolean();
      if (!force || setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) != 0) {
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
      }
      socklen_t size = sizeof result;
      getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &result, &size);
    }
    return Napi::Number::New(info.Env(), result);
  }

  /// netns(id): a descriptor of the namespace that the connection was made in, for the caller to close, or a negative errno.
  Napi::Value Netns(const Napi::CallbackInfo& info) {
    const Connection* connection = Find(Argument(info, 0));
    const int fd = connection == nullptr ? -1 : ioctl(connection->fd.get(), SIOCGSKNS);
    return Napi::Number::New(info.Env(), fd >= 0 ? fd : connection == nullptr ? -EBADF : -errno);
  }

  /// privileged(id, own): whether the peer had CAP_NET_ADMIN when it connected: over its own network namespace, or over the
  /// one that the server was made in. If so, its records are privileged from now on.
  Napi::Value Privileged(const Napi::CallbackInfo& info) {
    Connection* connection = Find(Argument(info, 0));
    if (connection == nullptr) return Napi::Boolean::New(info.Env(), false);
    const bool own = info[1].ToBoolean();
    const ino_t owner = own ? OwnerOf(NetnsOfSocket(connection->fd.get())) : home_owner_;
    connection->privileged = connection->peer.IsPrivilegedIn(owner);
    return Napi::Boolean::New(info.Env(), connection->privileged);
  }

  /// held(): id of the connection whose client's end came with the packet that is being taken; -1: none did, or it is unknown.
  Napi::Value Held(const Napi::CallbackInfo& info) {
    for (uint32_t id = 0; held_cookie_ != 0 && id < connections_.size(); id++) {
      if (connections_[id].fd && connections_[id].cookie == held_cookie_) return Id(id);
    }
    return Napi::Number::New(info.Env(), -1);
  }

  /// prompt(id, mailbox): packets of this connection come one at a time, and somebody waits for what they bring about. The
  /// event loop waits for them without our epoll instance in between: the kernel then runs us where the sender ran.
  /// `mailbox`: the client may post them too; the next packet that it is sent brings it the means.
  Napi::Value Prompt(const Napi::CallbackInfo& info) {
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
    epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, connection->fd.get(), nullptr);
    connection->poller = std::move(poller);
    error = connection->poller->Start();
    if (error != 0) {
      connection->poller.reset();
      Control(EPOLL_CTL_ADD, connection->fd.get(), EPOLLIN | EPOLLRDHUP, tag);
    } else if (info[1].ToBoolean()) {
      connection->mailbox = Mailbox::Make();
    }
    return info.Env().Undefined();
  }

  /// disconnect(id): closed() is not called.
  Napi::Value Disconnect(const Napi::CallbackInfo& info) {
    const uint32_t id = Argument(info, 0);
    if (Find(id) != nullptr) Drop(id);
    return info.Env().Undefined();
  }

  Napi::Value CloseMethod(const Napi::CallbackInfo& info) {
    Shut();
    if (std::exchange(held_, false)) Unref();
    return info.Env().Undefined();
  }

  std::string path_;
  Buffer input_, output_;
  Napi::ObjectReference handlers_;
  Napi::FunctionReference accept_, packet_, drained_, closed_;
  Napi::AsyncContext context_;
  Fd lock_, listener_, epoll_, reserve_;
  bool bound_ = false;
  bool open_ = true;
  bool held_ = false;
  std::vector<Connection> connections_;
  std::vector<uint32_t> free_;
  Poller poller_;
  BusyPoll busy_;
  /// Tags of connections whose mailboxes are looked at, and the processor that their clients were told.
  std::vector<uint64_t> looked_at_;
  uint32_t looking_from_ = 0;
  /// Of the first descriptor that the packet being taken brought.
  uint64_t held_cookie_ = 0;
  /// Inode of the user namespace that owns our network namespace.
  const ino_t home_owner_ = OwnerOf(Fd(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)));
};

/// The connecting end: `new SeqpacketClient(path)`.
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

  /// hello(record, answer, timeoutMs): the same, and the record brings proof of what we may do (its flag
  /// HELLO_PROOF is set here where there is one).
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
      setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
      setsockopt(fd_.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
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
