// The listening end of the transport (docs/transport.md): JavaScript class SeqpacketServer, whose only user is src/server.
#pragma once

#include <fcntl.h>
#include <napi.h>
#include <sched.h>

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "busy_poll.h"
#include "byte_view.h"
#include "mailbox.h"
#include "peer.h"
#include "poller.h"
#include "record.h"
#include "sys.h"

///   new SeqpacketServer(path, mode, input, output, { accept(id, pid, uid, gid, netns), packet(id, length, flags),
///                       drained(id), closed(id) })
///
/// A record lies in `input` when packet() is called; a length above input.length means that it was cut off. Flags are kPosted,
/// kTrusted and kTruncated of record.h. packet() returns the length of the answer in `output`; 0: there is none. Ids of closed
/// connections are given again; `Tag` is an id with the number of its use.
class SeqpacketServer : public Napi::ObjectWrap<SeqpacketServer> {
 public:
  static Napi::Function Define(Napi::Env env);

  explicit SeqpacketServer(const Napi::CallbackInfo& info);
  ~SeqpacketServer() override { Close(); }

 private:
  static constexpr uint64_t kListener = ~uint64_t{0};

  struct Connection {
    nokmod::Fd fd;
    Peer peer;
    bool hello_received = false;
    /// SO_COOKIE of the client's end, from the descriptor that its hello brought; 0: it brought none.
    uint64_t cookie = 0;
    /// The peer had CAP_NET_ADMIN when it connected; and the sender of its hello, whose records are privileged then.
    bool privileged = false;
    Sender trusted;
    uint32_t generation = 0;
    /// drained() is to be called.
    bool watching = false;
    /// No records are taken: it is not in the epoll instance.
    bool paused = false;
    /// Of a connection that prompt() was called for: it is not in the epoll instance.
    std::unique_ptr<Poller> poller;
    /// Where its client may post requests, and whether it is polled now.
    std::unique_ptr<Mailbox> mailbox;
    bool polled = false;
  };

  // seqpacket_server.cc
  Napi::FunctionReference Handler(const char* name);
  void Listen(Napi::Env env, uint32_t mode);
  /// Removes the socket of a server that has died. Throws EADDRINUSE when one listens, ENOTSOCK when it is another file.
  void RemoveStale(Napi::Env env, const sockaddr_un& address);
  /// epoll_ctl(): false with errno set.
  bool Control(int operation, int fd, uint32_t events, uint64_t data);

  uint64_t Tag(uint32_t id) const { return uint64_t{connections_[id].generation} << 32 | id; }

  Connection* Find(uint32_t id);
  /// The connection of that tag is open, and the id has not been given to another.
  bool Alive(uint64_t tag);
  /// Calls a handler; an exception becomes an uncaught one.
  Napi::Value Call(Napi::FunctionReference& handler, const std::initializer_list<napi_value>& arguments);

  Napi::Value Id(uint32_t id) { return Napi::Number::New(Env(), id); }

  void Wake();
  void Accept();
  /// Takes proof and client's end of a hello that lies in the input.
  void TakeHello(Connection& connection, size_t size, Arrival& arrival);

  /// Number + 1 of the processor that this thread runs on.
  static uint32_t Processor() { return static_cast<uint32_t>(sched_getcpu() + 1); }

  /// A request names another processor as its sender's than the one this thread runs on.
  static bool FromOtherProcessor(const uint8_t* request, ssize_t size);

  /// Calls packet() and sends the answer.
  void Dispatch(uint32_t id, size_t size, uint32_t flags);

  /// Closes a connection and calls closed().
  void HangUp(uint32_t id);

  // seqpacket_mailboxes.cc
  /// Dispatch() for a connection that prompt() was called for. Its mailbox is polled from now on, while the event loop polls.
  void DispatchPrompt(uint64_t tag, size_t size, uint32_t flags);

  void PollMailboxes();
  void StopPolling();
  void PollMailbox(uint64_t tag);

