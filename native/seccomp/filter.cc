#include "filter.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace nokmod {
namespace {

#if defined(__x86_64__)
constexpr uint32_t kArch = AUDIT_ARCH_X86_64;
constexpr uint32_t kOtherArch = AUDIT_ARCH_I386;
constexpr int kOtherSocket = 359, kOtherSocketcall = 102;
constexpr int kX32 = 0x40000000;
#elif defined(__aarch64__)
constexpr uint32_t kArch = AUDIT_ARCH_AARCH64;
constexpr uint32_t kOtherArch = AUDIT_ARCH_ARM;
constexpr int kOtherSocket = 281, kOtherSocketcall = 102;
#endif

/// socketcall(): its first argument for socket().
constexpr uint32_t kSocketcallSocket = 1;

// Calls whose first argument is a descriptor and that must not reach a data channel as they are. dup2 and dup3 do as they
// are told; accept, which a netlink socket does not know, is not worth a stop.
constexpr int kDescriptorCalls[] = {
    SYS_bind,     SYS_connect,  SYS_listen, SYS_shutdown, SYS_getsockname, SYS_getpeername, SYS_setsockopt,
    SYS_getsockopt, SYS_sendto, SYS_sendmsg, SYS_sendmmsg, SYS_recvfrom,   SYS_recvmsg,     SYS_recvmmsg,
    SYS_read,     SYS_readv,    SYS_write,  SYS_writev,   SYS_dup,
};

constexpr uint32_t Argument(unsigned index) {
  return offsetof(seccomp_data, args) + index * sizeof(uint64_t);  // The low half: little-endian machines only.
}

class Program {
 public:
  void Load(uint32_t offset) { Add(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset)); }
  void Return(uint32_t action) { Add(BPF_STMT(BPF_RET | BPF_K, action)); }
  void ReturnIf(uint16_t test, uint32_t value, uint32_t action) {
    Add(BPF_JUMP(BPF_JMP | test | BPF_K, value, 0, 1));
    Return(action);
  }
  void ReturnUnless(uint16_t test, uint32_t value, uint32_t action) {
    Add(BPF_JUMP(BPF_JMP | test | BPF_K, value, 1, 0));
    Return(action);
  }
  /// Runs what `block` adds if the accumulator equals one of the values.
  template <typename Values, typename Block>
  void IfAnyOf(const Values& values, Block block) {
    Program inner;
    block(inner);
    size_t left = std::size(values);
    for (const auto value : values) {
      left--;
      // The last test leaps over the block when it fails.
      const auto miss = left == 0 ? static_cast<uint8_t>(inner.code_.size()) : uint8_t{0};
      Add(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(value), static_cast<uint8_t>(left), miss));
    }
    code_.insert(code_.end(), inner.code_.begin(), inner.code_.end());
  }
  sock_fprog Get() { return {static_cast<unsigned short>(code_.size()), code_.data()}; }

 private:
  void Add(sock_filter instruction) { code_.push_back(instruction); }
  std::vector<sock_filter> code_;
};

constexpr uint32_t kAllow = SECCOMP_RET_ALLOW, kNotify = SECCOMP_RET_USER_NOTIF;

void NotifyNetlink(Program& program) {
  program.Load(Argument(0));
  program.ReturnUnless(BPF_JEQ, AF_NETLINK, kAllow);
  program.Load(Argument(2));
  program.ReturnIf(BPF_JEQ, NETLINK_ROUTE, kNotify);
  program.ReturnIf(BPF_JEQ, NETLINK_GENERIC, kNotify);
  program.ReturnIf(BPF_JEQ, NETLINK_NETFILTER, kNotify);
  program.Return(kAllow);
}

Program Build(uint32_t base) {
  Program program;
  program.Load(offsetof(seccomp_data, arch));
  const uint32_t other[] = {kOtherArch};
  program.IfAnyOf(other, [](Program& block) {
    block.Load(offsetof(seccomp_data, nr));
    const int socket[] = {kOtherSocket};
    block.IfAnyOf(socket, NotifyNetlink);
    block.ReturnUnless(BPF_JEQ, kOtherSocketcall, kAllow);
    block.Load(Argument(0));
    block.ReturnIf(BPF_JEQ, kSocketcallSocket, kNotify);
    block.Return(kAllow);
  });
  program.ReturnUnless(BPF_JEQ, kArch, kAllow);
  program.Load(offsetof(seccomp_data, nr));
#if defined(__x86_64__)
  const int sockets[] = {SYS_socket, kX32 | SYS_socket};
#else
  const int sockets[] = {SYS_socket};
#endif
  program.IfAnyOf(sockets, NotifyNetlink);
  program.IfAnyOf(kDescriptorCalls, [base](Program& block) {
    block.Load(Argument(0));
    block.ReturnIf(BPF_JGT, 0x7fffffff, kAllow);
    block.ReturnIf(BPF_JGE, base, kNotify);
    block.Return(kAllow);
  });
  // A copy whose number would be below the base must be put above it.
  program.ReturnUnless(BPF_JEQ, SYS_fcntl, kAllow);
  program.Load(Argument(0));
  program.ReturnIf(BPF_JGT, 0x7fffffff, kAllow);
  program.ReturnUnless(BPF_JGE, base, kAllow);
  program.Load(Argument(2));
  program.ReturnIf(BPF_JGE, base, kAllow);
  program.Load(Argument(1));
  program.ReturnIf(BPF_JEQ, F_DUPFD, kNotify);
  program.ReturnIf(BPF_JEQ, F_DUPFD_CLOEXEC, kNotify);
  program.Return(kAllow);
  return program;
}

}  // namespace

int InstallFilter(int base) {
  Program program = Build(static_cast<uint32_t>(base));
  sock_fprog code = program.Get();
  // Once a call has been taken up, only the program's end interrupts it: what was done for it cannot be undone.
  constexpr unsigned long kFlags = SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
  long listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, kFlags, &code);
  if (listener < 0 && errno == EACCES) {
    // Without CAP_SYS_ADMIN only for a program that will gain no privilege by exec.
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -errno;
    listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, kFlags, &code);
  }
  return listener < 0 ? -errno : static_cast<int>(listener);
}

bool IsForeignSocketCall(unsigned arch, int number) {
#if defined(__x86_64__)
  if (number == (kX32 | SYS_socket)) return true;
#endif
  return arch == kOtherArch;
}

}  // namespace nokmod
