#include "owner.h"

#include <arpa/inet.h>
#include <linux/bpf.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include <cstring>
#include <vector>

namespace nokmod {

namespace {

// linux/bpf.h of Linux 6.6; older headers lack them.
constexpr uint32_t kBpfTcxIngress = 46;
constexpr int32_t kTcxNext = -1;
constexpr int32_t kTcxDrop = 2;
// linux/if_packet.h PACKET_LOOPBACK: what the stack loops back to itself, which a port leaves alone.
constexpr int32_t kPacketLoopback = 5;

// ---- the name ------------------------------------------------------------------------------------------------------

// Abstract names belong to the network namespace, as ifindexes do. Any user may bind one, so a name counts only if root
// or this user holds it.
Fd TakeName(int32_t ifindex) {
  sockaddr_un addr{};
  addr.sun_family = AF_UNIX;
  const int n = snprintf(addr.sun_path + 1, sizeof addr.sun_path - 1, "nokmod/port/%d", ifindex);
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + static_cast<size_t>(n));
  Fd fd(Check(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "socket"));
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&addr), length) == 0) {
    Check(listen(fd.get(), 1), "listen");
    return fd;
  }
  if (errno != EADDRINUSE) Throw(errno, "bind");
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&addr), length) < 0 && errno != EAGAIN) return Fd();
  ucred peer{};
  socklen_t size = sizeof peer;
  if (getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) Throw(errno, "SO_PEERCRED");
  if (peer.uid == 0 || peer.uid == geteuid()) Throw(EBUSY, "the device has an owner");
  return Fd();
}

// ---- tcx -----------------------------------------------------------------------------------------------------------

int Bpf(int command, void* attr, size_t size) { return static_cast<int>(syscall(SYS_bpf, command, attr, size)); }

// Returns no descriptor where the kernel has no tcx or does not let us.
Fd AttachTcx(int32_t ifindex) {
  const bpf_insn program[] = {
      {BPF_LDX | BPF_MEM | BPF_W, BPF_REG_0, BPF_REG_1, offsetof(__sk_buff, pkt_type), 0},
      {BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_0, 0, 2, kPacketLoopback},
      {BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, kTcxDrop},
      {BPF_JMP | BPF_EXIT, 0, 0, 0, 0},
      {BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, kTcxNext},
      {BPF_JMP | BPF_EXIT, 0, 0, 0, 0},
  };
  bpf_attr load{};
  load.prog_type = BPF_PROG_TYPE_SCHED_CLS;
  load.insns = reinterpret_cast<uint64_t>(program);
  load.insn_cnt = sizeof program / sizeof *program;
  load.license = reinterpret_cast<uint64_t>("Apache-2.0");
  load.expected_attach_type = static_cast<bpf_attach_type>(kBpfTcxIngress);
  memcpy(load.prog_name, "nokmod_port", sizeof "nokmod_port");
  Fd prog(Bpf(BPF_PROG_LOAD, &load, sizeof load));
  if (!prog) return Fd();

  bpf_attr link{};
  link.link_create.prog_fd = static_cast<uint32_t>(prog.get());
  link.link_create.target_ifindex = static_cast<uint32_t>(ifindex);
  link.link_create.attach_type = kBpfTcxIngress;
  return Fd(Bpf(BPF_LINK_CREATE, &link, sizeof link));
}

// ---- nftables ------------------------------------------------------------------------------------------------------

// One nfnetlink batch. Lengths are set when a message or nest ends.
class Batch {
 public:
  void Begin(uint16_t type, uint16_t flags, uint8_t family, uint16_t resource = 0) {
    message_ = bytes_.size();
    nlmsghdr nlh{};
    nlh.nlmsg_type = type;
    nlh.nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
    nlh.nlmsg_seq = ++seq_;
    Append(&nlh, sizeof nlh);
    const nfgenmsg header{family, NFNETLINK_V0, htons(resource)};
    Append(&header, sizeof header);
  }
  void End() {
    const auto length = static_cast<uint32_t>(bytes_.size() - message_);
    memcpy(&bytes_[message_], &length, sizeof length);
  }
  void Put(uint16_t type, const void* data, size_t length) {
    const nlattr a{static_cast<uint16_t>(sizeof(nlattr) + length), type};
    Append(&a, sizeof a);
    Append(data, length);
  }
  void PutString(uint16_t type, const std::string& text) { Put(type, text.c_str(), text.size() + 1); }
  void PutU32(uint16_t type, uint32_t value) {
    value = htonl(value);
    Put(type, &value, sizeof value);
  }
  size_t Nest(uint16_t type) {
    const size_t at = bytes_.size();
    Put(static_cast<uint16_t>(type | NLA_F_NESTED), nullptr, 0);
    return at;
  }
  void EndNest(size_t at) {
    const auto length = static_cast<uint16_t>(bytes_.size() - at);
    memcpy(&bytes_[at], &length, sizeof length);
  }
  const std::vector<uint8_t>& bytes() const { return bytes_; }

