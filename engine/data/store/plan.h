#pragma once
// Which rows make which step. Pure functions of (counts, batch size, seed, epoch): the same everywhere.
//
// Step t of T = ceil(N / batch) takes rows floor(t n_s / T) to floor((t + 1) n_s / T) of shard s, in the epoch's order.
// A shard with no rows there is absent. No step takes a lone row (batch norm refuses one row, and kernels differ at 1),
// unless its shard has one row only: a shard with fewer than 2 T rows gives them in pairs, the last pair with the odd
// row, spread evenly over the steps; where the pairs fall is shifted from shard to shard, so that small shards do not
// all meet in the same steps. Steps in which no shard would have rows are left out.
//
// Where gradients are accumulated a shard's rows of a step are run in even parts, one after the other.
#include <cstdint>
#include <vector>

namespace stoker::data {

struct Rows {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
};

class Plan {
 public:
  Plan(std::vector<int64_t> counts, int64_t batch_size);
  int64_t steps() const { return steps_; }
  int shards() const { return static_cast<int>(counts_.size()); }
  Rows rows(int64_t step, int shard) const;
  /// Rows of all shards in this step.
  int64_t rows(int64_t step) const;

 private:
  int64_t cut(int64_t turn, int shard) const;
  Rows rows_of_turn(int64_t turn, int shard) const;

  std::vector<int64_t> counts_;
  int64_t turns_ = 0;             // T
  int64_t steps_ = 0;             // turns in which a shard has rows
  std::vector<int64_t> turn_of_;  // turn of each step; empty where they are the same
};

/// In how many parts so many rows of a step are run, of `most`: none of them has one row, unless there is no other.
int64_t parts_of(int64_t rows, int64_t most);
Rows part_of(Rows rows, int64_t parts, int64_t part);

/// The order of one shard's rows in one epoch: a permutation of 0 .. n-1 keyed by (seed, epoch, shard).
/// Fisher-Yates over a counter-based generator; without shuffle the identity.
std::vector<uint32_t> epoch_order(int64_t n, uint64_t seed, uint64_t epoch, int shard, bool shuffle);

}  // namespace stoker::data
