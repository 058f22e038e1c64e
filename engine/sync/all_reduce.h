#pragma once
// Synchronous data-parallel SGD by all-reduce, as a transaction: all ranks commit a step or none does.
//
// A rank, for each step: begin(), then run the program once per owned shard (partial(), put()), publish(), exchange(),
// make() or keep(), commit(): partials stand -> totals -> (norms, when clipping) -> my slice of the new state -> all
// slices stand -> flip. One object per rank, used by one thread.
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "collective/shard_sum.h"
#include "optim/optimizer.h"
#include "sync/state.h"

namespace stoker::sync {

struct AllReduceOptions {
  int shards = 1;
  double clip_norm = 0;          // 0: off. Norm over all gradients, as torch.nn.utils.clip_grad_norm_
  double clip_value = 0;         // 0: off. After clip_norm where both are on
  bool in_place = false;         // benches: over the old state, so that nobody may die
  std::vector<int> owners = {};  // by shard, the rank that owns it; empty: collective::even_owners()
  int numbers = 0;               // of a shard, that add_up() takes; 0: it is not called
};

struct StepTimes {
  double wait = 0;    // seconds for peers' partials, norms and slices
  double update = 0;  // seconds in sums and optimizer
};

class AllReduce {
 public:
  AllReduce(collective::Group& group, const optim::Arena& arena, const optim::Optimizer& optimizer, HostState& state,
            const AllReduceOptions& options);

  /// Starts the step that makes commit committed() + 1. `pause`: this rank was asked to pause after it.
  /// `kept_before`: steps since the beginning that left the state as it was; the optimizer does not count them.
  /// `epoch`, `steps_of_epoch`: where the step is, for the optimizer's schedule.
  void begin(const std::vector<bool>& present, bool pause = false, int64_t kept_before = 0, int64_t epoch = 0,
             int64_t steps_of_epoch = 0);
  /// Where the next owned shard's gradient goes, followed by its float buffers times its share of the step's rows.
  float* partial() { return sum_->next(); }
  void put(int shard, const Scalars& scalars);
  /// Instead of these two for each shard, for who computes the gradients of all of them together: see ShardSum.
  collective::OwnFold own_fold() { return sum_->own_fold(); }
  void put_all(const std::vector<int>& shards, const std::vector<Scalars>& scalars);
  /// My partials stand; something else may be done before exchange().
  void publish();
  /// Totals over all shards: my partials stand, and everybody's do. The same on every rank; nothing is changed yet, so
  /// a caller that does not like them may stop here.
  Scalars exchange();
  /// After exchange(): whether a rank was asked to pause that owns a shard of this step. The same on every rank, so
  /// all of them pause after the same commit.
  bool pausing() const { return pausing_; }
  /// Writes the new state beside the old. `mean` divides the gradient by the total denominator. Gives whether weights
  /// and buffers are finite, as they are not where the gradient is not; the same on every rank.
  bool make(bool mean, StepTimes& times);
  /// Instead of make(), or of what it made: the new state is the old one. All ranks do.
  void keep(StepTimes& times);
  /// Instead of begin() to make(): a step that leaves the state as it is and adds up numbers, given for each owned
  /// shard that is present. Gives the totals, the same on every rank; keep() and commit() come next.
  std::vector<double> add_up(const std::vector<bool>& present, bool pause,
                             const std::map<int, std::vector<double>>& numbers);
  /// Makes the new state current.
  void commit();

 private:
  int64_t step() const { return static_cast<int64_t>(next_ - 1); }
  void put_scalars(int shard, const Scalars& scalars);
  int old_set() const { return HostState::set_of(next_ - 1); }
  int new_set() const { return options_.in_place ? old_set() : HostState::set_of(next_); }
  float gradient_scale(bool mean) const;
  float clip(float scale, StepTimes& times);
  void measure(float scale, StepTimes& times);
  bool update(optim::Extent range, float scale);
  void keep_floats(optim::Extent range);
  void write_counts(int64_t more);
  void stand(collective::Phase phase, StepTimes& times);
  optim::UpdateBuffers buffers(optim::Extent range, float scale);
  const float* clamped(optim::Extent range, const float* sum, float scale);

  collective::Group& group_;
  const optim::Arena& arena_;
  const optim::Optimizer& optimizer_;
  HostState& state_;
  AllReduceOptions options_;
  std::unique_ptr<collective::ShardSum> sum_;
  std::unique_ptr<collective::ShardSum> numbers_;  // of add_up()
  uint64_t next_ = 0;                              // the commit that this step makes
  bool pause_ = false;
  optim::Moment moment_ = 1;
  bool made_ = false;  // in this step
  Scalars totals_;
  bool pausing_ = false;
  std::vector<float> clamp_;
  std::vector<float> factors_;  // of the optimizer, by parameter
};

}  // namespace stoker::sync
