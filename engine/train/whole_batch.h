#pragma once
// A rank's micro-batches of a step, run together so that batch norms go by the statistics of all shards' rows: at each
// batch norm, forward and backward, all shards stop and their sums are added up over the tree, so the step's bits do
// not depend on who has which shard. Used by one thread.
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/float_rows.h"
#include "collective/group.h"
#include "collective/shard_totals.h"
#include "program/executor.h"
#include "sync/strategy.h"
#include "train/lockstep.h"

namespace stoker::train {

class WholeBatch {
 public:
  /// All outlive it. `constants` as Trainer has them; `threads`: intra-op.
  WholeBatch(const program::Program& program, const optim::Arena& weights, ByteView constants, int threads);

  /// Between join() and leave() it has a group, whose ranks all join at the same point. `owners`: by shard, the rank.
  void join(collective::Group& group, const std::vector<int>& owners);
  void leave() { totals_.reset(); }
  /// See program::Step. After each join().
  void bind(int set, const sync::WeightSet& weights);

  struct Step {
    int set = 0;
    std::vector<int> shards = {};  // owned ones that are present, ascending
    std::vector<program::MicroBatch> batches = {};
    std::vector<bool> present = {};  // of all shards
    int64_t commit = 0;              // that it begins with, for faults
  };
  struct Result {
    program::StepScalars scalars;
    const float* gradient = nullptr;  // arena-shaped
    const float* buffers = nullptr;   // after the run
  };
  /// All ranks call it, those without shards too. By shard; what it points to stays until the next run(). `waited`:
  /// grows by the seconds in which sums were added up.
  std::vector<Result> run(const Step& step, double& waited);

 private:
  struct Part {
    std::unique_ptr<program::Step> step;
    FloatRows out;  // gradient and buffers
    int place = 0;  // where it stands
    std::span<double> sums;
  };

  void add_part();
  void meet(const Step& step);
  void end(const Step& step);

  const program::Program& program_;
  const optim::Arena& weights_;
  const ByteView constants_;
  const int64_t buffer_floats_;
  const int width_;
  std::vector<std::unique_ptr<Part>> parts_;  // one for each owned shard
  std::unique_ptr<collective::ShardTotals> totals_;
  Lockstep together_;
};

}  // namespace stoker::train
