#include "sync/pushing.h"

#include <algorithm>

#include "base/clock.h"
#include "base/fault.h"
#include "collective/topology.h"
#include "optim/finite.h"
#include "sync/chunks.h"

namespace stoker::sync {

using optim::Extent;

int PushOptions::buffers(const optim::Optimizer& optimizer) const {
  if (gradients()) return 2;
  return 1 + (momentum > 0 ? 1 : 0) + (reset ? 0 : optimizer.state_buffers());
}

Pushing::Pushing(collective::Group& group, const optim::Arena& arena, const optim::Optimizer& optimizer,
                 HostState& state, const CommitOptions& options, const PushOptions& pushing, int64_t summed)
    : Commit(group, state, options, summed),
      arena_(arena),
      optimizer_(optimizer),
      pushing_(pushing),
      shared_(group, state, owners_of(options, group)),
      step_alone_(arena, optimizer, options) {
  STOKER_CHECK(!options.in_place && state.layout().replicas == options.shards &&
               state.layout().replica_buffers == pushing.buffers(optimizer) &&
               state.layout().state_buffers == pushing.common_buffers(optimizer) &&
               !(pushing.gradients() && optimizer.sums() > 0));
  const int64_t own = pushing.reset ? optimizer.state_buffers() * arena.floats() : 0;
  for (const int shard : owned_shards(options, group)) {
    replicas_.emplace_back().shard = shard;
    replicas_.back().floats.make_room(state.layout().buffer_floats + own);
    replicas_.back().counts.resize(state.layout().counts);
  }
  gradient_.make_room(arena.floats() + state.layout().buffer_floats);
  if (pushing.momentum > 0) before_.make_room(arena.floats());
}

void Pushing::begin_replicas(const HostState& state, int set) {
  for (int shard = 0; shard < state.layout().replicas; ++shard)
    copy_in_chunks({0, state.layout().floats}, state.weights(set), state.replica_buffer(set, shard, 0));
}

std::vector<WeightSet> Pushing::sets() {
  std::vector<WeightSet> sets;
  for (auto& r : replicas_)
    for (const int set : {0, 1})
      sets.push_back({state_.replica_buffer(set, r.shard, 0), r.floats.data(), r.counts.data()});
  return sets;
}

void Pushing::begin(const Round& round) {
  Commit::begin(round);
  for (auto& replica : replicas_) replica.begin_round();
}

/// The optimizer's, of the round.
std::vector<float*> Pushing::state_of(Replica& replica) const {
  std::vector<float*> state;
  float* own = pushing_.reset ? replica.floats.data() + state_.layout().buffer_floats
                              : weights_of(replica) + (pushing_.momentum > 0 ? 2 : 1) * arena_.floats();
  for (int k = 0; k < optimizer_.state_buffers(); ++k) state.push_back(own + k * arena_.floats());
  return state;
}

/// Where it does so after each push.
void Pushing::begin_state(Replica& replica) const {
  if (!pushing_.reset) return;
  for (float* state : state_of(replica)) std::fill_n(state, arena_.floats(), 0.0F);
}

/// From where it stands in the committed state; float buffers and counts are common.
void Pushing::set_out(Replica& replica) const {
  const auto old = state_.replica(old_set(), replica.shard), fresh = state_.replica(new_set(), replica.shard);
  copy_in_chunks({0, static_cast<int64_t>(old.size())}, old.data(), fresh.data());
  std::copy_n(state_.buffers(old_set()), state_.layout().buffer_floats, replica.floats.data());
  std::copy_n(state_.counts(old_set()), replica.counts.size(), replica.counts.begin());
}

/// Of the optimizer: its state counts the replica's own steps.
optim::Moment Pushing::moment(const Replica& replica, int64_t step) const {
  optim::Moment at = round_.at;
  at.step += step;
  const int64_t own =
      pushing_.reset ? replica.window() : state_.replica_numbers(old_set(), replica.shard).steps + replica.steps;
  at.since = at.step - 1 - own;
  return at;
}

/// Nesterov's momentum, as Zhang et al. have it: v' = mu v + step(x + mu v), x' = x + v'.
void Pushing::look_ahead(float* weights, const float* velocity) {
  const auto momentum = static_cast<float>(pushing_.momentum);
  in_chunks({0, arena_.floats()}, [&](Extent e) {
    std::copy(weights + e.begin, weights + e.end, before_.data() + e.begin);
    for (int64_t i = e.begin; i < e.end; ++i) weights[i] += momentum * velocity[i];
  });
}

void Pushing::keep_velocity(const float* weights, float* velocity) {
  const float* before = before_.data();
  in_chunks({0, arena_.floats()}, [&](Extent e) {
    for (int64_t i = e.begin; i < e.end; ++i) velocity[i] = weights[i] - before[i];
  });
}

void Pushing::run(const Part& part, const Run& run) {
  const size_t number = number_of(replicas_, part.shard);
  Replica& replica = replicas_[number];
  if (replica.steps == 0) set_out(replica);
  if (replica.window() == 0) begin_state(replica);
  float *weights = weights_of(replica), *velocity = weights + arena_.floats();
  if (pushing_.momentum > 0) look_ahead(weights, velocity);
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
void Pushing::move(Replica& replica, int64_t step, double denominator) {
  float *weights = weights_of(replica), *second = weights + arena_.floats();
  if (pushing_.gradients()) {
    step_alone_.scale(gradient_.data(), denominator, second);
    return;
  }
  step_alone_.take(weights, state_of(replica), gradient_.data(), denominator, moment(replica, step));
  if (pushing_.momentum > 0) keep_velocity(weights, second);
}

/// Of all replicas, before the commit.
std::vector<ReplicaNumbers> Pushing::numbers_before() const {
  std::vector<ReplicaNumbers> numbers;
  for (int shard = 0; shard < options_.shards; ++shard) numbers.push_back(state_.replica_numbers(old_set(), shard));
  return numbers;
}

Extent Pushing::my_part(int64_t floats) const {
  const auto mine =
      collective::slice_of(floats, optim::kBlock, group_.local_rank(), static_cast<int>(group_.local_ranks().size()));
  return {mine.begin, mine.end};
}

void Pushing::set_out_common(Extent range) const {
  copy_in_chunks(range, state_.weights(old_set()), state_.weights(new_set()));
  for (int k = 0; k < state_.layout().state_buffers; ++k)
    copy_in_chunks(range, state_.optimizer(old_set(), k), state_.optimizer(new_set(), k));
}

/// Of a gradient: a step of the optimizer, whose state counts the pushes; schedules count the replicas' steps.
void Pushing::push_part(const Push& one, Extent range, const float* pulled, const optim::Moment& at) const {
  float *common = state_.weights(new_set()), *replica = state_.replica_buffer(new_set(), one.shard, 0);
  if (!pushing_.gradients()) return push(pushing_.rule, one, range, pulled, replica, common);
  optim::UpdateBuffers buffers;
  buffers.weights_in = buffers.weights_out = common;
  for (int k = 0; k < state_.layout().state_buffers; ++k) {
    buffers.state_in.push_back(state_.optimizer(new_set(), k));
    buffers.state_out.push_back(state_.optimizer(new_set(), k));
  }
  buffers.gradient = state_.replica_buffer(new_set(), one.shard, 1);
  optimizer_.update(range, at, buffers);
  std::copy(common + range.begin, common + range.end, replica + range.begin);
}

void Pushing::keep_floats() {
  set_out_common(my_part(arena_.floats()));
  copy_in_chunks(my_part(state_.layout().buffer_floats), state_.buffers(old_set()), state_.buffers(new_set()));
  shared_.keep(next_, std::vector<bool>(options_.shards));
}

}  // namespace stoker::sync
