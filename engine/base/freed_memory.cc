#include "base/freed_memory.h"

#include <malloc.h>

namespace stoker {
namespace {

// The most that glibc's own adjustment would come to in the end.
constexpr int kMapAbove = 32 << 20;
constexpr int kMapAboveAtFirst = 4 << 20;  // less costs page faults for each batch of rows

void set_thresholds(int map_above) {
  mallopt(M_MMAP_THRESHOLD, map_above);
  mallopt(M_TRIM_THRESHOLD, 2 * map_above);
}

}  // namespace

void keep_freed_memory() { set_thresholds(kMapAbove); }

void give_back_freed_memory() {
  set_thresholds(kMapAboveAtFirst);
  malloc_trim(0);
}

}  // namespace stoker
