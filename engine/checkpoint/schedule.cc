#include "checkpoint/schedule.h"

#include "base/error.h"

namespace stoker::checkpoint {

Unit parse_unit(const std::string& text) {
  if (text == "steps") return Unit::steps;
  if (text == "epochs") return Unit::epochs;
  if (text == "seconds") return Unit::seconds;
  fail_user("checkpointUnit must be 'steps', 'epochs' or 'seconds', not '", text, "'");
}

Schedule::Schedule(Interval interval, int64_t steps_of_epoch, int64_t done, TimePoint now)
    : interval_(interval),
      steps_(interval.unit == Unit::epochs ? interval.every * steps_of_epoch : interval.every),
      last_(done),
      last_time_(now) {
  STOKER_CHECK(interval.every > 0);
}

bool Schedule::due(int64_t done, TimePoint now) const {
  if (interval_.unit == Unit::seconds) return seconds(now - last_time_) >= static_cast<double>(interval_.every);
  return steps_ > 0 && done / steps_ > last_ / steps_;
}

void Schedule::made(int64_t done, TimePoint now) {
  last_ = done;
  last_time_ = now;
}

}  // namespace stoker::checkpoint
