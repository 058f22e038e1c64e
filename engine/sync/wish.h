#pragma once
// What somebody wants of a fit that is under way, and what becomes of it. A Wish travels in a step's own reduction, as
// the owner of the step's first shard knows it, so all ranks hear the same one in the same step. What it makes of the
// fit, Told, is part of the state and commits with that step: a death repeats the step, and whoever has the state
// knows all that was told before.
#include <cstdint>

namespace stoker::sync {

enum class Stop : uint64_t { none, asked, time };

struct Wish {
  uint64_t number = 0;  // of the newest one, from 1; 0: there is none
  double rate = 0;      // the learning rate to go on with; 0: as it is
  Stop stop = Stop::none;
};

struct Told {
  uint64_t number = 0;    // of the newest wish that was heard
  double rate = 0;        // of learning; 0: what the fit began with
  uint64_t since = 0;     // commits, the initial state aside, before the rate
  uint64_t stop = 0;      // the fit ends after so many commits, the initial state aside; 0: nobody has asked for it
  Stop why = Stop::none;  // of `stop`
};

/// After the step that makes `done` commits, in which the wish was heard. One step more is made before a stop, so that
/// everybody knows before the last one that it is.
inline Told told_after(Told told, const Wish& heard, uint64_t done) {
  if (heard.number > told.number) {
    told.number = heard.number;
    if (heard.rate > 0 && heard.rate != told.rate) told.rate = heard.rate, told.since = done;
  }
  if (heard.stop != Stop::none && told.stop == 0) told.stop = done + 1, told.why = heard.stop;
  return told;
}

}  // namespace stoker::sync
