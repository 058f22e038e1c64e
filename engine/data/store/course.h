#pragma once
// What a thread that reads or writes for long and those that wait for it know of each other.
#include <atomic>
#include <cstdint>

namespace stoker::data {

struct Course {
  std::atomic<bool> stopped = false;  // the thread is to end soon; what it does is not used
  std::atomic<uint64_t> moved = 0;    // grows while something gets done
};

}  // namespace stoker::data
