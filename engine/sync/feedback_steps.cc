#include "sync/feedback_steps.h"

#include <algorithm>
#include <numeric>

#include "base/clock.h"
#include "base/fault.h"
#include "collective/topology.h"
#include "sync/chunks.h"

namespace stoker::sync {

namespace {

using collective::Phase;
using optim::Extent;

constexpr int64_t kNoVector = optim::kBlock;  // of the sum of a round's numbers

}  // namespace

FeedbackSteps::FeedbackSteps(collective::Group& group, const optim::Arena& arena, const optim::Optimizer& optimizer,
                             HostState& state, const CommitOptions& options, int own)
    : AllReduce(group, arena, optimizer, state, options, kNoVector, own),
      shared_(group, state, owners_of(options, group)) {
  STOKER_CHECK(!options.in_place && !options.bf16 && state.layout().replicas == options.shards &&
               state.layout().replica_buffers == kReplicaBuffers);
  for (const int shard : owned_shards(options, group)) replicas_.emplace_back().shard = shard;
  gradient_.make_room(arena.floats() + state.layout().buffer_floats);
  chunk_.make_room(kChunk);
}

void FeedbackSteps::begin(const Round& round) {
  AllReduce::begin(round);
  for (auto& replica : replicas_) replica.begin_round();
  begun_ = false;
  finite_ = true;
  times_ = {};
}

void FeedbackSteps::begin_step(int64_t step, const std::vector<int64_t>& rows) {
  at_ = step;
  rows_ = rows;
  collective::ShardSet present;
  for (const int64_t of_shard : rows) present.push_back(of_shard > 0);
  begin_messages(present);
}

void FeedbackSteps::run(const Part& part, const Run& run) {
  Replica& replica = replicas_[number_of(replicas_, part.shard)];
  float* after = gradient_.data() + arena_.floats();
  std::fill_n(after, state_.layout().buffer_floats, 0.0F);
  const Scalars scalars = run(from(), gradient_.data(), after);
  const auto all = static_cast<double>(std::accumulate(rows_.begin(), rows_.end(), int64_t{0}));
  tell(part.shard, static_cast<float>(static_cast<double>(rows_[part.shard]) / all), scalars.denominator);
  replica.took(part, scalars);
  fault::point("local", step());
}

void FeedbackSteps::feed_back(int shard, Extent part) {
  const float* before = state_.replica_buffer(kept_set(shard), shard, 0);
  float* now = kept(shard);
  const float* gradient = gradient_.data();
  in_chunks(part, [&](Extent e) {
    for (int64_t i = e.begin; i < e.end; ++i) now[i] = before[i] + gradient[i];
  });
}

void FeedbackSteps::put_with_share(collective::WholeSum& sum, int shard, float share, float* to, double denominator) {
  const float* after = gradient() + arena_.floats();
  for (int64_t i = 0; i < state_.layout().buffer_floats; ++i) to[i] = share * after[i];
  sum.scalars(shard)[0] = denominator;
  sum.put(shard);
}

float* FeedbackSteps::zeros(Extent part) {
  float* out = chunk_.data() - part.begin;
  std::fill(out + part.begin, out + part.end, 0.0F);
  return out;
}

void FeedbackSteps::end_step() { finish_step(meet()); }

/// My part of the new weights; everybody's stands afterwards.
void FeedbackSteps::finish_step(double denominator) {
  optim::Moment moment = round_.at;
  moment.step = step_number();
  finite_ &= take({from(), new_set(), turn_, moment, {0, denominator, 0, 0}}, times_);
  if (group_.local_rank() == 0) {
    keep_own();
    for (int64_t i = 0; i < state_.layout().counts; ++i)
      state_.counts(new_set())[i] = state_.counts(old_set())[i] + at_ + 1;
  }
  Stopwatch watch;
  group_.arrive(Phase::steps, turn_);
  group_.await(Phase::steps, turn_);
  times_.wait += watch.elapsed();
  begun_ = true;
}

Extent FeedbackSteps::slice() const {
  const auto mine = collective::slice_of(arena_.floats() + state_.layout().buffer_floats, optim::kBlock,
                                         group_.local_rank(), static_cast<int>(group_.local_ranks().size()));
  return {mine.begin, mine.end};
}

/// The round's numbers: its steps are made.
void FeedbackSteps::publish() {
  for (const Replica& replica : replicas_) {
    if (!round_.present[replica.shard]) continue;
    std::fill_n(partial(), kNoVector, 0.0F);
    put(replica.shard, replica.scalars);
  }
  AllReduce::publish();
}

bool FeedbackSteps::make(StepTimes& times) {
  times.wait += times_.wait;
  times.update += times_.update;
  Stopwatch watch;
  shared_.share(next_, round_.present);
  times.wait += watch.restart();
  shared_.keep(next_, round_.present);
  times.update += watch.elapsed();
  return made(finite_, times);
}

void FeedbackSteps::keep_floats() {
  AllReduce::keep_floats();
  shared_.keep(next_, std::vector<bool>(options_.shards));
}

}  // namespace stoker::sync
