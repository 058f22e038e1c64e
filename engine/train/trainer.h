#pragma once
// One worker's part of a fit: the program, the optimizer, the shared state and the strategy that ties them together.
// One object per worker, used by one thread, which it sets up for exact arithmetic (threads, floating-point mode).
// The program and the state stay as generations come and go; the strategy is the generation's.
#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/codec.h"
#include "base/float_rows.h"
#include "collective/group.h"
#include "collective/shard_bytes.h"
#include "optim/arena.h"
#include "optim/optimizer.h"
#include "program/format.h"
#include "program/safetensors.h"
#include "program/step.h"
#include "sync/arrival.h"
#include "sync/rejoin.h"
#include "sync/strategy.h"
#include "train/arithmetic.h"
#include "train/evaluator.h"
#include "train/fingerprint.h"
#include "train/history.h"
#include "train/spec.h"
#include "train/whole_batch.h"
#include "train/windows.h"

namespace stoker::train {

/// What one commit is, apart from its rows' values: a step, or a round of several.
struct StepSpec {
  uint64_t epoch = 0;                                    // from 0
  uint64_t step = 0;                                     // the first one, within the epoch, from 0
  std::vector<bool> present;                             // shards that have rows
  int64_t rows = 0;                                      // of all shards, as planned
  bool last = false;                                     // of its epoch
  int64_t steps = 0;                                     // of an epoch; 0: not known
  bool pause = false;                                    // this rank was asked to pause after it
  std::function<double()> seconds = [] { return 0.0; };  // since the epoch began, for its totals
  int64_t windows = 0;                                   // of all shards, where replicas push as they arrive
  uint64_t evaluations = 0;                              // before it
  bool follows = false;                                  // the last of them directly
  int64_t count = 1;                                     // steps
  sync::Wish wish = {};                                  // that this rank knows of
};

class Trainer {
 public:
  /// Fills in a state that is all zero, a share on each rank of a host, and gives its commit.
  using Load = std::function<uint64_t(const sync::HostState&)>;

  /// `constants` is safetensors with the program's constants by name, or nothing where it has none. They outlive this
  /// object and are never written. `evaluations`: of the whole fit, at most; `pushes`: likewise,
  /// where they are recorded.
  Trainer(const TrainSpec& spec, ByteView constants, int64_t evaluations = 0, int64_t pushes = 0);
  ~Trainer();

  /// Of this worker's arithmetic, on a micro-batch of so many rows. Changes nothing. REQUIRES: before the first join().
  gang::Fingerprint fingerprint(int64_t rows);

  /// Becomes a rank of the group, whose ranks all call it first of all, and comes to the newest state that one of them
  /// has; where nobody has one `load` makes it. `owners`: by shard, the rank that runs it. `undisturbed`: see
  /// sync::Found. leave() comes before the group's end.
  void join(collective::Group& group, const std::vector<int>& owners, bool undisturbed, const Load& load);
  /// A Load from safetensors with the initial values of parameters and buffers by name, and what weights() gave of the
  /// optimizer where the fit goes on with it, which `initial` gives to the first rank of each host.
  uint64_t begin_with(const std::function<Bytes()>& initial) const;
  /// How many rows of each shard evaluations are of: all ranks tell it after join(), before the first evaluate().
  /// Throws Error(user) where their metrics would take more memory than there is.
  void expect_evaluations(const std::vector<int64_t>& rows);
  /// Nothing of this object works in the group any more.
  void leave();
  /// A state that was found elsewhere, to be brought to the next join() by a worker that has none. `undisturbed`:
  /// nobody else may write into it.
  void adopt(shm::Segment memory, bool undisturbed);
  const sync::StateLayout& layout() const { return layout_; }
  size_t state_bytes() const { return sync::HostState::bytes(layout_); }
  /// Of this worker's own memory, about what one shard more takes.
  size_t shard_bytes() const;

  /// Where the rows of an epoch come from.
  struct Batches {
    /// That a shard has in a step.
    std::function<int64_t(int64_t step, int shard)> rows;
    /// One of the parts in which they are run: see data::parts_of(). There is at least one row.
    std::function<std::vector<at::Tensor>(int64_t step, int shard, int64_t part)> gather;
    /// Where replicas push as they arrive: the steps of a replica's window, counted on from pass to pass.
    std::function<Windows::Steps(int shard, int64_t number)> window = {};
  };
  /// Runs the program over every owned shard that has rows, and commits state and totals. `meanwhile` is called where
  /// peers may be waited for, and counts as gathering. Where loss, weights or buffers would not be finite it throws
  /// Error(user), before anything is committed, or commits the state as it was, or goes on, as OnNaN tells. A step
  /// without rows leaves the state as it was. Gives whether all ranks pause now.
  bool step(StepSpec spec, const Batches& inputs, const std::function<void()>& meanwhile, PhaseTimes& times);

  /// Instead of step(): runs the evaluation program over the micro-batches of the owned
  /// shards, `steps` of them, and commits the state as it is with what the evaluation came to. REQUIRES: the spec has
  /// an evaluation.
  bool evaluate(const StepSpec& spec, int64_t steps, const Batches& inputs, PhaseTimes& times);

