#include "train/ranking.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/pulse.h"
#include "train/merge.h"

namespace stoker::train {

namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
constexpr int64_t kBeat = 1 << 16;  // rows

/// What is no number comes last.
double order(const Scored& row) { return std::isnan(row.score) ? -std::numeric_limits<double>::infinity() : row.score; }

bool comes_first(const Scored& a, const Scored& b) { return order(a) > order(b); }

/// The weights of rows as the threshold falls.
struct Counts {
  double positives = 0, negatives = 0;
  void add(const Scored& row) { (row.positive ? positives : negatives) += row.weight; }
};

}  // namespace

std::vector<Scored> sorted_runs(std::span<const Scored> rows, int64_t classes) {
  std::vector<Scored> sorted;
  sorted.reserve(rows.size());
  const size_t each = rows.size() / classes;
  for (int64_t k = 0; k < classes; ++k) {
    for (size_t i = 0; i < each; ++i) sorted.push_back(rows[i * classes + k]);
    const std::span run = std::span(sorted).last(each);
    std::ranges::stable_sort(run, comes_first);
    pulse::beat();
  }
  return sorted;
}

std::vector<Runs> runs_of(const std::vector<ByteView>& sorted, int64_t classes) {
  std::vector<Runs> runs(classes);
  if (classes == 0) return runs;
  for (const ByteView bytes : sorted) {
    const std::span all(reinterpret_cast<const Scored*>(bytes.data()), bytes.size() / sizeof(Scored));
    const size_t each = all.size() / classes;
    for (int64_t k = 0; k < classes; ++k) runs[k].push_back(all.subspan(k * each, each));
  }
  return runs;
}

Ranking rank(const Runs& runs) {
  Merge<Scored, comes_first> merge(runs);
  Counts before;  // of the thresholds before this one
  double area = 0, precisions = 0;
  int64_t rows = 0;
  const Scored* row = merge.next();
  while (row != nullptr) {
    const double score = row->score;
    if (std::isnan(score)) return {kNone, kNone, kNone};
    Counts now = before;
    for (; row != nullptr && row->score == score; row = merge.next()) {
      now.add(*row);
      if (++rows % kBeat == 0) pulse::beat();
    }
    area += (now.negatives - before.negatives) * (before.positives + now.positives) / 2;
    if (now.positives > before.positives)
      precisions += (now.positives - before.positives) * now.positives / (now.positives + now.negatives);
    before = now;
  }
  const double pairs = before.positives * before.negatives;
  return {pairs > 0 ? area / pairs : kNone, before.positives > 0 ? precisions / before.positives : 0, before.positives};
}

}  // namespace stoker::train