  /// Takes up to kRecordsPerTurn records of a connection.
  void Read(uint32_t id, uint64_t tag);

  /// Adds the connection to the epoll instance, or changes what is waited for.
  bool Watch(uint32_t id, int operation);

  /// Waits for the send buffer to drain, edge-triggered: once three quarters are free, every record that is read is an edge.
  bool Arm(uint32_t id);

  void CheckDrained(uint32_t id);
  /// Closes a connection; its id is free.
  void Drop(uint32_t id);
  void Close();

  // seqpacket_methods.cc
  uint32_t Argument(const Napi::CallbackInfo& info, size_t index) const;

  /// send(id, length): sends the beginning of `output`. 0 or a negative errno; -EAGAIN when the reader's queue is full.
  Napi::Value Send(const Napi::CallbackInfo& info);

  int SendTo(const Connection& connection, size_t size);

  /// queued(id): bytes that the client has not read, with the kernel's overhead (SIOCOUTQ).
  Napi::Value Queued(const Napi::CallbackInfo& info);

  /// watchDrain(id): drained(id) is called once the client has read everything.
  Napi::Value WatchDrain(const Napi::CallbackInfo& info);

  /// setSendBuffer(id, bytes, force): SO_SNDBUF or SO_SNDBUFFORCE. Returns the size that the kernel made of it (twice as much,
  /// within its limits).
  Napi::Value SetSendBuffer(const Napi::CallbackInfo& info);

  /// netns(id): a descriptor of the namespace that the connection was made in, for the caller to close, or a negative errno.
  Napi::Value Netns(const Napi::CallbackInfo& info);

  /// privileged(id, own): whether the peer had CAP_NET_ADMIN when it connected: over its own network namespace, or over the
  /// one that the server was made in. If so, its records are privileged from now on.
  Napi::Value Privileged(const Napi::CallbackInfo& info);

  /// senderPrivileged(): within packet(), for a record with kTrusted, whether its sender has CAP_NET_ADMIN now.
  Napi::Value SenderPrivileged(const Napi::CallbackInfo& info);

  /// held(): within packet(), id of the connection whose client's end came with the record; -1: none did, or it is unknown.
  Napi::Value Held(const Napi::CallbackInfo& info);

  /// prompt(id, mailbox): requests of this connection come one at a time, and their sender waits for the answer. They are
  /// waited for by a poll handle without the epoll instance in between: the kernel then wakes this thread on the sender's
  /// processor. `mailbox`: the client may post them too; the next answer brings it the memory.
  Napi::Value Prompt(const Napi::CallbackInfo& info);

  /// pause(id, paused): takes no records of a connection that prompt() was not called for, or takes them again.
  Napi::Value Pause(const Napi::CallbackInfo& info);

  /// disconnect(id): closed() is not called.
  Napi::Value Disconnect(const Napi::CallbackInfo& info);

  Napi::Value CloseMethod(const Napi::CallbackInfo& info);

  std::string path_;
  Buffer input_, output_;
  Napi::ObjectReference handlers_;
  Napi::FunctionReference accept_, packet_, drained_, closed_;
  Napi::AsyncContext context_;
  nokmod::Fd lock_, listener_, epoll_, spare_;
  bool bound_ = false;
  bool open_ = true;
  bool ref_held_ = false;
  std::vector<Connection> connections_;
  std::vector<uint32_t> free_;
  Poller poller_;
  BusyPoll busy_;
  /// Tags of connections whose mailboxes are polled, and the processor that was announced in them.
  std::vector<uint64_t> polled_;
  uint32_t polling_from_ = 0;
  /// Of the record at hand.
  Sender sender_;
  /// ChannelCookie() of the first descriptor that came with the record at hand.
  uint64_t passed_cookie_ = 0;
  /// Inode of the user namespace that owns our network namespace.
  const ino_t home_user_namespace_ = OwnerOf(nokmod::Fd(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)));
};
