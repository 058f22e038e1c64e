#pragma once
// Spark's xxhash64(c1, c2, ...): each value is hashed with the hash so far as its seed, an array is its elements in
// turn, a null changes nothing, -0.0 counts as 0.0 and all NaNs as one. Pure functions.
#include <bit>
#include <cstddef>
#include <cstdint>

namespace stoker::data {

constexpr uint64_t kSparkHashSeed = 42;

namespace xxh64 {
constexpr uint64_t kPrime1 = 0x9E3779B185EBCA87;
constexpr uint64_t kPrime2 = 0xC2B2AE3D27D4EB4F;
constexpr uint64_t kPrime3 = 0x165667B19E3779F9;
constexpr uint64_t kPrime4 = 0x85EBCA77C2B2AE63;
constexpr uint64_t kPrime5 = 0x27D4EB2F165667C5;

inline uint64_t avalanche(uint64_t h) {
  h = (h ^ h >> 33) * kPrime2;
  h = (h ^ h >> 29) * kPrime3;
  return h ^ h >> 32;
}
}  // namespace xxh64

/// XXH64 of 4 bytes: bytes, shorts, ints, dates and booleans.
inline uint64_t spark_hash(int32_t value, uint64_t seed) {
  using namespace xxh64;
  const uint64_t h = (seed + kPrime5 + 4) ^ static_cast<uint32_t>(value) * kPrime1;
  return avalanche(std::rotl(h, 23) * kPrime2 + kPrime3);
}
inline uint64_t spark_hash(int16_t value, uint64_t seed) { return spark_hash(int32_t{value}, seed); }
inline uint64_t spark_hash(int8_t value, uint64_t seed) { return spark_hash(int32_t{value}, seed); }
inline uint64_t spark_hash(bool value, uint64_t seed) { return spark_hash(int32_t{value}, seed); }

/// XXH64 of 8 bytes: bigints, timestamps, unscaled decimals of up to 18 digits.
inline uint64_t spark_hash(int64_t value, uint64_t seed) {
  using namespace xxh64;
  const uint64_t h = (seed + kPrime5 + 8) ^ std::rotl(static_cast<uint64_t>(value) * kPrime2, 31) * kPrime1;
  return avalanche(std::rotl(h, 27) * kPrime1 + kPrime4);
}

inline uint64_t spark_hash(float value, uint64_t seed) {
  const int32_t bits = value == 0 ? 0 : std::bit_cast<int32_t>(value);
  return spark_hash(value != value ? int32_t{0x7fc00000} : bits, seed);
}

inline uint64_t spark_hash(double value, uint64_t seed) {
  const int64_t bits = value == 0 ? 0 : std::bit_cast<int64_t>(value);
  return spark_hash(value != value ? int64_t{0x7ff8000000000000} : bits, seed);
}

/// h[i] takes up values[i], for the n of them: the same as one by one, by vectors where the machine has them.
void spark_hash_each(const int32_t* values, uint64_t* h, int64_t n);
void spark_hash_each(const int64_t* values, uint64_t* h, int64_t n);
void spark_hash_each(const float* values, uint64_t* h, int64_t n);
void spark_hash_each(const double* values, uint64_t* h, int64_t n);

/// Strings and binaries: value i is bytes[offsets[i]] to bytes[offsets[i + 1]].
void spark_hash_each(const std::byte* bytes, const int32_t* offsets, uint64_t* h, int64_t n);
void spark_hash_each(const std::byte* bytes, const int64_t* offsets, uint64_t* h, int64_t n);

/// pmod(hash, shards), the hash being signed.
inline int shard_of_hash(uint64_t hash, int shards) {
  const auto rest = static_cast<int>(static_cast<int64_t>(hash) % shards);
  return rest < 0 ? rest + shards : rest;
}

}  // namespace stoker::data
