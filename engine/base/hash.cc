#include "base/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstdio>

#include "base/pieces.h"

namespace stoker {

Hash128& Hash128::operator+=(const Hash128& other) {
  const uint64_t sum = low + other.low;
  high += other.high + (sum < low ? 1 : 0);
  low = sum;
  return *this;
}

namespace {

XXH128_hash_t hash_in_pieces(std::span<const std::byte> bytes, uint64_t seed) {
  XXH3_state_t state{};
  XXH3_128bits_reset_withSeed(&state, seed);
  in_pieces(bytes.size(), kPieceBytes, [&](size_t at, size_t n) { XXH3_128bits_update(&state, bytes.data() + at, n); });
  return XXH3_128bits_digest(&state);
}

}  // namespace

Hash128 hash128(std::span<const std::byte> bytes, uint64_t seed) {
  const bool is_long = bytes.size() > kPieceBytes;
  const auto h = is_long ? hash_in_pieces(bytes, seed) : XXH3_128bits_withSeed(bytes.data(), bytes.size(), seed);
  return {h.high64, h.low64};
}

std::string hex(const Hash128& hash) {
  char text[33];
  std::snprintf(text, sizeof text, "%016llx%016llx", static_cast<unsigned long long>(hash.high),
                static_cast<unsigned long long>(hash.low));
  return text;
}

uint64_t mix_key(std::span<const uint64_t> numbers) { return XXH3_64bits(numbers.data(), numbers.size_bytes()); }

}  // namespace stoker
