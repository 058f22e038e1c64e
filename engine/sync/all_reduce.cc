#include "sync/all_reduce.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "base/clock.h"
#include "base/fault.h"
#include "optim/finite.h"
#include "sync/chunks.h"

namespace stoker::sync {

namespace {

using collective::Phase;
using optim::Extent;
using optim::overlap;

/// What the ranks of a host wait for after each of the optimizer's rounds.
struct OfRound {
  const char* point;
  Phase phase;
};
constexpr OfRound kRounds[] = {{"measures", Phase::measures}, {"moments", Phase::moments}, {"changes", Phase::changes}};
static_assert(std::size(kRounds) == optim::kMostRounds);

}  // namespace

AllReduce::AllReduce(collective::Group& group, const optim::Arena& arena, const optim::Optimizer& optimizer,
                     HostState& state, const CommitOptions& options)
    : Commit(group, state, options, arena.floats() * (1 + options.carried) + state.layout().buffer_floats,
             arena.floats()),
      arena_(arena),
      optimizer_(optimizer) {
  STOKER_CHECK(state.layout().state_buffers == optimizer.state_buffers() + options.carried);
}

AllReduce::AllReduce(collective::Group& group, const optim::Arena& arena, const optim::Optimizer& optimizer,
                     HostState& state, const CommitOptions& options, int64_t floats, int own)
    : Commit(group, state, options, floats), arena_(arena), optimizer_(optimizer) {
  STOKER_CHECK(state.layout().state_buffers == optimizer.state_buffers() + own && options.carried == 0);
}

Extent AllReduce::slice() const {
  const auto mine = sum_->slice();
  return {mine.begin, mine.end};
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

float AllReduce::clip(float scale, StepTimes& times) {
  Stopwatch watch;
  double* norms = state_.norms();
  in_chunks(overlap(slice(), {0, arena_.floats()}),
            [&](Extent e) { optim::block_norms(e, sum_of(e), scale, norms + e.begin / optim::kBlock); });
  times.update += watch.restart();
  fault::point("norms", step());
  group_.arrive(Phase::norms, step_.number);
  group_.await(Phase::norms, step_.number);
  times.wait += watch.restart();
  double squares = 0;
  for (int64_t b = 0; b < arena_.blocks(); ++b) squares += norms[b];
  return optim::clip_factor(std::sqrt(squares), options_.clip_norm);
}

/// What the optimizer sees of a part of the arena.
optim::UpdateBuffers AllReduce::buffers(Extent range, float scale) {
  const int from = step_.from, to = step_.to;
  optim::UpdateBuffers b;
  b.gradient = sum_of(range);
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
  if (!measured_.factors.empty()) b.factors = measured_.factors.data();
  if (!measured_.numbers.empty()) b.numbers = measured_.numbers.data();
  return b;
}

/// The optimizer's sums over whole tensors, in each of its rounds: mine stand, and everybody's do.
void AllReduce::measure(float scale, StepTimes& times) {
  const Extent mine = overlap(slice(), {0, arena_.floats()});
  const auto pass = [&](int round, const std::vector<double>& numbers) {
    Stopwatch watch;
    in_chunks(mine, [&](Extent e) {
      auto seen = buffers(e, scale);
      seen.numbers = numbers.data();
      optimizer_.measure(round, e, step_.at, seen, state_.sums());
    });
    times.update += watch.restart();
    fault::point(kRounds[round].point, step());
    group_.arrive(kRounds[round].phase, step_.number);
    group_.await(kRounds[round].phase, step_.number);
    times.wait += watch.elapsed();
  };
  const auto& totals = step_.totals;
  const double loss = options_.mean ? totals.numerator / totals.denominator : totals.numerator;
  measured_ = optim::measured(optimizer_, {state_.numbers(step_.from), loss, state_.sums(), step_.at}, pass,
                              std::move(measured_));
}

void AllReduce::update(Extent range, const optim::UpdateBuffers& buffers) {
  optimizer_.update(range, step_.at, buffers);
}

/// Whether all that it wrote is finite, looked at while it is in cache.
bool AllReduce::write(Extent range, float scale) {
  const int64_t weights = arena_.floats(), floats = weights + state_.layout().buffer_floats;
  float* fresh = state_.weights(step_.to);
  bool finite = true;
  in_chunks(overlap(range, {0, weights}), [&](Extent e) {
    update(e, buffers(e, scale));
    finite &= optim::all_finite(fresh + e.begin, e.size());
    fault::point("slice", step());
  });
  const Extent own = overlap(range, {weights, floats});
  finite &= take_sums(own, fresh + own.begin);
  for (int k = 0; k < options_.carried; ++k) {
    const int64_t begin = floats + k * weights;
    const Extent part = overlap(range, {begin, begin + weights});
    finite &= take_sums(part, state_.optimizer(step_.to, optimizer_.state_buffers() + k) + (part.begin - begin));
  }
  return finite;
}

void AllReduce::keep_floats() {
  const Extent mine = slice();
  copy_in_chunks(overlap(mine, {0, arena_.floats() + state_.layout().buffer_floats}), state_.weights(old_set()),
                 state_.weights(new_set()));
  const Extent weights = overlap(mine, {0, arena_.floats()});
  for (int k = 0; k < state_.layout().state_buffers; ++k)
    copy_in_chunks(weights, state_.optimizer(old_set(), k), state_.optimizer(new_set(), k));
}

bool AllReduce::take(const Step& step, StepTimes& times) {
  step_ = step;
  float scale = gradient_scale(options_.mean, step.totals.denominator);
  if (options_.clip_norm > 0) scale *= clip(scale, times);
  measure(scale, times);
  Stopwatch watch;
  const bool finite = write(slice(), scale);
  if (!measured_.numbers.empty()) write_numbers(measured_.numbers.data());
  times.update += watch.elapsed();
  return finite;
}

bool AllReduce::make(StepTimes& times) {
  const bool finite = take({old_set(), new_set(), next_, round_.at, totals_}, times);
  return made(finite, times);
}

}  // namespace stoker::sync
