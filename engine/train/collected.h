#pragma once
// Rows as metrics of an order collect them: by one shard as they come, then as bytes that travel, then those of all
// shards as they lie there. Pure.
#include <span>
#include <vector>

#include "base/codec.h"
#include "train/groups.h"
#include "train/ranking.h"

namespace stoker::train {

/// Of rows in their order.
struct Collected {
  std::vector<Scored> scored;  // what each class that is ranked sees of each row
  std::vector<Grouped> grouped;
};

/// Sorted, as gathered() reads it. `classes`: that are ranked.
Bytes packed(const Collected& rows, int64_t classes);
/// Most bytes of packed() for rows that take so many.
size_t packed_bytes(size_t rows_bytes);

/// What some packed() have, in their order. They outlive it.
struct Gathered {
  std::vector<Runs> scored;  // by class
  std::vector<std::span<const Grouped>> grouped;
};
/// Nothing is what no rows have come to. Throws Error(world) on what is not packed().
Gathered gathered(const std::vector<ByteView>& packed, int64_t classes);

}  // namespace stoker::train
