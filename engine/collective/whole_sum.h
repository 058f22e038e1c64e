#pragma once
// Sums over logical shards that each rank gets whole, as often within a step as wanted: ShardSum for vectors that are
// short, and of which every rank needs all. Used by one thread, like its group, in which all of them share a count of
// their turns.
#include <memory>
#include <span>
#include <vector>

#include "collective/shard_sum.h"

namespace stoker::collective {

class WholeSum {
 public:
  /// All ranks make it at the same point. `floats`: of each vector, any number.
  WholeSum(Group& group, int64_t floats, int scalars, const std::vector<int>& owners);

  /// `turn` grows from one to the next, also over all that there are in the group.
  void begin(uint64_t turn, const ShardSet& present) { sum_->begin(turn_ = turn, present); }
  /// As those of ShardSum.
  float* next() { return sum_->next(); }
  std::span<double> scalars(int shard) { return sum_->scalars(shard); }
  void put(int shard) { sum_->put(shard); }
  /// All ranks call it. Gives the sum, which stays until this rank has put its next ones, and waits as Group::await()
  /// does.
  const float* exchange();
  std::vector<double> totals() const { return sum_->totals(); }

 private:
  Group& group_;
  const std::unique_ptr<ShardSum> sum_;
  const std::span<float> whole_;  // of the host
  uint64_t turn_ = 0;
};

}  // namespace stoker::collective
