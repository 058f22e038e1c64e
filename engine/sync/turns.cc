#include "sync/turns.h"

#include <algorithm>

#include "base/clock.h"
#include "base/fault.h"
#include "collective/topology.h"
#include "optim/finite.h"
#include "sync/chunks.h"

namespace stoker::sync {

using optim::Extent;

int TurnsOptions::buffers(const optim::Optimizer& optimizer) const {
  if (gradients()) return 2;
  return 1 + (momentum > 0 ? 1 : 0) + (reset ? 0 : optimizer.state_buffers());
}

Turns::Turns(collective::Group& group, const optim::Arena& arena, const optim::Optimizer& optimizer, HostState& state,
             const CommitOptions& options, const TurnsOptions& turns)
    : Commit(group, state, options, state.layout().buffer_floats),
      arena_(arena),
      optimizer_(optimizer),
      turns_(turns),
      step_alone_(arena, optimizer, options),
      shared_(group, state, owners_of(options, group)) {
  STOKER_CHECK(!options.in_place && state.layout().replicas == options.shards &&
               state.layout().replica_buffers == turns.buffers(optimizer) &&
               state.layout().state_buffers == turns.common_buffers(optimizer) &&
               !(turns.gradients() && optimizer.sums() > 0));
  const int64_t own = turns.reset ? optimizer.state_buffers() * arena.floats() : 0;
  for (const int shard : owned_shards(options, group)) {
    replicas_.emplace_back().shard = shard;
    replicas_.back().floats.make_room(state.layout().buffer_floats + own);
    replicas_.back().counts.resize(state.layout().counts);
  }
  gradient_.make_room(arena.floats() + state.layout().buffer_floats);
  if (turns.momentum > 0) before_.make_room(arena.floats());
}

void Turns::begin_replicas(const HostState& state, int set) {
  for (int shard = 0; shard < state.layout().replicas; ++shard)
    copy_in_chunks({0, state.layout().floats}, state.weights(set), state.replica_buffer(set, shard, 0));
}

std::vector<WeightSet> Turns::sets() {
  std::vector<WeightSet> sets;
  for (auto& r : replicas_)
    for (const int set : {0, 1})
      sets.push_back({state_.replica_buffer(set, r.shard, 0), r.floats.data(), r.counts.data()});
  return sets;
}

void Turns::begin(const Round& round) {
  Commit::begin(round);
  for (auto& replica : replicas_) replica.begin_round();
}

/// The optimizer's, of the round.
std::vector<float*> Turns::state_of(Replica& replica) const {
  std::vector<float*> state;
  float* own = turns_.reset ? replica.floats.data() + state_.layout().buffer_floats
                            : weights_of(replica) + (turns_.momentum > 0 ? 2 : 1) * arena_.floats();
  for (int k = 0; k < optimizer_.state_buffers(); ++k) state.push_back(own + k * arena_.floats());
  return state;
}

/// From where it stands in the committed state; float buffers and counts are common.
void Turns::set_out(Replica& replica) const {
  const auto old = state_.replica(old_set(), replica.shard), fresh = state_.replica(new_set(), replica.shard);
  copy_in_chunks({0, static_cast<int64_t>(old.size())}, old.data(), fresh.data());
  std::copy_n(state_.buffers(old_set()), state_.layout().buffer_floats, replica.floats.data());
  std::copy_n(state_.counts(old_set()), replica.counts.size(), replica.counts.begin());
  if (!turns_.reset) return;
  for (float* state : state_of(replica)) std::fill_n(state, arena_.floats(), 0.0F);
}

/// Of the optimizer: its state counts the replica's own steps.
optim::Moment Turns::moment(const Replica& replica, int64_t step) const {
  optim::Moment at = round_.at;
  at.step += step;
  const int64_t before = turns_.reset ? 0 : state_.replica_numbers(old_set(), replica.shard).steps;
  at.since = at.step - 1 - before - replica.steps;
  return at;
}

/// Nesterov's momentum, as Zhang et al. have it: v' = mu v + step(x + mu v), x' = x + v'.
void Turns::look_ahead(float* weights, const float* velocity) {
  const auto momentum = static_cast<float>(turns_.momentum);
  in_chunks({0, arena_.floats()}, [&](Extent e) {
    std::copy(weights + e.begin, weights + e.end, before_.data() + e.begin);
    for (int64_t i = e.begin; i < e.end; ++i) weights[i] += momentum * velocity[i];
  });
}

void Turns::keep_velocity(const float* weights, float* velocity) {
  const float* before = before_.data();
  in_chunks({0, arena_.floats()}, [&](Extent e) {
    for (int64_t i = e.begin; i < e.end; ++i) velocity[i] = weights[i] - before[i];
  });
}

void Turns::run(const Part& part, const Run& run) {
  const size_t number = number_of(replicas_, part.shard);
  Replica& replica = replicas_[number];
  if (replica.share == 0) set_out(replica);
  float *weights = weights_of(replica), *velocity = weights + arena_.floats();
  if (turns_.momentum > 0) look_ahead(weights, velocity);
  float* after = gradient_.data() + arena_.floats();
  const int64_t floats = state_.layout().buffer_floats;
  std::fill_n(after, floats, 0.0F);
  const Scalars scalars = run(2 + 2 * static_cast<int>(number) + new_set(), gradient_.data(), after);
  move(replica, part.step, scalars.denominator);
  std::copy_n(after, floats, replica.floats.data());
  replica.took(part, scalars);
  fault::point("local", step());
}

/// By the gradient.
void Turns::move(Replica& replica, int64_t step, double denominator) {
  float *weights = weights_of(replica), *second = weights + arena_.floats();
  if (turns_.gradients()) {
    step_alone_.scale(gradient_.data(), denominator, second);
    return;
  }
  step_alone_.take(weights, state_of(replica), gradient_.data(), denominator, moment(replica, step));
  if (turns_.momentum > 0) keep_velocity(weights, second);
}

/// Of each replica its share of the float buffers; its weights stand where they are.
void Turns::publish() {
  for (auto& replica : replicas_) {
    if (!round_.present[replica.shard]) continue;
    state_.replica_numbers(new_set(), replica.shard).steps += replica.steps;
    const auto share = static_cast<float>(replica.share);
    float* out = partial();
    for (int64_t i = 0; i < state_.layout().buffer_floats; ++i) out[i] = share * replica.floats.data()[i];
    put(replica.shard, replica.scalars);
  }
  Commit::publish();
}

/// Of all replicas, before the round.
std::vector<ReplicaNumbers> Turns::numbers_before() const {
  std::vector<ReplicaNumbers> numbers;
  for (int shard = 0; shard < options_.shards; ++shard) numbers.push_back(state_.replica_numbers(old_set(), shard));
  return numbers;
}

std::vector<Push> Turns::pushes() const {
  const auto before = numbers_before();
  std::vector<int64_t> steps;
  for (int shard = 0; shard < options_.shards; ++shard)
    steps.push_back(round_.present[shard] ? state_.replica_numbers(new_set(), shard).steps - before[shard].steps : 0);
  return pushes_of(round_.present, before, steps);
}

/// This rank's part of something, of those of its host.
Extent Turns::my_part(int64_t floats) const {
  const auto mine =
      collective::slice_of(floats, optim::kBlock, group_.local_rank(), static_cast<int>(group_.local_ranks().size()));
  return {mine.begin, mine.end};
}

/// To my part of the weights. Gives whether it is finite.
bool Turns::apply(const std::vector<Push>& pushes) {
  const float* old = state_.weights(old_set());
  float* common = state_.weights(new_set());
  bool finite = true;
  in_chunks(my_part(arena_.floats()), [&](Extent e) {
    std::copy(old + e.begin, old + e.end, common + e.begin);
    if (turns_.gradients()) push_gradients(pushes, e);
    for (const Push& one : turns_.gradients() ? std::vector<Push>() : pushes)
      push(turns_.rule, one, e, state_.replica_buffer(old_set(), one.shard, 0),
           state_.replica_buffer(new_set(), one.shard, 0), common);
    finite &= optim::all_finite(common + e.begin, e.size());
    fault::point("slice", step());
  });
  return finite;
}

/// Each is a step of the optimizer, whose state counts the pushes; schedules count the replicas' steps.
void Turns::push_gradients(const std::vector<Push>& pushes, Extent range) {
  float* common = state_.weights(new_set());
  optim::UpdateBuffers buffers;
  buffers.weights_in = buffers.weights_out = common;
  for (int k = 0; k < optimizer_.state_buffers(); ++k) {
    const float* old = state_.optimizer(old_set(), k);
    float* fresh = state_.optimizer(new_set(), k);
    std::copy(old + range.begin, old + range.end, fresh + range.begin);
    buffers.state_in.push_back(fresh);
    buffers.state_out.push_back(fresh);
  }
  optim::Moment at = round_.at;
  at.since = at.step - 1 - pushes_made(numbers_before());
  for (const Push& one : pushes) {
    buffers.gradient = state_.replica_buffer(new_set(), one.shard, 1);
    optimizer_.update(range, at, buffers);
    --at.since;
    std::copy(common + range.begin, common + range.end, state_.replica_buffer(new_set(), one.shard, 0) + range.begin);
  }
}

void Turns::write_replica_numbers(const std::vector<Push>& pushes) const {
  if (group_.local_rank() != 0) return;
  int64_t made = pushes_made(numbers_before());
  for (const Push& one : pushes) {
    ReplicaNumbers& now = state_.replica_numbers(new_set(), one.shard);
    ++now.pushes;
    now.pulled = ++made;
  }
}

bool Turns::make(StepTimes& times) {
  Stopwatch watch;
  shared_.share(next_, round_.present);
  times.wait += watch.restart();
  const auto all = pushes();
  bool finite = apply(all);
  const auto slice = sum_->slice();
  finite &= take_sums({slice.begin, slice.end}, state_.buffers(new_set()) + slice.begin);
  write_replica_numbers(all);
  shared_.keep(next_, round_.present);
  times.update += watch.elapsed();
  return made(finite, times);
}

void Turns::keep_floats() {
  copy_in_chunks(my_part(state_.layout().floats + state_.layout().buffer_floats), state_.weights(old_set()),
                 state_.weights(new_set()));
  for (int k = 0; k < state_.layout().state_buffers; ++k)
    copy_in_chunks(my_part(arena_.floats()), state_.optimizer(old_set(), k), state_.optimizer(new_set(), k));
  shared_.keep(next_, std::vector<bool>(options_.shards));
}

}  // namespace stoker::sync
