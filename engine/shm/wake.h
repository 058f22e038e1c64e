#pragma once
// Waiting for a condition on shared memory: spin a little, then sleep on a futex that processes share.
//
// Who changes the condition stores it with sequential consistency and calls wake(); who waits reads it with sequential
// consistency. Either the waiter sees the new value, or the waker sees the waiter.
#include <atomic>
#include <cstdint>

#include "base/clock.h"

namespace stoker::shm {

/// Lies in shared memory, zero at first. Its own cache line.
struct alignas(64) WakeWord {
  std::atomic<uint32_t> epoch;
  std::atomic<uint32_t> waiters;
};
static_assert(std::atomic<uint32_t>::is_always_lock_free);

/// Wakes all that sleep. Cheap when nobody does. Any thread of any process.
void wake(WakeWord& word);

/// How long to spin before the first sleep, learned from whether it helped. Where it never does (the peer needs this
/// core, or takes long) it goes down to nothing, but for a short try now and then. Used by one thread.
class Spin {
 public:
  /// Never spins when `ranks` of this host are more than the cores they may use.
  explicit Spin(int ranks);
  Duration next();
  void learn(bool helped);

 private:
  Duration limit_;
  Duration now_;
  int skipped_ = 0;
};

/// Returns once ready() is true. Calls tick() at least every 20 ms while it sleeps; what tick() throws ends the wait.
template <typename Ready, typename Tick>
void wait(WakeWord& word, Spin& spin, const Ready& ready, const Tick& tick);

namespace internal {
void pause();
/// To whoever else waits for this core.
void give_way();
void sleep(WakeWord& word, uint32_t epoch);

/// Counts this thread among the sleepers, whatever ends its wait.
class Waiter {
 public:
  explicit Waiter(WakeWord& word) : word_(word) { word_.waiters.fetch_add(1); }
  ~Waiter() { word_.waiters.fetch_sub(1); }
  Waiter(const Waiter&) = delete;

 private:
  WakeWord& word_;
};

template <typename Ready>
bool ready_within(Duration time, const Ready& ready) {
  const auto end = Clock::now() + time;
  do {
    for (int i = 0; i < 64; ++i) {
      if (ready()) return true;
      pause();
    }
    give_way();
  } while (Clock::now() < end);
  return false;
}
}  // namespace internal

template <typename Ready, typename Tick>
void wait(WakeWord& word, Spin& spin, const Ready& ready, const Tick& tick) {
  if (ready()) return;
  if (const Duration time = spin.next(); time > Duration(0)) {
    const bool helped = internal::ready_within(time, ready);
    spin.learn(helped);
    if (helped) return;
  }
  const internal::Waiter waiter(word);
  for (;;) {
    const uint32_t epoch = word.epoch.load();
    if (ready()) return;
    tick();
    internal::sleep(word, epoch);
  }
}

}  // namespace stoker::shm
