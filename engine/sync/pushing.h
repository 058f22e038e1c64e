#pragma once
// Replicas that push: what asynchronous SGD has in common, whatever the order of pushes. Each shard is a replica with
// weights of its own; it takes a window of steps alone, pushes into the common weights by the rule of push.h, and pulls
// right after its push. It runs in its own place in the new set, beside the old one that the commit began with, so a
// commit that a death cuts begins anew from what is committed.
#include "base/float_rows.h"
#include "sync/commit.h"
#include "sync/push.h"
#include "sync/replica.h"
#include "sync/replica_step.h"
#include "sync/replicas.h"

namespace stoker::sync {

struct PushOptions {
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

class Pushing : public Commit {
 public:
  /// In a set: all replicas have pulled the common weights.
  static void begin_replicas(const HostState& state, int set);

  /// Two for each replica of this rank, as it runs in either set of the state.
  std::vector<WeightSet> sets() override;
  void begin(const Round& round) override;
  void run(const Part& part, const Run& run) override;

 protected:
  /// The state has as many replicas as shards, with these buffers. Clipping is each replica's, at each of its steps.
  /// `summed`: floats of each shard that are added up, see Commit.
  Pushing(collective::Group& group, const optim::Arena& arena, const optim::Optimizer& optimizer, HostState& state,
          const CommitOptions& options, const PushOptions& pushing, int64_t summed);
  void keep_floats() override;

  std::vector<ReplicaNumbers> numbers_before() const;
  /// This rank's part of something, of those of its host.
  optim::Extent my_part(int64_t floats) const;
  /// A range of the common weights, and of their optimizer's state, beside the old one.
  void set_out_common(optim::Extent range) const;
  /// A push's part in a range. `pulled`: see push(); `at`: of the common optimizer.
  void push_part(const Push& one, optim::Extent range, const float* pulled, const optim::Moment& at) const;

  const optim::Arena& arena_;
  const optim::Optimizer& optimizer_;
  const PushOptions pushing_;
  Replicas shared_;
  std::vector<Replica> replicas_;  // of my shards, ascending: float buffers; where it is reset, optimizer state

 private:
  float* weights_of(const Replica& replica) const { return state_.replica_buffer(new_set(), replica.shard, 0); }
  std::vector<float*> state_of(Replica& replica) const;
  void begin_state(Replica& replica) const;
  void set_out(Replica& replica) const;
  void look_ahead(float* weights, const float* velocity);
  void keep_velocity(const float* weights, float* velocity);
  optim::Moment moment(const Replica& replica, int64_t step) const;
  void move(Replica& replica, int64_t step, double denominator);

  ReplicaStep step_alone_;
  FloatRows gradient_;  // and the float buffers after a run
  FloatRows before_;    // weights before a step with momentum
};

}  // namespace stoker::sync
