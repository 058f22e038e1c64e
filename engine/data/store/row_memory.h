#pragma once
// Anonymous memory that grows without being copied (mremap moves pages, not bytes). Not thread-safe; owns its mapping.
#include <cstddef>

namespace stoker::data {

class RowMemory {
 public:
  RowMemory() = default;
  ~RowMemory();
  RowMemory(const RowMemory&) = delete;
  RowMemory& operator=(const RowMemory&) = delete;

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  /// Makes room for `bytes` in all; what was written stays. Throws Error(world) when memory or the limit is exhausted.
  void reserve(size_t bytes);
  /// Gives back what lies beyond `bytes`.
  void trim(size_t bytes);

 private:
  bool map(size_t capacity);
  std::byte* data_ = nullptr;
  size_t capacity_ = 0;
};

}  // namespace stoker::data
