#pragma once
// Which commit makes what: an epoch is its steps, so many to a commit and the last ones fewer, and, where the fit
// evaluates, one commit more at its end, or after each leg of several commits, of what the evaluation came to. A pure
// function of the number of commits since the initial state. A *step* is one of training; a *commit* makes one of them
// or several, and an evaluation's makes none.
#include <algorithm>
#include <cstdint>

namespace stoker {

struct Timetable {
  uint64_t steps = 1;  // of an epoch
  bool evaluates = false;
  uint64_t every = 1;    // steps of a commit
  uint64_t between = 0;  // rounds from one evaluation to the next, the last ones of an epoch fewer; 0: a whole epoch
  uint64_t epochs = 1;
  uint64_t limit = 0;  // no commit begins after so many steps; 0: none
  uint64_t stop = 0;   // the fit ends after so many commits; 0: it does not

  uint64_t rounds() const { return (steps + every - 1) / every; }
  /// Of an epoch.
  uint64_t commits() const { return rounds() + legs(); }
  /// Of an epoch, each of which is evaluated; 0 where nothing is.
  uint64_t legs() const { return evaluates ? std::max<uint64_t>((rounds() + leg() - 1) / leg(), 1) : 0; }
  uint64_t epoch(uint64_t done) const { return done / commits(); }
  /// That are made, of all epochs.
  uint64_t evaluations(uint64_t done) const { return epoch(done) * legs() + evaluations_of_epoch(done); }
  /// Steps of all epochs before the evaluation of that number, from 0.
  uint64_t steps_before_evaluation(uint64_t number) const {
    return number / legs() * steps + std::min((number % legs() + 1) * leg() * every, steps);
  }
  /// The first step that is not done, of its epoch.
  uint64_t step(uint64_t done) const {
    return std::min((done % commits() - evaluations_of_epoch(done)) * every, steps);
  }
  /// That the next commit makes.
  uint64_t next_steps(uint64_t done) const { return std::min(every, steps - step(done)); }
  /// Before the next commit, of all epochs.
  uint64_t steps_done(uint64_t done) const { return epoch(done) * steps + step(done); }
  /// Whether the fit ends there. Where an evaluation is due it is made first, as after an epoch that has all its steps.
  bool is_over(uint64_t done) const {
    if (done >= commits() * epochs) return true;
    const bool ends = (limit > 0 && steps_done(done) >= limit) || (stop > 0 && done >= stop);
    return ends && !(evaluates && at_evaluation(done));
  }
  /// Whether the next commit is one.
  bool at_evaluation(uint64_t done) const {
    const uint64_t at = done % commits();
    return evaluates && (at % (leg() + 1) == leg() || at + 1 == commits());
  }
  /// Whether the last commit was one.
  bool has_evaluated(uint64_t done) const { return done > 0 && at_evaluation(done - 1); }

 private:
  /// Rounds.
  uint64_t leg() const { return std::max<uint64_t>(between == 0 ? rounds() : std::min(between, rounds()), 1); }
  uint64_t evaluations_of_epoch(uint64_t done) const { return evaluates ? done % commits() / (leg() + 1) : 0; }
};

}  // namespace stoker
