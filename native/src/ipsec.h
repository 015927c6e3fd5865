// IPsec between tunnels and the wire: its policies, and how packets of raw sockets get under them.
#pragma once

// Before linux/xfrm.h: the other way round they clash.
#include <netinet/in.h>

#include <linux/xfrm.h>

#include <cstdint>
#include <vector>

#include "rtnl.h"
#include "sys.h"

namespace nokmod {

// The outbound IPsec policies of a network namespace, in which the thread must be when this is made.
//
// The kernel looks a raw socket's packet up with neither ports nor protocol, so that a policy for UDP port 4789, say, never
// meets it. Where there are policies, packets are therefore sent with another mark than theirs and a priority that nobody
// else has; a chain on netfilter's output hook knows them by that and gives them their own mark back. A changed mark makes
// the kernel route the packet again, and look for policies with what stands in it. The chain is in a table that goes away
// with this process.
class Ipsec {
 public:
  explicit Ipsec(const HomeNamespace& home);
  // The mark to send with so that the chain gives back `mark`.
  static constexpr uint32_t Disguise(uint32_t mark) { return mark ^ 0x80000000u; }
  // The priority to send with.
  uint32_t priority() const { return token_; }
  // Whether packets must be sent so. Up to date: a policy that was added before the call counts. One system call, none
  // where the kernel has no IPsec. Throws when the chain could not be made for now (ENOMEM, EMFILE, …): to send without it
  // would evade the policies.
  bool active();
  // Whether a policy may be for packets of that route: then those must not be sent in fragments, which have no ports. Throws
  // as active() does.
  bool Covers(const RouteQuery& query, const Route& route);
  // Path MTU for packets of that route, less by what IPsec puts into them. Throws EPERM (a policy forbids them), ….
  static uint32_t PathMtu(const RouteQuery& query, const Route& route);

 private:
  bool Changed();
  void Read();

  const HomeNamespace& home_;
  Fd questions_;
  Fd changes_;  // hears of policies; none: the kernel has no IPsec, or we no right to know
  Fd chain_;
  std::vector<xfrm_selector> policies_;  // those that do something to packets
  uint32_t token_ = 0;
};

}  // namespace nokmod
