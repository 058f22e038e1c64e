#include "sync/power_sgd.h"

#include <algorithm>

#include "base/clock.h"
#include "base/fault.h"

namespace stoker::sync {

namespace {

using optim::Extent;
using optim::overlap;

int64_t floats_of(const std::vector<Extent>& extents) {
  int64_t floats = 0;
  for (const Extent& each : extents) floats += each.size();
  return floats;
}

}  // namespace

PowerSgd::PowerSgd(collective::Group& group, const optim::Arena& arena, const optim::Optimizer& optimizer,
                   HostState& state, const CommitOptions& options, int64_t rank)
    : FeedbackSteps(group, arena, optimizer, state, options, kBuffers),
      low_(low_rank(arena, rank)),
      whole_floats_(floats_of(low_.whole)),
      lefts_(group, buffers() + state.layout().buffer_floats, 1, owners_of(options, group)),
      rights_(group, low_.rights, 0, owners_of(options, group)),
      left_(static_cast<size_t>(low_.lefts)) {}

void PowerSgd::begin_factors(const HostState& state, int set, const optim::Arena& arena, int64_t rank) {
  sync::begin_factors(state.optimizer(set, state.layout().state_buffers - kBuffers), low_rank(arena, rank).rights);
}

void PowerSgd::begin_messages(const collective::ShardSet& present) {
  lefts_.begin(next_turn(), present);
  rights_.begin(next_turn(), present);
}

/// Left factors, what is added up whole, its share of the float buffers.
void PowerSgd::tell(int shard, float share, double denominator) {
  float* out = lefts_.next();
  for (const Matrix& m : low_.matrices) {
    feed_back(shard, m.extent);
    left_of(m, kept(shard) + m.extent.begin, rights(from()) + m.right, out + m.left);
  }
  float* to = out + wholes();
  for (const Extent& e : low_.whole) to = std::copy(gradient() + e.begin, gradient() + e.end, to);
  put_with_share(lefts_, shard, share, to, denominator);
}

double PowerSgd::meet() {
  Stopwatch watch;
  fault::point("lefts", step());
  left_sum_ = lefts_.exchange();
  times_.wait += watch.restart();
  make_lefts();
  make_rights();
  times_.update += watch.restart();
  fault::point("rights", step());
  right_sum_ = rights_.exchange();
  times_.wait += watch.elapsed();
  return lefts_.totals()[0];
}

/// All ranks the same ones.
void PowerSgd::make_lefts() {
  std::copy_n(left_sum_, low_.lefts, left_.data());
  for (const Matrix& m : low_.matrices) orthonormalise(m, left_.data() + m.left, static_cast<uint64_t>(step_number()));
}

/// Of each of my shards; what they do not hold of it is kept.
void PowerSgd::make_rights() {
  for (const Replica& replica : replicas_) {
    if (!is_present(replica.shard)) continue;
    float *out = rights_.next(), *matrices = kept(replica.shard);
    std::fill_n(out, low_.rights, 0.0F);  // what lies between factors is part of the state too
    for (const Matrix& m : low_.matrices) {
      right_of(m, matrices + m.extent.begin, left_.data() + m.left, out + m.right);
      subtract_product(m, left_.data() + m.left, out + m.right, matrices + m.extent.begin);
    }
    rights_.put(replica.shard);
  }
}

void PowerSgd::keep_own() { std::copy_n(right_sum_, low_.rights, rights(new_set())); }

/// A part of the gradient as the factors tell it, or of the float buffers after it.
const float* PowerSgd::sum_of(Extent range) {
  if (range.begin >= arena_.floats()) return left_sum_ + buffers() - arena_.floats();
  float* out = zeros(range);
  for (const Matrix& m : low_.matrices) {
    const Extent part = overlap(range, m.extent);
    if (part.size() > 0)
      write_product(m, left_.data() + m.left, right_sum_ + m.right,
                    {part.begin - m.extent.begin, part.end - m.extent.begin}, out + part.begin);
  }
  const float* whole = left_sum_ + wholes();
  for (const Extent& each : low_.whole) {
    const Extent part = overlap(range, each);
    if (part.size() > 0) std::copy_n(whole + (part.begin - each.begin), part.size(), out + part.begin);
    whole += each.size();
  }
  return out;
}

}  // namespace stoker::sync
