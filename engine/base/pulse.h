#pragma once
// Signs of life of a thread that works for a gang: it beats whenever something is done (an operator has run, bytes have
// moved, rows are stored), so that others can tell a thread that hangs from one that has much to do. Waiting for
// others is no silence: a thread that waits rests, or beats each time it looks.
//
// beat() and Rest are for any code that a working thread runs through; in other threads they do nothing.
#include <atomic>
#include <cstdint>

#include "base/clock.h"

namespace stoker::pulse {

/// Of one thread, which alone changes it; any thread may read it.
class Pulse {
 public:
  struct Reading {
    uint64_t beats = 0;
    bool at_work = false;
  };
  Reading read() const { return {beats_.load(std::memory_order_relaxed), at_work_.load(std::memory_order_relaxed)}; }

 private:
  friend class Work;
  friend class Rest;
  friend void beat();
  void beat() { beats_.store(beats_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed); }

  std::atomic<uint64_t> beats_ = 0;
  std::atomic<bool> at_work_ = false;
};

/// Something is done. Costs a few nanoseconds.
void beat();

/// While it lives this thread works, and its pulse is this one. One at a time in a thread.
class Work {
 public:
  explicit Work(Pulse& pulse);
  ~Work();
  Work(const Work&) = delete;

 private:
  Pulse& pulse_;
};

/// While it lives this thread waits for somebody.
class Rest {
 public:
  Rest();
  ~Rest();
  Rest(const Rest&) = delete;

 private:
  Pulse* const pulse_;  // none where the thread does not work, or rests already
};

/// Measures how long a thread has been at work without a beat. Used by one thread, which looks often.
class Watch {
 public:
  /// As of `now`. A time between two looks that is longer than `gap` was no time of this process, and does not count.
  Duration look(TimePoint now, Pulse::Reading reading, Duration gap);

 private:
  TimePoint last_{};
  uint64_t beats_ = 0;
  Duration idle_{};
};

}  // namespace stoker::pulse
