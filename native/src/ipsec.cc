#include "ipsec.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <climits>
#include <cstring>
#include <string>

#include "nftables.h"

namespace nokmod {

namespace {

template <typename Body>
void Expression(NftTransaction& nft, const char* name, Body body) {
  const size_t element = nft.Nest(NFTA_LIST_ELEM);
  nft.PutString(NFTA_EXPR_NAME, name);
  const size_t data = nft.Nest(NFTA_EXPR_DATA);
  body();
  nft.EndNest(data);
  nft.EndNest(element);
}

// Data of a register: 32 bits in the machine's byte order.
void Value(NftTransaction& nft, uint16_t type, uint32_t value) {
  const size_t nest = nft.Nest(type);
  nft.Put(NFTA_DATA_VALUE, &value, sizeof value);
  nft.EndNest(nest);
}

void Load(NftTransaction& nft, uint32_t key) {
  Expression(nft, "meta", [&] {
    nft.PutU32(NFTA_META_KEY, key);
    nft.PutU32(NFTA_META_DREG, NFT_REG_1);
  });
}

void Store(NftTransaction& nft, uint32_t key) {
  Expression(nft, "meta", [&] {
    nft.PutU32(NFTA_META_KEY, key);
    nft.PutU32(NFTA_META_SREG, NFT_REG_1);
  });
}

// table inet nokmod-ipsec-N { chain output { type route hook output priority INT_MIN;
//   meta priority TOKEN meta priority set 0 meta mark set meta mark xor 0x80000000 } }
Fd MakeChain(uint32_t token) {
  char table[32];
  snprintf(table, sizeof table, "nokmod-ipsec-%08x", token);
  NftTransaction nft;
  nft.OwnedTable(NFPROTO_INET, table);
  nft.BaseChain(NFPROTO_INET, table, {"output", "route", NF_INET_LOCAL_OUT, INT_MIN});
  nft.Begin(NFT_MSG_NEWRULE, NFPROTO_INET);
  nft.PutString(NFTA_RULE_TABLE, table);
  nft.PutString(NFTA_RULE_CHAIN, "output");
  const size_t expressions = nft.Nest(NFTA_RULE_EXPRESSIONS);
  Load(nft, NFT_META_PRIORITY);
  Expression(nft, "cmp", [&] {
    nft.PutU32(NFTA_CMP_SREG, NFT_REG_1);
    nft.PutU32(NFTA_CMP_OP, NFT_CMP_EQ);
    Value(nft, NFTA_CMP_DATA, token);
  });
  Expression(nft, "immediate", [&] {
    nft.PutU32(NFTA_IMMEDIATE_DREG, NFT_REG_1);
    Value(nft, NFTA_IMMEDIATE_DATA, 0);
  });
  Store(nft, NFT_META_PRIORITY);
  Load(nft, NFT_META_MARK);
  Expression(nft, "bitwise", [&] {
    nft.PutU32(NFTA_BITWISE_SREG, NFT_REG_1);
    nft.PutU32(NFTA_BITWISE_DREG, NFT_REG_1);
    nft.PutU32(NFTA_BITWISE_LEN, sizeof token);
    Value(nft, NFTA_BITWISE_MASK, 0xffffffff);
    Value(nft, NFTA_BITWISE_XOR, Ipsec::Disguise(0));
  });
  Store(nft, NFT_META_MARK);
  nft.EndNest(expressions);
  nft.End();
  return nft.Commit();
}

// Whether making the chain failed because it cannot be had here: no nfnetlink (EPROTONOSUPPORT), no nftables (EOPNOTSUPP), no
// chain type or expression of that name (ENOENT), no tables with an owner (EINVAL), or no CAP_NET_ADMIN (EPERM, EACCES).
bool IsUnsupported(int error) {
  return error == EPROTONOSUPPORT || error == EOPNOTSUPP || error == ENOENT || error == EINVAL || error == EPERM ||
         error == EACCES;
}

Fd OpenNetlink(uint32_t groups) {
  Fd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_XFRM));
  if (!fd) return fd;
  sockaddr_nl addr{};
  addr.nl_family = AF_NETLINK;
  addr.nl_groups = groups;
  return bind(fd.get(), reinterpret_cast<sockaddr*>(&addr), sizeof addr) == 0 ? std::move(fd) : Fd();
}

// A policy of a dump, as the selector that it has, if it lets nothing out as it is.
void AddPolicy(const nlmsghdr* nlh, std::vector<xfrm_selector>& policies) {
  xfrm_userpolicy_info policy;
  if (nlh->nlmsg_len < NLMSG_LENGTH(sizeof policy)) return;
  // Messages are aligned to four bytes, the structure is to eight.
  memcpy(&policy, NLMSG_DATA(nlh), sizeof policy);
  if (policy.dir != XFRM_POLICY_OUT) return;
  bool acts = policy.action == XFRM_POLICY_BLOCK;
  const auto* bytes = reinterpret_cast<const uint8_t*>(nlh);
  for (size_t at = NLMSG_ALIGN(NLMSG_LENGTH(sizeof policy)); at + sizeof(nlattr) <= nlh->nlmsg_len;) {
    nlattr attribute;
    memcpy(&attribute, bytes + at, sizeof attribute);
    if (attribute.nla_len < sizeof attribute) break;
    acts |= attribute.nla_type == XFRMA_TMPL && attribute.nla_len > sizeof attribute;
    at += NLA_ALIGN(attribute.nla_len);
  }
  if (acts) policies.push_back(policy.sel);
}

