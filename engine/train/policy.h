#pragma once
// What becomes of a fit after an evaluation: pure functions of the scores so far, which are committed, so that every
// rank, a restart and a checkpoint that is gone on with come to the same.
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace stoker::train {

struct StopRules {
  std::string monitor = "val_loss";  // the score's name
  bool larger_is_better = false;
  double min_delta = 0;             // what counts as better is better than the best score so far by more than this
  std::optional<double> goal = {};  // a score that is as good, or better, ends the fit
  bool whole_epochs = true;         // evaluations are of whole epochs, in words for people
  int64_t patience = -1;            // so many evaluations without a better score end the fit, one at least; -1: none do
};

struct Verdict {
  int64_t best = -1;   // the evaluation with the best score, from 0; -1: none has one
  bool stop = false;   // the last evaluation ends the fit
  bool close = false;  // another evaluation that is not better would
  std::string reason;  // of stop, for people
};

/// `scores` of all evaluations so far; one that is no number is never better.
Verdict judge(std::span<const double> scores, const StopRules& rules);

}  // namespace stoker::train
