#include "program/memory.h"

#include <malloc.h>

#include <mutex>

namespace stoker::program {
namespace {

// The most that glibc's own adjustment would come to in the end.
constexpr int kMapAbove = 32 << 20;
constexpr int kTrimAbove = 2 * kMapAbove;

}  // namespace

void keep_freed_memory() {
  static std::once_flag once;
  std::call_once(once, [] {
    mallopt(M_MMAP_THRESHOLD, kMapAbove);
    mallopt(M_TRIM_THRESHOLD, kTrimAbove);
  });
}

void give_back_freed_memory() { malloc_trim(0); }

}  // namespace stoker::program
