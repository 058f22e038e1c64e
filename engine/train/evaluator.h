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
  /// Numbers of one evaluation: numerators and denominators of the loss and of the program's own metrics, and the
  /// metrics' sums.
  static int64_t numbers(const EvaluationSpec& spec);
  /// See Metrics.
  size_t bytes_of_row() const { return metrics_.bytes_of_row(); }
  /// For the rest see program::Evaluation. Throws Error(user) where metrics do not fit.
  Evaluator(const EvaluationSpec& spec, const program::Program& training, const optim::Arena& weights,
            const optim::Arena& buffers, const program::SafeTensors& constants);

  /// Adds the numbers of a micro-batch, and to `rows` what is collected: see Metrics::add().
  void add(const program::StateSet& state, const std::vector<at::Tensor>& inputs, std::span<double> numbers,
           Collected& rows);
  /// What was collected, as it travels.
  Bytes packed(const Collected& rows) const { return train::packed(rows, metrics_.ranked()); }
  /// Completes the numbers of all rows by all that was packed: see Metrics::settle(). REQUIRES: bytes_of_row() > 0.
  void settle(const std::vector<ByteView>& packed, std::span<double> numbers) const;
  /// What an evaluation came to, by name: "val_loss" and each metric's.
  nlohmann::json told(std::span<const double> numbers) const;
  /// Of all evaluations so far, one after the other.
  Verdict judge(std::span<const double> evaluations) const;
  /// How often they have lowered the rate: 0 where it follows no score.
  int64_t lowerings(std::span<const double> evaluations) const;

 private:
  double score(std::span<const double> numbers, const std::string& monitor) const;
  std::vector<double> scores(std::span<const double> evaluations, const std::string& monitor) const;
  /// The part that is the metrics'.
  template <typename T>
  std::span<T> of_metrics(std::span<T> numbers) const {
    return numbers.subspan(2 + 2 * own_.size());
  }

  const StopRules rules_;
  const std::vector<std::string> own_;
  const std::optional<PlateauSpec> plateau_;
  const Metrics metrics_;
  program::Evaluation program_;
};

}  // namespace stoker::train
