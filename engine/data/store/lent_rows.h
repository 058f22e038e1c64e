#pragma once
// Rows that a worker lends to the others of its host, so that they can go on with its shards when it is lost: in one
// shared segment a copy of its rows as they are stored, each shard's rows in content order, and where what lies.
//
//   segment = rows, orders (u32 each, shard by shard), entries, tail at the very end
//
// A copy, since memory that can be shared has small pages: rows come in and are gathered faster from the worker's own.
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "base/codec.h"
#include "base/hash.h"
#include "shm/segment.h"

namespace stoker::data {

/// Of one shard: row numbers in content order, which lie elsewhere.
struct LentShard {
  int shard = 0;
  Hash128 digest = {};  // of its rows, see ShardRows
  std::span<const uint32_t> order;
};

/// What follows the rows in a segment, to its end.
Bytes lent_index(size_t stride, size_t row_bytes, const std::vector<LentShard>& shards);

/// What another worker lends.
class LentRows {
 public:
  /// Throws Error(world) where the segment is not one of rows with this stride.
  LentRows(shm::Segment segment, size_t stride);
  /// Segment::id() of where they are.
  uint64_t id() const { return id_; }
  const std::byte* rows() const { return segment_.bytes().data(); }
  const std::vector<LentShard>& shards() const { return shards_; }

 private:
  shm::Segment segment_;
  uint64_t id_;
  std::vector<LentShard> shards_;
};

/// All that the others of this host have lent, the newest of each shard. Used by one thread.
class Borrowed {
 public:
  void take(LentRows lent);
  /// Whether some of these rows are here.
  bool has(uint64_t id) const;
  /// Null where nobody has lent them.
  const LentRows* of(int shard) const;
  /// REQUIRES: of(shard).
  std::span<const uint32_t> order(int shard) const { return told(shard).order; }
  Hash128 digest(int shard) const { return told(shard).digest; }

 private:
  struct Place {
    std::shared_ptr<const LentRows> rows;  // gone with the last of its shards
    size_t index = 0;
  };
  const LentShard& told(int shard) const;
  std::map<int, Place> places_;
};

}  // namespace stoker::data
