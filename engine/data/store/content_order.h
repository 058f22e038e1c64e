#pragma once
// The order of rows that depends on their contents only, so that a replay in any order gives the same shard.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "data/store/row_hashes.h"

namespace stoker::data {

/// Copies rows' bytes, one after the other.
using FetchRows = std::function<void(std::span<const uint32_t> rows, std::byte* out)>;

struct RowsToOrder {
  const RowHashes& hashes;
  const std::vector<uint16_t>& shard_of;  // of each row; empty where there is one shard
  size_t stride;                          // bytes of a row
  FetchRows fetch;                        // called for rows of equal hashes
};

/// The row numbers of each shard, counts[s] of them, by (hash, the row's bytes). Rows of equal bytes keep the order of
/// arrival. Sorts as many rows at once as `key_bytes` hold, 24 a row, and those of one hash together.
std::vector<std::vector<uint32_t>> content_orders(const RowsToOrder& rows, const std::vector<int64_t>& counts,
                                                  size_t key_bytes);

}  // namespace stoker::data
