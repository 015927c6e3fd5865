// Transactions of nftables.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sys.h"

namespace nokmod {

// A base chain.
struct NftChain {
  const char* name;
  const char* type;
  uint32_t hook;
  int32_t priority;
  std::optional<std::string> device = {};  // of the netdev family
  std::optional<uint32_t> policy = {};
};

// One transaction in the network namespace of the thread. Lengths are set when a message or nest ends; numbers go in network
// byte order.
class NftTransaction {
 public:
  NftTransaction();
  // `type` is one of NFT_MSG_*; the answer to each is waited for.
  void Begin(uint16_t type, uint8_t family);
  void End();
  // A table that goes away with the socket that Commit() returns.
  void OwnedTable(uint8_t family, const std::string& table);
  void BaseChain(uint8_t family, const std::string& table, const NftChain& chain);
  void Put(uint16_t type, const void* data, size_t length);
  void PutString(uint16_t type, const std::string& text) { Put(type, text.c_str(), text.size() + 1); }
  void PutU32(uint16_t type, uint32_t value);
  size_t Nest(uint16_t type);
  void EndNest(size_t at);
  // Carries it out and returns the socket, with which tables that have an owner live and die. Throws what the kernel answers.
  Fd Commit();

 private:
  void Message(uint16_t type, uint16_t flags, uint8_t family, uint16_t resource);
  void Append(const void* data, size_t length);

  std::vector<uint8_t> bytes_;
  size_t message_ = 0;
  uint32_t seq_ = 0;
  int asked_ = 0;  // acknowledgements to come
};

}  // namespace nokmod
