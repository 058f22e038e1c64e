#pragma once
// Metrics of the order of rows within their groups, such as the documents of a query: NDCG (Järvelin and Kekäläinen,
// 2002; linear gains and a discount of log2, as in scikit-learn) and the share of groups with a hit. A group's rows may
// lie in any shards: these bring them sorted. Exact, and a function of the rows alone, however they are cut. Pure.
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace stoker::train {

/// A row of a group. Of equal rows no metric knows which is which.
struct Grouped {
  int64_t group = 0;
  double score = 0;
  double label = 0;  // how relevant it is; a hit where it is more than 0
  double weight = 0;
};

struct GroupMetric {
  enum class Kind { ndcg, hit_rate } kind = Kind::ndcg;
  int64_t first = 0;  // of the rows with the highest scores, so many count; 0: all
};
/// Of "ndcg_score", "ndcg_score_<k>" or "hit_rate_<k>"; none of another name.
std::optional<GroupMetric> group_metric(std::string_view name);

/// By group, then highest score first, then by whatever else rows differ in; a score that is no number comes last.
bool precedes(const Grouped& a, const Grouped& b);

/// Each metric's mean over groups, each weighted by the mean of its rows' weights. Where scores tie, the mean over all
/// orders of the tied rows. A group without a relevant row has 0. No number (NaN) where a score is none, a label of
/// NDCG is negative, or no group counts. REQUIRES: runs are sorted by precedes().
std::vector<double> of_groups(const std::vector<std::span<const Grouped>>& runs, std::span<const GroupMetric> metrics);

}  // namespace stoker::train
