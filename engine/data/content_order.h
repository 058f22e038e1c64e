#pragma once
// The order of rows that depends on their contents only, so that a replay in any order gives the same shard.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/hash.h"

namespace stoker::data {

/// Sorts row numbers by (hashes[row], the row's bytes). Rows of equal bytes keep no particular order.
void sort_by_content(std::vector<uint32_t>& rows, const std::vector<Hash128>& hashes, const std::byte* data,
                     size_t stride);

}  // namespace stoker::data
