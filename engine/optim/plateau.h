#pragma once
// How often a rate was lowered because a score got no better: a pure function of the scores so far, as
// torch.optim.lr_scheduler.ReduceLROnPlateau counts them one by one.
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <span>

namespace stoker::optim {

struct PlateauRules {
  bool larger_is_better = false;  // "larger"
  int64_t patience = 10;          // "patience": a score more than this without a better one lowers the rate
  double threshold = 1e-4;        // "threshold": what counts as better is better than the best by more than this
  bool relative = true;           // "relative": to the best score
  int64_t cooldown = 0;           // "cooldown": scores after a lowering that count for nothing
};
PlateauRules parse_plateau(const nlohmann::json& in);

/// One that is no number is never better.
int64_t lowerings(std::span<const double> scores, const PlateauRules& rules);

}  // namespace stoker::optim
