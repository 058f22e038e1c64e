#include "sync/turns.h"

#include "base/clock.h"
#include "base/fault.h"
#include "optim/finite.h"
#include "sync/chunks.h"

namespace stoker::sync {

using optim::Extent;

Turns::Turns(collective::Group& group, const optim::Arena& arena, const optim::Optimizer& optimizer, HostState& state,
             const CommitOptions& options, const PushOptions& pushing)
    : Pushing(group, arena, optimizer, state, options, pushing, state.layout().buffer_floats) {}

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

std::vector<Push> Turns::pushes() const {
  const auto before = numbers_before();
  std::vector<int64_t> steps;
  for (int shard = 0; shard < options_.shards; ++shard)
    steps.push_back(round_.present[shard] ? state_.replica_numbers(new_set(), shard).steps - before[shard].steps : 0);
  return pushes_of(round_.present, before, steps);
}

/// To my part of the weights. Gives whether it is finite.
bool Turns::apply(const std::vector<Push>& pushes) {
  const float* common = state_.weights(new_set());
  const int64_t before = pushes_made(numbers_before());
  bool finite = true;
  in_chunks(my_part(arena_.floats()), [&](Extent e) {
    set_out_common(e);
    optim::Moment at = round_.at;
    at.since = at.step - 1 - before;
    for (const Push& one : pushes) {
      push_part(one, e, state_.replica_buffer(old_set(), one.shard, 0), at);
      --at.since;
    }
    finite &= optim::all_finite(common + e.begin, e.size());
    fault::point("slice", step());
  });
  return finite;
}

void Turns::write_replica_numbers(const std::vector<Push>& pushes) const {
  if (group_.local_rank() != 0) return;
  const auto before = numbers_before();
  int64_t ticket = pushes_made(before);
  for (const Push& one : pushes) {
    const ReplicaNumbers after = after_push(before[one.shard], ticket++, one.steps);
    ReplicaNumbers& now = state_.replica_numbers(new_set(), one.shard);  // whose steps others read
    now.pushes = after.pushes;
    now.pulled = after.pulled;
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

}  // namespace stoker::sync
