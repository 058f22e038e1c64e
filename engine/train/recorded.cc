#include "train/recorded.h"

#include "base/error.h"

namespace stoker::train {
namespace {

/// Steps of all epochs that so many pushes are, where they end with a round; else -1.
int64_t steps_of(const Recorded& fit, int64_t pushes) {
  int64_t made = 0;
  uint64_t done = 0;
  for (; made < pushes && !fit.table.is_over(done); ++done) made += windows_of_round(fit, done);
  return made == pushes ? static_cast<int64_t>(fit.table.steps_done(done)) : -1;
}

}  // namespace

int64_t windows_of_round(const Recorded& fit, uint64_t done) {
  if (fit.table.evaluates && fit.table.at_evaluation(done)) return 0;
  const auto first = static_cast<int64_t>(fit.table.step(done)),
             count = static_cast<int64_t>(fit.table.next_steps(done));
  int64_t windows = 0;
  for (int shard = 0; shard < static_cast<int>(fit.present.size()); ++shard)
    if (fit.present[shard]) windows += fit.windows.in(first, count, shard);
  return windows;
}

int64_t pushes_of_fit(const Recorded& fit) {
  int64_t pushes = 0;
  for (uint64_t done = 0; !fit.table.is_over(done); ++done) pushes += windows_of_round(fit, done);
  return pushes;
}

std::string refusal(const sync::Record& record, const Recorded& fit) {
  for (const int shard : record)
    if (shard >= static_cast<int>(fit.present.size()) || !fit.present[shard])
      return cat("order has a push of shard ", shard, ", and this fit has ", fit.present.size(), " shards",
                 shard < static_cast<int>(fit.present.size()) ? ", of which that one has no rows" : "",
                 ": it is the order of another fit");
  const auto made = static_cast<int64_t>(record.size()), wanted = pushes_of_fit(fit), steps = steps_of(fit, made);
  if (made != wanted && !(fit.may_stop && made < wanted && steps > 0))
    return cat("order has ", made, " pushes, and this fit makes ", wanted, ", of ", fit.present.size(), " shards in ",
               fit.table.steps, " steps an epoch: it is the order of another fit",
               made < wanted && steps > 0 ? cat(", or of one that was ended early: then set maxSteps to ", steps) : "");
  if (fit.bound < 0) return "";
  const int64_t beyond = sync::first_beyond(record, fit.present, fit.bound);
  if (beyond == made) return "";
  return cat("order is not one of SSP with bound ", fit.bound, ": with push ", beyond + 1, " shard ",
             int{record[beyond]}, " is further ahead of the slowest");
}

}  // namespace stoker::train
