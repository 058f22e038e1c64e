#pragma once
// Adds up some numbers of each logical shard over the canonical tree (tree.h), in double and as often within a step as
// is wanted. One object per rank, used by one thread; lives as long as its group, in which there is one of them.
//
// The ranks' rounds are numbered from the group's beginning, and each has a place of its own, twice: who is in round k
// has seen all ranks of its host come to it, so they have read what stands in the places of round k - 2.
#include <span>
#include <vector>

#include "collective/group.h"
#include "collective/partials.h"

namespace stoker::collective {

class ShardTotals {
 public:
  /// All ranks make it at the same point. `width`: most numbers of a shard; `owners`: by shard, the rank that owns it,
  /// or -1; both the same everywhere.
  ShardTotals(Group& group, int width, const std::vector<int>& owners);
  /// Of a host.
  static size_t bytes(int width, int shards);

  /// The numbers of an owned shard in the next round, to be filled before add_up().
  std::span<double> of(int shard);
  /// All ranks call it. Gives the first `count` totals over the present shards, the same on every rank; ranks may ask
  /// for more of them or fewer. Waits as Group::await() does.
  std::vector<double> add_up(const ShardSet& present, int count);

 private:
  double* place(int shard);
  void exchange(const ShardSet& present, uint64_t step);
  std::vector<std::span<std::byte>> places_of(const ShardSet& present, int host);

  Group& group_;
  const int width_;
  const std::vector<int> owners_;
  std::span<double> memory_;
  uint64_t round_ = 0;
};

}  // namespace stoker::collective
