#pragma once
// What a rank holds of a shard that takes steps alone, beside the committed state.
#include <algorithm>
#include <vector>

#include "base/float_rows.h"
#include "sync/strategy.h"

namespace stoker::sync {

struct Replica {
  int shard = 0;
  FloatRows floats;  // what lies in it is the strategy's
  std::vector<int64_t> counts;
  int64_t steps = 0;   // of the round, that it has taken
  int64_t pushed = 0;  // of them, those before its last push
  double share = 0;    // of the round's rows, so far; 0: it has not begun
  Scalars scalars = {};

  void begin_round() {
    steps = pushed = 0;
    share = 0;
    scalars = {};
  }
  /// Steps since its last push.
  int64_t window() const { return steps - pushed; }
  void took(const Part& part, const Scalars& told) {
    for (auto& count : counts) ++count;
    ++steps;
    share += part.share;
    scalars += told;
  }
};

/// In replicas by ascending shard, of which one is this shard's.
inline size_t number_of(const std::vector<Replica>& replicas, int shard) {
  return std::ranges::lower_bound(replicas, shard, {}, &Replica::shard) - replicas.begin();
}

}  // namespace stoker::sync
