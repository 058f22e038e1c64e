#pragma once
// Asynchronous SGD in turns. Each shard is a replica with weights of its own; a commit is a round, in which each
// replica that has rows takes a window of steps alone, and then all push into the common weights, one after the other
// in the order of shards, each by the rule of push.h and pulling right after its own push. So replicas run at the same
// time, on whichever rank has them, and what comes out is that of workers who take turns: each push is stale by those
// of all others.
//
// A replica runs in its own place in the new set, beside the old one that the round began with; its pushes come after
// all of them stand. So nothing is copied, and a round that a death cuts begins anew from what is committed.
#include "base/float_rows.h"
#include "sync/commit.h"
#include "sync/push.h"
#include "sync/replica.h"
#include "sync/replica_step.h"
#include "sync/replicas.h"

namespace stoker::sync {

struct TurnsOptions {
  PushRule rule;
  double momentum = 0;  // Nesterov's, of each replica's steps, whatever the optimizer makes of a gradient
  bool reset = false;   // the optimizer's state begins anew after each push; else it is the replica's own
  /// Whether the optimizer and its state are of the common weights: then there is neither momentum nor reset.
  bool gradients() const { return rule.rule == Rule::gradient; }
  /// Of each replica, in this order: weights; the gradient that it pushes, or velocity where there is momentum and the
  /// optimizer's state. And those that are common.
  int buffers(const optim::Optimizer& optimizer) const;
  int common_buffers(const optim::Optimizer& optimizer) const { return gradients() ? optimizer.state_buffers() : 0; }
};

class Turns final : public Commit {
 public:
  /// The state has as many replicas as shards, with these buffers. Clipping is each replica's, at each of its steps.
  Turns(collective::Group& group, const optim::Arena& arena, const optim::Optimizer& optimizer, HostState& state,
        const CommitOptions& options, const TurnsOptions& turns);
  /// In a set: all replicas have pulled the common weights.
  static void begin_replicas(const HostState& state, int set);

  /// Two for each replica of this rank, as it runs in either set of the state.
  std::vector<WeightSet> sets() override;
  void begin(const Round& round) override;
  void run(const Part& part, const Run& run) override;
  void publish() override;
  bool make(StepTimes& times) override;

 protected:
  void keep_floats() override;

 private:
  float* weights_of(const Replica& replica) const { return state_.replica_buffer(new_set(), replica.shard, 0); }
  std::vector<float*> state_of(Replica& replica) const;
  void set_out(Replica& replica) const;
  void look_ahead(float* weights, const float* velocity);
  void keep_velocity(const float* weights, float* velocity);
  optim::Moment moment(const Replica& replica, int64_t step) const;
  void move(Replica& replica, int64_t step, double denominator);
  std::vector<Push> pushes() const;
  std::vector<ReplicaNumbers> numbers_before() const;
  void push_gradients(const std::vector<Push>& pushes, optim::Extent range);
  bool apply(const std::vector<Push>& pushes);
  void write_replica_numbers(const std::vector<Push>& pushes) const;
  optim::Extent my_part(int64_t floats) const;

  const optim::Arena& arena_;
  const optim::Optimizer& optimizer_;
  const TurnsOptions turns_;
  ReplicaStep step_alone_;
  Replicas shared_;
  std::vector<Replica> replicas_;  // of my shards, ascending: float buffers; where it is reset, optimizer state
  FloatRows gradient_;             // and the float buffers after a run
  FloatRows before_;               // weights before a step with momentum
};

}  // namespace stoker::sync
