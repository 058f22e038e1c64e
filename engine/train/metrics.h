#pragma once
// What an evaluation tells beside the loss: metrics as sums over rows, which add up over shards, and what they come to.
// Immutable; named and defined as in scikit-learn (docs/validation.md).
#include <ATen/core/Tensor.h>

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "train/ranking.h"

namespace stoker::train {

/// What the model's output is for a row: something of each class (of one output: of class 1), or numbers.
enum class OutputKind { logits, probabilities, log_probabilities, values };

struct MetricsSpec {
  std::vector<std::string> names;
  OutputKind outputs = OutputKind::values;
  int64_t width = 1;   // values of the output for each label
  int64_t labels = 1;  // of a row
};

class Metrics {
 public:
  /// Throws Error(user) on a name that does not fit the outputs.
  explicit Metrics(MetricsSpec spec);

  /// Doubles that the sums take; 0: there are no metrics.
  int64_t size() const { return size_; }
  /// Classes whose rows are ranked; 0: no metric needs their order.
  int64_t ranked() const;
  /// Entries that a row has at most, in all runs.
  int64_t ranked_of_row() const { return ranked() * spec_.labels; }
  /// Adds rows in their order: `label` has one number for each `width` of `output`, or as many where these are values.
  /// Labels that are no class are not counted. `weight`: of rows or of labels, or null. `rows`: what each
  /// class that is ranked sees of each label goes to its end.
  void add(const at::Tensor& output, const at::Tensor& label, const at::Tensor* weight, std::span<double> sums,
           std::vector<Scored>& rows) const;
  /// Completes the sums of all rows: `runs` of each class that is ranked, of all shards in their order.
  void settle(const std::vector<Runs>& runs, std::span<double> sums) const;
  /// By name, in the order asked: a number, or the rows of a matrix.
  std::vector<std::pair<std::string, nlohmann::json>> values(std::span<const double> sums) const;
  /// The number of one of them.
  double value(const std::string& name, std::span<const double> sums) const;

 private:
  /// Where a part of the sums begins; -1: none of the metrics needs it.
  struct Parts {
    int64_t classes = -1;    // of each class: rows that are right, that were predicted, that there are
    int64_t log_loss = -1;   // one number
    int64_t brier = -1;      // one number
    int64_t top = -1;        // one number for each of tops_
    int64_t confusion = -1;  // rows of labels, columns of predictions
    int64_t ranked = -1;     // of each class that is ranked: a Ranking; zeros before settle()
    int64_t errors = -1;     // of each column: weight, |e|, e e, y, y y, |e / y|, e where it is positive, deviance
  };
  void take(int64_t& part, int64_t numbers);
  void add_class(const float* output, int64_t label, double weight, double* sums, std::vector<Scored>& rows) const;
  void add_values(const float* output, const double* label, double weight, double* sums) const;
  double of_classes(const std::string& name, const double* sums) const;
  double of_ranking(const std::string& name, const double* sums) const;
  double of_errors(const std::string& name, const double* sums) const;

  const MetricsSpec spec_;
  int64_t classes_ = 0;
  std::vector<int64_t> tops_;
  bool counts_ = false;  // there is a metric of counts
  Parts parts_;
  int64_t size_ = 0;
};

/// From {"names": [str], "outputs": "logits" | "probabilities" | "logProbabilities" | "values", "width": int}.
MetricsSpec parse_metrics(const nlohmann::json& in);

}  // namespace stoker::train
