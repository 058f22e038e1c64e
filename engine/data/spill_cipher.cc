#include "data/spill_cipher.h"

#include <sys/random.h>

#include <array>

#include "base/error.h"

namespace stoker::data {
namespace {

constexpr size_t kBlock = 16;
using Block = std::array<unsigned char, kBlock>;

/// Big-endian, as counter mode adds.
Block counter_of(uint64_t block) {
  Block counter{};
  for (size_t i = 0; i < 8; ++i) counter[kBlock - 1 - i] = static_cast<unsigned char>(block >> (8 * i));
  return counter;
}

}  // namespace

SpillCipher::SpillCipher() {
  std::array<unsigned char, 32> key;
  if (::getrandom(key.data(), key.size(), 0) != static_cast<ssize_t>(key.size())) fail_errno("cannot get a random key");
  mbedtls_aes_init(&aes_);
  STOKER_CHECK(mbedtls_aes_setkey_enc(&aes_, key.data(), 8 * key.size()) == 0);
}

SpillCipher::~SpillCipher() { mbedtls_aes_free(&aes_); }

void SpillCipher::apply(uint64_t at, std::span<std::byte> bytes) const {
  Block counter = counter_of(at / kBlock), stream{};
  size_t used = 0;
  const auto run = [&](unsigned char* data, size_t size) {
    STOKER_CHECK(mbedtls_aes_crypt_ctr(&aes_, size, &used, counter.data(), stream.data(), data, data) == 0);
  };
  Block before{};
  run(before.data(), at % kBlock);
  run(reinterpret_cast<unsigned char*>(bytes.data()), bytes.size());
}

}  // namespace stoker::data
