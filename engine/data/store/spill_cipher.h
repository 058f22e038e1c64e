#pragma once
// AES-256 in counter mode with a random key of its own; the counter is the place, so any part can be read alone.
// Places must not be written twice with different bytes. Any number of threads may use it.
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/crypto.h"

namespace stoker::data {

class SpillCipher {
 public:
  SpillCipher();

  /// Encrypts or decrypts in place what lies at `at`.
  void apply(uint64_t at, std::span<std::byte> bytes) const;

 private:
  crypto::Bytes32 key_;
};

}  // namespace stoker::data
