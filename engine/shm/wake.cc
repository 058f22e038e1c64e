#include "shm/wake.h"

#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

#include "base/cores.h"

namespace stoker::shm {
namespace {

constexpr Duration kLongest = std::chrono::microseconds(1000);
constexpr Duration kShortest = std::chrono::microseconds(4);
constexpr int kSkips = 32;  // waits without a spin between two short tries

uint32_t* address(WakeWord& word) { return reinterpret_cast<uint32_t*>(&word.epoch); }

}  // namespace

void wake(WakeWord& word) {
  if (word.waiters.load() == 0) return;
  word.epoch.fetch_add(1);
  ::syscall(SYS_futex, address(word), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

Spin::Spin(int ranks) : limit_(ranks <= usable_cores() ? kLongest : Duration(0)), now_(limit_ / 4) {}

Duration Spin::next() {
  if (now_ > Duration(0) || limit_ == Duration(0)) return now_;
  if (++skipped_ < kSkips) return now_;
  skipped_ = 0;
  return kShortest;
}

void Spin::learn(bool helped) {
  if (helped)
    now_ = std::min(limit_, std::max(2 * now_, 2 * kShortest));
  else
    now_ = now_ / 2 < kShortest ? Duration(0) : now_ / 2;
}

namespace internal {

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

void give_way() { ::sched_yield(); }

void sleep(WakeWord& word, uint32_t epoch) {
  const timespec most{0, 20'000'000};
  ::syscall(SYS_futex, address(word), FUTEX_WAIT, epoch, &most, nullptr, 0);
}

}  // namespace internal
}  // namespace stoker::shm
