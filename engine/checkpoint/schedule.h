#pragma once
// When a checkpoint is due: pure, the clock is passed in.
#include <cstdint>
#include <string>

#include "base/clock.h"

namespace stoker::checkpoint {

enum class Unit { steps, epochs, seconds };
/// Throws Error(user) for another text.
Unit parse_unit(const std::string& text);

struct Interval {
  int64_t every = 1;  // > 0
  Unit unit = Unit::epochs;
};

/// One that could not be made when it came due stays due. Used by one thread.
class Schedule {
 public:
  /// `done` steps are behind us, of all epochs.
  Schedule(Interval interval, int64_t steps_of_epoch, int64_t done, TimePoint now);
  /// Whether one is due after `done` steps.
  bool due(int64_t done, TimePoint now) const;
  void made(int64_t done, TimePoint now);

 private:
  Interval interval_;
  int64_t steps_;  // between two, where the unit is no time
  int64_t last_;
  TimePoint last_time_;
};

}  // namespace stoker::checkpoint
