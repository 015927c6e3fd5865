#include "nftables.h"

#include <arpa/inet.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <cstring>

namespace nokmod {

NftTransaction::NftTransaction() {
  Message(NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
  End();
}

void NftTransaction::Begin(uint16_t type, uint8_t family) {
  Message(static_cast<uint16_t>(NFNL_SUBSYS_NFTABLES << 8 | type), NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, family, 0);
  asked_++;
}

void NftTransaction::Message(uint16_t type, uint16_t flags, uint8_t family, uint16_t resource) {
  message_ = bytes_.size();
  nlmsghdr nlh{};
  nlh.nlmsg_type = type;
  nlh.nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
  nlh.nlmsg_seq = ++seq_;
  Append(&nlh, sizeof nlh);
  const nfgenmsg header{family, NFNETLINK_V0, htons(resource)};
  Append(&header, sizeof header);
}

void NftTransaction::End() {
  const auto length = static_cast<uint32_t>(bytes_.size() - message_);
  memcpy(&bytes_[message_], &length, sizeof length);
}

void NftTransaction::OwnedTable(uint8_t family, const std::string& table) {
  Begin(NFT_MSG_NEWTABLE, family);
  PutString(NFTA_TABLE_NAME, table);
  PutU32(NFTA_TABLE_FLAGS, NFT_TABLE_F_OWNER);
  End();
}

void NftTransaction::BaseChain(uint8_t family, const std::string& table, const NftChain& chain) {
  Begin(NFT_MSG_NEWCHAIN, family);
  PutString(NFTA_CHAIN_TABLE, table);
  PutString(NFTA_CHAIN_NAME, chain.name);
  const size_t hook = Nest(NFTA_CHAIN_HOOK);
  PutU32(NFTA_HOOK_HOOKNUM, chain.hook);
  PutU32(NFTA_HOOK_PRIORITY, static_cast<uint32_t>(chain.priority));
  if (chain.device) PutString(NFTA_HOOK_DEV, *chain.device);
  EndNest(hook);
  if (chain.policy) PutU32(NFTA_CHAIN_POLICY, *chain.policy);
  PutString(NFTA_CHAIN_TYPE, chain.type);
  End();
}

void NftTransaction::Put(uint16_t type, const void* data, size_t length) {
  const nlattr a{static_cast<uint16_t>(sizeof(nlattr) + length), type};
  Append(&a, sizeof a);
  Append(data, length);
}

void NftTransaction::PutU32(uint16_t type, uint32_t value) {
  value = htonl(value);
  Put(type, &value, sizeof value);
}

size_t NftTransaction::Nest(uint16_t type) {
  const size_t at = bytes_.size();
  Put(static_cast<uint16_t>(type | NLA_F_NESTED), nullptr, 0);
  return at;
}

void NftTransaction::EndNest(size_t at) {
  const auto length = static_cast<uint16_t>(bytes_.size() - at);
  memcpy(&bytes_[at], &length, sizeof length);
}

void NftTransaction::Append(const void* data, size_t length) {
  const auto* p = static_cast<const uint8_t*>(data);
  if (length > 0) bytes_.insert(bytes_.end(), p, p + length);
  bytes_.resize((bytes_.size() + 3) & ~size_t{3});
}

Fd NftTransaction::Commit() {
  Message(NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
  End();
  Fd fd(Check(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER), "socket"));
  sockaddr_nl addr{};
  addr.nl_family = AF_NETLINK;
  Check(bind(fd.get(), reinterpret_cast<sockaddr*>(&addr), sizeof addr), "bind");
  Check(send(fd.get(), bytes_.data(), bytes_.size(), 0), "nftables send");

  alignas(8) uint8_t buffer[8192];
  for (int answers = 0; answers < asked_;) {
    const ssize_t n = recv(fd.get(), buffer, sizeof buffer, 0);
    if (n < 0 && errno == EINTR) continue;
    Check(n, "nftables receive");
    auto left = static_cast<uint32_t>(n);
    for (const auto* nlh = reinterpret_cast<const nlmsghdr*>(buffer); NLMSG_OK(nlh, left); nlh = NLMSG_NEXT(nlh, left)) {
      if (nlh->nlmsg_type != NLMSG_ERROR) continue;
      const int error = -static_cast<const nlmsgerr*>(NLMSG_DATA(nlh))->error;
      if (error != 0) Throw(error, "nftables");
      answers++;
    }
  }
  return fd;
}

}  // namespace nokmod
