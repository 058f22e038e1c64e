#include "data/spark_hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace stoker::data {

uint64_t spark_hash(std::span<const std::byte> bytes, uint64_t seed) { return XXH64(bytes.data(), bytes.size(), seed); }

}  // namespace stoker::data
