#pragma once
// One rank's part of a fit: the program, the optimizer, the shared state and the strategy that ties them together.
// One object per rank, used by one thread, which it sets up for exact arithmetic (threads, floating-point mode).
#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/codec.h"
#include "collective/group.h"
#include "optim/arena.h"
#include "optim/optimizer.h"
#include "program/format.h"
#include "program/step.h"
#include "sync/all_reduce.h"
#include "train/arithmetic.h"
#include "train/history.h"
#include "train/spec.h"

namespace stoker::train {

/// What one step is, apart from its rows' values.
struct StepSpec {
  uint64_t epoch = 0;         // from 0
  uint64_t step = 0;          // within the epoch, from 0
  std::vector<bool> present;  // shards that have rows
  int64_t rows = 0;           // of all shards
};

class Trainer {
 public:
  /// `initial` gives safetensors with the initial values of parameters, buffers and constants by name; it is called
  /// once, and what it gave is freed before this returns.
  Trainer(const TrainSpec& spec, collective::Group& group, const std::function<Bytes()>& initial, uint64_t generation);
  ~Trainer();

  /// Runs the program over every owned shard that is present, and commits. `inputs` gives a shard's micro-batch;
  /// `meanwhile` is called where peers may be waited for, and counts as gathering.
  /// Throws Error(user) on a loss that is not finite, before anything has changed, unless told to go on.
  sync::Scalars step(const StepSpec& spec, const std::function<std::vector<at::Tensor>(int shard)>& inputs,
                     const std::function<void()>& meanwhile, PhaseTimes& times);

  bool mean_loss() const;
  /// Committed weights and buffers by name, as safetensors.
  Bytes weights() const;
  const sync::HostState& state() const { return state_; }
  /// Returns when every rank of this host has called it. No step may follow.
  void wait_for_all();

 private:
  void load_initial(ByteView weights);
  void run_shard(int shard, const StepSpec& spec, const std::vector<at::Tensor>& inputs);
  void check_finite(const StepSpec& spec, const sync::Scalars& totals) const;

  const TrainSpec& spec_;
  collective::Group& group_;
  const Arithmetic arithmetic_;
  program::Program program_;
  optim::Arena arena_;
  optim::Arena buffers_;  // the float buffers, laid out like an arena
  std::unique_ptr<optim::Optimizer> optimizer_;
  sync::HostState state_;
  sync::AllReduce reduce_;
  std::unique_ptr<program::Step> step_;
};

}  // namespace stoker::train
