#include "train/policy.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace stoker::train {

namespace {

bool is_better(double score, double best, const StopRules& rules) {
  return rules.larger_is_better ? score > best + rules.min_delta : score < best - rules.min_delta;
}

/// Any score may be the one that reaches it.
void judge_goal(std::span<const double> scores, const StopRules& rules, Verdict& verdict) {
  verdict.close = true;
  if (scores.empty()) return;
  const double score = scores.back();
  verdict.stop = rules.larger_is_better ? score >= *rules.goal : score <= *rules.goal;
  if (verdict.stop) verdict.reason = cat(rules.monitor, " has reached ", *rules.goal, ": it is ", score);
}

}  // namespace

Verdict judge(std::span<const double> scores, const StopRules& rules) {
  Verdict verdict;
  for (size_t i = 0; i < scores.size(); ++i) {
    if (std::isnan(scores[i])) continue;
    if (verdict.best < 0 || is_better(scores[i], scores[verdict.best], rules)) verdict.best = static_cast<int64_t>(i);
  }
  if (rules.goal) judge_goal(scores, rules, verdict);
  if (rules.patience < 0 || verdict.stop) return verdict;
  const int64_t waited = static_cast<int64_t>(scores.size()) - 1 - verdict.best;
  const int64_t limit = std::max<int64_t>(rules.patience, 1);
  verdict.stop = !scores.empty() && waited >= limit;
  verdict.close |= waited + 1 >= limit;
  if (!verdict.stop) return verdict;
  const std::string one = rules.whole_epochs ? " epoch" : " evaluation", several = one + "s";
  verdict.reason = verdict.best < 0 ? cat(rules.monitor, " was no number in ", scores.size(), several)
                                    : cat(rules.monitor, " was not better than the ", scores[verdict.best], " of", one,
                                          " ", verdict.best + 1, " for ", waited, waited == 1 ? one : several);
  return verdict;
}

}  // namespace stoker::train
