#include "owner.h"

#include <linux/bpf.h>
#include <netinet/in.h>

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include <cstring>

#include "nftables.h"

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

// A table of the netdev family that goes away with its socket, and in it one base chain on the device's ingress hook with
// policy drop. Looped-back multicast cannot be told apart here (nftables' pkttype names what the frame would be), so it is
// dropped too: the one difference from the tcx program.
Fd AttachNftables(int32_t ifindex, const std::string& device) {
  const std::string table = "nokmod-" + std::to_string(ifindex);
  NftTransaction nft;
  nft.OwnedTable(NFPROTO_NETDEV, table);
  nft.BaseChain(NFPROTO_NETDEV, table, {"ingress", "filter", NF_NETDEV_INGRESS, 0, device, NF_DROP});
  try {
    return nft.Commit();
  } catch (const std::system_error& error) {
    if (error.code().value() == EEXIST) Throw(EBUSY, "the device has an owner");
    throw;
  }
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
