#pragma once
// 128-bit content hashes (XXH3) and the order-free digest made of them. Not for secrets.
#include <compare>
#include <cstdint>
#include <span>
#include <string>

namespace stoker {

struct Hash128 {
  uint64_t high = 0;
  uint64_t low = 0;
  friend auto operator<=>(const Hash128&, const Hash128&) = default;
  /// Sum modulo 2^128: the digest of a set of rows in any order.
  Hash128& operator+=(const Hash128& other);
};

Hash128 hash128(std::span<const std::byte> bytes, uint64_t seed = 0);
/// 32 hexadecimal digits.
std::string hex(const Hash128& hash);
/// One well-mixed 64-bit key from a few numbers (seed, epoch, step, shard, node ...), for seeding generators.
uint64_t mix_key(std::span<const uint64_t> numbers);

}  // namespace stoker
