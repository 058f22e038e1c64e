#pragma once
// Which commit makes what: an epoch is its steps, so many to a commit and the last ones fewer, and, where the fit
// evaluates, one commit more, of what the evaluation came to. A pure function of the number of commits since the
// initial state. A *step* is one of training; a *commit* makes one of them or several, and an evaluation's makes none.
#include <algorithm>
#include <cstdint>

namespace stoker {

struct Timetable {
  uint64_t steps = 1;  // of an epoch
  bool evaluates = false;
  uint64_t every = 1;  // steps of a commit
  uint64_t epochs = 1;
  uint64_t limit = 0;  // no commit begins after so many steps; 0: none
  uint64_t stop = 0;   // the fit ends after so many commits; 0: it does not

  uint64_t rounds() const { return (steps + every - 1) / every; }
  /// Of an epoch.
  uint64_t commits() const { return rounds() + (evaluates ? 1 : 0); }
  uint64_t epoch(uint64_t done) const { return done / commits(); }
  /// The first step that is not done, of its epoch.
  uint64_t step(uint64_t done) const { return std::min(done % commits() * every, steps); }
  /// That the next commit makes.
  uint64_t next_steps(uint64_t done) const { return std::min(every, steps - step(done)); }
  /// Before the next commit, of all epochs.
  uint64_t steps_done(uint64_t done) const { return epoch(done) * steps + step(done); }
  /// Whether the fit ends there. An epoch that has all its steps is evaluated first; one that is cut short is not.
  bool is_over(uint64_t done) const {
    if (done >= commits() * epochs) return true;
    const bool ends = (limit > 0 && steps_done(done) >= limit) || (stop > 0 && done >= stop);
    return ends && !(evaluates && at_evaluation(done));
  }
  bool at_evaluation(uint64_t done) const { return done % commits() == rounds(); }
};

}  // namespace stoker
