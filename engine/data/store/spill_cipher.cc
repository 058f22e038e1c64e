#include "data/store/spill_cipher.h"

#include <sys/random.h>

#include <array>

#include "base/error.h"
#include "base/pieces.h"

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
  if (::getrandom(key_.data(), key_.size(), 0) != static_cast<ssize_t>(key_.size()))
    fail_errno("cannot get a random key");
}

void SpillCipher::apply(uint64_t at, std::span<std::byte> bytes) const {
  const auto cipher = crypto::start_cipher(crypto::aes_256_ctr(), crypto::Direction::encrypt, key_);
  const Block counter = counter_of(at / kBlock);
  crypto::check(EVP_CipherInit_ex2(cipher.get(), nullptr, nullptr, counter.data(), -1, nullptr), "a counter");
  const auto run = [&](unsigned char* data, size_t size) {
    int done = 0;
    crypto::check(EVP_CipherUpdate(cipher.get(), data, &done, data, static_cast<int>(size)), "spilled rows");
  };
  Block before{};
  run(before.data(), at % kBlock);
  in_pieces(bytes.size(), kPieceBytes, [&](size_t begin, size_t n) { run(crypto::raw(bytes.data() + begin), n); });
}

}  // namespace stoker::data
