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

/// Number i of a key's stream, a function of (key, i) alone. SplitMix64 (Steele, Lea, Flood: Fast Splittable
/// Pseudorandom Number Generators, OOPSLA 2014; constants of Vigna's public splitmix64.c).
inline uint64_t splitmix64(uint64_t key, uint64_t i) {
  uint64_t z = key + (i + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

}  // namespace stoker
