#include "collective/whole_sum.h"

#include <algorithm>

namespace stoker::collective {
namespace {

constexpr int64_t kLine = 16;  // floats, so that short vectors are shared out too
constexpr SumPhases kPhases{Phase::thin_partials, Phase::thin_sums, Phase::thin_slices};

int64_t on_lines(int64_t floats) { return std::max((floats + kLine - 1) / kLine, int64_t{1}) * kLine; }

ShardSumOptions options_of(int64_t floats, int scalars, const std::vector<int>& owners) {
  ShardSumOptions options{static_cast<int>(owners.size()), on_lines(floats), kLine, scalars, owners};
  options.phases = kPhases;
  return options;
}

std::span<float> host_floats(Group& group, int64_t floats) {
  const auto bytes = group.host_region(static_cast<size_t>(on_lines(floats)) * sizeof(float));
  return {reinterpret_cast<float*>(bytes.data()), bytes.size() / sizeof(float)};
}

}  // namespace

WholeSum::WholeSum(Group& group, int64_t floats, int scalars, const std::vector<int>& owners)
    : group_(group),
      sum_(make_shard_sum(group, options_of(floats, scalars, owners))),
      whole_(host_floats(group, floats)) {}

/// Nobody reads the sum of the turn before any more: who has put partials of this one is through with it.
const float* WholeSum::exchange() {
  sum_->exchange();
  const Range mine = sum_->slice();
  const float* sum = sum_->sum(mine);
  std::copy(sum + mine.begin, sum + mine.end, whole_.data() + mine.begin);
  group_.arrive(kPhases.slices, turn_);
  group_.await(kPhases.slices, turn_);
  return whole_.data();
}

}  // namespace stoker::collective
