#include "collective/shm_direct_sum.h"

#include <algorithm>

#include "collective/topology.h"

namespace stoker::collective {

ShmDirectSum::ShmDirectSum(Group& group, const ShardSumOptions& options)
    : DirectSum(group, options),
      slice_(
          slice_of(options.floats, options.block, group.local_rank(), static_cast<int>(group.local_ranks().size()))) {}

void ShmDirectSum::plan() {
  plan_ = &plans_.at(present_, [this] { return make_plan(); });
}

ShmDirectSum::Plan ShmDirectSum::make_plan() const {
  std::vector<Node> nodes;
  std::vector<Source> sources;
  for (const Partial& partial : host_partials()) {
    nodes.push_back(partial.node);
    sources.push_back(partial.source);
  }
  return {std::move(sources), SumProgram({0, options_.shards}, nodes, rounded())};
}

void ShmDirectSum::exchange() {
  publish();
  group_.await(options_.phases.partials, step_);
  add_totals([this](int shard) { return scalars_at(shard); });
}

const float* ShmDirectSum::sum(Range range) {
  check_range(range);
  if (plan_->sources.size() == 1) return plan_->sources[0].data;
  const auto lines = static_cast<size_t>(range.size()) / std::size(Line().floats);
  if (sums_.size() <= lines) sums_.resize(lines + 1);
  float* base = sums_.front().floats - range.begin;
  plan_->program.run(plan_->sources, range, {{base}});
  return base;
}

void ShmDirectSum::replace_partials() {
  const auto outs = first_slots();
  if (group_.size() > 1) plan_->program.run(plan_->sources, slice_, outs);
}

}  // namespace stoker::collective
