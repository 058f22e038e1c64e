#pragma once
// Steps that all ranks make together of gradients that are told in fewer numbers than they have, with error feedback:
// what a shard's message leaves out of its gradient is kept, and is part of its next one, so all that gradients say is
// said some time. How a gradient is told is the heirs': PowerSgd, MessageSteps.
//
// What shards keep is theirs alone, and to have it on all hosts after each step would cost what messages save. So a
// commit is a round of several steps: all ranks make each step together, in the new set, over and over; at the end of
// the round what shards keep goes to all hosts. A round that a death cuts begins anew, and nothing is lost with a host.
// What shards keep is in units of the gradient's numerator: steps of an epoch have equally many rows.
#include "base/float_rows.h"
#include "collective/whole_sum.h"
#include "sync/all_reduce.h"
#include "sync/replica.h"
#include "sync/replicas.h"

namespace stoker::sync {

class FeedbackSteps : public AllReduce {
 public:
  static constexpr int kReplicaBuffers = 1;  // of each replica: what it keeps

  bool runs_together() const override { return false; }
  bool meets_in_steps() const override { return true; }
  void begin(const Round& round) override;
  void begin_step(int64_t step, const std::vector<int64_t>& rows) override;
  void run(const Part& part, const Run& run) override;
  void end_step() override;
  void publish() override;
  bool make(StepTimes& times) override;

 protected:
  /// `own`: optimizer buffers of the state, the last ones, that are the heir's.
  FeedbackSteps(collective::Group& group, const optim::Arena& arena, const optim::Optimizer& optimizer,
                HostState& state, const CommitOptions& options, int own);

  /// At the beginning of a step; then tell() for each owned shard that has rows, ascending, and meet().
  virtual void begin_messages(const collective::ShardSet& present) = 0;
  /// Of a shard that has run: gradient() is its own, with float buffers behind, whose share is its rows'.
  virtual void tell(int shard, float share, double denominator) = 0;
  /// All ranks: everybody's messages have come, and sum_of() tells what they say. Gives the total denominator.
  virtual double meet() = 0;
  /// The first rank of each host, when the step's weights are made.
  virtual void keep_own() {}

  optim::Extent slice() const override;
  void keep_floats() override;

  /// The set that the step begins with.
  int from() const { return begun_ ? new_set() : old_set(); }
  /// A number of its own for each exchange within the generation.
  uint64_t next_turn() { return ++turn_; }
  uint64_t turn() const { return turn_; }
  /// Of the optimizer.
  int64_t step_number() const { return round_.at.step + at_; }
  bool is_present(int shard) const { return rows_[static_cast<size_t>(shard)] > 0; }
  /// The set with what an owned shard has kept before a step.
  int kept_set(int shard) const { return replicas_[number_of(replicas_, shard)].steps == 0 ? old_set() : new_set(); }
  float* gradient() { return gradient_.data(); }
  /// Adds its gradient to what a shard has kept, in a part of the arena; kept() is the sum then.
  void feed_back(int shard, optim::Extent part);
  float* kept(int shard) const { return state_.replica_buffer(new_set(), shard, 0); }
  /// The end of a shard's vector in a sum: the share of its float buffers, from `to` on, and its denominator.
  void put_with_share(collective::WholeSum& sum, int shard, float share, float* to, double denominator);
  /// A part of the arena, of zeros, until the next call.
  float* zeros(optim::Extent part);

  std::vector<Replica> replicas_;  // of my shards, ascending
  StepTimes times_;                // of the round's steps

 private:
  void finish_step(double denominator);

  Replicas shared_;
  std::vector<int64_t> rows_;  // by shard, of the step
  FloatRows gradient_;         // and the float buffers after a run
  FloatRows chunk_;            // of the gradient that messages tell
  int64_t at_ = 0;             // step of the round
  uint64_t turn_ = 0;
  bool begun_ = false;  // a step of the round is made
  bool finite_ = true;  // what the round has made so far
};

}  // namespace stoker::sync
