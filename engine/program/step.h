#pragma once
// The boundary between the train loop and whatever runs a program: the executor now, a compiled step later.
//
// A training program maps (parameters, buffers, inputs) to a loss numerator and denominator, outputs and new buffer
// values. One Step object belongs to one thread.
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"

namespace stoker::program {

/// What keys every random operator of one run; the operator's own node number is added by the step.
struct RandomKey {
  uint64_t seed = 0;
  uint64_t epoch = 0;
  uint64_t step = 0;
  uint64_t shard = 0;
};

/// What one run adds to the step's scalars. All are sums over the micro-batch's rows, so they add up over shards.
struct StepScalars {
  double numerator = 0;    ///< of the loss
  double denominator = 0;  ///< of the loss: rows, elements or weights, as the program says
  double correct = 0;      ///< rows whose prediction equals the label (weighted like the metric), 0 without a metric
  double counted = 0;      ///< rows that the metric counts
};

struct MicroBatch {
  std::vector<at::Tensor> inputs;
  RandomKey key;
};

/// Where the gradients of several micro-batches go. Each is put on a stack of vectors, of which the topmost two are
/// then added `merges[i]` times; what is on the stack in the end, bottom up, lies in `vectors` (arena-shaped). With
/// `bf16` each gradient, and each sum, is rounded to bfloat16.
struct GradientStack {
  std::vector<int> merges;
  std::vector<float*> vectors;
  bool bf16 = false;
};

class Step {
 public:
  virtual ~Step() = default;

  /// Tells where a set of weights (and float buffers) lies. `weights` is an arena (see optim/arena.h) of float32,
  /// `buffers` the float buffers in the program's buffer order, each 64-byte aligned, `counts` the int64 ones.
  /// The memory must outlive the step, or the set be bound anew. Sets are numbered from 0 on.
  virtual void bind(int set, float* weights, float* buffers, int64_t* counts) = 0;

  /// Forward and backward over one micro-batch with the weights of `set`.
  /// Overwrites `gradient` (arena-shaped; padding becomes 0) with d numerator / d weights and `buffers_out` (shaped
  /// like `buffers`) with the buffers after this run; the bound weights and buffers stay as they are. The same
  /// `gradient` pointers should come again and again: views of them are kept.
  virtual StepScalars run(int set, const std::vector<at::Tensor>& inputs, float* gradient, float* buffers_out,
                          const RandomKey& key) = 0;

  /// Whether inputs are what they were after a run, so that they may be given again.
  virtual bool spares_inputs() const { return false; }
  /// Whether run_together() may be called.
  virtual bool runs_together() const { return false; }
  /// run() over several micro-batches at once: the same bits, in less time, for programs without buffers.
  virtual std::vector<StepScalars> run_together(int set, const std::vector<MicroBatch>& batches,
                                                const GradientStack& gradients) {
    fail_bug("this step takes one micro-batch at a time");
  }
};

}  // namespace stoker::program
