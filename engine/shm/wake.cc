#include "shm/wake.h"

#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

namespace stoker::shm {
namespace {

uint32_t* address(WakeWord& word) { return reinterpret_cast<uint32_t*>(&word.epoch); }

int cores() {
  cpu_set_t set;
  return ::sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
}

}  // namespace

void wake(WakeWord& word) {
  if (word.waiters.load() == 0) return;
  word.epoch.fetch_add(1);
  ::syscall(SYS_futex, address(word), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

Duration spin_time(int ranks) { return ranks <= cores() ? std::chrono::microseconds(100) : Duration(0); }

namespace internal {

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

void sleep(WakeWord& word, uint32_t epoch) {
  const timespec most{0, 20'000'000};
  ::syscall(SYS_futex, address(word), FUTEX_WAIT, epoch, &most, nullptr, 0);
}

}  // namespace internal
}  // namespace stoker::shm
