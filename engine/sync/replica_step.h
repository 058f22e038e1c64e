#pragma once
// One step that a replica takes alone: the fit's optimizer over the whole arena, with clipping of its own. Used by one
// thread.
#include <vector>

#include "optim/optimizer.h"
#include "sync/commit.h"

namespace stoker::sync {

class ReplicaStep {
 public:
  /// Of the options mean and clipping count. All outlive it.
  ReplicaStep(const optim::Arena& arena, const optim::Optimizer& optimizer, const CommitOptions& told);

  /// In place. `state`: the optimizer's buffers; `denominator`: of the loss whose numerator's gradient it is.
  void take(float* weights, const std::vector<float*>& state, const float* gradient, double denominator,
            const optim::Moment& at);

  /// What the optimizer would make a step of, clipped.
  void scale(const float* gradient, double denominator, float* out);

 private:
  float clip(const float* gradient, float scale);

  const optim::Arena& arena_;
  const optim::Optimizer& optimizer_;
  const bool mean_;
  const double clip_norm_, clip_value_;
  std::vector<double> norms_;
  std::vector<double> sums_;
  std::vector<float> clamp_;
};

}  // namespace stoker::sync
