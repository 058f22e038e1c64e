#pragma once
// A thread that does a working thread's work while that one waits for it has its pulse (pulse.h).
#include "base/pulse.h"

namespace stoker::pulse {

/// This thread's; null where it does not work.
Pulse* lent();

/// While it lives this thread's pulse is that one. REQUIRES: of the threads that have it one runs at a time.
class Lent {
 public:
  explicit Lent(Pulse* pulse);
  ~Lent();
  Lent(const Lent&) = delete;

 private:
  Pulse* const before_;
};

}  // namespace stoker::pulse
