#pragma once
// How the ranks of a fit come from one committed state to the next, as a transaction: all of them commit or none does.
//
// A rank, for each commit: begin(); run() for each step of the commit and in it for each owned shard that has rows
// there, ascending; publish(), exchange(), make() or keep(), commit(). Where ranks meet in each step, begin_step() and
// end_step() are around its parts. One object per rank and generation, used by one thread. What it does is a function
// of the committed state, the shards' rows and nothing else, so that the same bits come out for any number of ranks,
// and a commit that a death has cut short is made again.
#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "collective/shard_sum.h"
#include "optim/optimizer.h"
#include "sync/state.h"

namespace stoker::sync {

/// What a commit is made of.
struct Round {
  std::vector<bool> present;  // shards that have rows in it
  bool pause = false;         // this rank was asked to pause after it
  optim::Moment at = 1;       // of its first step, for the optimizer
  int64_t steps = 1;
  Wish wish = {};       // that this rank knows of
  int64_t windows = 0;  // of all replicas, where they push as they arrive
};

/// A shard's part of one step.
struct Part {
  int shard = 0;
  int64_t step = 0;  // of the commit, from 0
  double share = 1;  // its rows, of all rows of the commit
};

/// A set of weights that the program runs with: see program::Step.
struct WeightSet {
  float* weights = nullptr;
  float* buffers = nullptr;
  int64_t* counts = nullptr;
};

/// Forward and backward over the part's rows with the weights of a set, of which 0 and 1 are the state's. Overwrites
/// `gradient` with the numerator's, and `buffers` with the float buffers after it.
using Run = std::function<Scalars(int set, float* gradient, float* buffers)>;

struct StepTimes {
  double wait = 0;    // seconds for peers' partials, norms and slices
  double update = 0;  // seconds in sums and optimizer
};

class Strategy {
 public:
  virtual ~Strategy() = default;

  /// Sets of its own, from 2 on, for the program to be bound to.
  virtual std::vector<WeightSet> sets() { return {}; }

  /// Starts what makes commit committed() + 1.
  virtual void begin(const Round& round) = 0;
  virtual void run(const Part& part, const Run& run) = 0;
  /// Whether all ranks meet in each step of a commit that has rows, with shards there or without. `rows`: by shard, of
  /// the step.
  virtual bool meets_in_steps() const { return false; }
  virtual void begin_step(int64_t /*step*/, const std::vector<int64_t>& /*rows*/) {}
  virtual void end_step() {}
  /// Whether the gradients of a step's owned shards may be computed together, with the committed weights: then
  /// own_fold() and put_all() (see ShardSum) come instead of run().
  virtual bool runs_together() const { return false; }
  virtual collective::OwnFold own_fold() = 0;
  virtual void put_all(const std::vector<int>& shards, const std::vector<Scalars>& scalars) = 0;

  /// My partials stand; something else may be done before exchange().
  virtual void publish() = 0;
  /// Totals over all shards: my partials stand, and everybody's do. The same on every rank; nothing is changed yet, so
  /// a caller that does not like them may stop here.
  virtual Scalars exchange() = 0;
  /// After exchange() or add_up(): whether a rank was asked to pause that owns a shard of this commit. The same on
  /// every rank, so all of them pause after the same commit.
  virtual bool pausing() const = 0;
  /// After exchange(): what the owner of the first shard that is present wished. The same on every rank.
  virtual Wish heard() const = 0;
  /// Writes the new state beside the old. Gives whether weights and buffers are finite, as they are not where a
  /// gradient is not; the same on every rank.
  virtual bool make(StepTimes& times) = 0;
  /// Instead of make(), or of what it made: the new state is the old one. All ranks do.
  virtual void keep(StepTimes& times) = 0;
  /// Instead of begin() to make(): leaves the state as it is and adds up numbers, given for each owned shard that is
  /// present. Gives the totals, the same on every rank; keep() and commit() come next.
  virtual std::vector<double> add_up(const std::vector<bool>& present, bool pause,
                                     const std::map<int, std::vector<double>>& numbers) = 0;
  /// Makes the new state current.
  virtual void commit() = 0;
};

}  // namespace stoker::sync
