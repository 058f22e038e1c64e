#include "sync/full_batch.h"

#include <algorithm>

#include "base/clones.h"
#include "sync/chunks.h"

namespace stoker::sync {

namespace {

STOKER_CLONES void add(const float* from, float share, float* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] += share * from[i];
}

}  // namespace

FullBatch::FullBatch(collective::Group& group, const optim::Arena& arena, const optim::Optimizer& optimizer,
                     HostState& state, const AllReduceOptions& options)
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
  const auto share = static_cast<float>(part.share);
  in_chunks({0, vector()}, [&](optim::Extent e) {
    const auto part_of = [&](optim::Extent whole, float by) {
      const optim::Extent p = optim::overlap(e, whole);
      if (p.size() > 0) add(gradient + p.begin, by, sum.floats.data() + p.begin, p.size());
    };
    part_of({0, arena_.floats()}, 1);
    part_of({arena_.floats(), vector()}, share);
  });
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
