#pragma once
// What a fit computes of the rows that are held out, as numbers that add up over micro-batches and shards, and what
// they come to. Used by one thread.
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <vector>

#include "program/evaluation.h"
#include "train/metrics.h"
#include "train/policy.h"
#include "train/spec.h"

namespace stoker::train {

class Evaluator {
 public:
  /// Numbers of one evaluation: the loss's numerator and denominator, and the metrics' sums.
  static int64_t numbers(const EvaluationSpec& spec);
  /// For the rest see program::Evaluation. Throws Error(user) where metrics do not fit.
  Evaluator(const EvaluationSpec& spec, const program::Program& training, const optim::Arena& weights,
            const optim::Arena& buffers, const program::SafeTensors& constants);

  /// Adds the numbers of a micro-batch.
  void add(const program::StateSet& state, const std::vector<at::Tensor>& inputs, std::span<double> numbers);
  /// What an evaluation came to, by name: "val_loss" and each metric's.
  nlohmann::json told(std::span<const double> numbers) const;
  /// Of all evaluations so far, one after the other.
  Verdict judge(std::span<const double> evaluations) const;

 private:
  double score(std::span<const double> numbers) const;

  const StopRules rules_;
  const Metrics metrics_;
  program::Evaluation program_;
};

}  // namespace stoker::train
