#include "sync/local_steps.h"

#include <algorithm>

#include "base/clock.h"
#include "base/fault.h"
#include "sync/chunks.h"

namespace stoker::sync {

namespace {

using optim::Extent;

/// Without clipping, which is not the outer step's.
CommitOptions outer_options(CommitOptions options, int carried, collective::Code code) {
  options.mean = false;
  options.clip_norm = options.clip_value = 0;
  options.carried = carried;
  options.code = code;
  return options;
}

}  // namespace

int carried_buffers(const LocalOptions& options, const optim::Optimizer& inner) {
  return options.inner_state == InnerState::average ? inner.state_buffers() : 0;
}

int replica_buffers(const LocalOptions& options, const optim::Optimizer& inner) {
  return options.inner_state == InnerState::keep ? inner.state_buffers() : 0;
}

LocalSteps::LocalSteps(collective::Group& group, const optim::Arena& arena, const optim::Optimizer& inner,
                       const optim::Optimizer& outer, HostState& state, CommitOptions options,
                       const LocalOptions& local)
    : AllReduce(group, arena, outer, state, outer_options(options, carried_buffers(local, inner), local.code)),
      inner_(inner),
      step_alone_(arena, inner, options),
      local_(local),
      kept_(state.layout().replicas > 0 ? std::make_unique<Replicas>(group, state, owners_of(options, group))
                                        : nullptr) {
  STOKER_CHECK(state.layout().replica_buffers == replica_buffers(local, inner));
  for (const int shard : owned_shards(options, group)) {
    replicas_.emplace_back().shard = shard;
    replicas_.back().floats.make_room(vector() + (kept_ ? 0 : inner.state_buffers()) * arena.floats());
    replicas_.back().counts.resize(state.layout().counts);
  }
  gradient_.make_room(vector());
}

std::vector<WeightSet> LocalSteps::sets() {
  std::vector<WeightSet> sets;
  for (auto& r : replicas_) sets.push_back({r.floats.data(), r.floats.data() + arena_.floats(), r.counts.data()});
  return sets;
}

void LocalSteps::begin(const Round& round) {
  AllReduce::begin(round);
  rate_ = std::exchange(round_.at.rate, 0.0);  // the outer optimizer has a rate of its own
  alone_ = local_.plain && !local_.code && std::ranges::count(round.present, true) == 1;
  for (auto& replica : replicas_) replica.begin_round();
}

/// With the committed state.
void LocalSteps::set_out(Replica& replica) const {
  copy_in_chunks({0, vector()}, state_.weights(old_set()), replica.floats.data());
  std::copy_n(state_.counts(old_set()), replica.counts.size(), replica.counts.begin());
  begin_state(replica);
}

void LocalSteps::begin_state(Replica& replica) const {
  if (kept_) {
    const auto from = state_.replica(old_set(), replica.shard), to = state_.replica(new_set(), replica.shard);
    copy_in_chunks({0, static_cast<int64_t>(from.size())}, from.data(), to.data());
    return;
  }
  for (int k = 0; k < inner_.state_buffers(); ++k) {
    float* to = inner_state(replica, k);
    const float* from = options_.carried > 0 ? state_.optimizer(old_set(), optimizer_.state_buffers() + k) : nullptr;
    if (from)
      copy_in_chunks({0, arena_.floats()}, from, to);
    else
      in_chunks({0, arena_.floats()}, [&](Extent e) { std::fill(to + e.begin, to + e.end, 0.0F); });
  }
}

/// Of a replica's step, whose optimizer's state may be younger than the fit: it may have had no rows so far.
optim::Moment LocalSteps::moment(const Replica& replica, int64_t step) const {
  optim::Moment at = round_.at;
  at.step += step;
  at.rate = rate_;
  const bool begins = local_.inner_state == InnerState::reset || round_.at.step == 1;
  const int64_t before = kept_ ? state_.replica_numbers(old_set(), replica.shard).steps : 0;
  if (kept_ || begins) at.since = at.step - 1 - before - replica.steps;
  return at;
}

void LocalSteps::run(const Part& part, const Run& run) {
  const size_t number = number_of(replicas_, part.shard);
  Replica& replica = replicas_[number];
  if (replica.share == 0) set_out(replica);
  float* after = gradient_.data() + arena_.floats();
  const int64_t floats = state_.layout().buffer_floats;
  std::fill_n(after, floats, 0.0F);
  const Scalars scalars = run(static_cast<int>(2 + number), gradient_.data(), after);
  std::vector<float*> state;
  for (int k = 0; k < inner_.state_buffers(); ++k) state.push_back(inner_state(replica, k));
  step_alone_.take(replica.floats.data(), state, gradient_.data(), scalars.denominator, moment(replica, part.step));
  std::copy_n(after, floats, replica.floats.data() + arena_.floats());
  replica.took(part, scalars);
  fault::point("local", step());
}

void LocalSteps::publish() {
  for (auto& replica : replicas_)
    if (round_.present[replica.shard]) give(replica);
  AllReduce::publish();
}

/// Its share of the way from the committed weights, of the float buffers and of what is carried.
void LocalSteps::give(Replica& replica) {
  const auto share = static_cast<float>(replica.share);
  const float* weights = state_.weights(old_set());
  const float* mine = replica.floats.data();
  float* out = partial();
  in_chunks({0, arena_.floats()}, [&](Extent e) {
    for (int64_t i = e.begin; i < e.end; ++i) out[i] = alone_ ? mine[i] : share * (weights[i] - mine[i]);
  });
  in_chunks({arena_.floats(), vector() + options_.carried * arena_.floats()}, [&](Extent e) {
    for (int64_t i = e.begin; i < e.end; ++i) out[i] = share * mine[i];
  });
  if (kept_) state_.replica_numbers(new_set(), replica.shard).steps += replica.steps;
  put(replica.shard, replica.scalars);
}

bool LocalSteps::make(StepTimes& times) {
  if (!kept_) return AllReduce::make(times);
  Stopwatch watch;
  kept_->share(next_, round_.present);
  times.wait += watch.restart();
  kept_->keep(next_, round_.present);
  times.update += watch.elapsed();
  return AllReduce::make(times);
}

void LocalSteps::keep_floats() {
  AllReduce::keep_floats();
  if (kept_) kept_->keep(next_, std::vector<bool>(options_.shards));
}

void LocalSteps::update(Extent range, const optim::UpdateBuffers& buffers) {
  if (!alone_) return AllReduce::update(range, buffers);
  std::copy(buffers.gradient + range.begin, buffers.gradient + range.end, buffers.weights_out + range.begin);
}

}  // namespace stoker::sync
