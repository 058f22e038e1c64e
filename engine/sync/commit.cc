#include "sync/commit.h"

#include <algorithm>

#include "base/clock.h"
#include "base/fault.h"
#include "collective/tree.h"
#include "optim/finite.h"
#include "sync/chunks.h"

namespace stoker::sync {

namespace {

using collective::Phase;
using optim::Extent;

constexpr int64_t kNoVector = 16;  // floats, the fewest that there may be
constexpr int kScalars = 8;        // of a shard: those of Scalars, whether its owner wants to pause, and a Wish

}  // namespace

std::vector<int> owners_of(const CommitOptions& options, const collective::Group& group) {
  return options.owners.empty() ? collective::even_owners(group.size(), options.shards) : options.owners;
}

std::vector<int> owned_shards(const CommitOptions& options, const collective::Group& group) {
  return collective::shards_of(owners_of(options, group), group.rank());
}

Commit::Commit(collective::Group& group, HostState& state, const CommitOptions& options, int64_t floats, int64_t coded)
    : group_(group),
      state_(state),
      options_(options),
      sum_(collective::make_shard_sum(group, {options.shards, floats, optim::kBlock, kScalars, options.owners,
                                              options.code, coded, options.bf16})) {
  if (options.numbers > 0)  // and whether its owner wants to pause
    numbers_ =
        collective::make_shard_sum(group, {options.shards, kNoVector, kNoVector, options.numbers + 1, options.owners});
}

void Commit::begin(const Round& round) {
  round_ = round;
  made_ = false;
  next_ = state_.committed() + 1;
  if (group_.local_rank() == 0) state_.suppose_finite(next_);
  sum_->begin(next_, round_.present);
}

/// Its owner's, of the first shard; nothing of the others, so that the sum is that one's.
Wish Commit::wish_of(int shard) const {
  const auto first = std::ranges::find(round_.present, true) - round_.present.begin();
  return shard == first ? round_.wish : Wish();
}

void Commit::put_scalars(int shard, const Scalars& s) {
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

void Commit::put(int shard, const Scalars& scalars) {
  put_scalars(shard, scalars);
  sum_->put(shard);
}

void Commit::put_all(const std::vector<int>& shards, const std::vector<Scalars>& scalars) {
  for (size_t i = 0; i < shards.size(); ++i) put_scalars(shards[i], scalars[i]);
  sum_->put_all();
}

void Commit::publish() {
  fault::point("partials", step());
  sum_->publish();
}

Scalars Commit::exchange() {
  fault::point("exchange", step());
  sum_->exchange();
  fault::point("exchanged", step());
  const auto t = sum_->totals();
  pausing_ = t[4] > 0;
  heard_ = {static_cast<uint64_t>(t[5]), t[6], static_cast<Stop>(t[7])};
  return totals_ = {t[0], t[1], t[2], t[3]};
}

std::vector<double> Commit::add_up(const std::vector<bool>& present, bool pause,
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

bool Commit::take_sums(Extent range, float* to) {
  bool finite = true;
  in_chunks(range, [&](Extent e) {
    const float* sum = sum_of(e);
    std::copy(sum + e.begin, sum + e.end, to + (e.begin - range.begin));
    finite &= optim::all_finite(sum + e.begin, e.size());
  });
  return finite;
}

void Commit::write_counts(int64_t more) {
  if (group_.local_rank() != 0) return;
  const int64_t* old = state_.counts(old_set());
  int64_t* fresh = state_.counts(new_set());
  for (int64_t i = 0; i < state_.layout().counts; ++i) fresh[i] = old[i] + more;
}

void Commit::write_numbers(const double* numbers) {
  if (group_.local_rank() == 0) std::copy_n(numbers, state_.layout().numbers, state_.numbers(new_set()));
}

/// My part of the new state stands, and everybody's does.
void Commit::stand(Phase phase, StepTimes& times) {
  Stopwatch watch;
  fault::point("written", step());
  group_.arrive(phase, next_);
  group_.await(phase, next_);
  times.wait += watch.elapsed();
}

bool Commit::made(bool finite, StepTimes& times) {
  if (!finite) state_.find_infinite(next_);
  write_counts(round_.steps);
  stand(Phase::slices, times);
  made_ = true;
  return state_.finite(next_);
}

void Commit::keep(StepTimes& times) {
  if (!options_.in_place) keep_floats();
  write_counts(0);
  write_numbers(state_.numbers(old_set()));
  stand(made_ ? Phase::kept : Phase::slices, times);
}

void Commit::commit() {
  fault::point("flip", step());
  state_.flip(options_.in_place ? next_ + 1 : next_);  // next_ + 1: the same set again
}

}  // namespace stoker::sync
