#include "sync/all_reduce.h"

#include <algorithm>
#include <cmath>

#include "base/clock.h"
#include "base/fault.h"
#include "optim/finite.h"
#include "sync/chunks.h"

namespace stoker::sync {

namespace {

using collective::Phase;
using optim::Extent;
using optim::overlap;

constexpr int64_t kNoVector = 16;  // floats, the fewest that there may be
constexpr int kScalars = 8;        // of a shard: those of Scalars, whether its owner wants to pause, and a Wish
}  // namespace

AllReduce::AllReduce(collective::Group& group, const optim::Arena& arena, const optim::Optimizer& optimizer,
                     HostState& state, const AllReduceOptions& options)
    : group_(group), arena_(arena), optimizer_(optimizer), state_(state), options_(options) {
  STOKER_CHECK(state.layout().state_buffers == optimizer.state_buffers() + options.carried);
  const int64_t floats = arena.floats() * (1 + options.carried) + state.layout().buffer_floats;
  sum_ = collective::make_shard_sum(
      group, {options.shards, floats, optim::kBlock, kScalars, options.owners, options.code, arena.floats()});
  if (options.numbers > 0)  // and whether its owner wants to pause
    numbers_ =
        collective::make_shard_sum(group, {options.shards, kNoVector, kNoVector, options.numbers + 1, options.owners});
}

void AllReduce::begin(const Round& round) {
  round_ = round;
  made_ = false;
  next_ = state_.committed() + 1;
  if (group_.local_rank() == 0) state_.suppose_finite(next_);
  sum_->begin(next_, round_.present);
}

void AllReduce::run(const Part& part, const Run& run) {
  float* gradient = partial();
  float* buffers = gradient + arena_.floats();
  const int64_t floats = state_.layout().buffer_floats;
  std::fill_n(buffers, floats, 0.0F);
  const Scalars scalars = run(old_set(), gradient, buffers);
  const auto share = static_cast<float>(part.share);
  for (int64_t i = 0; i < floats; ++i) buffers[i] *= share;
  put(part.shard, scalars);
}

/// Its owner's, of the first shard; nothing of the others, so that the sum is that one's.
Wish AllReduce::wish_of(int shard) const {
  const auto first = std::ranges::find(round_.present, true) - round_.present.begin();
  return shard == first ? round_.wish : Wish();
}

void AllReduce::put_scalars(int shard, const Scalars& s) {
  const auto out = sum_->scalars(shard);
  const Wish wish = wish_of(shard);
  const double values[kScalars] = {s.numerator,
                                   s.denominator,
                                   s.correct,
                                   s.counted,
                                   round_.pause ? 1.0 : 0.0,
                                   static_cast<double>(wish.number),
                                   wish.rate,
                                   static_cast<double>(wish.stop)};
  std::copy(std::begin(values), std::end(values), out.begin());
}

void AllReduce::put(int shard, const Scalars& scalars) {
  put_scalars(shard, scalars);
  sum_->put(shard);
}

void AllReduce::publish() {
  fault::point("partials", step());
  sum_->publish();
}

void AllReduce::put_all(const std::vector<int>& shards, const std::vector<Scalars>& scalars) {
  for (size_t i = 0; i < shards.size(); ++i) put_scalars(shards[i], scalars[i]);
  sum_->put_all();
}

Scalars AllReduce::exchange() {
  fault::point("exchange", step());
  sum_->exchange();
  fault::point("exchanged", step());
  const auto t = sum_->totals();
  pausing_ = t[4] > 0;
  heard_ = {static_cast<uint64_t>(t[5]), t[6], static_cast<Stop>(t[7])};
  return totals_ = {t[0], t[1], t[2], t[3]};
}

std::vector<double> AllReduce::add_up(const std::vector<bool>& present, bool pause,
                                      const std::map<int, std::vector<double>>& numbers) {
  made_ = false;
  next_ = state_.committed() + 1;
  if (group_.local_rank() == 0) state_.suppose_finite(next_);
  numbers_->begin(next_, present);
  for (const auto& [shard, values] : numbers) {
    std::fill_n(numbers_->next(), kNoVector, 0.0F);
    std::ranges::copy(values, numbers_->scalars(shard).begin());
    numbers_->scalars(shard).back() = pause ? 1 : 0;
    numbers_->put(shard);
  }
  fault::point("partials", step());
  numbers_->exchange();
  auto totals = numbers_->totals();
  pausing_ = totals.back() > 0;
  totals.pop_back();
  return totals;
}

float AllReduce::clip(float scale, StepTimes& times) {
  Stopwatch watch;
  const auto slice = sum_->slice();
  const Extent mine = overlap({slice.begin, slice.end}, {0, arena_.floats()});
  double* norms = state_.norms();
  in_chunks(mine, [&](Extent e) {
    optim::block_norms(e, sum_->sum({e.begin, e.end}), scale, norms + e.begin / optim::kBlock);
  });
  times.update += watch.restart();
  fault::point("norms", step());
  group_.arrive(Phase::norms, next_);
  group_.await(Phase::norms, next_);
  times.wait += watch.restart();
  double squares = 0;
  for (int64_t b = 0; b < arena_.blocks(); ++b) squares += norms[b];
  return optim::clip_factor(std::sqrt(squares), options_.clip_norm);
}

/// What the optimizer sees of a part of the arena.
optim::UpdateBuffers AllReduce::buffers(Extent range, float scale) {
  const int from = old_set(), to = new_set();
  optim::UpdateBuffers b;
  b.gradient = sum_->sum({range.begin, range.end});
  b.gradient_scale = scale;
  if (options_.clip_value > 0) {
    b.gradient = clamped(range, b.gradient, scale, options_.clip_value, clamp_);
    b.gradient_scale = 1;
  }
  b.weights_in = state_.weights(from);
  b.weights_out = state_.weights(to);
  for (int k = 0; k < optimizer_.state_buffers(); ++k) {
    b.state_in.push_back(state_.optimizer(from, k));
    b.state_out.push_back(state_.optimizer(to, k));
  }
  if (!factors_.empty()) b.factors = factors_.data();
  if (!numbers_after_.empty()) b.numbers = numbers_after_.data();
  return b;
}

/// The optimizer's sums over whole tensors: mine stand, and everybody's do.
void AllReduce::measure(float scale, StepTimes& times) {
  if (optimizer_.sums() == 0) return;
  Stopwatch watch;
  const auto slice = sum_->slice();
  in_chunks(overlap({slice.begin, slice.end}, {0, arena_.floats()}),
            [&](Extent e) { optimizer_.measure(e, round_.at, buffers(e, scale), state_.sums()); });
  times.update += watch.restart();
  fault::point("measures", step());
  group_.arrive(Phase::measures, next_);
  group_.await(Phase::measures, next_);
  times.wait += watch.elapsed();
  factors_ = optimizer_.factors(state_.sums());
  if (optimizer_.numbers() == 0) return;
  const double loss = options_.mean ? totals_.numerator / totals_.denominator : totals_.numerator;
  numbers_after_ = optimizer_.decide({state_.numbers(old_set()), loss, state_.sums(), round_.at.rate});
}

void AllReduce::update(Extent range, const optim::UpdateBuffers& buffers) {
  optimizer_.update(range, round_.at, buffers);
}

/// Sums that are the new values, from that many floats of the sum on.
bool AllReduce::carry(Extent range, float* to) {
  bool finite = true;
  in_chunks(range, [&](Extent e) {
    const float* sum = sum_->sum({e.begin, e.end});
    std::copy(sum + e.begin, sum + e.end, to + (e.begin - range.begin));
    finite &= optim::all_finite(sum + e.begin, e.size());
  });
  return finite;
}

/// Whether all that it wrote is finite, looked at while it is in cache.
bool AllReduce::write(Extent range, float scale) {
  const int64_t weights = arena_.floats(), floats = weights + state_.layout().buffer_floats;
  float* fresh = state_.weights(new_set());
  bool finite = true;
  in_chunks(overlap(range, {0, weights}), [&](Extent e) {
    update(e, buffers(e, scale));
    finite &= optim::all_finite(fresh + e.begin, e.size());
    fault::point("slice", step());
  });
  const Extent own = overlap(range, {weights, floats});
  finite &= carry(own, fresh + own.begin);
  for (int k = 0; k < options_.carried; ++k) {
    const int64_t begin = floats + k * weights;
    const Extent part = overlap(range, {begin, begin + weights});
    finite &= carry(part, state_.optimizer(new_set(), optimizer_.state_buffers() + k) + (part.begin - begin));
  }
  return finite;
}

void AllReduce::keep_floats(Extent range) {
  if (options_.in_place) return;
  const auto copy = [&](Extent part, const float* from, float* to) {
    in_chunks(part, [&](Extent e) { std::copy(from + e.begin, from + e.end, to + e.begin); });
  };
  copy(overlap(range, {0, arena_.floats() + state_.layout().buffer_floats}), state_.weights(old_set()),
       state_.weights(new_set()));
  const Extent weights = overlap(range, {0, arena_.floats()});
  for (int k = 0; k < state_.layout().state_buffers; ++k)
    copy(weights, state_.optimizer(old_set(), k), state_.optimizer(new_set(), k));
}

void AllReduce::write_counts(int64_t more) {
  if (group_.local_rank() != 0) return;
  const int64_t* old = state_.counts(old_set());
  int64_t* fresh = state_.counts(new_set());
  for (int64_t i = 0; i < state_.layout().counts; ++i) fresh[i] = old[i] + more;
}

void AllReduce::write_numbers(const double* numbers) {
  if (group_.local_rank() == 0) std::copy_n(numbers, state_.layout().numbers, state_.numbers(new_set()));
}

/// My part of the new state stands, and everybody's does.
void AllReduce::stand(Phase phase, StepTimes& times) {
  Stopwatch watch;
  fault::point("written", step());
  group_.arrive(phase, next_);
  group_.await(phase, next_);
  times.wait += watch.elapsed();
}

bool AllReduce::make(StepTimes& times) {
  float scale = gradient_scale(options_.mean, totals_.denominator);
  if (options_.clip_norm > 0) scale *= clip(scale, times);
  measure(scale, times);
  Stopwatch watch;
  const auto slice = sum_->slice();
  if (!write({slice.begin, slice.end}, scale)) state_.find_infinite(next_);
  write_counts(round_.steps);
  if (!numbers_after_.empty()) write_numbers(numbers_after_.data());
  times.update += watch.elapsed();
  stand(Phase::slices, times);
  made_ = true;
  return state_.finite(next_);
}

void AllReduce::keep(StepTimes& times) {
  const auto slice = sum_->slice();
  keep_floats({slice.begin, slice.end});
  write_counts(0);
  write_numbers(state_.numbers(old_set()));
  stand(made_ ? Phase::kept : Phase::slices, times);
}

void AllReduce::commit() {
  fault::point("flip", step());
  state_.flip(options_.in_place ? next_ + 1 : next_);  // next_ + 1: the same set again
}

}  // namespace stoker::sync
