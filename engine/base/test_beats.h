#pragma once
// For tests of long work: how often it says that it goes on.
#include <functional>

#include "base/pulse.h"

namespace stoker {

inline uint64_t beats_of(const std::function<void()>& work) {
  pulse::Pulse pulse;
  const pulse::Work at_work(pulse);
  const uint64_t before = pulse.read().beats;
  work();
  return pulse.read().beats - before;
}

}  // namespace stoker
