#pragma once
// Which commit makes what: an epoch is its steps and, where the fit evaluates, one commit more, of what the evaluation
// came to. A pure function of the number of commits since the initial state.
#include <cstdint>

namespace stoker::train {

struct Timetable {
  uint64_t steps = 1;  // of an epoch
  bool evaluates = false;

  /// Of an epoch.
  uint64_t commits() const { return steps + (evaluates ? 1 : 0); }
  uint64_t epoch(uint64_t done) const { return done / commits(); }
  uint64_t step(uint64_t done) const { return done % commits(); }
  bool at_evaluation(uint64_t done) const { return step(done) == steps; }
};

}  // namespace stoker::train
