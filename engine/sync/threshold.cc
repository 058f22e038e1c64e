#include "sync/threshold.h"

#include <algorithm>
#include <limits>

#include "sync/signs.h"

namespace stoker::sync {

namespace {

constexpr double kLeast = 1e-30;  // that gradients of zeros bring it down to

}  // namespace

double next_threshold(double threshold, double share, const ThresholdOptions& options) {
  if (share < options.least) return std::max(threshold * options.decay, std::min(threshold, kLeast));
  return share > options.most ? threshold / options.decay : threshold;
}

Threshold::Threshold(collective::Group& group, const optim::Arena& arena, const optim::Optimizer& optimizer,
                     HostState& state, const CommitOptions& options, const ThresholdOptions& threshold)
    : MessageSteps(group, arena, optimizer, state, options, signs_room(arena.floats()), true), threshold_(threshold) {
  STOKER_CHECK(arena.floats() <= std::numeric_limits<int32_t>::max());
}

size_t Threshold::write(int shard, double denominator, std::span<std::byte> message) {
  const double before = state_.replica_numbers(kept_set(shard), shard).threshold;
  const double threshold = before > 0 ? before : threshold_.initial;
  const double step = threshold * (options_.mean ? denominator : 1);
  const double limit = threshold_.clip > 0 ? threshold_.clip * step : std::numeric_limits<double>::infinity();
  const auto head =
      take_signs(kept(shard), arena_.floats(), static_cast<float>(step), static_cast<float>(limit), message);
  const double share = head.count / static_cast<double>(std::max<int64_t>(arena_.numbers(), 1));
  state_.replica_numbers(new_set(), shard).threshold =
      step > 0 ? next_threshold(threshold, share, threshold_) : threshold;
  return signs_bytes(head, arena_.floats());
}

void Threshold::add(ByteView message, optim::Extent part, float* sum) {
  add_signs(message, arena_.floats(), part, sum);
}

}  // namespace stoker::sync
