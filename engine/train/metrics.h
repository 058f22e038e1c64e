#pragma once
// What an evaluation tells beside the loss: metrics as sums over rows, which add up over shards, and what they come to.
// Immutable; named and defined as in scikit-learn (docs/validation.md).
#include <ATen/core/Tensor.h>

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "program/evaluation.h"
#include "train/collected.h"

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
  /// Bytes of a row at most, as it is collected; 0: no metric needs the rows.
  size_t bytes_of_row() const;
  /// Adds rows in their order: the label has one number for each `width` of the output, or as many where these are
  /// values. Labels that are no class are not counted. What metrics need of each row goes to the end of `rows`.
  void add(const program::Compared& compared, std::span<double> sums, Collected& rows) const;
  /// Completes the sums of all rows: `rows` of all shards in their order.
  void settle(const Gathered& rows, std::span<double> sums) const;
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
    int64_t grouped = -1;    // of each of groups_: what it comes to; zeros before settle()
    int64_t errors = -1;     // of each column: weight, |e|, e e, y, y y, |e / y|, e where it is positive, deviance
  };
  void take(int64_t& part, int64_t numbers);
  bool take_group_metric(const std::string& name);
  void add_class(const float* output, int64_t label, double weight, double* sums, std::vector<Scored>& rows) const;
  void add_values(const float* output, const double* label, double weight, double* sums) const;
  double score_of(const float* output) const;
  double of_classes(const std::string& name, const double* sums) const;
  std::vector<double> scores(std::string_view what, const double* sums) const;
  double of_ranking(const std::string& name, const double* sums) const;
  double of_group_metric(const std::string& name, const double* sums) const;
  double of_errors(const std::string& name, const double* sums) const;

  const MetricsSpec spec_;
  int64_t classes_ = 0;
  std::vector<int64_t> tops_;
  std::vector<GroupMetric> groups_;
  bool counts_ = false;  // there is a metric of counts
  Parts parts_;
  int64_t size_ = 0;
};

/// From {"names": [str], "outputs": "logits" | "probabilities" | "logProbabilities" | "values", "width": int}.
MetricsSpec parse_metrics(const nlohmann::json& in);

}  // namespace stoker::train
