#include "data/spark_hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

// Sanitizers instrument the resolvers that choose among clones, and those run before the sanitizers are up.
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
#define STOKER_CLONES __attribute__((target_clones("arch=x86-64-v4", "avx2", "default")))
#else
#define STOKER_CLONES
#endif

namespace stoker::data {

STOKER_CLONES void spark_hash_each(const int32_t* values, uint64_t* h, int64_t n) {
  for (int64_t i = 0; i < n; ++i) h[i] = spark_hash(values[i], h[i]);
}

STOKER_CLONES void spark_hash_each(const int64_t* values, uint64_t* h, int64_t n) {
  for (int64_t i = 0; i < n; ++i) h[i] = spark_hash(values[i], h[i]);
}

STOKER_CLONES void spark_hash_each(const float* values, uint64_t* h, int64_t n) {
  for (int64_t i = 0; i < n; ++i) h[i] = spark_hash(values[i], h[i]);
}

STOKER_CLONES void spark_hash_each(const double* values, uint64_t* h, int64_t n) {
  for (int64_t i = 0; i < n; ++i) h[i] = spark_hash(values[i], h[i]);
}

uint64_t spark_hash(std::span<const std::byte> bytes, uint64_t seed) { return XXH64(bytes.data(), bytes.size(), seed); }

}  // namespace stoker::data