  /// What the first `count` evaluations say of the fit. REQUIRES: the spec has an evaluation.
  Verdict verdict(uint64_t count) const { return evaluator_->judge(state_->evaluations(count)); }
  /// Why the optimizer has nothing more to do; "": it has.
  std::string ended() const;
  /// Null where the spec has no evaluation.
  const Evaluator* evaluator() const { return evaluator_.get(); }

  bool mean_loss() const;
  /// Whether tensors that were gathered for a step may be given to another one.
  bool spares_inputs() const { return step_->spares_inputs(); }
  /// Of the state's optimizer buffers.
  std::vector<std::string> optimizer_names() const;
  /// Committed weights and buffers by name, as safetensors: those that were set aside, where the best are wanted. Where
  /// the spec asks for it the optimizer's state too, after so many steps that changed the weights:
  /// python/stoker/optimizer_state.py.
  Bytes weights(const int64_t& updates) const;
  /// Steps that changed the weights before this one of an epoch, those that the fit began with included.
  int64_t updates_before(uint64_t epoch, uint64_t step) const;
  /// REQUIRES: has_state().
  const sync::HostState& state() const { return *state_; }
  bool has_state() const { return state_ != nullptr; }
  /// The shard of each push that is committed, where they are recorded.
  std::span<const uint8_t> record() const;
  /// Micro-batches that this worker has run, those of steps that came to nothing included.
  int64_t runs() const { return runs_; }

 private:
  void count_run();
  float* model_weights(int set) const;
  void begin(const Load& load);
  void begin_optimizer(const program::SafeTensors& from, int set) const;
  using Tensors = std::vector<program::NamedTensor>;
  struct Values {
    const float *weights, *buffers;
    const int64_t* counts;
  };
  void list_state(const Values& values, const std::string& prefix, Tensors& out) const;
  void bind() const;
  void push_by_arrival(const sync::CommitOptions& options);
  std::vector<double> evaluate_shard(int shard, int64_t steps, const Batches& inputs, PhaseTimes& times);
  void settle(std::vector<double>& totals);
  void set_aside(const StepSpec& spec);
  void write_evaluation(const StepSpec& spec, const std::vector<double>& totals);
  void write_totals(const StepSpec& spec, const sync::Scalars& totals, bool kept);
  bool make(const StepSpec& spec, const sync::Scalars& totals, sync::StepTimes& times);
  struct MicroBatch {
    uint64_t epoch = 0;
    int64_t step = 0;
    int shard = 0;
    int64_t part = 0;
    int64_t before = 0;  // steps of earlier passes, where rows are asked for by steps that count on
  };
  sync::Scalars run_micro_batch(const MicroBatch& which, const Batches& inputs, int set, float* gradient,
                                float* buffers, PhaseTimes& times);
  void add_part(const float* part, float share, float* gradient, float* buffers) const;
  sync::Scalars accumulate(MicroBatch which, const Batches& inputs, int set, float* gradient, float* buffers,
                           PhaseTimes& times);
  void run_part(const sync::Part& part, const MicroBatch& which, const Batches& inputs, PhaseTimes& times);
  std::vector<int64_t> rows_of(const StepSpec& spec, int64_t step, const Batches& inputs) const;
  void run_apart(const StepSpec& spec, const Batches& inputs, PhaseTimes& times);
  void run_windows(const StepSpec& spec, const Batches& inputs, PhaseTimes& times);
  int64_t rows_pushed(const StepSpec& spec, const Batches& inputs) const;
  void run_together(const StepSpec& spec, const Batches& inputs, PhaseTimes& times);
  void run_whole_batch(const StepSpec& spec, const Batches& inputs, PhaseTimes& times);
  std::vector<int> present(const StepSpec& spec) const;
  std::vector<program::MicroBatch> gathered(const StepSpec& spec, const std::vector<int>& shards,
                                            const Batches& inputs);
  bool goes_on(bool finite, const StepSpec& spec, const sync::Scalars& totals) const;

  const TrainSpec& spec_;
  const Arithmetic arithmetic_;
  program::Program program_;
  optim::Arena arena_;
  optim::Arena buffers_;  // the float buffers, laid out like an arena
  std::unique_ptr<optim::Optimizer> optimizer_;
  std::unique_ptr<optim::Optimizer> outer_;  // of local steps; none where the fit has none
  sync::StateLayout layout_;
  std::unique_ptr<program::Step> step_;
  std::unique_ptr<WholeBatch> whole_;       // none where micro-batches run apart
  std::unique_ptr<Evaluator> evaluator_;    // none where the spec has no evaluation
  std::unique_ptr<sync::HostState> state_;  // none before the first join() or adopt()
  bool disturbed_ = false;                  // it came by adopt(), and who may write into it is not known

  collective::Group* group_ = nullptr;  // between join() and leave()
  std::vector<int> owners_;             // by shard
  std::vector<int> owned_;              // shards, ascending
  std::unique_ptr<sync::Strategy> strategy_;
  sync::Arrival* arrival_ = nullptr;                   // that one, where replicas push as they arrive
  std::unique_ptr<collective::ShardBytes> collected_;  // rows that are evaluated; none where no metric needs them
  FloatRows part_;                                     // gradient and buffers of a part that is accumulated
  int64_t runs_ = 0;
  int64_t aside_ = 0;  // that of the set that a step makes
  sync::Told told_;    // likewise
};

}  // namespace stoker::train
