#pragma once
// Time, as the engine uses it: steady seconds and nanoseconds. Decisions take `now` as an argument instead.
#include <chrono>
#include <cstdint>

namespace stoker {

using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;
using Duration = Clock::duration;

inline double seconds(Duration d) { return std::chrono::duration<double>(d).count(); }
inline Duration from_seconds(double s) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(s));
}

/// Measures the time since it was made or last restarted, in seconds.
class Stopwatch {
 public:
  double elapsed() const { return seconds(Clock::now() - start_); }
  double restart() {
    const auto now = Clock::now();
    const double passed = seconds(now - start_);
    start_ = now;
    return passed;
  }

 private:
  TimePoint start_ = Clock::now();
};

}  // namespace stoker