bool HasPrefix(const void* address, const void* prefix, unsigned bits) {
  const unsigned whole = bits / 8;
  if (memcmp(address, prefix, whole) != 0) return false;
  const unsigned rest = bits % 8;
  if (rest == 0) return true;
  const auto difference = static_cast<const uint8_t*>(address)[whole] ^ static_cast<const uint8_t*>(prefix)[whole];
  return (difference >> (8 - rest)) == 0;
}

}  // namespace

Ipsec::Ipsec(const HomeNamespace& home)
    : home_(home), questions_(OpenNetlink(0)), changes_(OpenNetlink(1u << (XFRMNLGRP_POLICY - 1))) {
  if (!questions_) changes_.Reset();
  if (!changes_) return;
  Check(getrandom(&token_, sizeof token_, 0), "getrandom");
  Read();
}

bool Ipsec::Changed() {
  uint8_t word[1];
  bool changed = false;
  for (;;) {
    // What it says does not matter, nor whether some was lost (ENOBUFS).
    if (recv(changes_.get(), word, sizeof word, MSG_DONTWAIT | MSG_TRUNC) >= 0) changed = true;
    else if (errno == ENOBUFS) changed = true;
    else if (errno != EINTR) return changed;
  }
}

void Ipsec::Read() {
  struct {
    nlmsghdr nlh;
    xfrm_userpolicy_id id;
  } request{};
  request.nlh.nlmsg_len = NLMSG_LENGTH(sizeof request.id);
  request.nlh.nlmsg_type = XFRM_MSG_GETPOLICY;
  request.nlh.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  policies_.clear();
  if (send(questions_.get(), &request, request.nlh.nlmsg_len, 0) < 0) return;
  alignas(8) uint8_t buffer[32768];
  for (bool done = false; !done;) {
    // A dump's next part is made when the last one is taken: there is nothing to wait for.
    const ssize_t n = recv(questions_.get(), buffer, sizeof buffer, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) break;
    auto left = static_cast<uint32_t>(n);
    for (const auto* nlh = reinterpret_cast<const nlmsghdr*>(buffer); NLMSG_OK(nlh, left); nlh = NLMSG_NEXT(nlh, left)) {
      if (nlh->nlmsg_type == XFRM_MSG_NEWPOLICY) AddPolicy(nlh, policies_);
      else done = true;
    }
  }
}

bool Ipsec::active() {
  if (!changes_) return false;
  if (Changed()) Read();
  if (policies_.empty()) {
    chain_.Reset();
  } else if (!chain_) {
    try {
      const HomeNamespace::Scope scope(home_);
      chain_ = MakeChain(token_);
    } catch (const std::system_error& error) {
      if (!IsUnsupported(error.code().value())) throw;
      // The kernel still applies policies that name no port. The chain is tried again when policies change.
      policies_.clear();
    }
  }
  return bool(chain_);
}

bool Ipsec::Covers(const RouteQuery& query, const Route& route) {
  if (!active()) return false;
  for (const xfrm_selector& s : policies_) {
    if (s.family != query.family && s.family != AF_UNSPEC) continue;
    if (s.proto != 0 && s.proto != query.protocol) continue;
    if (s.dport_mask != 0 && ((htons(query.port) ^ s.dport) & s.dport_mask) != 0) continue;
    if (HasPrefix(query.dst, &s.daddr, s.prefixlen_d) && HasPrefix(route.src, &s.saddr, s.prefixlen_s)) return true;
  }
  return false;
}

uint32_t Ipsec::PathMtu(const RouteQuery& query, const Route& route) {
  const bool udp = query.protocol == IPPROTO_UDP;
  const Fd fd(Check(socket(query.family, (udp ? SOCK_DGRAM : SOCK_RAW) | SOCK_CLOEXEC, query.protocol), "socket"));
  const int on = 1;
  Check(setsockopt(fd.get(), SOL_SOCKET, SO_BROADCAST, &on, sizeof on), "SO_BROADCAST");
  Check(setsockopt(fd.get(), SOL_SOCKET, SO_MARK, &query.mark, sizeof query.mark), "SO_MARK");
  int mtu = 0;
  socklen_t size = sizeof mtu;
  if (query.family == AF_INET) {
    sockaddr_in from{}, to{};
    from.sin_family = to.sin_family = AF_INET;
    memcpy(&from.sin_addr, route.src, sizeof from.sin_addr);
    memcpy(&to.sin_addr, query.dst, sizeof to.sin_addr);
    to.sin_port = htons(query.port);
    Check(bind(fd.get(), reinterpret_cast<sockaddr*>(&from), sizeof from), "bind");
    Check(connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to), "connect");
    Check(getsockopt(fd.get(), IPPROTO_IP, IP_MTU, &mtu, &size), "IP_MTU");
  } else {
    sockaddr_in6 from{}, to{};
    from.sin6_family = to.sin6_family = AF_INET6;
    memcpy(&from.sin6_addr, route.src, sizeof from.sin6_addr);
    memcpy(&to.sin6_addr, query.dst, sizeof to.sin6_addr);
    to.sin6_port = udp ? htons(query.port) : 0;
    from.sin6_scope_id = to.sin6_scope_id = static_cast<uint32_t>(route.ifindex);
    Check(bind(fd.get(), reinterpret_cast<sockaddr*>(&from), sizeof from), "bind");
    Check(connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to), "connect");
    Check(getsockopt(fd.get(), IPPROTO_IPV6, IPV6_MTU, &mtu, &size), "IPV6_MTU");
  }
  return static_cast<uint32_t>(mtu);
}

}  // namespace nokmod
