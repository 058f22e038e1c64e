#include "sync/full_batch.h"

#include <algorithm>

#include "sync/chunks.h"

namespace stoker::sync {

FullBatch::FullBatch(collective::Group& group, const optim::Arena& arena, const optim::Optimizer& optimizer,
                     HostState& state, const CommitOptions& options)
    : AllReduce(group, arena, optimizer, state, options) {
  batch_.make_room(vector());
}

void FullBatch::begin(const Round& round) {
  AllReduce::begin(round);
  for (auto& [shard, sum] : sums_) sum.begun = false;
}

void FullBatch::run(const Part& part, const Run& run) {
  Sum& sum = sums_[part.shard];
  if (!std::exchange(sum.begun, true)) {
    sum.floats.make_room(vector());
    std::fill_n(sum.floats.data(), vector(), 0.0F);
    sum.scalars = {};
  }
  float *gradient = batch_.data(), *after = gradient + arena_.floats();
  std::fill_n(after, state_.layout().buffer_floats, 0.0F);
  sum.scalars += run(old_set(), gradient, after);
  add_share({0, arena_.floats()}, gradient, 1, sum.floats.data());
  add_share({arena_.floats(), vector()}, gradient, static_cast<float>(part.share), sum.floats.data());
}

void FullBatch::publish() {
  for (auto& [shard, sum] : sums_) {
    if (!round_.present[shard]) continue;
    float* out = partial();
    in_chunks({0, vector()}, [&](optim::Extent e) {
      std::copy(sum.floats.data() + e.begin, sum.floats.data() + e.end, out + e.begin);
    });
    put(shard, sum.scalars);
  }
  AllReduce::publish();
}

}  // namespace stoker::sync
