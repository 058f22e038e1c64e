#include "data/deal/spark_hash.h"

#include "base/clones.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

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

namespace {

template <typename O>
void hash_texts(const std::byte* bytes, const O* offsets, uint64_t* h, int64_t n) {
  for (int64_t i = 0; i < n; ++i) h[i] = XXH64(bytes + offsets[i], offsets[i + 1] - offsets[i], h[i]);
}

}  // namespace

void spark_hash_each(const std::byte* bytes, const int32_t* offsets, uint64_t* h, int64_t n) {
  hash_texts(bytes, offsets, h, n);
}

void spark_hash_each(const std::byte* bytes, const int64_t* offsets, uint64_t* h, int64_t n) {
  hash_texts(bytes, offsets, h, n);
}

}  // namespace stoker::data
