#include "collective/shm_direct_sum.h"

#include <algorithm>

#include "collective/topology.h"

namespace stoker::collective {

ShmDirectSum::ShmDirectSum(Group& group, const ShardSumOptions& options)
    : DirectSum(group, options),
      slice_(slice_of(options.floats, options.block, group.local_rank(), static_cast<int>(group.local_ranks().size()))),
      summed_(static_cast<size_t>(slice_.size() / options.block)) {
  const size_t bytes = static_cast<size_t>(options.floats) * sizeof(float);
  if (may_need_sums()) sums_ = reinterpret_cast<float*>(group.host_region(bytes).data());
}

void ShmDirectSum::plan() {
  std::vector<Node> nodes;
  sources_.clear();
  for (const Partial& partial : host_partials()) {
    nodes.push_back(partial.node);
    sources_.push_back(partial.source);
  }
  program_ = SumProgram({0, options_.shards}, nodes);
}

void ShmDirectSum::exchange() {
  publish();
  group_.await(Phase::partials, step_);
  add_totals([this](int shard) { return scalars_at(shard); });
  std::fill(summed_.begin(), summed_.end(), false);
}

const float* ShmDirectSum::sum(Range range) {
  STOKER_CHECK(slice_.begin <= range.begin && range.end <= slice_.end && range.begin % options_.block == 0 &&
               range.end % options_.block == 0);
  if (sources_.size() == 1) return sources_[0].data;
  STOKER_CHECK(sums_ != nullptr);
  for (int64_t at = range.begin; at < range.end; at += options_.block) {
    auto summed = summed_[static_cast<size_t>((at - slice_.begin) / options_.block)];
    if (summed) continue;
    program_.run(sources_, {at, at + options_.block}, {{sums_}});
    summed = true;
  }
  return sums_;
}

void ShmDirectSum::replace_partials() {
  const auto outs = first_slots();
  if (group_.size() > 1) program_.run(sources_, slice_, outs);
}

}  // namespace stoker::collective
