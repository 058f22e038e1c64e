#pragma once
// Local SGD: a commit is a round of several steps. Each shard is a replica, which begins with the committed weights and
// takes the round's steps alone, over its own rows; then what all of them moved by is averaged, each replica weighing
// by its rows, and an outer optimizer takes the average for a gradient. With plain SGD at rate 1 for the outer one that
// is parameter averaging (McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from Decentralized
// Data"; SparkNet, Moritz et al. 2016), with Nesterov's momentum it is DiLoCo (Douillard et al. 2023, "DiLoCo:
// Distributed Low-Communication Training of Language Models").
//
// A replica is a shard, whichever rank runs it, so ranks, growth and deaths do not change the bits.
#include "base/float_rows.h"
#include "sync/all_reduce.h"
#include "sync/replica.h"
#include "sync/replica_step.h"
#include "sync/replicas.h"

namespace stoker::sync {

/// What becomes of the replicas' optimizer state at the end of a round.
enum class InnerState {
  average,  // it is averaged like the weights, and each replica goes on with the average
  reset,    // each round begins with none
  keep,     // each replica's is its own, and goes on
};

struct LocalOptions {
  InnerState inner_state = InnerState::average;
  bool plain = true;  // the outer optimizer is SGD at rate 1: weights that moved alone are taken over bit for bit
  collective::Code code = {};  // of what weights moved by
};

/// Of the state's optimizer buffers, those that local steps carry; and those of each replica.
int carried_buffers(const LocalOptions& options, const optim::Optimizer& inner);
int replica_buffers(const LocalOptions& options, const optim::Optimizer& inner);

class LocalSteps final : public AllReduce {
 public:
  /// `options.carried` is set here; clipping is each replica's, at each of its steps.
  LocalSteps(collective::Group& group, const optim::Arena& arena, const optim::Optimizer& inner,
             const optim::Optimizer& outer, HostState& state, CommitOptions options, const LocalOptions& local);

  std::vector<WeightSet> sets() override;
  void begin(const Round& round) override;
  void run(const Part& part, const Run& run) override;
  bool runs_together() const override { return false; }
  void publish() override;
  bool make(StepTimes& times) override;

 protected:
  void update(optim::Extent range, const optim::UpdateBuffers& buffers) override;
  void keep_floats() override;

 private:
  int64_t vector() const { return arena_.floats() + state_.layout().buffer_floats; }
  /// That is kept is written where it will lie.
  float* inner_state(Replica& replica, int k) const {
    return kept_ ? state_.replica_buffer(new_set(), replica.shard, k)
                 : replica.floats.data() + vector() + k * arena_.floats();
  }
  void set_out(Replica& replica) const;
  void begin_state(Replica& replica) const;
  optim::Moment moment(const Replica& replica, int64_t step) const;
  void give(Replica& replica);

  const optim::Optimizer& inner_;
  ReplicaStep step_alone_;
  const LocalOptions local_;
  const std::unique_ptr<Replicas> kept_;  // none where no state is kept
  std::vector<Replica> replicas_;  // of my shards, ascending: weights, float buffers, optimizer state that is not kept
  FloatRows gradient_;             // and the float buffers after a run
  double rate_ = 0;                // that the replicas were told, see optim::Moment
  bool alone_ = false;             // one replica only moves in this round, and its weights are taken over
};

}  // namespace stoker::sync
