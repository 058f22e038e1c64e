#pragma once
// AES-256 in counter mode with a random key of its own; the counter is the place, so any part can be read alone.
// Places must not be written twice with different bytes. Any number of threads may use it.
#include <mbedtls/aes.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace stoker::data {

class SpillCipher {
 public:
  SpillCipher();
  ~SpillCipher();
  SpillCipher(const SpillCipher&) = delete;
  SpillCipher& operator=(const SpillCipher&) = delete;

  /// Encrypts or decrypts in place what lies at `at`.
  void apply(uint64_t at, std::span<std::byte> bytes) const;

 private:
  mutable mbedtls_aes_context aes_;  // only read once the key is set
};

}  // namespace stoker::data
