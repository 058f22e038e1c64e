#pragma once
// How many pushes a fit makes whose replicas push as they arrive, and whether a record is of such a fit. Pure.
#include <string>
#include <vector>

#include "base/timetable.h"
#include "sync/turn_order.h"
#include "train/windows.h"

namespace stoker::train {

/// What a record must fit to.
struct Recorded {
  const Windows& windows;
  Timetable table;            // of a fit that nothing cuts short but its limit
  std::vector<bool> present;  // shards that have rows
  int64_t bound = -1;         // see sync::ArrivalOptions
  bool may_stop = false;      // rules may end the fit after an evaluation
};

/// Of the round after `done` commits.
int64_t windows_of_round(const Recorded& fit, uint64_t done);
/// Of the whole fit.
int64_t pushes_of_fit(const Recorded& fit);

/// What is wrong with a record of this fit; "": nothing.
std::string refusal(const sync::Record& record, const Recorded& fit);

}  // namespace stoker::train
