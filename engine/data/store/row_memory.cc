#include "data/store/row_memory.h"

#include <sys/mman.h>

#include <algorithm>

#include "base/error.h"
#include "base/pieces.h"

namespace stoker::data {
namespace {
constexpr size_t kUnit = size_t{2} << 20;  // a huge page: fewer faults while rows stream in
size_t whole_units(size_t bytes) { return round_up(bytes, kUnit); }
}  // namespace

RowMemory::~RowMemory() {
  if (data_ != nullptr) ::munmap(data_, capacity_);
}

bool RowMemory::map(size_t capacity) {
  void* moved = data_ == nullptr ? ::mmap(nullptr, capacity, PROT_READ | PROT_WRITE,
                                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
                                 : ::mremap(data_, capacity_, capacity, MREMAP_MAYMOVE);
  if (moved == MAP_FAILED) return false;
  data_ = static_cast<std::byte*>(moved);
  capacity_ = capacity;
  ::madvise(data_, capacity_, MADV_HUGEPAGE);
  return true;
}

void RowMemory::reserve(size_t bytes) {
  if (bytes <= capacity_) return;
  // Untouched pages cost address space only, but that may be limited (RLIMIT_AS): then take just what is needed.
  if (map(whole_units(std::max(bytes, 2 * capacity_)))) return;
  if (!map(whole_units(bytes))) fail_errno(cat("cannot get ", bytes >> 20, " MB of memory for this worker's rows"));
}

void RowMemory::trim(size_t bytes) {
  const size_t keep = whole_units(bytes);
  if (keep >= capacity_) return;
  if (keep > 0) {
    map(keep);
    return;
  }
  ::munmap(data_, capacity_);
  data_ = nullptr;
  capacity_ = 0;
}

}  // namespace stoker::data
