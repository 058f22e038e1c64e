#include "optim/plateau.h"

#include <limits>
#include <nlohmann/json.hpp>

namespace stoker::optim {

namespace {

bool is_better(double score, double best, const PlateauRules& rules) {
  const double sign = rules.larger_is_better ? 1 : -1;
  const double bound = rules.relative ? best * (1 + sign * rules.threshold) : best + sign * rules.threshold;
  return rules.larger_is_better ? score > bound : score < bound;
}

}  // namespace

PlateauRules parse_plateau(const nlohmann::json& in) {
  PlateauRules rules;
  rules.larger_is_better = in.at("larger");
  rules.patience = in.at("patience");
  rules.threshold = in.at("threshold");
  rules.relative = in.at("relative");
  rules.cooldown = in.at("cooldown");
  return rules;
}

int64_t lowerings(std::span<const double> scores, const PlateauRules& rules) {
  constexpr double kWorst = std::numeric_limits<double>::infinity();
  double best = rules.larger_is_better ? -kWorst : kWorst;
  int64_t lowered = 0, bad = 0, resting = 0;
  for (const double score : scores) {
    const bool better = is_better(score, best, rules);
    if (better) best = score;
    bad = better ? 0 : bad + 1;
    if (resting > 0) --resting, bad = 0;
    if (bad <= rules.patience) continue;
    ++lowered;
    resting = rules.cooldown;
    bad = 0;
  }
  return lowered;
}

}  // namespace stoker::optim
