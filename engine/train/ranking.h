#pragma once
// Metrics that need the order of all rows by their scores, which no sums give: each shard brings its rows as sorted
// runs, one for each class that is ranked, and what is told is a function of all of them. Exact: nothing is binned, and
// equal scores count as one threshold. Pure.
#include <cstdint>
#include <span>
#include <vector>

#include "base/codec.h"

namespace stoker::train {

/// A row as one class sees it.
struct Scored {
  double score = 0;
  double weight = 0;
  int64_t positive = 0;  // 1: its label is this class
};

/// Runs of one class, each highest score first.
using Runs = std::vector<std::span<const Scored>>;

/// Of rows that lie one after the other, for each row what each class sees: a sorted run of each class, one after the
/// other.
std::vector<Scored> sorted_runs(std::span<const Scored> rows, int64_t classes);
/// By class, the runs of several sorted_runs() in their order. They outlive what is given.
std::vector<Runs> runs_of(const std::vector<ByteView>& sorted, int64_t classes);

/// What some runs of one class come to; no number (NaN) where a score is none.
struct Ranking {
  /// Area under the ROC curve, by trapezoids; no number where all rows are of one kind.
  double roc_auc = 0;
  /// Sum over thresholds of (recall - recall before) * precision; 0 where no row is positive.
  double average_precision = 0;
  double positives = 0;  // their weight
};

/// Runs are merged in their order, so that the same bits come out for any split of them among workers.
Ranking rank(const Runs& runs);

}  // namespace stoker::train
