#pragma once
// Runs an evaluation program ("eval"): the loss as it is in evaluation mode, without gradients. One object belongs to
// one thread.
#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

#include "optim/arena.h"
#include "program/format.h"
#include "program/plan.h"
#include "program/safetensors.h"
#include "program/step.h"

namespace stoker::program {

/// A set of training state, laid out as Step::bind() has it.
struct StateSet {
  float* weights;
  float* buffers;
  int64_t* counts;
};

/// What metrics compare.
struct Compared {
  const at::Tensor& output;
  const at::Tensor& label;
  const at::Tensor* weight;  // of labels or rows, or null
  const at::Tensor* group;   // of rows, or null
};

class Evaluation {
 public:
  /// What the program reads by name is a part of the state that `training` and its arenas describe, or else one of the
  /// constants, whose bytes outlive this object. Throws Error(user) where it is neither.
  Evaluation(const std::string& program, const Program& training, const optim::Arena& weights,
             const optim::Arena& buffers, const SafeTensors& constants);

  using Compare = std::function<void(const Compared&)>;
  struct Result {
    StepScalars loss;
    std::vector<double> sums;  // numerator and denominator of each of the program's own metrics
  };
  /// Of some rows with the weights of `set`. `compare` is called where the program has a metric.
  Result run(const StateSet& set, const std::vector<at::Tensor>& inputs, const Compare& compare);
  const Program& program() const { return program_; }

 private:
  enum class Place { weights, buffers, counts };
  struct Part {
    int slot;
    Place place;
    int64_t at;
    std::vector<int64_t> shape;
  };

  const Program program_;
  const Plan plan_;
  std::vector<Part> parts_;  // of the state, that the program reads
  Slots fixed_;              // constants in their slots
};

}  // namespace stoker::program
