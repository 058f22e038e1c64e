#pragma once
// Learning rates as pure functions of where in the fit a step is: nothing is remembered from step to step, so whoever
// has a committed state has its rate too. Formulas: torch.optim.lr_scheduler's closed forms; see docs/optimizers.md.
#include <cstdint>
#include <functional>
#include <string>

namespace stoker::optim {

/// Where in a fit an update is.
struct Moment {
  Moment(int64_t step_, int64_t epoch_ = 0, int64_t steps_of_epoch_ = 0)
      : step(step_), epoch(epoch_), steps_of_epoch(steps_of_epoch_) {}
  int64_t step;            // of the optimizer, from 1; steps that left the state as it was do not count
  int64_t epoch;           // from 0
  int64_t steps_of_epoch;  // 0: not known
  double rate = 0;         // that takes the place of the first group's own; others keep their proportion; 0: none does
  int64_t lowered = 0;     // how often a plateau of the score has lowered the rate, see optim/plateau.h
  int64_t since = 0;       // steps before the optimizer's state began anew
  int64_t age() const { return step - since; }
};

class Schedule {
 public:
  /// A rate for a group's own one, at `t` of `length` turns.
  using Curve = std::function<double(double base, double t, double length)>;
  using Momentum = std::function<double(double t, double length)>;

  /// The group's own rate, always.
  Schedule() = default;

  bool changes_rate() const { return curve_ != nullptr; }
  bool changes_momentum() const { return momentum_ != nullptr; }
  double rate(double base, const Moment& at) const;
  /// REQUIRES: changes_momentum(). It takes momentum's or the first beta's place.
  double momentum(const Moment& at) const;

 private:
  friend Schedule parse_schedule(const std::string& json);
  double turn(const Moment& at) const;
  double length(const Moment& at) const;

  Curve curve_;
  Momentum momentum_;
  bool by_epoch_ = false;
  bool by_score_ = false;
  double epochs_ = 0;  // of the fit
  double total_ = 0;   // turns from the fit's beginning; 0: all of the fit
  double warmup_ = 0;  // turns of it that lead to the rate
  double warmup_start_ = 0;
  double goal_ = 0;  // turn of the curve whose rate the warm-up leads to
};

/// From {"name": "cosine", "unit": "steps", "epochs": 3, "warmup": 500, ...}, as python/stoker/schedule.py writes it.
/// Throws Error(user) on an unknown name, Error(bug) on what else does not fit.
Schedule parse_schedule(const std::string& json);

}  // namespace stoker::optim