 private:
  void Append(const void* data, size_t length) {
    const auto* p = static_cast<const uint8_t*>(data);
    if (length > 0) bytes_.insert(bytes_.end(), p, p + length);
    bytes_.resize((bytes_.size() + 3) & ~size_t{3});
  }
  std::vector<uint8_t> bytes_;
  size_t message_ = 0;
  uint32_t seq_ = 0;
};

constexpr uint16_t Nft(int message) { return static_cast<uint16_t>(NFNL_SUBSYS_NFTABLES << 8 | message); }

// A table of the netdev family that goes away with its socket, and in it one base chain on the device's ingress hook with
// policy drop. Looped-back multicast cannot be told apart here (nftables' pkttype names what the frame would be), so it is
// dropped too: the one difference from the tcx program.
Fd AttachNftables(int32_t ifindex, const std::string& device) {
  Fd fd(Check(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER), "socket"));
  sockaddr_nl addr{};
  addr.nl_family = AF_NETLINK;
  Check(bind(fd.get(), reinterpret_cast<sockaddr*>(&addr), sizeof addr), "bind");

  const std::string table = "nokmod-" + std::to_string(ifindex);
  Batch batch;
  batch.Begin(NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
  batch.End();
  batch.Begin(Nft(NFT_MSG_NEWTABLE), NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, NFPROTO_NETDEV);
  batch.PutString(NFTA_TABLE_NAME, table);
  batch.PutU32(NFTA_TABLE_FLAGS, NFT_TABLE_F_OWNER);
  batch.End();
  batch.Begin(Nft(NFT_MSG_NEWCHAIN), NLM_F_CREATE | NLM_F_ACK, NFPROTO_NETDEV);
  batch.PutString(NFTA_CHAIN_TABLE, table);
  batch.PutString(NFTA_CHAIN_NAME, "ingress");
  const size_t hook = batch.Nest(NFTA_CHAIN_HOOK);
  batch.PutU32(NFTA_HOOK_HOOKNUM, NF_NETDEV_INGRESS);
  batch.PutU32(NFTA_HOOK_PRIORITY, 0);
  batch.PutString(NFTA_HOOK_DEV, device);
  batch.EndNest(hook);
  batch.PutU32(NFTA_CHAIN_POLICY, NF_DROP);
  batch.PutString(NFTA_CHAIN_TYPE, "filter");
  batch.End();
  batch.Begin(NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
  batch.End();
  Check(send(fd.get(), batch.bytes().data(), batch.bytes().size(), 0), "nftables send");

  // Two messages asked for an acknowledgement.
  alignas(8) uint8_t buffer[8192];
  for (int answers = 0; answers < 2;) {
    const ssize_t n = recv(fd.get(), buffer, sizeof buffer, 0);
    if (n < 0 && errno == EINTR) continue;
    Check(n, "nftables receive");
    auto left = static_cast<uint32_t>(n);
    for (const auto* nlh = reinterpret_cast<const nlmsghdr*>(buffer); NLMSG_OK(nlh, left); nlh = NLMSG_NEXT(nlh, left)) {
      if (nlh->nlmsg_type != NLMSG_ERROR) continue;
      const int error = -static_cast<const nlmsgerr*>(NLMSG_DATA(nlh))->error;
      if (error != 0) Throw(error == EEXIST ? EBUSY : error, "nftables");
      answers++;
    }
  }
  return fd;
}

}  // namespace

IngressOwner::IngressOwner(int32_t ifindex, const std::string& device)
    : ifindex_(ifindex), name_(TakeName(ifindex)), method_(Method::kTcx) {
  hook_ = AttachTcx(ifindex);
  if (hook_) return;
  method_ = Method::kNftables;
  hook_ = AttachNftables(ifindex, device);
}

void IngressOwner::Renamed(const std::string& device) {
  if (method_ != Method::kNftables) return;
  hook_.Reset();
  hook_ = AttachNftables(ifindex_, device);
}

}  // namespace nokmod
